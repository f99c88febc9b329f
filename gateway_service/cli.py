"""Call a gateway from the command line.

    python -m gateway_service.cli list
    python -m gateway_service.cli run greeter-production --param message="Hello"

The key comes from GATEWAY_KEY, never from an argument, where other users of the machine would see it. The address
comes from --url or GATEWAY_URL.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

_DEFAULT_URL = "http://127.0.0.1:8100"
_TIMEOUT_S = 660.0


class CliError(Exception):
    """What went wrong, for the person at the terminal."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the process's exit status."""
    options = _parser().parse_args(arguments)
    try:
        client = _Client(options.url, _key())
        if options.command == "list":
            _list(client)
        else:
            _run(client, options)
    except CliError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _key() -> str:
    key = os.environ.get("GATEWAY_KEY", "")
    if not key:
        raise CliError("GATEWAY_KEY is not set; it holds your gateway key (kzk_…)")
    return key


class _Client:
    """JSON over HTTP, with the standard library only: the command line starts at once."""

    def __init__(self, url: str, key: str) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise CliError(f"{url!r} is no http or https address")
        self._url = url.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Kaizen-Channel": "cli",
        }

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 (the scheme is checked)
            self._url + path, content, self._headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise CliError(_message(error)) from None
        except urllib.error.URLError as error:
            raise CliError(f"{self._url} cannot be reached: {error.reason}") from None
        except (OSError, ValueError) as error:
            raise CliError(f"{self._url} did not answer as a gateway does: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway_service.cli", description="Call agents and workflows on a gateway."
    )
    url = os.environ.get("GATEWAY_URL", _DEFAULT_URL)
    parser.add_argument("--url", default=url, help="address of the gateway (default: GATEWAY_URL, or %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what your key may call")
    run = commands.add_parser("run", help="call a registration")
    run.add_argument("name", help="the registration, such as greeter-production")
    run.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="an input; may be repeated")
    run.add_argument("--session", help="a session id, for agents that remember")
    run.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    return parser


def _list(client: _Client) -> None:
    registrations = client.send("GET", "/workflows")
    for name, registration in sorted(registrations.items()):
        inputs = ", ".join(registration["inputs"].get("properties", {}))
        stopped = "  stopped" if registration.get("stopped") else ""
        print(f"{name}  {registration['title']} (version {registration['version']}; inputs: {inputs}){stopped}")
    if not registrations:
        print("Your key may call nothing on this gateway.", file=sys.stderr)


def _run(client: _Client, options: argparse.Namespace) -> None:
    path = f"/workflows/{urllib.parse.quote(options.name, safe='')}"
    texts = dict(_split(parameter) for parameter in options.param)
    properties = client.send("GET", path)["inputs"].get("properties", {})
    body: dict[str, Any] = {
        "inputs": {name: _value(name, text, properties.get(name, {})) for name, text in texts.items()}
    }
    if options.session:
        body["session_id"] = options.session
    answer = client.send("POST", f"{path}/execute", body)
    if options.json:
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return
    for name, value in answer["outputs"].items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(text if len(answer["outputs"]) == 1 else f"{name}: {text}")


def _split(parameter: str) -> tuple[str, str]:
    name, equals, value = parameter.partition("=")
    if not equals or not name:
        raise CliError(f"--param {parameter!r} is not of the form NAME=VALUE")
    return name, value


def _value(name: str, text: str, schema: Any) -> Any:
    """Text stays text where the input is a string; any other input is written as JSON."""
    if not isinstance(schema, dict) or schema.get("type", "string") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise CliError(f"--param {name} must be JSON of type {schema['type']}") from None


def _message(error: urllib.error.HTTPError) -> str:
    try:
        detail = json.load(error)["error"]
        execution = f" (execution {detail['execution_id']})" if detail.get("execution_id") else ""
        return f"{detail['message']}{execution}"
    except (ValueError, KeyError, TypeError, OSError):
        return f"the gateway answered with HTTP status {error.code}"


if __name__ == "__main__":
    sys.exit(main())
