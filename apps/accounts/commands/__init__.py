"""Changes to people, their roles and tokens, and the founding of organizations."""

from apps.accounts.commands.organizations import check_new_organization, create_organization, found
from apps.accounts.commands.tokens import create_token, revoke_token
from apps.accounts.commands.users import (
    change_role,
    create_user,
    deactivate,
    grant_ownership,
    reactivate,
    update_profile,
)

__all__ = [
    "change_role",
    "check_new_organization",
    "create_organization",
    "create_token",
    "create_user",
    "deactivate",
    "found",
    "grant_ownership",
    "reactivate",
    "revoke_token",
    "update_profile",
]
