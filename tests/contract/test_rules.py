"""Names, generations, kinds, state digests, requests, schemas, and what the package may import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.admin_api import Item, PutRequest, state_digest, tombstone_signature
from contract.agents import agent_interface
from contract.caller_keys import CallerKey, KeyText
from contract.envelope import Envelope, generate_private_key
from contract.errors import ContractError, ErrorBody, ErrorCode, ErrorDetail
from contract.generations import Verdict, judge
from contract.kinds import API_KEY, KINDS, TOMBSTONE_DIGEST, WORKFLOW
from contract.names import (
    canary_name,
    check_registration_name,
    check_slug,
    check_workflow_name,
    registration_name,
    registration_of,
    split_registration_name,
)
from contract.nodes import CATALOGUE
from contract.routes import WHOLE, Route, bucket_of
from contract.schemas import check_schema, compile_schema, first_violation
from contract.stops import Stop

SLUGS = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)
ENVIRONMENTS = st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True)


@given(SLUGS, ENVIRONMENTS)
def test_a_registration_name_can_be_taken_apart_again(slug: str, environment: str) -> None:
    name = registration_name(slug, environment)
    assert split_registration_name(name) == (slug, environment)
    assert len(name) <= 64


@pytest.mark.parametrize(
    "slug", ["", "A", "a b", "a--b", "-a", "a-", "1a", "a_b", "a@canary", "a\n", "a/b", "..", "é", "a" * 49]
)
def test_what_is_no_slug_is_refused(slug: str) -> None:
    with pytest.raises(ContractError):
        check_slug(slug)


@pytest.mark.parametrize("environment", ["", "eu-west", "Prod", "p r", "x" * 16])
def test_what_is_no_environment_is_refused(environment: str) -> None:
    with pytest.raises(ContractError):
        registration_name("agent", environment)


@pytest.mark.parametrize(
    ("current", "incoming", "verdict"),
    [
        (None, (1, "a"), Verdict.APPLY),
        ((1, "a"), (2, "b"), Verdict.APPLY),
        ((1, "a"), (2, "a"), Verdict.APPLY),
        ((2, "a"), (2, "a"), Verdict.SAME),
        ((2, "a"), (2, "b"), Verdict.CONFLICT),
        ((2, "a"), (1, "b"), Verdict.STALE),
        ((2, "a"), (1, "a"), Verdict.STALE),
        ((2, TOMBSTONE_DIGEST), (1, "a"), Verdict.STALE),
        ((2, TOMBSTONE_DIGEST), (3, "a"), Verdict.APPLY),
    ],
)
def test_generations(current: tuple[int, str] | None, incoming: tuple[int, str], verdict: Verdict) -> None:
    assert judge(current, incoming) is verdict


def test_the_state_digest_covers_every_item_and_no_order() -> None:
    digest = "sha256:" + "a" * 64
    items = [
        Item(kind="workflow", name="a-development", generation=1, digest=digest, tombstone=False),
        Item(kind="api-key", name="0123456789ab", generation=2, digest=TOMBSTONE_DIGEST, tombstone=True),
    ]
    assert state_digest(items) == state_digest(list(reversed(items)))
    assert state_digest(items) != state_digest(items[:1])
    assert state_digest(items) != state_digest([items[0].model_copy(update={"generation": 2}), items[1]])


def test_a_put_request_travels_and_is_checked() -> None:
    key, text = generate_private_key(), KeyText.generate()
    payload = CallerKey(hash=text.hash, scopes=["*"])
    request = PutRequest.signed(API_KEY, text.id, payload, gateway="gw", generation=1, key=key)
    body = json.dumps(request.body(API_KEY)).encode()
    assert PutRequest.parse(API_KEY, body) == request
    assert CallerKey.parse(request.payload).digest == payload.digest
    with pytest.raises(ContractError, match="'release'"):
        PutRequest.parse(WORKFLOW, body)
    breakages: list[dict[str, object]] = [
        {"generation": 0},
        {"generation": "1"},
        {"digest": "sha1:x"},
        {"extra": 1},
        {"key": []},
    ]
    for broken in breakages:
        with pytest.raises(ContractError):
            PutRequest.parse(API_KEY, json.dumps({**request.body(API_KEY), **broken}).encode())
    with pytest.raises(ContractError):
        PutRequest.parse(API_KEY, b"[]")


def test_a_tombstone_is_an_envelope_over_nothing() -> None:
    key = generate_private_key()
    signature = tombstone_signature(WORKFLOW, "a-development", gateway="gw", generation=9, key=key)
    assert Envelope("gw", "workflow", "a-development", 9, TOMBSTONE_DIGEST).verify(key.public_key(), signature)


def test_schemas_of_the_catalogue_are_schemas() -> None:
    for node_type in CATALOGUE.values():
        check_schema(node_type.parameters)
        assert node_type.parameters["additionalProperties"] is False
    assert all(kind.name == name for name, kind in KINDS.items())


def test_a_canary_lies_under_a_name_that_callers_cannot_use() -> None:
    name = canary_name("greeter-production")
    assert check_workflow_name(name) == name == "greeter-production@canary"
    assert registration_of(name) == registration_of("greeter-production") == "greeter-production"
    with pytest.raises(ContractError):
        check_registration_name(name)
    for broken in (canary_name(name), "@canary", "greeter-production@other"):
        with pytest.raises(ContractError):
            check_workflow_name(broken)


def test_a_session_that_went_to_the_canary_stays_there_while_its_share_rises() -> None:
    digest = "sha256:" + "a" * 64
    buckets = [bucket_of("greeter-production", "key", f"session {number}") for number in range(2_000)]
    assert all(0 <= bucket < WHOLE for bucket in buckets)
    taken: set[int] = set()
    for percent in (1, 5, 25, 100):
        route = Route(canary=digest, percent=percent)
        now = {bucket for bucket in buckets if route.takes(bucket)}
        assert taken <= now
        assert abs(sum(map(route.takes, buckets)) / len(buckets) - percent / 100) < 0.04
        taken = now
    with pytest.raises(ContractError):
        Route.parse({"canary": digest, "percent": 0})


def test_a_stop_covers_names_and_releases_and_never_nothing() -> None:
    digest, other = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    stop = Stop.parse({"registrations": ["greeter-production"], "releases": [digest]})
    assert stop.covers("greeter-production", other)
    assert stop.covers("poet-production", digest)
    assert not stop.covers("poet-production", other)
    for broken in ({}, {"registrations": []}, {"registrations": ["*"]}, {"releases": ["greeter"]}):
        with pytest.raises(ContractError):
            Stop.parse(broken)


def test_every_error_code_has_a_status() -> None:
    assert all(400 <= code.status < 600 for code in ErrorCode)
    body = ErrorBody(error=ErrorDetail(code=ErrorCode.TIMED_OUT, message="late"))
    assert body.to_json() == {"error": {"code": "timed_out", "message": "late"}}


@pytest.mark.parametrize(
    ("schema", "value", "path", "reason"),
    [
        ({"required": ["a"]}, {}, "a", "is required"),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "secret"}, "a", "must be of type integer"),
        ({"properties": {}, "additionalProperties": False}, {"b": 1}, "b", "is not an accepted field"),
        ({"properties": {"a": {"items": {"enum": [1]}}}}, {"a": [1, 2]}, "a[1]", "must be one of [1]"),
        ({"properties": {"a": {"maxLength": 3}}}, {"a": "secret"}, "a", "must have at most 3 characters"),
        ({"properties": {"a": {"pattern": "^x"}}}, {"a": "secret"}, "a", "must match the pattern ^x"),
    ],
)
def test_violations_name_the_field_and_never_the_value(
    schema: dict[str, object], value: object, path: str, reason: str
) -> None:
    violation = first_violation(compile_schema(check_schema({"type": "object", **schema})), value)
    assert violation is not None
    assert (violation.path, violation.reason) == (path, reason)
    assert "secret" not in violation.reason


def test_a_schema_that_refers_to_itself_without_end_is_survived() -> None:
    schema = {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    violation = first_violation(compile_schema(check_schema(schema)), {})
    assert violation is not None


def test_an_agents_interface_binds_every_declared_input() -> None:
    interface = agent_interface({"type": "object", "properties": {"message": {}, "city": {}}})
    assert {(binding.input, binding.parameter) for binding in interface.bindings} == {
        ("message", "message"),
        ("city", "city"),
    }


def test_the_contract_imports_neither_plane() -> None:
    modules = [f"contract.{path.stem}" for path in Path("contract").glob("*.py") if path.stem != "__init__"]
    script = f"import sys, {', '.join(modules)}; print([m for m in ('django', 'kailash', 'nexus') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
