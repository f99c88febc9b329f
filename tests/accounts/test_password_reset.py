"""A forgetful member, from the mail to the new password, with the embedded mailbox as the only post."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from apps.accounts import commands
from apps.accounts.models import User
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.tenancy import public
from apps.tenants.models import MailboxMessage
from tests.harness.world import PASSWORD, Inhabited

NEW = "a very new and long passphrase"
LINK = re.compile(r"https?://(?P<host>[^/\s]+)(?P<path>/accounts/password/reset/key/\S+)")


@pytest.fixture(autouse=True)
def _embedded_mailbox(settings: Any) -> Any:
    """Django's test set-up would keep mail in a list; here the product's own mailbox is the post."""
    settings.EMAIL_BACKEND = "apps.tenants.mailbox.MailboxBackend"
    cache.clear()
    yield
    cache.clear()


def _visitor(world: Inhabited) -> Client:
    return Client(headers={"host": world.host})


def _mails(to: str) -> list[MailboxMessage]:
    with public():
        return list(MailboxMessage.objects.filter(recipients=to).order_by("pk"))


def _link(mail: MailboxMessage) -> tuple[str, str]:
    match = LINK.search(mail.body)
    assert match, mail.body
    return match["host"], match["path"]


def _ask(world: Inhabited, email: str) -> MailboxMessage:
    before = len(_mails(email))
    response = _visitor(world).post("/accounts/password/reset/", {"email": email})
    assert (response.status_code, response["Location"]) == (302, "/accounts/password/reset/done/")
    [*_, mail] = _mails(email)
    assert len(_mails(email)) == before + 1
    return mail


def _follow(client: Client, path: str, password: str = NEW) -> Any:
    """Open the link, type the new password, send it."""
    opened = client.get(path)
    if opened.status_code != 302:
        return opened
    return client.post(opened["Location"], {"password1": password, "password2": password})


def test_from_the_mail_to_the_new_password(acme: Inhabited) -> None:
    old_session = acme.client("viewer")
    mail = _ask(acme, "viewer@acme.example")
    host, path = _link(mail)
    assert host.split(":")[0] == acme.host, "the link leads to the member's own organization"
    assert mail.organization == acme.schema

    client = _visitor(acme)
    assert _follow(client, path).status_code == 302

    assert User.objects.get(email="viewer@acme.example").check_password(NEW)
    assert client.post("/accounts/login/", {"login": "viewer@acme.example", "password": PASSWORD}).status_code == 200
    assert client.post("/accounts/login/", {"login": "viewer@acme.example", "password": NEW}).status_code == 302
    assert old_session.get("/profile/").status_code == 302, "whoever had the old password is out"
    event = Event.objects.filter(action="user.change-password").order_by("-sequence")[0]
    assert event.resource_label == "viewer@acme.example"


def test_a_link_works_once(acme: Inhabited) -> None:
    _, path = _link(_ask(acme, "viewer@acme.example"))
    _follow(_visitor(acme), path)
    second = _follow(_visitor(acme), path, "yet another long passphrase")
    assert second.status_code == 200
    assert User.objects.get(email="viewer@acme.example").check_password(NEW)


@pytest.mark.parametrize("path", ["/accounts/password/reset/key/1-set-password/", "/accounts/password/reset/key/x-y/"])
def test_a_made_up_link_changes_nothing(acme: Inhabited, path: str) -> None:
    response = _follow(_visitor(acme), path)
    assert response.status_code in (200, 302)
    assert User.objects.get(email="viewer@acme.example").check_password(PASSWORD)


def test_a_link_of_one_organization_does_nothing_in_another(acme: Inhabited, globex: Inhabited) -> None:
    _, path = _link(_ask(acme, "viewer@acme.example"))
    before = _hashes(acme) + _hashes(globex)

    response = _follow(_visitor(globex), path)

    assert response.status_code == 200
    assert b"password1" not in response.content, "there is no form to type a new password into"
    assert _hashes(acme) + _hashes(globex) == before
    assert _follow(_visitor(acme), path).status_code == 302, "and it is not used up by the attempt"


def _hashes(world: Inhabited) -> list[str]:
    with world.inside():
        return list(User.objects.order_by("pk").values_list("password", flat=True))


def test_an_unknown_address_looks_like_a_known_one(acme: Inhabited) -> None:
    known = _visitor(acme).post("/accounts/password/reset/", {"email": "viewer@acme.example"})
    unknown = _visitor(acme).post("/accounts/password/reset/", {"email": "nobody@acme.example"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    # Somebody who mistyped learns so by mail, and nobody else does; it holds no link.
    assert not any(LINK.search(mail.body) for mail in _mails("nobody@acme.example"))


def test_a_deactivated_member_gets_no_link(acme: Inhabited) -> None:
    commands.deactivate(actor=Actor.system(), user=acme.users["viewer"])
    _visitor(acme).post("/accounts/password/reset/", {"email": "viewer@acme.example"})
    assert not any(LINK.search(mail.body) for mail in _mails("viewer@acme.example") if "reset" in mail.subject.lower())


def test_a_new_member_is_welcomed_with_a_link(live_organization: Inhabited) -> None:
    email = "newcomer@live.example"
    owner = live_organization.actor("owner")
    commands.create_user(actor=owner, email=email, role="builder", name="Nora Newcomer")

    [mail] = _mails(email)
    assert "Nora Newcomer" in mail.body or live_organization.organization.name in mail.body
    host, path = _link(mail)
    assert host.split(":")[0] == live_organization.host
    client = _visitor(live_organization)
    assert _follow(client, path).status_code == 302
    assert client.post("/accounts/login/", {"login": email, "password": NEW}).status_code == 302


def test_a_member_made_with_a_password_is_not_written_to(acme: Inhabited) -> None:
    commands.create_user(actor=acme.actor(), email="quiet@acme.example", role="viewer", password=PASSWORD)
    assert _mails("quiet@acme.example") == []


def test_a_member_that_was_not_made_is_not_written_to(live_organization: Inhabited) -> None:
    """The mail goes out with the commit, so that a refused command sends none."""
    from django.db import transaction

    with pytest.raises(RuntimeError), transaction.atomic():
        commands.create_user(actor=Actor.system(), email="ghost@live.example", role="viewer")
        raise RuntimeError
    assert _mails("ghost@live.example") == []


def test_operators_read_the_embedded_mailbox_and_nobody_else(acme: Inhabited) -> None:
    mail = _ask(acme, "viewer@acme.example")
    member = acme.client("owner")
    assert member.get("/mailbox/", headers={"host": "localhost"}).status_code == 302
    with public():
        operator = User.objects.create_superuser("operator@kaizen.example", PASSWORD)
        client = Client(headers={"host": "localhost"})
        client.force_login(operator, backend="django.contrib.auth.backends.ModelBackend")
    assert mail.subject in client.get("/mailbox/").content.decode()
    assert "/accounts/password/reset/key/" in client.get(f"/mailbox/{mail.pk}/").content.decode()
    assert client.get("/mailbox/", headers={"host": acme.host}).status_code == 404
