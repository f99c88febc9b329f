"""App configuration of `gateways`: what a new organization starts with, and what a joining gateway receives."""

from django.apps import AppConfig


class GatewaysConfig(AppConfig):
    name = "apps.gateways"
    label = "gateways"

    def ready(self) -> None:
        from apps.core.ports import founding_steps
        from apps.gateways.commands import found_delivery
        from apps.gateways.commands.environments import grant_on_environments
        from apps.gateways.placements import desired_sources
        from apps.gateways.wishes import caller_keys
        from apps.tenants.provisioning import content_updates

        content_updates.append(grant_on_environments)
        founding_steps.append(found_delivery)
        desired_sources.append(caller_keys)
