"""Starts, stops, kills, losses: what a gateway keeps, what it forgets, and how it says so."""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import os
import sqlite3
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.caller_keys import KeyText
from contract.envelope import generate_private_key, public_key_to_text
from contract.kinds import API_KEY
from tests.doubles.model_server import ModelServer, Reply
from tests.gateway_service.test_execute import error_of, wait_until
from tests.harness.gateway import PYTHON, ROOT, GatewayProcess, agent_release

MakeGateway = Callable[..., GatewayProcess]
NAME = "greeter-test"


def ask(gateway: GatewayProcess, key: KeyText, message: str = "Hi", **members: Any) -> httpx.Response:
    with gateway.caller(key) as client:
        body = {"inputs": {"message": message}, **members}
        return client.post(f"/workflows/{NAME}/execute", json=body)


def test_after_kill_9_it_answers_the_same(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release(memory=True), 3)
    key, revoked = studio.issue(), studio.issue()
    studio.delete(API_KEY, revoked.id, 2)
    before = studio.state(items=True)
    assert ask(gateway, key, "one", session_id="s").json()["outputs"] == {"text": "You said: one"}

    gateway.kill()
    gateway.start()

    after = gateway.admin().state(items=True)
    same = ("gateway_id", "public_key", "revision", "state_digest", "items", "registrations")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["boot_id"] != before["boot_id"]
    assert ask(gateway, key, "two", session_id="s").json()["outputs"] == {"text": "You said: two"}
    assert len(model.requests[-1]["messages"]) == 4, "the session must survive"
    assert ask(gateway, revoked).status_code == 401
    assert gateway.admin().place(NAME, agent_release(), 2)["outcome"] == "stale"


