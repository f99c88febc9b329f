"""App configuration of `deployments`."""

from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    name = "apps.deployments"
    label = "deployments"

    def ready(self) -> None:
        from apps.deployments import hooks, kinds
        from apps.gateways.kinds import register

        for kind in (kinds.WORKFLOW, kinds.ROUTE):
            register(kind)
        hooks.register()
