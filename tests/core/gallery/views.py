"""Pages on real models and commands; only the declarations differ from an app's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_tables2 as tables
from django import forms
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from apps.accounts import commands
from apps.accounts.models import ApiToken, User
from apps.core.actors import Actor
from apps.core.commands import require
from apps.core.forms import CodeTextarea, SwitchInput
from apps.core.live import fragment
from apps.core.pages import (
    ActionButton,
    CommandPage,
    ConfirmPage,
    DetailPage,
    EmptyState,
    FilterSet,
    FlagFilter,
    ListPage,
    Page,
    PostPage,
    SearchFilter,
    Tab,
)
from apps.core.tables import ActionsColumn, LinkColumn, NumberColumn, StatusColumn, Table, TimeColumn


class Person(User):
    """A member with a page of its own, as an app's model would have it."""

    class Meta:
        proxy = True
        app_label = "accounts"
        ordering = ["email"]

    @property
    def state(self) -> str:
        return "active" if self.is_active else "inactive"

    @property
    def state_reason(self) -> str:
        return "" if self.is_active else "deactivated by an administrator"

    def get_absolute_url(self) -> str:
        return reverse("gallery:person", kwargs={"pk": self.pk})


INVITE = ActionButton("New member", "plus", "gallery:invite", action="user.create", style="primary")
RENAME = ActionButton("Rename", "pencil", "gallery:rename", action="user.update-profile", method="dialog")
DEACTIVATE = ActionButton(
    "Deactivate",
    "user-off",
    "gallery:deactivate",
    action="user.deactivate",
    style="danger",
    method="dialog",
    when=lambda person: None if person.is_active else "Already deactivated",
)
REACTIVATE = ActionButton(
    "Reactivate",
    "user-check",
    "gallery:reactivate",
    action="user.reactivate",
    method="post",
    when=lambda person: "Is active" if person.is_active else None,
)


class PersonTable(Table):
    name = LinkColumn(accessor="get_full_name", order_by=("name", "email"), detail="email", verbose_name="Member")
    state = StatusColumn(reason="state_reason", order_by="is_active", verbose_name="Status")
    tokens = NumberColumn(accessor="api_tokens__count", verbose_name="Tokens", orderable=False)
    last_login = TimeColumn(verbose_name="Last sign-in")
    menu = ActionsColumn([RENAME, DEACTIVATE, REACTIVATE])

    class Meta(Table.Meta):
        model = Person
        fields = ("name", "state", "tokens", "last_login")
        order_by = "name"


class PersonFilter(FilterSet):
    search = SearchFilter(fields=["email", "name"], placeholder="Search members")
    is_active = FlagFilter(yes="active", no="inactive", label="Status")

    class Meta:
        model = Person
        fields = ["is_active"]


class PersonList(ListPage):
    title = "Members"
    action = "user.view"
    queryset = Person.objects.all()
    table = PersonTable
    filters = PersonFilter
    actions = [INVITE]
    per_page = 5
    empty = EmptyState("No members yet", "Invite the first.", icon="users", action=INVITE)


class TokenTable(Table):
    name = tables.Column()
    created_at = TimeColumn(verbose_name="Made")

    class Meta(Table.Meta):
        model = ApiToken
        fields = ("name", "created_at")
        empty_text = "No tokens."


def _tokens(page: DetailPage) -> dict[str, Any]:
    return {"table": page.tabulate(TokenTable, page.object.api_tokens.all())}


class PersonDetail(DetailPage):
    action = "user.view"
    queryset = Person.objects.all()
    trail = [("Members", "gallery:people")]
    panels = "person"
    actions = [RENAME, DEACTIVATE]
    tabs = [
        Tab("overview", "Overview", "gallery/person.html"),
        Tab("tokens", "Tokens", "gallery/tokens.html", context=_tokens, count=lambda person: person.api_tokens.count()),
    ]

    def status(self) -> tuple[str, str]:
        return self.object.state, self.object.state_reason


class InviteForm(forms.Form):
    email = forms.EmailField(help_text="A mail with a link to set a password goes there.")
    name = forms.CharField(required=False, max_length=120)
    role = forms.ChoiceField(choices=[(name, name) for name in ("builder", "viewer", "nobody")])


class Invite(CommandPage):
    action = "user.view"
    command = commands.create_user
    form_class = InviteForm
    title = "New member"
    submit = "Create member"
    success = "{result.email} is a member now."
    trail = [("Members", "gallery:people")]


