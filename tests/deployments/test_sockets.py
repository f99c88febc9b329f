"""What browsers see over their WebSockets: progress as it happens, and a conversation with a deployed agent."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from django.utils import timezone

from apps.accounts.commands import change_role
from apps.core.tenancy import tenant
from apps.deployments import commands
from apps.deployments.models import Deployment, Playground
from apps.gateways.models import CallerKey, Environment
from tests.deployments.sockets import scanning, session_of, socket
from tests.deployments.steps import SYSTEM, deploy
from tests.harness.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.doubles.model_server import ModelServer
    from tests.harness.gateway import GatewayProcess
    from tests.harness.world import Inhabited


@dataclass
class Stage:
    """An organization with one gateway in staging and a deployed agent, while the scanner runs.

    Attributes:
        sessions: the cookies of its members, by role.
    """

    world: Inhabited
    fleet: Fleet
    deployment: Deployment
    sessions: dict[str, str]

    @property
    def gateway(self) -> GatewayProcess:
        return self.fleet.processes["stage-1"]

    @property
    def path(self) -> str:
        return f"/ws/playground/{self.deployment.pk}/"

    async def do(self, act: Callable[[], Any]) -> Any:
        """Run something synchronous inside the organization."""

        def inside() -> Any:
            with tenant(self.world.schema):
                return act()

        return await asyncio.to_thread(inside)


@pytest.fixture
def empty(live_organization: Inhabited, tmp_path: Path, model: ModelServer) -> Iterator[Stage]:
    """No gateway yet; the agent is deployed and waits."""
    fleet = Fleet(live_organization, tmp_path, model.base_url)
    _, version = fleet.write_agent(memory=True)
    deployment = deploy(SYSTEM, Environment.objects.get(slug="staging"), version)
    sessions = {role: session_of(live_organization, role) for role in live_organization.users}
    with scanning():
        yield Stage(live_organization, fleet, deployment, sessions)
        fleet.stop()


@pytest.fixture
def stage(empty: Stage) -> Stage:
    """The agent runs on stage-1."""
    empty.fleet.start_gateway("stage-1", "staging")
    return empty


async def test_a_deployments_page_follows_its_progress(empty: Stage) -> None:
    path = f"/ws/live/deployment/{empty.deployment.pk}/"
    async with socket(empty.world, path, empty.sessions["viewer"]) as page:
        assert "waits for a gateway in staging" in await page.html()
        await empty.do(lambda: empty.fleet.start_gateway("stage-1", "staging"))
        began, html = time.monotonic(), ""
        while "version 1 on 1 gateway" not in html:
            html = await page.html()
        # Hints carry it; without them the page would only look every five seconds.
        assert time.monotonic() - began < 4
        assert "stage-1" in html


async def test_a_live_page_ends_with_the_session(stage: Stage) -> None:
    path = f"/ws/live/deployment/{stage.deployment.pk}/"
    async with socket(stage.world, path, stage.sessions["viewer"]) as page:
        await page.next()
        viewer = stage.world.users["viewer"]
        await stage.do(lambda: type(viewer).objects.filter(pk=viewer.pk).update(is_active=False))
        assert (await page.closed_with())[0] == 4401


async def test_it_answers_token_by_token(stage: Stage, model: ModelServer) -> None:
    gate = threading.Event()
    model.says("Good ", "morning", "!", gate=gate)
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        await chat.say("Hello")
        assert (await chat.next()) == {"type": "token", "text": "Good "}, "the model is still speaking"
        gate.set()
        text, message = "", await chat.next()
        while message["type"] == "token":
            text, message = text + message["text"], await chat.next()
    assert text == "morning!"
    assert message["type"] == "done"
    assert message["usage"]["output_tokens"] == 2
    assert message["execution_id"].startswith("exe_")
    assert message["duration_ms"] > 0


async def test_an_agent_with_memory_remembers_the_conversation_and_no_other(stage: Stage, model: ModelServer) -> None:
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        for text in ("My name is Ada", "What is my name?"):
            await chat.say(text)
            await chat.until("done")
    said = [message["content"] for message in model.requests[-1]["messages"]]
    assert "My name is Ada" in said
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        await chat.say("And now?")
        await chat.until("done")
    assert "My name is Ada" not in [message["content"] for message in model.requests[-1]["messages"]]


async def test_its_key_is_for_one_registration_and_a_quarter_of_an_hour(stage: Stage) -> None:
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        key: CallerKey = await stage.do(CallerKey.objects.get)
        assert key.ephemeral
        assert key.scopes == ["greeter-staging"]
        assert key.expires_at is not None
        assert (key.expires_at - timezone.now()).total_seconds() <= 15 * 60
        assert key.created_by == stage.world.users["builder"].email
        assert key.revoked_at is None
    deadline = time.monotonic() + 5
    items: list[dict[str, Any]] = []
    while time.monotonic() < deadline and not any(each["tombstone"] for each in items):
        items = [each for each in stage.gateway.admin().state(items=True)["items"] if each["name"] == key.public_id]
        await asyncio.sleep(0.05)
    assert [each["tombstone"] for each in items] == [True], "leaving takes the key off the gateway"
    assert (await stage.do(Playground.objects.get)).closed_at is not None


async def test_stop_ends_the_execution(stage: Stage, model: ModelServer) -> None:
    model.says("One ", "two", gate=threading.Event())
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        await chat.say("Count")
        await chat.until("token")
        await chat.say("Faster!")
        assert (await chat.next())["message"] == "The agent is still answering."
        await chat.send_json_to({"type": "stop"})
        assert await chat.next() == {"type": "error", "message": "Stopped.", "code": "cancelled"}
        assert await asyncio.to_thread(model.abandoned.wait, 5), "the model was told to stop as well"
        model.says("Again.")
        await chat.say("Start over")
        assert (await chat.next())["text"] == "Again."
        assert (await chat.next())["type"] == "done"


async def test_it_says_what_it_waits_for(empty: Stage) -> None:
    async with socket(empty.world, empty.path, empty.sessions["builder"]) as chat:
        assert await chat.next() == {"type": "waiting", "reason": "Waiting for a gateway in staging."}
        await chat.say("Anybody?")
        assert (await chat.until("error"))["code"] == "not_ready"
        await empty.do(lambda: empty.fleet.start_gateway("stage-1", "staging"))
        await chat.until("ready")


async def test_a_dead_gateway_is_said_and_waited_for(stage: Stage) -> None:
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        stage.gateway.kill()
        await chat.say("Hello?")
        failed = await chat.until("error")
        assert failed["code"] == "gateway_unreachable"
        await asyncio.to_thread(stage.gateway.start)
        await chat.until("ready")
        await chat.say("Hello")
        await chat.until("done")


async def test_what_the_model_does_wrong_is_said(stage: Stage, model: ModelServer) -> None:
    model.says(status=500)
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        await chat.say("Hello, this is private")
        failed = await chat.next()
        assert (failed["type"], failed["code"]) == ("error", "model_failed")
        assert "private" not in failed["message"]


BAD_FRAMES = {
    "no json": "invalid_request",
    '["message"]': "invalid_request",
    '{"type": "shout", "text": "Hello"}': "invalid_request",
    '{"type": "message"}': "invalid_input",
    '{"type": "message", "text": "  "}': "invalid_input",
    '{"type": "message", "text": 7}': "invalid_input",
    json.dumps({"type": "message", "text": "x" * 20_001}): "invalid_input",
}


async def test_bad_frames_are_answered_and_the_conversation_goes_on(stage: Stage) -> None:
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        for frame, code in BAD_FRAMES.items():
            await chat.send_to(text_data=frame)
            assert (await chat.next())["code"] == code, frame
        await chat.send_to(bytes_data=b"\x00")
        await chat.say("Hello")
        assert (await chat.next())["type"] == "token"


async def test_who_may_not_talk_is_told_why_and_no_key_is_made(stage: Stage) -> None:
    async with socket(stage.world, stage.path, stage.sessions["viewer"]) as chat:
        code, reason = await chat.closed_with()
    assert code == 4403
    assert "lacks playground.open" in reason
    assert not await stage.do(CallerKey.objects.exists)


async def test_strangers_are_turned_away(stage: Stage) -> None:
    for path, session, code in (
        ("/ws/playground/nothing/", stage.sessions["builder"], 4404),
        ("/ws/playground/00000000-0000-4000-8000-000000000000/", stage.sessions["builder"], 4404),
        (stage.path, "forged", 4401),
    ):
        async with socket(stage.world, path, session) as chat:
            assert (await chat.closed_with())[0] == code


async def test_a_role_that_is_taken_away_ends_the_conversation(stage: Stage) -> None:
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        builder = stage.world.users["builder"]
        await stage.do(lambda: change_role(actor=SYSTEM, user=builder, role="viewer"))
        await chat.say("One more thing")
        assert (await chat.next())["code"] == "denied"
        assert (await chat.closed_with())[0] == 4403
    assert (await stage.do(CallerKey.objects.get)).revoked_at is not None


async def test_after_a_quarter_of_an_hour_the_browser_has_to_begin_anew(stage: Stage) -> None:
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        await stage.do(lambda: CallerKey.objects.update(expires_at=timezone.now()))
        await chat.say("Still there?")
        message = await chat.until("error")
        assert message["message"].startswith("This conversation was over after 15 minutes")
        assert (await chat.closed_with())[0] == 4409


async def test_a_key_whose_socket_died_is_taken_off_the_gateways(stage: Stage) -> None:
    """As if the web process had been killed: nobody is left to close, and the time runs out."""

    def open_and_forget() -> Playground:
        playground, _ = commands.open_playground(actor=SYSTEM, deployment=stage.deployment)
        CallerKey.objects.update(expires_at=timezone.now())
        return playground

    await stage.do(open_and_forget)
    deadline = time.monotonic() + 12
    while (await stage.do(Playground.objects.get)).closed_at is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert (await stage.do(CallerKey.objects.get)).revoked_at is not None


async def test_undeploying_ends_what_is_said(stage: Stage) -> None:
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        await chat.until("ready")
        await stage.do(lambda: commands.undeploy(actor=SYSTEM, deployment=stage.deployment))
        deadline = time.monotonic() + 5
        while stage.gateway.admin().state()["registrations"]:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await chat.say("Hello?")
        assert (await chat.until("error"))["code"] == "not_found"
    async with socket(stage.world, stage.path, stage.sessions["builder"]) as chat:
        code, reason = await chat.closed_with()
        assert (code, "is not deployed" in reason) == (4409, True)


def test_playing_leaves_the_gateway_reachable_only_with_a_key(stage: Stage) -> None:
    answer = httpx.post(
        f"{stage.gateway.address}/workflows/greeter-staging/execute", json={"inputs": {"message": "Hi"}}
    )
    assert answer.status_code == 401
