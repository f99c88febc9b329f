"""Figures over time: exact numbers, from the sums alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from apps.core.actors import Actor
from apps.core.tenancy import public
from apps.gateways.models import Environment, Gateway
from apps.telemetry.charts import durations_chart, executions_chart
from apps.telemetry.collection import read_log
from apps.telemetry.histogram import BOUNDS_MS, BUCKETS, bucket_of, quantile
from apps.telemetry.models import Execution, ExecutionRollup, Resolution
from apps.telemetry.queries import activity, by_registration
from apps.telemetry.retention import prune
from apps.telemetry.tasks import prune_executions
from apps.telemetry.windows import DAY, HOUR, WEEK, WINDOWS, Window
from tests.harness.world import Inhabited
from tests.telemetry.conftest import add_gateway
from tests.telemetry.logs import OTHER_RELEASE, Log

SYSTEM = Actor.system("tests")
NOW = datetime.now(UTC).replace(minute=40, second=30, microsecond=0)


def _step_at(starts: Any, window: Window, moment: datetime) -> int:
    return next(index for index, start in enumerate(starts) if start <= moment < start + window.step)


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_a_window_ends_with_the_step_that_holds_now(window: Window) -> None:
    starts = window.starts(NOW)

    assert starts[-1] <= NOW < starts[-1] + window.step
    assert len(starts) * window.step == window.span
    assert {later - earlier for earlier, later in pairwise(starts)} == {window.step}
    assert window.step % window.resolution.length == timedelta()


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_a_chart_has_exactly_what_ran(window: Window, eu_1: Gateway, production: Environment, log: Log) -> None:
    then = NOW - window.span / 3
    log.add(3, at=then, duration_ms=80)
    log.add(2, at=then, status="failed", error_code="model_failed", duration_ms=40)
    log.add(1, at=then + window.step, status="timed_out", error_code="timed_out", duration_ms=60_000)
    log.add(1, at=then + window.step, status="cancelled", duration_ms=9)
    log.add(4, at=NOW, release_digest=OTHER_RELEASE)
    read_log(eu_1, log.page)
    eu_2 = add_gateway(production, "eu-2", 18_002)
    other = Log()
    other.add(5, at=then)
    other.add(1, at=NOW - window.span - window.step)
    read_log(eu_2, other.page)

    shown = activity(SYSTEM, window, now=NOW)

    at = _step_at(shown.starts, window, then)
    assert shown.steps[at].by_status == {"succeeded": 8, "failed": 2}
    assert shown.steps[at + 1].by_status == {"timed_out": 1, "cancelled": 1}
    assert shown.steps[-1].by_status == {"succeeded": 4}
    assert sum(step.executions for step in shown.steps) == shown.total.executions == 16
    assert (shown.total.errors, shown.total.cancelled) == (3, 1)
    assert shown.total.error_share == 3 / 15, "whoever left says nothing about the agent, as for a health gate"
    assert (shown.total.input_tokens, shown.total.output_tokens) == (160, 80)
    assert shown.total.longest_ms == 60_000
    assert sum(shown.total.histogram) == 16
    assert shown.total.histogram[bucket_of(40)] == 2


def test_a_chart_can_be_about_one_agent_gateway_or_environment(eu_1: Gateway, log: Log) -> None:
    log.add(2, at=NOW)
    log.add(3, at=NOW, registration="support-bot-production")
    read_log(eu_1, log.page)
    staging = add_gateway(Environment.objects.get(slug="staging"), "st-1", 18_003)
    read_log(staging, Log(*log.records).page)

    def total(**where: Any) -> int:
        return activity(SYSTEM, DAY, now=NOW, where=where).total.executions

    assert total() == 10
    assert total(agent_slug="support-bot") == 6
    assert total(gateway__name="st-1") == 5
    assert total(environment__slug="production", agent_slug="translator") == 2
    assert {name: figures.executions for name, figures in by_registration(SYSTEM, DAY, now=NOW).items()} == {
        "translator-production": 4, "support-bot-production": 6,
    }  # fmt: skip


def test_any_chart_is_one_query(eu_1: Gateway, log: Log) -> None:
    for hour in range(20):
        log.add(2, at=NOW - timedelta(hours=hour))
    read_log(eu_1, log.page)

    for window in (HOUR, DAY, WEEK):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            activity(SYSTEM, window, now=NOW)
        assert len(queries) == 1


def test_adding_to_a_minute_that_has_a_sum_already(eu_1: Gateway, log: Log) -> None:
    log.add(2, at=NOW, duration_ms=10)
    read_log(eu_1, log.page)
    log.add(1, at=NOW, duration_ms=700)
    read_log(eu_1, log.page)

    (minute,) = ExecutionRollup.objects.filter(resolution=Resolution.MINUTE)
    assert minute.start == NOW.replace(second=0)
    assert (minute.executions, minute.duration_sum_ms, minute.duration_max_ms) == (3, 720, 700)
    assert (minute.histogram[bucket_of(10)], minute.histogram[bucket_of(700)]) == (2, 1)
    assert (minute.input_tokens, minute.output_tokens) == (30, 15)
    (hour,) = ExecutionRollup.objects.filter(resolution=Resolution.HOUR)
    assert hour.start == NOW.replace(minute=0, second=0)
    assert (hour.executions, hour.histogram) == (minute.executions, minute.histogram)


def test_the_executions_chart_stacks_what_happened_and_names_its_totals(eu_1: Gateway, log: Log) -> None:
    log.add(3, at=NOW)
    log.add(1, at=NOW, status="cancelled")
    read_log(eu_1, log.page)

    chart = executions_chart(activity(SYSTEM, HOUR, now=NOW))

    assert chart["stacked"] is True
    assert [(each["label"], each["total"], each["values"][-1]) for each in chart["series"]] == [
        ("succeeded", 3, 3), ("failed", 0, 0), ("cancelled", 1, 1),
    ]  # fmt: skip
    assert len(chart["times"]) == 60 == len(chart["series"][0]["values"])
    assert chart["times"][-1] == int(NOW.replace(second=0).timestamp())


def test_the_duration_chart_has_a_gap_where_nothing_ran(eu_1: Gateway, log: Log) -> None:
    log.add(1, at=NOW, duration_ms=640)
    read_log(eu_1, log.page)

    chart = durations_chart(activity(SYSTEM, HOUR, now=NOW))

    assert chart["unit"] == "ms"
    assert all(each["values"][0] is None for each in chart["series"])
    assert all(500 < each["values"][-1] <= 640 for each in chart["series"])


@pytest.mark.parametrize(
    ("duration", "bucket"), [(0, 0), (5, 0), (5.01, 1), (60_000, BUCKETS - 2), (60_001, BUCKETS - 1)]
)
def test_bounds_belong_to_the_bucket_below_them(duration: float, bucket: int) -> None:
    assert bucket_of(duration) == bucket


def test_quantiles_without_executions_do_not_exist() -> None:
    assert quantile([0] * BUCKETS, 0.5, 0) is None
    assert quantile([], 0.5, 0) is None


@given(
    durations=st.lists(st.floats(min_value=0, max_value=120_000), min_size=1, max_size=200),
    share=st.sampled_from([0.5, 0.95, 0.99, 1.0]),
)
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(durations: list[float], share: float) -> None:
    counts = [0] * BUCKETS
    for duration in durations:
        counts[bucket_of(duration)] += 1
    rank = max(1, -(-len(durations) * round(share * 100) // 100))
    exact = sorted(durations)[rank - 1]

    answer = quantile(counts, share, max(durations))

    at = bucket_of(exact)
    lower = BOUNDS_MS[at - 1] if at else 0
    upper = BOUNDS_MS[at] if at < len(BOUNDS_MS) else max(durations)
    assert answer is not None
    assert lower <= answer <= upper
    assert answer <= max(durations)


def test_pruning_removes_what_is_old_and_keeps_the_sums_longer(eu_1: Gateway, log: Log) -> None:
    for days in (0, 2, 5, 29):
        log.add(2, at=NOW - timedelta(days=days))
    read_log(eu_1, log.page)

    assert prune(NOW) == 2  # the minutes of five and of 29 days ago
    assert prune(NOW + timedelta(days=3)) == 2 + 2  # two executions, and the minutes of today and of two days ago
    assert Execution.objects.count() == 6
    assert ExecutionRollup.objects.filter(resolution=Resolution.HOUR).count() == 4
    assert prune(NOW + timedelta(days=500)) == 6 + 4
    assert not ExecutionRollup.objects.exists()


def test_the_task_prunes_every_organization(eu_1: Gateway, log: Log, acme: Inhabited) -> None:
    log.add(2, at=NOW)
    read_log(eu_1, log.page)
    Execution.objects.filter(seq=1).update(started_at=NOW - timedelta(days=31))
    with public():
        assert prune_executions() == 1

    assert list(Execution.objects.values_list("seq", flat=True)) == [2]


def test_what_is_not_visible_is_not_counted(eu_1: Gateway, log: Log, acme: Inhabited) -> None:
    log.add(2, at=NOW)
    read_log(eu_1, log.page)

    assert activity(acme.actor("viewer"), DAY, now=NOW).total.executions == 2
    assert activity(Actor.anonymous(), DAY, now=NOW).total.executions == 0
