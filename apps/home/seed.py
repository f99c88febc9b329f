"""The demonstration installation: two organizations, people, two gateways, and an agent that runs and answers.

Every step asks what is there and adds what is missing, so that a start that was interrupted is completed by the next.
Passwords are generated and written down before they are used, for the same reason.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction

from apps.accounts.commands import create_organization, create_token, create_user, found, revoke_token, update_profile
from apps.accounts.models import ApiToken, User
from apps.agents.commands import create as create_agent
from apps.agents.commands import publish
from apps.agents.definitions import Definition
from apps.agents.models import Agent
from apps.core.actors import Actor
from apps.core.errors import Conflict
from apps.core.tenancy import public, tenant
from apps.deployments.commands import deploy
from apps.deployments.models import Deployment
from apps.gateways.commands import create_key, register_gateway
from apps.gateways.models import CallerKey, Environment, Gateway, SigningKey
from apps.tenants.models import Organization
from apps.tenants.provisioning import schema_name_of
from contract.names import registration_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ACME, GLOBEX = "acme", "globex"
PEOPLE = {"owner": "Olivia Owner", "builder": "Ben Builder", "approver": "Ana Approver"}
ENVIRONMENTS = ("development", "production")
DEMO = Definition(
    name="Greeter",
    description="Welcomes people in a sentence or two. It runs on the small model that comes with Studio.",
    instructions="You are a friendly assistant. Answer the user in one or two short, polite sentences.",
    temperature=0.2,
    max_tokens=80,
)
DRAFT = Definition(
    name="Meeting summariser",
    description="Turns notes into decisions and open questions. A draft, to publish and deploy.",
    instructions="Summarise the notes in at most five short points. Write decisions first, then open questions.",
    temperature=0.3,
    max_tokens=200,
    memory=True,
)


@dataclass
class SecretsFile:
    """Where the seed writes down what only `make panel` reads: mode 0600, replaced whole.

    Attributes:
        path: the file.
        document: its content.
    """

    path: Path
    document: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> SecretsFile:
        try:
            return cls(path, json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls(path)

    def write(self, **members: Any) -> None:
        """Add members and replace the file in one step."""
        self.document |= members
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(self.document, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)


@dataclass(frozen=True)
class SeedGateway:
    """A gateway that the launcher starts."""

    environment: str
    address: str
    deploy_token: str


def seed(file: SecretsFile, gateways: list[SeedGateway]) -> None:
    """Complete the demonstration installation.

    Raises:
        Conflict: an organization exists whose secrets are not in the file.
    """
    _write_sign_ins(file)
    _operator(file)
    for slug in (ACME, GLOBEX):
        _organization(slug, file)
    with tenant(schema_name_of(ACME)):
        owner = Actor.of(User.objects.get(email=_email("owner", ACME)), via="seed")
        _people(file, owner)
        _gateways(gateways, owner)
        _agents(owner)
        _credentials(file, owner)
        key = SigningKey.objects.get(active=True)
    file.write(
        public_keys={ACME: key.public_key},
        demo={"registration": registration_name("greeter", ENVIRONMENTS[0]), "environment": ENVIRONMENTS[0]},
    )


def _email(name: str, slug: str) -> str:
    return f"{name}@{slug}.example"


def _new_password() -> str:
    return secrets.token_urlsafe(12)


def _write_sign_ins(file: SecretsFile) -> None:
    if "users" in file.document:
        return
    with public():
        if Organization.objects.filter(slug=ACME).exists():
            raise Conflict(
                f"The organization “{ACME}” exists, but {file.path} does not hold its passwords. Restore that file, or "
                "start over with `make reset`."
            )
    users = [{"email": _email(role, ACME), "password": _new_password(), "role": role} for role in PEOPLE]
    file.write(
        users=users,
        operator={"email": "operator@studio.example", "password": _new_password()},
        globex={"email": _email("owner", GLOBEX), "password": _new_password(), "role": "owner"},
    )


def _operator(file: SecretsFile) -> None:
    wanted = file.document["operator"]
    with public(), transaction.atomic():
        if not User.objects.filter(email=wanted["email"]).exists():
            User.objects.create_superuser(wanted["email"], wanted["password"], name="Operator")


def _organization(slug: str, file: SecretsFile) -> None:
    with public():
        organization = Organization.objects.filter(slug=slug).first()
        if organization is None:
            organization = create_organization(
                actor=Actor.system("seed"),
                slug=slug,
                name=slug.capitalize(),
                owner_email=_email("owner", slug),
                base_domain=settings.KAIZEN_BASE_DOMAIN,
            )
    password = file.document["globex"]["password"] if slug == GLOBEX else _password_of("owner", file)
    found(organization, password=password)


def _password_of(role: str, file: SecretsFile) -> str:
    return next(str(user["password"]) for user in file.document["users"] if user["role"] == role)


def _people(file: SecretsFile, owner: Actor) -> None:
    assert owner.user is not None
    if not owner.user.name:
        update_profile(actor=owner, user=owner.user, name=PEOPLE["owner"])
    for user in file.document["users"]:
        if not User.objects.filter(email=user["email"]).exists():
            create_user(actor=owner, name=PEOPLE[user["role"]], **user)


def _gateways(gateways: list[SeedGateway], owner: Actor) -> None:
    for gateway in gateways:
        name = f"{gateway.environment}-1"
        if not Gateway.objects.filter(name=name).exists():
            register_gateway(
                actor=owner,
                environment=Environment.objects.get(slug=gateway.environment),
                name=name,
                address=gateway.address,
                deploy_token=gateway.deploy_token,
            )


def _agents(owner: Actor) -> None:
    _once(Agent, "meeting-summariser", lambda: create_agent(actor=owner, slug="meeting-summariser", definition=DRAFT))
    _once(Agent, "greeter", lambda: create_agent(actor=owner, slug="greeter", definition=DEMO))
    greeter = Agent.objects.get(slug="greeter")
    version = greeter.versions.order_by("number").first() or publish(actor=owner, agent=greeter, note="First version")
    for environment in Environment.objects.filter(slug__in=ENVIRONMENTS):
        if not Deployment.objects.filter(agent=greeter, environment=environment).exists():
            deploy(actor=owner, environment=environment, version=version, note="Demonstration")


def _once(model: type[Agent], slug: str, make: Callable[[], object]) -> None:
    if not model.objects.filter(slug=slug).exists():
        make()


def _credentials(file: SecretsFile, owner: Actor) -> None:
    """The API token and the gateway key. Their texts are known only here, so a lost one is replaced."""
    assert owner.user is not None
    if not file.document.get("api_token"):
        for token in ApiToken.objects.filter(name="panel", revoked_at=None):
            revoke_token(actor=owner, token=token)
        _, text = create_token(actor=owner, user=owner.user, name="panel")
        file.write(api_token=str(text))
    if not file.document.get("gateway_key"):
        attempt = CallerKey.objects.filter(name__startswith="Panel").count() + 1
        _, key = create_key(
            actor=owner,
            environment=Environment.objects.get(slug=ENVIRONMENTS[0]),
            name="Panel" if attempt == 1 else f"Panel {attempt}",
        )
        file.write(gateway_key=key.text)
