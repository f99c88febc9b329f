"""Members and their roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from apps.accounts.mail import send_welcome
from apps.accounts.models import User
from apps.core.commands import command, note, require
from apps.core.errors import Conflict, Invalid
from apps.core.live import recheck_access

if TYPE_CHECKING:
    from apps.core.actors import Actor

OWNER = "owner"


@command("user.create")
def create_user(*, actor: Actor, email: str, role: str, name: str = "", password: str | None = None) -> User:
    """Make a member. Without a password the member sets one by mail.

    Raises:
        Invalid: the address or password is not acceptable, or there is no such role.
        Conflict: the address is a member already.
    """
    email, name = email.strip().lower(), name.strip()
    _check(email, role, name, password)
    if role == OWNER:
        require(actor, "user.grant-ownership")
    try:
        with transaction.atomic():
            user = User.objects.create_user(email, password, name=name)
    except IntegrityError:
        raise Conflict(f"{email} is a member already.") from None
    # Whoever makes the member vouches for the address, and the first mail goes to it.
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    user.groups.set([_group(role)])
    note(role=role)
    if password is None:
        transaction.on_commit(lambda: send_welcome(user), robust=True)
    return user


@command("user.change-role", on="user")
def change_role(*, actor: Actor, user: User, role: str) -> User:
    """Give a member another role.

    Raises:
        Invalid: there is no such role.
        Conflict: the organization would be left without an owner.
    """
    group = _group(role)
    before = sorted(user.groups.values_list("name", flat=True))
    if OWNER in (role, *before):
        require(actor, "user.grant-ownership")
    if role != OWNER:
        _keep_an_owner(user)
    user.groups.set([group])
    note(role=[before, [role]])
    recheck_access()
    return user


@command("user.grant-ownership", on="user")
def grant_ownership(*, actor: Actor, user: User) -> User:
    """Make a member an owner."""
    before = sorted(user.groups.values_list("name", flat=True))
    user.groups.set([_group(OWNER)])
    note(role=[before, [OWNER]])
    return user


@command("user.deactivate", on="user")
def deactivate(*, actor: Actor, user: User) -> User:
    """End a member's access: sign-in, sessions and tokens stop working at once.

    Raises:
        Conflict: the member is the last owner.
    """
    _require_power_over(actor, user)
    _keep_an_owner(user)
    user.is_active = False
    user.save(update_fields=["is_active"])
    recheck_access()
    return user


@command("user.reactivate", on="user")
def reactivate(*, actor: Actor, user: User) -> User:
    """Let a deactivated member in again."""
    _require_power_over(actor, user)
    user.is_active = True
    user.save(update_fields=["is_active"])
    return user


@command("user.update-profile", on="user")
def update_profile(*, actor: Actor, user: User, name: str) -> User:
    """Change how a member is called.

    Raises:
        Invalid: the name is too long.
    """
    name = name.strip()
    if fields := _name_problems(name):
        raise Invalid(fields=fields)
    user.name = name
    user.save(update_fields=["name"])
    return user


def _check(email: str, role: str, name: str, password: str | None) -> None:
    fields = _name_problems(name)
    try:
        validate_email(email)
    except ValidationError as error:
        fields["email"] = list(error.messages)
    if len(email) > _longest("email"):
        fields["email"] = [f"An email address has at most {_longest('email')} characters."]
    if password is not None:
        try:
            validate_password(password, User(email=email))
        except ValidationError as error:
            fields["password"] = list(error.messages)
    if not Group.objects.filter(name=role).exists():
        fields["role"] = [f"There is no role “{role}”."]
    if fields:
        raise Invalid(fields=fields)


def _name_problems(name: str) -> dict[str, list[str]]:
    too_long = len(name) > _longest("name")
    return {"name": [f"Use at most {_longest('name')} characters."]} if too_long else {}


def _longest(field: str) -> int:
    return int(getattr(User._meta.get_field(field), "max_length", 0) or 0)


def _require_power_over(actor: Actor, user: User) -> None:
    """Closing an owner out is unmaking an owner, and letting one in is making one."""
    if user.groups.filter(name=OWNER).exists():
        require(actor, "user.grant-ownership")


def _group(role: str) -> Group:
    group = Group.objects.filter(name=role).first()
    if group is None:
        raise Invalid(fields={"role": [f"There is no role “{role}”."]})
    return group


def _keep_an_owner(user: User) -> None:
    # The owner group's row is locked, so that two owners cannot unmake each other at the same moment.
    Group.objects.select_for_update().get(name=OWNER)
    owners = User.objects.filter(groups__name=OWNER, is_active=True)
    if owners.filter(pk=user.pk).exists() and not owners.exclude(pk=user.pk).exists():
        raise Conflict(f"{user} is the last owner; make somebody else an owner first.")
