"""From a published version to the release that is stored once and runs everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.agents.compiler import compile_version
from apps.core.errors import Invalid
from apps.deployments.models import Release
from contract.errors import ContractError

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion


def release_of(version: AgentVersion) -> Release:
    """The release of a version; compiled and stored the first time it is needed.

    Raises:
        Invalid: the version breaks the contract with the gateways.
    """
    existing = Release.objects.filter(agent_version=version).first()
    if existing is not None:
        return existing
    try:
        compiled = compile_version(version)
    except ContractError as error:
        raise Invalid(f"{version} cannot be released: {error}") from error
    # Two deploys of one version to two environments may meet here; the second takes what the first stored.
    release, _ = Release.objects.get_or_create(
        agent_version=version, defaults={"digest": compiled.digest, "body": compiled.canonical}
    )
    return release
