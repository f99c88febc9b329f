"""Who may be what, and who may make whom so."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connections

from apps.accounts import commands
from apps.accounts.models import User
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.errors import Conflict, Denied, Invalid, StudioError
from tests.harness.world import Inhabited

SYSTEM = Actor.system("tests")


def _role(user: User) -> list[str]:
    return list(User.objects.get(pk=user.pk).groups.values_list("name", flat=True))


def test_an_administrator_adds_members_of_every_role_but_owners(acme: Inhabited) -> None:
    admin = acme.actor("admin")
    for role in ("admin", "builder", "approver", "viewer"):
        user = commands.create_user(actor=admin, email=f"new-{role}@acme.example", role=role)
        assert _role(user) == [role]
    with pytest.raises(Denied):
        commands.create_user(actor=admin, email="new-owner@acme.example", role="owner")
    assert not User.objects.filter(email="new-owner@acme.example").exists()


def test_making_and_unmaking_owners_is_for_owners(acme: Inhabited) -> None:
    admin, owner = acme.actor("admin"), acme.actor("owner")
    for act in (
        lambda: commands.change_role(actor=admin, user=acme.users["viewer"], role="owner"),
        lambda: commands.change_role(actor=admin, user=acme.users["owner"], role="viewer"),
        lambda: commands.grant_ownership(actor=admin, user=acme.users["admin"]),
        lambda: commands.deactivate(actor=admin, user=acme.users["owner"]),
    ):
        with pytest.raises(Denied):
            act()
    commands.change_role(actor=owner, user=acme.users["admin"], role="owner")
    commands.deactivate(actor=owner, user=acme.users["admin"])
    with pytest.raises(Denied):
        commands.reactivate(actor=acme.actor("builder"), user=acme.users["admin"])
    assert _role(acme.users["owner"]) == ["owner"]


@pytest.mark.parametrize("role", ["builder", "approver", "viewer"])
def test_others_change_no_members(acme: Inhabited, role: str) -> None:
    actor, viewer = acme.actor(role), acme.users["viewer"]
    for act in (
        lambda: commands.create_user(actor=actor, email="x@acme.example", role="viewer"),
        lambda: commands.change_role(actor=actor, user=viewer, role="admin"),
        lambda: commands.deactivate(actor=actor, user=viewer),
    ):
        with pytest.raises(Denied) as refusal:
            act()
        assert "owner or admin" in refusal.value.message


def test_the_last_owner_stays(acme: Inhabited) -> None:
    owner, row = acme.actor("owner"), acme.users["owner"]
    for act in (
        lambda: commands.deactivate(actor=owner, user=row),
        lambda: commands.change_role(actor=owner, user=row, role="admin"),
    ):
        with pytest.raises(Conflict, match="last owner"):
            act()
    commands.grant_ownership(actor=owner, user=acme.users["admin"])
    commands.change_role(actor=owner, user=row, role="viewer")
    assert _role(row) == ["viewer"]


def test_a_deactivated_owner_is_no_owner_to_rely_on(acme: Inhabited) -> None:
    owner = acme.actor("owner")
    commands.grant_ownership(actor=owner, user=acme.users["admin"])
    commands.deactivate(actor=owner, user=acme.users["admin"])
    with pytest.raises(Conflict, match="last owner"):
        commands.deactivate(actor=owner, user=acme.users["owner"])


@pytest.mark.parametrize("turn", range(3))
def test_two_owners_cannot_unmake_each_other_at_the_same_moment(live_organization: Inhabited, turn: int) -> None:
    world = live_organization
    commands.grant_ownership(actor=SYSTEM, user=world.users["admin"])
    pairs = (("owner", "admin"), ("admin", "owner"))
    actors = {role: world.actor(role) for role, _ in pairs}
    barrier, outcomes = threading.Barrier(2), list[Any]()

    def unmake(by: str, whom: str) -> None:
        try:
            with world.inside():
                barrier.wait(timeout=20)
                if turn % 2:
                    commands.deactivate(actor=actors[by], user=world.users[whom])
                else:
                    commands.change_role(actor=actors[by], user=world.users[whom], role="viewer")
                outcomes.append("done")
        except StudioError as error:
            outcomes.append(type(error).__name__)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=unmake, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert len(outcomes) == 2
    assert outcomes.count("done") == 1, outcomes
    assert User.objects.filter(groups__name="owner", is_active=True).count() == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"email": "no address"}, "email"),
        ({"email": ""}, "email"),
        ({"email": "x" * 250 + "@acme.example"}, "email"),
        ({"email": "a b@acme.example"}, "email"),
        ({"role": "emperor"}, "role"),
        ({"role": ""}, "role"),
        ({"name": "x" * 121}, "name"),
        ({"password": "short"}, "password"),
        ({"password": "new@acme.example"}, "password"),
    ],
)
def test_bad_input_names_its_field(acme: Inhabited, arguments: dict[str, str], field: str) -> None:
    good = {"email": "new@acme.example", "role": "viewer"}
    with pytest.raises(Invalid) as refusal:
        commands.create_user(actor=SYSTEM, **{**good, **arguments})
    assert field in refusal.value.fields
    assert not User.objects.filter(email="new@acme.example").exists()


@pytest.mark.parametrize("email", ["viewer@acme.example", "VIEWER@acme.example", "  viewer@acme.example "])
def test_an_address_belongs_to_one_member(acme: Inhabited, email: str) -> None:
    with pytest.raises(Conflict, match="already"):
        commands.create_user(actor=SYSTEM, email=email, role="viewer")


def test_the_log_says_which_role_became_which(acme: Inhabited) -> None:
    commands.change_role(actor=acme.actor("owner"), user=acme.users["viewer"], role="builder")
    event = Event.objects.filter(action="user.change-role").order_by("-sequence")[0]
    assert event.detail == {"role": [["viewer"], ["builder"]]}
    assert (event.actor_label, event.resource_label) == ("owner@acme.example", "viewer@acme.example")


def test_a_profile_is_ones_own(acme: Inhabited) -> None:
    assert acme.client("viewer").post("/profile/", {"name": "Vera"}).status_code in (200, 302)
    assert User.objects.get(email="viewer@acme.example").name == "Vera"
    with pytest.raises(Denied):
        commands.update_profile(actor=acme.actor("viewer"), user=acme.users["builder"], name="Bob")
    with pytest.raises(Invalid):
        commands.update_profile(actor=acme.actor("viewer"), user=acme.users["viewer"], name="x" * 121)


def test_a_token_is_made_for_oneself_alone(acme: Inhabited) -> None:
    with pytest.raises(Invalid, match="oneself"):
        commands.create_token(actor=acme.actor("owner"), user=acme.users["viewer"], name="ci")
    with pytest.raises(Denied):
        commands.create_token(actor=acme.actor("viewer"), user=acme.users["owner"], name="ci")


def test_a_role_that_is_given_works_with_the_next_request(acme: Inhabited) -> None:
    api = acme.api("viewer")
    body = {"email": "x@acme.example", "role": "viewer"}
    assert api.post("/members/", body).status_code == 403
    commands.change_role(actor=SYSTEM, user=acme.users["viewer"], role="admin")
    assert api.post("/members/", body).status_code == 201
    commands.change_role(actor=SYSTEM, user=acme.users["viewer"], role="viewer")
    assert api.post("/members/", {**body, "email": "y@acme.example"}).status_code == 403


def test_the_roles_are_those_of_the_product(acme: Inhabited) -> None:
    assert set(Group.objects.values_list("name", flat=True)) == {"owner", "admin", "builder", "approver", "viewer"}
