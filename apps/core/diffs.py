"""Differences for people: texts by line with the changed words marked, records field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

Kind = Literal["same", "removed", "added", "skipped"]
Segment = tuple[str, bool]

CONTEXT_LINES = 3
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
# Beneath this likeness, marking words inside a replaced line only makes confetti.
_ALIKE = 0.4
# Comparing by words costs the product of both lengths.
_LONGEST_LINE = 2_000


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a difference.

    Attributes:
        kind: `skipped` stands for a run of equal lines that is left out; its text says how many.
        old, new: line numbers from 1, or None where the line does not exist on that side.
        segments: the text in pieces; True marks a piece that changed within the line.
    """

    kind: Kind
    old: int | None
    new: int | None
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """The difference of one field; no lines when it is the same."""

    name: str
    lines: tuple[DiffLine, ...]


def diff_texts(old: str, new: str) -> tuple[DiffLine, ...]:
    """Compare two texts line by line; empty when they are equal."""
    if old == new:
        return ()
    before, after = old.splitlines(), new.splitlines()
    lines: list[DiffLine] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            at_start, at_end = i1 == 0, i2 == len(before)
            lines += _folded(before, i1, i2, j1, keep_head=not at_start, keep_tail=not at_end)
        else:
            lines += _replaced(before, i1, i2, after, j1, j2)
    # Texts that differ only in how they end (a trailing newline) have no differing line to show.
    return tuple(lines) if any(line.kind in ("removed", "added") for line in lines) else ()


def _folded(
    before: list[str], start: int, end: int, new_start: int, *, keep_head: bool, keep_tail: bool
) -> Iterator[DiffLine]:
    head = CONTEXT_LINES if keep_head else 0
    tail = CONTEXT_LINES if keep_tail else 0
    hidden = end - start - head - tail
    for offset in range(end - start):
        if hidden > 1 and head <= offset < head + hidden:
            if offset == head:
                yield DiffLine("skipped", None, None, ((f"{hidden} unchanged lines", False),))
            continue
        yield DiffLine("same", start + offset + 1, new_start + offset + 1, ((before[start + offset], False),))


def _replaced(before: list[str], i1: int, i2: int, after: list[str], j1: int, j2: int) -> Iterator[DiffLine]:
    pairs = {offset: _words(before[i1 + offset], after[j1 + offset]) for offset in range(min(i2 - i1, j2 - j1))}
    for offset in range(i2 - i1):
        text = pairs[offset][0] if offset in pairs else ((before[i1 + offset], False),)
        yield DiffLine("removed", i1 + offset + 1, None, text)
    for offset in range(j2 - j1):
        text = pairs[offset][1] if offset in pairs else ((after[j1 + offset], False),)
        yield DiffLine("added", None, j1 + offset + 1, text)


def _words(old: str, new: str) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """The changed words of a line that replaced another."""
    plain = ((old, False),), ((new, False),)
    if len(old) > _LONGEST_LINE or len(new) > _LONGEST_LINE:
        return plain
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return plain
    left: list[Segment] = []
    right: list[Segment] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        changed = tag != "equal"
        if i2 > i1:
            left.append(("".join(before[i1:i2]), changed))
        if j2 > j1:
            right.append(("".join(after[j1:j2]), changed))
    return tuple(left), tuple(right)


def diff_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[FieldDiff, ...]:
    """Compare two records field by field, in the order of the new one; structured values as sorted JSON."""
    names = [*new, *(name for name in old if name not in new)]
    return tuple(FieldDiff(name, diff_texts(_text(old.get(name)), _text(new.get(name)))) for name in names)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return str(value)
