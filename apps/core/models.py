"""The base of our models, and the record of answered `Idempotency-Key`s."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models


class BaseModel(models.Model):
    """A row with an identifier that means nothing in any other schema, and the times of its making and last change.

    Attributes:
        audit_hidden: fields whose change is recorded without its values (secrets, large bodies).
        audit_ignored: fields that are bookkeeping and never recorded.
        access_scopes: names of foreign keys whose targets also carry grants for this row, nearest first: a grant of
            `deployment.rollback` on an environment covers the deployments in it.
        locked_under: names of foreign keys whose targets a command on this row locks first, outermost first. Deploying
            locks an environment and then rows in it; a command that starts at such a row must take the same order, or
            the two wait for each other.
    """

    audit_hidden: ClassVar[frozenset[str]] = frozenset()
    audit_ignored: ClassVar[frozenset[str]] = frozenset({"updated_at"})
    access_scopes: ClassVar[tuple[str, ...]] = ()
    locked_under: ClassVar[tuple[str, ...]] = ()

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    class Meta:
        abstract = True


class IdempotencyRecord(models.Model):
    """The answer that was given to a POST with an `Idempotency-Key`, kept for a day.

    `status` is null while the first request is under way. The row is completed in the transaction of the command, so
    that a crash leaves either no effect or a replayable answer.
    """

    key = models.CharField(max_length=255)
    actor_id = models.CharField(max_length=64)
    method_path = models.CharField(max_length=500)
    request_digest = models.CharField(max_length=71)
    status = models.PositiveSmallIntegerField(null=True)
    # JSON as text: a column of type jsonb forgets the order of an object's members, and a replay would look different.
    body = models.TextField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["actor_id", "key"], name="idempotency_key_per_actor")]

    def __str__(self) -> str:
        return self.key
