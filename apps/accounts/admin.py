"""The operators' admin on the public host: organizations, domains, operators."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from allauth.account.models import EmailAddress
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import transaction
from django.template.response import TemplateResponse

from apps.accounts.commands import check_new_organization, create_organization
from apps.accounts.models import User
from apps.accounts.signals import record_password_change
from apps.accounts.tasks import request_founding
from apps.core.admin import AuditedModelAdmin
from apps.core.commands import may
from apps.core.errors import Invalid, StudioError
from apps.core.requests import actor_of
from apps.tenants import commands as tenants
from apps.tenants.models import Domain, Organization
from apps.tenants.queries import forget_hosts

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

# RFC 1123, 2.1: labels of letters, digits and inner hyphens.
_HOST_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
for _model in (EmailAddress, Group):
    admin.site.unregister(_model)


class OrganizationForm(forms.ModelForm[Organization]):
    """A new organization. The command has the last word on what is acceptable."""

    class Meta:
        model = Organization
        fields = ("name", "slug", "owner_email")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "owner_email" in self.fields:
            self.fields["owner_email"].required = True

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        slug = str(cleaned.get("slug", ""))
        try:
            check_new_organization(slug, str(cleaned.get("name", "")), str(cleaned.get("owner_email", "")))
        except Invalid as error:
            for name, texts in error.fields.items():
                if name not in self.errors:
                    self.add_error(name, [ValidationError(text) for text in texts])
        if Domain.objects.filter(domain=f"{slug}.{settings.KAIZEN_BASE_DOMAIN}").exists():
            self.add_error("slug", f"The address “{slug}” is taken.")
        return cleaned


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin[Organization]):
    """Organizations: found, suspend, restore. Every change is a command."""

    form = OrganizationForm
    list_display = ("name", "slug", "status", "reason", "created_at")
    list_filter = ("status",)
    search_fields = ("name", "slug", "owner_email")
    actions = ["suspend", "restore"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        return super().get_queryset(request).exclude(schema_name="public")

    def get_readonly_fields(self, request: HttpRequest, obj: Organization | None = None) -> tuple[str, ...]:
        return ("name", "slug", "owner_email", "schema_name", "status", "reason", "created_at") if obj else ()

    def get_fields(self, request: HttpRequest, obj: Organization | None = None) -> tuple[str, ...]:
        return self.get_readonly_fields(request, obj) or ("name", "slug", "owner_email")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and may(actor_of(request), "organization.create").allowed

    def has_change_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        # What may change about an organization are its states, by the actions of the list.
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:  # noqa: FBT001
        made = create_organization(
            actor=actor_of(request),
            slug=obj.slug,
            name=obj.name,
            owner_email=obj.owner_email,
            base_domain=settings.KAIZEN_BASE_DOMAIN,
        )
        obj.pk = made.pk
        obj.schema_name = made.schema_name
        transaction.on_commit(request_founding, robust=True)
        messages.info(request, f"{made.name} is being set up; its owner gets a mail with a link to set a password.")

    @admin.action(description="Suspend the selected organizations…", permissions=["view"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Organization]) -> HttpResponse | None:
        """Ask for the reason first: its members will read it."""
        if "reason" not in request.POST:
            values = {
                **self.admin_site.each_context(request),
                "title": "Suspend organizations",
                "organizations": queryset,
                "opts": self.opts,
                "action_checkbox_name": ACTION_CHECKBOX_NAME,
            }
            return TemplateResponse(request, "admin/tenants/organization/suspend.html", values)
        for organization in queryset:
            self._change(request, tenants.suspend, organization, reason=request.POST["reason"])
        return None

    @admin.action(description="Restore the selected organizations", permissions=["view"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Organization]) -> None:
        """Open suspended organizations again."""
        for organization in queryset:
            self._change(request, tenants.restore, organization)

    def _change(self, request: HttpRequest, command: Any, organization: Organization, **arguments: Any) -> None:
        try:
            changed = command(actor=actor_of(request), organization=organization, **arguments)
        except StudioError as error:
            messages.error(request, f"{organization}: {error.message}")
        else:
            messages.success(request, f"{organization} is {changed.status} now.")


class DomainForm(forms.ModelForm[Domain]):
    """A host name that leads to an organization, in the form in which requests are compared with it."""

    class Meta:
        model = Domain
        fields = ("domain", "tenant", "is_primary")

    def clean_domain(self) -> str:
        name = str(self.cleaned_data["domain"]).strip().lower().rstrip(".")
        if not _HOST_NAME.fullmatch(name):
            raise ValidationError("A host name is made of letters, digits, hyphens and dots, without a port or a path.")
        return name


@admin.register(Domain)
class DomainAdmin(AuditedModelAdmin[Domain]):
    """Host names of organizations."""

    form = DomainForm
    list_display = ("domain", "tenant", "is_primary")
    search_fields = ("domain",)

    def has_delete_permission(self, request: HttpRequest, obj: Domain | None = None) -> bool:
        return obj is None or (not obj.is_primary and obj.tenant.schema_name != "public")

    def save_model(self, request: HttpRequest, obj: Domain, form: Any, change: bool) -> None:  # noqa: FBT001
        super().save_model(request, obj, form, change)
        transaction.on_commit(forget_hosts)

    def delete_model(self, request: HttpRequest, obj: Domain) -> None:
        super().delete_model(request, obj)
        transaction.on_commit(forget_hosts)


class OperatorCreationForm(UserCreationForm[User]):
    """A new operator."""

    class Meta:
        model = User
        fields = ("email", "name")


@admin.register(User)
class OperatorAdmin(AuditedModelAdmin[User], UserAdmin):  # type: ignore[type-arg]  # UserAdmin is generic only in the stubs
    """Operators: users of the public schema. They are deactivated, never deleted, since the log names them."""

    ordering = ("email",)
    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser")
    search_fields = ("email", "name")
    add_form = OperatorCreationForm
    fieldsets = (
        (None, {"fields": ("email", "password", "name")}),
        ("Access", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = ((None, {"fields": ("email", "name", "password1", "password2")}),)
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        # Nobody ends his own access, so that an installation is never left without an operator.
        oneself = obj is not None and obj.pk == request.user.pk
        return (*self.readonly_fields, *(("is_active", "is_staff", "is_superuser") if oneself else ()))

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:  # noqa: A002
        with transaction.atomic():
            response = super().user_change_password(request, id, form_url)
            changed = self.get_object(request, id)
            if request.method == "POST" and response.status_code == 302 and changed is not None:
                record_password_change(changed, request, by=actor_of(request))
        return response

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:  # noqa: FBT001
        if not change:
            # Who is made here is made to operate; nobody else has a place in the public schema.
            obj.is_staff = obj.is_superuser = True
        super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False
