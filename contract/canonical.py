"""One byte sequence per JSON value (RFC 8785, JCS), so that digests and signatures agree on every machine.

Numbers follow JCS: they are written as ECMAScript writes them, so ``1``, ``1.0`` and ``1e0`` are one value. Integers
that readers with double precision would change (many beyond 2^53) are refused, and so are NaN, infinities, lone
surrogates and object keys that are no strings.
"""

from __future__ import annotations

import json
import math
import re
from hashlib import sha256
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, NoReturn

from contract.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 64
"""How deep arrays and objects may nest."""

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


def canonical_json(value: object) -> bytes:
    """The one UTF-8 byte sequence of a JSON value.

    Raises:
        ContractError: the value is no JSON, or is outside the limits above; the path says where.
    """
    text = "".join(_pieces(value, "", 0))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ContractError("holds a lone surrogate, which is no Unicode text") from None


def digest_of(value: object) -> str:
    """``sha256:<hex>`` of bytes as they are, or of any other value's canonical JSON."""
    content = value if isinstance(value, bytes) else canonical_json(value)
    return f"sha256:{sha256(content).hexdigest()}"


def strict_loads(text: bytes | str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse JSON as everyone must read it (RFC 7493): no duplicate keys, no NaN, no number beyond a double, no lone
    surrogates, no bottomless nesting.

    Raises:
        ContractError: the text is no such JSON.
    """
    try:
        value = _decode(text)
    except ContractError:
        raise
    except json.JSONDecodeError as error:
        raise ContractError(f"not valid JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "not valid UTF-8 JSON"
        raise ContractError(reason) from None
    if _deeper_than(value, max_depth):
        raise ContractError(f"nested deeper than {max_depth} levels")
    if _SURROGATE_ESCAPE.search(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")):
        _refuse_lone_surrogates(value)
    return value


def _decode(text: bytes | str) -> Any:
    """What `json.loads` does, without making a new decoder each time."""
    if isinstance(text, bytes):
        return _DECODER.decode(text.decode(json.detect_encoding(text), "surrogatepass"))
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    return _DECODER.decode(text)


def _pieces(value: object, path: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ContractError(f"nested deeper than {MAX_DEPTH} levels", path)
    match value:
        case None:
            yield "null"
        case bool():
            yield "true" if value else "false"
        case str():
            yield encode_basestring(value)
        case int():
            yield _integer(value, path)
        case float():
            yield _float(value, path)
        case list() | tuple():
            yield from _array(value, path, depth)
        case dict():
            yield from _object(value, path, depth)
        case _:
            raise ContractError(f"{type(value).__name__} is no JSON value", path)


def _array(items: list[object] | tuple[object, ...], path: str, depth: int) -> Iterator[str]:
    yield "["
    for index, item in enumerate(items):
        if index:
            yield ","
        yield from _pieces(item, f"{path}[{index}]", depth + 1)
    yield "]"


def _object(members: dict[object, object], path: str, depth: int) -> Iterator[str]:
    keys = [key for key in members if isinstance(key, str)]
    if len(keys) != len(members):
        raise ContractError("a key of the object is no string", path)
    yield "{"
    # RFC 8785, 3.2.3: keys are sorted by their UTF-16 code units.
    for index, key in enumerate(sorted(keys, key=_utf16)):
        if index:
            yield ","
        yield encode_basestring(key)
        yield ":"
        yield from _pieces(members[key], f"{path}.{key}" if path else key, depth + 1)
    yield "}"


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _integer(value: int, path: str) -> str:
    text = int.__repr__(value)
    if abs(value) > MAX_SAFE_INTEGER and (value.bit_length() > 70 or _float(float(value), path) != text):
        raise ContractError("the integer is too large to be exact in JSON; write it as a string", path)
    return text


def _float(value: float, path: str) -> str:
    """Write a float as ECMAScript's Number.prototype.toString does (RFC 8785, 3.2.2.3)."""
    if not math.isfinite(value):
        raise ContractError(f"{value} is no JSON number", path)
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    stripped = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(stripped)
    digits = stripped.rstrip("0")
    return sign + _ecmascript(digits, point)


def _ecmascript(digits: str, point: int) -> str:
    """Lay out the shortest digits with the decimal point after `point` of them, by ECMA-262's Number::toString."""
    count = len(digits)
    if count <= point <= 21:
        return digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    exponent = point - 1
    head = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{head}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def _refuse_constant(constant: str) -> NoReturn:
    raise ContractError(f"{constant} is no JSON number")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ContractError("a number is too large")
    return number


def _refuse_lone_surrogates(value: object) -> None:
    """Raise if a text in the value could not be encoded; escapes are the only way in which such a text can come."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ContractError("a text holds a lone surrogate, which is no Unicode text") from None


def _unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        # Two readers may pick different ones of the two values: what was signed would not be what runs.
        raise ContractError("an object names the same key twice")
    return members


def _deeper_than(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


_DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite_float, object_pairs_hook=_unique_object
)
