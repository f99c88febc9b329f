"""Turns the registry of commands and the built-in roles into permission rows of the current schema."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from guardian.models import GroupObjectPermission

from apps.access.roles import ROLES
from apps.core.commands import registry
from apps.core.models import BaseModel
from apps.core.resources import type_of
from apps.core.tenancy import in_public

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from django.db.models import Model


def actions(apps_in_schema: Collection[str] | None = None) -> Iterator[tuple[str, type[Model]]]:
    """Every action with each model that it can be granted on: the resource's own, and those that scope it.

    Args:
        apps_in_schema: only of models of these apps; None for all.
    """
    for model in _resource_models(apps_in_schema):
        kind = type_of(model)
        names = {f"{kind}.view"} | {name for name, spec in registry.items() if spec.resource_type == kind}
        for name in names:
            yield name, model
            for scope in getattr(model, "access_scopes", ()):
                above = model._meta.get_field(scope).related_model
                assert above is not None, f"{model.__name__}.{scope} is no foreign key"
                yield name, above


def _resource_models(apps_in_schema: Collection[str] | None) -> list[type[Model]]:
    return [
        model
        for config in apps.get_app_configs()
        if config.name.startswith("apps.") and (apps_in_schema is None or config.name in apps_in_schema)
        for model in config.get_models()
        if issubclass(model, BaseModel) or model.__name__ in {"User", "Event", "Organization"}
    ]


def version() -> str:
    """Names the present actions and roles; it changes when a schema's rows have to."""
    pairs = sorted(f"{action} {model.__name__}" for action, model in actions())
    return hashlib.sha256(repr((pairs, sorted(ROLES.items()))).encode()).hexdigest()


def sync() -> None:
    """Make the permissions and role groups of the current schema match the code. Idempotent.

    Only actions on what lives in this schema: an owner of an organization, whose role covers every action there is,
    must not find the operators' among them.
    """
    wanted = sorted(
        {(action, model) for action, model in actions(settings.SHARED_APPS if in_public() else settings.TENANT_APPS)},
        key=lambda pair: (pair[0], pair[1].__name__),
    )
    ContentType.objects.clear_cache()
    kinds = ContentType.objects.get_for_models(*{model for _, model in wanted})
    ours = Permission.objects.filter(codename__contains=".")
    keys = {(action, kinds[model].pk) for action, model in wanted}
    stored = {(codename, kind): key for key, codename, kind in ours.values_list("pk", "codename", "content_type_id")}
    Permission.objects.filter(pk__in=[key for pair, key in stored.items() if pair not in keys]).delete()
    Permission.objects.bulk_create(
        Permission(codename=action, name=action, content_type=kinds[model])
        for action, model in wanted
        if (action, kinds[model].pk) not in stored
    )
    permissions = list(ours.all())
    for role in ROLES.values():
        group, _ = Group.objects.get_or_create(name=role.name)
        group.permissions.set([permission for permission in permissions if role.grants(permission.codename)])


def grant_on_environment(environment: Model, slug: str) -> None:
    """Make the built-in roles' grants on an environment match the code: when it is made and when roles change."""
    kind = ContentType.objects.get_for_model(environment)
    permissions = Permission.objects.filter(content_type=kind, codename__contains=".")
    groups = {group.name: group for group in Group.objects.filter(name__in=ROLES)}
    wanted = {
        (groups[role.name].pk, permission.pk)
        for role in ROLES.values()
        for permission in permissions
        if role.granted_on_environment(permission.codename, slug)
    }
    here = GroupObjectPermission.objects.filter(
        content_type=kind, object_pk=str(environment.pk), group__in=groups.values(), permission__in=permissions
    )
    stored = {(group, permission): key for key, group, permission in here.values_list("pk", "group", "permission")}
    here.filter(pk__in=[key for pair, key in stored.items() if pair not in wanted]).delete()
    GroupObjectPermission.objects.bulk_create(
        GroupObjectPermission(
            group_id=group, permission_id=permission, content_type=kind, object_pk=str(environment.pk)
        )
        for group, permission in sorted(wanted - stored.keys())
    )
