"""The panel: what a person needs to sign in and to call the demo agent. The only reader of the seed's secrets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher import probes
from launcher.errors import LauncherError, NotReady
from launcher.layout import StateFolder

_QUESTION = "Say hello in one short sentence."
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Demo:
    """The demo agent at a gateway."""

    url: str
    key: str

    @property
    def curl(self) -> str:
        """A command line that works as it is pasted: neither a key nor an address needs quoting."""
        return (
            f"curl -sS {self.url} -H 'Authorization: Bearer {self.key}' "
            f"-H 'Content-Type: application/json' -d '{json.dumps(_inputs())}'"
        )

    def answer(self, *, seconds: float = _ANSWER_SECONDS) -> str:
        """Ask the agent.

        Args:
            seconds: how long to wait for the answer.

        Raises:
            NotReady: it does not answer, with the reason.
        """
        status, body = probes.request(self.url, body=_inputs(), token=self.key, timeout=seconds)
        if status != 200:
            raise NotReady(f"the demo agent answers {status}: {_reason(body)}")
        try:
            text = json.loads(body)["outputs"]["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise NotReady("the demo agent's answer has no text") from error
        if not isinstance(text, str) or not text.strip():
            raise NotReady("the demo agent's answer is empty")
        return text.strip()


@dataclass(frozen=True)
class Panel:
    """What is known of an installation, whether it runs or not."""

    addresses: Mapping[str, str]
    secrets: Mapping[str, Any]

    @classmethod
    def of(cls, folder: StateFolder, addresses: Mapping[str, str]) -> "Panel":
        """Read what the seed wrote; nothing is known before the first start.

        Args:
            addresses: where things will be, for an installation that has never started.

        Raises:
            LauncherError: a file is damaged.
        """
        return cls({**addresses, **_read(folder.addresses)}, _read(folder.panel))

    @property
    def demo(self) -> Demo | None:
        """The demo agent, once the seed has run."""
        where, key = self.secrets.get("demo"), self.secrets.get("gateway_key")
        if not where or not key:
            return None
        gateway = self.addresses[where["environment"]]
        return Demo(f"{gateway}/workflows/{where['registration']}/execute", key)

    def is_ready(self) -> bool:
        """Whether the demo agent answers now."""
        try:
            return self.demo is not None and bool(self.demo.answer())
        except NotReady:
            return False

    def document(self, *, ready: bool | None = None) -> dict[str, Any]:
        """The panel as `make panel` prints it. What is not known yet is null or empty.

        Args:
            ready: whether the demo agent answers, for a caller that has just asked it; otherwise it is asked now.
        """
        return {
            "ready": self.is_ready() if ready is None else ready,
            "dashboard": self.addresses["dashboard"],
            "users": self.secrets.get("users", []),
            "api_token": self.secrets.get("api_token"),
            "gateway_key": self.secrets.get("gateway_key"),
            "curl": self.demo.curl if self.demo else None,
            "operator": self.secrets.get("operator"),
            "operators": self.addresses["public"] + "admin/",
            "mailbox": self.addresses["public"] + "mailbox/",
        }


def for_people(panel: Mapping[str, Any], *, mailbox: bool) -> str:
    """The panel as `make up` prints it.

    Args:
        mailbox: whether mail lands in the embedded mailbox.
    """
    operator = panel["operator"] or {}
    sign_ins = [
        *((user["role"], user["email"], user["password"]) for user in panel["users"]),
        *([("operator", operator["email"], operator["password"])] if operator else []),
    ]
    widths = [max((len(row[column]) for row in sign_ins), default=0) for column in range(3)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in sign_ins]
    lines = [
        f"Dashboard    {panel['dashboard']}",
        *(f"{'Sign in' if index == 0 else '':<12} {row.rstrip()}" for index, row in enumerate(rows)),
        f"Operators    {panel['operators']}",
        *([f"Mailbox      {panel['mailbox']}"] if mailbox else []),
        f"API token    {panel['api_token'] or 'not made yet'}",
        f"Gateway key  {panel['gateway_key'] or 'not made yet'}",
        "",
        "Call the demo agent through a gateway:",
        f"  {panel['curl'] or 'not deployed yet'}",
    ]
    rule = "─" * 80
    return "\n".join([rule, *lines, rule])


def _inputs() -> dict[str, Any]:
    return {"inputs": {"message": _QUESTION}}


def _read(path: Any) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise LauncherError(f"{path} is damaged ({error}). `make up` writes it anew.") from error
    if not isinstance(document, dict):
        raise LauncherError(f"{path} is damaged (it holds no object). `make up` writes it anew.")
    return document


def _reason(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
