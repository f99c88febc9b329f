"""Conversations of people with deployed agents."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.core.models import BaseModel
from apps.deployments.models.deployments import LABEL_MAX_LENGTH, Deployment
from apps.gateways.models import CallerKey, Environment


class Playground(BaseModel):
    """One person's conversation with a deployed agent, and the short-lived caller key that it uses.

    The key's clear text is in the memory of the one WebSocket that opened it, and nowhere else.
    """

    access_scopes = ("deployment", "environment")
    locked_under = ("environment",)

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="playgrounds")
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+")
    key = models.OneToOneField(CallerKey, on_delete=models.CASCADE, related_name="playground")
    opened_by = models.CharField(max_length=LABEL_MAX_LENGTH)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["key"], condition=Q(closed_at=None), name="playground_open")]

    def __str__(self) -> str:
        return f"Playground of {self.opened_by} with {self.deployment}"
