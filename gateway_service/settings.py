"""What a gateway reads from its environment, checked whole before anything starts."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from contract.envelope import public_key_from_text
from contract.errors import ContractError
from contract.names import PROFILE_PATTERN
from gateway_service.listeners import Address, Tls
from gateway_service.outgoing.rules import HostPattern, OutgoingRules
from gateway_service.outgoing.secrets import ToolSecret, read_secrets
from gateway_service.prices import PRICE_MEMBERS, Price, PriceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_Value = TypeVar("_Value")

DEFAULT_PROFILE = "default"
DEPLOY_TOKEN_MIN_LENGTH = 16
_LOG_LEVELS = ("debug", "info", "warning", "error")
_STRUCTURED_OUTPUTS = ("json_schema", "json_object", "none")
_PROFILE_TEXTS = {"base_url", "model", "api_key", "api_key_env", "structured_output", *PRICE_MEMBERS}
_PROFILE_MEMBERS = _PROFILE_TEXTS | {"retries", "fallbacks"}
_RETRIES_MAX = 5


class SettingsError(Exception):
    """The environment is not one a gateway can start in. Each problem names its variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class ModelProfile:
    """Where a model answers, and as whom the gateway asks. Releases name a profile and never see this.

    Attributes:
        base_url: of an OpenAI-compatible API, such as ``https://api.example.com/v1``.
        structured_output: how the endpoint is asked for JSON; `none` where it knows no `response_format`.
        retries: how often a question is asked again, where that is safe.
        fallbacks: names of the profiles that are asked, in this order, when this one fails.
        price: what its tokens cost; budgets of money can be kept only where it is known.
    """

    name: str
    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    structured_output: str = "json_schema"
    retries: int = 1
    fallbacks: tuple[str, ...] = ()
    price: Price | None = None


