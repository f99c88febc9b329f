"""Executions on pages: found, narrowed, sorted, shown to those who may see them."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone
from guardian.shortcuts import assign_perm

from apps.core.actors import Actor
from apps.core.errors import Denied, NotFound
from apps.core.live import fragments
from apps.gateways.commands import create_key
from apps.gateways.models import CallerKey, Environment, Gateway
from apps.telemetry.collection import read_log
from apps.telemetry.models import Execution
from tests.harness.fleet import Fleet
from tests.harness.queries import reads
from tests.harness.world import Inhabited
from tests.telemetry.conftest import add_gateway
from tests.telemetry.logs import Log, record


@pytest.fixture
def shop_key(production: Environment) -> CallerKey:
    key, _ = create_key(actor=Actor.system("tests"), environment=production, name="shop")
    return key


@pytest.fixture
def executions(eu_1: Gateway, shop_key: CallerKey, log: Log) -> list[Execution]:
    """Four that differ in everything one can ask for."""
    now = timezone.now()
    hours_ago = now - timedelta(hours=5)
    log.records = [
        record(1, started_at=now - timedelta(days=3), duration_ms=90, channel="cli"),
        record(2, started_at=hours_ago, duration_ms=1500, key_id=shop_key.public_id, session_id="visit-7"),
        record(3, started_at=now - timedelta(minutes=9), duration_ms=300, registration="support-bot-production"),
        record(4, started_at=now, duration_ms=30_000, status="timed_out", error_code="timed_out"),
    ]
    read_log(eu_1, log.page)
    return list(Execution.objects.order_by("seq"))


def _listed(client: Client, **query: str) -> list[str]:
    answer = client.get("/executions/", query)
    assert answer.status_code == 200, answer.content
    return re.findall(r'href="/executions/([0-9a-f-]{36})/"', answer.content.decode())


def test_the_list_has_the_newest_first_with_status_reason_and_key(acme: Inhabited, executions: list[Execution]) -> None:
    client = acme.client("viewer")

    assert _listed(client) == [str(row.pk) for row in reversed(executions)]
    page = client.get("/executions/").content.decode()
    assert "timed out" in page
    assert "30.0 s" in page
    assert "shop" in page
    assert executions[0].key_id in page  # a key that Studio does not know is shown by its id


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"search": "x000003"}, [3]),
        ({"search": "visit-7"}, [2]),
        ({"search": "timed_out"}, [4]),
        ({"search": "nothing at all"}, []),
        ({"status": "timed_out"}, [4]),
        ({"channel": "cli"}, [1]),
        ({"window": "1h"}, [4, 3]),
        ({"window": "24h"}, [4, 3, 2]),
        ({"environment": "production", "gateway": "eu-1"}, [4, 3, 2, 1]),
        ({"environment": "staging"}, []),
        ({"sort": "duration_ms"}, [1, 3, 2, 4]),
        ({"sort": "-duration_ms", "status": "succeeded"}, [2, 3, 1]),
    ],
    ids=str,
)
def test_executions_are_searched_narrowed_and_sorted(
    acme: Inhabited, executions: list[Execution], query: dict[str, str], found: list[int]
) -> None:
    by_id = {str(row.pk): row.seq for row in executions}

    assert [by_id[key] for key in _listed(acme.client("viewer"), **query)] == found


def test_executions_are_narrowed_by_agent_and_key(
    acme: Inhabited, executions: list[Execution], shop_key: CallerKey, tmp_path: Any
) -> None:
    Fleet(acme, tmp_path, "").write_agent("support-bot")
    client = acme.client("viewer")

    assert _listed(client, agent="support-bot") == [str(executions[2].pk)]
    assert _listed(client, key=shop_key.public_id) == [str(executions[1].pk)]


def test_a_filter_with_an_impossible_value_shows_nothing_and_says_why(
    acme: Inhabited, executions: list[Execution]
) -> None:
    answer = acme.client("viewer").get("/executions/", {"agent": "nobody"})

    assert answer.status_code == 200
    assert b"Select a valid choice" in answer.content
    assert _listed(acme.client("viewer"), agent="nobody") == []


def test_an_execution_shows_what_is_known_and_links_to_it(
    acme: Inhabited, executions: list[Execution], shop_key: CallerKey
) -> None:
    client = acme.client("viewer")

    page = client.get(f"/executions/{executions[1].pk}/").content.decode()
    for text in ("x000002", "visit-7", "translator-production", "1.5 s", "10 read, 5 written", "UTC"):
        assert text in page
    assert f'href="{shop_key.get_absolute_url()}"' in page
    assert 'href="/gateways/eu-1/"' in page

    late = client.get(f"/executions/{executions[3].pk}/").content.decode()
    assert "timed out" in late


def test_an_execution_of_a_removed_gateway_is_still_shown(
    acme: Inhabited, executions: list[Execution], eu_1: Gateway
) -> None:
    eu_1.delete()

    page = acme.client("viewer").get(f"/executions/{executions[0].pk}/").content.decode()
    assert "eu-1" in page
    assert "removed" in page


def test_strangers_and_members_without_a_role_see_nothing(acme: Inhabited, executions: list[Execution]) -> None:
    address = f"/executions/{executions[0].pk}/"
    nobody = acme.client(None)
    assert nobody.get("/executions/").status_code == 302
    assert nobody.get(address).status_code == 302

    acme.users["viewer"].groups.clear()
    bare = acme.client("viewer")
    assert bare.get("/executions/").status_code == 403
    assert bare.get(address).status_code == 404
    assert bare.get("/executions/activity/24h/").status_code == 403


def test_a_grant_on_one_environment_shows_its_executions_and_no_others(
    acme: Inhabited, executions: list[Execution]
) -> None:
    staging = Environment.objects.get(slug="staging")
    other = add_gateway(staging, "st-1", 18_005)
    read_log(other, Log(record(1, registration="translator-staging")).page)
    user = acme.users["viewer"]
    user.groups.clear()
    # By the row, because guardian would read the dot in its name as an app's label.
    permission = Permission.objects.get(codename="execution.view", content_type__model="environment")
    assign_perm(permission, user, staging)

    client = acme.client("viewer")
    assert _listed(client) == [str(Execution.objects.get(registration="translator-staging").pk)]
    assert client.get(f"/executions/{executions[0].pk}/").status_code == 404
    assert _charted(client.get("/executions/activity/24h/")) == 1


def test_an_unknown_execution_is_not_found(acme: Inhabited) -> None:
    assert acme.client().get("/executions/00000000-0000-0000-0000-000000000000/").status_code == 404


def _charted(answer: Any) -> int:
    """The executions that the first chart of a region sums up."""
    assert answer.status_code == 200, answer.content
    scripts = re.findall(
        r'<script id="chart-[0-9a-f]+" type="application/json">(.*?)</script>', answer.content.decode()
    )
    return sum(each["total"] for each in json.loads(scripts[0])["series"])


def test_the_chart_follows_the_window_and_the_subject(acme: Inhabited, executions: list[Execution]) -> None:
    client = acme.client("viewer")

    def charted(subject: str) -> int:
        return _charted(client.get(f"/executions/activity/{subject}/"))

    assert [charted(window) for window in ("1h", "24h", "7d")] == [2, 3, 4]
    assert charted("24h:agent:support-bot") == 1
    assert charted("7d:registration:translator-production") == 3
    assert charted("7d:gateway:eu-1") == 4
    assert b"Nothing ran" in client.get("/executions/activity/24h:environment:staging/").content


@pytest.mark.parametrize("subject", ["2h", "24h:agent", "24h:agent:", "24h:person:olga", ":agent:x"])
def test_a_chart_that_cannot_be_is_not_found(acme: Inhabited, subject: str) -> None:
    assert acme.client().get(f"/executions/activity/{subject}/").status_code == 404


def test_the_live_chart_is_the_same_and_asks_for_the_permission(acme: Inhabited, executions: list[Execution]) -> None:
    render = fragments["activity"].render

    assert "translator" not in render(acme.actor("viewer"), "24h")
    assert 'aria-current="true"' in render(acme.actor("viewer"), "24h:agent:translator")
    with pytest.raises(Denied):
        render(Actor.anonymous(), "24h")
    with pytest.raises(NotFound):
        render(acme.actor("viewer"), "yesterday")


def test_pages_of_agents_and_gateways_show_their_executions(
    acme: Inhabited, executions: list[Execution], tmp_path: Any
) -> None:
    Fleet(acme, tmp_path, "").write_agent("support-bot")
    client = acme.client("viewer")

    assert _charted(client.get("/agents/support-bot/")) == 1
    assert b'data-live="/ws/live/activity/24h:agent:support-bot/"' in client.get("/agents/support-bot/").content
    gateway = client.get("/gateways/eu-1/", {"window": "7d"}).content.decode()
    assert "Its execution log was last read" in gateway
    assert 'data-live="/ws/live/activity/7d:gateway:eu-1/"' in gateway


def test_a_window_that_cannot_be_is_refused_by_name(acme: Inhabited, executions: list[Execution]) -> None:
    answer = acme.client().get("/gateways/eu-1/", {"window": "2h"})

    assert answer.status_code == 422
    assert b"none of 1h, 24h, 7d" in answer.content


@pytest.mark.parametrize("address", ["/executions/", "/api/v1/executions/", "/executions/activity/7d/"])
def test_more_executions_cost_no_more_queries(acme: Inhabited, eu_1: Gateway, log: Log, address: str) -> None:
    client = acme.client("owner")

    log.add(2)
    read_log(eu_1, log.page)
    client.get(address)
    few = reads(lambda: client.get(address))
    log.add(20)
    for number in range(20):
        log.add(1, registration=f"agent-{number}-production", key_id=f"abcdefgh{number:02}")
    read_log(eu_1, log.page)

    many = reads(lambda: client.get(address))
    assert len(many) == len(few), many
