"""JSON Schema whose checking ends soon, whoever wrote the schema and whoever sent the value.

Two things would let one request hold up a whole gateway. A backtracking regular expression takes exponential time on
some texts, so patterns run on RE2, which is linear; what RE2 cannot do (look-around, back-references) is no pattern
here. And a schema can multiply: definitions that refer to one another twice, or wide alternatives over long lists. So
each step of a check is counted, and a check that needs too many is given up.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from contract.canonical import canonical_json
from contract.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

    Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

MOST_STEPS = 300_000
"""Steps of one check: one for each keyword that meets a value, and one for each member of either. About a second
where all are needed; the inputs of agents need a few dozen."""

PATTERN_MAX_LENGTH = 256
_TEXT_PER_STEP = 500
"""How much text (in characters, times instructions of the compiled pattern) RE2 looks at in the time of one step."""

_UNICODE_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u([0-9a-fA-F]{4})")

_TEXT_PER_ERROR_STEP = 2_000
"""jsonschema writes the value into each error's message, read or not; so much of it takes the time of one step."""


class TooManySteps(Exception):
    """The check was given up."""


class _Check:
    """One check of a value, and what is left of its steps."""

    __slots__ = ("_left", "_per_error", "_value")

    def __init__(self, value: Any) -> None:
        self._left = MOST_STEPS
        self._value = value
        self._per_error: int | None = None

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise TooManySteps

    def spend_error(self) -> None:
        if self._per_error is None:
            self._per_error = 1 + len(repr(self._value)) // _TEXT_PER_ERROR_STEP
        self.spend(self._per_error)


_check: ContextVar[_Check] = ContextVar("check")


def check_pattern(pattern: str, path: str = "") -> None:
    """Say what is wrong with a regular expression.

    Raises:
        ContractError: it is too long, or RE2 does not understand it.
    """
    if len(pattern) > PATTERN_MAX_LENGTH:
        raise ContractError(f"a pattern has at most {PATTERN_MAX_LENGTH} characters", path)
    import re2

    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if error.args else "malformed"
        raise ContractError(
            f"not a regular expression of RE2, which has neither look-around nor back-references: {reason}", path
        ) from None


def errors_of(validator: Validator, value: Any) -> Iterator[ValidationError]:
    """The errors of a value, with a fresh number of steps for all of them.

    Raises:
        TooManySteps: while they are being read.
    """
    _check.set(_Check(value))
    errors: Iterator[ValidationError] = validator.iter_errors(value)
    return errors


@cache
def bounded_validator() -> type[Validator]:
    """The validator of draft 2020-12, with its steps counted and its patterns run by RE2."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    keywords: dict[str, Keyword] = {**Draft202012Validator.VALIDATORS, **_OURS}
    counted: Mapping[str, Any] = {name: _counted(keyword) for name, keyword in keywords.items()}
    validator: type[Validator] = extend(Draft202012Validator, validators=counted)  # type: ignore[no-untyped-call, unused-ignore]
    return validator


def _counted(keyword: Keyword) -> Keyword:
    def count_and_check(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        check = _check.get()
        check.spend(1 + _members(value) + _members(instance))
        for error in keyword(validator, value, instance, schema) or ():
            check.spend_error()
            yield error

    return count_and_check


def _members(value: object) -> int:
    return len(value) if isinstance(value, list | dict) else 0


@lru_cache(maxsize=4_096)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    # It would write to standard error by itself.
    options.log_errors = False
    # ECMA-262, which JSON Schema names, spells a character by its number in a way that RE2 does not know.
    return re2.compile(_UNICODE_ESCAPE.sub(r"\1\\x{\2}", pattern), options)


def _matches(pattern: str, text: str) -> bool:
    compiled = _compiled(pattern)
    _check.get().spend(compiled.programsize * len(text) // _TEXT_PER_STEP)
    return compiled.search(text) is not None


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _matches(pattern, instance):
        yield ValidationError("does not match the pattern")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    declared, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in [name for name in instance if name not in declared]:
        if any(_matches(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield ValidationError("is not an accepted field")
            return
        yield from validator.descend(instance[name], allowed, path=name)


def _unique_items(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    from jsonschema import ValidationError

    if not wanted or not validator.is_type(instance, "array"):
        return
    if len({_identity(item) for item in instance}) != len(instance):
        yield ValidationError("has an item twice")


def _identity(item: object) -> object:
    """Equal for equal JSON values. Comparing each with each, as jsonschema does for mixed types, takes hours."""
    try:
        return canonical_json(item)
    except ContractError:
        # A number that other readers would round; a model may well write one.
        return repr(item)


_OURS: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
