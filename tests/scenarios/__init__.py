"""For each command of the registry, a way to perform it successfully.

`SCENARIOS[action](world)` prepares what the command needs and returns a function that calls it with a given actor. The
registry test (`tests/core/test_registry.py`) fails for a command without one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from apps.core.actors import Actor
from tests.harness.world import Inhabited

Scenario = Callable[[Inhabited], Callable[[Actor], object]]


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario of this package's modules, by action."""
    found: dict[str, Scenario] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= importlib.import_module(f"{__name__}.{module.name}").SCENARIOS
    return found
