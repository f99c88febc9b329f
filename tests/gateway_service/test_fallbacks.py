"""Profiles that are asked again, and others that are asked instead: only as long as nobody has heard anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.caller_keys import KeyText
from tests.doubles.model_server import ModelServer, Reply
from tests.harness.gateway import AGENT, GatewayProcess, agent_release, error_of, read_events


@pytest.fixture(scope="module")
def spare() -> Iterator[ModelServer]:
    """A second provider."""
    with ModelServer() as server:
        yield server


class Place:
    """A gateway whose profile `first` goes on to `second`, and `second` to nobody."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.studio = gateway.admin()
        self.key: KeyText = self.studio.issue()
        self.studio.place(AGENT, agent_release(model_profile="first"))

    def metrics(self) -> list[str]:
        """What Prometheus reads about models."""
        lines = self.studio.http.get("/metrics").text.splitlines()
        return [line for line in lines if line.startswith("kaizen_model_") and "_created" not in line]


@pytest.fixture
def place(
    fresh_gateway: Callable[..., GatewayProcess], model: ModelServer, spare: ModelServer, tmp_path: Path
) -> Place:
    """The gateway, running."""
    spare.forget()
    spare.says("From the spare one.")
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(
        f'[profiles.first]\nbase_url = "{model.base_url}"\nmodel = "big"\nretries = 2\n'
        'fallbacks = ["broken", "second"]\n'
        '[profiles.broken]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "gone"\nretries = 0\n'
        f'[profiles.second]\nbase_url = "{spare.base_url}"\nmodel = "small"\n'
    )
    return Place(fresh_gateway(GATEWAY_MODEL_PROFILES=str(profiles)).start())


@pytest.mark.parametrize("mode", ["sync", "stream"])
@pytest.mark.parametrize(
    "refusal", [Reply(status=500), Reply(status=503), Reply(status=429, headers={"Retry-After": "0"})]
)
def test_what_passes_is_asked_again(place: Place, model: ModelServer, refusal: Reply, mode: str) -> None:
    model.follows(refusal, refusal, Reply(["At last."]))
    answer = place.gateway.ask(place.key, mode=mode)
    assert answer.status_code == 200
    assert "At last." in answer.text
    assert len(model.requests) == 3
    assert 'kaizen_model_calls_total{outcome="failed",profile="first"} 2.0' in place.metrics()
    assert 'kaizen_model_calls_total{outcome="answered",profile="first"} 1.0' in place.metrics()


@pytest.mark.parametrize("refusal", [Reply(status=400), Reply(status=401), Reply(status=429), Reply(raw=b"{}")])
def test_what_does_not_pass_goes_on_to_the_next_profile(place: Place, model: ModelServer, refusal: Reply) -> None:
    model.follows(refusal)
    answer = place.gateway.ask(place.key)
    assert answer.json()["outputs"]["text"] == "From the spare one."
    assert len(model.requests) == 1
    assert 'kaizen_model_fallbacks_total{from_profile="first",to_profile="broken"} 1.0' in place.metrics()
    assert 'kaizen_model_fallbacks_total{from_profile="broken",to_profile="second"} 1.0' in place.metrics()


def test_a_model_that_wants_too_long_a_pause_is_left(place: Place, model: ModelServer) -> None:
    model.follows(Reply(status=429, headers={"Retry-After": "3600"}))
    assert place.gateway.ask(place.key).json()["outputs"]["text"] == "From the spare one."
    assert len(model.requests) == 1


def test_after_the_first_token_there_is_no_way_back(place: Place, model: ModelServer, spare: ModelServer) -> None:
    model.follows(Reply(["Half ", "an answer"], cut=1))
    events = read_events(place.gateway.ask(place.key, mode="stream"))
    assert [event for event, _ in events] == ["started", "token", "error"]
    assert events[-1][1]["error"]["code"] == "model_failed"
    assert (len(model.requests), spare.requests) == (1, [])


def test_a_connection_that_breaks_before_the_first_token_is_not_asked_again(
    place: Place, model: ModelServer, spare: ModelServer
) -> None:
    model.follows(Reply(["Never"], cut=0))
    answer = place.gateway.ask(place.key, mode="stream")
    assert "From the spare one." in answer.text
    assert len(model.requests) == 1, "it may have worked on the first question"


def test_when_all_have_failed_the_caller_hears_of_it(place: Place, model: ModelServer, spare: ModelServer) -> None:
    model.follows(Reply(status=400))
    spare.says("x", status=403)
    answer = place.gateway.ask(place.key)
    assert (answer.status_code, error_of(answer)["code"]) == (502, "model_failed")
    assert error_of(answer)["message"] == "the model answered with HTTP status 403"
