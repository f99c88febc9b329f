"""A registration, explained as Markdown: what it is for, what it takes, what it answers, and a call to begin with."""

from __future__ import annotations

import json
from typing import Any

_BY_TYPE: dict[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}


def markdown_of(told: dict[str, Any]) -> str:
    """The documentation of a registration, of what `Registration.describe` tells: no instructions, no profile."""
    example = json.dumps({"inputs": _example(told["inputs"])}, ensure_ascii=False, indent=2)
    sections = [
        f"# {_line(told['title'])}",
        told["description"],
        f"Registration `{told['name']}`: {told['kind']}, version {told['version']}, release `{told['release']}`.",
        _traits(told),
        "## Inputs",
        _table(told["inputs"]) or "It takes no inputs.",
        "## Outputs",
        _outputs(told),
        "## Example",
        f"`POST /workflows/{told['name']}/execute`",
        f"```json\n{example}\n```",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _traits(told: dict[str, Any]) -> str:
    speaks = "It streams its text." if told["streams"] else "It answers when it is done."
    return f"{speaks} It remembers the session of a caller." if told["remembers"] else speaks


def _outputs(told: dict[str, Any]) -> str:
    schema = told.get("output_schema", {})
    described = _table(schema) if schema.get("type") == "object" else ""
    return described or "\n".join(f"- `{name}`" for name in told["outputs"])


def _table(schema: dict[str, Any]) -> str:
    """The properties of an object's schema; empty if it names none."""
    required = set(schema.get("required", []))
    rows = [
        f"| `{name}` | {_type(each)} | {'yes' if name in required else 'no'} | {_meaning(each)} |"
        for name, each in schema.get("properties", {}).items()
    ]
    return "\n".join(["| name | type | required | meaning |", "| --- | --- | --- | --- |", *rows]) if rows else ""


def _type(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "any"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{_cell(json.dumps(each, ensure_ascii=False))}`" for each in schema["enum"])
    named = schema.get("type", "any")
    return _cell(named if isinstance(named, str) else " or ".join(named))


def _meaning(schema: Any) -> str:
    if not isinstance(schema, dict):
        return ""
    meaning = _cell(schema.get("description", ""))
    if "default" not in schema:
        return meaning
    default = f"Default: `{_cell(json.dumps(schema['default'], ensure_ascii=False))}`."
    return f"{meaning} {default}".strip()


def _cell(text: str) -> str:
    """Text that cannot leave its cell: authors write these, and readers trust the table."""
    return _line(text).replace("|", "\\|")


def _line(text: str) -> str:
    return " ".join(text.split())


def _example(schema: dict[str, Any]) -> dict[str, Any]:
    """Inputs to begin with: the required ones, and those that the author gave an example of."""
    required = set(schema.get("required", []))
    return {
        name: _value(each)
        for name, each in schema.get("properties", {}).items()
        if name in required or (isinstance(each, dict) and each.get("examples"))
    }


def _value(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return "…"
    for given in (schema.get("examples"), schema.get("enum")):
        if isinstance(given, list) and given:
            return given[0]
    for member in ("default", "const"):
        if member in schema:
            return schema[member]
    named = schema.get("type")
    return _BY_TYPE.get(named if isinstance(named, str) else "", "…")