class RenameForm(forms.Form):
    name = forms.CharField(max_length=120)


class Rename(CommandPage):
    action = "user.view"
    queryset = Person.objects.all()
    command = commands.update_profile
    form_class = RenameForm
    title = "Rename {object}"
    success = "Renamed to {result.name}."
    trail = [("Members", "gallery:people")]


class Deactivate(ConfirmPage):
    action = "user.view"
    queryset = Person.objects.all()
    command = commands.deactivate
    title = "Deactivate {object}"
    question = "{object} is signed out everywhere, and API tokens stop working at once."
    consequence = "You can reactivate the account later."
    submit = "Deactivate"
    typed = "email"
    danger = True
    trail = [("Members", "gallery:people")]


class Reactivate(PostPage):
    action = "user.view"
    queryset = Person.objects.all()
    command = commands.reactivate
    success = "{object} may sign in again."
    trail = [("Members", "gallery:people")]


class TokenForm(forms.Form):
    name = forms.CharField(max_length=80)
    expires_at = forms.DateTimeField(required=False)


class MakeToken(CommandPage):
    command = commands.create_token
    form_class = TokenForm
    title = "New API token"
    submit = "Create token"

    def arguments(self, form: forms.Form) -> dict[str, Any]:
        return {**form.cleaned_data, "user": self.actor.user}

    def respond(self, result: Any) -> HttpResponse:
        token, text = result
        return self.show_secret(
            str(text), title=f"Token “{token}”", warning="It is shown this once and stored nowhere."
        )


class ManyFieldsForm(forms.Form):
    name = forms.CharField(max_length=40, help_text="What people call it.")
    instructions = forms.CharField(widget=forms.Textarea, required=False)
    schema = forms.CharField(widget=CodeTextarea, required=False, initial='{"type": "object"}')
    profile = forms.ChoiceField(choices=[("default", "default"), ("fast", "fast")])
    memory = forms.BooleanField(widget=SwitchInput, required=False, help_text="Remember earlier turns of a session.")
    environments = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple, choices=[("dev", "development"), ("prod", "production")]
    )


class Components(Page):
    title = "Components"
    template_name = "gallery/components.html"
    actions = [INVITE]
    subtitle = "Everything that a page is made of"

    def context(self) -> dict[str, Any]:
        start = int(timezone.now().timestamp()) // 3600 * 3600 - 23 * 3600
        wave = [max(0, round(40 + 30 * ((hour * 7) % 11 - 5) / 5)) for hour in range(24)]
        return {
            **super().context(),
            "now": timezone.now(),
            "earlier": timezone.now() - timedelta(hours=3),
            "digest": "sha256:" + "9f86d081884c7d65" * 4,
            "document": {"name": "support", "limits": {"timeout_s": 30, "max_tokens": None}, "tags": ["a", True, 1.5]},
            "old": {
                "instructions": "You are kind.\nAnswer in one sentence.\nNever guess.",
                "temperature": 0.2,
                "memory": False,
            },
            "new": {
                "instructions": "You are kind and precise.\nAnswer in two sentences.\nNever guess.\nSay when unsure.",
                "temperature": 0.2,
                "memory": True,
            },
            "buttons": [INVITE],
            "form": ManyFieldsForm({"name": "x" * 50, "profile": "fast"}),
            "figures": {
                "times": [start + hour * 3600 for hour in range(24)],
                "stacked": True,
                "series": [
                    {"label": "succeeded", "values": wave, "color": "green", "kind": "bars", "total": sum(wave)},
                    {"label": "failed", "values": [value // 9 for value in wave], "color": "red", "kind": "bars"},
                ],
            },
            "latency": {
                "times": [start + hour * 3600 for hour in range(24)],
                "unit": "ms",
                "series": [
                    {"label": "p50", "values": [120 + value for value in wave], "color": "blue"},
                    {
                        "label": "p95",
                        "values": [420 + 9 * value if value % 5 else None for value in wave],
                        "color": "purple",
                    },
                ],
            },
        }


@fragment("gallery-person", listens_to=("user",))
def person_fragment(actor: Actor, identifier: str) -> str:
    """A member as others see it change."""
    person = Person.objects.get(pk=identifier)
    require(actor, "user.view", person)
    return render_to_string("gallery/person_live.html", {"object": person})


class Watched(DetailPage):
    action = "user.view"
    queryset = Person.objects.all()
    template_name = "gallery/watched.html"


class Talk(Page):
    title = "Playground"
    template_name = "gallery/talk.html"
