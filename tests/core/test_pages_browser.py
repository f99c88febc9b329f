"""The dashboard in a real browser under its content security policy: what scripts do, on wide and narrow screens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections

from apps.accounts.commands import update_profile
from tests.harness.dashboard import NARROW, WIDE, Dashboard, Person, browser_beside_django
from tests.harness.world import settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, StorageState, ViewportSize

    from apps.accounts.models import User
    from tests.harness.world import Inhabited

pytestmark = pytest.mark.browser
Visit = Callable[..., Person]


@pytest.fixture(scope="module")
def dashboard(installation: dict[str, Inhabited], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    server = Dashboard(
        tmp_path_factory.mktemp("dashboard") / "daphne.log",
        settings="tests.core.gallery.settings",
        application="tests.core.gallery.asgi:application",
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def town(installation: dict[str, Inhabited], django_db_blocker: Any) -> Iterator[Inhabited]:
    """One organization for all stories here; a story that changes a member says which."""
    with django_db_blocker.unblock(), settled() as inhabited:
        yield inhabited


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browser_beside_django() as running:
        yield running


def rename_meanwhile(world: Inhabited, member: User, name: str) -> None:
    """As somebody else's request would: in a thread of its own, away from Playwright's event loop in ours."""

    def rename() -> None:
        try:
            with world.inside():
                update_profile(actor=world.actor(), user=member, name=name)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as aside:
        aside.submit(rename).result()


@pytest.fixture(scope="module")
def owner(browser: Browser, dashboard: Dashboard, town: Inhabited) -> StorageState:
    """The cookies of the organization's owner, who signs in once."""
    person = Person(browser, dashboard.address(town.host))
    person.sign_in(town)
    return person.page.context.storage_state()


@pytest.fixture
def visit(
    browser: Browser, dashboard: Dashboard, town: Inhabited, owner: StorageState
) -> Iterator[Callable[..., Person]]:
    """Open a page as the organization's owner. At the end the browser must have had nothing to complain of."""
    people: list[Person] = []

    def open_page(path: str, **how: Any) -> Person:
        person = Person(browser, dashboard.address(town.host), state=owner, **how)
        people.append(person)
        person.page.goto(path)
        return person

    yield open_page
    for person in people:
        person.page.context.close()
        assert person.complaints == []


def test_a_list_answers_while_one_types_and_keeps_a_shareable_address(visit: Visit) -> None:
    page = visit("/gallery/people/").page

    page.keyboard.press("/")
    page.keyboard.type("viewer")

    page.wait_for_url("**/gallery/people/?search=viewer")
    page.get_by_text("1 found").wait_for()
    assert page.locator("tbody tr").count() == 1
    page.reload()
    assert page.locator("input[type=search]").input_value() == "viewer"
    assert page.locator("tbody tr").count() == 1


def test_filter_sort_and_back_button_agree(visit: Visit) -> None:
    page = visit("/gallery/people/").page

    page.get_by_role("link", name="Member", exact=True).click()
    page.wait_for_url(re.compile(r"sort="))
    page.get_by_label("Status").select_option("yes")
    page.wait_for_url(re.compile(r"is_active=yes"))
    page.get_by_text("found").wait_for()
    assert "sort=" in page.url
    page.go_back()

    page.locator("tbody tr").first.wait_for()
    assert "is_active" not in page.url
    assert page.locator("h1").count() == 1


def test_a_menu_opened_right_after_typing_stays_open(visit: Visit) -> None:
    """Leaving the search box is a change event, which must not fetch the list again under the pointer."""
    page = visit("/gallery/people/").page
    page.locator("input[type=search]").fill("viewer")
    page.get_by_text("1 found").wait_for()

    page.locator("tbody .dropdown button").click()
    page.wait_for_timeout(600)

    assert page.locator("tbody .dropdown-menu.show").count() == 1


def test_a_dialog_shows_errors_in_place_and_leaves_with_a_message(visit: Visit, town: Inhabited) -> None:
    page = visit(f"/gallery/people/{town.users['viewer'].pk}/").page

    page.get_by_role("link", name="Rename").click()
    sheet = page.locator("#sheet[open]")
    sheet.get_by_label("Name").fill("")
    sheet.get_by_role("button", name="Save").click()
    sheet.get_by_text("This field is required.").wait_for()
    sheet.get_by_label("Name").fill("Vera")
    sheet.get_by_role("button", name="Save").click()

    page.locator(".toast", has_text="Renamed to Vera.").wait_for()
    assert page.locator("dd", has_text="Vera").count() == 1


def test_a_dangerous_button_wakes_when_the_name_is_typed(visit: Visit, town: Inhabited) -> None:
    approver = town.users["approver"]
    page = visit(f"/gallery/people/{approver.pk}/").page

    page.get_by_role("link", name="Deactivate").click()
    button = page.locator("#sheet").get_by_role("button", name="Deactivate")
    page.locator("#sheet input[name=typed]").wait_for()
    assert button.is_disabled()
    page.locator("#sheet input[name=typed]").fill(approver.email)
    assert button.is_enabled()
    button.click()

    page.get_by_text("deactivated by an administrator").wait_for()


def test_the_keyboard_reaches_everything(visit: Visit) -> None:
    page = visit("/gallery/people/").page

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("?")
    page.locator("#help[open]").get_by_text("Components").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("9")

    page.wait_for_url("**/gallery/components/")


