"""Appending to the chain and verifying it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from django.db import transaction
from django.utils import timezone

from apps.audit.models import GENESIS, ChainHead, Event
from apps.core.live import hint
from apps.core.tenancy import in_public, tenant
from apps.tenants.models import Organization
from contract.canonical import canonical_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apps.core.commands import PendingEvent


def record(pending: Sequence[PendingEvent]) -> None:
    """Append events; an operator's act on an organization is written in that organization's own log as well.

    The public head is locked first, always, so that two operators cannot wait for each other.
    """
    append(pending)
    if not in_public():
        return
    for event in pending:
        schema = _organization_schema(event)
        if schema is not None:
            with tenant(schema):
                append([event])


def _organization_schema(event: PendingEvent) -> str | None:
    """The schema that an event of the public log concerns, if it has one already."""
    if event.resource.type != "organization" or not event.resource.id:
        return None
    schema: str | None = (
        Organization.objects.filter(pk=event.resource.id)
        .exclude(schema_name="public")
        .exclude(status=Organization.Status.PROVISIONING)
        .values_list("schema_name", flat=True)
        .first()
    )
    return schema


def append(pending: Sequence[PendingEvent]) -> None:
    """Number and chain events at the end of the log of the current schema, inside the caller's transaction.

    The head is locked here and nowhere else, after all other locks of the command, so that two commands cannot wait
    for each other; numbers come from it and not from a sequence, so that a rollback leaves no gap.
    """
    if not pending:
        return
    with transaction.atomic():
        ChainHead.objects.get_or_create(id=True)
        head = ChainHead.objects.select_for_update().get(id=True)
        rows = []
        for event in pending:
            row = _row(event, head)
            head.sequence, head.hash = row.sequence, row.hash
            rows.append(row)
        Event.objects.bulk_create(rows)
        head.save(update_fields=["sequence", "hash"])
    for resource_type in {row.resource_type for row in rows} | {"event"}:
        hint(resource_type)


def _row(event: PendingEvent, head: ChainHead) -> Event:
    context = structlog.contextvars.get_contextvars()
    row = Event(
        sequence=head.sequence + 1,
        id=event.id,
        at=timezone.now(),
        action=event.action,
        outcome=event.outcome,
        actor_kind=event.actor.kind,
        actor_id=event.actor.id,
        actor_label=event.actor.label[:320],
        actor_via=event.actor.via,
        actor_address=event.actor.address,
        resource_type=event.resource.type,
        resource_id=event.resource.id,
        resource_label=event.resource.label[:300],
        parent=event.parent,
        request_id=str(context.get("request_id", ""))[:64],
        changes=event.changes,
        detail=event.detail,
        previous_hash=head.hash,
    )
    row.hash = hash_of(row)
    return row


def hash_of(event: Event) -> str:
    """sha256 over the canonical JSON of the row, which holds the previous row's hash."""
    return hashlib.sha256(canonical_json(event.hashed_content())).hexdigest()


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of reading the whole chain.

    Attributes:
        events: how many events were read.
        broken_at: the sequence number of the first event that does not fit, or None.
        problem: what is wrong with it, in words.
    """

    events: int
    broken_at: int | None = None
    problem: str = ""


def verify() -> Verification:
    """Read the log of the current schema from its first event and check every link."""
    expected, previous, count = 1, GENESIS, 0
    for event in Event.objects.order_by("sequence").iterator(chunk_size=500):
        if event.sequence != expected:
            return Verification(count, expected, f"event {expected} is missing")
        if event.previous_hash != previous:
            return Verification(count, event.sequence, "does not follow from the event before it")
        if event.hash != hash_of(event):
            return Verification(count, event.sequence, "was altered: its hash does not fit its content")
        expected, previous, count = event.sequence + 1, event.hash, count + 1
    head = ChainHead.objects.filter(id=True).first()
    if head is not None and (head.sequence, head.hash) != (count, previous):
        return Verification(count, count + 1, "the last events are missing: the head of the chain is further on")
    return Verification(count)
