"""Lists cost the same number of queries however long they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.agents import commands
from apps.agents.definitions import Definition
from apps.agents.models import Agent
from tests.harness.world import Inhabited

PAGES = [
    "/agents/",
    "/agents/?state=changed",
    "/agents/?search=agent&sort=-latest_number",
    "/agents/bulk-0/?tab=versions",
]
ENDPOINTS = ["/agents/", "/agents/?published=true", "/agents/bulk-0/versions/"]


def _add_agents(world: Inhabited, numbers: range) -> None:
    actor = world.actor("builder")
    for number in numbers:
        definition = Definition(name=f"Agent {number}", instructions=f"Count to {number}.")
        agent = commands.create(actor=actor, slug=f"bulk-{number}", definition=definition)
        commands.publish(actor=actor, agent=agent)
        commands.edit(actor=actor, agent=agent, revision=1, definition=definition.replaced(memory=True))
        agent.refresh_from_db()


def _add_versions(world: Inhabited, count: int) -> None:
    actor = world.actor("builder")
    for _ in range(count):
        agent = Agent.objects.get(slug="bulk-0")
        changed = agent.definition.replaced(max_tokens=agent.max_tokens + 1)
        commands.edit(actor=actor, agent=agent, revision=agent.revision, definition=changed)
        commands.publish(actor=actor, agent=agent)


def _queries(ask: Callable[[], Any]) -> list[str]:
    """What one request reads of the organization's tables; that it exists is remembered for a while and read anew."""
    with CaptureQueriesContext(connection) as captured:
        assert ask().status_code == 200
    reads = [query["sql"] for query in captured.captured_queries if query["sql"].startswith("SELECT")]
    return [sql for sql in reads if ' FROM "' in sql and "tenants_domain" not in sql]


@pytest.mark.parametrize("address", PAGES)
@pytest.mark.parametrize("role", ["owner", "builder", "viewer"])
def test_a_page_with_more_rows_asks_no_more(acme: Inhabited, address: str, role: str) -> None:
    _add_agents(acme, range(2))
    client = acme.client(role)
    client.get(address)
    few = _queries(lambda: client.get(address))
    _add_agents(acme, range(2, 12))
    _add_versions(acme, 6)
    many = _queries(lambda: client.get(address))
    assert len(many) <= len(few), "\n".join(many)


@pytest.mark.parametrize("address", ENDPOINTS)
def test_an_endpoint_with_more_rows_asks_no_more(acme: Inhabited, address: str) -> None:
    _add_agents(acme, range(2))
    api = acme.api("viewer")
    api.get(address)
    few = _queries(lambda: api.get(address))
    _add_agents(acme, range(2, 12))
    _add_versions(acme, 6)
    many = _queries(lambda: api.get(address))
    assert len(many) <= len(few), "\n".join(many)
