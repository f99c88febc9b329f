"""Reads of agents: one side of a comparison, the differences between two, and an agent's history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from apps.agents.definitions import Definition
from apps.core.diffs import DiffLine, diff_texts
from apps.core.errors import NotFound
from contract.canonical import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from apps.agents.models import Agent

DRAFT = "draft"
LABELS: Mapping[str, str] = {
    "name": "Name",
    "description": "Description",
    "instructions": "Instructions",
    "model_profile": "Model profile",
    "temperature": "Temperature",
    "max_tokens": "Max tokens",
    "memory": "Memory",
    "input_schema": "Input schema",
    "output_schema": "Output schema",
}
_TEXTS = ("description", "instructions")
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        key: `draft` or the version's number, as it stands in addresses.
        label: `Draft` or `Version 3`.
    """

    key: str
    label: str
    definition: Definition


@dataclass(frozen=True, slots=True)
class Edit:
    """One place in a structured value that differs.

    Attributes:
        path: where, such as `properties.message.type`; empty for the whole value.
        kind: `added` has no `before`, `removed` no `after`.
    """

    path: str
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A member of the definition that differs.

    Attributes:
        lines: for texts, the lines with their changed words marked.
        edits: for structured values, each place that differs.
    """

    field: str
    before: Any
    after: Any
    lines: tuple[DiffLine, ...] = ()
    edits: tuple[Edit, ...] = ()


def side(agent: Agent, key: str) -> Side:
    """The draft or a version of an agent.

    Raises:
        NotFound: the agent has no such version.
    """
    if key == DRAFT:
        return Side(DRAFT, "Draft", agent.definition)
    version = agent.versions.filter(number=int(key)).first() if re.fullmatch(r"[1-9]\d{0,8}", key) else None
    if version is None:
        raise NotFound(f"{agent} has no version “{key[:20]}”.")
    return Side(str(version.number), f"Version {version.number}", version.definition)


def compare(old: Definition, new: Definition) -> tuple[FieldChange, ...]:
    """What differs between two definitions, member by member."""
    return tuple(_changes(old.to_json(), new.to_json()))


def readable(definition: Definition | None) -> dict[str, Any]:
    """A definition by the labels that people read, for the `diff` component; empty for none."""
    if definition is None:
        return {}
    return {LABELS[name]: value for name, value in definition.members().items()}


def unbound_placeholders(definition: Definition) -> tuple[str, ...]:
    """`{{…}}` in the instructions that name no declared input: a gateway leaves them standing as they are."""
    names = dict.fromkeys(_PLACEHOLDER.findall(definition.instructions))
    return tuple(f"{{{{{name}}}}}" for name in names if name not in definition.input_schema.get("properties", {}))


def _same(old: object, new: object) -> bool:
    """As JSON sees it: Python holds 1 and True for equal."""
    return canonical_json(old) == canonical_json(new)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[FieldChange]:
    for name in Definition.NAMES:
        before, after = old[name], new[name]
        if _same(before, after):
            continue
        if name in _TEXTS:
            yield FieldChange(name, before, after, lines=diff_texts(before, after))
        elif isinstance(before, dict) and isinstance(after, dict):
            yield FieldChange(name, before, after, edits=tuple(_edits(before, after, "")))
        else:
            yield FieldChange(name, before, after)


def _edits(old: Any, new: Any, path: str) -> Iterator[Edit]:
    """The places that differ, as deep as both sides are objects; lists are compared whole."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if not _same(old, new):
            yield Edit(path, "changed", old, new)
        return
    for key in [*old, *(key for key in new if key not in old)]:
        place = f"{path}.{key}" if path else key
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if before is _ABSENT:
            yield Edit(place, "added", after=after)
        elif after is _ABSENT:
            yield Edit(place, "removed", before=before)
        else:
            yield from _edits(before, after, place)
