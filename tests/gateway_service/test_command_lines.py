"""Our command line, and the stock one of Nexus, against a real gateway."""

from __future__ import annotations

import json
import os
import subprocess

from contract.caller_keys import KeyText
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    PYTHON,
    ROOT,
    GatewayProcess,
    Studio,
    agent_release,
    executions_of,
)


def run(module: str, *arguments: str, key: KeyText | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **({"GATEWAY_KEY": key.text} if key else {})}
    return subprocess.run(
        [str(PYTHON), "-m", module, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_list_and_run(gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer) -> None:
    inputs = {
        "type": "object",
        "properties": {"message": {"type": "string"}, "n": {"type": "integer"}, "tags": {"type": "array"}},
    }
    studio.place(name, agent_release(inputs=inputs, instructions="{{n}} {{tags}}"))
    key = studio.issue(scopes=[name])
    url = ("--url", gateway.address)
    listed = run("gateway_service.cli", *url, "list", key=key)
    assert listed.stdout == f"{name}  Greeter (version 1; inputs: message, n, tags)\n"
    ran = run(
        "gateway_service.cli", *url, "run", name,
        "--param", "message=5", "--param", "n=7", "--param", 'tags=["a"]', key=key,
    )  # fmt: skip
    assert (ran.stdout, ran.returncode) == ("You said: 5\n", 0), ran.stderr
    assert model.requests[0]["messages"][0]["content"] == '7 ["a"]'
    whole = run("gateway_service.cli", *url, "run", name, "--param", "message=Hi", "--json", key=key)
    assert json.loads(whole.stdout)["registration"] == name
    assert {record["channel"] for record in executions_of(studio, name, 2)} == {"cli"}


def test_what_goes_wrong_is_said(gateway: GatewayProcess, studio: Studio, key: KeyText, name: str) -> None:
    studio.place(name, agent_release())
    url = ("--url", gateway.address)
    stories = [
        ((*url, "list"), None, "GATEWAY_KEY is not set"),
        ((*url, "list"), KeyText.generate(), "a valid gateway key is needed"),
        ((*url, "run", "nothing-test"), key, "there is no such registration"),
        ((*url, "run", name, "--param", "message"), key, "not of the form NAME=VALUE"),
        ((*url, "run", name, "--param", "other=1"), key, "inputs.other is not an accepted field"),
        (("--url", "http://127.0.0.1:9", "list"), key, "cannot be reached"),
        (("--url", "ftp://x", "list"), key, "no http or https address"),
    ]
    for arguments, with_key, message in stories:
        ran = run("gateway_service.cli", *arguments, key=with_key)
        assert (ran.returncode, ran.stdout) == (1, ""), arguments
        assert message in ran.stderr, arguments
        assert "Traceback" not in ran.stderr


def test_the_stock_nexus_command_line(gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer) -> None:
    studio.place(name, agent_release())
    key = studio.issue(scopes=[name])
    url = ("--url", gateway.address.replace("http://", f"http://key:{key.text}@"))
    listed = run("nexus.cli", *url, "list")
    assert f"  - {name}" in listed.stdout, listed.stderr
    ran = run("nexus.cli", *url, "run", name, "--param", "message=result")
    assert ran.stdout == "text: You said: result\n", ran.stderr
    refused = run("nexus.cli", "--url", gateway.address, "list")
    assert "401" in refused.stderr
