"""The one decision function: who may do what, why, and what a list may show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from guardian.models import UserObjectPermission
from guardian.shortcuts import assign_perm

from apps.access import roles
from apps.access.decide import decide, visible
from apps.access.sync import actions, grant_on_environment, sync
from apps.accounts.commands import create_token
from apps.accounts.models import ApiToken, User
from apps.agents import commands as agents
from apps.agents.definitions import Definition
from apps.agents.models import Agent
from apps.core.actors import Actor
from apps.core.commands import command, may, registry
from apps.core.errors import Denied
from apps.core.tenancy import public
from apps.deployments.models import Deployment
from apps.gateways.models import Environment, Gateway
from apps.tenants.commands import restore, suspend
from apps.tenants.models import Organization
from tests.harness.world import Inhabited

SYSTEM = Actor.system("tests")

# What each role may do on the whole organization, for the actions that tell the roles apart.
TABLE = {
    "agent.view": {"owner", "admin", "builder", "approver", "viewer"},
    "event.view": {"owner", "admin", "builder", "approver", "viewer"},
    "gateway.view": {"owner", "admin", "builder", "approver", "viewer"},
    "agent.create": {"owner", "admin", "builder"},
    "agent.publish": {"owner", "admin", "builder"},
    "agent.delete": {"owner", "admin", "builder"},
    "playground.open": {"owner", "admin", "builder", "approver"},
    "user.create": {"owner", "admin"},
    "user.change-role": {"owner", "admin"},
    "user.grant-ownership": {"owner"},
    "environment.create": {"owner", "admin"},
    "gateway.register": {"owner", "admin"},
    "environment.deploy": {"owner", "admin"},
    "caller-key.create": {"owner", "admin"},
}
# And on single environments, by grants that come with the role.
ON_ENVIRONMENT = {
    ("environment.deploy", "development"): {"owner", "admin", "builder", "approver"},
    ("environment.deploy", "staging"): {"owner", "admin", "approver"},
    ("environment.deploy", "production"): {"owner", "admin", "approver"},
    ("deployment.rollback", "development"): {"owner", "admin", "builder", "approver"},
    ("deployment.rollback", "production"): {"owner", "admin", "approver"},
    ("caller-key.create", "development"): {"owner", "admin", "builder"},
    ("caller-key.create", "production"): {"owner", "admin"},
    ("environment.edit", "development"): {"owner", "admin"},
}


def _allowed(world: Inhabited, action: str, resource: Any = None) -> set[str]:
    return {role for role in world.users if decide(world.actor(role), action, resource).allowed}


@pytest.mark.parametrize("action", TABLE)
def test_what_each_role_may(acme: Inhabited, action: str) -> None:
    assert _allowed(acme, action) == TABLE[action]


@pytest.mark.parametrize(("action", "slug"), ON_ENVIRONMENT)
def test_what_each_role_may_on_an_environment(acme: Inhabited, action: str, slug: str) -> None:
    assert _allowed(acme, action, Environment.objects.get(slug=slug)) == ON_ENVIRONMENT[action, slug]


def test_every_action_is_granted_to_an_owner_and_only_viewing_to_a_viewer(acme: Inhabited) -> None:
    codenames = set(Permission.objects.filter(codename__contains=".").values_list("codename", flat=True))
    here = {action for action, model in actions() if model is not Organization}
    assert codenames == here
    for action in codenames:
        assert decide(acme.actor("owner"), action).allowed, action
        assert decide(acme.actor("viewer"), action).allowed == (
            action.endswith(".view") or action in roles.PERSONAL_ACTIONS
        ), action


def test_an_action_that_nobody_registered_is_nobodys(acme: Inhabited) -> None:
    decision = decide(acme.actor("owner"), "agent.explode")
    assert not decision.allowed
    assert "no action that anybody can be granted" in decision.explanation


def test_a_denial_names_every_rule_that_was_asked_and_what_is_missing(acme: Inhabited) -> None:
    production = Environment.objects.get(slug="production")
    decision = decide(acme.actor("builder"), "environment.deploy", production)

    assert not decision.allowed
    assert (decision.action, decision.resource) == ("environment.deploy", f"environment:{production.pk}")
    assert [(reason.rule, reason.effect) for reason in decision.trace] == [
        ("system", "none"),
        ("operator", "none"),
        ("own", "none"),
        ("role", "none"),
        ("object-grant", "none"),
        ("default", "deny"),
    ]
    assert "builder@acme.example lacks environment.deploy" in decision.explanation
    assert "owner or admin" in decision.explanation
    texts = " ".join(reason.text for reason in decision.trace)
    assert "Of the roles held (builder), none includes environment.deploy." in texts


def test_an_allowance_names_the_rule_that_decided_and_asks_no_further(acme: Inhabited) -> None:
    development = Environment.objects.get(slug="development")
    by_role = decide(acme.actor("owner"), "environment.deploy", development)
    assert (by_role.trace[-1].rule, by_role.explanation) == ("role", "The role owner includes environment.deploy.")
    by_grant = decide(acme.actor("builder"), "environment.deploy", development)
    assert by_grant.trace[-1].rule == "object-grant"
    assert "role builder was granted environment.deploy" in by_grant.explanation


def test_the_tester_and_the_enforcer_are_one(acme: Inhabited) -> None:
    """What a button says and what the command does come from the same answer."""
    agent = _agent("one")
    for role, user in acme.users.items():
        asked = may(acme.actor(role), "agent.delete", agent)
        if asked.allowed:
            agents.delete(actor=acme.actor(role), agent=agent)
            agents.restore(actor=SYSTEM, agent=agent)
            continue
        with pytest.raises(Denied) as refusal:
            agents.delete(actor=acme.actor(role), agent=agent)
        assert refusal.value.decision == asked
        assert user.email in asked.explanation


def _agent(slug: str) -> Agent:
    return agents.create(actor=SYSTEM, slug=slug, definition=Definition(name=slug, instructions="Say hello."))


class TestStrangers:
    """Whoever is not known in this schema is nobody in it."""

    def test_nobody(self, acme: Inhabited) -> None:
        decision = decide(Actor.anonymous(), "agent.view")
        assert (decision.allowed, decision.explanation) == (False, "Nobody is signed in.")

    def test_a_member_of_another_organization(self, acme: Inhabited, globex: Inhabited) -> None:
        decision = decide(globex.actor("owner"), "agent.view")
        assert not decision.allowed
        assert "not a member of this organization" in decision.explanation
        assert not visible(User.objects.all(), globex.actor("owner"), "user.view").exists()

    def test_a_deactivated_member(self, acme: Inhabited) -> None:
        actor = acme.actor("owner")
        assert actor.user is not None
        actor.user.is_active = False
        assert "deactivated" in decide(actor, "agent.view").explanation
        assert not visible(User.objects.all(), actor, "user.view").exists()

    def test_a_superuser_of_an_organization_is_only_what_his_role_is(self, acme: Inhabited) -> None:
        """Django's flag opens nothing here: only roles and grants do."""
        User.objects.filter(pk=acme.users["viewer"].pk).update(is_superuser=True, is_staff=True)
        actor = Actor.of(User.objects.get(pk=acme.users["viewer"].pk))
        assert not decide(actor, "agent.create").allowed
        assert not decide(Actor.operator(actor.user), "agent.create").allowed  # type: ignore[arg-type]
        pretended = Actor.operator(actor.user)  # type: ignore[arg-type]
        with public():
            assert not decide(pretended, "organization.suspend", acme.organization).allowed


