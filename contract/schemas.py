"""JSON Schema (draft 2020-12), as far as both planes let people use it.

A schema is self-contained: references point into its own ``$defs`` and nowhere else, so that checking a value never
opens a network connection. Messages name the field and the rule, and never repeat the value, which may be a prompt.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from contract.bounded_schemas import TooManySteps, bounded_validator, check_pattern, errors_of
from contract.canonical import canonical_json
from contract.errors import ContractError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Schema = dict[str, Any]

SCHEMA_MAX_BYTES = 100_000
_VALUES = ("const", "enum", "default", "examples")
"""Keywords whose contents are values, and no schemas."""

_LOCAL_REFERENCE = "#/$defs/"
_FOREIGN_KEYWORDS = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$recursiveRef")


_SOUND_MAX = 4_096
_sound: set[bytes] = set()
"""SHA-256 of schemas that have passed `check_schema`. The check is most of what reading a release costs, and the
releases of an agent mostly share their schemas."""


class Violation(NamedTuple):
    """Why a value does not fit a schema."""

    path: str
    reason: str


def check_schema(schema: Schema, path: str = "") -> Schema:
    """Return the schema, or say what is wrong with it.

    Raises:
        ContractError: it is no JSON Schema, is too large, or refers outside itself.
    """
    canonical = canonical_json(schema)
    if len(canonical) > SCHEMA_MAX_BYTES:
        raise ContractError(f"the schema has more than {SCHEMA_MAX_BYTES} bytes", path)
    fingerprint = sha256(canonical).digest()
    if fingerprint not in _sound:
        _check(schema, path)
        if len(_sound) >= _SOUND_MAX:
            _sound.clear()
        _sound.add(fingerprint)
    return schema


def _check(schema: Schema, path: str) -> None:
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError

    _check_names(schema, path)
    try:
        # No formats: the one that matters is that of patterns, and these are RE2's here.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise ContractError(f"not a JSON Schema: {error.message[:300]}", path + _suffix(error.absolute_path)) from None
    _check_keywords(schema, schema, path)
    text = canonical_json(schema)
    if b'"unevaluatedProperties":' in text and b'"patternProperties":' in text:
        # jsonschema looks at these patterns itself, with an engine that backtracks.
        raise ContractError("unevaluatedProperties cannot be combined with patternProperties", path)


def compile_schema(schema: Schema) -> Validator:
    """A reusable validator for a schema that passed `check_schema`; it cannot fetch anything, and ends soon."""
    from referencing import Registry

    # Without a registry of its own, jsonschema would fetch unknown references over the network.
    registry: Registry[Any] = Registry()
    # jsonschema would go over to a validator of its own, which has no bounds, where a schema names its dialect.
    plain = {keyword: value for keyword, value in schema.items() if keyword != "$schema"}
    return bounded_validator()(plain, registry=registry)


def first_violation(validator: Validator, value: Any) -> Violation | None:
    """The most telling reason why the value does not fit, or None if it does."""
    from jsonschema.exceptions import best_match

    try:
        error = best_match(errors_of(validator, value))
    except RecursionError:
        return Violation("", "is nested too deeply to be checked")
    except TooManySteps:
        return Violation("", "is too large, or its schema too intricate, to be checked")
    if error is None:
        return None
    return _violation(error)


def _violation(error: Any) -> Violation:
    path = _suffix(error.absolute_path).lstrip(".")
    limit = error.validator_value
    match error.validator:
        case "required":
            missing = next(name for name in limit if name not in error.instance)
            return Violation(f"{path}.{missing}".lstrip("."), "is required")
        case "additionalProperties" | "unevaluatedProperties":
            known = error.schema.get("properties", {})
            unknown = sorted(str(name) for name in error.instance if name not in known)
            return Violation(f"{path}.{unknown[0][:80]}".lstrip(".") if unknown else path, "is not an accepted field")
        case "type":
            return Violation(path, f"must be of type {limit if isinstance(limit, str) else ' or '.join(limit)}")
        case "enum":
            return Violation(path, f"must be one of {canonical_json(limit).decode()[:300]}")
        case "const":
            return Violation(path, f"must be {canonical_json(limit).decode()[:300]}")
        case keyword if keyword in _BOUNDS:
            return Violation(path, _BOUNDS[keyword].format(limit))
        case keyword:
            return Violation(path, f"does not satisfy {keyword!r}")


_BOUNDS = {
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} fields",
    "maxProperties": "must have at most {} fields",
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be more than {}",
    "exclusiveMaximum": "must be less than {}",
    "multipleOf": "must be a multiple of {}",
    "pattern": "must match the pattern {}",
}


def _suffix(steps: Any) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _check_keywords(node: object, root: Schema, path: str) -> None:
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_keywords(item, root, f"{path}[{index}]")
        return
    if not isinstance(node, dict):
        return
    for keyword in _FOREIGN_KEYWORDS:
        if isinstance(node.get(keyword), str):
            raise ContractError(f"{keyword} is not supported", path)
    _check_reference(node.get("$ref"), root, path)
    if isinstance(node.get("pattern"), str):
        check_pattern(node["pattern"], path)
    _check_pattern_properties(node.get("patternProperties"), f"{path}.patternProperties")
    if node is not root and isinstance(node.get("$schema"), str):
        raise ContractError("$schema is for the whole schema, and not for a part of it", path)
    for key, child in node.items():
        if key not in _VALUES:
            _check_keywords(child, root, f"{path}.{key}")


def _check_names(node: object, path: str) -> None:
    """Refuse lists of names that hold something else, before jsonschema compares each member with each other."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_names(item, f"{path}[{index}]")
        return
    if not isinstance(node, dict):
        return
    dependent = node.get("dependentRequired")
    lists = {"required": node.get("required"), "type": node.get("type")}
    lists |= dependent if isinstance(dependent, dict) else {}
    for keyword, names in lists.items():
        if isinstance(names, list) and not all(isinstance(name, str) for name in names):
            raise ContractError("must be a list of names", f"{path}.{keyword}")
    for key, child in node.items():
        if key not in _VALUES:
            _check_names(child, f"{path}.{key}")


def _check_reference(reference: object, root: Schema, path: str) -> None:
    if not isinstance(reference, str):
        return
    name = reference.removeprefix(_LOCAL_REFERENCE)
    if name == reference or name not in root.get("$defs", {}):
        raise ContractError(f"$ref must point into the schema's own $defs, not at {reference[:80]!r}", path)


def _check_pattern_properties(patterns: object, path: str) -> None:
    if isinstance(patterns, dict):
        for pattern in patterns:
            check_pattern(pattern, path)
