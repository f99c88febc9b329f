"""What Prometheus can scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from contract.errors import ErrorCode

if TYPE_CHECKING:
    from gateway_service.store.execution_log import FinishedExecution

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class _Series(NamedTuple):
    executions: Counter
    seconds: Histogram
    input_tokens: Counter
    output_tokens: Counter


class Metrics:
    """The counters of one process, in a registry of their own.

    Labels are registrations, tracks, channels and statuses only: all bounded by what Studio placed here. The track of
    an execution is `release` or `canary`; a release's digest would be a new series with each deploy.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._found: dict[tuple[str, str, str, str], _Series] = {}
        self._executions = Counter(
            "kaizen_executions", "Finished executions.", ["registration", "track", "channel", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "kaizen_execution_seconds",
            "Duration of executions.",
            ["registration", "track"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "kaizen_tokens", "Tokens, as the models counted them.", ["registration", "track", "direction"],
            registry=self._registry,
        )  # fmt: skip
        self._refusals = Counter(
            "kaizen_refusals", "Requests answered with an error, by its code.", ["surface", "code"],
            registry=self._registry,
        )  # fmt: skip
        self._stopped = Counter(
            "kaizen_stopped_executions", "Executions that a stop refused or cancelled.", ["registration", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._model_calls = Counter(
            "kaizen_model_calls", "Questions to models, each attempt on its own.", ["profile", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._fallbacks = Counter(
            "kaizen_model_fallbacks", "Questions that went on to another profile.", ["from_profile", "to_profile"],
            registry=self._registry,
        )  # fmt: skip
        self._tool_calls = Counter(
            "kaizen_tool_calls", "Calls of agents' tools.", ["registration", "type", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._stops = Gauge("kaizen_stops", "Stops in force.", registry=self._registry)
        self._in_flight = Gauge("kaizen_executions_in_flight", "Executions running now.", registry=self._registry)
        self._registrations = Gauge("kaizen_registrations", "Workflows that answer callers.", registry=self._registry)
        self._revision = Gauge("kaizen_store_revision", "Changes the store has seen.", registry=self._registry)

    def observe(self, execution: FinishedExecution, *, canary: bool) -> None:
        """Count a finished execution."""
        track = "canary" if canary else "release"
        series = self._series(execution.registration, track, execution.channel, execution.status)
        series.executions.inc()
        series.seconds.observe(execution.duration_ms / 1_000)
        if execution.input_tokens:
            series.input_tokens.inc(execution.input_tokens)
        if execution.output_tokens:
            series.output_tokens.inc(execution.output_tokens)
        if execution.error_code == ErrorCode.STOPPED:
            self._stopped.labels(execution.registration, "cancelled").inc()

    def _series(self, name: str, track: str, channel: str, status: str) -> _Series:
        """What executions of this kind count in. Found once: looking labels up is most of what counting costs."""
        found = self._found.get((name, track, channel, status))
        if found is None:
            found = self._found[name, track, channel, status] = _Series(
                self._executions.labels(name, track, channel, status),
                self._seconds.labels(name, track),
                self._tokens.labels(name, track, "input"),
                self._tokens.labels(name, track, "output"),
            )
        return found

    def refuse_stopped(self, registration: str) -> None:
        """Count a call that a stop has refused."""
        self._stopped.labels(registration, "refused").inc()

    def refuse(self, surface: str, code: str) -> None:
        """Count an error answer of the admin API (`admin`) or the callers' side (`caller`)."""
        self._refusals.labels(surface, code).inc()

    def count_model_call(self, profile: str, outcome: str) -> None:
        """Count one attempt at asking a model: `answered` or `failed`."""
        self._model_calls.labels(profile, outcome).inc()

    def fall_back(self, from_profile: str, to_profile: str) -> None:
        """Count a question whose profile failed and that another one is asked."""
        self._fallbacks.labels(from_profile, to_profile).inc()

    def count_tool_call(self, registration: str, tool_type: str, outcome: str) -> None:
        """Count a call of an agent's tool: `succeeded` or `failed`."""
        self._tool_calls.labels(registration, tool_type, outcome).inc()

    def exposition(self, *, in_flight: int, registrations: int, stops: int, revision: int) -> bytes:
        """All metrics in Prometheus's text format."""
        self._in_flight.set(in_flight)
        self._registrations.set(registrations)
        self._stops.set(stops)
        self._revision.set(revision)
        return generate_latest(self._registry)
