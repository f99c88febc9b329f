"""The one hierarchy of errors. Each edge (page, API, WebSocket) turns it into its own form in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from apps.core.decisions import Decision


class StudioError(Exception):
    """Something that the person or program who asked can understand and act upon.

    Attributes:
        code: stable name for programs; the `type` of a problem document ends with it.
        status: the HTTP status that belongs to it.
        title: the kind of error, the same for every occurrence.
        message: what happened this time, in words.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str = "") -> None:
        self.message = message or self.title
        super().__init__(self.message)


class NotFound(StudioError):
    """It does not exist, or the actor may not know that it does."""

    code, status, title = "not-found", 404, "Not found"


class Denied(StudioError):
    """The decision function said no; the decision tells which rule was missing."""

    code, status, title = "denied", 403, "Not allowed"

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(decision.explanation)


class Unauthenticated(StudioError):
    """Nobody is signed in, or the credential is not one of this organization."""

    code, status, title = "unauthenticated", 401, "Sign in first"


class Invalid(StudioError):
    """The input breaks a rule.

    Attributes:
        fields: messages by field name; the key `""` holds what concerns the input as a whole.
    """

    code, status, title = "invalid", 422, "Invalid input"

    def __init__(self, message: str = "", *, fields: Mapping[str, Sequence[str]] | None = None) -> None:
        self.fields: dict[str, list[str]] = {name: list(texts) for name, texts in (fields or {}).items()}
        if not message and self.fields:
            message = " ".join(text for texts in self.fields.values() for text in texts)
        super().__init__(message)


class Conflict(StudioError):
    """The input is sound, but the present state does not allow it."""

    code, status, title = "conflict", 409, "Conflict with the present state"


class QuotaExceeded(StudioError):
    """A limit of the plan or a rate was reached."""

    code, status, title = "quota-exceeded", 429, "Limit reached"


class Suspended(StudioError):
    """The organization is closed for its members, with a reason."""

    code, status, title = "organization-suspended", 403, "Organization suspended"


class NotReady(StudioError):
    """What is asked for exists, but is not in a state to be used."""

    code, status, title = "not-ready", 503, "Not available right now"


class GatewayUnavailable(StudioError):
    """A gateway did not answer, or not as agreed."""

    code, status, title = "gateway-unavailable", 503, "The gateway is not available"