def test_the_theme_is_kept_without_a_flash(visit: Visit) -> None:
    page = visit("/gallery/components/").page
    assert page.locator("html").get_attribute("data-bs-theme") == "light"

    page.get_by_role("button", name="Your account").click()
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    # At the moment at which the body begins, nothing has been painted yet.
    page.context.add_init_script(
        """new MutationObserver((_, seen) => {
          if (!document.body) return;
          window.atFirst = document.documentElement.dataset.bsTheme;
          seen.disconnect();
        }).observe(document, {childList: true, subtree: true})"""
    )
    page.reload()

    assert page.evaluate("window.atFirst") == "dark"


def test_charts_are_drawn_and_series_can_be_hidden(visit: Visit) -> None:
    page = visit("/gallery/components/").page

    chart = page.locator("[data-chart]").first
    chart.locator("canvas").wait_for()
    pixels = "(canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data"
    assert chart.locator("canvas").evaluate(f"(canvas) => ({pixels})(canvas).some((value) => value)")
    button = page.locator("[data-chart-legend] button", has_text="failed").first
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("[data-chart]").count() == 2
    page.get_by_text("No executions in this period.").wait_for()


def test_a_copy_button_says_that_it_copied(visit: Visit) -> None:
    page = visit("/gallery/components/").page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    page.get_by_role("button", name="Copy secret").click()

    page.locator(".copy.copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").startswith("kzk_")


def test_a_live_region_follows_and_leaves_alone_what_the_reader_does(visit: Visit, town: Inhabited) -> None:
    viewer = town.users["viewer"]
    page = visit(f"/gallery/people/{viewer.pk}/watch/").page
    page.get_by_label("Note").fill("half a thou")
    page.get_by_text("More").click()

    rename_meanwhile(town, viewer, "Valentina")
    page.locator("#name", has_text="Valentina").wait_for()
    assert page.get_by_label("Note").input_value() == "half a thou"

    page.get_by_label("Note").focus()
    rename_meanwhile(town, viewer, "Violetta")
    page.locator("#name", has_text="Violetta").wait_for()
    assert page.get_by_label("Note").input_value() == "half a thou"
    assert page.evaluate("document.activeElement.id") == "note"
    assert page.locator("#more").get_attribute("open") is not None


def test_a_lost_connection_is_said_and_heals(
    browser: Browser, dashboard: Dashboard, town: Inhabited, owner: StorageState
) -> None:
    viewer = town.users["viewer"]
    page = Person(browser, dashboard.address(town.host), state=owner).page
    page.goto(f"/gallery/people/{viewer.pk}/watch/")
    page.wait_for_timeout(500)

    dashboard.stop()
    page.get_by_text("Connection lost. Reconnecting").wait_for()
    dashboard.start()
    rename_meanwhile(town, viewer, "Veronica")

    page.locator("#name", has_text="Veronica").wait_for(timeout=40_000)
    page.get_by_text("Connection lost. Reconnecting").wait_for(state="hidden")
    page.context.close()


def test_the_playground_streams_stops_and_never_interprets(visit: Visit) -> None:
    page = visit("/gallery/talk/").page
    field = page.get_by_label("Write a message")
    page.get_by_role("button", name="Send").wait_for()

    field.fill("one")
    field.press("Shift+Enter")
    page.keyboard.type("two")
    page.locator("[data-chat-send]:enabled").wait_for()
    field.press("Enter")
    page.get_by_text("1.2 s · 12 → 3 tokens · exe_1").wait_for()
    # `pre-wrap` keeps the line break, and the markup is text.
    assert page.locator(".talk-turn.theirs .talk-bubble").inner_text() == "<b>You said:</b> one\ntwo "

    field.fill("forever")
    field.press("Enter")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Send").wait_for()

    field.fill("fail")
    field.press("Enter")
    page.get_by_text("The model did not answer.").wait_for()
    assert page.locator(".talk-bubble.streaming").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_pages_fit_the_window(visit: Visit, town: Inhabited, viewport: ViewportSize, theme: str) -> None:
    person = visit("/gallery/people/", viewport=viewport, theme=theme)
    pages = ["people/", "people/new/", f"people/{town.users['viewer'].pk}/", "components/", "talk/"]

    for path in pages:
        person.page.goto(f"/gallery/{path}")
        assert not person.is_wider_than_the_window(), path


def test_on_a_phone_the_menu_opens_the_pages(visit: Visit) -> None:
    page = visit("/gallery/components/", viewport=NARROW).page

    assert not page.get_by_role("link", name="Members").first.is_visible()
    page.get_by_role("button", name="Menu").click()
    page.locator("#sidebar").get_by_role("link", name="Members").last.click()

    page.wait_for_url("**/gallery/people/")


def test_without_javascript_search_paging_and_dialogs_are_pages(visit: Visit, town: Inhabited) -> None:
    page = visit("/gallery/people/", javascript=False).page

    page.locator("input[type=search]").fill("viewer")
    page.get_by_role("button", name="Filter").click()
    page.get_by_text("1 found").wait_for()
    page.goto(f"/gallery/people/{town.users['viewer'].pk}/")
    page.get_by_role("link", name="Rename").click()
    page.get_by_label("Name").fill("Vera")
    page.get_by_role("button", name="Save").click()

    page.get_by_text("Renamed to Vera.").wait_for()
