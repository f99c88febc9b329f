"""Documents and inputs that hypothesis makes up, from sound ones outward.

The same few hundred in every run; `KAIZEN_PROPERTY_EXAMPLES` asks for so many new ones.
"""

from __future__ import annotations

import contextlib
import copy
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.admin_api import PutRequest
from contract.caller_keys import CallerKey
from contract.canonical import canonical_json, strict_loads
from contract.document import Document
from contract.errors import ContractError
from contract.kinds import KINDS
from contract.names import FIELD_PATTERN
from contract.release import Release
from contract.routes import Route
from contract.schemas import check_schema, compile_schema, first_violation
from contract.stops import Stop
from gateway_service.registrations import Registration
from tests.harness.gateway import agent_release
from tests.harness.properties import EXAMPLES

_asked = os.environ.get(EXAMPLES, "")
bounded = settings(
    max_examples=int(_asked or 300), derandomize=not _asked, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

DOCUMENTS: list[type[Document]] = [Release, CallerKey, Route, Stop]
SOUND: list[dict[str, Any]] = [
    agent_release(
        inputs={
            "type": "object",
            "properties": {"message": {"type": "string", "pattern": "^x"}, "n": {"$ref": "#/$defs/n"}},
            "$defs": {"n": {"type": "integer", "enum": [1, 2]}},
        },
        answer_schema={"type": "object", "required": ["a"], "properties": {"a": {"type": "array"}}},
    ).to_json(),
    CallerKey.parse({"hash": f"sha256:{'0' * 64}", "scopes": ["*"]}).to_json(),
    Route(canary=f"sha256:{'0' * 64}", percent=10).to_json(),
    Stop(registrations=["a-test"], releases=[]).to_json(),
]
WORDS = st.sampled_from(
    ["type", "$ref", "$defs", "pattern", "properties", "message", "agent", "instructions", "KaizenAgent", "kaizen.call",
     "#/$defs/n", "__class__", "${message}", "{{message}}", "\x00", "\ud800", "", "*", "a" * 300]
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """A sound document with a few things replaced, removed, added or repeated."""
    document = copy.deepcopy(draw(st.sampled_from(SOUND)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(document)))
        if not place:
            continue
        holder: Any = document
        for step in place[:-1]:
            holder = holder[step]
        match draw(st.sampled_from(["replace", "remove", "add", "repeat"])):
            case "remove":
                del holder[place[-1]]
            case "add" if isinstance(holder, dict):
                holder[draw(WORDS | st.text())] = draw(VALUES)
            case "repeat" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[place[-1]]))
            case _:
                holder[place[-1]] = draw(VALUES)
    return document


@bounded
@given(source=damaged() | VALUES)
def test_a_document_is_parsed_or_refused_and_parsed_again_the_same(source: Any) -> None:
    for document in DOCUMENTS:
        try:
            parsed = document.parse(source if isinstance(source, dict) else canonical_json(source))
        except ContractError:
            continue
        again = document.parse(parsed.canonical)
        assert again == parsed
        assert again.digest == parsed.digest
        assert again.canonical == parsed.canonical == canonical_json(parsed.to_json())


@bounded
@given(text=st.binary(max_size=300) | damaged().map(lambda value: repr(value).encode("utf-8", "surrogatepass")))
def test_bytes_are_a_document_or_refused(text: bytes) -> None:
    for document in DOCUMENTS:
        with contextlib.suppress(ContractError):
            document.parse(text)
    for kind in KINDS.values():
        with contextlib.suppress(ContractError):
            PutRequest.parse(kind, text)


@bounded
@given(value=VALUES)
def test_what_has_a_canonical_form_is_read_back_as_it_was(value: Any) -> None:
    try:
        text = canonical_json(value)
    except ContractError:
        return
    assert canonical_json(strict_loads(text)) == text


@bounded
@given(schema=st.dictionaries(WORDS, VALUES, max_size=4) | damaged(), value=VALUES)
def test_a_schema_that_was_accepted_judges_every_value(schema: dict[str, Any], value: Any) -> None:
    try:
        check_schema(schema)
    except ContractError:
        return
    violation = first_violation(compile_schema(schema), value)
    assert violation is None or violation.reason


FIELDS = st.from_regex(FIELD_PATTERN, fullmatch=True) | st.sampled_from(["message", "instructions", "model_profile"])


@bounded
@given(
    declared=st.lists(FIELDS, min_size=1, max_size=5, unique=True),
    sent=st.dictionaries(FIELDS | WORDS, VALUES, max_size=6),
)
def test_only_bound_inputs_reach_a_node(declared: list[str], sent: dict[str, Any]) -> None:
    document = agent_release().to_json()
    document["interface"]["inputs"] = {"type": "object", "properties": {field: {} for field in declared}}
    document["interface"]["bindings"] = [{"input": each, "node": "agent", "parameter": each} for each in declared]
    try:
        release = Release.parse(document)
    except ContractError:
        # A parameter of the node is no input of it.
        return
    registration = Registration("a-test", "id", release)
    bindings = release.interface.bindings
    given_to_node = registration.bound_values("agent", sent)
    assert set(given_to_node) == {binding.parameter for binding in bindings}
    assert set(given_to_node) <= set(declared)
    for binding in bindings:
        assert given_to_node[binding.parameter] is sent.get(binding.input)
    accepted = first_violation(registration.input_validator, sent) is None
    assert accepted == (set(sent) <= set(declared))
