"""Organizations and their addresses, the schema template, due work, and the embedded mailbox."""

from __future__ import annotations

import uuid

from django.core.validators import RegexValidator
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

SLUG = RegexValidator(
    r"^[a-z][a-z0-9-]{1,38}[a-z0-9]$",
    "Use 3 to 40 lower-case letters, digits and hyphens; start with a letter and do not end with a hyphen.",
)


class Organization(TenantMixin):
    """A tenant: one customer with a schema of its own.

    `schema_name` is `t_{slug}` with hyphens as underscores; it never changes, the slug may.
    """

    class Status(models.TextChoices):
        PROVISIONING = "provisioning", "provisioning"
        ACTIVE = "active", "active"
        SUSPENDED = "suspended", "suspended"

    # Schemas are made by `provisioning`, by the owner role, never by saving a row.
    auto_create_schema = False
    auto_drop_schema = False

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    slug = models.CharField(max_length=40, unique=True, validators=[SLUG])
    name = models.CharField(max_length=120)
    status = models.CharField(max_length=20, choices=Status, default=Status.PROVISIONING)
    reason = models.CharField(max_length=300, blank=True, help_text="Why it has this status, for its members to read.")
    owner_email = models.EmailField(blank=True, help_text="Whoever becomes the first owner.")
    template_digest = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="The template that its schema was last brought up to.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(status="suspended") | ~models.Q(reason=""), name="suspension_has_a_reason"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Domain(DomainMixin):
    """A host name that leads to an organization."""

    class Meta:
        ordering = ["domain"]

    def __str__(self) -> str:
        return str(self.domain)


class SchemaTemplate(models.Model):
    """The SQL that makes a new tenant's schema, taken from the migrated template schema.

    `digest` names the migrations and the code's own rows that it was made of, so that a stale template is noticed.
    """

    digest = models.CharField(max_length=64, unique=True)
    sql = models.TextField()
    made_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.digest[:12]


class DueWork(models.Model):
    """When a tenant next has something for the reconciler, so that scanning does not visit every schema.

    Attributes:
        due_at: the earliest of next attempt, lease end and next poll in that tenant; null when nothing is due.
        version: raised by every lowering; clearing is refused when it moved meanwhile.
    """

    schema_name = models.CharField(max_length=63, primary_key=True)
    due_at = models.DateTimeField(null=True)
    version = models.BigIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="due_work_due_at")]

    def __str__(self) -> str:
        return self.schema_name


class MailboxMessage(models.Model):
    """A mail that nobody sent: the embedded mailbox keeps it where no mail server is configured."""

    organization = models.CharField(max_length=63, help_text="Schema that the mail came from.")
    sender = models.CharField(max_length=320)
    recipients = models.TextField()
    subject = models.CharField(max_length=500)
    body = models.TextField()
    at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["-at", "-id"]

    def __str__(self) -> str:
        return self.subject
