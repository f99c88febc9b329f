"""What gateways run: immutable, named by its digest."""

from __future__ import annotations

import pgtrigger
from django.db import models

from apps.agents.models import AgentVersion
from apps.core.models import BaseModel

DIGEST_LENGTH = 71


class Release(BaseModel):
    """What a version compiles to for gateways: immutable canonical JSON, named by its sha256.

    Attributes:
        digest: `sha256:<hex>` of `body`.
        body: the canonical JSON; `contract.release.Release` reads it.
    """

    access_scopes = ("agent_version",)
    audit_hidden = frozenset({"body"})

    digest = models.CharField(max_length=DIGEST_LENGTH, unique=True)
    body = models.BinaryField()
    agent_version = models.OneToOneField(AgentVersion, on_delete=models.PROTECT, related_name="release")

    class Meta:
        ordering = ["-created_at"]
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.agent_version.agent.slug} version {self.agent_version.number}"

    @property
    def number(self) -> int:
        """The number of the version behind it."""
        return self.agent_version.number
