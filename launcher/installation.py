"""One installation: which services it embeds, which programs it consists of, and what each of them is told.

A neighbour that the environment names (DATABASE_URL, REDIS_URL, GATEWAY_MODEL_BASE_URL) is used as it is; for one that
it does not name, the embedded default is started.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from launcher import model_program, probes, valkey
from launcher.addresses import Port, Ports
from launcher.errors import LauncherError
from launcher.layout import GATEWAY_PYTHON, STUDIO_PYTHON, StateFolder
from launcher.postgresql import APPLICATION_ROLE, OWNER_ROLE, Cluster
from launcher.secret_values import SecretValues
from launcher.supervision import Program

# Gateways of the seed: environment's slug, and the organization whose key they trust.
GATEWAY_ENVIRONMENTS = ("development", "production")
ORGANIZATION = "acme"

_GATEWAY_STOP_SECONDS = 10

# What a person may set for Studio besides addresses; everything else in their shell is their own affair.
_STUDIO_PREFIXES = ("KAIZEN_", "EMAIL_URL", "DJANGO_")


@dataclass(frozen=True)
class Installation:
    """What `make up` runs, decided before anything starts."""

    folder: StateFolder
    ports: Ports
    secrets: SecretValues
    environment: Mapping[str, str]

    @classmethod
    def of(cls, environment: Mapping[str, str], folder: StateFolder) -> "Installation":
        """Read the environment and the state folder.

        Raises:
            LauncherError: a variable is missing or wrong, or the folder is not ours or damaged.
        """
        if environment.get("DATABASE_URL") and not environment.get("DATABASE_OWNER_URL"):
            raise LauncherError(
                "DATABASE_URL is set, but DATABASE_OWNER_URL is not. Studio needs two roles: DATABASE_URL is the "
                "address for the application's role, DATABASE_OWNER_URL the one for the role that owns the database."
            )
        if environment.get("DATABASE_OWNER_URL") and not environment.get("DATABASE_URL"):
            raise LauncherError("DATABASE_OWNER_URL is set, but DATABASE_URL is not: set both, or none.")
        ports = Ports.of(environment)
        folder.create()
        return cls(folder, ports, SecretValues.of(folder), environment)

    # Neighbours -------------------------------------------------------------------------------------------------------

    @property
    def embeds_database(self) -> bool:
        return not self.environment.get("DATABASE_URL")

    @property
    def embeds_redis(self) -> bool:
        return not self.environment.get("REDIS_URL")

    @property
    def embeds_model(self) -> bool:
        return not self.environment.get("GATEWAY_MODEL_BASE_URL")

    @cached_property
    def cluster(self) -> Cluster:
        """The embedded database."""
        return Cluster(self.folder, self.secrets.database_passwords, self.secrets.installation)

    def needed_ports(self) -> list[Port]:
        """The ports that must be free."""
        return [
            self.ports.dashboard,
            *([self.ports.database] if self.embeds_database else []),
            *([self.ports.redis] if self.embeds_redis else []),
            *([self.ports.model] if self.embeds_model else []),
            self.ports.gateway_development,
            self.ports.gateway_production,
        ]

    def given_neighbours(self) -> list[tuple[str, probes.Probe]]:
        """Services that somebody else runs, and how to ask whether they answer."""
        return [
            *([] if self.embeds_database else [("DATABASE_URL", probes.postgresql(self.environment["DATABASE_URL"]))]),
            *([] if self.embeds_redis else [("REDIS_URL", probes.redis(self.environment["REDIS_URL"]))]),
        ]

    # Programs ---------------------------------------------------------------------------------------------------------

    def stores(self) -> list[Program]:
        """The embedded database and broker."""
        return [
            *([self.cluster.program(self.ports.database)] if self.embeds_database else []),
            *(
                [valkey.program(self.folder, self.ports.redis, self.secrets.redis_password)]
                if self.embeds_redis
                else []
            ),
        ]

    def models(self) -> list[Program]:
        """The embedded language model."""
        return [model_program.program(self.ports.model)] if self.embeds_model else []

    def gateways(self, trusted_key: str) -> list[Program]:
        """The seed's two gateways, which trust the organization with this public key."""
        return [self._gateway(name, trusted_key) for name in GATEWAY_ENVIRONMENTS]

    def studio(self) -> list[Program]:
        """The processes of the management plane."""
        python = str(STUDIO_PYTHON)
        application = self.application_variables()
        dashboard = self.ports.dashboard
        return [
            Program(
                name="web",
                command=(python, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", str(dashboard.number), _ASGI),
                environment={**application, "KAIZEN_DATABASE_POOL": "true"},
                ready=probes.http_ok(f"{dashboard.url}/healthz", host=f"localhost:{dashboard.number}"),
                stop_seconds=5,  # daphne under load may ignore SIGTERM for ever
            ),
            Program(
                name="worker",
                command=(python, "-m", "celery", "-A", "kaizen_site", "worker", *_WORKER_OPTIONS, *self._beat()),
                environment=self.owner_variables(),
                ready=probes.log_says(self.folder.logs / "worker.log", " ready."),
            ),
            Program(
                name="scanner",
                command=(python, "manage.py", "scan"),
                environment=application,
                ready=probes.log_says(self.folder.logs / "scanner.log", "scanning with"),
            ),
        ]

    def preparation(self) -> tuple[list[str | Path], dict[str, str]]:
        """The command that migrates and seeds, and its variables. Does nothing when nothing changed."""
        seed = {
            f"SEED_GATEWAY_{name.upper()}_{what}": value
            for name in GATEWAY_ENVIRONMENTS
            for what, value in (("ADDRESS", self.gateway_port(name).url), ("TOKEN", self._deploy_token(name)))
        }
        command: list[str | Path] = [STUDIO_PYTHON, "manage.py", "prepare", "--secrets", self.folder.panel]
        return command, {**self.owner_variables(), **seed}

    # Variables --------------------------------------------------------------------------------------------------------

    def application_variables(self) -> dict[str, str]:
        """What a Studio process is told; with the application's database role only."""
        given = {name: value for name, value in self.environment.items() if name.startswith(_STUDIO_PREFIXES)}
        return {
            "KAIZEN_PUBLIC_URL": f"http://localhost:{self.ports.dashboard.number}",
            "KAIZEN_ALLOWED_GATEWAY_NETWORKS": "127.0.0.0/8",
            **given,
            **_basics(self.environment),
            "SECRET_KEY": self.environment.get("SECRET_KEY") or self.secrets.secret_key,
            "KAIZEN_ENCRYPTION_KEYS": self.environment.get("KAIZEN_ENCRYPTION_KEYS") or self.secrets.encryption_keys,
            "KAIZEN_STATE_DIR": str(self.folder.path),
            "DATABASE_URL": self._database_url("DATABASE_URL", APPLICATION_ROLE),
            "REDIS_URL": self.environment.get("REDIS_URL") or valkey.url(self.ports.redis, self.secrets.redis_password),
        }

    def owner_variables(self) -> dict[str, str]:
        """The same, with the role that may change schemas besides."""
        owner = self._database_url("DATABASE_OWNER_URL", OWNER_ROLE)
        return {**self.application_variables(), "DATABASE_OWNER_URL": owner}

    def gateway_port(self, name: str) -> Port:
        """Where the gateway of an environment listens."""
        return _gateway_ports(self.ports)[name]

    def trusted_key(self) -> str | None:
        """The public key that the seed made for the organization, if it has run."""
        try:
            key: str = json.loads(self.folder.trusted_keys.read_text())[ORGANIZATION]
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return key

    # Inside -----------------------------------------------------------------------------------------------------------

    def _gateway(self, name: str, trusted_key: str) -> Program:
        given = {key: value for key, value in self.environment.items() if key.startswith("GATEWAY_")}
        port = self.gateway_port(name)
        home = self.folder.path / "gateways" / f"{ORGANIZATION}-{name}"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Program(
            name=f"gateway-{name}",
            command=(str(GATEWAY_PYTHON), "-m", "gateway_service"),
            environment={
                **(model_program.gateway_variables(self.ports.model) if self.embeds_model else {}),
                # Shorter than the time after which the supervisor kills it.
                "GATEWAY_DRAIN_SECONDS": str(_GATEWAY_STOP_SECONDS - 2),
                **given,
                **_basics(self.environment),
                "GATEWAY_ADDRESS": port.address,
                "GATEWAY_DATA_DIR": str(home),
                "GATEWAY_DEPLOY_TOKEN": self._deploy_token(name),
                "GATEWAY_TRUSTED_KEY": trusted_key,
            },
            ready=probes.http_ok(f"{port.url}/readyz"),
            stop_seconds=_GATEWAY_STOP_SECONDS,
        )

    def _deploy_token(self, name: str) -> str:
        return {
            "development": self.secrets.gateway_development_token,
            "production": self.secrets.gateway_production_token,
        }[name]

    def _database_url(self, variable: str, role: str) -> str:
        return self.environment.get(variable) or self.cluster.url(self.ports.database, role)

    def _beat(self) -> tuple[str, ...]:
        return ("-B", "-s", str(self.folder.run / "celerybeat-schedule"))


_ASGI = "kaizen_site.asgi:application"
_WORKER_OPTIONS = ("-Q", "celery,owner", "--concurrency", "2", "--without-gossip", "--without-mingle", "-l", "INFO")


def addresses(ports: Ports) -> dict[str, str]:
    """Where people and callers find things; no secret."""
    number = ports.dashboard.number
    return {
        "dashboard": f"http://{ORGANIZATION}.localhost:{number}/",
        "public": f"http://localhost:{number}/",
        **{name: port.url for name, port in _gateway_ports(ports).items()},
    }


def _gateway_ports(ports: Ports) -> dict[str, Port]:
    return {"development": ports.gateway_development, "production": ports.gateway_production}


def _basics(environment: Mapping[str, str]) -> dict[str, str]:
    """What any Python process wants; a program's environment is otherwise only what is listed for it."""
    proxies = {name: value for name, value in environment.items() if name.lower().endswith("_proxy")}
    return {**proxies, "PYTHONUNBUFFERED": "1"}