class TestOperators:
    """Operators work on the installation and have no way into an organization."""

    @pytest.fixture
    def operator(self, acme: Inhabited) -> User:
        with public():
            return User.objects.create_superuser("operator@kaizen.example", "a long enough passphrase")

    def _actor(self, operator: User) -> Actor:
        with public():
            return Actor.operator(operator)

    def test_they_suspend_and_restore(self, acme: Inhabited, operator: User) -> None:
        with public():
            suspend(actor=self._actor(operator), organization=acme.organization, reason="unpaid")
            restore(actor=self._actor(operator), organization=acme.organization)

    def test_they_are_strangers_inside(self, acme: Inhabited, operator: User) -> None:
        decision = decide(self._actor(operator), "agent.view")
        assert not decision.allowed
        assert not visible(User.objects.all(), self._actor(operator), "user.view").exists()

    @pytest.mark.parametrize("flag", ["is_active", "is_superuser"])
    def test_without_their_flags_they_are_nobody(self, acme: Inhabited, operator: User, flag: str) -> None:
        with public():
            setattr(operator, flag, False)
            operator.save()
            with pytest.raises(Denied):
                suspend(actor=self._actor(operator), organization=acme.organization, reason="unpaid")

    def test_an_owner_of_an_organization_holds_no_operators_actions(self, acme: Inhabited) -> None:
        """The owner's role covers every action there is; what lives in public must not be among them."""
        for action in ("organization.suspend", "organization.restore", "organization.create"):
            assert not decide(acme.actor("owner"), action, acme.organization).allowed
        assert not Permission.objects.filter(codename__startswith="organization.").exists()
        with pytest.raises(Denied):
            suspend(actor=acme.actor("owner"), organization=acme.organization, reason="mine")

    def test_operators_roles_grant_nothing_in_public(self, acme: Inhabited) -> None:
        with public():
            assert Permission.objects.filter(codename="organization.suspend").exists()
            assert not Permission.objects.filter(codename__startswith="agent.").exists()


