"""What happens to an agent, from its first draft to its restoration."""

from __future__ import annotations

import pytest

from apps.agents import commands
from apps.agents.definitions import Definition
from apps.agents.models import Agent, AgentVersion
from apps.agents.ports import deletion_guards
from apps.audit.models import Event
from apps.core.errors import Conflict, Denied, Invalid, NotFound
from tests.agents.conftest import TRIAGE
from tests.harness.world import Inhabited


def _fresh(agent: Agent) -> Agent:
    return Agent.objects.with_latest_version().get(pk=agent.pk)


def test_publishing_freezes_the_draft(acme: Inhabited, triage: Agent) -> None:
    builder = acme.actor("builder")
    version = commands.publish(actor=builder, agent=triage, note="  the pilot\r\nwith billing  ")
    commands.edit(actor=builder, agent=triage, revision=1, definition=TRIAGE.replaced(memory=True))

    frozen = AgentVersion.objects.get(pk=version.pk)
    assert (frozen.number, frozen.note, frozen.published_by) == (1, "the pilot\nwith billing", builder.label)
    assert frozen.definition == TRIAGE
    assert _fresh(triage).definition.memory is True


def test_numbers_count_up_within_each_agent(acme: Inhabited, published: Agent) -> None:
    builder = acme.actor("builder")
    other = commands.create(actor=builder, slug="other", definition=TRIAGE)
    assert commands.publish(actor=builder, agent=published).number == 2
    assert commands.publish(actor=builder, agent=other).number == 1


def test_the_state_says_where_an_agent_stands(acme: Inhabited, triage: Agent) -> None:
    builder = acme.actor("builder")
    assert (triage.state, triage.state_reason) == ("draft", "nothing published yet")
    commands.publish(actor=builder, agent=triage)
    assert _fresh(triage).state == "published"
    commands.edit(actor=builder, agent=triage, revision=1, definition=TRIAGE.replaced(max_tokens=1))
    assert (_fresh(triage).state, _fresh(triage).state_reason) == ("changed", "the draft differs from version 1")
    commands.edit(actor=builder, agent=triage, revision=2, definition=TRIAGE)
    assert _fresh(triage).state == "published"
    commands.delete(actor=builder, agent=triage)
    assert _fresh(triage).state == "deleted"


def test_nothing_is_published_twice(acme: Inhabited, triage: Agent) -> None:
    commands.publish(actor=acme.actor("builder"), agent=triage)
    with pytest.raises(Conflict, match="Nothing changed since version 1"):
        commands.publish(actor=acme.actor("builder"), agent=triage)
    assert triage.versions.count() == 1


def test_what_the_publisher_did_not_see_is_not_published(acme: Inhabited, triage: Agent) -> None:
    commands.edit(actor=acme.actor("admin"), agent=triage, revision=1, definition=TRIAGE.replaced(memory=True))
    with pytest.raises(Conflict, match=r"admin@acme\.example saved the draft meanwhile"):
        commands.publish(actor=acme.actor("builder"), agent=triage, revision=1)
    assert not triage.versions.exists()


def test_of_two_editors_the_second_is_told(acme: Inhabited, triage: Agent) -> None:
    commands.edit(actor=acme.actor("admin"), agent=triage, revision=1, definition=TRIAGE.replaced(name="Sorter"))
    with pytest.raises(Conflict, match="revision 2 now, you saw 1"):
        commands.edit(actor=acme.actor("builder"), agent=triage, revision=1, definition=TRIAGE.replaced(name="Other"))
    assert _fresh(triage).name == "Sorter"


def test_saving_the_same_changes_nothing(acme: Inhabited, triage: Agent) -> None:
    before = triage.updated_at
    commands.edit(actor=acme.actor("admin"), agent=triage, revision=1, definition=TRIAGE.replaced(temperature=0.20))
    fresh = _fresh(triage)
    assert (fresh.revision, fresh.updated_at, fresh.updated_by) == (1, before, "builder@acme.example")


def test_an_old_version_comes_back_into_the_draft(acme: Inhabited, published: Agent) -> None:
    builder = acme.actor("builder")
    commands.restore_version(actor=builder, agent=published, number=1, revision=published.revision)
    fresh = _fresh(published)
    assert fresh.definition == TRIAGE
    assert fresh.revision == published.revision + 1
    assert fresh.versions.count() == 1
    with pytest.raises(Conflict, match="version 1 already"):
        commands.restore_version(actor=builder, agent=fresh, number=1)
    with pytest.raises(NotFound, match="no version 7"):
        commands.restore_version(actor=builder, agent=fresh, number=7)
    with pytest.raises(Conflict, match="meanwhile"):
        commands.restore_version(actor=builder, agent=fresh, number=1, revision=2)


