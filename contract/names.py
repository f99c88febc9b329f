"""The rules of names that travel: slugs, environments, registrations, nodes, fields, key ids.

A registration name is an HTTP path segment, an MCP tool name, an OpenAI model name, a file name and a command line
argument, so it is what all of those accept: at most 64 characters of lower-case letters, digits and hyphens. ``@`` can
never occur in one; ``{name}@canary`` is reserved for the gateway's own use.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from contract.errors import ContractError

SLUG_MAX_LENGTH = 48
ENVIRONMENT_MAX_LENGTH = 15
REGISTRATION_MAX_LENGTH = SLUG_MAX_LENGTH + 1 + ENVIRONMENT_MAX_LENGTH

SLUG_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
ENVIRONMENT_PATTERN = r"^[a-z][a-z0-9]*$"
NODE_ID_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
FIELD_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
KEY_ID_PATTERN = r"^[a-z0-9]{8,40}$"
PROFILE_PATTERN = SLUG_PATTERN

_CANARY = "@canary"


class RegistrationName(NamedTuple):
    """The two parts of a registration's name."""

    slug: str
    environment: str


def check_slug(slug: str) -> str:
    """Return the slug, or say what is wrong with it.

    Raises:
        ContractError: it is no slug.
    """
    return _checked(slug, "slug", SLUG_PATTERN, SLUG_MAX_LENGTH, "lower-case letters, digits and single hyphens")


def check_environment(environment: str) -> str:
    """Return an environment's name, or say what is wrong with it. It has no hyphen: see `split_registration_name`.

    Raises:
        ContractError: it is no environment name.
    """
    rule = "lower-case letters and digits"
    return _checked(environment, "environment", ENVIRONMENT_PATTERN, ENVIRONMENT_MAX_LENGTH, rule)


def registration_name(slug: str, environment: str) -> str:
    """``{slug}-{environment}``: the name callers use for a release on a gateway.

    Raises:
        ContractError: one of the parts is no valid name.
    """
    return f"{check_slug(slug)}-{check_environment(environment)}"


def split_registration_name(name: str) -> RegistrationName:
    """The slug and the environment of a registration; unambiguous, since environments have no hyphen.

    Raises:
        ContractError: it is no registration name.
    """
    slug, hyphen, environment = name.rpartition("-")
    if not hyphen:
        raise ContractError(f"the registration name {name[:80]!r} is not of the form <slug>-<environment>")
    return RegistrationName(check_slug(slug), check_environment(environment))


def check_registration_name(name: str) -> str:
    """Return the registration's name, or say what is wrong with it.

    Raises:
        ContractError: it is no registration name.
    """
    split_registration_name(name)
    return name


def canary_name(registration: str) -> str:
    """``{name}@canary``: where the release lies that a `route` sends a part of the registration's callers to."""
    return registration + _CANARY


def registration_of(placed_name: str) -> str:
    """The registration that a workflow's name on a gateway serves: itself, or the one whose canary it is."""
    return placed_name.removesuffix(_CANARY)


def check_workflow_name(name: str) -> str:
    """Return the name under which a release lies on a gateway, or say what is wrong with it.

    Raises:
        ContractError: it is neither a registration's name nor that of a registration's canary.
    """
    check_registration_name(registration_of(name))
    return name


def check_key_id(key_id: str) -> str:
    """Return a caller key's id, or say what is wrong with it.

    Raises:
        ContractError: it is no key id.
    """
    return _checked(key_id, "key id", KEY_ID_PATTERN, 40, "8 to 40 lower-case letters and digits")


def check_stop_id(stop_id: str) -> str:
    """Return a stop's id, or say what is wrong with it.

    Raises:
        ContractError: it is no stop id.
    """
    return _checked(stop_id, "stop id", KEY_ID_PATTERN, 40, "8 to 40 lower-case letters and digits")


def _checked(name: str, what: str, pattern: str, max_length: int, rule: str) -> str:
    if not name:
        raise ContractError(f"the {what} is empty")
    if len(name) > max_length:
        raise ContractError(f"the {what} has {len(name)} characters; the most is {max_length}")
    # fullmatch, because `$` would let a trailing newline pass.
    if not re.fullmatch(pattern, name):
        raise ContractError(f"the {what} {name!r} must be made of {rule}")
    return name
