"""Somebody watches rollouts at a browser: a canary that advances, and one that goes back, without touching anything."""

from __future__ import annotations

import itertools
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from apps.deployments.strategies.plans import HealthGate, Plan, PlannedStep, Share
from apps.gateways.commands import edit_environment
from apps.gateways.models import Environment
from tests.deployments.sockets import scanning
from tests.deployments.steps import SYSTEM, deploy, fresh, next_version
from tests.doubles.model_server import Reply, echo
from tests.harness.dashboard import NARROW, Dashboard, Person, browser_beside_django
from tests.harness.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from contract.caller_keys import KeyText
    from tests.doubles.model_server import ModelServer
    from tests.harness.world import Inhabited

REGISTRATION = "greeter-staging"
PLAN = Plan(
    "canary",
    (PlannedStep(Share(percent=50), 2), PlannedStep(Share(percent=100), 1)),
    HealthGate(minimum_executions=4, p95_ratio=None),
)
_PATIENT_MS = 60_000
# htmx calls it an error when a newer question takes the place of one that is under way, as it should.
_REPLACED = ("htmx:afterRequest", "htmx:sendAbort")


@contextmanager
def calling(fleet: Fleet, key: KeyText) -> Iterator[None]:
    """Callers, each in a session of its own, until the end of the block."""
    over = threading.Event()

    def call() -> None:
        for number in itertools.count():
            if over.wait(0.1):
                return
            fleet.call("stage-1", REGISTRATION, key, session_id=f"session-{number}")

    thread = threading.Thread(target=call)
    thread.start()
    yield
    over.set()
    thread.join()


def _refuses(instructions: str) -> Any:
    """A model that answers everybody but who is told this."""

    def reply(body: dict[str, Any]) -> Reply:
        return Reply(status=500) if instructions in str(body["messages"]) else echo(body)

    return reply


@pytest.mark.browser
@pytest.mark.slow
def test_somebody_watches_a_canary_advance_and_another_one_go_back(
    live_organization: Inhabited, tmp_path: Path, model: ModelServer
) -> None:
    fleet = Fleet(live_organization, tmp_path, model.base_url)
    staging = Environment.objects.get(slug="staging")
    edit_environment(actor=SYSTEM, environment=staging, name="Staging", order=20, poll_interval_s=1)
    fleet.start_gateway("stage-1", "staging")
    key = fleet.issue_key("staging")
    agent, first = fleet.write_agent(instructions="Answer at once.")
    fleet.deploy(first, "staging")
    good, bad = next_version(agent, "Answer well."), next_version(agent, "Answer badly.")
    model.reply = _refuses("Answer badly.")
    dashboard = Dashboard(tmp_path / "dashboard.log")
    dashboard.start()
    try:
        with browser_beside_django() as browser, live_organization.inside(), scanning(), calling(fleet, key):
            owner = Person(browser, dashboard.address(live_organization.host))
            owner.sign_in(live_organization)
            page = owner.page

            deployment = deploy(SYSTEM, staging, good, plan=PLAN)
            page.goto(deployment.get_absolute_url())
            page.evaluate("window.untouched = true")
            expect(page.locator(".track-step[data-state=done]")).to_have_count(3, timeout=_PATIENT_MS)
            expect(page.locator(".versus")).to_contain_text("version 2")
            expect(page.locator(".track")).to_contain_text("error rate 0.0 %")
            expect(page.locator(".card-title", has_text="Deploy version 2 over version 1")).to_be_visible()

            deploy(SYSTEM, staging, bad, plan=PLAN)
            expect(page.locator(".track-step[data-state=degraded]")).to_be_visible(timeout=_PATIENT_MS)
            held = page.locator(".rollout-held")
            expect(held).to_contain_text("Held by studio")
            expect(held).to_contain_text("Version 3 is degraded: error rate 100.0 %")
            expect(page.locator(".state-green", has_text="running")).not_to_have_count(0, timeout=_PATIENT_MS)
            assert page.evaluate("window.untouched"), "nothing was loaded anew"
            assert fresh(deployment).release.agent_version == good  # type: ignore[union-attr]

            page.locator(".rollout-held a").click()
            page.locator("dialog[open] button[type=submit]").click()
            expect(page.get_by_text("is no longer held")).to_be_visible()
            expect(held).to_have_count(0)
            assert owner.complaints == []

            phone = Person(
                browser, dashboard.address(live_organization.host), viewport=NARROW, theme="dark",
                state=page.context.storage_state(),
            )  # fmt: skip
            phone.page.goto(f"/deployments/{deployment.pk}/rollouts/3/")
            expect(phone.page.locator(".track-step[data-state=degraded]")).to_be_visible()
            assert not phone.is_wider_than_the_window()
            assert phone.complaints == []
    finally:
        dashboard.stop()
        fleet.stop()


@pytest.mark.browser
def test_steps_are_added_and_removed_and_the_picture_follows(
    live_organization: Inhabited, tmp_path: Path, model: ModelServer
) -> None:
    fleet = Fleet(live_organization, tmp_path, model.base_url)
    agent, version = fleet.write_agent()
    staging = Environment.objects.get(slug="staging")
    deploy(SYSTEM, staging, version)
    next_version(agent, "Be brief.")
    for name in ("stage-1", "stage-2"):
        fleet.start_gateway(name, "staging")
    dashboard = Dashboard(tmp_path / "dashboard.log")
    dashboard.start()
    try:
        with browser_beside_django() as browser:
            owner = Person(browser, dashboard.address(live_organization.host))
            owner.sign_in(live_organization)
            page = owner.page
            page.goto("/agents/greeter/deploy/staging/")
            picture = page.locator("#preview .track")
            page.get_by_role("radio", name="In waves").check()
            expect(picture.locator(".track-step")).to_have_count(3)
            expect(picture.locator(".track-step").first).to_contain_text("stage-1")
            expect(page.get_by_label("Callers, step 1")).to_be_hidden()

            page.get_by_role("button", name="Remove step 2").locator("visible=true").click()
            expect(picture.locator(".track-step")).to_have_count(2)
            page.get_by_role("button", name="Add a step").locator("visible=true").click()
            added = page.get_by_label("Gateways reached, step 2")
            expect(added).to_be_focused()
            added.fill("9 lives")
            added.press("Tab")
            expect(page.locator("#preview")).to_contain_text("Step 2: “9 lives” is no part of a fleet")
            expect(page.get_by_role("button", name="Deploy version 2 to Staging")).to_be_disabled()
            added.fill("50 %")
            added.press("Tab")
            expect(page.locator("#preview")).to_contain_text("no further gateway")
            page.get_by_role("button", name="Deploy version 2 to Staging").click()
            expect(page.locator(".track-step")).to_have_count(3)
            assert [each for each in owner.complaints if not each.startswith(_REPLACED)] == []
    finally:
        dashboard.stop()
        fleet.stop()
