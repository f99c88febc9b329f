"""A gateway's API over HTTP, with the standard library only: the command line starts at once."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from contract.errors import ErrorCode
from gateway_service.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_URL = "http://127.0.0.1:8100"
_TIMEOUT_S = 660.0
"""Longer than any release may run."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: followed, it would carry the key to whatever address it names."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """What a key may do on one gateway."""

    def __init__(self, url: str, key: str, timeout_s: float = _TIMEOUT_S) -> None:
        """Remember where and who.

        Raises:
            CliError: the address is none.
        """
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise CliError(f"{url!r} is no http or https address", Exit.USAGE)
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Kaizen-Channel": "cli",
        }

    def registrations(self) -> dict[str, dict[str, Any]]:
        """What the key may call, by name."""
        found: dict[str, dict[str, Any]] = self._send("GET", "/workflows")
        return found

    def registration(self, name: str) -> dict[str, Any]:
        """One of them."""
        found: dict[str, Any] = self._send("GET", _path(name))
        return found

    def execute(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Run a registration to its end."""
        answer: dict[str, Any] = self._send("POST", f"{_path(name)}/execute", body)
        return answer

    def stream(self, name: str, body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Run a registration; its events as (name, content), as they come, the last of which is `done`.

        Raises:
            CliError: it failed, also when it fails after it began to speak.
        """
        with self._answer("POST", f"{_path(name)}/execute", {**body, "mode": "stream"}) as response:
            event = ""
            for line in map(bytes.decode, response):
                match line.rstrip("\n").partition(": "):
                    case "event", _, name:
                        event = name
                    case "data", _, content:
                        yield event, _checked(event, json.loads(content))
                        if event == "done":
                            return
        raise CliError("the answer ended in the middle", Exit.FAILED)

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        with self._answer(method, path, body) as response:
            return json.load(response)

    @contextmanager
    def _answer(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[http.client.HTTPResponse]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, content, self._headers, method=method)  # noqa: S310 (checked)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                yield response
        except urllib.error.HTTPError as error:
            raise CliError.of_answer(error.code, _json_of(error), error.headers.get("Retry-After")) from None
        except urllib.error.URLError as error:
            raise CliError(f"{self._url} cannot be reached: {error.reason}", Exit.UNAVAILABLE) from None
        except (OSError, http.client.HTTPException) as error:
            raise CliError(f"the connection to {self._url} broke: {error}", Exit.UNAVAILABLE) from None
        except ValueError:
            raise CliError(f"{self._url} did not answer as a gateway does", Exit.FAILED) from None


def _path(name: str) -> str:
    return f"/workflows/{urllib.parse.quote(name, safe='')}"


def _checked(event: str, content: dict[str, Any]) -> dict[str, Any]:
    if event != "error":
        return content
    try:
        status = ErrorCode(content["error"]["code"]).status
    except (KeyError, TypeError, ValueError):
        status = 500
    raise CliError.of_answer(status, content)


def _json_of(error: urllib.error.HTTPError) -> object:
    try:
        return json.load(error)
    except (ValueError, OSError):
        return None
