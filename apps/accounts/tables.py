"""Tables of members and tokens."""

from __future__ import annotations

import django_tables2 as tables

from apps.accounts.models import ApiToken, User
from apps.core.pages import ActionButton
from apps.core.tables import ActionsColumn, StatusColumn, Table, TimeColumn

CHANGE_ROLE = ActionButton(
    "Change role", icon="shield-check", url="accounts:change-role", action="user.change-role", method="dialog"
)
DEACTIVATE = ActionButton(
    "Deactivate",
    icon="user-off",
    url="accounts:deactivate",
    action="user.deactivate",
    method="dialog",
    style="danger",
    when=lambda user: None if user.is_active else "Deactivated already",
)
REACTIVATE = ActionButton(
    "Reactivate",
    icon="user-check",
    url="accounts:reactivate",
    action="user.reactivate",
    method="post",
    when=lambda user: "Active" if user.is_active else None,
)
REVOKE = ActionButton(
    "Revoke",
    icon="ban",
    url="accounts:revoke-token",
    action="api-token.revoke",
    method="dialog",
    style="danger",
    when=lambda token: "Revoked already" if token.revoked_at else None,
)


class MemberTable(Table):
    """Who belongs to the organization."""

    email = tables.Column(verbose_name="Member")
    name = tables.Column()
    role = tables.Column()
    status = StatusColumn(accessor="is_active", reason="status_reason", order_by="is_active")
    last_login = TimeColumn(verbose_name="Last sign-in")
    menu = ActionsColumn([CHANGE_ROLE, DEACTIVATE, REACTIVATE], on="member-row")

    class Meta(Table.Meta):
        model = User
        fields = ("email", "name", "role", "status", "last_login")

    def render_status(self, record: User) -> str:
        from apps.core.statuses import badge

        return badge("active", "") if record.is_active else badge("inactive", "deactivated")


class TokenTable(Table):
    """One's own API tokens."""

    name = tables.Column()
    public_id = tables.Column(verbose_name="Begins with")
    created_at = TimeColumn(verbose_name="Created")
    last_used_at = TimeColumn(verbose_name="Last used")
    expires_at = TimeColumn(verbose_name="Expires")
    revoked_at = TimeColumn(verbose_name="Revoked")
    menu = ActionsColumn([REVOKE])

    class Meta(Table.Meta):
        model = ApiToken
        fields = ("name", "public_id", "created_at", "last_used_at", "expires_at", "revoked_at")

    def render_public_id(self, value: str) -> str:
        return f"kzs_…_{value}"
