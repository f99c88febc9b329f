"""What a gateway does with an envelope, given what it already has: the whole of the ordering rules."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Stamp(NamedTuple):
    """A state of one (kind, name): its generation, and the digest of its payload."""

    generation: int
    digest: str


class Verdict(StrEnum):
    """The four answers to an incoming stamp."""

    APPLY = "apply"
    SAME = "same"
    STALE = "stale"
    CONFLICT = "conflict"


def judge(current: tuple[int, str] | None, incoming: tuple[int, str]) -> Verdict:
    """Decide about `incoming`, given what the gateway has.

    Newer generations apply, the same one again is a no-op, an older one is answered with what is there, and the same
    generation with another digest is a conflict: two writers believe they own it. Tombstones are stamps like others.
    """
    if current is None:
        return Verdict.APPLY
    generation, digest = current
    if incoming[0] > generation:
        return Verdict.APPLY
    if incoming[0] < generation:
        return Verdict.STALE
    return Verdict.SAME if incoming[1] == digest else Verdict.CONFLICT
