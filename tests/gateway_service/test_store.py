"""What lies on a gateway's disk: damaged, forged, bounded, private."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
from collections.abc import Callable

import pytest

from contract.envelope import generate_private_key, public_key_to_text
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    AGENT,
    PYTHON,
    ROOT,
    GatewayProcess,
    agent_release,
    wait_until,
)

MakeGateway = Callable[..., GatewayProcess]


def test_what_was_tampered_with_is_not_served_and_heals(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    release = agent_release(instructions="Be kind.")
    studio.place(AGENT, release, 2)
    studio.place("other-test", agent_release(), 1)
    key = studio.issue()
    good = studio.state()["state_digest"]
    gateway.stop()
    evil = release.to_json()
    evil["workflow"]["nodes"][0]["parameters"]["instructions"] = "Be evil."
    with sqlite3.connect(gateway.data_dir / "store.sqlite") as store:
        store.execute("UPDATE placement SET payload = ? WHERE name = ?", (json.dumps(evil).encode(), AGENT))
    gateway.start()
    studio = gateway.admin()
    assert gateway.ask(key).status_code == 404
    assert studio.state()["state_digest"] != good, "Studio must see that something is missing"
    assert "payload is damaged" in gateway.log
    assert studio.place(AGENT, release, 2)["outcome"] == "applied"
    assert gateway.ask(key).status_code == 200
    assert studio.state()["state_digest"] == good


def test_a_store_that_was_wiped_serves_what_it_is_given_at_once(fresh_gateway: MakeGateway) -> None:
    """The number by which processes hear of changes lies in a file of its own, which a wipe leaves behind."""
    gateway = fresh_gateway().start()
    gateway.admin().place(AGENT, agent_release())
    gateway.stop()
    gateway.wipe_store()
    gateway.start()
    gateway.admin().place(AGENT, agent_release())
    assert gateway.admin().state()["registrations"] == 1


def test_a_forged_store_is_not_served(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gateway.stop()
    evil = agent_release(instructions="Be evil.")
    with sqlite3.connect(gateway.data_dir / "store.sqlite") as store:
        store.execute(
            "UPDATE placement SET payload = ?, digest = ? WHERE name = ?", (evil.canonical, evil.digest, AGENT)
        )
    gateway.start()
    assert gateway.ask(key).status_code == 404
    assert "signature is by nobody" in gateway.log


def test_an_organizations_key_can_be_replaced(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gateway.stop()
    old, gateway.organization_key = gateway.organization_key, generate_private_key()
    both = [public_key_to_text(each.public_key()) for each in (old, gateway.organization_key)]
    gateway.extra["GATEWAY_TRUSTED_KEY"] = ",".join(both)
    gateway.start()
    assert gateway.ask(key).status_code == 200
    assert gateway.admin().place(AGENT, agent_release(version=2), 2)["outcome"] == "applied"


def test_the_execution_log_is_bounded(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway(GATEWAY_EXECUTIONS_KEPT="100").start()
    gateway.stop()
    with sqlite3.connect(gateway.data_dir / "executions.sqlite") as log:
        row = ("e", AGENT, "sha256:" + "a" * 64, "k", "api", "2026-01-01T00:00:00+00:00", 1.0, "succeeded", None, 0, 0)
        marks = ", ".join("?" * 12)
        log.executemany(
            "INSERT INTO execution (execution_id, registration, release_digest, key_id, channel, started_at, "
            f"duration_ms, status, error_code, input_tokens, output_tokens, session_id) VALUES ({marks})",
            [(*row, None)] * 500,
        )
    gateway.start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    gateway.ask(studio.issue())
    wait_until(lambda: len(studio.executions()["items"]) == 100)
    page = studio.executions()
    assert (page["first_seq"], page["next_after"]) == (402, 501)


def test_a_log_of_an_earlier_version_is_read_and_goes_on(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    key = studio.issue()
    gateway.ask(key)
    gateway.stop()
    with sqlite3.connect(gateway.data_dir / "executions.sqlite") as log:
        log.execute("ALTER TABLE execution DROP COLUMN nodes")
    gateway.start()
    gateway.ask(key)
    studio = gateway.admin()
    wait_until(lambda: len(studio.executions()["items"]) == 2)
    before, after = studio.executions()["items"]
    assert before["nodes"] == []
    assert [trace["node"] for trace in after["nodes"]] == ["agent"]


def test_secrets_lie_in_files_of_their_owner_and_in_no_log(fresh_gateway: MakeGateway, model: ModelServer) -> None:
    gateway = fresh_gateway(GATEWAY_LOG_LEVEL="debug").start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release(instructions="The secret recipe."))
    key = studio.issue()
    gateway.ask(key, "my private words")
    model.says("x", status=500)
    gateway.ask(key, "my private words")
    gateway.stop()
    for path in gateway.data_dir.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(gateway.data_dir.stat().st_mode) == 0o700
    stored = b"".join(path.read_bytes() for path in gateway.data_dir.iterdir())
    assert key.secret.encode() not in stored
    assert gateway.token.encode() not in stored
    for secret in (key.secret, gateway.token, "the-provider-key", "private words", "secret recipe"):
        assert secret not in gateway.log


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
