"""The start page's facts: what runs where, what needs somebody, how the gateways are, what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from guardian.shortcuts import assign_perm

from apps.agents.commands import edit, publish
from apps.agents.definitions import Definition
from apps.core.actors import Actor
from apps.core.errors import Denied, NotFound
from apps.core.live import fragments
from apps.deployments.commands import deploy, rollback
from apps.deployments.models import Deployment
from apps.gateways.models import Environment, Gateway
from apps.home.queries import AGENTS_SHOWN, Concern, Overview, overview
from apps.telemetry.collection import read_log
from tests.harness.fleet import SYSTEM, Fleet
from tests.harness.queries import reads
from tests.harness.world import Api, Inhabited
from tests.telemetry.conftest import add_gateway
from tests.telemetry.logs import Log


def _cell(shown: Overview, agent: str, environment: str) -> Any:
    row = next(row for row in shown.rows if row.agent.slug == agent)
    return next(cell for cell in row.cells if cell.environment.slug == environment)


def _concern(shown: Overview, subject: str) -> Concern:
    return next(concern for concern in shown.concerns if concern.subject == subject)


def _lose(fleet: Fleet) -> None:
    """Poll until a gateway that does not answer counts as lost."""
    for _ in range(3):
        fleet.poll()


def test_what_runs_is_shown_with_version_status_and_pulse(fleet: Fleet) -> None:
    fleet.start_gateway("eu-1")
    _, version = fleet.write_agent("greeter")
    fleet.deploy(version)
    key = fleet.issue_key()
    for _ in range(3):
        assert fleet.call("eu-1", "greeter-production", key).status_code == 200
    fleet.poll()

    shown = overview(SYSTEM)

    cell = _cell(shown, "greeter", "production")
    assert (cell.status.adjective, cell.deployment.release.number) == ("running", 1)
    assert (cell.pulse.executions, cell.pulse.errors) == (3, 0)
    assert cell.pulse.hours[-1][0] + cell.pulse.hours[-2][0] == 3
    assert _cell(shown, "greeter", "development").deployment is None
    assert [(gateway.name, gateway.status) for gateway in shown.gateways] == [("eu-1", "healthy")]
    assert (shown.running, shown.answering) == (1, 1)
    assert shown.concerns == []


def test_a_dead_gateway_is_a_concern_with_its_reason_and_so_is_what_waits_for_it(fleet: Fleet) -> None:
    fleet.start_gateway("eu-1")
    agent, version = fleet.write_agent("greeter")
    fleet.deploy(version)
    fleet.processes["eu-1"].kill()
    definition = Definition(name="Greeter", instructions="You greet people in verse.")
    agent.refresh_from_db()
    edit(actor=SYSTEM, agent=agent, revision=agent.revision, definition=definition)
    fleet.deploy(publish(actor=SYSTEM, agent=agent))
    _lose(fleet)

    shown = overview(SYSTEM)

    gateway = _concern(shown, "eu-1")
    assert (gateway.kind, gateway.adjective, gateway.reason) == ("gateway", "unreachable", "connection refused")
    waiting = _concern(shown, "Greeter in production")
    assert waiting.adjective in ("progressing", "failing")
    assert "0 of 1 gateway acknowledged version 2; eu-1: connection refused" in waiting.reason
    assert shown.answering == 0

    fleet.processes["eu-1"].start()
    _lose(fleet)
    assert overview(SYSTEM).concerns == []


def test_a_deployment_without_a_gateway_says_what_it_waits_for(fleet: Fleet) -> None:
    _, version = fleet.write_agent("greeter")
    fleet.deploy(version, "staging")

    concern = _concern(overview(SYSTEM), "Greeter in staging")
    assert concern.adjective == "waiting"
    assert concern.reason == "version 1 waits for a gateway in staging; register one"
    assert not overview(SYSTEM).alarming


def test_a_hold_is_a_concern_until_it_is_released(fleet: Fleet) -> None:
    fleet.start_gateway("eu-1")
    agent, first = fleet.write_agent("greeter")
    fleet.deploy(first)
    earlier = Deployment.objects.get().release
    assert earlier is not None
    definition = Definition(name="Greeter", instructions="You greet people in verse.")
    agent.refresh_from_db()
    edit(actor=SYSTEM, agent=agent, revision=agent.revision, definition=definition)
    fleet.deploy(publish(actor=SYSTEM, agent=agent))
    rollback(actor=fleet.world.actor("owner"), deployment=Deployment.objects.get(), to=earlier, note="verses")
    fleet.reconcile()

    concern = _concern(overview(SYSTEM), "Greeter in production")
    assert concern.adjective == "held"
    assert "owner@acme.example" in concern.reason


@pytest.fixture
def failing(acme: Inhabited, fleet: Fleet) -> Callable[[int, int], Overview]:
    """The overview after so many executions of which so many failed."""
    gateway = add_gateway(Environment.objects.get(slug="production"), "eu-1", 18_001)
    _, version = fleet.write_agent("greeter")
    deploy(actor=SYSTEM, environment=gateway.environment, version=version)

    def run(executions: int, errors: int) -> Overview:
        log, now = Log(), timezone.now()
        log.add(executions - errors, at=now, registration="greeter-production")
        log.add(errors, at=now, registration="greeter-production", status="failed", error_code="model_failed")
        log.add(50, at=now - timedelta(hours=3), registration="greeter-production", status="failed")
        read_log(gateway, log.page)
        return overview(SYSTEM)

    return run


@pytest.mark.parametrize(
    ("executions", "errors", "worrying"), [(10, 1, True), (20, 1, False), (4, 4, False), (5, 3, True)]
)
def test_errors_of_the_last_hour_are_a_concern_if_they_are_many(
    failing: Callable[[int, int], Overview], executions: int, errors: int, worrying: bool
) -> None:
    concerns = [each for each in failing(executions, errors).concerns if each.kind == "errors"]

    if not worrying:
        assert concerns == []
        return
    assert [(each.subject, each.adjective) for each in concerns] == [("Greeter in production", "degraded")]
    assert concerns[0].reason == f"{errors} of {executions} executions failed in the last hour"


def test_the_worst_comes_first(acme: Inhabited, fleet: Fleet) -> None:
    fleet.start_gateway("eu-1")
    _, running = fleet.write_agent("calm")
    fleet.deploy(running)
    _, waiting = fleet.write_agent("waiting")
    fleet.deploy(waiting, "staging")
    fleet.processes["eu-1"].kill()
    _lose(fleet)

    shown = overview(SYSTEM)
    assert [concern.adjective for concern in shown.concerns] == ["unreachable", "waiting"]
    assert shown.alarming
    assert [row.agent.slug for row in shown.rows] == ["waiting", "calm"]


def test_many_agents_are_shown_in_part_and_the_rest_is_counted(acme: Inhabited, fleet: Fleet) -> None:
    for number in range(AGENTS_SHOWN + 3):
        _, version = fleet.write_agent(f"agent-{number}")
        deploy(actor=SYSTEM, environment=Environment.objects.get(slug="staging"), version=version)

    shown = overview(SYSTEM)
    assert (len(shown.rows), shown.more) == (AGENTS_SHOWN, 3)
    assert "3 more agents" in acme.client("viewer").get("/").content.decode()


def test_the_start_page_shows_the_facts_and_the_chart(acme: Inhabited, fleet: Fleet) -> None:
    gateway = add_gateway(Environment.objects.get(slug="production"), "eu-1", 18_001)
    _, version = fleet.write_agent("greeter")
    deploy(actor=acme.actor("owner"), environment=gateway.environment, version=version)
    log = Log()
    log.add(3, at=timezone.now(), registration="greeter-production")
    read_log(gateway, log.page)

    answer = acme.client("viewer").get("/")
    assert answer.status_code == 200
    page = answer.content.decode()
    for text in (
        "Under way",
        "has not been polled yet",
        "3 executions in 24 hours, no errors",
        '/ws/live/home/now/"',
        '/ws/live/activity/24h/"',
        "deployed greeter version 1 to",
        'href="/agents/greeter/"',
        'href="/gateways/eu-1/"',
    ):
        assert text in page, text
    assert '/ws/live/activity/7d/"' in acme.client("viewer").get("/", {"window": "7d"}).content.decode()


def _timeless(html: str) -> str:
    """Without the words that change while one looks: “just now”, “11 seconds ago”."""
    return re.sub(r"(<time [^>]*>)[^<]*", r"\1", html).strip()


def test_the_live_part_is_what_the_page_shows(acme: Inhabited, fleet: Fleet) -> None:
    _, version = fleet.write_agent("greeter")
    fleet.deploy(version, "staging")
    render = fragments["home"].render

    html = render(acme.actor("viewer"), "now")
    assert "waits for a gateway in staging" in html
    assert _timeless(html) in _timeless(acme.client("viewer").get("/").content.decode())
    with pytest.raises(NotFound):
        render(acme.actor("viewer"), "then")


def test_strangers_see_nothing_and_members_what_they_may(acme: Inhabited, fleet: Fleet) -> None:
    add_gateway(Environment.objects.get(slug="production"), "eu-1", 18_001)
    add_gateway(Environment.objects.get(slug="staging"), "st-1", 18_002)
    assert acme.client(None).get("/").status_code == 302
    assert overview(Actor.anonymous()).gateways == []

    user = acme.users["viewer"]
    user.groups.clear()
    permission = Permission.objects.get(codename="gateway.view", content_type__model="environment")
    assign_perm(permission, user, Environment.objects.get(slug="staging"))
    shown = overview(acme.actor("viewer"))
    assert [gateway.name for gateway in shown.gateways] == ["st-1"]
    assert (shown.rows, shown.happenings) == ([], [])
    page = acme.client("viewer").get("/").content.decode()
    assert "st-1" in page
    assert "eu-1" not in page
    with pytest.raises(Denied):
        fragments["activity"].render(acme.actor("viewer"), "24h")


def test_the_page_costs_the_same_however_much_there_is(acme: Inhabited, fleet: Fleet) -> None:
    client = acme.client("owner")
    production = Environment.objects.get(slug="production")
    gateway = add_gateway(production, "eu-0", 18_000)

    def grow(numbers: range) -> None:
        for number in numbers:
            _, version = fleet.write_agent(f"agent-{number}")
            for slug in ("production", "staging"):
                deploy(actor=SYSTEM, environment=Environment.objects.get(slug=slug), version=version)
            add_gateway(production, f"eu-1-{number}", 18_100 + number)
            log = Log(epoch=f"e{number}")
            log.add(8, at=timezone.now(), registration=f"agent-{number}-production", status="failed")
            read_log(gateway, log.page)
            read_log(gateway, log.page)

    grow(range(2))
    client.get("/")
    few = reads(lambda: client.get("/"))
    grow(range(2, 8))

    many = reads(lambda: client.get("/"))
    assert len(many) == len(few), many


def test_the_overview_for_programs_has_the_same_facts(acme: Inhabited, globex: Inhabited, fleet: Fleet) -> None:
    gateway = add_gateway(Environment.objects.get(slug="production"), "eu-1", 18_001)
    _, version = fleet.write_agent("greeter")
    deploy(actor=SYSTEM, environment=gateway.environment, version=version)
    log = Log()
    log.add(2, at=timezone.now(), registration="greeter-production")
    log.add(1, at=timezone.now(), registration="greeter-production", status="failed")
    read_log(gateway, log.page)

    shown = acme.api("viewer").get("/overview/").json()

    assert shown["environments"] == ["development", "staging", "production"]
    assert shown["more_agents"] == 0
    (agent,) = shown["agents"]
    (running,) = agent["deployments"]
    assert running.pop("deployment") == str(Deployment.objects.get().pk)
    assert "eu-1" in running.pop("reason")
    assert running == {
        "environment": "production", "registration": "greeter-production", "version": 1, "status": "progressing",
        "held": False, "executions_24h": 3, "errors_24h": 1,
    }  # fmt: skip
    assert {(each["kind"], each["status"]) for each in shown["concerns"]} == {
        ("gateway", "pending"), ("deployment", "progressing"),
    }  # fmt: skip
    assert [(each["name"], each["environment"], each["status"]) for each in shown["gateways"]] == [
        ("eu-1", "production", "pending")
    ]
    assert Api(acme.host, None).get("/overview/").status_code == 401
    assert globex.api("owner").get("/overview/").json()["agents"] == []


def test_leaving_gateways_are_named(acme: Inhabited) -> None:
    gateway = add_gateway(Environment.objects.get(slug="production"), "eu-1", 18_001)
    Gateway.objects.filter(pk=gateway.pk).update(leaving_at=timezone.now(), status="healthy")

    assert _concern(overview(SYSTEM), "eu-1").adjective == "removing"
