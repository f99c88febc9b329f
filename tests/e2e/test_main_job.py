"""The main job, as people do it: edit, publish, deploy, call in every way, watch, revoke, roll back."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from openai import OpenAI
from playwright.sync_api import expect

from tests.harness.browser import sign_in
from tests.harness.gateway import PYTHON, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.e2e.conftest import Studio

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "greeter-development"
QUESTION = "Say hello in one short sentence."
REVOKED_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def page(studio: Studio, chromium: Browser) -> Iterator[Page]:
    """The owner's tab, signed in. A script that the content security policy stops fails the story."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if "Content Security Policy" in line.text else None)
    page.set_default_timeout(20_000)
    sign_in(page, studio.dashboard, *studio.password("owner"))
    yield page
    assert refused == []
    context.close()


def _answer(studio: Studio, key: str) -> httpx.Response:
    return httpx.post(
        f"{studio.gateway()}/workflows/{NAME}/execute",
        json={"inputs": {"message": QUESTION}},
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
    )


def test_edit_and_publish(studio: Studio, page: Page) -> None:
    page.get_by_role("link", name="Agents").first.click()
    page.get_by_role("link", name="Greeter").click()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("Instructions").fill("You are a cheerful assistant. Answer in one short, polite sentence.")
    page.get_by_role("button", name="Save").click()

    page.get_by_role("link", name="Publish").click()
    page.get_by_label("Note").fill("Cheerful now")
    page.get_by_role("button", name="Publish").click()

    expect(page.get_by_role("heading", name="Greeter")).to_be_visible()
    with studio.api() as api:
        versions = api.get("/agents/greeter/versions/").json()["results"]
    latest = versions[0]
    assert (latest["number"], latest["note"]) == (2, "Cheerful now")


def test_deploy_and_watch_it_arrive(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.dashboard}agents/greeter/deploy/")
    page.get_by_label("Version").select_option(label="Version 2 — Cheerful now")
    page.get_by_label("Environment", exact=True).select_option(label="Development")
    # What will change stands on the page before anything does.
    expect(page.locator("#preview")).to_contain_text("cheerful")
    page.locator("#preview").get_by_role("button", name=re.compile("Deploy")).click()

    expect(page.locator("[data-live]").first).to_contain_text("running", timeout=30_000)
    with studio.api() as api:
        deployments = api.get("/deployments/", params={"environment": "development"}).json()["results"]
    (deployment,) = [each for each in deployments if each["registration"] == NAME]
    assert deployment["version"] == 2


def test_every_caller_gets_the_models_answer(studio: Studio) -> None:
    key, gateway = str(studio.panel["gateway_key"]), studio.gateway()

    by_curl = subprocess.run(studio.panel["curl"], shell=True, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(by_curl.stdout)["outputs"]["text"].strip()

    client = OpenAI(base_url=f"{gateway}/v1", api_key=key)
    messages = [{"role": "user", "content": QUESTION}]
    completion = client.chat.completions.create(model=NAME, messages=messages)  # type: ignore[call-overload]
    assert completion.choices[0].message.content.strip()
    stream = client.chat.completions.create(model=NAME, messages=messages, stream=True)  # type: ignore[call-overload]
    pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 1

    # In a thread: the browser's driver keeps an event loop in this one.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: asyncio.run(_by_mcp(gateway, key))).result().strip()

    ours = [PYTHON, "-m", "gateway_service.cli", "--url", gateway, "run", NAME, "--param", f"message={QUESTION}"]
    done = subprocess.run(ours, cwd=ROOT, env={"GATEWAY_KEY": key}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()

    stock = [PYTHON, "-m", "nexus.cli", "--url", gateway.replace("://", f"://key:{key}@"), "run", NAME]
    done = subprocess.run(
        [*stock, "--param", f"message={QUESTION}"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


async def _by_mcp(gateway: str, key: str) -> str:
    async with (
        httpx.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as client,
        streamable_http_client(f"{gateway}/mcp", http_client=client) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = (await session.list_tools()).tools
        assert NAME in [tool.name for tool in tools]
        result = await session.call_tool(NAME, {"message": QUESTION})
        assert not result.isError
        return str(result.content[0].text)  # type: ignore[union-attr]


def test_the_executions_arrive_in_studio(studio: Studio, page: Page) -> None:
    wanted = {"api", "openai", "mcp", "cli"}
    deadline = time.monotonic() + 30
    channels: set[str] = set()
    with studio.api() as api:
        while not wanted <= channels and time.monotonic() < deadline:
            rows = api.get("/executions/", params={"registration": NAME, "page_size": 100}).json()["results"]
            channels = {row["channel"] for row in rows}
            time.sleep(0.5)
    assert wanted <= channels

    page.goto(f"{studio.dashboard}executions/")
    expect(page.get_by_text(NAME).first).to_be_visible()


def test_the_playground_talks_through_the_gateway(studio: Studio, page: Page) -> None:
    with studio.api() as api:
        rows = api.get("/deployments/", params={"environment": "development"}).json()["results"]
    page.goto(f"{studio.dashboard}deployments/{rows[0]['id']}/?tab=playground")
    page.get_by_label("Write to the agent").fill(QUESTION)
    # It says what it waits for until the gateway has the key of this conversation.
    expect(page.get_by_role("button", name="Send")).to_be_enabled(timeout=30_000)
    page.get_by_label("Write to the agent").press("Enter")

    answer = page.locator(".talk-turn.theirs .talk-bubble").last
    expect(answer).to_be_visible(timeout=30_000)
    expect(answer).not_to_be_empty(timeout=30_000)


def test_a_revoked_key_stops_within_two_seconds(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.dashboard}caller-keys/")
    page.get_by_role("link", name="New key").first.click()
    page.get_by_label("Environment", exact=True).select_option(label="Development")
    page.get_by_label("Name").fill("For the story")
    page.get_by_role("button", name=re.compile("Create")).click()
    key = page.locator(".secret-value code").inner_text().strip()
    assert key.startswith("kzk_")
    deadline = time.monotonic() + 15
    while (first := _answer(studio, key)).status_code == 401 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert first.status_code == 200, first.text

    with studio.api() as api:
        rows = api.get("/caller-keys/", params={"search": "For the story"}).json()["results"]
        began = time.monotonic()
        assert api.post(f"/caller-keys/{rows[0]['id']}/revoke/").status_code == 200
    while httpx.get(f"{studio.gateway()}/workflows", headers={"authorization": f"Bearer {key}"}).status_code != 401:
        assert time.monotonic() - began < REVOKED_WITHIN_S
        time.sleep(0.05)


def test_roll_back_holds_the_earlier_version(studio: Studio, page: Page) -> None:
    with studio.api() as api:
        rows = api.get("/deployments/", params={"environment": "development"}).json()["results"]
    page.goto(f"{studio.dashboard}deployments/{rows[0]['id']}/")
    page.get_by_role("link", name=re.compile("Roll back")).first.click()
    page.get_by_role("button", name=re.compile("Roll back")).click()

    expect(page.locator("[data-live]").first).to_contain_text("Held by", timeout=30_000)
    expect(page.locator("[data-live]").first).to_contain_text("running", timeout=30_000)
    with studio.api() as api:
        deployment = api.get(f"/deployments/{rows[0]['id']}/").json()
    assert deployment["version"] == 1
    assert _answer(studio, str(studio.panel["gateway_key"])).status_code == 200
