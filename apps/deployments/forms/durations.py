"""Spans of time as people write them: `45 s`, `5 min`, `1 h 30 min`, `2 d`."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from apps.deployments.strategies.plans import seconds_in_words

_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_LONGEST = 40
_PART = re.compile(r"([0-9]{1,6})\s*(sec|min|s|m|h|d)")
_WHOLE = re.compile(rf"{_PART.pattern}(\s*{_PART.pattern})*")


def seconds_of(text: str) -> int:
    """The seconds that a text means; "" and "0" mean none.

    Raises:
        ValidationError: it means no span of time.
    """
    text = text.strip().lower()
    if text in ("", "0"):
        return 0
    if len(text) > _LONGEST or not _WHOLE.fullmatch(text):
        raise ValidationError(f"“{text[:40]}” is no span of time; write it with its unit, such as 45 s, 5 min or 1 h.")
    return sum(int(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text))


class DurationField(forms.Field):
    """A span of time, in seconds.

    Args:
        most: the longest that may be chosen, in seconds.
    """

    def __init__(self, *, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most

    def prepare_value(self, value: Any) -> Any:
        return seconds_in_words(value) if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        """Seconds."""
        seconds = seconds_of(str(value or ""))
        if seconds > self.most:
            raise ValidationError(f"The longest is {seconds_in_words(self.most)}.")
        return seconds
