"""App configuration of `telemetry`: collects executions after each poll of a gateway."""

from django.apps import AppConfig


class TelemetryConfig(AppConfig):
    name = "apps.telemetry"
    label = "telemetry"
