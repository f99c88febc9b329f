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


def access_group(schema: str) -> str:
    """The channel group of every socket of a tenant, told when somebody may have lost access."""
    return f"access.{schema}"


def hint(resource_type: str) -> None:
    """Tell viewers, after the present transaction commits, that something of this type changed."""
    _offer_on_commit(group_name(current_schema(), resource_type), "hint")


def recheck_access(schema: str = "") -> None:
    """Let the open sockets of a tenant (the present one) ask, after the commit, whether their user may still be there.

    They ask every few seconds anyway; this makes the end of a session, a role or an organization immediate.
    """
    _offer_on_commit(access_group(schema or current_schema()), "access.changed")


def _offer_on_commit(group: str, kind: str) -> None:
    transaction.on_commit(lambda: _courier.offer((group, kind)), robust=True)


_thread = threading.local()


def _send(hint: tuple[str, str]) -> None:
    """Send one hint from the courier's thread, which keeps an event loop and with it the layer's connection.

    Raises:
        TimeoutError, and whatever the layer raises: consumers re-read every few seconds anyway.
    """
    group, kind = hint
    layer = get_channel_layer()
    if layer is None:
        return
    if not hasattr(_thread, "runner"):
        _thread.runner = asyncio.Runner()
    _thread.runner.run(asyncio.wait_for(layer.group_send(group, {"type": kind}), _SEND_S))


_courier = Courier("live", _send)
