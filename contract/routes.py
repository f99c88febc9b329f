"""The payload of the kind `route`: how a registration's callers are split between its release and its canary."""

from __future__ import annotations

import hashlib
from typing import Annotated, ClassVar

from pydantic import Field

from contract.canonical import DIGEST_PATTERN
from contract.document import Document

WHOLE = 10_000
"""Buckets that sessions fall into; a percent is a hundred of them."""


class Route(Document):
    """A part of a registration's callers goes to its canary, all others to its release.

    Attributes:
        canary: digest of the release that the canary must have. As long as the gateway holds another one under
            ``{name}@canary``, or none, everybody goes to the registration's own release.
        percent: of the sessions, or of the calls without a session.
    """

    max_bytes: ClassVar[int] = 1_000

    canary: Annotated[str, Field(pattern=DIGEST_PATTERN)]
    percent: Annotated[int, Field(ge=1, le=100)]

    def takes(self, bucket: int) -> bool:
        """Whether a call in this bucket goes to the canary. Whoever goes there stays there while the percent rises."""
        return bucket < self.percent * (WHOLE // 100)


def bucket_of(registration: str, key_id: str, session_id: str) -> int:
    """The bucket of a session, from 0 to `WHOLE` - 1; the same on every gateway, so that a balancer changes nothing."""
    digest = hashlib.sha256(f"kaizen.route/1\n{registration}\n{key_id}\n{session_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % WHOLE
