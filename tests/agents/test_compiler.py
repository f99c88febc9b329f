"""A version's release: whole, accepted by the contract, and the same bytes wherever it is compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.agents import commands
from apps.agents.checks import check
from apps.agents.compiler import agent_workflow, built, compile_version
from apps.agents.definitions import Definition
from apps.agents.models import Agent, AgentVersion
from contract.nodes import CATALOGUE
from contract.release import Connection, Node, Release, Workflow
from tests.agents.conftest import TRIAGE
from tests.harness.world import Inhabited

ROOT = Path(__file__).resolve().parents[2]
RICH = TRIAGE.replaced(
    instructions="Sort tickets of {{product}}. ${HOME} {0} %s",
    memory=True,
    input_schema={
        "type": "object",
        "required": ["message"],
        "properties": {"message": {"type": "string"}, "product": {"type": "string", "default": None}},
    },
    output_schema={"type": "object", "required": ["team"], "properties": {"team": {"enum": ["billing", None]}}},
)
OTHERWISE: dict[str, Any] = {
    "name": "Sorter",
    "description": "Sorts.",
    "instructions": "Sort.",
    "model_profile": "large",
    "temperature": 0.3,
    "max_tokens": 257,
    "memory": False,
    "input_schema": {"type": "object", "properties": {"message": {"type": "string"}}},
    "output_schema": None,
}


def _version(definition: Definition, *, slug: str = "triage", number: int = 3) -> AgentVersion:
    return AgentVersion(agent=Agent(slug=slug), number=number, content=definition.to_json())


def test_a_release_holds_what_the_author_set() -> None:
    release = compile_version(_version(RICH))
    assert (release.subject.kind, release.subject.slug, release.subject.version) == ("agent", "triage", 3)
    (node,) = release.workflow.nodes
    assert node.type == "KaizenAgent"
    assert node.parameters == {
        "instructions": RICH.instructions,
        "model_profile": "default",
        "temperature": 0.2,
        "max_tokens": 256,
        "memory": True,
        "answer_schema": RICH.output_schema,
    }
    assert [binding.input for binding in release.interface.bindings] == ["message", "product"]
    assert [output.name for output in release.interface.outputs] == ["text", "answer"]
    assert release.metadata.title == "Support triage"


def test_a_gateway_reads_the_same_release() -> None:
    release = compile_version(_version(RICH))
    received = Release.parse(release.canonical)
    assert received.digest == release.digest
    assert received == release


def test_nothing_random_is_left() -> None:
    text = compile_version(_version(RICH)).canonical.decode()
    assert not any(word in text for word in ("created_at", "workflow_id", "Workflow-", "position"))


@pytest.mark.parametrize("field", Definition.NAMES)
def test_every_field_makes_another_release(field: str) -> None:
    assert set(OTHERWISE) == set(Definition.NAMES)
    changed = check(RICH.replaced(**{field: OTHERWISE[field]}))
    assert compile_version(_version(changed)).digest != compile_version(_version(RICH)).digest
    assert changed.digest != RICH.digest


def test_another_agent_or_number_is_another_release() -> None:
    digests = {
        compile_version(_version(RICH)).digest,
        compile_version(_version(RICH, slug="other")).digest,
        compile_version(_version(RICH, number=4)).digest,
    }
    assert len(digests) == 3


def test_the_digest_is_the_same_in_another_process() -> None:
    program = (
        "import django, json, sys; django.setup()\n"
        "from apps.agents.compiler import compile_version\n"
        "from apps.agents.models import Agent, AgentVersion\n"
        "content = json.load(sys.stdin)\n"
        "print(compile_version(AgentVersion(agent=Agent(slug='triage'), number=3, content=content)).digest)\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "kaizen_site.settings"}
    digests = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=json.dumps(RICH.to_json()),
            cwd=ROOT,
            env={**environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip().splitlines()[-1])
    assert digests == {compile_version(_version(RICH)).digest}


def test_the_digest_survives_the_database(acme: Inhabited) -> None:
    """PostgreSQL keeps the members of a JSON value in an order of its own."""
    builder = acme.actor("builder")
    agent = commands.create(actor=builder, slug="triage", definition=RICH)
    written = commands.publish(actor=builder, agent=agent)
    read = AgentVersion.objects.select_related("agent").get(pk=written.pk)
    assert compile_version(read).digest == compile_version(written).digest
    assert compile_version(read).digest == compile_version(_version(RICH, number=1)).digest
    assert read.content_digest == RICH.digest


def test_kailash_builds_graphs_in_an_order_of_our_own() -> None:
    agents = [Node(id=name, type="KaizenAgent", parameters={"instructions": name}) for name in ("b", "a", "c")]
    edges = [
        Connection(from_node="b", from_output="text", to_node="c", to_input="second"),
        Connection(from_node="a", from_output="text", to_node="c", to_input="message"),
    ]
    graph = built(Workflow(nodes=agents, connections=edges))
    assert [node.id for node in graph.nodes] == ["a", "b", "c"]
    assert [edge.from_node for edge in graph.connections] == ["a", "b"]
    assert graph == built(Workflow(nodes=agents[::-1], connections=edges[::-1]))


def test_a_declaration_refuses_to_run() -> None:
    from apps.agents.nodes import declarations

    assert set(declarations()) == set(CATALOGUE)
    with pytest.raises(NotImplementedError, match="runs on gateways"):
        declarations()["KaizenAgent"](instructions="x").run()


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
_PRINTABLE = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=60)
_SCHEMAS = st.dictionaries(
    st.from_regex(r"\A[a-z]{1,8}_\Z"),
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer", "boolean"])}, optional={"description": _TEXT}),
    max_size=5,
).map(lambda properties: {"type": "object", "properties": properties})


@settings(max_examples=60, deadline=None)
@given(
    instructions=_TEXT.filter(lambda text: text.strip()),
    name=_PRINTABLE,
    temperature=st.floats(0, 2),
    max_tokens=st.integers(1, 128_000),
    memory=st.booleans(),
    inputs=_SCHEMAS,
    outputs=st.none() | _SCHEMAS,
)
def test_whatever_passes_the_check_compiles_unchanged(
    instructions: str,
    name: str,
    temperature: float,
    max_tokens: int,
    memory: bool,
    inputs: dict[str, Any],
    outputs: dict[str, Any] | None,
) -> None:
    definition = check(
        Definition(
            name=name,
            instructions=instructions,
            temperature=temperature,
            max_tokens=max_tokens,
            memory=memory,
            input_schema=inputs,
            output_schema=outputs,
        )
    )
    release = compile_version(_version(definition))
    assert release.workflow == agent_workflow(definition)
    assert Release.parse(release.canonical).digest == release.digest
