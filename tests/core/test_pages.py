"""The generic pages through HTTP, on real models and commands: see `tests/core/gallery/`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.test import Client
from guardian.models import UserObjectPermission

from apps.accounts.commands import create_user
from apps.accounts.models import ApiToken, User
from apps.audit.models import Event
from apps.core.panels import panel
from tests.harness.world import Inhabited

LIST = "/gallery/people/"
HTMX_LIST = {"HX-Request": "true", "HX-Target": "list"}
HTMX_DIALOG = {"HX-Request": "true", "HX-Target": "sheet-body"}


def people(answer: Any) -> list[str]:
    """The addresses of the members in a list, in order."""
    return re.findall(r'class="cell-detail">([^<]+)<', answer.content.decode())


def page_of(world: Inhabited, role: str, tail: str = "") -> str:
    return f"{LIST}{world.users[role].pk}/{tail}"


def without_role(world: Inhabited) -> Client:
    """A member who holds no role."""
    world.users["viewer"].groups.clear()
    return world.client("viewer")


# Reading ----------------------------------------------------------------------------------------------------------


def test_a_stranger_is_led_to_the_sign_in_and_back(gallery: Inhabited) -> None:
    answer = gallery.client(None).get(f"{LIST}?search=a")

    assert answer.status_code == 302
    assert answer["Location"] == "/accounts/login/?next=/gallery/people/%3Fsearch%3Da"


def test_an_expired_session_reloads_the_whole_page_instead_of_swapping_a_sign_in_into_it(gallery: Inhabited) -> None:
    headers = {**HTMX_LIST, "HX-Current-URL": "http://acme.localhost/gallery/people/?search=a"}

    answer = gallery.client(None).get(LIST, headers=headers)

    assert answer["HX-Redirect"] == headers["HX-Current-URL"]


def test_a_list_shows_one_page_sorted(gallery: Inhabited) -> None:
    client = gallery.client()

    assert people(client.get(LIST)) == [
        f"{role}@acme.example" for role in ("admin", "approver", "builder", "owner", "viewer")
    ]
    assert people(client.get(f"{LIST}?sort=-name"))[0] == "viewer@acme.example"
    assert people(client.get(f"{LIST}?page=99")) == people(client.get(LIST))


def test_pages_follow_each_other_without_javascript(gallery: Inhabited) -> None:
    for number in range(3):
        create_user(actor=gallery.actor(), email=f"zoe{number}@acme.example", role="viewer")
    client = gallery.client()

    first = client.get(f"{LIST}?sort=name")
    following = re.search(r'rel="next" href="([^"]+)"', first.content.decode())
    assert following
    second = client.get(LIST + following[1].replace("&amp;", "&"))

    assert people(second) == [f"zoe{number}@acme.example" for number in range(3)]
    assert "6–8 of 8" in second.content.decode()  # noqa: RUF001  as the page writes it


def test_every_word_of_a_search_must_occur(gallery: Inhabited) -> None:
    client = gallery.client()

    assert people(client.get(f"{LIST}?search=OWNER acme")) == ["owner@acme.example"]
    assert people(client.get(f"{LIST}?search=owner globex")) == []


def test_nothing_found_offers_to_clear_the_filters(gallery: Inhabited) -> None:
    text = gallery.client().get(f"{LIST}?search=nobody-like-this").content.decode()

    assert "Nothing matches" in text
    assert f'href="{LIST}"' in text


def test_htmx_gets_the_list_alone_with_a_clean_address(gallery: Inhabited) -> None:
    answer = gallery.client().get(f"{LIST}?search=owner&is_active=", headers=HTMX_LIST)

    assert answer["HX-Push-Url"] == f"{LIST}?search=owner"
    assert "HX-Request" in answer["Vary"]
    assert people(answer) == ["owner@acme.example"]
    assert "<html" not in answer.content.decode()


def test_the_back_button_gets_the_whole_page(gallery: Inhabited) -> None:
    answer = gallery.client().get(LIST, headers={**HTMX_LIST, "HX-History-Restore-Request": "true"})

    assert "<html" in answer.content.decode()


def test_a_filter_that_cannot_be_shows_nothing_and_says_why(gallery: Inhabited) -> None:
    answer = gallery.client().get(f"{LIST}?is_active=banana")

    assert people(answer) == []
    assert "banana is not one of the available choices" in answer.content.decode()


def test_a_search_is_text_and_never_markup(gallery: Inhabited) -> None:
    text = gallery.client().get(LIST, {"search": '"><script>alert(1)</script>'}).content.decode()

    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_without_the_permission_a_list_says_what_is_missing(gallery: Inhabited) -> None:
    answer = without_role(gallery).get(LIST)

    assert answer.status_code == 403
    assert "user.view" in answer.content.decode()
    assert "How this was decided" in answer.content.decode()


def test_a_grant_on_one_row_shows_that_row_alone(gallery: Inhabited) -> None:
    granted = gallery.users["builder"]
    kind = ContentType.objects.get_for_model(User)
    permission, _ = Permission.objects.get_or_create(codename="user.view", content_type=kind, defaults={"name": "view"})
    client = without_role(gallery)
    UserObjectPermission.objects.create(
        user=gallery.users["viewer"], permission=permission, content_type=kind, object_pk=str(granted.pk)
    )

    assert people(client.get(LIST)) == ["builder@acme.example"]
    assert client.get(page_of(gallery, "builder")).status_code == 200
    assert client.get(page_of(gallery, "owner")).status_code == 404


@pytest.mark.parametrize("tail", ["", "rename/", "deactivate/", "?tab=tokens"])
def test_what_does_not_exist_is_404_on_every_page_about_it(gallery: Inhabited, tail: str) -> None:
    assert gallery.client().get(f"{LIST}00000000-0000-4000-8000-000000000000/{tail}").status_code == 404


def test_what_belongs_to_another_organization_does_not_exist(gallery: Inhabited, globex: Inhabited) -> None:
    assert gallery.client().get(f"{LIST}{globex.users['owner'].pk}/").status_code == 404


def test_tabs_have_addresses(gallery: Inhabited) -> None:
    client = gallery.client()

    assert "No tokens." in client.get(page_of(gallery, "owner", "?tab=tokens")).content.decode()
    assert "Facts" in client.get(page_of(gallery, "owner")).content.decode()
    assert client.get(page_of(gallery, "owner", "?tab=nothing")).status_code == 404


def test_a_higher_app_adds_panels_that_need_their_own_permission(
    gallery: Inhabited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.core.panels._panels", [])

    def shown(_: HttpRequest, person: User) -> dict[str, str]:
        return {"warning": f"panel of {person.email}"}

    panel(on="person", title="Late", template="components/secret.html", order=2)(
        lambda *_: {"warning": "the later panel"}
    )
    panel(on="person", title="Early", template="components/secret.html", order=1)(shown)
    panel(on="person", title="Hidden", template="components/secret.html", action="user.create")(
        lambda *_: {"warning": "for those who may create"}
    )
    panel(on="person", title="Absent", template="components/secret.html")(lambda *_: None)

    as_viewer = gallery.client("viewer").get(page_of(gallery, "owner")).content.decode()
    as_owner = gallery.client().get(page_of(gallery, "owner")).content.decode()

    assert as_viewer.index("panel of owner@acme.example") < as_viewer.index("the later panel")
    assert "for those who may create" not in as_viewer
    assert "for those who may create" in as_owner


# Actions ----------------------------------------------------------------------------------------------------------


def test_buttons_and_links_are_shown_to_those_who_may(gallery: Inhabited) -> None:
    as_owner = gallery.client().get(LIST).content.decode()
    as_viewer = gallery.client("viewer").get(LIST).content.decode()

    assert "/gallery/people/new/" in as_owner
    assert "/gallery/people/new/" not in as_viewer
    assert page_of(gallery, "admin", "deactivate/") in as_owner
    assert page_of(gallery, "admin", "deactivate/") not in as_viewer


def test_an_action_that_is_impossible_now_is_disabled_with_its_reason(gallery: Inhabited) -> None:
    gallery.users["viewer"].is_active = False
    gallery.users["viewer"].save()

    text = gallery.client().get(page_of(gallery, "viewer")).content.decode()

    assert 'data-tip="Already deactivated"' in text
    assert page_of(gallery, "viewer", "deactivate/") not in text


def test_the_sidebar_holds_what_the_actor_may_read(gallery: Inhabited) -> None:
    def sidebar(client: Client) -> str:
        text = client.get("/gallery/components/").content.decode()
        return text[text.index("<aside") : text.index("</aside>")]

    assert LIST in sidebar(gallery.client())
    assert LIST not in sidebar(without_role(gallery))


# Changing ---------------------------------------------------------------------------------------------------------


def test_a_form_runs_its_command_once_and_says_so(gallery: Inhabited) -> None:
    client = gallery.client()

    answer = client.post(f"{LIST}new/", {"email": "ada@acme.example", "name": "Ada", "role": "viewer"}, follow=True)

    assert User.objects.get(email="ada@acme.example").name == "Ada"
    assert Event.objects.filter(action="user.create", resource_label="ada@acme.example").count() == 1
    assert "ada@acme.example is a member now." in answer.content.decode()


def test_an_invalid_form_comes_back_with_errors_at_its_fields(gallery: Inhabited) -> None:
    answer = gallery.client().post(f"{LIST}new/", {"email": "no address", "name": "Ada", "role": "viewer"})
    text = answer.content.decode()

    assert answer.status_code == 422
    assert "Enter a valid email address." in text
    assert re.search(r'<input[^>]*name="email"[^>]*aria-invalid="true"[^>]*aria-describedby="[^"]*id_email_error', text)
    assert 'id="id_email_error"' in text
    assert 'value="Ada"' in text


def test_what_the_command_finds_invalid_stands_at_the_field_that_it_names(gallery: Inhabited) -> None:
    answer = gallery.client().post(f"{LIST}new/", {"email": "ada@acme.example", "role": "nobody"})
    text = answer.content.decode()

    assert answer.status_code == 422
    assert "There is no role “nobody”." in text[text.index('id="id_role_error"') :]
    assert not User.objects.filter(email="ada@acme.example").exists()


def test_a_conflict_stands_above_the_form_that_keeps_its_values(gallery: Inhabited) -> None:
    answer = gallery.client().post(f"{LIST}new/", {"email": "viewer@acme.example", "role": "viewer"})
    text = answer.content.decode()

    assert answer.status_code == 409
    assert "viewer@acme.example is a member already." in text
    assert 'value="viewer@acme.example"' in text


@pytest.mark.parametrize("method", ["get", "post"])
def test_who_may_not_is_told_what_is_missing(gallery: Inhabited, method: str) -> None:
    answer = getattr(gallery.client("viewer"), method)(page_of(gallery, "owner", "rename/"), {"name": "Mallory"})

    assert answer.status_code == 403
    assert "user.update-profile" in answer.content.decode()
    assert not User.objects.filter(name="Mallory").exists()


def test_a_refused_change_is_in_the_log(gallery: Inhabited) -> None:
    gallery.client("viewer").post(page_of(gallery, "owner", "rename/"), {"name": "Mallory"})

    assert Event.objects.filter(action="user.update-profile", outcome="denied").count() == 1


def test_a_form_starts_with_what_is(gallery: Inhabited) -> None:
    gallery.users["viewer"].name = "Vera"
    gallery.users["viewer"].save()

    assert 'value="Vera"' in gallery.client().get(page_of(gallery, "viewer", "rename/")).content.decode()


def test_a_form_in_a_dialog_is_a_fragment_and_leaves_by_a_redirect_of_the_page(gallery: Inhabited) -> None:
    client, address = gallery.client(), page_of(gallery, "viewer", "rename/")

    opened = client.get(address, headers=HTMX_DIALOG)
    wrong = client.post(address, {"name": ""}, headers=HTMX_DIALOG)
    done = client.post(address, {"name": "Vera"}, headers=HTMX_DIALOG)

    assert "<html" not in opened.content.decode()
    assert wrong.status_code == 422
    assert "<html" not in wrong.content.decode()
    assert done["HX-Redirect"] == page_of(gallery, "viewer")
    assert User.objects.get(email="viewer@acme.example").name == "Vera"


def test_a_danger_waits_until_its_name_is_typed(gallery: Inhabited) -> None:
    client, address = gallery.client(), page_of(gallery, "viewer", "deactivate/")

    careless = client.post(address, {"typed": "viewer"})
    still = User.objects.get(email="viewer@acme.example").is_active
    careful = client.post(address, {"typed": "viewer@acme.example"})

    assert careless.status_code == 422
    assert "Type viewer@acme.example to confirm." in careless.content.decode()
    assert still
    assert careful.status_code == 302
    assert not User.objects.get(email="viewer@acme.example").is_active


def test_a_refused_confirmation_says_why(gallery: Inhabited) -> None:
    answer = gallery.client().post(page_of(gallery, "owner", "deactivate/"), {"typed": "owner@acme.example"})

    assert answer.status_code == 409
    assert "is the last owner" in answer.content.decode()


def test_a_button_that_asks_nothing_works_by_post_only(gallery: Inhabited) -> None:
    gallery.users["viewer"].is_active = False
    gallery.users["viewer"].save()
    client, address = gallery.client(), page_of(gallery, "viewer", "reactivate/")

    assert client.get(address).status_code == 405
    assert not User.objects.get(email="viewer@acme.example").is_active
    assert "viewer@acme.example may sign in again." in client.post(address, follow=True).content.decode()
    assert User.objects.get(email="viewer@acme.example").is_active


def test_a_secret_is_shown_in_one_answer_that_nothing_keeps(gallery: Inhabited) -> None:
    client = gallery.client()

    answer = client.post("/gallery/tokens/new/", {"name": "ci"})
    secret = re.search(r"kzs_acme_\w+", answer.content.decode())

    assert secret
    assert "no-store" in answer["Cache-Control"]
    assert ApiToken.objects.get(name="ci")
    assert secret[0] not in client.get(LIST).content.decode()
    assert not any(secret[0] in str(value) for value in client.session.values())


def test_a_forged_form_is_refused(gallery: Inhabited) -> None:
    client = Client(enforce_csrf_checks=True, headers={"host": gallery.host})
    client.force_login(gallery.users["owner"], backend="django.contrib.auth.backends.ModelBackend")

    answer = client.post(page_of(gallery, "viewer", "rename/"), {"name": "Mallory"})

    assert answer.status_code == 403
    assert "This form is out of date" in answer.content.decode()
    assert not User.objects.filter(name="Mallory").exists()