def test_studio_acts_for_itself_and_the_trace_says_so(acme: Inhabited) -> None:
    decision = decide(SYSTEM, "agent.publish", _agent("one"))
    assert (decision.allowed, decision.trace[0].rule) == (True, "system")
    assert visible(Agent.objects.all(), SYSTEM, "agent.view").count() == 1


class TestOneself:
    """What everybody may do to himself."""

    def test_a_profile_and_tokens_of_ones_own(self, acme: Inhabited) -> None:
        viewer, other = acme.users["viewer"], acme.users["builder"]
        actor = acme.actor("viewer")
        assert decide(actor, "user.update-profile", viewer).trace[-1].rule == "own"
        assert not decide(actor, "user.update-profile", other).allowed
        assert decide(actor, "api-token.create", viewer).allowed
        assert not decide(actor, "api-token.create", other).allowed

    def test_a_token_belongs_to_its_user(self, acme: Inhabited) -> None:
        token, _ = create_token(actor=acme.actor("builder"), user=acme.users["builder"], name="ci")
        assert decide(acme.actor("builder"), "api-token.revoke", token).allowed
        assert not decide(acme.actor("viewer"), "api-token.revoke", token).allowed

    def test_other_actions_are_not_ones_own(self, acme: Inhabited) -> None:
        assert not decide(acme.actor("viewer"), "user.change-role", acme.users["viewer"]).allowed
        assert not decide(acme.actor("viewer"), "user.deactivate", acme.users["viewer"]).allowed


