"""Live pages: hints that something changed, and the fragments that are re-read when a hint arrives.

A hint carries a name and never content, so that a lost or forged one can delay a page but never deceive it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from channels.layers import get_channel_layer
from django.db import transaction

from apps.core.actors import Actor
from apps.core.courier import Courier
from apps.core.tenancy import current_schema

# The layer itself has no time-out: an idle socket must live (see CHANNEL_LAYERS).
_SEND_S = 2.0
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
    transaction.on_commit(lambda: _courier.offer((schema, resource_type)), robust=True)


_thread = threading.local()


def _send(place: tuple[str, str]) -> None:
    """Send one hint from the courier's thread, which keeps an event loop and with it the layer's connection.

    Raises:
        TimeoutError, and whatever the layer raises: consumers re-read every few seconds anyway.
    """
    schema, resource_type = place
    layer = get_channel_layer()
    if layer is None:
        return
    if not hasattr(_thread, "runner"):
        _thread.runner = asyncio.Runner()
    message = {"type": "hint", "resource": resource_type}
    _thread.runner.run(asyncio.wait_for(layer.group_send(group_name(schema, resource_type), message), _SEND_S))


_courier = Courier("live", _send)
