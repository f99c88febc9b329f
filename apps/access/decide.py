"""The one decision function. Nothing else in the product answers whether somebody may do something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, Q, QuerySet
from guardian.models import GroupObjectPermission, UserObjectPermission

from apps.access.roles import PERSONAL_ACTIONS, ROLES
from apps.accounts.models import User
from apps.core.decisions import Decision, Reason
from apps.core.permissions import remembered
from apps.core.resources import type_of
from apps.core.tenancy import current_schema, in_public

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from apps.core.actors import Actor


def decide(
    actor: Actor, action: str, resource: Model | None = None, context: Mapping[str, Any] | None = None
) -> Decision:
    """Whether `actor` may do `action` on `resource`, with the trace of every rule asked. Deny by default.

    Args:
        resource: None asks for the whole collection (creating, listing).
        context: the command's arguments; rules about circumstances read it.
    """
    trace: list[Reason] = []
    for reason in _rules(actor, action, resource):
        trace.append(reason)
        if reason.effect != "none":
            return Decision(reason.effect == "allow", action, _name(action, resource), tuple(trace))
    trace.append(Reason("default", "deny", _what_is_missing(actor, action, resource)))
    return Decision(allowed=False, action=action, resource=_name(action, resource), trace=tuple(trace))


def _rules(actor: Actor, action: str, resource: Model | None) -> Iterator[Reason]:
    """The rules in order; the first that does not say `none` decides."""
    yield _system(actor)
    yield _operator(actor)
    user = actor.user
    if user is None or actor.kind != "user":
        yield Reason("member", "deny", "Nobody is signed in.")
        return
    if actor.schema != current_schema():
        yield Reason("member", "deny", f"{actor.label} is not a member of this organization.")
        return
    if not user.is_active:
        yield Reason("member", "deny", f"{user.email} is deactivated.")
        return
    yield _personal(user, action, resource)
    yield _role(user, action)
    for scope in scopes_of(resource):
        yield _object_grant(user, action, scope)


def _system(actor: Actor) -> Reason:
    if actor.kind == "system":
        return Reason("system", "allow", "Studio acts for itself.")
    return Reason("system", "none", "Not Studio itself.")


def _operator(actor: Actor) -> Reason:
    user = actor.user
    known = actor.kind == "operator" and in_public() and actor.schema == current_schema()
    if known and user is not None and user.is_active and user.is_superuser:
        return Reason("operator", "allow", f"{actor.label} operates this installation.")
    return Reason("operator", "none", "Not an operator.")


def _personal(user: User, action: str, resource: Model | None) -> Reason:
    owner = resource.pk if isinstance(resource, User) else getattr(resource, "user_id", None)
    if action in PERSONAL_ACTIONS and (resource is None or owner == user.pk):
        return Reason("own", "allow", "Everybody may do this to what is his own.")
    return Reason("own", "none", "Not about the actor's own account.")


def _role(user: User, action: str) -> Reason:
    roles = remembered(("roles", user.pk), lambda: _roles_of(user))
    role = next((name for name, actions in roles.items() if action in actions), None)
    if role is not None:
        return Reason("role", "allow", f"The role {role} includes {action}.")
    return Reason("role", "none", f"Of the roles held ({', '.join(roles) or 'no role'}), none includes {action}.")


def _roles_of(user: User) -> dict[str, set[str]]:
    """The actions of each role that the user holds."""
    roles: dict[str, set[str]] = {}
    for name, action in user.groups.order_by("name").values_list("name", "permissions__codename"):
        roles.setdefault(name, set()).add(action)
    return roles


def _object_grant(user: User, action: str, scope: Model) -> Reason:
    grants = remembered(("grants", user.pk), lambda: _grants_of(user))
    here = (ContentType.objects.get_for_model(scope).pk, str(scope.pk), action)
    if here not in grants:
        return Reason("object-grant", "none", f"No grant of {action} on {scope}.")
    holder = f"The role {grants[here]}" if grants[here] else user.email
    return Reason("object-grant", "allow", f"{holder} was granted {action} on {scope}.")


def _grants_of(user: User) -> dict[tuple[int, str, str], str]:
    """Each grant on a single object (content type, key, action), with the role that holds it, or "" for the user."""
    columns = ("content_type_id", "object_pk", "permission__codename")
    by_role = GroupObjectPermission.objects.filter(group__user=user).values_list(*columns, "group__name")
    by_user = UserObjectPermission.objects.filter(user=user).values_list(*columns)
    return {(kind, key, action): role for kind, key, action, role in by_role} | dict.fromkeys(by_user, "")


def scopes_of(resource: Model | None) -> Iterator[Model]:
    """The resource and the rows whose grants cover it, nearest first."""
    if resource is None:
        return
    yield resource
    for name in getattr(resource, "access_scopes", ()):
        scope = getattr(resource, name)
        if scope is not None:
            yield scope


def visible(queryset: QuerySet[Any], actor: Actor, action: str) -> QuerySet[Any]:
    """The rows on which the actor may do a reading action, filtered in SQL."""
    if actor.kind == "system":
        return queryset
    user = actor.user
    if user is None or not user.is_active or actor.schema != current_schema():
        return queryset.none()
    if actor.kind == "operator":
        return queryset if user.is_superuser else queryset.none()
    if user.groups.filter(permissions__codename=action).exists():
        return queryset
    model = queryset.model
    own = Q(pk__in=[])
    if action in PERSONAL_ACTIONS:
        own = Q(pk=user.pk) if model is User else Q(user=user)
    scopes = {"": model} | {
        name: model._meta.get_field(name).related_model for name in getattr(model, "access_scopes", ())
    }
    granted = Q(pk__in=[])
    for name, scope in scopes.items():
        granted |= Q(**{f"{name + '__' if name else ''}pk__in": _granted_keys(user, action, scope)})
    return queryset.filter(own | granted)


def _granted_keys(user: User, action: str, model: type[Model]) -> list[str]:
    here = {"content_type": ContentType.objects.get_for_model(model), "permission__codename": action}
    by_user = UserObjectPermission.objects.filter(user=user, **here).values_list("object_pk", flat=True)
    by_group = GroupObjectPermission.objects.filter(group__user=user, **here).values_list("object_pk", flat=True)
    return list(by_user.union(by_group))


def _what_is_missing(actor: Actor, action: str, resource: Model | None) -> str:
    holders = [role.name for role in ROLES.values() if role.grants(action)]
    where = f" on {resource}" if resource is not None else ""
    known = remembered(("action", action), Permission.objects.filter(codename=action).exists)
    if not known:
        return f"{action} is no action that anybody can be granted."
    return f"{actor.label} lacks {action}{where}. It comes with the role {' or '.join(holders)}, or with a grant."


def _name(action: str, resource: Model | None) -> str:
    return f"{type_of(resource)}:{resource.pk}" if resource is not None else action.partition(".")[0]
