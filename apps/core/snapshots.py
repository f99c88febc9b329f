"""Values of a row at one moment, so that the log can say what a command changed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from django.core.serializers.json import DjangoJSONEncoder

from contract.canonical import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from django.db.models import Model

Changes = dict[str, list[Any]]
_HIDDEN = "[hidden]"
_LONGEST = 2000


def snapshot(row: Model) -> dict[str, Any]:
    """The row's concrete fields as JSON values; fields that the model hides are reduced to a fingerprint-free mark."""
    hidden: frozenset[str] = getattr(row, "audit_hidden", frozenset())
    ignored: frozenset[str] = getattr(row, "audit_ignored", frozenset())
    deferred = row.get_deferred_fields()
    return {
        field.attname: _Hidden(getattr(row, field.attname)) if field.name in hidden else getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if field.name not in ignored and field.attname not in deferred
    }


def changes_between(before: dict[str, Any], after: dict[str, Any]) -> Changes:
    """`{field: [before, after]}` of what differs; a missing side is None, a hidden value only says that it changed."""
    return {
        name: [_plain(before.get(name)), _plain(after.get(name))]
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


class _Hidden:
    """A value that can be compared but not read."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden) and self._value == other._value

    def __hash__(self) -> int:
        return hash(str(self._value))


def _plain(value: Any) -> Any:
    if isinstance(value, _Hidden):
        return _HIDDEN
    if isinstance(value, bytes | memoryview):
        return f"[{len(bytes(value))} bytes]"
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}… [{len(value)} characters]"
    return storable(value)


def storable(value: Any) -> Any:
    """The value as JSON that both PostgreSQL and the canonical form of the chain can hold without changing it.

    The log must never be what makes a command fail: what JSON has no exact form for is kept as text.
    """
    return _sound(json.loads(json.dumps(value, cls=DjangoJSONEncoder, skipkeys=True)))


def storable_text(text: str, longest: int) -> str:
    """The text, cut to a column's length, without what PostgreSQL cannot store."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:longest]


def _sound(value: Any) -> Any:
    match value:
        case dict():
            return {storable_text(name, _LONGEST): _sound(child) for name, child in value.items()}
        case list():
            return [_sound(child) for child in value]
        case str():
            return storable_text(value, len(value))
        case bool() | None:
            return value
        case int() if abs(value) > MAX_SAFE_INTEGER:
            return str(value)
        case float() if not math.isfinite(value):
            return str(value)
    return value
