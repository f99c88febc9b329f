"""Agents and their versions. A draft is edited; a version is frozen, and PostgreSQL refuses to change it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import pgtrigger
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Exists, OuterRef, Subquery
from django.urls import reverse

from apps.accounts.models import User
from apps.agents.definitions import (
    DEFAULT_MAX_TOKENS,
    DEFAULT_PROFILE,
    DEFAULT_TEMPERATURE,
    Definition,
    default_input_schema,
)
from apps.core.models import BaseModel
from contract.errors import ContractError
from contract.names import SLUG_MAX_LENGTH, SLUG_PATTERN, check_slug
from contract.nodes import MAX_OUTPUT_TOKENS

if TYPE_CHECKING:
    from datetime import datetime

State = Literal["draft", "published", "changed", "deleted"]

NAME_MAX_LENGTH = 120
DESCRIPTION_MAX_LENGTH = 2_000
NOTE_MAX_LENGTH = 1_000
PROFILE_MAX_LENGTH = 48
LABEL_MAX_LENGTH = 320
DIGEST_LENGTH = 71


def validate_slug(slug: str) -> None:
    """The rule of names that both planes share, as Django's validators speak.

    Raises:
        ValidationError: it is no slug.
    """
    try:
        check_slug(slug)
    except ContractError as error:
        raise ValidationError(error.reason[:1].upper() + error.reason[1:] + ".") from None


class AgentQuerySet(models.QuerySet["Agent"]):
    """Agents, also the deleted ones unless `alive()` says otherwise."""

    def alive(self) -> AgentQuerySet:
        """Those that are not deleted."""
        return self.filter(deleted_at=None)

    def deleted(self) -> AgentQuerySet:
        """Those that can be restored."""
        return self.exclude(deleted_at=None)

    def published(self) -> AgentQuerySet:
        """Those that have a version."""
        return self.filter(Exists(AgentVersion.objects.filter(agent=OuterRef("pk"))))

    def unpublished(self) -> AgentQuerySet:
        """Those that have no version yet."""
        return self.exclude(Exists(AgentVersion.objects.filter(agent=OuterRef("pk"))))

    def with_latest_version(self) -> AgentQuerySet:
        """Read `latest_number`, `latest_digest` and `published_at` in the same query."""
        latest = AgentVersion.objects.filter(agent=OuterRef("pk")).order_by("-number")
        columns = {"latest_number": "number", "latest_digest": "content_digest", "published_at": "published_at"}
        return self.annotate(**{name: Subquery(latest.values(column)[:1]) for name, column in columns.items()})


class Agent(BaseModel):
    """A named agent and its draft. What runs is always one of its versions.

    Attributes:
        slug: its name in addresses and in registrations on gateways; never changes, also not by SQL. A deleted agent
            keeps it, because it can be restored.
        revision: counts the changes of the draft, so that an editor notices somebody else's.
        content_digest: the digest of the draft's definition; equal to the latest version's when nothing changed since.
        owner: the member who answers for it; at first whoever made it. None if Studio itself did.
    """

    audit_ignored = frozenset({"updated_at", "revision", "content_digest"})

    slug = models.CharField(max_length=SLUG_MAX_LENGTH, unique=True, validators=[validate_slug])
    name = models.CharField(max_length=NAME_MAX_LENGTH)
    description = models.TextField(max_length=DESCRIPTION_MAX_LENGTH, blank=True)
    instructions = models.TextField()
    model_profile = models.CharField(max_length=PROFILE_MAX_LENGTH, default=DEFAULT_PROFILE)
    temperature = models.FloatField(default=DEFAULT_TEMPERATURE)
    max_tokens = models.PositiveIntegerField(default=DEFAULT_MAX_TOKENS)
    memory = models.BooleanField(default=False)
    input_schema = models.JSONField(default=default_input_schema)
    output_schema = models.JSONField(null=True, blank=True)
    revision = models.PositiveIntegerField(default=1, editable=False)
    content_digest = models.CharField(max_length=DIGEST_LENGTH, editable=False)
    owner = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="agents")
    created_by = models.CharField(max_length=LABEL_MAX_LENGTH, editable=False)
    updated_by = models.CharField(max_length=LABEL_MAX_LENGTH, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = AgentQuerySet.as_manager()

    class Meta:
        ordering = ["name", "slug"]
        indexes = [models.Index(fields=["-updated_at"], name="agent_updated")]
        constraints = [
            models.CheckConstraint(condition=models.Q(slug__regex=SLUG_PATTERN), name="agent_slug_is_a_name"),
            models.CheckConstraint(
                condition=models.Q(temperature__gte=0, temperature__lte=2), name="agent_temperature_in_range"
            ),
            models.CheckConstraint(
                condition=models.Q(max_tokens__gte=1, max_tokens__lte=MAX_OUTPUT_TOKENS),
                name="agent_max_tokens_in_range",
            ),
            models.CheckConstraint(condition=~models.Q(instructions=""), name="agent_has_instructions"),
        ]
        triggers = [
            pgtrigger.Protect(name="slug_is_fixed", operation=pgtrigger.Update, condition=pgtrigger.AnyChange("slug"))
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("agents:detail", kwargs={"slug": self.slug})

    @property
    def definition(self) -> Definition:
        """The draft's definition."""
        return Definition.read(self)

    # `with_latest_version()` sets these three on each row; a row read otherwise asks once.

    @cached_property
    def latest_version(self) -> AgentVersion | None:
        """The newest version, or None if nothing was published yet."""
        return self.versions.order_by("-number").first()

    @cached_property
    def latest_number(self) -> int | None:
        return self.latest_version.number if self.latest_version else None

    @cached_property
    def latest_digest(self) -> str | None:
        return self.latest_version.content_digest if self.latest_version else None

    @cached_property
    def published_at(self) -> datetime | None:
        return self.latest_version.published_at if self.latest_version else None

    @property
    def has_unpublished_changes(self) -> bool:
        """Whether the draft differs from the newest version; True also when there is none."""
        return self.latest_digest != self.content_digest

    @property
    def state(self) -> State:
        """One word for where it stands; `state_reason` says why."""
        if self.deleted_at is not None:
            return "deleted"
        if self.latest_number is None:
            return "draft"
        return "changed" if self.has_unpublished_changes else "published"

    @property
    def state_reason(self) -> str:
        """What stands behind `state`, and what would change it."""
        match self.state:
            case "deleted":
                return "can be restored"
            case "draft":
                return "nothing published yet"
            case "changed":
                return f"the draft differs from version {self.latest_number}"
            case "published":
                return f"version {self.latest_number} is the draft"


class AgentVersion(BaseModel):
    """An agent at the moment it was published. Nothing of it ever changes.

    Attributes:
        number: 1, 2, 3 … within the agent.
        content: the definition as JSON; read it through `definition`.
        content_digest: names the content; equal content has equal digests.
    """

    access_scopes = ("agent",)

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    content = models.JSONField()
    content_digest = models.CharField(max_length=DIGEST_LENGTH)
    note = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)
    published_by = models.CharField(max_length=LABEL_MAX_LENGTH)
    published_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["agent", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["agent", "number"], name="agent_version_number"),
            models.CheckConstraint(condition=models.Q(number__gte=1), name="agent_version_counts_from_one"),
        ]
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.agent.name} version {self.number}"

    def get_absolute_url(self) -> str:
        return reverse("agents:version", kwargs={"agent__slug": self.agent.slug, "number": self.number})

    @property
    def definition(self) -> Definition:
        """The frozen definition."""
        return Definition.from_json(self.content)
