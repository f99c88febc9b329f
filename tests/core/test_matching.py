"""Comparing is right for every pair of sequences, and no pair makes it slow."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.core.diffs import diff_texts
from apps.core.matching import Budget, runs

_ITEMS = st.lists(st.sampled_from("abcde"), max_size=30)


@settings(deadline=None)
@given(_ITEMS, _ITEMS, st.sampled_from([0, 20, 10_000]))
def test_the_runs_tell_how_one_became_the_other(before: list[str], after: list[str], pairs: int) -> None:
    found = runs(before, after, Budget(pairs))
    assert [item for run in found for item in before[run.i1 : run.i2]] == before
    assert [item for run in found for item in after[run.j1 : run.j2]] == after
    for run in found:
        assert (run.tag == "equal") == (before[run.i1 : run.i2] == after[run.j1 : run.j2])
    assert all(one.tag != other.tag for one, other in itertools.pairwise(found))


def test_a_deletion_and_an_insertion_that_join_to_the_same_are_no_change() -> None:
    found = runs(list("acabab" + "ccaa"), list("cabbccaa"), Budget(0))
    assert all((run.tag == "equal") == ("acababccaa"[run.i1 : run.i2] == "cabbccaa"[run.j1 : run.j2]) for run in found)


def test_what_stayed_is_found_between_what_changed() -> None:
    found = runs(list("abXcdYe"), list("abcZde"), Budget(1_000))
    assert "".join("abXcdYe"[run.i1 : run.i2] for run in found if run.tag == "equal") == "abcde"


def test_words_are_marked_without_the_space_behind_them() -> None:
    removed, added = diff_texts("answer in one   sentence", "answer in two   sentence, briefly")
    assert removed.segments == (("answer in ", False), ("one", True), ("   sentence", False))
    assert added.segments == (("answer in ", False), ("two", True), ("   sentence", False), (", briefly", True))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["a"] * 50_000, ["b", *["a"] * 50_000, "c"]),
        (["x"] * 50_000, ["x", "y"] * 25_000),
        (["x " * 990] * 50, ["x y " * 495] * 50),
        ([" ".join(map(str, range(400)))] * 50, [" q ".join(map(str, range(300)))] * 50),
        ([str(number) for number in range(20_000)], [str(number) for number in range(20_000, 0, -1)]),
    ],
    ids=["equal lines", "alternating lines", "equal words", "interleaved words", "reversed lines"],
)
def test_no_text_holds_up_a_page(old: list[str], new: list[str]) -> None:
    """difflib alone takes from minutes to hours for each of these."""
    started = time.process_time()
    lines = diff_texts("\n".join(old), "\n".join(new))
    assert time.process_time() - started < 5
    assert 0 < len(lines) <= 4_001