def test_a_deleted_agent_rests_until_it_is_restored(acme: Inhabited, published: Agent) -> None:
    builder = acme.actor("builder")
    commands.delete(actor=builder, agent=published)
    assert published not in Agent.objects.alive()
    for attempt in (
        lambda: commands.edit(actor=builder, agent=published, revision=2, definition=TRIAGE),
        lambda: commands.publish(actor=builder, agent=published),
        lambda: commands.restore_version(actor=builder, agent=published, number=1),
        lambda: commands.delete(actor=builder, agent=published),
    ):
        with pytest.raises(Conflict, match="deleted"):
            attempt()
    with pytest.raises(Conflict, match="belongs to a deleted agent"):
        commands.create(actor=builder, slug=published.slug, definition=TRIAGE)

    commands.restore(actor=builder, agent=published)
    assert _fresh(published).definition == published.definition
    assert commands.publish(actor=builder, agent=published).number == 2
    with pytest.raises(Conflict, match="is not deleted"):
        commands.restore(actor=builder, agent=published)


def test_what_still_needs_an_agent_keeps_it(acme: Inhabited, triage: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [*deletion_guards, lambda agent: f"{agent} runs in production.", lambda _: None]
    monkeypatch.setattr(commands, "deletion_guards", needed)
    with pytest.raises(Conflict, match=r"^Support triage runs in production\.$"):
        commands.delete(actor=acme.actor("owner"), agent=triage)
    assert _fresh(triage).deleted_at is None


def test_a_copy_has_the_draft_and_no_past(acme: Inhabited, published: Agent) -> None:
    copy = commands.duplicate(actor=acme.actor("admin"), agent=published, slug="triage-two")
    assert copy.definition == published.definition.replaced(name="Support triage (copy)")
    assert (copy.created_by, copy.versions.count(), copy.state) == ("admin@acme.example", 0, "draft")
    made = Event.objects.get(action="agent.create", resource_id=copy.pk)
    assert made.parent == Event.objects.get(action="agent.duplicate").id


def test_a_copy_of_a_long_name_fits(acme: Inhabited) -> None:
    builder = acme.actor("builder")
    agent = commands.create(actor=builder, slug="long", definition=TRIAGE.replaced(name="n" * 120))
    assert commands.duplicate(actor=builder, agent=agent, slug="longer").name == "n" * 113 + " (copy)"


def test_the_log_says_what_changed(acme: Inhabited, published: Agent) -> None:
    edited = Event.objects.filter(action="agent.edit", resource_id=published.pk).latest("sequence")
    assert edited.changes["temperature"] == [0.2, 0.1]
    assert set(edited.changes) == {"instructions", "temperature"}
    event = Event.objects.get(action="agent.publish", resource_id=published.pk)
    assert event.detail["version"] == 1
    assert event.detail["note"] == "the pilot"


@pytest.mark.parametrize("role", ["approver", "viewer"])
def test_who_only_reads_changes_nothing(acme: Inhabited, published: Agent, role: str) -> None:
    actor = acme.actor(role)
    for attempt in (
        lambda: commands.create(actor=actor, slug="mine", definition=TRIAGE),
        lambda: commands.edit(actor=actor, agent=published, revision=2, definition=TRIAGE),
        lambda: commands.publish(actor=actor, agent=published),
        lambda: commands.delete(actor=actor, agent=published),
    ):
        with pytest.raises(Denied) as denied:
            attempt()
        assert "owner" in denied.value.decision.explanation


SCHEMA = TRIAGE.input_schema
WRONG: list[tuple[dict[str, object], str, str]] = [
    ({"name": "  "}, "name", "Give the agent a name"),
    ({"name": "n" * 121}, "name", "121 characters"),
    ({"name": "two\nlines"}, "name", "line break"),
    ({"description": "d" * 2001}, "description", "2001 characters"),
    ({"description": "nul\0"}, "description", "NUL"),
    ({"instructions": " \n "}, "instructions", "Write what the agent is to do"),
    ({"instructions": "i" * 100_001}, "instructions", "at most 100000 characters"),
    ({"instructions": "nul\0"}, "instructions", "NUL"),
    ({"instructions": "half \ud800"}, "instructions", "surrogate"),
    ({"model_profile": "GPT 4"}, "model_profile", "Name a model profile"),
    ({"model_profile": ""}, "model_profile", "Name a model profile"),
    ({"model_profile": "p" * 49}, "model_profile", "Name a model profile"),
    ({"temperature": 2.1}, "temperature", "at most 2"),
    ({"temperature": -0.1}, "temperature", "at least 0"),
    ({"temperature": float("nan")}, "temperature", "no JSON number"),
    ({"temperature": "0.5"}, "temperature", "type number"),
    ({"temperature": True}, "temperature", "type number"),
    ({"max_tokens": 0}, "max_tokens", "at least 1"),
    ({"max_tokens": 128_001}, "max_tokens", "at most 128000"),
    ({"max_tokens": 1.5}, "max_tokens", "type integer"),
    ({"memory": "yes"}, "memory", "type boolean"),
    ({"input_schema": []}, "input_schema", "JSON object"),
    ({"input_schema": {}}, "input_schema", '"type": "object"'),
    ({"input_schema": {"type": "array"}}, "input_schema", '"type": "object"'),
    ({"input_schema": {"type": "objekt"}}, "input_schema", "not a JSON Schema"),
    ({"input_schema": {"type": "object", "properties": {"a b": {}}}}, "input_schema", "“a b” cannot be the name"),
    ({"input_schema": {"type": "object", "properties": {"memory": {}}}}, "input_schema", "“memory” is a setting"),
    ({"input_schema": {"type": "object", "required": ["x"]}}, "input_schema", "“x” is required but not among"),
    ({"input_schema": {"type": "object", "$ref": "https://evil.example"}}, "input_schema", "own $defs"),
    (
        {"input_schema": {"type": "object", "properties": {"a": {"pattern": "("}}}},
        "input_schema",
        "not a regular expression",
    ),
    ({"input_schema": {"type": "object", "properties": {"a": {"const": "\0"}}}}, "input_schema", "NUL"),
    ({"input_schema": {"type": "object", "description": "d" * 100_001}}, "input_schema", "100000 bytes"),
    ({"input_schema": {"type": "object", "properties": {f"p{n}": {} for n in range(201)}}}, "input_schema", "200"),
    ({"output_schema": {"type": "string"}}, "output_schema", '"type": "object"'),
    ({"output_schema": {"type": "object", "properties": {"a": {"type": 5}}}}, "output_schema", "properties.a.type"),
    ({"output_schema": "text"}, "output_schema", "JSON object"),
]


@pytest.mark.parametrize(("members", "field", "message"), WRONG, ids=[f"{w[1]}: {w[2]}" for w in WRONG])
def test_a_draft_that_would_not_run_is_refused_at_its_field(
    acme: Inhabited, triage: Agent, members: dict[str, object], field: str, message: str
) -> None:
    wrong = TRIAGE.replaced(**members)
    with pytest.raises(Invalid) as refused:
        commands.edit(actor=acme.actor("builder"), agent=triage, revision=1, definition=wrong)
    assert list(refused.value.fields) == [field]
    assert message in " ".join(refused.value.fields[field])
    with pytest.raises(Invalid) as refused:
        commands.create(actor=acme.actor("builder"), slug="another", definition=wrong)
    assert list(refused.value.fields) == [field]
    assert _fresh(triage).definition == TRIAGE


def test_every_wrong_field_is_named_at_once(acme: Inhabited) -> None:
    wrong = Definition(name="", instructions="", max_tokens=0, input_schema={})
    with pytest.raises(Invalid) as refused:
        commands.create(actor=acme.actor("builder"), slug="Not A Slug", definition=wrong)
    assert set(refused.value.fields) == {"slug", "name", "instructions", "max_tokens", "input_schema"}


@pytest.mark.parametrize("slug", ["", "A", "a b", "a_b", "-a", "a-", "a--b", "1a", "ä", "a" * 49, "a\n", "a@canary"])
def test_a_slug_is_what_a_registration_can_be_called(acme: Inhabited, slug: str) -> None:
    if slug == "a\n":
        assert commands.create(actor=acme.actor("builder"), slug=slug, definition=TRIAGE).slug == "a"
        return
    with pytest.raises(Invalid) as refused:
        commands.create(actor=acme.actor("builder"), slug=slug, definition=TRIAGE)
    assert list(refused.value.fields) == ["slug"]


def test_a_slug_belongs_to_one_agent(acme: Inhabited, triage: Agent) -> None:
    with pytest.raises(Conflict, match="“support-triage” is taken"):
        commands.create(actor=acme.actor("builder"), slug="support-triage", definition=TRIAGE)
    with pytest.raises(Conflict, match="“support-triage” is taken"):
        commands.duplicate(actor=acme.actor("builder"), agent=triage, slug="support-triage")
    assert Agent.objects.count() == 1


@pytest.mark.parametrize("note", ["n" * 1001, "bell \a"])
def test_a_note_that_cannot_be_shown_is_refused(acme: Inhabited, triage: Agent, note: str) -> None:
    with pytest.raises(Invalid) as refused:
        commands.publish(actor=acme.actor("builder"), agent=triage, note=note)
    assert list(refused.value.fields) == ["note"]
    assert not triage.versions.exists()