class TestGrants:
    """Rights on single objects, through guardian, to a person or a role."""

    def test_to_a_person_and_taken_back(self, acme: Inhabited) -> None:
        production = Environment.objects.get(slug="production")
        builder, actor = acme.users["builder"], acme.actor("builder")
        permission = _permission("environment.deploy", Environment)

        assign_perm(permission, builder, production)
        decision = decide(actor, "environment.deploy", production)
        assert decision.allowed
        assert "builder@acme.example was granted environment.deploy" in decision.explanation
        assert not decide(actor, "environment.deploy", Environment.objects.get(slug="staging")).allowed

        UserObjectPermission.objects.filter(user=builder, permission=permission).delete()
        assert not decide(actor, "environment.deploy", production).allowed

    def test_on_an_environment_they_cover_what_is_in_it(self, acme: Inhabited) -> None:
        agent = _agent("one")
        here, there = (
            Deployment.objects.create(
                agent=agent, environment=Environment.objects.get(slug=slug), registration=f"one-{slug}"
            )
            for slug in ("development", "production")
        )
        actor = acme.actor("builder")
        assert decide(actor, "deployment.rollback", here).trace[-1].rule == "object-grant"
        assert not decide(actor, "deployment.rollback", there).allowed

    def test_a_grant_on_one_kind_of_object_means_nothing_on_another_with_the_same_key(self, acme: Inhabited) -> None:
        """Grants name the kind of object besides its key."""
        agent = _agent("one")
        twin = Environment.objects.create(id=agent.pk, slug="twin", name="Twin", order=9)
        assign_perm(_permission("agent.publish", Agent), acme.users["viewer"], agent)
        assert decide(acme.actor("viewer"), "agent.publish", agent).allowed
        assert not decide(acme.actor("viewer"), "agent.publish", twin).allowed

    def test_of_one_organization_they_mean_nothing_in_another(self, acme: Inhabited, globex: Inhabited) -> None:
        """Also where numbers of content types differ between schemas and were cached for another one."""
        production = Environment.objects.get(slug="production")
        assign_perm(_permission("environment.deploy", Environment), acme.users["builder"], production)
        with globex.inside():
            ContentType.objects.get_for_model(Environment)
            theirs = Environment.objects.get(slug="production")
            assert not decide(globex.actor("builder"), "environment.deploy", theirs).allowed
        assert decide(acme.actor("builder"), "environment.deploy", production).allowed


def _permission(action: str, model: Any) -> Permission:
    return Permission.objects.get(codename=action, content_type=ContentType.objects.get_for_model(model))


class TestVisible:
    """Lists hold what the actor may see, filtered by the database."""

    @pytest.fixture(autouse=True)
    def _no_role(self, acme: Inhabited) -> None:
        """The viewer loses the role, so that only grants are left."""
        acme.users["viewer"].groups.clear()

    def _seen(self, acme: Inhabited, model: Any, action: str) -> set[str]:
        return {str(row) for row in visible(model.objects.all(), acme.actor("viewer"), action)}

    def test_without_role_and_grant_nothing(self, acme: Inhabited) -> None:
        _agent("one")
        assert self._seen(acme, Agent, "agent.view") == set()
        assert acme.api("viewer").get("/agents/").json()["results"] == []
        assert acme.client("viewer").get("/agents/").status_code == 403

    def test_with_a_grant_that_object(self, acme: Inhabited) -> None:
        one, _two = _agent("one"), _agent("two")
        assign_perm(_permission("agent.view", Agent), acme.users["viewer"], one)
        assert {row.slug for row in visible(Agent.objects.all(), acme.actor("viewer"), "agent.view")} == {"one"}
        api = acme.api("viewer")
        assert [row["slug"] for row in api.get("/agents/").json()["results"]] == ["one"]
        assert (api.get("/agents/one/").status_code, api.get("/agents/two/").status_code) == (200, 404)

    def test_with_a_grant_on_the_environment_what_is_in_it(self, acme: Inhabited) -> None:
        development, production = (Environment.objects.get(slug=slug) for slug in ("development", "production"))
        for number, environment in enumerate((development, production)):
            Gateway.objects.create(
                environment=environment, name=f"eu-{number}", address=f"http://127.0.0.1:{number + 9}"
            )
        assign_perm(_permission("gateway.view", Environment), acme.users["viewer"], development)
        assert {row.name for row in visible(Gateway.objects.all(), acme.actor("viewer"), "gateway.view")} == {"eu-0"}

    def test_through_a_role_that_was_granted_it(self, acme: Inhabited) -> None:
        group = Group.objects.create(name="auditors")
        acme.users["viewer"].groups.add(group)
        one = _agent("one")
        _agent("two")
        assign_perm(_permission("agent.view", Agent), group, one)
        assert {row.slug for row in visible(Agent.objects.all(), acme.actor("viewer"), "agent.view")} == {"one"}

    def test_ones_own_tokens(self, acme: Inhabited) -> None:
        mine, _ = create_token(actor=acme.actor("viewer"), user=acme.users["viewer"], name="mine")
        create_token(actor=acme.actor("builder"), user=acme.users["builder"], name="other")
        assert list(visible(ApiToken.objects.all(), acme.actor("viewer"), "api-token.view")) == [mine]

    def test_in_as_many_queries_for_many_rows_as_for_few(self, acme: Inhabited) -> None:
        def count() -> int:
            with CaptureQueriesContext(
                connection,
            ) as queries:
                list(visible(Agent.objects.all(), acme.actor("viewer"), "agent.view"))
            return len(queries)

        permission = _permission("agent.view", Agent)
        assign_perm(permission, acme.users["viewer"], _agent("agent-0"))
        few = count()
        for number in range(1, 20):
            assign_perm(permission, acme.users["viewer"], _agent(f"agent-{number}"))
        assert count() == few <= 6
        assert len(visible(Agent.objects.all(), acme.actor("viewer"), "agent.view")) == 20


