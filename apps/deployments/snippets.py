"""How to call a deployed agent, as texts to copy: with its real address, name and inputs, and never with a key."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apps.deployments.models import Deployment

KEY_VARIABLE = "GATEWAY_KEY"
_EXAMPLES: dict[str, Any] = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}


@dataclass(frozen=True, slots=True)
class Snippet:
    """One way to call.

    Attributes:
        key: stable name of the way.
        language: of the text, for its highlighting.
        hint: a sentence about it.
    """

    key: str
    title: str
    language: str
    text: str
    hint: str = ""


def example_inputs(schema: dict[str, Any]) -> dict[str, Any]:
    """Inputs that show the required fields of an input schema."""
    properties: dict[str, Any] = schema.get("properties", {})
    return {name: _example(name, properties.get(name, {})) for name in schema.get("required", [])}


def snippets(deployment: Deployment, address: str, inputs: dict[str, Any]) -> list[Snippet]:
    """Every way to call the deployment."""
    name = deployment.registration
    return [
        Snippet("curl", "curl", "bash", _curl(address, name, {"inputs": inputs})),
        Snippet(
            "stream", "curl, streaming", "bash", _curl(address, name, {"inputs": inputs, "mode": "stream"}, " -N"),
            "Server-sent events: each piece of the answer as soon as the model has said it.",
        ),
        Snippet("openai", "OpenAI client", "python", _openai(address, name), "Any client of its protocol works."),
        Snippet("mcp", "MCP client", "json", _mcp(address), "Every registration in the key's scope is a tool."),
        Snippet("cli", "Command line", "bash", _cli(address, name, inputs)),
    ]  # fmt: skip


def _example(name: str, schema: dict[str, Any]) -> Any:
    for member in ("examples", "enum"):
        if schema.get(member):
            return schema[member][0]
    if "default" in schema:
        return schema["default"]
    if name == "message":
        return "Hello!"
    kind = schema.get("type", "string")
    return _EXAMPLES.get(kind if isinstance(kind, str) else kind[0], "…")


def _curl(address: str, name: str, body: dict[str, Any], option: str = "") -> str:
    return (
        f"curl{option} {shlex.quote(f'{address}/workflows/{name}/execute')} \\\n"
        f'  -H "Authorization: Bearer ${KEY_VARIABLE}" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}"
    )


def _openai(address: str, name: str) -> str:
    return (
        "import os\n"
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{address}/v1", api_key=os.environ["{KEY_VARIABLE}"])\n'
        "answer = client.chat.completions.create(\n"
        f'    model="{name}",\n'
        '    messages=[{"role": "user", "content": "Hello!"}],\n'
        ")\n"
        "print(answer.choices[0].message.content)"
    )


def _mcp(address: str) -> str:
    server = {"type": "http", "url": f"{address}/mcp", "headers": {"Authorization": f"Bearer ${{{KEY_VARIABLE}}}"}}
    return json.dumps({"mcpServers": {"kaizen": server}}, indent=2)


def _cli(address: str, name: str, inputs: dict[str, Any]) -> str:
    given = " ".join(
        f"--param {shlex.quote(f'{key}={value if isinstance(value, str) else json.dumps(value)}')}"
        for key, value in inputs.items()
    )
    command = f"python -m gateway_service.cli --url {shlex.quote(address)} run {name} {given}".rstrip()
    return f"export {KEY_VARIABLE}=…\n{command}"
