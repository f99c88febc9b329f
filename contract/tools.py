"""The tools of an agent, as its release describes them: HTTP calls, MCP servers, and other registrations.

A release is the same in every environment, so it holds neither secrets nor environments: a secret is named, and kept by
the gateway's operator; another agent is named by its slug, and found in the environment of the agent that calls it.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, RootModel, model_validator

from contract.document import Part, parse_json
from contract.errors import ContractError
from contract.names import FIELD_PATTERN, SLUG_MAX_LENGTH, SLUG_PATTERN
from contract.schemas import check_schema

MAX_TOOLS = 64
"""The most tools that one agent may offer its model; each one of an MCP server counts."""

TOOL_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
SECRET_PATTERN = SLUG_PATTERN
SECRET_MARK = "{secret}"  # noqa: S105 (the place of one)
MCP_SEPARATOR = "__"
"""Between the name of an MCP server and that of its tool, in the name that the model sees."""

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

_URL_MAX_LENGTH = 2_000
_MARK = re.compile(r"\{([^{}]*)\}")
_TAG = re.compile(r"^(\[\d+\])\.(?:http|mcp|registration)(?=\.|$)")
_HEADER_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"
_HEADER_VALUE_PATTERN = r"^[\x20-\x7e]*$"
_HEADERS_OF_THE_CLIENT = frozenset(
    {
        "accept-encoding", "connection", "content-length", "content-type", "cookie", "expect", "host", "keep-alive",
        "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip

ToolName = Annotated[str, Field(pattern=TOOL_NAME_PATTERN)]
Url = Annotated[str, Field(max_length=_URL_MAX_LENGTH)]
Seconds = Annotated[float, Field(gt=0, le=120)]


class Header(Part):
    """A header that a tool sends.

    Attributes:
        value: what it says; ``{secret}`` stands for the secret. Empty with a secret: the secret alone.
        secret: the name of a secret of the gateway's operator.
    """

    name: Annotated[str, Field(pattern=_HEADER_PATTERN)]
    value: Annotated[str, Field(max_length=1_000, pattern=_HEADER_VALUE_PATTERN)] = ""
    secret: Annotated[str, Field(pattern=SECRET_PATTERN, max_length=48)] | None = None

    @model_validator(mode="after")
    def _is_sendable(self) -> Header:
        if self.name.lower() in _HEADERS_OF_THE_CLIENT:
            raise ContractError(f"the header {self.name} is set by the gateway itself", "name")
        if self.secret is None and SECRET_MARK in self.value:
            raise ContractError("holds {secret}, but names no secret", "value")
        if self.secret is not None and self.value and SECRET_MARK not in self.value:
            raise ContractError("names a secret, but its value has no place for it: write {secret}", "value")
        return self


class HttpTool(Part):
    """One HTTP request, whose arguments the model chooses.

    An argument that the URL names as ``{argument}`` goes there, encoded, so that it can be nothing but one segment of
    the path or one value of the query. The others are the query of a GET or DELETE, and else the members of a JSON
    body; `send_as` decides otherwise.

    Attributes:
        arguments: JSON Schema of an object; what the model is told and held to.
        timeout_s: seconds for the whole request.
    """

    type: Literal["http"]
    name: ToolName
    description: Annotated[str, Field(min_length=1, max_length=4_000)]
    arguments: dict[str, Any] = Field(default_factory=lambda: NO_ARGUMENTS)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Url
    headers: Annotated[list[Header], Field(max_length=20)] = Field(default_factory=list)
    send_as: Literal["query", "json"] | None = None
    timeout_s: Seconds = 20.0

    @property
    def sends_json(self) -> bool:
        """Whether the arguments that the URL does not name are a JSON body."""
        return (self.send_as or ("query" if self.method in ("GET", "DELETE") else "json")) == "json"

    @property
    def names(self) -> list[str]:
        """The names that the model sees."""
        return [self.name]

    @model_validator(mode="after")
    def _is_callable(self) -> HttpTool:
        schema = check_schema(self.arguments, "arguments")
        if schema.get("type") != "object":
            raise ContractError("must be the schema of an object", "arguments.type")
        _check_url(_MARK.sub("x", self.url), self.url)
        required = schema.get("required", ())
        for name in arguments_of(self.url):
            if not re.fullmatch(FIELD_PATTERN, name) or name not in schema.get("properties", {}):
                raise ContractError(f"{{{name[:80]}}} is no property of the tool's arguments", "url")
            if name not in required:
                raise ContractError(f"{{{name}}} must be a required argument, since the URL needs it", "url")
        if self.method == "GET" and self.sends_json:
            raise ContractError("a GET has no body", "send_as")
        return self


class McpTools(Part):
    """Tools of an MCP server (streamable HTTP), chosen by name: what else the server offers is not used.

    Attributes:
        name: begins the names that the model sees, ``{name}__{tool}``.
        tools: as the server calls them.
        timeout_s: seconds for each call.
    """

    type: Literal["mcp"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,30}$")]
    url: Url
    headers: Annotated[list[Header], Field(max_length=20)] = Field(default_factory=list)
    tools: Annotated[list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_./-]{1,128}$")]], Field(min_length=1)]
    timeout_s: Seconds = 20.0

    @property
    def names(self) -> list[str]:
        """The names that the model sees."""
        return [self.shown(tool) for tool in self.tools]

    def shown(self, tool: str) -> str:
        """What the model calls a tool of the server."""
        return self.name + MCP_SEPARATOR + re.sub("[./]", "_", tool)

    @model_validator(mode="after")
    def _is_reachable(self) -> McpTools:
        _check_url(self.url, self.url)
        for index, shown in enumerate(self.names):
            if len(shown) > 64:
                raise ContractError("has, with the server's name before it, more than 64 characters", f"tools[{index}]")
        return self


class RegistrationTool(Part):
    """Another agent of the same gateway and environment, called with the rights of whoever called this one.

    Attributes:
        agent: the slug of the agent or workflow; its registration is ``{slug}-{environment}``.
        description: what the model is told; empty for what the other release says of itself.
    """

    type: Literal["registration"]
    name: ToolName
    agent: Annotated[str, Field(pattern=SLUG_PATTERN, max_length=SLUG_MAX_LENGTH)]
    description: Annotated[str, Field(max_length=4_000)] = ""

    @property
    def names(self) -> list[str]:
        """The names that the model sees."""
        return [self.name]


Tool = HttpTool | McpTools | RegistrationTool


class _Tools(RootModel[list[Annotated[Tool, Field(discriminator="type")]]]):
    """The list, to be parsed."""


def parse_tools(tools: list[dict[str, Any]]) -> tuple[Tool, ...]:
    """Read the `tools` of an agent.

    Raises:
        ContractError: one of them breaks the contract; its path begins at the list.
    """
    try:
        parsed = tuple(parse_json(_Tools, json.dumps(tools)).root)
    except ContractError as error:
        # pydantic names the chosen type in its path, which the document does not have.
        raise ContractError(error.reason, _TAG.sub(r"\1", error.path)) from None
    names = [name for tool in parsed for name in tool.names]
    if len(names) > MAX_TOOLS:
        raise ContractError(f"an agent has at most {MAX_TOOLS} tools; these are {len(names)}")
    taken: set[str] = set()
    for name in names:
        if name in taken:
            raise ContractError(f"two tools have the name {name!r}")
        taken.add(name)
    return parsed


def arguments_of(url: str) -> list[str]:
    """The arguments that a URL names, in its order."""
    return _MARK.findall(url)


def _check_url(plain: str, written: str) -> None:
    try:
        parts = urlsplit(plain)
        written_parts = urlsplit(written)
        _ = parts.port
    except ValueError:
        raise ContractError("is no URL", "url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ContractError("must be an http or https URL", "url")
    if "@" in parts.netloc:
        raise ContractError("must hold no user name or password; send a header with a secret", "url")
    if "{" in written_parts.scheme or "{" in written_parts.netloc:
        raise ContractError("the host is the release's; arguments stand in the path or the query", "url")
    if parts.fragment or any(not "!" <= character <= "~" for character in plain) or set(plain) & set('\\"<>{}|^`'):
        raise ContractError("holds a character that must be encoded, or a fragment", "url")
