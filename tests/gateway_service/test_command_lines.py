"""Our command line, and the stock one of Nexus, against a real gateway."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from contract.caller_keys import KeyText
from contract.release import Limits
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    PYTHON,
    ROOT,
    GatewayProcess,
    Studio,
    agent_release,
    executions_of,
)


def run(
    module: str, *arguments: str, key: KeyText | None = None, given: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **({"GATEWAY_KEY": key.text} if key else {}), **variables}
    return subprocess.run(
        [str(PYTHON), "-m", module, *arguments],
        cwd=ROOT, env=environment, input=given, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def cli(gateway: GatewayProcess, *arguments: str, key: KeyText | None, **options: str) -> Any:
    """Our own command line, pointed at a gateway."""
    return run("gateway_service.cli", *arguments, key=key, GATEWAY_URL=gateway.address, **options)


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


def test_describe(gateway: GatewayProcess, studio: Studio, key: KeyText, name: str) -> None:
    studio.place(name, agent_release(description="Greets people."))
    described = cli(gateway, "describe", name, key=key)
    assert described.stdout.startswith("# Greeter\n\nGreets people.\n"), described.stderr
    assert "| `message` | string | yes | What you say to the agent. |" in described.stdout
    whole = json.loads(cli(gateway, "describe", name, "--json", key=key).stdout)
    assert (whole["name"], whole["version"]) == (name, 1)
    listed = json.loads(cli(gateway, "list", "--json", key=studio.issue(scopes=[name])).stdout)
    assert listed == {name: whole}


def test_inputs_come_from_a_file_or_from_standard_input(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, tmp_path: Path
) -> None:
    studio.place(name, agent_release())
    file = tmp_path / "inputs.json"
    file.write_text('{"message": "from a file"}')
    assert cli(gateway, "run", name, "--inputs", str(file), key=key).stdout == "You said: from a file\n"
    piped = cli(gateway, "run", name, "--inputs", "-", key=key, given='{"message": "from a pipe"}')
    assert piped.stdout == "You said: from a pipe\n"
    both = cli(gateway, "run", name, "--inputs", str(file), "--param", "message=said here", key=key)
    assert both.stdout == "You said: said here\n"


def test_the_key_comes_from_a_file_too(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, tmp_path: Path
) -> None:
    studio.place(name, agent_release())
    file = tmp_path / "key"
    file.write_text(f"{key.text}\n")
    for arguments, variables in ((["--key-file", str(file)], {}), ([], {"GATEWAY_KEY_FILE": str(file)})):
        ran = cli(gateway, *arguments, "run", name, "--param", "message=Hi", key=None, **variables)
        assert ran.stdout == "You said: Hi\n", ran.stderr


def test_a_stream_is_read_along(gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer) -> None:
    studio.place(name, agent_release())
    key = studio.issue(scopes=[name])
    gate = threading.Event()
    model.says("Good ", "day.", gate=gate)
    command = [str(PYTHON), "-m", "gateway_service.cli", "stream", name, "--param", "message=Hi"]
    environment = {"GATEWAY_URL": gateway.address, "GATEWAY_KEY": key.text}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"Good "  # while the model still waits
        gate.set()
        assert process.stdout.read() == b"day.\n"
    assert process.returncode == 0

    lines = cli(gateway, "stream", name, "--param", "message=Hi", "--json", key=key).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["started", "token", "token", "done"]
    assert events[-1]["outputs"] == {"text": "Good day."}

    model.says("Good ", "day.", cut=1)
    broken = cli(gateway, "stream", name, "--param", "message=Hi", key=key)
    assert (broken.returncode, broken.stdout) == (1, "Good ")
    assert "ended in the middle" in broken.stderr


def test_ctrl_c_ends_the_execution(gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer) -> None:
    studio.place(name, agent_release())
    key = studio.issue(scopes=[name])
    gate = threading.Event()
    model.says("Good ", "day.", gate=gate)
    command = [str(PYTHON), "-m", "gateway_service.cli", "stream", name, "--param", "message=Hi"]
    environment = {"GATEWAY_URL": gateway.address, "GATEWAY_KEY": key.text}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"Good "
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (130, b"")
    assert model.abandoned.wait(10)
    gate.set()


def test_what_a_model_says_does_not_steer_a_terminal(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release())
    model.says("a\x1b]0;owned\x07b\u009bc\td")
    command = [str(PYTHON), "-m", "gateway_service.cli", "run", name, "--param", "message=Hi"]
    environment = {"GATEWAY_URL": gateway.address, "GATEWAY_KEY": key.text, "PYTHONUTF8": "1"}
    master, terminal = pty.openpty()
    subprocess.run(command, cwd=ROOT, env=environment, stdout=terminal, timeout=60, check=True)
    shown = os.read(master, 1_000).decode()
    os.close(terminal)
    os.close(master)
    assert shown.replace("\r\n", "") == "a\ufffd]0;owned\ufffdb\ufffdc\td"
    assert cli(gateway, "run", name, "--param", "message=Hi", key=key).stdout == "a\x1b]0;owned\x07b\u009bc\td\n"


def test_what_goes_wrong_is_said(gateway: GatewayProcess, studio: Studio, key: KeyText, name: str) -> None:
    studio.place(name, agent_release())
    url = ("--url", gateway.address)
    stories = [
        ((*url, "list"), None, 3, "GATEWAY_KEY is not set"),
        (("--key-file", "/nowhere", *url, "list"), None, 3, "cannot be read from /nowhere"),
        ((*url, "list"), KeyText.generate(), 3, "a valid gateway key is needed"),
        ((*url, "run", "nothing-test"), key, 4, "there is no such registration"),
        ((*url, "run", name), studio.issue(scopes=["other-test"]), 4, "scope does not include"),
        ((*url, "run", name, "--param", "message"), key, 2, "not of the form NAME=VALUE"),
        ((*url, "run", name, "--inputs", "/nowhere"), key, 2, "cannot be read: No such file"),
        ((*url, "run", name, "--inputs", "-"), key, 2, "holds no JSON"),
        ((*url, "run", name, "--param", "other=1"), key, 5, "inputs.other is not an accepted field"),
        ((*url, "stream", name, "--param", "other=1"), key, 5, "inputs.other is not an accepted field"),
        ((*url, "run", name, "--param", "message=Hi", "--session", ""), key, 5, "session_id must be"),
        (("--url", "http://127.0.0.1:9", "list"), key, 7, "cannot be reached"),
        (("--url", "ftp://x", "list"), key, 2, "no http or https address"),
        ((*url, "jump"), key, 2, "invalid choice: 'jump'"),
    ]
    for arguments, with_key, status, message in stories:
        ran = run("gateway_service.cli", *arguments, key=with_key)
        assert (ran.returncode, ran.stdout) == (status, ""), (arguments, ran.stderr)
        assert message in ran.stderr, arguments
        assert "Traceback" not in ran.stderr


def test_a_failing_model_and_a_passed_time_limit_have_statuses_of_their_own(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str, model: ModelServer
) -> None:
    studio.place(name, agent_release(limits=Limits(timeout_s=0.3)))
    model.says("my words", status=500)
    failed = cli(gateway, "run", name, "--param", "message=Hi", key=key)
    assert failed.returncode == 1
    assert "(execution exe_" in failed.stderr
    gate = threading.Event()
    model.says("late", gate=gate)
    late = cli(gateway, "run", name, "--param", "message=Hi", key=key)
    gate.set()
    assert late.returncode == 8


def test_a_redirect_does_not_carry_the_key_away(key: KeyText) -> None:
    asked: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization"))
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{server.server_port}/stolen")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    ran = run("gateway_service.cli", "--url", f"http://127.0.0.1:{server.server_port}", "list", key=key)
    server.shutdown()
    server.server_close()
    assert (ran.returncode, len(asked)) == (1, 1)
    assert "HTTP status 302" in ran.stderr


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
