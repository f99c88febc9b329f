"""Whether this gateway could serve the tools of a release: said when it is pushed, and not to its first caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.errors import ContractError
from contract.nodes import KAIZEN_AGENT
from contract.tools import RegistrationTool, parse_tools
from gateway_service.outgoing.rules import ForbiddenDestination, Origin
from gateway_service.tools.http_tool import plain_url, sent_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from contract.release import Release
    from contract.tools import HttpTool, McpTools
    from gateway_service.outgoing.rules import OutgoingRules
    from gateway_service.outgoing.secrets import ToolSecret


def check_tools(release: Release, rules: OutgoingRules, secrets: Mapping[str, ToolSecret]) -> None:
    """Refuse a release one of whose tools the gateway's operator does not allow.

    Raises:
        ContractError: its path names the tool.
    """
    for index, node in enumerate(release.workflow.nodes):
        if node.type != KAIZEN_AGENT or "tools" not in node.parameters:
            continue
        for position, tool in enumerate(parse_tools(node.parameters["tools"])):
            if isinstance(tool, RegistrationTool):
                continue
            try:
                _check(tool, rules, secrets)
            except ForbiddenDestination as error:
                path = f"workflow.nodes[{index}].parameters.tools[{position}]"
                raise ContractError(str(error), path) from None


def _check(tool: HttpTool | McpTools, rules: OutgoingRules, secrets: Mapping[str, ToolSecret]) -> None:
    url = plain_url(tool.url)
    rules.check(Origin.of(url))
    sent_headers(tool.headers, url, secrets)
