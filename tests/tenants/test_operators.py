"""What operators do, through the Django admin of the public host, and what members notice of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client, TestCase

from apps.accounts.models import User
from apps.accounts.tasks import found_pending
from apps.agents import commands as agents
from apps.agents.definitions import Definition
from apps.audit.chain import verify
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.tenancy import public, tenant
from apps.gateways.commands import create_key, register_gateway
from apps.gateways.models import Environment, Placement
from apps.tenants.models import Domain, MailboxMessage, Organization
from apps.tenants.provisioning import drop
from apps.tenants.queries import forget_hosts
from tests.harness.world import PASSWORD, Inhabited

SYSTEM = Actor.system("tests")
EMAIL = "operator@kaizen.example"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    cache.clear()
    forget_hosts()
    yield
    cache.clear()
    forget_hosts()


def _operator(email: str = EMAIL) -> User:
    with public():
        return User.objects.create_superuser(email, PASSWORD)


def _admin(user: User | None = None) -> Client:
    client = Client(headers={"host": "localhost"})
    with public():
        client.force_login(user or _operator(), backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def admin(acme: Inhabited) -> Client:
    return _admin()


def _act(client: Client, action: str, organization: Organization, **more: str) -> Any:
    body = {"action": action, "_selected_action": [str(organization.pk)], **more}
    # What happens on commit belongs to it: the process forgets which hosts it had looked up.
    with TestCase.captureOnCommitCallbacks(execute=True):
        return client.post("/admin/tenants/organization/", body, follow=True)


def _public_events(action: str) -> list[Event]:
    with public():
        return list(Event.objects.filter(action=action).order_by("sequence"))


class TestSuspension:
    """Pages and API close with the reason; what runs goes on running."""

    def test_the_reason_is_asked_for_first(self, acme: Inhabited, admin: Client) -> None:
        page = _act(admin, "suspend", acme.organization)
        assert page.status_code == 200
        assert b'name="reason"' in page.content
        acme.organization.refresh_from_db()
        assert acme.organization.status == "active"

    def test_without_a_reason_nothing_happens(self, acme: Inhabited, admin: Client) -> None:
        page = _act(admin, "suspend", acme.organization, reason="  ")
        assert b"Say why" in page.content
        acme.organization.refresh_from_db()
        assert acme.organization.status == "active"

    def test_members_read_the_reason_and_nothing_else(self, acme: Inhabited, globex: Inhabited, admin: Client) -> None:
        member, api = acme.client("owner"), acme.api("owner")
        assert member.get("/profile/").status_code == 200

        page = _act(admin, "suspend", acme.organization, reason="The invoice of May is open.")
        assert b"suspended now" in page.content

        for client in (member, Client(headers={"host": acme.host})):
            for path in ("/", "/profile/", "/accounts/login/", "/nothing/"):
                closed = client.get(path)
                assert closed.status_code == 403
                assert b"The invoice of May is open." in closed.content
        for method in ("get", "post"):
            problem = getattr(api, method)("/members/")
            assert problem.status_code == 403
            assert problem.json()["type"] == "urn:kaizen:problem:organization-suspended"
            assert "The invoice of May is open." in problem.json()["detail"]
        assert globex.client("owner").get("/profile/").status_code == 200

        assert b"active now" in _act(admin, "restore", acme.organization).content
        assert member.get("/profile/").status_code == 200
        assert api.get("/members/").status_code == 200

    def test_what_gateways_should_run_stays_as_it_is(self, acme: Inhabited, admin: Client) -> None:
        environment = Environment.objects.get(slug="development")
        register_gateway(
            actor=SYSTEM, environment=environment, name="eu-1", address="http://127.0.0.1:9", deploy_token="t" * 20
        )
        create_key(actor=SYSTEM, environment=environment, name="shop")

        def rows() -> list[Any]:
            with acme.inside():
                return list(Placement.objects.order_by("pk").values())

        before = rows()
        assert before
        _act(admin, "suspend", acme.organization, reason="unpaid")
        assert rows() == before
        _act(admin, "restore", acme.organization)
        assert rows() == before

    def test_both_logs_know_who_and_why(self, acme: Inhabited, admin: Client) -> None:
        _act(admin, "suspend", acme.organization, reason="unpaid")
        _act(admin, "restore", acme.organization)
        for action in ("organization.suspend", "organization.restore"):
            [theirs] = _public_events(action)
            with acme.inside():
                own = Event.objects.get(action=action)
                assert verify().broken_at is None
            for event in (theirs, own):
                assert (event.actor_kind, event.actor_label) == ("operator", EMAIL)
                assert event.changes["status"][0] != event.changes["status"][1]
            assert theirs.id == own.id
        with acme.inside():
            assert Event.objects.get(action="organization.suspend").changes["reason"] == ["", "unpaid"]
        with public():
            assert verify().broken_at is None

    def test_twice_is_a_message_and_no_second_event(self, acme: Inhabited, admin: Client) -> None:
        _act(admin, "suspend", acme.organization, reason="unpaid")
        assert b"cannot be suspended" in _act(admin, "suspend", acme.organization, reason="again").content
        assert (
            b"active, not suspended"
            in (_act(admin, "restore", acme.organization) and _act(admin, "restore", acme.organization)).content
        )
        assert len(_public_events("organization.suspend")) == 1

    def test_the_public_site_itself_is_not_offered(self, acme: Inhabited, admin: Client) -> None:
        with public():
            site = Organization.objects.get(schema_name="public")
        _act(admin, "suspend", site, reason="me too")
        site.refresh_from_db()
        assert site.status == "active"


class TestFounding:
    """A new organization, from the form to the owner's first sign-in."""

    @pytest.fixture
    def committed(self, installation: dict[str, Inhabited], django_db_blocker: Any) -> Iterator[Client]:
        """An operator whose acts are committed, because the founding works through another connection."""
        from django.db import connection, connections

        with django_db_blocker.unblock():
            connection.set_schema_to_public()  # type: ignore[attr-defined]
            user = _operator("committed@kaizen.example")
            yield _admin(user)
            connection.set_schema_to_public()  # type: ignore[attr-defined]
            made = Organization.objects.filter(slug="initech").first()
            if made is not None:
                drop(made)
                Domain.objects.filter(tenant=made).delete()
                Organization.objects.filter(pk=made.pk).delete()
            MailboxMessage.objects.all().delete()
            # Operators are never deleted: what users own lies in tables that only organizations have.
            User.objects.filter(pk=user.pk).update(is_active=False)
            connections.close_all()

    def test_from_the_form_to_the_first_sign_in(self, committed: Client, settings: Any) -> None:
        settings.EMAIL_BACKEND = "apps.tenants.mailbox.MailboxBackend"
        form = {"name": "Initech", "slug": "initech", "owner_email": "bill@initech.example"}

        page = committed.post("/admin/tenants/organization/add/", form, follow=True)

        assert b"is being set up" in page.content
        visitor = Client(headers={"host": "initech.localhost"})
        waiting = visitor.get("/")
        assert (waiting.status_code, waiting["Retry-After"]) == (503, "2")
        assert visitor.get("/api/v1/agents/").json()["type"] == "urn:kaizen:problem:provisioning"

        assert found_pending() == 1

        with public():
            mail = MailboxMessage.objects.get(recipients="bill@initech.example")
        link = re.search(r"http://initech\.localhost:?\d*(/accounts/password/reset/key/\S+)", mail.body)
        assert link, mail.body
        opened = visitor.get(link[1])
        visitor.post(opened["Location"], {"password1": "a brand new passphrase", "password2": "a brand new passphrase"})
        signed_in = visitor.post(
            "/accounts/login/", {"login": "bill@initech.example", "password": "a brand new passphrase"}
        )
        assert signed_in.status_code == 302
        assert visitor.get("/members/").status_code == 200
        with tenant("t_initech"):
            agents.create(actor=SYSTEM, slug="one", definition=Definition(name="One", instructions="Go."))
            assert verify().broken_at is None

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"slug": "Acme Inc"}, b"lower-case"),
            ({"slug": "acme"}, b"taken"),
            ({"slug": "www"}, b"reserved"),
            ({"slug": "a"}, b"3 to 40"),
            ({"slug": ""}, b"required"),
            ({"name": "   "}, b"required"),
            ({"owner_email": "nobody"}, b"valid email"),
            ({"owner_email": ""}, b"required"),
        ],
    )
    def test_a_bad_form_says_what_is_wrong(
        self, acme: Inhabited, admin: Client, changed: dict[str, str], told: bytes
    ) -> None:
        form = {"name": "Initech", "slug": "initech", "owner_email": "bill@initech.example", **changed}
        page = admin.post("/admin/tenants/organization/add/", form)
        assert page.status_code == 200
        assert told in page.content
        with public():
            assert not Organization.objects.filter(name="Initech").exists()

    def test_an_organization_cannot_be_edited_or_deleted_by_hand(self, acme: Inhabited, admin: Client) -> None:
        path = f"/admin/tenants/organization/{acme.organization.pk}"
        assert admin.get(f"{path}/change/").status_code == 200, "it can be read"
        assert admin.post(f"{path}/change/", {"name": "Other"}).status_code == 403
        assert admin.post(f"{path}/delete/", {"post": "yes"}).status_code == 403


