"""The official MCP client of major version 2, unchanged, against a real gateway."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from contract.agents import DEFAULT_INPUTS
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import ROOT, GatewayProcess, Studio, agent_release

CLIENT = Path(__file__).with_name("mcp_client_2.py")
PYTHON = ROOT / ".venv" / "mcp-client-2" / "bin" / "python"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_conversation(gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer, mode: str) -> None:
    studio.place(name, agent_release(description="Greets people."))
    later = f"later-{name}"
    key = studio.issue(scopes=[name, later])
    command = [str(PYTHON), str(CLIENT), gateway.address, key.text, name, mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        if client.stdout.readline() == "listening\n":
            studio.place(later, agent_release())
        printed, complaints = client.communicate(timeout=60)
    assert client.returncode == 0, complaints
    told = json.loads(printed)
    assert told.pop("documentation").startswith("# Greeter\n\nGreets people.\n")
    assert "".join(told.pop("told")) == "You said: Hello"
    assert told == {
        "tools": [name],
        "input_schema": {"additionalProperties": False, **DEFAULT_INPUTS},
        "announces": True,
        "answer": {"text": "You said: Hello"},
        "refused": [True, "invalid_input: inputs.instructions is not an accepted field"],
        "missing": -32_002,
        "tools_after": [name, later],
    }