@dataclass(frozen=True)
class Settings:
    """The configuration of one gateway process.

    Attributes:
        trusted_keys: the organization's public keys; more than one while a key is being replaced.
        address: where callers reach the gateway.
        admin: where Studio reaches the admin API; None means at the callers' address.
        max_concurrent: executions at once; more are answered with 503.
        max_connections: connections of callers at once; more are answered with 503.
        request_read_s: seconds in which a request must have arrived whole.
        reader_stall_s: seconds that an answer waits for a reader who takes nothing of it.
        drain_s: seconds that running executions get to finish after SIGTERM.
        executions_kept: records of the execution log that are kept.
        results_kept_s: seconds for which results of executions in the background are kept.
        sessions_kept_s: seconds after its last use for which a session is kept.
        redis_url: of a Redis that gateways share; "" for none: sessions, limits and results then lie in files.
        redis_group: sets gateways apart that share a Redis, but no state.
        warm: whether Nexus is loaded as soon as there is a workflow, and not only with its first execution.
        tool_rules: where the tools of agents may reach.
        tool_secrets: what they may send in headers, by name.
    """

    address: Address
    data_dir: Path
    deploy_token: str = field(repr=False)
    trusted_keys: tuple[Ed25519PublicKey, ...]
    profiles: Mapping[str, ModelProfile]
    log_level: str = "info"
    max_concurrent: int = 256
    max_body_bytes: int = 1_048_576
    drain_s: int = 30
    executions_kept: int = 100_000
    results_kept_s: int = 86_400
    sessions_kept_s: int = 2_592_000
    redis_url: str = field(default="", repr=False)
    redis_group: str = "default"
    warm: bool = True
    admin: Address | None = None
    max_connections: int = 4_096
    request_read_s: int = 30
    reader_stall_s: int = 30
    tool_rules: OutgoingRules = field(default_factory=OutgoingRules)
    tool_secrets: Mapping[str, ToolSecret] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the ``GATEWAY_*`` variables.

        Raises:
            SettingsError: one or more are missing or wrong; all of them are named at once.
        """
        return _Reader(environ).settings()


class _Reader:
    """Reads variables one by one and collects the problems, so that an operator fixes them in one go."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def settings(self) -> Settings:
        address, admin = self._addresses()
        data_dir = self._text("GATEWAY_DATA_DIR", "a folder for the gateway's store and identity")
        deploy_token = self._deploy_token()
        trusted_keys = self._trusted_keys()
        profiles = self._profiles()
        log_level = self._choice("GATEWAY_LOG_LEVEL", "info", _LOG_LEVELS)
        max_concurrent = self._number("GATEWAY_MAX_CONCURRENT", 256, 1, 100_000)
        max_body_bytes = self._number("GATEWAY_MAX_BODY_BYTES", 1_048_576, 1_024, 104_857_600)
        drain_s = self._number("GATEWAY_DRAIN_SECONDS", 30, 0, 3_600)
        executions_kept = self._number("GATEWAY_EXECUTIONS_KEPT", 100_000, 100, 100_000_000)
        results_kept_s = self._number("GATEWAY_RESULTS_KEPT_S", 86_400, 60, 2_592_000)
        sessions_kept_s = self._number("GATEWAY_SESSIONS_KEPT_S", 2_592_000, 60, 31_536_000)
        redis_url, redis_group = self._redis()
        warm = self._choice("GATEWAY_WARM", "1", ("0", "1")) == "1"
        max_connections = self._number("GATEWAY_MAX_CONNECTIONS", 4_096, 16, 1_000_000)
        request_read_s = self._number("GATEWAY_REQUEST_READ_S", 30, 1, 3_600)
        reader_stall_s = self._number("GATEWAY_READER_STALL_S", 30, 1, 3_600)
        tool_rules = OutgoingRules(
            hosts=self._each("GATEWAY_TOOL_HOSTS", HostPattern.parse),
            networks=self._each("GATEWAY_TOOL_NETWORKS", ipaddress.ip_network),
        )
        secrets_path = self._environ.get("GATEWAY_TOOL_SECRETS", "").strip()
        tool_secrets = read_secrets(secrets_path, self._environ, self._problem)
        if self._problems:
            raise SettingsError(self._problems)
        return Settings(
            address=address, data_dir=Path(data_dir), deploy_token=deploy_token, trusted_keys=trusted_keys,
            profiles=profiles, log_level=log_level, max_concurrent=max_concurrent, max_body_bytes=max_body_bytes,
            drain_s=drain_s, executions_kept=executions_kept, results_kept_s=results_kept_s,
            sessions_kept_s=sessions_kept_s, redis_url=redis_url, redis_group=redis_group, warm=warm,
            admin=admin, max_connections=max_connections, request_read_s=request_read_s, reader_stall_s=reader_stall_s,
            tool_rules=tool_rules, tool_secrets=tool_secrets,
        )  # fmt: skip

    def _problem(self, variable: str, reason: str) -> None:
        self._problems.append(f"{variable} {reason}")

    def _text(self, variable: str, meaning: str) -> str:
        value = self._environ.get(variable, "").strip()
        if not value:
            self._problem(variable, f"is not set; it is {meaning}")
        return value

    def _addresses(self) -> tuple[Address, Address | None]:
        callers = Address(*self._host_and_port("GATEWAY_ADDRESS", "127.0.0.1:8100"), self._tls("GATEWAY_TLS"))
        admin_tls = self._tls("GATEWAY_ADMIN_TLS", client_ca="GATEWAY_ADMIN_TLS_CLIENT_CA")
        if not self._environ.get("GATEWAY_ADMIN_ADDRESS", "").strip():
            if admin_tls is not None:
                self._problem("GATEWAY_ADMIN_ADDRESS", "is not set, but GATEWAY_ADMIN_TLS_CERT is")
            return callers, None
        return callers, Address(*self._host_and_port("GATEWAY_ADMIN_ADDRESS", ""), admin_tls)

    def _host_and_port(self, variable: str, default: str) -> tuple[str, int]:
        address = self._environ.get(variable, default).strip()
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        if not host or not port.isdecimal() or int(port) > 65_535:
            self._problem(variable, f"must be host:port, such as 127.0.0.1:8100; it is {address!r}")
            return "", 0
        return host, int(port)

    def _tls(self, prefix: str, *, client_ca: str = "") -> Tls | None:
        """The certificate that `{prefix}_CERT` and `{prefix}_KEY` name, tried out: both must fit together."""
        certificate, key, authority = (
            self._environ.get(variable, "").strip() for variable in (f"{prefix}_CERT", f"{prefix}_KEY", client_ca)
        )
        if not (certificate or key or authority):
            return None
        if not (certificate and key):
            self._problem(f"{prefix}_KEY" if certificate else f"{prefix}_CERT", "is not set; TLS needs both")
            return None
        tls = Tls(Path(certificate), Path(key), Path(authority) if authority else None)
        try:
            tls.context()
        except OSError as error:
            names = ", ".join(variable for variable in (f"{prefix}_CERT", f"{prefix}_KEY", client_ca) if variable)
            self._problem(names, f"cannot be used: {error.strerror or 'no PEM files that belong together'}")
            return None
        return tls

    def _deploy_token(self) -> str:
        token = self._text("GATEWAY_DEPLOY_TOKEN", "the secret that opens the admin API to Studio")
        if token and (len(token) < DEPLOY_TOKEN_MIN_LENGTH or not token.isascii() or re.search(r"\s", token)):
            self._problem(
                "GATEWAY_DEPLOY_TOKEN", f"must have at least {DEPLOY_TOKEN_MIN_LENGTH} ASCII characters and no space"
            )
        return token

    def _trusted_keys(self) -> tuple[Ed25519PublicKey, ...]:
        text = self._text("GATEWAY_TRUSTED_KEY", "the organization's public key, as Studio shows it")
        try:
            return tuple(public_key_from_text(part.strip()) for part in text.split(",") if text)
        except ContractError as error:
            self._problem("GATEWAY_TRUSTED_KEY", f"is no public key: {error.reason}")
            return ()

    def _redis(self) -> tuple[str, str]:
        """The URL, which may hold a password and is not repeated in a problem, and the group."""
        url = self._environ.get("GATEWAY_REDIS_URL", "").strip()
        try:
            parts = urlsplit(url)
            usable = not url or (parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0)
        except ValueError:
            usable = False
        if not usable:
            self._problem("GATEWAY_REDIS_URL", "must be of the form redis://[:password@]host:port/0, or rediss://…")
        group = self._environ.get("GATEWAY_REDIS_GROUP", "").strip() or "default"
        if not re.fullmatch(PROFILE_PATTERN, group):
            self._problem(
                "GATEWAY_REDIS_GROUP", f"must be made of lower-case letters, digits and single hyphens; it is {group!r}"
            )
        return url, group

    def _number(self, variable: str, default: int, least: int, most: int) -> int:
        text = self._environ.get(variable, "").strip() or str(default)
        if not text.isdecimal() or not least <= int(text) <= most:
            self._problem(variable, f"must be a whole number from {least} to {most}; it is {text!r}")
            return default
        return int(text)

    def _each(self, variable: str, parse: Callable[[str], _Value]) -> tuple[_Value, ...]:
        """A list, separated by commas."""
        texts = [text.strip() for text in self._environ.get(variable, "").split(",")]
        try:
            return tuple(parse(text) for text in texts if text)
        except ValueError as error:
            self._problem(variable, f"cannot be used: {error}")
            return ()

    def _choice(self, variable: str, default: str, choices: tuple[str, ...]) -> str:
        value = (self._environ.get(variable, "").strip() or default).lower()
        if value not in choices:
            self._problem(variable, f"must be one of {', '.join(choices)}; it is {value!r}")
        return value

    def _profiles(self) -> dict[str, ModelProfile]:
        profiles = self._profiles_of_file()
        base_url = self._environ.get("GATEWAY_MODEL_BASE_URL", "").strip()
        model = self._environ.get("GATEWAY_MODEL_NAME", "").strip()
        if base_url or model:
            api_key = self._environ.get("GATEWAY_MODEL_API_KEY", "").strip()
            if not model:
                self._problem("GATEWAY_MODEL_NAME", "is not set, but GATEWAY_MODEL_BASE_URL is")
            self._check_base_url("GATEWAY_MODEL_BASE_URL", base_url)
            profiles[DEFAULT_PROFILE] = ModelProfile(DEFAULT_PROFILE, base_url.rstrip("/"), model, api_key)
        if not profiles and not self._environ.get("GATEWAY_MODEL_PROFILES"):
            self._problem(
                "GATEWAY_MODEL_BASE_URL",
                "is not set; it is an OpenAI-compatible endpoint (or name profiles by GATEWAY_MODEL_PROFILES)",
            )
        self._check_fallbacks(profiles)
        return profiles

    def _profiles_of_file(self) -> dict[str, ModelProfile]:
        variable = "GATEWAY_MODEL_PROFILES"
        path = self._environ.get(variable, "").strip()
        if not path:
            return {}
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("profiles", {})
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self._problem(variable, f"names a file that cannot be read: {error}")
            return {}
        if not isinstance(tables, dict) or not tables:
            self._problem(variable, f"names {path}, which has no [profiles.<name>] table")
            return {}
        found = {name: self._profile(f"{variable}: profiles.{name}", name, table) for name, table in tables.items()}
        return {name: profile for name, profile in found.items() if profile}

    def _profile(self, where: str, name: str, table: Any) -> ModelProfile | None:
        if not re.fullmatch(PROFILE_PATTERN, name):
            self._problem(where, "has a name that is not made of lower-case letters, digits and single hyphens")
            return None
        if not isinstance(table, dict):
            self._problem(where, "must be a table")
            return None
        for member in sorted(_PROFILE_TEXTS & table.keys()):
            if not isinstance(table[member], str):
                self._problem(f"{where}.{member}", "must be a string")
                return None
        unknown = sorted(set(table) - _PROFILE_MEMBERS)
        if unknown:
            self._problem(where, f"has the unknown member {unknown[0]!r}; known: {', '.join(sorted(_PROFILE_MEMBERS))}")
        for member in ("base_url", "model"):
            if not table.get(member):
                self._problem(where, f"lacks {member!r}")
        self._check_base_url(f"{where}.base_url", table.get("base_url", "http://x"))
        structured_output = table.get("structured_output", "json_schema")
        if structured_output not in _STRUCTURED_OUTPUTS:
            self._problem(where, f"has a structured_output that is none of {', '.join(_STRUCTURED_OUTPUTS)}")
        api_key = self._api_key(where, table)
        base_url = table.get("base_url", "").rstrip("/")
        return ModelProfile(
            name, base_url, table.get("model", ""), api_key, structured_output,
            retries=self._retries(where, table), fallbacks=self._fallbacks(where, table),
            price=self._price(where, table),
        )  # fmt: skip

    def _retries(self, where: str, table: Mapping[str, Any]) -> int:
        retries = table.get("retries", 1)
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= _RETRIES_MAX:
            self._problem(f"{where}.retries", f"must be a whole number from 0 to {_RETRIES_MAX}")
            return 0
        return retries

    def _fallbacks(self, where: str, table: Mapping[str, Any]) -> tuple[str, ...]:
        fallbacks = table.get("fallbacks", [])
        if not isinstance(fallbacks, list) or not all(isinstance(name, str) for name in fallbacks):
            self._problem(f"{where}.fallbacks", "must be a list of names of profiles")
            return ()
        return tuple(fallbacks)

    def _check_fallbacks(self, profiles: Mapping[str, ModelProfile]) -> None:
        for profile in profiles.values():
            for name in profile.fallbacks:
                if name not in profiles or name == profile.name:
                    reason = "is the profile itself" if name == profile.name else "is no profile of this gateway"
                    self._problem(f"profiles.{profile.name}.fallbacks", f"names {name!r}, which {reason}")

    def _price(self, where: str, table: Mapping[str, str]) -> Price | None:
        try:
            return Price.of_profile(table)
        except PriceError as error:
            self._problem(where, str(error))
            return None

    def _api_key(self, where: str, table: Mapping[str, str]) -> str:
        variable = table.get("api_key_env", "")
        if variable and not self._environ.get(variable):
            self._problem(variable, f"is not set, but {where} takes its key from it")
        return self._environ.get(variable, "") if variable else table.get("api_key", "")

    def _check_base_url(self, where: str, url: str) -> None:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:
            self._problem(where, f"must be an http or https address; it is {url!r}")
