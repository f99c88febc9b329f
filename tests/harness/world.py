"""Two organizations with people in every role, as a story finds them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import connection, connections
from django.test import Client
from django_tenants.utils import schema_context

from apps.accounts.commands import create_organization, create_token, create_user, found
from apps.accounts.models import User
from apps.core.actors import Actor
from apps.core.tenancy import public
from apps.tenants.models import DueWork, Organization
from apps.tenants.provisioning import drop
from apps.tenants.queries import forget_hosts

_numbers = itertools.count(1)
PASSWORD = "a long enough passphrase"
ROLES = ("owner", "admin", "builder", "approver", "viewer")


@dataclass(frozen=True)
class Inhabited:
    """An organization and one member of each role."""

    organization: Organization
    users: dict[str, User]

    @property
    def schema(self) -> str:
        return self.organization.schema_name

    @property
    def host(self) -> str:
        return f"{self.organization.slug}.localhost"

    def reread(self) -> Inhabited:
        """The same, as the database has it now: what one story changed in memory must not reach the next."""
        with self.inside():
            users = {role: User.objects.get(pk=user.pk) for role, user in self.users.items()}
        return Inhabited(Organization.objects.get(pk=self.organization.pk), users)

    def actor(self, role: str = "owner") -> Actor:
        with self.inside():
            return Actor.of(self.users[role])

    @contextmanager
    def inside(self) -> Iterator[None]:
        with schema_context(self.schema):
            yield

    def client(self, role: str | None = "owner") -> Client:
        """A browser-like client on this organization's host, signed in as the role (None: not signed in)."""
        client = Client(headers={"host": self.host})
        if role is not None:
            with self.inside():
                client.force_login(self.users[role], backend="django.contrib.auth.backends.ModelBackend")
        return client

    def api(self, role: str = "owner") -> Api:
        """A client of the API with a token of that role."""
        with self.inside():
            _, text = create_token(actor=self.actor(role), user=self.users[role], name="test")
        return Api(self.host, str(text))


@dataclass
class Api:
    """JSON in, JSON out, against one host with one token."""

    host: str
    token: str | None
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"host": self.host}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        self.client = Client(headers=headers)

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1{path}", query)

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        headers = {"idempotency-key": key} if key else {}
        return self.client.post(f"/api/v1{path}", body or {}, content_type="application/json", headers=headers)

    def patch(self, path: str, body: Any) -> Any:
        return self.client.patch(f"/api/v1{path}", body, content_type="application/json")

    def put(self, path: str, body: Any) -> Any:
        return self.client.put(f"/api/v1{path}", body, content_type="application/json")

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/v1{path}")


def inhabit(slug: str) -> Inhabited:
    """Found an organization for good (committed) and fill it with one member of each role."""
    with public():
        organization = create_organization(
            actor=Actor.system("tests"),
            slug=slug,
            name=slug.capitalize(),
            owner_email=f"owner@{slug}.example",
            base_domain="localhost",
        )
    users = {"owner": found(organization)}
    with schema_context(organization.schema_name):
        owner = Actor.of(users["owner"])
        for role in ROLES[1:]:
            users[role] = create_user(actor=owner, email=f"{role}@{slug}.example", role=role)
        # Hashing the same password five times is the slowest part of founding an organization.
        User.objects.update(password=_password_hash())
        for user in users.values():
            user.refresh_from_db()
    connection.set_schema_to_public()  # type: ignore[attr-defined]
    return Inhabited(organization, users)


@cache
def _password_hash() -> str:
    return make_password(PASSWORD)


@contextmanager
def settled() -> Iterator[Inhabited]:
    """An organization of one's own, committed, for as long as the block lasts; the block runs inside its schema."""
    inhabited = inhabit(f"live{os.getpid()}x{next(_numbers)}")
    connection.set_tenant(inhabited.organization)  # type: ignore[attr-defined]
    try:
        yield inhabited
    finally:
        connection.set_schema_to_public()  # type: ignore[attr-defined]
        drop(inhabited.organization)
        DueWork.objects.filter(schema_name=inhabited.schema).delete()
        inhabited.organization.domains.all().delete()
        Organization.objects.filter(pk=inhabited.organization.pk).delete()
        forget_hosts()
        connections.close_all()
