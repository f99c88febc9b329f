"""What Prometheus can scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from gateway_service.store.execution_log import FinishedExecution

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one process, in a registry of their own.

    Labels are registrations, channels and statuses only: all bounded by what Studio placed here.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._executions = Counter(
            "kaizen_executions", "Finished executions.", ["registration", "channel", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "kaizen_execution_seconds",
            "Duration of executions.",
            ["registration"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "kaizen_tokens", "Tokens, as the models counted them.", ["registration", "direction"],
            registry=self._registry,
        )  # fmt: skip
        self._refusals = Counter(
            "kaizen_refusals", "Requests answered with an error, by its code.", ["surface", "code"],
            registry=self._registry,
        )  # fmt: skip
        self._in_flight = Gauge("kaizen_executions_in_flight", "Executions running now.", registry=self._registry)
        self._registrations = Gauge("kaizen_registrations", "Workflows that answer callers.", registry=self._registry)
        self._revision = Gauge("kaizen_store_revision", "Changes the store has seen.", registry=self._registry)

    def observe(self, execution: FinishedExecution) -> None:
        """Count a finished execution."""
        name = execution.registration
        self._executions.labels(name, execution.channel, execution.status).inc()
        self._seconds.labels(name).observe(execution.duration_ms / 1_000)
        self._tokens.labels(name, "input").inc(execution.input_tokens)
        self._tokens.labels(name, "output").inc(execution.output_tokens)

    def refuse(self, surface: str, code: str) -> None:
        """Count an error answer of the admin API (`admin`) or the callers' side (`caller`)."""
        self._refusals.labels(surface, code).inc()

    def exposition(self, *, in_flight: int, registrations: int, revision: int) -> bytes:
        """All metrics in Prometheus's text format."""
        self._in_flight.set(in_flight)
        self._registrations.set(registrations)
        self._revision.set(revision)
        return generate_latest(self._registry)
