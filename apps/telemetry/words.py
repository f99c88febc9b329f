"""Figures in words, short enough for a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from apps.telemetry.queries import Figures

NOTHING = "–"  # noqa: RUF001  the dash that stands for no figure


def error_words(figures: Figures) -> str:
    """`3 errors (1.2 %)`, for the line under a number of executions."""
    if not figures.executions:
        return "nothing ran"
    if figures.error_share is None or not figures.errors:
        return "no errors"
    return f"{figures.errors:,} error{'s' if figures.errors > 1 else ''} ({figures.error_share:.1%})"


def duration_words(milliseconds: float | None) -> str:
    """`840 ms`, `1.3 s`, `2 min 5 s`; a dash for nothing."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    return f"{minutes} min {seconds} s"


def count_words(count: int) -> str:
    """`9,876`, `12.3k`, `4.5M`: exact as long as that is short."""
    if count < 10_000:
        return f"{count:,}"
    if count < 1_000_000:
        return f"{count / 1_000:.1f}k"
    return f"{count / 1_000_000:.1f}M"


def money_words(amount: Decimal | None, currency: str) -> str:
    """`EUR 1.50`, `USD 0.0042`: cents, or two digits that say something where it is less; a dash for nothing."""
    if amount is None:
        return NOTHING
    if not amount:
        return f"{currency} 0".strip()
    decimals = 2 if abs(amount) >= 1 else max(2, 1 - amount.adjusted())
    text = f"{amount:,.{decimals}f}"
    return f"{currency} {text}".strip()
