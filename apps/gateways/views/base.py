"""What pages share that make something in an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.core.pages import CommandPage
from apps.gateways.tables import environments_for

if TYPE_CHECKING:
    from apps.gateways.models import Environment


class InEnvironmentPage(CommandPage):
    """A form whose environment is one of its fields, offering those in which the actor may make the thing."""

    def decided_on(self) -> Environment | None:
        """Whoever may do it in one environment sees the form; the command decides about the chosen one."""
        found: Environment | None = environments_for(self.request, self.spec.action).first()
        return found

    def form_arguments(self) -> dict[str, Any]:
        return {
            "initial": {"environment": self.request.GET.get("environment")},
            "environments": environments_for(self.request, self.spec.action),
        }
