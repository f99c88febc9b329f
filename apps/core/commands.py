"""The one door for every change.

A command opens the transaction, locks what it acts upon, asks whether the actor may, runs, and leaves exactly one
audit event. Callers (pages, API, tasks, consumers) stay thin and can forget none of it.
"""

from __future__ import annotations

import inspect
import uuid
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import Model

from apps.core.actors import Actor
from apps.core.errors import Denied, NotFound
from apps.core.ports import ports
from apps.core.resources import type_of
from apps.core.snapshots import Changes, changes_between, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from apps.core.decisions import Decision

P = ParamSpec("P")
R = TypeVar("R")
Outcome = Literal["succeeded", "denied"]


@dataclass(frozen=True, slots=True)
class Resource:
    """What an event is about, as values: it outlives the row."""

    type: str
    id: str = ""
    label: str = ""

    @classmethod
    def of(cls, model: Model) -> Resource:
        return cls(type_of(model), str(model.pk), str(model))


@dataclass(slots=True)
class PendingEvent:
    """An event that waits for the outermost door to number it."""

    id: uuid.UUID
    action: str
    actor: Actor
    resource: Resource
    outcome: Outcome = "succeeded"
    parent: uuid.UUID | None = None
    changes: Changes = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What the registry knows of a command.

    Attributes:
        action: its name in decisions and in the log, `{resource type}.{verb}`.
        on: the keyword that holds the row which is locked and decided upon; None decides on the collection.
        locks: whether that row is locked before the body runs; where not, the body says what is locked instead.
        open: strangers may call it; `why` says for what reason.
        function: the undecorated body.
    """

    action: str
    on: str | None
    locks: bool
    open: bool
    why: str
    function: Callable[..., Any]

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def resource_type(self) -> str:
        return self.action.partition(".")[0]


registry: dict[str, CommandSpec] = {}


@dataclass(slots=True)
class _Door:
    """The outermost command under way: its buffered events and the chain of commands that are open."""

    events: list[PendingEvent] = field(default_factory=list)
    open_events: list[PendingEvent] = field(default_factory=list)
    denials: list[PendingEvent] = field(default_factory=list)
    recorded_denial: Denied | None = None
    closing: dict[str, Callable[[], None]] = field(default_factory=dict)

    def deny(self, event: PendingEvent, refusal: Denied) -> None:
        """Keep a denial for the log: it outlives the rollback that it causes."""
        event.outcome = "denied"
        event.detail = {"reason": refusal.decision.explanation}
        if self.open_events:
            event.detail["during"] = self.open_events[-1].action
        self.denials.append(event)
        self.recorded_denial = refusal

    def adopted_denials(self) -> list[PendingEvent]:
        """The denials, without a parent where the parent was rolled back and is not in the log."""
        kept = {event.id for event in self.events}
        for denial in self.denials:
            denial.parent = denial.parent if denial.parent in kept else None
        return self.denials


_door: ContextVar[_Door | None] = ContextVar("kaizen_door", default=None)
_completion: ContextVar[Callable[[Any], None] | None] = ContextVar("kaizen_completion", default=None)


def command(
    action: str,
    *,
    on: str | None = None,
    locks: bool = True,
    open: bool = False,  # noqa: A002
    why: str = "",
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as the door to one kind of change.

    The function takes keyword-only arguments, `actor` first, and returns what it changed. The row named by `on` is
    handed to it freshly read and locked; with `locks=False` only read, for a body that has to lock others before it.

    Raises (when the command is called):
        NotFound: the `on` row is gone.
        Denied: the decision function refused; the denial is recorded in a transaction of its own.
    """

    def register(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters
        if next(iter(parameters), "") != "actor" or any(p.kind is not p.KEYWORD_ONLY for p in parameters.values()):
            raise ImproperlyConfigured(f"{action}: a command takes keyword-only arguments, `actor` first.")
        if on is not None and on not in parameters:
            raise ImproperlyConfigured(f"{action}: has no argument “{on}”.")
        if open and not why:
            raise ImproperlyConfigured(f"{action}: a command open to strangers says why.")
        if action in registry and registry[action].function.__qualname__ != function.__qualname__:
            raise ImproperlyConfigured(f"{action}: registered twice.")
        spec = CommandSpec(action, on, locks, open, why, function)
        registry[action] = spec

        @wraps(function)
        def enter(*args: P.args, **kwargs: P.kwargs) -> R:
            outer = _door.get()
            result: R = _nested(spec, dict(kwargs), outer) if outer else _outermost(spec, dict(kwargs))
            return result

        return enter

    return register


def may(actor: Actor, action: str, resource: Model | None = None, **context: Any) -> Decision:
    """Ask without acting: what pages use to show or explain a button. The answer is the enforcer's own."""
    return ports.authorize(actor, action, resource, context)


def require(actor: Actor, action: str, resource: Model | None = None) -> None:
    """Raise unless the actor may; for reads, which are no commands.

    Raises:
        Denied: the decision function refused.
    """
    decision = may(actor, action, resource)
    if not decision.allowed:
        raise Denied(decision)


def note(**detail: Any) -> None:
    """Add facts to the event of the command under way. Values must be JSON and must not be secrets."""
    door = _door.get()
    if door is None or not door.open_events:
        raise ImproperlyConfigured("note() is only for the body of a command.")
    door.open_events[-1].detail.update(detail)


def record_system_event(action: str, resource: Model, **detail: Any) -> None:
    """Append an event for a meaningful transition of observed state, in the caller's transaction.

    Bookkeeping is no command, but a gateway that degrades or heals belongs in the log all the same. Inside a command or
    `bookkeeping()` the event waits for the end, because the head of the log is locked last.
    """
    door = _door.get()
    event = PendingEvent(uuid.uuid4(), action, Actor.system(), Resource.of(resource), detail=detail)
    if door is None:
        ports.record([event])
        return
    event.parent = door.open_events[-1].id if door.open_events else None
    door.events.append(event)


@contextmanager
def bookkeeping() -> Iterator[None]:
    """A transaction for observed state: what it records or leaves for the close comes last, in every door's order.

    Inside a command it is part of that command.
    """
    if _door.get() is not None:
        with transaction.atomic():
            yield
        return
    door = _Door()
    with transaction.atomic(), _opened(door):
        yield
        _close(door)


def at_close(callback: Callable[[], None], *, key: str) -> None:
    """Run the callback at the end of the outermost command, in its transaction, once per key; outside of one, at once.

    For rows that all commands share, such as a tenant's due work: locked in the middle of one command and then in the
    other order by the next, they would make the two wait for each other.
    """
    door = _door.get()
    if door is None:
        callback()
    else:
        door.closing.setdefault(key, callback)


@contextmanager
def completing(callback: Callable[[Any], None]) -> Iterator[None]:
    """Run `callback(result)` once, inside the transaction of the next outermost command, before it commits."""
    token = _completion.set(callback)
    try:
        yield
    finally:
        _completion.reset(token)


@contextmanager
def _opened(door: _Door) -> Iterator[None]:
    """The door stands open for the block alone: what runs on commit must open one of its own, or leave no event."""
    token = _door.set(door)
    try:
        yield
    finally:
        _door.reset(token)


def _close(door: _Door) -> None:
    for close in door.closing.values():
        close()
    # Last, because numbering locks the head of the chain, and every door takes that lock in the same order.
    ports.record([*door.events, *door.adopted_denials()])
    door.denials.clear()


def _outermost(spec: CommandSpec, kwargs: dict[str, Any]) -> Any:
    door = _Door()
    try:
        with transaction.atomic(), _opened(door):
            result = _step(spec, kwargs, door)
            completion = _completion.get()
            if completion is not None:
                _completion.set(None)
                completion(result)
            _close(door)
    except Exception:
        # What was buffered is rolled back, but a refusal stands.
        door.events.clear()
        if door.denials:
            with transaction.atomic():
                ports.record(door.adopted_denials())
        raise
    return result


def _nested(spec: CommandSpec, kwargs: dict[str, Any], door: _Door) -> Any:
    # A savepoint, so that the body around it may go on after an error.
    with transaction.atomic():
        return _step(spec, kwargs, door)


def _step(spec: CommandSpec, kwargs: dict[str, Any], door: _Door) -> Any:
    """One command inside an open door: authorized for itself, leaving its own event under its parent's."""
    mark = len(door.events)
    target = _lock(spec, kwargs)
    actor: Actor = kwargs["actor"]
    event = PendingEvent(
        id=uuid.uuid4(),
        action=spec.action,
        actor=actor,
        resource=Resource.of(target) if target is not None else Resource(spec.resource_type),
        parent=door.open_events[-1].id if door.open_events else None,
    )
    _authorize(spec, actor, target, kwargs, event, door)
    before = snapshot(target) if target is not None else {}
    door.events.append(event)
    door.open_events.append(event)
    try:
        result = spec.function(**kwargs)
    except BaseException as error:
        # What a failed step buffered was rolled back with it, also if the body around it goes on.
        del door.events[mark:]
        if isinstance(error, Denied) and error is not door.recorded_denial:
            # Refused by `require` in the body, which is no command of its own.
            refused = PendingEvent(uuid.uuid4(), error.decision.action, actor, event.resource, parent=event.id)
            door.deny(refused, error)
        raise
    finally:
        door.open_events.pop()
    _complete(event, target, before, result)
    return result


def _lock(spec: CommandSpec, kwargs: dict[str, Any]) -> Model | None:
    """Re-read the row acted upon, as a rule `FOR UPDATE`: what the caller holds may be a page's age old."""
    if spec.on is None:
        return None
    stale: Model = kwargs[spec.on]
    if spec.locks:
        for name in getattr(stale, "locked_under", ()):
            above: Any = stale._meta.get_field(name)
            _row_for_update(above.related_model, getattr(stale, above.attname))
        fresh = _row_for_update(type(stale), stale.pk)
    else:
        fresh = type(stale)._base_manager.filter(pk=stale.pk).first()
    if fresh is None:
        raise NotFound(f"{stale} no longer exists.")
    kwargs[spec.on] = fresh
    return fresh


def _row_for_update(model: type[Model], key: Any) -> Model | None:
    # NO KEY: rows that point to this one may come and go meanwhile. Their foreign keys are checked when their
    # transaction commits, and with the stronger lock two transactions could then wait for each other.
    row: Model | None = model._base_manager.select_for_update(of=("self",), no_key=True).filter(pk=key).first()
    return row


def _authorize(
    spec: CommandSpec,
    actor: Actor,
    target: Model | None,
    kwargs: Mapping[str, Any],
    event: PendingEvent,
    door: _Door,
) -> None:
    if spec.open:
        return
    decision = ports.authorize(actor, spec.action, target, kwargs)
    if decision.allowed:
        return
    refusal = Denied(decision)
    door.deny(event, refusal)
    raise refusal


def _complete(event: PendingEvent, target: Model | None, before: dict[str, Any], result: Any) -> None:
    """Write down what changed: the locked row's fields, or those of the row that came into being."""
    outcome = result[0] if isinstance(result, tuple) and result else result
    if target is not None:
        event.changes = changes_between(before, snapshot(target) if target.pk else {})
    if isinstance(outcome, Model) and outcome is not target:
        if target is None:
            event.resource = Resource.of(outcome)
            event.changes = changes_between({}, snapshot(outcome))
        elif outcome.pk != target.pk or type(outcome) is not type(target):
            made = Resource.of(outcome)
            event.detail["result"] = {"type": made.type, "id": made.id, "label": made.label}
