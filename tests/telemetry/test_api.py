"""Executions and their figures for programs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.gateways.models import Gateway
from apps.telemetry.collection import read_log
from tests.harness.world import Api, Inhabited
from tests.telemetry.logs import RELEASE, Log, record

ApiFor = Callable[[str], Api]


@pytest.fixture
def executions(eu_1: Gateway, log: Log) -> None:
    now = timezone.now()
    log.records = [
        record(1, started_at=now - timedelta(days=3), channel="mcp"),
        record(2, started_at=now - timedelta(hours=2), session_id="visit-7"),
        record(3, started_at=now - timedelta(minutes=2), registration="support-bot-production", key_id="zyxwvuts01"),
        record(4, started_at=now - timedelta(minutes=1), status="failed", error_code="model_failed", duration_ms=50),
    ]
    read_log(eu_1, log.page)


def _ids(answer: object) -> list[str]:
    return [row["execution_id"] for row in answer.json()["results"]]  # type: ignore[attr-defined]


def test_an_execution_has_its_facts_and_no_prompt(api_for: ApiFor, executions: None) -> None:
    api = api_for("viewer")
    row = api.get("/executions/", status="failed").json()["results"][0]

    assert row == api.get(f"/executions/{row['id']}/").json()
    assert {name: value for name, value in row.items() if name not in ("id", "started_at")} == {
        "execution_id": "x000004", "registration": "translator-production", "agent": "translator",
        "environment": "production", "gateway": "eu-1", "release_digest": RELEASE, "key_id": "abcdefgh01",
        "channel": "api", "duration_ms": 50.0, "status": "failed", "error_code": "model_failed",
        "input_tokens": 10, "output_tokens": 5, "session_id": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["x000004", "x000003", "x000002", "x000001"]),
        ({"agent": "support-bot"}, ["x000003"]),
        ({"registration": "translator-production", "status": "succeeded"}, ["x000002", "x000001"]),
        ({"environment": "production", "gateway": "eu-1", "channel": "mcp"}, ["x000001"]),
        ({"environment": "staging"}, []),
        ({"key": "zyxwvuts01"}, ["x000003"]),
        ({"session_id": "visit-7"}, ["x000002"]),
        ({"error_code": "model_failed"}, ["x000004"]),
        ({"execution_id": "x000001"}, ["x000001"]),
        ({"search": "visit"}, ["x000002"]),
    ],
    ids=str,
)
def test_executions_are_filtered(api_for: ApiFor, executions: None, query: dict[str, str], found: list[str]) -> None:
    assert _ids(api_for("viewer").get("/executions/", **query)) == found


def test_executions_between_two_moments(api_for: ApiFor, executions: None) -> None:
    now = timezone.now()
    answer = api_for("viewer").get(
        "/executions/",
        started_after=(now - timedelta(days=1)).isoformat(),
        started_before=(now - timedelta(hours=1)).isoformat(),
    )
    assert _ids(answer) == ["x000002"]


def test_a_filter_with_an_impossible_value_is_a_problem(api_for: ApiFor, executions: None) -> None:
    for query in ({"status": "splendid"}, {"started_after": "yesterday"}):
        answer = api_for("viewer").get("/executions/", **query)
        assert answer.status_code in (400, 422)
        assert answer["Content-Type"] == "application/problem+json"


def test_pages_by_cursor_have_each_once_although_more_arrive(
    api_for: ApiFor, executions: None, eu_1: Gateway, log: Log
) -> None:
    api = api_for("viewer")
    first = api.get("/executions/", page_size=2).json()
    log.add(3)
    read_log(eu_1, log.page)

    second = api.client.get(first["next"].partition("localhost")[2]).json()

    seen = [row["execution_id"] for row in [*first["results"], *second["results"]]]
    assert seen == ["x000004", "x000003", "x000002", "x000001"]


def test_executions_cannot_be_changed(api_for: ApiFor, executions: None) -> None:
    api = api_for("owner")
    row = api.get("/executions/").json()["results"][0]
    assert api.post("/executions/", {}).status_code == 405
    assert api.patch(f"/executions/{row['id']}/", {"status": "succeeded"}).status_code == 405
    assert api.delete(f"/executions/{row['id']}/").status_code == 405


def test_figures_over_a_day_are_exact(api_for: ApiFor, executions: None) -> None:
    figures = api_for("viewer").get("/metrics/executions/").json()

    assert (figures["window"], figures["step_s"], len(figures["points"])) == ("24h", 900, 96)
    total = figures["total"]
    assert (total["executions"], total["succeeded"], total["failed"], total["errors"]) == (3, 2, 1, 1)
    assert total["error_share"] == pytest.approx(1 / 3)
    assert (total["input_tokens"], total["output_tokens"]) == (30, 15)
    assert 100 < total["p95_ms"] <= 120
    assert sum(point["executions"] for point in figures["points"]) == 3
    assert figures["points"][0]["p95_ms"] is None


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"window": "1h"}, 2),
        ({"window": "7d"}, 4),
        ({"agent": "support-bot"}, 1),
        ({"window": "7d", "registration": "translator-production", "environment": "production", "gateway": "eu-1"}, 3),
        ({"release_digest": RELEASE}, 3),
        ({"release_digest": "sha256:0"}, 0),
        ({"environment": "staging"}, 0),
    ],
    ids=str,
)
def test_figures_of_a_part(api_for: ApiFor, executions: None, query: dict[str, str], count: int) -> None:
    assert api_for("viewer").get("/metrics/executions/", **query).json()["total"]["executions"] == count


@pytest.mark.parametrize("query", [{"window": "1y"}, {"agnet": "translator"}])
def test_figures_that_cannot_be_are_a_problem_that_names_the_parameter(api_for: ApiFor, query: dict[str, str]) -> None:
    answer = api_for("viewer").get("/metrics/executions/", **query)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == next(iter(query))


def test_others_see_nothing(acme: Inhabited, globex: Inhabited, executions: None) -> None:
    assert Api(acme.host, None).get("/executions/").status_code == 401
    assert Api(acme.host, None).get("/metrics/executions/").status_code == 401
    row = acme.api("viewer").get("/executions/").json()["results"][0]
    stranger = globex.api("owner")
    assert stranger.get(f"/executions/{row['id']}/").status_code == 404
    assert stranger.get("/executions/").json()["results"] == []
    assert stranger.get("/metrics/executions/").json()["total"]["executions"] == 0
    with acme.inside():
        api = acme.api("viewer")
        acme.users["viewer"].groups.clear()
    assert api.get("/metrics/executions/").status_code == 403
    assert api.get("/executions/").json()["results"] == []
