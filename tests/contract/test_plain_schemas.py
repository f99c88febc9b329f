"""The quick yes against the library that decides: it may be unsure, and never wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from contract.agents import DEFAULT_INPUTS
from contract.plain_schemas import plainly_fits
from contract.schemas import check_schema, compile_schema, first_violation

_NAMES = st.sampled_from(["a", "b", "c"])
_COUNTS = st.integers(0, 3)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.floats(-2, 2), st.text("aé😀", max_size=4), st.just(1.0)
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=8
)


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    strings = st.fixed_dictionaries(
        {"type": st.just("string")},
        optional={"minLength": _COUNTS, "maxLength": _COUNTS, "pattern": st.just("^a"), "title": st.just("t")},
    )
    simple = st.sampled_from(["integer", "number", "boolean", "null", ["string", "null"], "string", "array", "object"])
    others = st.fixed_dictionaries({}, optional={"type": simple, "enum": st.just([1, "a"]), "minimum": _COUNTS})
    arrays = st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={"items": inner, "minItems": _COUNTS, "maxItems": _COUNTS, "uniqueItems": st.just(True)},
    )
    objects = st.fixed_dictionaries(
        {"type": st.just("object")},
        optional={
            "properties": st.dictionaries(_NAMES, inner, max_size=3),
            "required": st.lists(_NAMES, unique=True, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "minProperties": _COUNTS,
            "patternProperties": st.fixed_dictionaries({"^a": inner}),
        },
    )
    return st.one_of(strings, others, arrays, objects, st.booleans())


_SCHEMAS = st.recursive(_schemas(st.just({"type": "string"})), _schemas, max_leaves=6).filter(
    lambda schema: isinstance(schema, dict)
)


@settings(max_examples=1_500, deadline=None)
@given(schema=_SCHEMAS, value=_VALUES)
def test_a_quick_yes_is_right(schema: dict[str, Any], value: Any) -> None:
    check_schema(schema)
    if plainly_fits(schema)(value):
        assert first_violation(compile_schema(schema), value) is None


def test_what_people_write_is_plain() -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["city"],
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 5, "description": "Where."},
            "days": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
            "detailed": {"type": "boolean", "default": False},
            "where": {"type": "object", "properties": {"x": {"type": "number"}}},
        },
    }
    fits = plainly_fits(schema)
    assert fits({"city": "Oslo"})
    assert fits({"city": "Oslo", "days": [1, 2], "detailed": True, "where": {"x": 1, "y": "anything"}})
    for value in ({}, {"city": ""}, {"city": "Helsinki"}, {"city": "Oslo", "n": 1}, {"city": "Oslo", "days": [True]}):
        assert not fits(value)
        assert first_violation(compile_schema(schema), value)
    assert plainly_fits({"additionalProperties": False, **DEFAULT_INPUTS})({"message": "Hi"})


def test_what_is_not_plain_is_left_to_the_library() -> None:
    for schema in ({}, {"type": "string", "pattern": "^a"}, {"type": ["string"]}, {"type": "integer", "minimum": 0}):
        assert not plainly_fits(schema)("a")
        assert not plainly_fits(schema)(1)
