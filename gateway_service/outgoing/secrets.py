"""The secrets of tools: a release names one, the gateway's operator keeps it and says which hosts may be told.

Without the hosts, whoever may write a release could send any secret of the gateway to any allowed host.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.tools import SECRET_PATTERN
from gateway_service.outgoing.rules import HostPattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway_service.outgoing.rules import Origin

_MEMBERS = {"hosts", "value", "value_env"}
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True)
class ToolSecret:
    """A secret that tools send in a header.

    Attributes:
        hosts: the only destinations that may be told.
    """

    name: str
    value: str = field(repr=False)
    hosts: tuple[HostPattern, ...]

    def may_go_to(self, origin: Origin) -> bool:
        """Whether a destination may be told."""
        return any(pattern.covers(origin) for pattern in self.hosts)


def read_secrets(
    path: str, environ: Mapping[str, str], problem: Callable[[str, str], None]
) -> Mapping[str, ToolSecret]:
    """Read the operator's file of secrets.

    Args:
        path: of a TOML file with tables ``[secrets.<name>]`` of `hosts` and either `value` or `value_env`; "" for none.
        environ: where `value_env` is looked up.
        problem: is told each variable and what is wrong with it.
    """
    variable = "GATEWAY_TOOL_SECRETS"
    if not path:
        return {}
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8")).get("secrets")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem(variable, f"names a file that cannot be read: {error}")
        return {}
    if not isinstance(tables, dict) or not tables:
        problem(variable, f"names {path}, which has no [secrets.<name>] table")
        return {}
    read: dict[str, ToolSecret] = {}
    for name, table in tables.items():
        try:
            read[name] = _secret(name, table, environ)
        except ValueError as error:
            problem(f"{variable}: secrets.{name}", str(error))
    return read


def _secret(name: str, table: Any, environ: Mapping[str, str]) -> ToolSecret:
    if not re.fullmatch(SECRET_PATTERN, name):
        raise ValueError("has a name that is not made of lower-case letters, digits and single hyphens")
    if not isinstance(table, dict):
        raise ValueError("must be a table")  # noqa: TRY004 (told to the operator like the others)
    unknown = sorted(set(table) - _MEMBERS)
    if unknown:
        raise ValueError(f"has the unknown member {unknown[0]!r}; known: {', '.join(sorted(_MEMBERS))}")
    hosts = table.get("hosts")
    if not isinstance(hosts, list) or not hosts or not all(isinstance(host, str) for host in hosts):
        raise ValueError("lacks 'hosts', the list of hosts that may be told")
    return ToolSecret(name, _value(table, environ), tuple(HostPattern.parse(host) for host in hosts))


def _value(table: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    variable = table.get("value_env")
    if (variable is None) == ("value" not in table):
        raise ValueError("needs one of 'value' and 'value_env'")
    value = table.get("value") if variable is None else environ.get(str(variable), "").strip()
    if not value:
        raise ValueError("has no value" if variable is None else f"takes its value from {variable}, which is not set")
    if not isinstance(value, str) or _UNPRINTABLE.search(value):
        raise ValueError("has a value that cannot stand in a header: only printable ASCII can")
    return value
