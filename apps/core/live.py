"""Live pages: hints that something changed, and the fragments that are re-read when a hint arrives.

A hint carries a name and never content, so that a lost or forged one can delay a page but never deceive it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

from apps.core.actors import Actor
from apps.core.tenancy import current_schema

log = structlog.get_logger(__name__)

Render = Callable[[Actor, str], str]


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a page that is re-rendered for each viewer.

    Attributes:
        name: the path segment under `/ws/live/`.
        listens_to: resource types whose changes may alter it.
        render: `(actor, id) -> html`; checks the actor's permission and raises `NotFound` or `Denied` itself.
    """

    name: str
    listens_to: tuple[str, ...]
    render: Render


fragments: dict[str, Fragment] = {}


def fragment(name: str, *, listens_to: tuple[str, ...]) -> Callable[[Render], Render]:
    """Register a function as the renderer of a live fragment."""

    def register(render: Render) -> Render:
        fragments[name] = Fragment(name, listens_to, render)
        return render

    return register


def group_name(schema: str, resource_type: str) -> str:
    """The channel group of one resource type in one tenant. Channels allows ASCII letters, digits, `-`, `_` and `.`."""
    return f"live.{schema}.{resource_type}"


def hint(resource_type: str) -> None:
    """Tell viewers, after the present transaction commits, that something of this type changed."""
    schema = current_schema()
    transaction.on_commit(lambda: _send(schema, resource_type), robust=True)


def _send(schema: str, resource_type: str) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(layer.group_send)(group_name(schema, resource_type), {"type": "hint", "resource": resource_type})
    except (OSError, RuntimeError, ConnectionError, TimeoutError) as error:
        # Consumers re-read every few seconds anyway.
        log.warning("live_hint_lost", resource=resource_type, reason=type(error).__name__)
