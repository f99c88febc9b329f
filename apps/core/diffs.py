"""Differences for people: texts by line with the changed words marked, records field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from apps.core.matching import Budget, Run, runs

Kind = Literal["same", "removed", "added", "skipped"]
Segment = tuple[str, bool]

CONTEXT_LINES = 3
# White space goes with the word before it: as a word of its own it would be the one that all texts share.
_WORDS = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")
# Beneath this likeness, marking words inside a replaced line only makes confetti.
_ALIKE = 0.4
# What comparing may cost: far above what people write, far below what would be felt (see `matching`).
_LINE_PAIRS = 40_000
_WORD_PAIRS = 4_000
_MARKED_CHARACTERS = 40_000
_MOST_SHOWN = 4_000


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
    to_mark = _MARKED_CHARACTERS
    for run in runs(before, after, Budget(_LINE_PAIRS)):
        if run.tag == "equal":
            at_start, at_end = run.i1 == 0, run.i2 == len(before)
            lines += _folded(before, run, keep_head=not at_start, keep_tail=not at_end)
        else:
            lines += _replaced(before[run.i1 : run.i2], after[run.j1 : run.j2], run, to_mark)
            to_mark -= sum(map(len, before[run.i1 : run.i2])) + sum(map(len, after[run.j1 : run.j2]))
    # Texts that differ only in how they end (a trailing newline) have no differing line to show.
    return _capped(lines) if any(line.kind in ("removed", "added") for line in lines) else ()


def _capped(lines: list[DiffLine]) -> tuple[DiffLine, ...]:
    """As many lines as a page can hold."""
    if len(lines) <= _MOST_SHOWN:
        return tuple(lines)
    rest = DiffLine("skipped", None, None, ((f"{len(lines) - _MOST_SHOWN} further lines are not shown", False),))
    return (*lines[:_MOST_SHOWN], rest)


def _folded(before: list[str], run: Run, *, keep_head: bool, keep_tail: bool) -> Iterator[DiffLine]:
    head = CONTEXT_LINES if keep_head else 0
    tail = CONTEXT_LINES if keep_tail else 0
    length = run.i2 - run.i1
    hidden = length - head - tail
    for offset in range(length):
        if hidden > 1 and head <= offset < head + hidden:
            if offset == head:
                yield DiffLine("skipped", None, None, ((f"{hidden} unchanged lines", False),))
            continue
        number = run.i1 + offset
        yield DiffLine("same", number + 1, run.j1 + offset + 1, ((before[number], False),))


def _replaced(before: list[str], after: list[str], run: Run, to_mark: int) -> Iterator[DiffLine]:
    """The lines of a run that changed; the words of those that stand opposite each other are compared."""
    left: list[tuple[Segment, ...]] = [((line, False),) for line in before]
    right: list[tuple[Segment, ...]] = [((line, False),) for line in after]
    for offset, (old, new) in enumerate(zip(before, after, strict=False)):
        to_mark -= len(old) + len(new)
        if to_mark < 0:
            break
        left[offset], right[offset] = _words(old, new)
    for offset, segments in enumerate(left):
        yield DiffLine("removed", run.i1 + offset + 1, None, segments)
    for offset, segments in enumerate(right):
        yield DiffLine("added", None, run.j1 + offset + 1, segments)


def _words(old: str, new: str) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
    """The changed words of a line that replaced another."""
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    found = runs([word.strip() for word in before], [word.strip() for word in after], Budget(_WORD_PAIRS))
    same = sum(run.i2 - run.i1 for run in found if run.tag == "equal")
    if 2 * same < _ALIKE * (len(before) + len(after)):
        return ((old, False),), ((new, False),)
    left = [(before[run.i1 : run.i2], run.tag != "equal") for run in found]
    right = [(after[run.j1 : run.j2], run.tag != "equal") for run in found]
    return _segments(left), _segments(right)


def _segments(pieces: list[tuple[list[str], bool]]) -> tuple[Segment, ...]:
    """Pieces of a line; the white space behind a changed word is not part of the mark."""
    segments: list[Segment] = []
    for words, changed in pieces:
        text = "".join(words)
        word = text.rstrip() if changed else text
        segments += [(word, changed), (text[len(word) :], False)]
    joined: list[Segment] = []
    for text, changed in filter(lambda segment: segment[0], segments):
        if joined and joined[-1][1] == changed:
            joined[-1] = (joined[-1][0] + text, changed)
        else:
            joined.append((text, changed))
    return tuple(joined)


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
