"""Words that templates of rollouts need."""

from __future__ import annotations

from django import template

from apps.deployments.strategies.plans import seconds_in_words

register = template.Library()


@register.filter
def duration(seconds: int) -> str:
    """`45 s`, `10 min`, `1 h 30 min`."""
    return seconds_in_words(seconds)


@register.filter
def clauses(reason: str, badge: str = "") -> list[str]:
    """A reason in its parts, one a line; without the word that a badge beside it says already."""
    return [part.strip() for part in reason.removeprefix(f"{badge}:").split(";") if part.strip()]
