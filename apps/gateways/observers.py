"""Where higher floors hang on to what the reconciler sees. They fill these lists when Django starts.

Observers are level-triggered: they re-derive what they need from rows, may be called again for the same, and may miss a
call, after which the next poll calls them anyway. One that fails is logged and does not disturb the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from django.db import InterfaceError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.gateways.models import Gateway
    from contract.admin_api import GatewayState

log = structlog.get_logger(__name__)

# After an answered poll was written down; inside the tenant, with no transaction open, so it may talk to the gateway.
after_poll: list[Callable[[Gateway, GatewayState], None]] = []
# After anything about placements may have changed (acknowledged, failed, drifted) and at every visit of the tenant.
after_change: list[Callable[[], None]] = []


def polled(gateway: Gateway, state: GatewayState) -> None:
    """Tell the observers of polls."""
    for observe in after_poll:
        try:
            observe(gateway, state)
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # the border to code of other floors: logged whole, and the poll itself stands
            log.exception("poll_observer_failed", gateway=str(gateway), observer=observe.__qualname__)


def changed() -> None:
    """Tell the observers of changes."""
    for observe in after_change:
        try:
            observe()
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # as above
            log.exception("change_observer_failed", observer=observe.__qualname__)
