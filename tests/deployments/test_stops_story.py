"""Somebody presses the kill switch at a browser and watches who obeys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from apps.deployments.models import Stop
from apps.gateways.commands import edit_environment
from apps.gateways.models import Environment
from tests.deployments.sockets import scanning
from tests.deployments.steps import SYSTEM
from tests.harness.dashboard import NARROW, Dashboard, Person, browser_beside_django
from tests.harness.fleet import Fleet

if TYPE_CHECKING:
    from pathlib import Path

    from tests.doubles.model_server import ModelServer
    from tests.harness.world import Inhabited

_PATIENT_MS = 60_000


@pytest.mark.browser
@pytest.mark.slow
def test_one_button_a_reason_and_a_clock_for_each_gateway(
    live_organization: Inhabited, tmp_path: Path, model: ModelServer
) -> None:
    fleet = Fleet(live_organization, tmp_path, model.base_url)
    staging = Environment.objects.get(slug="staging")
    edit_environment(actor=SYSTEM, environment=staging, name="Staging", order=20, poll_interval_s=1)
    fleet.start_gateway("stage-1", "staging")
    away = fleet.start_gateway("stage-2", "staging")
    key = fleet.issue_key("staging")
    _, version = fleet.write_agent()
    fleet.deploy(version, "staging")
    fleet.settle()
    away.kill()
    dashboard = Dashboard(tmp_path / "dashboard.log")
    dashboard.start()
    try:
        with browser_beside_django() as browser, live_organization.inside(), scanning():
            owner = Person(browser, dashboard.address(live_organization.host))
            owner.sign_in(live_organization)
            page = owner.page
            page.goto("/agents/greeter/")
            page.get_by_role("link", name="Stop", exact=True).click()
            sheet = page.locator("dialog[open]")
            sheet.get_by_label("Reason").fill("It insults people.")
            page.keyboard.press("Tab")
            sheet.get_by_role("button", name="Stop now").click()

            expect(page.get_by_role("heading", name="Stop of Greeter everywhere")).to_be_visible()
            page.evaluate("window.untouched = true")
            obeyed, silent = page.locator("tr", has_text="stage-1"), page.locator("tr", has_text="stage-2")
            expect(obeyed.locator(".state-red")).to_have_text("stopped", timeout=_PATIENT_MS)
            expect(obeyed.locator("[data-label='Receipt after']")).to_contain_text("s")
            expect(silent).to_contain_text("connection refused")
            expect(silent.locator("[data-stopwatch]")).to_contain_text(" s")
            expect(page.get_by_role("alert")).to_contain_text("may still answer callers: stage-2")
            assert fleet.call("stage-1", "greeter-staging", key).status_code == 403

            phone = Person(
                browser, dashboard.address(live_organization.host), viewport=NARROW, theme="dark",
                state=page.context.storage_state(),
            )  # fmt: skip
            phone.page.goto(Stop.objects.get().get_absolute_url())
            expect(phone.page.get_by_text("may still answer callers")).to_be_visible()
            assert not phone.is_wider_than_the_window()

            away.start()
            expect(page.get_by_text("2 gateways confirmed with a signed receipt")).to_be_visible(timeout=_PATIENT_MS)
            assert page.evaluate("window.untouched"), "nothing was loaded anew"
            with page.expect_download() as download:
                page.get_by_role("link", name="Receipts").click()
            assert download.value.suggested_filename == f"stop-{Stop.objects.get().public_id}.json"

            page.get_by_role("link", name="Lift the stop").click()
            sheet.get_by_label("Reason").fill("It was repaired.")
            sheet.get_by_role("button", name="Lift the stop").click()
            expect(page.locator(".state", has_text="lifted").first).to_be_visible(timeout=_PATIENT_MS)
            assert fleet.call("stage-1", "greeter-staging", key).status_code == 200

            page.keyboard.press("g")
            page.keyboard.press("s")
            page.wait_for_url("**/stops/")
            expect(page.get_by_text("It insults people.")).to_be_visible()
            assert owner.complaints == []
            assert phone.complaints == []
    finally:
        dashboard.stop()
        fleet.stop()
