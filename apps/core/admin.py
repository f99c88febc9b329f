"""The Django admin's door to the log: a change made there is recorded in its own transaction."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet

from apps.core.commands import PendingEvent, Resource
from apps.core.ports import ports
from apps.core.requests import actor_of
from apps.core.resources import type_of
from apps.core.snapshots import changes_between, snapshot

if TYPE_CHECKING:
    from django.forms import ModelForm
    from django.http import HttpRequest

M = TypeVar("M", bound=Model)


class AuditedModelAdmin(admin.ModelAdmin[M]):
    """A ModelAdmin whose saves and deletions each leave one event."""

    def save_model(self, request: HttpRequest, obj: M, form: ModelForm[M], change: bool) -> None:  # noqa: FBT001
        verb = "edit" if change else "create"
        before = snapshot(type(obj)._base_manager.get(pk=obj.pk)) if change else {}
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            self._record(request, verb, obj, changes_between(before, snapshot(obj)))

    def delete_model(self, request: HttpRequest, obj: M) -> None:
        before = snapshot(obj)
        with transaction.atomic():
            self._record(request, "delete", obj, changes_between(before, {}))
            super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[M]) -> None:
        with transaction.atomic():
            for row in queryset:
                self.delete_model(request, row)

    def _record(self, request: HttpRequest, verb: str, row: M, changes: dict[str, Any]) -> None:
        event = PendingEvent(
            uuid.uuid4(), f"{type_of(row)}.{verb}", actor_of(request), Resource.of(row), changes=changes
        )
        ports.record([event])
