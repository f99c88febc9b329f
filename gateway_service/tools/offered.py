"""What all kinds of tools have in common, as an agent at work sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from contract.canonical import strict_loads
from contract.errors import ContractError

if TYPE_CHECKING:
    from gateway_service.models.messages import ToolDefinition

RESULT_MAX_CHARACTERS = 32_000
"""How much of a tool's result goes to the model."""


class ToolFailed(Exception):
    """A tool did not do what the model wanted. The message is for the model, which may try something else."""


class OfferedTool(Protocol):
    """One tool that the model may call.

    Attributes:
        type: of the contract's kinds: http, mcp or registration.
        definition: what the model is told.
    """

    type: str
    definition: ToolDefinition

    async def call(self, arguments: dict[str, Any]) -> str:
        """Use it.

        Raises:
            ToolFailed: with the reason.
        """
        ...


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call, as a model wrote them.

    Raises:
        ToolFailed: they are no JSON object.
    """
    try:
        arguments = strict_loads(text or "{}")
    except ContractError as error:
        raise ToolFailed(f"the arguments are {error.reason}") from None
    if not isinstance(arguments, dict):
        raise ToolFailed("the arguments must be a JSON object")
    return arguments


def cut(text: str, *, more: bool = False) -> str:
    """A result as the model gets it: with a note where something is missing.

    Args:
        text: the result.
        more: whether it is not the whole of it already.
    """
    if len(text) <= RESULT_MAX_CHARACTERS and not more:
        return text
    shown = text[:RESULT_MAX_CHARACTERS]
    return f"{shown}\n[The gateway cut the result here, after {len(shown)} characters.]"