class TestSync:
    """The rows behind the roles follow the code."""

    def test_it_is_idempotent(self, acme: Inhabited) -> None:
        def rows() -> Any:
            return (
                set(Permission.objects.values_list("codename", "content_type__model")),
                {group.name: set(group.permissions.values_list("pk", flat=True)) for group in Group.objects.all()},
            )

        before = rows()
        sync()
        assert rows() == before

    def test_a_new_command_is_part_of_the_right_roles_without_another_list(self, acme: Inhabited) -> None:
        try:
            _register("agent.polish")
            sync()
            assert _allowed(acme, "agent.polish") == {"owner", "admin", "builder"}
        finally:
            registry.pop("agent.polish")
        sync()
        assert _allowed(acme, "agent.polish") == set(), "and a command that is gone leaves nothing behind"
        assert not Permission.objects.filter(codename="agent.polish").exists()

    def test_a_grant_that_somebody_added_to_a_builtin_role_does_not_stay(self, acme: Inhabited) -> None:
        viewer = Group.objects.get(name="viewer")
        viewer.permissions.add(_permission("agent.delete", Agent))
        sync()
        assert not decide(acme.actor("viewer"), "agent.delete").allowed

    def test_a_role_of_ones_own_is_left_alone(self, acme: Inhabited) -> None:
        auditors = Group.objects.create(name="auditors")
        auditors.permissions.add(_permission("agent.delete", Agent))
        sync()
        assert auditors.permissions.count() == 1

    def test_grants_on_environments_follow_the_roles_both_ways(
        self, acme: Inhabited, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        production, development = (Environment.objects.get(slug=slug) for slug in ("production", "development"))
        narrower = replace(roles.ROLES["builder"], on_environments={"production": ("environment.deploy",)})
        monkeypatch.setitem(roles.ROLES, "builder", narrower)

        for environment in (production, development):
            grant_on_environment(environment, environment.slug)

        builder, approver = acme.actor("builder"), acme.actor("approver")
        assert decide(builder, "environment.deploy", production).allowed
        assert not decide(builder, "environment.deploy", development).allowed, "a right that a role lost is gone"
        assert decide(approver, "environment.deploy", development).allowed, "and the others' stay"

    def test_a_persons_own_grant_on_an_environment_is_left_alone(self, acme: Inhabited) -> None:
        production = Environment.objects.get(slug="production")
        assign_perm(_permission("environment.deploy", Environment), acme.users["viewer"], production)
        grant_on_environment(production, "production")
        assert decide(acme.actor("viewer"), "environment.deploy", production).allowed


def _register(action: str) -> Callable[..., Any]:
    @command(action)
    def polish(*, actor: Actor) -> None:
        """Only for its name."""

    return polish
