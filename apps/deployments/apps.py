"""App configuration of `deployments`."""

from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    name = "apps.deployments"
    label = "deployments"

    def ready(self) -> None:
        from apps.agents.ports import hand_over_guards
        from apps.deployments import hooks, kinds

        # Pages register what they show when they are imported.
        from apps.deployments.stops import live, panels  # noqa: F401
        from apps.deployments.stops.course import follow_stops
        from apps.deployments.stops.coverage import why_not_own_more
        from apps.deployments.stops.kind import STOP, live_stops
        from apps.gateways.kinds import register
        from apps.gateways.observers import after_change
        from apps.gateways.placements import desired_sources

        for kind in (kinds.WORKFLOW, kinds.ROUTE, STOP):
            register(kind)
        desired_sources.append(live_stops)
        after_change.append(follow_stops)
        hand_over_guards.append(why_not_own_more)
        hooks.register()
