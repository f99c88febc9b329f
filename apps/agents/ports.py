"""What `agents` asks of higher floors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.accounts.models import User
    from apps.agents.models import Agent

DeletionGuard = Callable[["Agent"], str | None]
HandOverGuard = Callable[["Agent", "User"], str | None]

deletion_guards: list[DeletionGuard] = []
"""Functions that say why an agent cannot be deleted now, as a sentence, or None. The agent's row is locked by then."""

hand_over_guards: list[HandOverGuard] = []
"""Functions that say why an agent cannot be handed over to a member now; both rows are locked by then."""