class TestDomains:
    """Host names, with the change in the log of every organization it concerns."""

    def _primary(self, world: Inhabited) -> Domain:
        with public():
            return Domain.objects.get(tenant=world.organization)

    def test_a_further_name_leads_to_the_organization(self, acme: Inhabited, admin: Client) -> None:
        form = {"domain": "Agents.ACME.example.", "tenant": str(acme.organization.pk)}
        assert admin.post("/admin/tenants/domain/add/", form).status_code == 302
        with public():
            assert Domain.objects.filter(domain="agents.acme.example").exists()
        assert Client(headers={"host": "agents.acme.example"}).get("/accounts/login/").status_code == 200
        [event] = _public_events("domain.create")
        assert event.actor_label == EMAIL
        with acme.inside():
            assert Event.objects.get(action="domain.create").resource_label == "agents.acme.example"

    def test_moving_a_name_is_told_to_both(self, acme: Inhabited, globex: Inhabited, admin: Client) -> None:
        with public():
            domain = Domain.objects.create(domain="moved.example", tenant=acme.organization, is_primary=False)
        form = {"domain": "moved.example", "tenant": str(globex.organization.pk)}
        assert admin.post(f"/admin/tenants/domain/{domain.pk}/change/", form).status_code == 302
        for world in (acme, globex):
            with world.inside():
                assert Event.objects.filter(action="domain.edit").count() == 1
                assert verify().broken_at is None

    @pytest.mark.parametrize("name", ["http://x.example", "x.example:80", "x y", "x/y", "-x.example", "", "x..y"])
    def test_what_is_no_host_name_is_refused(self, acme: Inhabited, admin: Client, name: str) -> None:
        form = {"domain": name, "tenant": str(acme.organization.pk)}
        assert admin.post("/admin/tenants/domain/add/", form).status_code == 200
        with public():
            assert Domain.objects.filter(tenant=acme.organization).count() == 1

    def test_the_primary_name_stays(self, acme: Inhabited, admin: Client) -> None:
        path = f"/admin/tenants/domain/{self._primary(acme).pk}/delete/"
        assert admin.post(path, {"post": "yes"}).status_code == 403


