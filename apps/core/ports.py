"""What `core.commands` and the generic pages need from higher floors.

`access` fills the first three when Django starts, `audit` the last. An unfilled port refuses, so that a missing app
can never mean that everything is allowed or that nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db.models import Model, QuerySet

from apps.core.actors import Actor
from apps.core.decisions import Decision

if TYPE_CHECKING:
    from apps.core.commands import PendingEvent

Authorize = Callable[[Actor, str, Model | None, Mapping[str, Any]], Decision]
Record = Callable[[Sequence["PendingEvent"]], None]
Visible = Callable[["QuerySet[Any]", Actor, str], "QuerySet[Any]"]


def _unfilled(*_: object, **__: object) -> Any:
    raise ImproperlyConfigured("A port of apps.core is unfilled: apps.access and apps.audit must be installed.")


class Ports:
    """The filled ports of this process."""

    authorize: Authorize = staticmethod(_unfilled)
    visible: Visible = staticmethod(_unfilled)
    record: Record = staticmethod(_unfilled)


ports = Ports()

# What higher floors do in a new organization, inside its schema, once that stands. Each step is safe to repeat.
founding_steps: list[Callable[[], None]] = []
