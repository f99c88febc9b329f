"""Tools that are one HTTP request."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from contract.schemas import compile_schema, first_violation
from contract.tools import SECRET_MARK, arguments_of
from gateway_service.models.messages import ToolDefinition
from gateway_service.outgoing.client import OutgoingFailed, OutgoingRequest
from gateway_service.outgoing.rules import ForbiddenDestination, Origin
from gateway_service.tools.offered import ToolFailed, cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.tools import Header, HttpTool
    from gateway_service.outgoing.client import OutgoingAnswer, OutgoingClient
    from gateway_service.outgoing.secrets import ToolSecret

_MARK = re.compile(r"\{([^{}]*)\}")
_NO_SEGMENT = re.compile(r"[/\\\x00-\x1f\x7f]")


class HttpRequestTool:
    """An HTTP tool of a release, ready to be called."""

    type = "http"

    def __init__(self, tool: HttpTool, client: OutgoingClient, secrets: Mapping[str, ToolSecret]) -> None:
        # What the author does not declare would go into the query or the body all the same.
        schema = {"additionalProperties": False, **tool.arguments}
        self.definition = ToolDefinition(tool.name, tool.description, schema)
        self._tool = tool
        self._client = client
        self._secrets = secrets
        self._validator = compile_schema(schema)

    async def call(self, arguments: dict[str, Any]) -> str:
        """Send the request; what is no success is told with its status."""
        violation = first_violation(self._validator, arguments)
        if violation:
            raise ToolFailed(f"{violation.path or 'the arguments'} {violation.reason}")
        try:
            request = self._request(arguments)
            answer = await self._client.fetch(request, timeout_s=self._tool.timeout_s)
        except (ForbiddenDestination, OutgoingFailed) as error:
            raise ToolFailed(str(error)) from None
        if not 200 <= answer.status < 300:
            raise ToolFailed(cut(f"HTTP status {answer.status}\n{_text(answer)}", more=answer.truncated))
        return cut(_text(answer), more=answer.truncated)

    def _request(self, arguments: dict[str, Any]) -> OutgoingRequest:
        tool = self._tool
        named = set(arguments_of(tool.url))
        rest = {name: value for name, value in arguments.items() if name not in named}
        url = filled(tool.url, arguments)
        headers = sent_headers(tool.headers, url, self._secrets)
        if tool.sends_json:
            body = json.dumps(rest, ensure_ascii=False).encode()
            return OutgoingRequest(tool.method, url, {**headers, "Content-Type": "application/json"}, body)
        if rest:
            pairs = [(name, _plain(each)) for name, value in rest.items() for each in _values(value)]
            url += ("&" if "?" in url else "?") + urlencode(pairs, quote_via=quote)
        return OutgoingRequest(tool.method, url, headers)


def filled(template: str, arguments: Mapping[str, Any]) -> str:
    """A tool's URL with its arguments.

    Whatever the model wrote stays one segment of the path or one value of the query. A slash is refused in a path even
    encoded, since many servers decode before they look where a request leads.

    Raises:
        ToolFailed: a value cannot stand where it should.
    """
    path, question_mark, query = template.partition("?")

    def segment(match: re.Match[str]) -> str:
        text = _plain(arguments[match.group(1)])
        if not text or _NO_SEGMENT.search(text):
            raise ToolFailed(f"{match.group(1)} must be neither empty nor hold slashes or control characters")
        return quote(text, safe="")

    def value(match: re.Match[str]) -> str:
        return quote(_plain(arguments[match.group(1)]), safe="")

    path = _MARK.sub(segment, path)
    if any(step in (".", "..") for step in path.split("/")):
        raise ToolFailed("an argument must not lead to another folder of the server")
    return path + question_mark + _MARK.sub(value, query)


def plain_url(template: str) -> str:
    """A URL that leads where the tool's does, whatever its arguments are: they never stand in the host."""
    return _MARK.sub("x", template)


def sent_headers(headers: Sequence[Header], url: str, secrets: Mapping[str, ToolSecret]) -> dict[str, str]:
    """The headers of a tool, with their secrets.

    Raises:
        ForbiddenDestination: the gateway does not have a secret, or not for this destination.
    """
    sent: dict[str, str] = {}
    for header in headers:
        if header.secret is None:
            sent[header.name] = header.value
            continue
        secret = secrets.get(header.secret)
        if secret is None:
            raise ForbiddenDestination(f"the gateway has no secret {header.secret!r}")
        if not secret.may_go_to(Origin.of(url)):
            raise ForbiddenDestination(f"the gateway's operator does not allow the secret {header.secret!r} there")
        sent[header.name] = (header.value or SECRET_MARK).replace(SECRET_MARK, secret.value)
    return sent


def _text(answer: OutgoingAnswer) -> str:
    text = answer.text()
    if "\0" in text:
        return f"[{len(answer.content)} bytes of {answer.content_type}, which are no text]"
    return text


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
