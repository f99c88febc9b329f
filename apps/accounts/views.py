"""Pages about members, one's own profile and API tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse

from apps.accounts import commands
from apps.accounts.filters import MemberFilter, TokenFilter
from apps.accounts.forms import MemberForm, ProfileForm, RoleForm, TokenForm
from apps.accounts.models import ApiToken, User
from apps.accounts.queries import members
from apps.accounts.tables import MemberTable, TokenTable
from apps.core import navigation
from apps.core.pages import ActionButton, CommandPage, ConfirmPage, EmptyState, ListPage, PostPage

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpResponse

ADD = ActionButton("Add member", icon="user-plus", url="accounts:add", action="user.create", style="primary")
NEW_TOKEN = ActionButton("New token", icon="plus", url="accounts:new-token", style="primary")


@navigation.entry("Members", icon="users", section="Govern", order=20, url="accounts:members", shortcut="m")
class MemberList(ListPage):
    """Who belongs to the organization, and in which role."""

    title = "Members"
    action = "user.view"
    queryset = members()
    table = MemberTable
    filters = MemberFilter
    actions = [ADD]
    empty = EmptyState("No members", "Add the people who work with you.", icon="users", action=ADD)


class MemberAdd(CommandPage):
    """A new member."""

    command = commands.create_user
    form_class = MemberForm
    title = "Add a member"
    submit = "Add member"
    success = "{result} is a member now. A link to set a password was sent."
    trail = [("Members", "accounts:members")]


class MemberChangeRole(CommandPage):
    """Another role for a member."""

    action = "user.view"
    queryset = members()
    command = commands.change_role
    form_class = RoleForm
    title = "Change the role of {object}"
    success = "{object} has another role now."
    trail = [("Members", "accounts:members")]


class MemberDeactivate(ConfirmPage):
    """End a member's access."""

    action = "user.view"
    queryset = User.objects.all()
    command = commands.deactivate
    title = "Deactivate {object}"
    question = "Deactivate {object}?"
    consequence = "Sign-in, open sessions and API tokens of this member stop working at once. You can reactivate later."
    submit = "Deactivate"
    danger = True
    success = "{object} is deactivated."
    trail = [("Members", "accounts:members")]


class MemberReactivate(PostPage):
    """Let a member in again."""

    action = "user.view"
    queryset = User.objects.all()
    command = commands.reactivate
    success = "{object} is active again."
    trail = [("Members", "accounts:members")]


@navigation.entry("Profile", icon="user", section="Account", order=10, url="accounts:profile")
class Profile(CommandPage):
    """One's own name."""

    queryset = User.objects.all()
    command = commands.update_profile
    form_class = ProfileForm
    title = "Profile"
    success = "Saved."

    def get_object(self) -> User:
        assert self.actor.user is not None
        return self.actor.user

    def success_url(self, result: Any) -> str:
        return reverse("accounts:profile")


@navigation.entry("API tokens", icon="key", section="Account", order=20, url="accounts:tokens")
class TokenList(ListPage):
    """One's own tokens. They act as oneself."""

    title = "API tokens"
    subtitle = "A token acts as you, with your role, on this organization's API."
    queryset = ApiToken.objects.all()
    table = TokenTable
    filters = TokenFilter
    actions = [NEW_TOKEN]
    empty = EmptyState(
        "No tokens yet", "Make one for each program that uses the API on your behalf.", icon="key", action=NEW_TOKEN
    )

    def get_queryset(self) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(user_id=self.actor.id)


class TokenCreate(CommandPage):
    """A new token, shown once."""

    queryset = User.objects.all()
    command = commands.create_token
    form_class = TokenForm
    title = "New API token"
    submit = "Create token"
    trail = [("API tokens", "accounts:tokens")]

    def get_object(self) -> User:
        assert self.actor.user is not None
        return self.actor.user

    def initial(self, shown: Any) -> dict[str, Any]:
        return {}

    def respond(self, result: Any) -> HttpResponse:
        token, text = result
        return self.show_secret(
            str(text),
            title=f"Token “{token}”",
            warning="Copy it now. Studio keeps only a hash and cannot show it again.",
            then=reverse("accounts:tokens"),
        )


class TokenRevoke(ConfirmPage):
    """End a token."""

    queryset = ApiToken.objects.all()
    command = commands.revoke_token
    title = "Revoke {object}"
    question = "Revoke the token “{object}”?"
    consequence = "Whatever uses it is refused from now on. This cannot be undone."
    submit = "Revoke"
    danger = True
    success = "The token “{object}” is revoked."
    trail = [("API tokens", "accounts:tokens")]

    def get_queryset(self) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(user_id=self.actor.id)
