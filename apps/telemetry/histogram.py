"""Durations as a small histogram: it adds up over gateways and minutes, and quantiles can be read from the sum."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Upper bounds in milliseconds, inclusive; what is longer than the last falls into one more bucket. Stored rows depend
# on them: other bounds need a migration of the stored histograms.
BOUNDS_MS: tuple[int, ...] = (
    5, 10, 20, 50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 30_000, 60_000,
)  # fmt: skip
BUCKETS = len(BOUNDS_MS) + 1


def bucket_of(duration_ms: float) -> int:
    """The index of the bucket that a duration falls into."""
    return bisect_left(BOUNDS_MS, duration_ms)


def quantile(counts: Sequence[int], share: float, longest_ms: float) -> float | None:
    """The duration in milliseconds that `share` (0 to 1) of the executions did not exceed; None without executions.

    Within a bucket the executions are taken to be spread evenly, so the answer is off by at most a bucket's width. No
    answer is above `longest_ms`, the longest duration that was seen.
    """
    sums = list(accumulate(counts))
    if not sums or sums[-1] == 0:
        return None
    if sums[-1] == 1:
        return longest_ms
    rank = share * sums[-1]
    at = next(index for index, below in enumerate(sums) if below >= rank and counts[index])
    lower = BOUNDS_MS[at - 1] if at else 0
    upper = min(BOUNDS_MS[at], longest_ms) if at < len(BOUNDS_MS) else longest_ms
    within = (rank - (sums[at] - counts[at])) / counts[at]
    return min(lower + max(0.0, upper - lower) * within, longest_ms)
