"""The payload of the kind `stop`: what must not run any more, until somebody lifts the stop."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from contract.canonical import DIGEST_PATTERN
from contract.document import Document
from contract.errors import ContractError
from contract.names import check_registration_name

STOPPED_MAX = 2_000


class Stop(Document):
    """What a gateway refuses to run, and cancels where it runs. It holds for what is pushed later, too.

    Attributes:
        registrations: names, with their canaries.
        releases: digests, under whatever name they run.
    """

    max_bytes: ClassVar[int] = 400_000

    registrations: Annotated[list[str], Field(max_length=STOPPED_MAX)] = Field(default_factory=list)
    releases: Annotated[list[Annotated[str, Field(pattern=DIGEST_PATTERN)]], Field(max_length=STOPPED_MAX)] = Field(
        default_factory=list
    )

    @field_validator("registrations")
    @classmethod
    def _are_names(cls, registrations: list[str]) -> list[str]:
        for registration in registrations:
            check_registration_name(registration)
        return registrations

    @model_validator(mode="after")
    def _stops_something(self) -> Self:
        if not self.registrations and not self.releases:
            raise ContractError("names neither a registration nor a release")
        return self

    def covers(self, registration: str, release: str) -> bool:
        """Whether a release (its digest) must not run under a registration's name."""
        return registration in self.registrations or release in self.releases
