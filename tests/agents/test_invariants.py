"""What PostgreSQL refuses, whoever asks."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from apps.agents.models import Agent, AgentVersion
from tests.harness.world import Inhabited


def _execute(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agents_agentversion SET content = '{}'",
        "UPDATE agents_agentversion SET note = 'rewritten'",
        "DELETE FROM agents_agentversion",
        "UPDATE agents_agent SET slug = 'renamed'",
        "DELETE FROM agents_agent",
    ],
)
def test_the_past_cannot_be_changed(published: Agent, statement: str) -> None:
    with pytest.raises(DatabaseError):
        _execute(statement)
    assert AgentVersion.objects.get(agent=published).note == "the pilot"
    assert Agent.objects.get().slug == "support-triage"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("slug", "Not A Slug"),
        ("slug", "trailing\n"),
        ("temperature", 2.5),
        ("temperature", float("nan")),
        ("max_tokens", 0),
        ("max_tokens", 200_000),
        ("instructions", ""),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(acme: Inhabited, column: str, value: Any) -> None:
    sound = {"slug": "sound", "name": "Sound", "instructions": "Do.", "content_digest": "sha256:", "created_by": "x"}
    with pytest.raises(IntegrityError), transaction.atomic():
        Agent.objects.create(**{**sound, column: value})


def test_two_versions_never_share_a_number(published: Agent) -> None:
    again = {"agent": published, "number": 1, "content": {}, "content_digest": "sha256:", "published_by": "x"}
    with pytest.raises(IntegrityError, match="agent_version_number"), transaction.atomic():
        AgentVersion.objects.create(**again)
    with pytest.raises(IntegrityError), transaction.atomic():
        AgentVersion.objects.create(**{**again, "number": 0})
