"""The environment of a gateway: what is missing or wrong is named, and profiles are read."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doubles.model_server import ModelServer
from tests.harness.gateway import (
    AGENT,
    PYTHON,
    ROOT,
    GatewayProcess,
    agent_release,
    error_of,
)

MakeGateway = Callable[..., GatewayProcess]


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
        ({"GATEWAY_WARM": "lukewarm"}, "GATEWAY_WARM must be one of 0, 1"),
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


def test_model_profiles_come_from_a_file(fresh_gateway: MakeGateway, model: ModelServer, tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        f'[profiles.careful]\nbase_url = "{model.base_url}/"\nmodel = "big"\napi_key_env = "BIG_KEY"\n'
        'structured_output = "json_object"\n'
    )
    gateway = fresh_gateway(GATEWAY_MODEL_PROFILES=str(profiles), BIG_KEY="the-big-key").start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release(model_profile="careful", answer_schema={"type": "object"}))
    model.says("{}")
    assert gateway.ask(studio.issue()).status_code == 200
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
    studio.place(AGENT, agent_release(model_profile="careful"))
    studio.place("other-test", agent_release())
    key = studio.issue()
    gateway.stop()
    del gateway.extra["GATEWAY_MODEL_PROFILES"]
    gateway.start()
    answer = gateway.ask(key)
    assert (answer.status_code, error_of(answer)["code"]) == (502, "model_failed")
    with gateway.caller(key) as client:
        assert client.post("/workflows/other-test/execute", json={"inputs": {"message": "x"}}).status_code == 200
