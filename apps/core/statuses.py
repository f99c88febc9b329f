"""How the adjectives of a status look. A status is an adjective that people understand, and has its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from django.utils.html import format_html

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

Tint = Literal["green", "blue", "yellow", "red", "gray"]

_ADJECTIVES: dict[Tint, str] = {
    "green": "ready healthy active succeeded deployed running current allowed acknowledged synced enabled published "
    "confirmed reachable serving complete restored",
    "blue": "progressing pending deploying provisioning applying waiting revoking retrying connecting queued removing "
    "registering checking scheduled watched lifting",
    "yellow": "degraded drifted draining stale expiring held paused changed unpublished unverified outdated "
    "waiting-for-approval",
    "red": "failed failing unreachable refused suspended denied broken conflicting rejected lost blocked unauthorized "
    "timed-out stopped stopping",
    "gray": "draft archived deleted cancelled inactive removed superseded expired revoked unknown new disabled empty "
    "rolled-back unused lifted",
}
_TINTS: dict[str, Tint] = {word: tint for tint, words in _ADJECTIVES.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class Look:
    """Colour of a status, and whether it is on its way to another one by itself."""

    tint: Tint
    moving: bool


def look_of(adjective: str) -> Look:
    """The look of an adjective; one that is not listed is gray."""
    tint = _TINTS.get(adjective.strip().lower().replace("_", "-").replace(" ", "-"), "gray")
    return Look(tint, moving=tint == "blue")


def badge(adjective: str, reason: str = "") -> SafeString:
    """The adjective as a badge, followed by its reason."""
    look = look_of(adjective)
    classes = f"state state-{look.tint}" + (" state-moving" if look.moving else "")
    label = adjective.strip().replace("_", " ").replace("-", " ")
    mark = format_html('<span class="{}">{}</span>', classes, label)
    if not reason:
        return mark
    return format_html('<span class="status-line">{} <span class="state-reason">{}</span></span>', mark, reason)
