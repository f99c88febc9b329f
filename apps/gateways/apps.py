"""App configuration of `gateways`: its kind, what a new organization starts with, and what a joining gateway gets."""

from django.apps import AppConfig


class GatewaysConfig(AppConfig):
    name = "apps.gateways"
    label = "gateways"

    def ready(self) -> None:
        from apps.core.ports import founding_steps
        from apps.gateways.adoption import adopt_found
        from apps.gateways.caller_keys import API_KEY, caller_keys
        from apps.gateways.commands import found_delivery
        from apps.gateways.commands.environments import grant_on_environments
        from apps.gateways.kinds import register
        from apps.gateways.observers import after_change
        from apps.gateways.placements import desired_sources
        from apps.tenants.provisioning import content_updates

        register(API_KEY)
        after_change.append(adopt_found)
        content_updates.append(grant_on_environments)
        founding_steps.append(found_delivery)
        desired_sources.append(caller_keys)
