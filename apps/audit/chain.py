"""Appending to the chain and verifying it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from django.db import transaction
from django.utils import timezone

from apps.audit.models import GENESIS, ChainHead, Event
from apps.core.live import hint
from apps.core.snapshots import storable, storable_text
from apps.core.tenancy import in_public, tenant
from apps.tenants.models import Domain, Organization
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
    concerning: dict[str, list[PendingEvent]] = {}
    for event in pending:
        for schema in _organization_schemas(event):
            concerning.setdefault(schema, []).append(event)
    for schema in sorted(concerning):
        with tenant(schema):
            append(concerning[schema])


def _organization_schemas(event: PendingEvent) -> list[str]:
    """The schemas of the organizations that an event of the public log concerns, as far as they have one already."""
    if event.resource.type == "organization":
        concerned: set[Any] = {event.resource.id}
    elif event.resource.type == "domain":
        # A host name may be taken from one organization and given to another: both are told.
        present = Domain.objects.filter(pk=event.resource.id or None).values_list("tenant_id", flat=True)
        concerned = {*present, *event.changes.get("tenant_id", ())}
    else:
        return []
    return list(
        Organization.objects.filter(pk__in=[key for key in concerned if key])
        .exclude(schema_name="public")
        .exclude(status=Organization.Status.PROVISIONING)
        .values_list("schema_name", flat=True)
    )


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
        actor_label=storable_text(event.actor.label, 320),
        actor_via=storable_text(event.actor.via, 100),
        actor_address=storable_text(event.actor.address, 64),
        resource_type=event.resource.type,
        resource_id=storable_text(event.resource.id, 64),
        resource_label=storable_text(event.resource.label, 300),
        parent=event.parent,
        request_id=storable_text(str(context.get("request_id", "")), 64),
        changes=storable(event.changes),
        detail=storable(event.detail),
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
    """Read the log of the current schema from its first event and check every link, while others may go on writing.

    The head is read before the events and again after them: an event and its place in the head commit together, so the
    events that are read reach at least to the first head and at most to the second.
    """
    start = _head()
    expected, previous, count = 1, GENESIS, 0
    for event in Event.objects.order_by("sequence").iterator(chunk_size=500):
        if event.sequence != expected:
            return Verification(count, expected, f"event {expected} is missing")
        if event.previous_hash != previous:
            return Verification(count, event.sequence, "does not follow from the event before it")
        if event.hash != hash_of(event):
            return Verification(count, event.sequence, "was altered: its hash does not fit its content")
        expected, previous, count = event.sequence + 1, event.hash, count + 1
        if event.sequence == start.sequence and event.hash != start.hash:
            return Verification(count, event.sequence, "is not the event that the head of the chain names")
    if count < start.sequence:
        return Verification(count, count + 1, "the last events are missing: the head of the chain is further on")
    if count > _head().sequence:
        return Verification(count, start.sequence + 1, "stands behind the head of the chain: Studio did not append it")
    return Verification(count)


def _head() -> ChainHead:
    return ChainHead.objects.filter(id=True).first() or ChainHead()
