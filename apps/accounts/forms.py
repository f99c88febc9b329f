"""Forms about members, tokens and one's own profile."""

from __future__ import annotations

from typing import Any

from django import forms

from apps.accounts.queries import role_choices


class RoleForm(forms.Form):
    """Which role a member has."""

    role = forms.ChoiceField(help_text="What the member may do. Roles are explained in the documentation.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = role_choices()  # type: ignore[attr-defined]


class MemberForm(RoleForm):
    """A new member."""

    email = forms.EmailField(label="Email address", help_text="A link to set a password is sent there.")
    name = forms.CharField(required=False, max_length=120)
    field_order = ("email", "name", "role")


class ProfileForm(forms.Form):
    """How one is called."""

    name = forms.CharField(
        required=False, max_length=120, help_text="Shown to other members beside your email address."
    )


class TokenForm(forms.Form):
    """A new API token of one's own."""

    name = forms.CharField(max_length=80, help_text="What will use it, so that you know later what revoking it breaks.")
    expires_at = forms.DateTimeField(
        label="Expires",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"],
        help_text="In UTC. Leave empty for a token that lives until it is revoked.",
    )