class TestOperators:
    """Who operates: recorded, limited, and never nobody."""

    def test_signing_in_is_recorded_in_the_public_log(self, acme: Inhabited) -> None:
        _operator()
        client = Client(headers={"host": "localhost"})
        response = client.post("/admin/login/", {"username": EMAIL, "password": PASSWORD, "next": "/admin/"})
        assert response.status_code == 302
        [event] = _public_events("user.sign-in")
        assert (event.actor_kind, event.actor_label) == ("operator", EMAIL)

    def test_guessing_is_limited_and_keeps_nobody_else_out(self, acme: Inhabited) -> None:
        _operator()

        def attempt(address: str, password: str) -> Any:
            client = Client(headers={"host": "localhost"}, REMOTE_ADDR=address)
            return client.post("/admin/login/", {"username": EMAIL, "password": password, "next": "/admin/"})

        for _ in range(5):
            assert attempt("10.0.0.66", "wrong").status_code == 200
        refused = attempt("10.0.0.66", PASSWORD)
        assert refused.status_code == 200
        assert b"Too many failed" in refused.content
        assert attempt("10.0.0.1", PASSWORD).status_code == 302

    def test_a_member_of_an_organization_is_no_operator(self, acme: Inhabited) -> None:
        client = Client(headers={"host": "localhost"})
        response = client.post("/admin/login/", {"username": "owner@acme.example", "password": PASSWORD})
        assert response.status_code == 200
        assert client.get("/admin/").status_code == 302

    def test_an_operator_is_no_member_of_an_organization(self, acme: Inhabited, admin: Client) -> None:
        assert admin.get("/", headers={"host": acme.host}).status_code == 302
        assert admin.get("/admin/", headers={"host": acme.host}).status_code == 404
        client = Client(headers={"host": acme.host})
        client.post("/accounts/login/", {"login": EMAIL, "password": PASSWORD})
        assert client.get("/profile/").status_code == 302

    def test_a_new_operator_is_recorded_without_the_password(self, acme: Inhabited, admin: Client) -> None:
        form = {"email": "second@kaizen.example", "name": "Second", "password1": PASSWORD, "password2": PASSWORD}
        assert admin.post("/admin/accounts/user/add/", {**form, "usable_password": "true"}).status_code == 302
        with public():
            assert User.objects.get(email="second@kaizen.example").is_superuser
        [event] = _public_events("user.create")
        assert event.actor_label == EMAIL
        assert event.changes["password"] == [None, "[hidden]"]

    def test_a_changed_password_is_recorded(self, acme: Inhabited, admin: Client) -> None:
        other = _operator("second@kaizen.example")
        new = "another long enough passphrase"
        path = f"/admin/accounts/user/{other.pk}/password/"
        body = {"password1": new, "password2": new, "usable_password": "true", "set-password": "x"}
        assert admin.post(path, body).status_code == 302
        own = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
        assert admin.post("/admin/password_change/", own).status_code == 302
        events = _public_events("user.change-password")
        assert [(event.actor_label, event.resource_label) for event in events] == [
            (EMAIL, "second@kaizen.example"),
            (EMAIL, EMAIL),
        ]
        assert admin.post("/admin/password_change/", {**own, "old_password": "wrong"}).status_code == 200
        assert len(_public_events("user.change-password")) == 2

    def test_nobody_ends_his_own_access(self, acme: Inhabited) -> None:
        """So that an installation is never left without an operator."""
        me = _operator()
        form = {"email": EMAIL, "name": "Me"}
        assert _admin(me).post(f"/admin/accounts/user/{me.pk}/change/", form).status_code == 302
        me.refresh_from_db()
        assert (me.name, me.is_active, me.is_superuser) == ("Me", True, True)

    def test_an_operator_ends_anothers_access(self, acme: Inhabited, admin: Client) -> None:
        other = _operator("second@kaizen.example")
        theirs = _admin(other)
        assert theirs.get("/admin/").status_code == 200
        form = {"email": other.email, "name": "", "is_staff": "on", "is_superuser": "on"}
        assert admin.post(f"/admin/accounts/user/{other.pk}/change/", form).status_code == 302
        assert theirs.get("/admin/").status_code == 302
        [event] = _public_events("user.edit")
        assert event.changes == {"is_active": [True, False]}

    def test_staff_without_the_flag_sees_and_changes_nothing(self, acme: Inhabited) -> None:
        user = _operator()
        with public():
            User.objects.filter(pk=user.pk).update(is_superuser=False)
            user.refresh_from_db()
        client = _admin(user)
        assert client.get("/admin/tenants/organization/").status_code == 403
        _act(client, "suspend", acme.organization, reason="mine")
        acme.organization.refresh_from_db()
        assert acme.organization.status == "active"

    def test_the_operators_log_can_be_read_and_nothing_else(self, acme: Inhabited, admin: Client) -> None:
        _act(admin, "suspend", acme.organization, reason="unpaid")
        [event] = _public_events("organization.suspend")
        assert admin.get("/admin/audit/event/").status_code == 200
        path = f"/admin/audit/event/{event.pk}"
        assert admin.get(f"{path}/change/").status_code == 200
        assert admin.post(f"{path}/change/", {"action": "x"}).status_code == 403
        assert admin.post(f"{path}/delete/", {"post": "yes"}).status_code == 403
        assert admin.get("/admin/audit/event/add/").status_code == 403


class TestLanding:
    """The bare host leads to organizations and nowhere else."""

    @pytest.mark.parametrize("typed", ["acme", " ACME ", "acme.localhost"])
    def test_it_leads_to_an_organization(self, acme: Inhabited, typed: str) -> None:
        response = Client(headers={"host": "localhost"}).post("/go/", {"organization": typed})
        assert response["Location"].startswith("http://acme.localhost")

    @pytest.mark.parametrize("typed", ["nobody", "evil.example", "//evil.example", "acme.evil.example", "public", "\0"])
    def test_it_leads_nowhere_else(self, acme: Inhabited, typed: str) -> None:
        response = Client(headers={"host": "localhost"}).post("/go/", {"organization": typed})
        assert response.status_code == 404
        assert "Location" not in response

    def test_typing_nothing_says_what_to_type(self, acme: Inhabited) -> None:
        assert Client(headers={"host": "localhost"}).post("/go/", {"organization": " "}).status_code == 422
