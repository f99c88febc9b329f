"""One byte sequence per value: against RFC 8785's own examples, and for generated values."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.canonical import MAX_SAFE_INTEGER, canonical_json, digest_of, strict_loads
from contract.errors import ContractError

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children),
    max_leaves=30,
)


@given(JSON_VALUES)
def test_canonical_json_parses_back_to_the_same_value(value: object) -> None:
    canonical = canonical_json(value)
    assert json.loads(canonical, parse_int=float) == value
    assert canonical_json(strict_loads(canonical)) == canonical


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9), min_size=2))
def test_the_order_of_keys_does_not_matter(members: dict[str, int]) -> None:
    assert canonical_json(members) == canonical_json(dict(reversed(members.items())))


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        # RFC 8785, appendix B.
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_rfc_8785_writes_them(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number).decode() == text


def test_keys_are_sorted_by_utf16_code_units() -> None:
    # RFC 8785, 3.2.3.
    members = {"€": 5, "\r": 1, "\ufb33": 7, "1": 2, "😀": 6, "\u0080": 3, "ö": 4}
    assert list(json.loads(canonical_json(members)).values()) == [1, 2, 3, 4, 5, 6, 7]


def test_one_and_one_point_zero_are_the_same_value() -> None:
    assert digest_of({"temperature": 1.0}) == digest_of({"temperature": 1})


def test_digest_of_bytes_is_over_the_bytes_themselves() -> None:
    assert digest_of(b"null") == digest_of(None)
    assert digest_of(b"null") == "sha256:74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, float("nan")]}, "a[1]"),
        ({"a": float("inf")}, "a"),
        ({"a": {"b": 2**53 + 1}}, "a.b"),
        ({"a": {"b": 10**400}}, "a.b"),
        ({"a": {1: 2}}, "a"),
        ({"a": {1, 2}}, "a"),
        ({"a": b"bytes"}, "a"),
    ],
)
def test_what_is_no_json_is_refused_with_its_path(value: object, path: str) -> None:
    with pytest.raises(ContractError) as refusal:
        canonical_json(value)
    assert refusal.value.path == path


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ContractError, match="surrogate"):
        canonical_json("\ud800")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"a": NaN}', "no JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 70 + b"]" * 70, "deeper than 64"),
        (b'{"a": ', "not valid JSON"),
        (b"\xff\xff", "not valid UTF-8"),
        (b"1" * 5_000, "not valid"),
        (b"1e999", "too large"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\uDC00": 1}', "lone surrogate"),
    ],
)
def test_strict_loads_refuses_what_readers_disagree_about(text: bytes, reason: str) -> None:
    with pytest.raises(ContractError, match=reason):
        strict_loads(text)


def test_a_pair_of_surrogate_escapes_is_one_character() -> None:
    assert strict_loads(b'"\\ud83d\\ude00"') == "\U0001f600"
