"""App configuration of `telemetry`: collects executions after each poll of a gateway."""

from django.apps import AppConfig


class TelemetryConfig(AppConfig):
    name = "apps.telemetry"
    label = "telemetry"

    def ready(self) -> None:
        from apps.gateways.observers import after_poll
        from apps.telemetry.collection import collect

        after_poll.append(collect)
