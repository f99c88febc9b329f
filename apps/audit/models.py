"""The event log of one schema and the head of its hash chain."""

from __future__ import annotations

import uuid
from typing import Any

import pgtrigger
from django.db import models

GENESIS = "0" * 64


class Event(models.Model):
    """One thing that happened, or was refused. Rows are only ever added; PostgreSQL refuses anything else.

    Actor and resource are values and not foreign keys: the log outlives what it speaks of.
    """

    sequence = models.BigIntegerField(primary_key=True)
    id = models.UUIDField(unique=True, default=uuid.uuid4)
    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=100, db_index=True)
    outcome = models.CharField(max_length=10, choices=[("succeeded", "succeeded"), ("denied", "denied")])
    actor_kind = models.CharField(max_length=20)
    actor_id = models.CharField(max_length=64, blank=True)
    actor_label = models.CharField(max_length=320)
    actor_via = models.CharField(max_length=100, blank=True)
    actor_address = models.CharField(max_length=64, blank=True)
    resource_type = models.CharField(max_length=60)
    resource_id = models.CharField(max_length=64, blank=True)
    resource_label = models.CharField(max_length=300, blank=True)
    parent = models.UUIDField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    changes = models.JSONField(default=dict)
    detail = models.JSONField(default=dict)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["-sequence"]
        indexes = [models.Index(fields=["resource_type", "resource_id", "-sequence"], name="event_resource")]
        constraints = [models.CheckConstraint(condition=models.Q(sequence__gt=0), name="event_sequence_positive")]
        triggers = [
            pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete),
            pgtrigger.Trigger(
                name="no_truncate",
                operation=pgtrigger.Truncate,
                when=pgtrigger.Before,
                level=pgtrigger.Statement,
                func="RAISE EXCEPTION 'the audit log is append-only';",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action}"

    def hashed_content(self) -> dict[str, Any]:
        """What the hash covers: every column but the hash itself, as JSON values."""
        return {
            "sequence": self.sequence,
            "id": str(self.id),
            "at": self.at.isoformat(),
            "action": self.action,
            "outcome": self.outcome,
            "actor": [self.actor_kind, self.actor_id, self.actor_label, self.actor_via, self.actor_address],
            "resource": [self.resource_type, self.resource_id, self.resource_label],
            "parent": str(self.parent) if self.parent else None,
            "request_id": self.request_id,
            "changes": self.changes,
            "detail": self.detail,
            "previous_hash": self.previous_hash,
        }


class ChainHead(models.Model):
    """The last number and hash of the log. Locking this one row is what orders the events of a tenant."""

    id = models.BooleanField(primary_key=True, default=True)
    sequence = models.BigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=GENESIS)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=True), name="one_chain_head")]

    def __str__(self) -> str:
        return f"{self.sequence}"
