"""What the workflow engine does by itself, and must not do here: each trap that was met, as an attack."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.caller_keys import KeyText
from contract.canonical import canonical_json, digest_of
from contract.envelope import Envelope
from tests.doubles.model_server import ModelServer, Reply
from tests.harness.gateway import AGENT, GatewayProcess, Studio, agent_release

MakeGateway = Callable[..., GatewayProcess]


def test_an_answer_is_never_kept_for_another_key(
    gateway: GatewayProcess, studio: Studio, name: str, model: ModelServer
) -> None:
    # The engine's durability caches answers by the request's body, whoever sends it.
    studio.place(name, agent_release())
    answers = iter(["the first one's", "the second one's", "and again"])
    model.reply = lambda _: Reply([next(answers)])
    first, second = studio.issue(), studio.issue()
    told = [gateway.ask(key, "same", name=name).json()["outputs"]["text"] for key in (first, second, first)]
    assert told == ["the first one's", "the second one's", "and again"]


@pytest.mark.parametrize("node_type", ["PythonCodeNode", "HTTPRequestNode", "SQLDatabaseNode"])
def test_a_forbidden_node_is_refused_again_when_the_store_is_loaded(
    fresh_gateway: MakeGateway, model: ModelServer, node_type: str
) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gateway.stop()
    evil = agent_release().to_json()
    evil["workflow"]["nodes"][0] = {"id": "agent", "type": node_type, "parameters": {"code": "result = 1"}}
    # Signed by the organization itself: as if an older gateway had taken it, or Studio's check had failed.
    digest = digest_of(evil)
    signature = Envelope(studio.gateway_id, "workflow", AGENT, 1, digest).sign(gateway.organization_key)
    with sqlite3.connect(gateway.data_dir / "store.sqlite") as store:
        store.execute(
            "UPDATE placement SET payload = ?, digest = ?, signature = ? WHERE name = ?",
            (canonical_json(evil), digest, signature, AGENT),
        )
    gateway.start()
    assert gateway.ask(key).status_code == 404
    assert f"gateways do not run nodes of type '{node_type}'" in gateway.log
    assert model.requests == []


def test_files_of_the_working_directory_are_not_run(tmp_path: Path, model: ModelServer) -> None:
    planted = tmp_path / "here"
    planted.mkdir()
    marker = tmp_path / "was-run"
    code = f"open({str(marker)!r}, 'w').close()\n"
    for file in ("workflows.py", "my_workflow.py", "workflow_x.py", "nexus_config.py", "sitecustomize.txt"):
        (planted / file).write_text(code)
    (planted / "workflows").mkdir()
    (planted / "workflows" / "one.py").write_text(code)
    process = GatewayProcess(tmp_path / "gateway", model.base_url, working_folder=planted).start()
    try:
        studio = process.admin()
        studio.place(AGENT, agent_release())
        assert process.ask(studio.issue()).status_code == 200
    finally:
        process.stop()
    assert not marker.exists()


def test_execution_ids_never_repeat_under_load(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    studio.place(name, agent_release())
    with gateway.caller(key) as client, ThreadPoolExecutor(16) as pool:

        def once(_: int) -> str:
            answer = client.post(f"/workflows/{name}/execute", json={"inputs": {"message": "x"}})
            return str(answer.json()["execution_id"])

        ids = list(pool.map(once, range(300)))
    assert len(set(ids)) == len(ids)


def test_processes_that_start_at_once_on_a_new_folder_all_serve(tmp_path: Path, model: ModelServer) -> None:
    first = GatewayProcess(tmp_path / "gateway", model.base_url)
    others = [
        GatewayProcess(first.folder, model.base_url, organization_key=first.organization_key, token=first.token)
        for _ in range(3)
    ]
    started: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda process=process: started.append(process.start().admin().state()))
        for process in (first, *others)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in (first, *others):
        process.stop()
    assert len(started) == 4
    assert len({state["gateway_id"] for state in started}) == 1


def test_no_secret_of_the_gateway_is_in_anything_it_says(
    gateway: GatewayProcess, studio: Studio, key: KeyText, name: str
) -> None:
    studio.place(name, agent_release(instructions="The secret recipe."))
    with gateway.caller(key) as client:
        said = [
            client.get("/workflows").text,
            client.get(f"/workflows/{name}").text,
            client.get("/openapi.json").text,
            gateway.ask(key, name=name).text,
            json.dumps(studio.state(items=True)),
            json.dumps(studio.executions()),
            studio.http.get("/metrics").text,
        ]
    for secret in ("the-provider-key", gateway.token, key.secret, key.hash, "secret recipe"):
        assert not any(secret in text for text in said), secret
