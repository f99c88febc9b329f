"""A builder's own schema as a weapon: checking one request must not hold up all the others.

Each attack took from many seconds to longer than the universe before checks were bounded. None of these tests looks at
a clock: without the bounds they do not end.
"""

from __future__ import annotations

from typing import Any

import pytest

from contract.errors import ContractError
from contract.schemas import check_schema, compile_schema, first_violation
from tests.harness.gateway import GatewayProcess, Studio, agent_release, error_of

Schema = dict[str, Any]

DOUBLING: Schema = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)} | {"d60": {}}
SELF: Schema = {
    "a": {"properties": {"x": {"$ref": "#/$defs/a"}}, "allOf": [{"properties": {"x": {"$ref": "#/$defs/a"}}}]}
}
DEEP: Any = {}
for _ in range(50):
    DEEP = {"x": DEEP}
MIXED = [item for n in range(60_000) for item in (n, str(n))]
GIVEN_UP = "is too large, or its schema too intricate, to be checked"


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 5_000 + "!", "must match the pattern ^(a+)+$"),
        ({"pattern": "^(a|a)*$"}, "a" * 5_000 + "!", "must match the pattern ^(a|a)*$"),
        ({"patternProperties": {"^(a+)+$": False}}, {"a" * 5_000 + "!": 1}, None),
        (
            {"patternProperties": {"^(a+)+$": True}, "additionalProperties": False},
            {"a" * 5_000 + "!": 1},
            "is not an accepted field",
        ),
        ({"propertyNames": {"pattern": "^(a+)+$"}}, {"a" * 5_000 + "!": 1}, "must match the pattern ^(a+)+$"),
        ({"pattern": "[ab]{0,900}c"}, "ab" * 400_000, GIVEN_UP),
        ({"$defs": DOUBLING, "$ref": "#/$defs/d0"}, {}, GIVEN_UP),
        ({"$defs": DOUBLING, "$ref": "#/$defs/d0", "unevaluatedProperties": False}, {"a": 1}, GIVEN_UP),
        ({"$defs": SELF, "$ref": "#/$defs/a"}, DEEP, GIVEN_UP),
        ({"uniqueItems": True}, [*MIXED, 1], "does not satisfy 'uniqueItems'"),
        ({"items": {"anyOf": [{"const": n} for n in range(3_000)]}}, list(range(10**5, 2 * 10**5)), GIVEN_UP),
        ({"items": {"enum": list(range(10_000))}}, list(range(10**5)), GIVEN_UP),
        ({"anyOf": [{"minLength": 10**7}] * 3_000}, "x" * 10**6, GIVEN_UP),
        ({"anyOf": [{"type": "object"}] * 3_000}, [["x" * 10**6]], GIVEN_UP),
    ],
)  # fmt: skip
def test_a_check_ends_whatever_the_schema_and_the_value(schema: Schema, value: Any, reason: str | None) -> None:
    violation = first_violation(compile_schema(check_schema(schema)), value)
    assert (violation and violation.reason) == reason


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"^(?=a)b$", "invalid perl operator: (?="),
        (r"^(?<!a)b$", "invalid perl operator: (?<"),
        (r"^(a)\1$", r"invalid escape sequence: \1"),
        (r"a{100000}", "invalid repetition size"),
        (r"((a{100}){100}){100}", "invalid repetition size"),
        ("(", "missing )"),
        ("x" * 257, "at most 256 characters"),
    ],
)
@pytest.mark.parametrize("keyword", ["pattern", "patternProperties"])
def test_a_pattern_that_would_backtrack_cannot_be_published(keyword: str, pattern: str, said: str) -> None:
    schema = {keyword: pattern if keyword == "pattern" else {pattern: True}}
    with pytest.raises(ContractError) as refusal:
        check_schema({"type": "object", "properties": {"field": schema}})
    assert said in refusal.value.reason
    assert refusal.value.path.startswith(".properties.field")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a+)+$"}}},
        {"patternProperties": {"^a": True}, "unevaluatedProperties": False},
        {"required": MIXED[:8_000]},
        {"dependentRequired": {"a": MIXED[:8_000]}},
    ],
)
def test_no_way_leads_to_the_unbounded_validator(schema: Schema) -> None:
    with pytest.raises(ContractError):
        check_schema(schema)


def test_a_dialect_named_at_the_top_changes_nothing() -> None:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a+)+$"}
    violation = first_violation(compile_schema(schema), "a" * 5_000 + "!")
    assert violation is not None
    assert violation.reason.startswith("must match")


@pytest.mark.parametrize(
    ("pattern", "fits", "breaks"),
    [
        (r"^[\w.+-]+@[\w-]+\.[\w.]+$", "a.b@example.org", "nobody"),
        (r"^\d{4}-\d{2}$", "2026-11", "2026-11\n"),
        (r"^\p{Lu}", "Ürümqi", "ürümqi"),
        ("^\\u00e9\\\\u0041$", "é\\u0041", "éA"),
        (r"^(?i)yes|no$", "YES", "maybe"),
    ],
)
def test_patterns_mean_what_they_mean_elsewhere(pattern: str, fits: str, breaks: str) -> None:
    validator = compile_schema(check_schema({"pattern": pattern}))
    assert first_violation(validator, fits) is None
    assert first_violation(validator, breaks) is not None


def test_equal_items_are_found_whatever_their_spelling() -> None:
    validator = compile_schema({"uniqueItems": True})
    for value in ([1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [[1], [1]], [10**400, 10**400]):
        assert first_violation(validator, value) is not None
    for value in ([1, True], [0, False], ["1", 1], [None, "null"], []):
        assert first_violation(validator, value) is None


def test_a_gateway_answers_such_a_call_and_goes_on(
    gateway: GatewayProcess, studio: Studio, name: str, call: Any
) -> None:
    inputs = {
        "type": "object",
        "properties": {"message": {"type": "string", "pattern": "^(a+)+$"}, "tree": {"$ref": "#/$defs/d0"}},
        "$defs": DOUBLING,
    }
    studio.place(name, agent_release(inputs=inputs))
    assert error_of(call({"message": "a" * 50_000 + "!"}))["path"] == "inputs.message"
    answer = call({"message": "a", "tree": {}})
    assert answer.status_code == 422
    assert error_of(answer)["message"] == f"inputs {GIVEN_UP}"
    assert call({"message": "aaa"}).status_code == 200
