"""Which parts of two sequences are the same, at a cost that no input can drive up.

`difflib` takes time in the cube of the lengths when the same items keep coming back: 50,000 equal lines would hold a
web process for hours. So the common ends are cut off first, then items that occur once on both sides hold the two
sequences together (patience diff), and only the gaps between them are left to `difflib`, within a budget.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Tag = Literal["equal", "replace", "delete", "insert"]
Anchor = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """`before[i1:i2]` became `after[j1:j2]`."""

    tag: Tag
    i1: int
    i2: int
    j1: int
    j2: int


@dataclass(slots=True)
class Budget:
    """What may still be spent on comparing.

    Attributes:
        pairs: how many pairs of equal items may still be looked at.
    """

    pairs: int

    def afford(self, before: Sequence[str], after: Sequence[str]) -> bool:
        """Whether comparing these is within the budget; what it costs is taken off."""
        counts = Counter(before)
        cost = len(before) + sum(counts[item] for item in after)
        if cost > self.pairs:
            return False
        self.pairs -= cost
        return True


def runs(before: Sequence[str], after: Sequence[str], budget: Budget) -> list[Run]:
    """How one sequence became the other; where the budget is spent, whole gaps count as replaced."""
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    end = (len(before) - tail, len(after) - tail)
    anchors = _anchors(before[head : end[0]], after[head : end[1]])
    held = [(head - 1, head - 1), *((i + head, j + head) for i, j in anchors), end]
    found = [Run("equal", 0, head, 0, head)]
    for (i1, j1), (i2, j2) in pairwise(held):
        found += _gap(before[i1 + 1 : i2], after[j1 + 1 : j2], i1 + 1, j1 + 1, budget)
        if (i2, j2) != end:
            found.append(Run("equal", i2, i2 + 1, j2, j2 + 1))
    found.append(Run("equal", end[0], len(before), end[1], len(after)))
    return list(_joined([_named(run, before, after) for run in _joined(found)]))


def _anchors(before: Sequence[str], after: Sequence[str]) -> list[Anchor]:
    """The longest ascending series of places whose items occur once on each side."""
    here, there = Counter(before), Counter(after)
    places = {item: j for j, item in enumerate(after) if there[item] == 1}
    matches = [(i, places[item]) for i, item in enumerate(before) if here[item] == 1 and item in places]
    ends: list[int] = []
    tops: list[int] = []
    previous: list[int] = []
    for index, (_, j) in enumerate(matches):
        pile = bisect_left(ends, j)
        previous.append(tops[pile - 1] if pile else -1)
        ends[pile : pile + 1] = [j]
        tops[pile : pile + 1] = [index]
    series: list[Anchor] = []
    at = tops[-1] if tops else -1
    while at >= 0:
        series.append(matches[at])
        at = previous[at]
    return series[::-1]


def _gap(before: Sequence[str], after: Sequence[str], i: int, j: int, budget: Budget) -> Iterator[Run]:
    """What happened between two anchors."""
    if not before and not after:
        return
    if before and after and budget.afford(before, after):
        for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            yield Run(tag, i + i1, i + i2, j + j1, j + j2)
        return
    whole: Tag = "replace" if before and after else "delete" if before else "insert"
    yield Run(whole, i, i + len(before), j, j + len(after))


def _joined(found: Sequence[Run]) -> Iterator[Run]:
    """Neighbours that are equal, or that both changed, as one."""
    last: Run | None = None
    for run in found:
        if run.i1 == run.i2 and run.j1 == run.j2:
            continue
        if last is not None and (last.tag == "equal") == (run.tag == "equal"):
            tag: Tag = last.tag if last.tag == run.tag else "replace"
            last = Run(tag, last.i1, run.i2, last.j1, run.j2)
            continue
        if last is not None:
            yield last
        last = run
    if last is not None:
        yield last


def _named(run: Run, before: Sequence[str], after: Sequence[str]) -> Run:
    """A run as what it is: a deletion and an insertion from both sides of an anchor may join to the same items."""
    if run.tag == "replace" and before[run.i1 : run.i2] == after[run.j1 : run.j2]:
        return replace(run, tag="equal")
    return run


def _common(before: Sequence[str], after: Sequence[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
