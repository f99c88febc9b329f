"""Whether a draft can be saved: everything that would keep it from compiling is said now, at the field concerned.

The rules themselves are the contract's; this module finds the field behind each and words it for an author.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from apps.agents.compiler import agent_workflow, release_of
from apps.agents.models import DESCRIPTION_MAX_LENGTH, NAME_MAX_LENGTH
from apps.core.errors import Invalid
from contract.canonical import canonical_json
from contract.errors import ContractError
from contract.names import FIELD_PATTERN
from contract.nodes import CATALOGUE, KAIZEN_AGENT
from contract.release import Subject
from contract.schemas import check_schema, compile_schema, first_violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from apps.agents.definitions import Definition

_AGENT = CATALOGUE[KAIZEN_AGENT]
_SETTINGS = ("instructions", "model_profile", "temperature", "max_tokens", "memory")
_WORDING = {
    "model_profile": "Name a model profile, such as “default”: lower-case letters, digits and single hyphens.",
}
# Where in a release the author's schemas stand.
_PLACES = {
    "workflow.nodes[0].parameters.answer_schema": "output_schema",
    "interface.output_schema": "output_schema",
    "interface.inputs": "input_schema",
    "interface.bindings": "input_schema",
}
_ANY_VERSION = Subject(kind="agent", slug="draft", version=1)


def check(definition: Definition) -> Definition:
    """The definition as it can be saved and compiled.

    Raises:
        Invalid: it cannot be; every field that is wrong is named.
    """
    definition = _tidied(definition)
    fields = {name: texts for name, find in _CHECKS.items() if (texts := list(find(definition)))}
    if fields:
        raise Invalid(fields=fields)
    try:
        release_of(definition, _ANY_VERSION, agent_workflow(definition))
    except ContractError as error:
        raise _invalid(error) from None
    return definition


def _tidied(definition: Definition) -> Definition:
    """Without white space around the one-line texts, and with line ends as everyone writes them."""

    def text(value: str) -> str:
        return value.replace("\r\n", "\n").replace("\r", "\n").strip()

    return definition.replaced(
        name=text(definition.name),
        description=text(definition.description),
        instructions=text(definition.instructions),
        model_profile=text(definition.model_profile),
    )


def _name(definition: Definition) -> Iterator[str]:
    name = definition.name
    if not name:
        yield "Give the agent a name."
    elif len(name) > NAME_MAX_LENGTH:
        yield f"The name has {len(name)} characters; the most is {NAME_MAX_LENGTH}."
    elif not name.isprintable():
        yield "The name holds a line break or another character that cannot be shown."


def _description(definition: Definition) -> Iterator[str]:
    description = definition.description
    if len(description) > DESCRIPTION_MAX_LENGTH:
        yield f"The description has {len(description)} characters; the most is {DESCRIPTION_MAX_LENGTH}."
    else:
        yield from _unstorable(description)


def _setting(name: str) -> Callable[[Definition], Iterator[str]]:
    """The check of a node parameter by the catalogue's own schema for it."""
    validator = compile_schema(_AGENT.parameters["properties"][name])

    def find(definition: Definition) -> Iterator[str]:
        value = getattr(definition, name)
        violation = first_violation(validator, value)
        if name == "instructions" and value == "":
            yield "Write what the agent is to do."
        elif violation is not None:
            yield _WORDING.get(name) or _sentence(violation.reason)
        else:
            yield from _unstorable(value)

    return find


def _input_schema(definition: Definition) -> Iterator[str]:
    schema = definition.input_schema
    wrong = _schema_problem(schema)
    if wrong is not None:
        yield wrong
        return
    properties = schema.get("properties", {})
    for name in properties:
        if not re.fullmatch(FIELD_PATTERN, name):
            yield (
                f"“{name[:80]}” cannot be the name of an input: use letters, digits and underscores, "
                "and begin with a letter or underscore."
            )
        elif not _AGENT.accepts_input(name):
            yield f"“{name}” is a setting of the agent, so no input can be called that."
    unknown = sorted(set(schema.get("required", ())) - set(properties))
    if unknown:
        yield f"“{unknown[0][:80]}” is required but not among the properties, so no request could ever be valid."


def _output_schema(definition: Definition) -> Iterator[str]:
    if definition.output_schema is None:
        return
    wrong = _schema_problem(definition.output_schema)
    if wrong is not None:
        yield wrong


def _schema_problem(schema: object) -> str | None:
    """Why a value is not the JSON Schema of an object, in the author's words."""
    if not isinstance(schema, dict):
        return "Must be a JSON object that holds a JSON Schema."
    try:
        check_schema(schema)
    except ContractError as error:
        return _at(error.path.lstrip("."), error.reason)
    unstorable = next(_unstorable(schema), None)
    if unstorable is not None:
        return unstorable
    if schema.get("type") != "object":
        return 'Must describe an object: write "type": "object" at its top.'
    return None


def _unstorable(value: object) -> Iterator[str]:
    """Text that neither the database nor a gateway takes."""
    try:
        canonical_json(value)
    except ContractError as error:
        yield _sentence(error.reason)
        return
    if any("\0" in text for text in _texts(value)):
        yield "Holds a NUL character, which no text can hold."


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, child in value.items():
                yield from _texts(key)
                yield from _texts(child)
        case list():
            for child in value:
                yield from _texts(child)


def _invalid(error: ContractError) -> Invalid:
    """A refusal of the whole release, at the field that it is about."""
    for place, name in _PLACES.items():
        if error.path.startswith(place):
            return Invalid(fields={name: [_at(error.path.removeprefix(place).lstrip("."), error.reason)]})
    return Invalid(f"A gateway would refuse this agent: {error}.")


def _at(path: str, reason: str) -> str:
    return f"{path}: {reason}." if path else _sentence(reason)


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:].rstrip(".") + "."


_CHECKS: dict[str, Callable[[Definition], Iterator[str]]] = {
    "name": _name,
    "description": _description,
    **{name: _setting(name) for name in _SETTINGS},
    "input_schema": _input_schema,
    "output_schema": _output_schema,
}