@pytest.mark.slow
def test_kill_9_in_the_middle_of_pushes_loses_nothing_that_was_acknowledged(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    acknowledged: dict[str, int] = {}
    for generation in (1, 2, 3):
        studio = gateway.admin()
        enough = threading.Event()
        killer = threading.Thread(target=_kill_after, args=(gateway, enough))
        killer.start()
        with contextlib.suppress(httpx.HTTPError):
            for number in itertools.count():
                name = f"agent-{number}-test"
                studio.place(name, agent_release(version=generation), generation)
                acknowledged[name] = generation
                if number == 7 * generation:
                    enough.set()
        killer.join()
        gateway.start()
        items = {item["name"]: item["generation"] for item in gateway.admin().state(items=True)["items"]}
        assert all(items.get(name, 0) >= held for name, held in acknowledged.items())


def test_a_wiped_store_is_the_same_gateway_with_nothing_on_it(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release(), 3)
    key = studio.issue()
    assert ask(gateway, key).status_code == 200
    before, epoch = studio.state(), studio.executions()["epoch"]

    gateway.stop()
    gateway.wipe_store()
    gateway.start()

    studio = gateway.admin()
    after = studio.state(items=True)
    assert (after["gateway_id"], after["public_key"]) == (before["gateway_id"], before["public_key"])
    assert (after["items"], after["revision"]) == ([], 0)
    assert after["execution_epoch"] != epoch
    assert studio.executions()["items"] == []
    assert studio.place(NAME, agent_release(), 3)["outcome"] == "applied"


def test_a_clean_stop_loses_no_execution(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    key = studio.issue()
    ids = [ask(gateway, key).json()["execution_id"] for _ in range(5)]
    assert gateway.stop() == 0
    gateway.start()
    page = gateway.admin().executions()
    assert [record["execution_id"] for record in page["items"]] == ids
    assert [record["seq"] for record in page["items"]] == [1, 2, 3, 4, 5]


def test_sigterm_lets_running_executions_finish(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("finished", gate=gate)
    answers: list[httpx.Response] = []
    running = threading.Thread(target=lambda: answers.append(ask(gateway, key)))
    running.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1)
    gateway.terminate()
    time.sleep(0.3)
    gate.set()
    running.join()
    assert gateway.wait() == 0
    assert answers[0].json()["outputs"] == {"text": "finished"}
    gateway.start()
    assert [record["status"] for record in gateway.admin().executions()["items"]] == ["succeeded"]


def test_sigterm_does_not_wait_for_ever(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway(GATEWAY_DRAIN_SECONDS="1").start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    key = studio.issue()
    model.says("never", gate=threading.Event())
    running = threading.Thread(target=_ask_ignoring_errors, args=(gateway, key))
    running.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1)
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 20, "the model never answers, and would hold it for ever"
    running.join()
    gateway.start()
    assert [record["status"] for record in gateway.admin().executions()["items"]] == ["cancelled"]


def test_a_drained_gateway_refuses_callers_and_serves_studio(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("finished", gate=gate)
    answers: list[httpx.Response] = []
    running = threading.Thread(target=lambda: answers.append(ask(gateway, key)))
    running.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1)
    drained = studio.http.post("/admin/v1/drain")
    assert drained.json() == {"draining": True, "in_flight": 1}
    refused = ask(gateway, key)
    assert (refused.status_code, error_of(refused)["code"]) == (503, "draining")
    assert refused.headers["Retry-After"]
    assert httpx.get(f"{gateway.address}/readyz").status_code == 503
    assert httpx.get(f"{gateway.address}/healthz").status_code == 200
    assert studio.state()["draining"] is True
    assert studio.place(NAME, agent_release(version=2), 2)["outcome"] == "applied"
    gate.set()
    running.join()
    assert answers[0].status_code == 200


def test_a_replacement_under_load_fails_no_call(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release(instructions="generation 1"), 1)
    key = studio.issue()
    assert ask(gateway, key).status_code == 200
    model.reply = lambda body: Reply([body["messages"][0]["content"]])
    problems: list[str] = []
    acknowledged = [1]
    stop = threading.Event()

    def load() -> None:
        with gateway.caller(key) as client:
            while not stop.is_set():
                least = acknowledged[0]
                answer = client.post(f"/workflows/{NAME}/execute", json={"inputs": {"message": "x"}})
                served = answer.json().get("outputs", {}).get("text", "generation 0")
                if answer.status_code != 200 or int(served.split()[-1]) < least:
                    problems.append(f"{answer.status_code} {answer.text}, at least {least}")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for generation in range(2, 42):
        studio.place(NAME, agent_release(instructions=f"generation {generation}"), generation)
        acknowledged[0] = generation
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []


def test_two_processes_on_one_folder_see_each_others_pushes(fresh_gateway: MakeGateway) -> None:
    first = fresh_gateway().start()
    second = GatewayProcess(
        first.folder, first.model_base_url, organization_key=first.organization_key, token=first.token
    ).start()
    try:
        studio = first.admin()
        studio.place(NAME, agent_release())
        key = studio.issue()
        assert ask(second, key).status_code == 200
        studio.delete(API_KEY, key.id, 2)
        assert ask(second, key).status_code == 401
        assert second.admin().state()["state_digest"] == studio.state()["state_digest"]
        assert second.admin().state()["gateway_id"] == studio.state()["gateway_id"]
    finally:
        second.stop()


def test_what_was_tampered_with_is_not_served_and_heals(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    release = agent_release(instructions="Be kind.")
    studio.place(NAME, release, 2)
    studio.place("other-test", agent_release(), 1)
    key = studio.issue()
    good = studio.state()["state_digest"]
    gateway.stop()
    evil = release.to_json()
    evil["workflow"]["nodes"][0]["parameters"]["instructions"] = "Be evil."
    with sqlite3.connect(gateway.data_dir / "store.sqlite") as store:
        store.execute("UPDATE placement SET payload = ? WHERE name = ?", (json.dumps(evil).encode(), NAME))
    gateway.start()
    studio = gateway.admin()
    assert ask(gateway, key).status_code == 404
    assert studio.state()["state_digest"] != good, "Studio must see that something is missing"
    assert "payload is damaged" in gateway.log
    assert studio.place(NAME, release, 2)["outcome"] == "applied"
    assert ask(gateway, key).status_code == 200
    assert studio.state()["state_digest"] == good


def test_a_forged_store_is_not_served(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    key = studio.issue()
    gateway.stop()
    evil = agent_release(instructions="Be evil.")
    with sqlite3.connect(gateway.data_dir / "store.sqlite") as store:
        store.execute(
            "UPDATE placement SET payload = ?, digest = ? WHERE name = ?", (evil.canonical, evil.digest, NAME)
        )
    gateway.start()
    assert ask(gateway, key).status_code == 404
    assert "signature is by nobody" in gateway.log


def test_an_organizations_key_can_be_replaced(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    key = studio.issue()
    gateway.stop()
    old, gateway.organization_key = gateway.organization_key, generate_private_key()
    both = [public_key_to_text(each.public_key()) for each in (old, gateway.organization_key)]
    gateway.extra["GATEWAY_TRUSTED_KEY"] = ",".join(both)
    gateway.start()
    assert ask(gateway, key).status_code == 200
    assert gateway.admin().place(NAME, agent_release(version=2), 2)["outcome"] == "applied"


def test_the_execution_log_is_bounded(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway(GATEWAY_EXECUTIONS_KEPT="100").start()
    gateway.stop()
    with sqlite3.connect(gateway.data_dir / "executions.sqlite") as log:
        row = ("e", NAME, "sha256:" + "a" * 64, "k", "api", "2026-01-01T00:00:00+00:00", 1.0, "succeeded", None, 0, 0)
        marks = ", ".join("?" * 12)
        log.executemany(
            "INSERT INTO execution (execution_id, registration, release_digest, key_id, channel, started_at, "
            f"duration_ms, status, error_code, input_tokens, output_tokens, session_id) VALUES ({marks})",
            [(*row, None)] * 500,
        )
    gateway.start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    ask(gateway, studio.issue())
    wait_until(lambda: len(studio.executions()["items"]) == 100)
    page = studio.executions()
    assert (page["first_seq"], page["next_after"]) == (402, 501)


def test_secrets_lie_in_files_of_their_owner_and_in_no_log(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway(GATEWAY_LOG_LEVEL="debug").start()
    studio = gateway.admin()
    studio.place(NAME, agent_release(instructions="The secret recipe."))
    key = studio.issue()
    ask(gateway, key, "my private words")
    model.says("x", status=500)
    ask(gateway, key, "my private words")
    gateway.stop()
    for path in gateway.data_dir.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(gateway.data_dir.stat().st_mode) == 0o700
    stored = b"".join(path.read_bytes() for path in gateway.data_dir.iterdir())
    assert key.secret.encode() not in stored
    assert gateway.token.encode() not in stored
    for secret in (key.secret, gateway.token, "the-provider-key", "private words", "secret recipe"):
        assert secret not in gateway.log


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"GATEWAY_ADDRESS": "nowhere"}, "GATEWAY_ADDRESS must be host:port"),
        ({"GATEWAY_ADDRESS": "192.0.2.1:80"}, "GATEWAY_ADDRESS 192.0.2.1:80 cannot be used"),
        ({"GATEWAY_DATA_DIR": ""}, "GATEWAY_DATA_DIR is not set"),
        ({"GATEWAY_DATA_DIR": "/proc/nothing"}, "GATEWAY_DATA_DIR /proc/nothing cannot be used"),
        ({"GATEWAY_DEPLOY_TOKEN": ""}, "GATEWAY_DEPLOY_TOKEN is not set"),
        ({"GATEWAY_DEPLOY_TOKEN": "short"}, "GATEWAY_DEPLOY_TOKEN must have at least 16"),
        ({"GATEWAY_TRUSTED_KEY": "x"}, "GATEWAY_TRUSTED_KEY is no public key"),
        ({"GATEWAY_MODEL_BASE_URL": "", "GATEWAY_MODEL_NAME": ""}, "GATEWAY_MODEL_BASE_URL is not set"),
        ({"GATEWAY_MODEL_BASE_URL": "ftp://x"}, "GATEWAY_MODEL_BASE_URL must be an http or https address"),
        ({"GATEWAY_MODEL_NAME": ""}, "GATEWAY_MODEL_NAME is not set"),
        ({"GATEWAY_MODEL_PROFILES": "/nothing.toml"}, "GATEWAY_MODEL_PROFILES names a file that cannot be read"),
        ({"GATEWAY_LOG_LEVEL": "loud"}, "GATEWAY_LOG_LEVEL must be one of"),
        ({"GATEWAY_MAX_CONCURRENT": "0"}, "GATEWAY_MAX_CONCURRENT must be a whole number"),
    ],
)
def test_a_bad_variable_is_named(fresh_gateway: MakeGateway, variables: dict[str, str], named: str) -> None:
    gateway = fresh_gateway(**variables)
    ran = subprocess.run(
        [str(PYTHON), "-m", "gateway_service"],
        cwd=ROOT, env=gateway.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == 78
    assert named in ran.stderr
    assert "Traceback" not in ran.stderr
    assert gateway.token not in ran.stderr


def test_a_busy_port_is_named(fresh_gateway: MakeGateway) -> None:
    first = fresh_gateway().start()
    second = fresh_gateway(GATEWAY_ADDRESS=f"127.0.0.1:{first.port}")
    ran = subprocess.run(
        [str(PYTHON), "-m", "gateway_service"],
        cwd=ROOT, env=second.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == 78
    assert f"GATEWAY_ADDRESS 127.0.0.1:{first.port} cannot be used" in ran.stderr


@pytest.mark.parametrize("file", ["identity.json", "store.sqlite"])
def test_a_damaged_file_is_named_and_left_alone(fresh_gateway: MakeGateway, file: str) -> None:
    gateway = fresh_gateway()
    gateway.data_dir.mkdir(parents=True)
    (gateway.data_dir / file).write_text("this is neither JSON nor SQLite" * 100)
    ran = subprocess.run(
        [str(PYTHON), "-m", "gateway_service"],
        cwd=ROOT, env=gateway.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.returncode == 78
    assert "GATEWAY_DATA_DIR" in ran.stderr
    assert (gateway.data_dir / file).read_text().startswith("this is neither")


def test_model_profiles_come_from_a_file(fresh_gateway: MakeGateway, model: ModelServer, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        f'[profiles.careful]\nbase_url = "{model.base_url}/"\nmodel = "big"\napi_key_env = "BIG_KEY"\n'
        'structured_output = "json_object"\n'
    )
    gateway = fresh_gateway(GATEWAY_MODEL_PROFILES=str(profiles), BIG_KEY="the-big-key").start()
    studio = gateway.admin()
    studio.place(NAME, agent_release(model_profile="careful", answer_schema={"type": "object"}))
    model.says("{}")
    assert ask(gateway, studio.issue()).status_code == 200
    assert model.requests[0]["model"] == "big"
    assert model.requests[0]["response_format"] == {"type": "json_object"}
    assert model.authorizations == ["Bearer the-big-key"]


def test_a_profile_that_is_gone_fails_its_calls_only(
    fresh_gateway: MakeGateway, model: ModelServer, tmp_path: Path
) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(f'[profiles.careful]\nbase_url = "{model.base_url}"\nmodel = "big"\n')
    gateway = fresh_gateway(GATEWAY_MODEL_PROFILES=str(profiles)).start()
    studio = gateway.admin()
    studio.place(NAME, agent_release(model_profile="careful"))
    studio.place("other-test", agent_release())
    key = studio.issue()
    gateway.stop()
    del gateway.extra["GATEWAY_MODEL_PROFILES"]
    gateway.start()
    answer = ask(gateway, key)
    assert (answer.status_code, error_of(answer)["code"]) == (502, "model_failed")
    with gateway.caller(key) as client:
        assert client.post("/workflows/other-test/execute", json={"inputs": {"message": "x"}}).status_code == 200


def test_a_start_is_cheap_and_nexus_is_loaded_once_there_is_something_to_run(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    assert _processor_seconds(gateway.pid) < 2, "it takes about 0.7 s; Nexus would add one to three"
    assert "nexus is loaded" not in gateway.log
    gateway.admin().place(NAME, agent_release())
    wait_until(lambda: "nexus is loaded" in gateway.log, timeout_s=60)


def test_the_gateways_environment_cannot_import_django() -> None:
    ran = subprocess.run([str(PYTHON), "-c", "import django"], capture_output=True, text=True, check=False)
    assert "No module named 'django'" in ran.stderr


def test_the_gateway_imports_nothing_of_studio() -> None:
    foreign = {"apps", "kaizen_site", "launcher", "django", "tests"}
    for path in (*ROOT.glob("gateway_service/**/*.py"), *ROOT.glob("contract/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            tops = {name.partition(".")[0] for name in names}
            assert not tops & foreign, f"{path} imports {tops & foreign}"
            assert path.parts[-2] != "contract" or not tops & {"gateway_service", "kailash", "nexus"}, path


def test_a_serving_gateway_talks_to_its_model_and_nobody_else(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(NAME, agent_release())
    key = studio.issue()
    gate = threading.Event()
    model.says("finished", gate=gate)
    running = threading.Thread(target=ask, args=(gateway, key))
    running.start()
    wait_until(lambda: studio.state()["capacity"]["in_flight"] == 1 and model.requests)
    model_port = int(model.base_url.removesuffix("/v1").rpartition(":")[2])
    outgoing = {remote for local, remote in _tcp_connections(gateway.pid) if local != gateway.port}
    gate.set()
    running.join()
    assert outgoing == {model_port}


def _processor_seconds(pid: int) -> float:
    """What the process has used until now; unlike time on the wall, the same on a busy machine."""
    columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def _tcp_connections(pid: int) -> list[tuple[int, int]]:
    """(local port, remote port) of the process's established connections, as the system's socket table has them."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "01" and columns[9] in sockets:
                ports = [int(columns[index].rpartition(":")[2], 16) for index in (1, 2)]
                found.append((ports[0], ports[1]))
    return found


def _kill_after(gateway: GatewayProcess, moment: threading.Event) -> None:
    moment.wait(60)
    gateway.kill()


def _ask_ignoring_errors(gateway: GatewayProcess, key: KeyText) -> None:
    try:
        ask(gateway, key)
    except httpx.HTTPError:
        return
