"""How long property tests look: the same few examples in every run, or many new ones where somebody asks for them."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES = "KAIZEN_PROPERTY_EXAMPLES"
"""The environment variable that asks for so many examples of each property, new ones in each run."""


def searching(examples: int, *, steps: int) -> settings:
    """The settings of a state machine that drives real processes.

    Args:
        examples: how many interleavings an ordinary run tries; it tries the same each time.
        steps: at most so many in each.
    """
    asked = os.environ.get(EXAMPLES, "")
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    if asked:
        # Finding the shortest story of a failure takes minutes, so only where somebody searches.
        phases.append(Phase.shrink)
    return settings(
        max_examples=int(asked or examples),
        stateful_step_count=steps,
        derandomize=not asked,
        phases=phases,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
