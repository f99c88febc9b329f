"""What differs between two definitions."""

from __future__ import annotations

import pytest

from apps.agents.models import Agent
from apps.agents.queries import Edit, compare, side, unbound_placeholders
from apps.core.errors import NotFound
from tests.agents.conftest import TRIAGE


def test_equal_definitions_do_not_differ() -> None:
    assert compare(TRIAGE, TRIAGE.replaced(temperature=0.20)) == ()


def test_texts_differ_by_words() -> None:
    (change,) = compare(TRIAGE, TRIAGE.replaced(instructions="You sort tickets.\nAnswer in two sentences."))
    assert change.field == "instructions"
    marked = {line.kind: [text for text, changed in line.segments if changed] for line in change.lines}
    assert marked == {"same": [], "removed": ["three"], "added": ["two"]}


def test_schemas_differ_by_place() -> None:
    old = TRIAGE.replaced(input_schema={"type": "object", "properties": {"a": {"const": 1}, "b": {}}})
    new = TRIAGE.replaced(input_schema={"type": "object", "properties": {"a": {"const": True}, "c": {}}})
    (change,) = compare(old, new)
    assert change.edits == (
        Edit("properties.a.const", "changed", 1, True),
        Edit("properties.b", "removed", before={}),
        Edit("properties.c", "added", after={}),
    )


def test_plain_values_stand_side_by_side() -> None:
    changes = compare(TRIAGE, TRIAGE.replaced(memory=True, max_tokens=9, output_schema={"type": "object"}))
    assert [(change.field, change.before, change.after) for change in changes] == [
        ("max_tokens", 256, 9),
        ("memory", False, True),
        ("output_schema", None, {"type": "object"}),
    ]


def test_a_side_is_the_draft_or_a_version(published: Agent) -> None:
    assert side(published, "draft").definition.temperature == 0.1
    assert side(published, "1").definition.temperature == 0.2
    for key in ("2", "0", "-1", "one", "", "1.0", "9" * 30, "\u0661"):
        with pytest.raises(NotFound):
            side(published, key)


def test_placeholders_without_an_input_are_found() -> None:
    definition = TRIAGE.replaced(instructions="{{message}} {{ topic }} {{topic}} {{}} {{2x}} {not} {{tone}}")
    assert unbound_placeholders(definition) == ("{{topic}}", "{{tone}}")
