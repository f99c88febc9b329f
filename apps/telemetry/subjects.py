"""What a chart of executions is about, written so that it fits into an address and into the name of a live region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from apps.core.errors import NotFound
from apps.telemetry.windows import DAY, WINDOWS, Window

_LOOKUPS = {
    "": "",
    "agent": "agent_slug",
    "registration": "registration",
    "gateway": "gateway__name",
    "environment": "environment__slug",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A window of time, and the agent, registration, gateway or environment whose executions count (none: all).

    Written `24h`, `7d:agent:translator`, `1h:gateway:eu-1`.
    """

    window: Window = DAY
    kind: str = ""
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the written form.

        Raises:
            NotFound: it is none.
        """
        key, _, rest = text.partition(":")
        kind, _, name = rest.partition(":")
        if key not in WINDOWS or kind not in _LOOKUPS or bool(kind) != bool(name):
            raise NotFound("There is no such chart.")
        return cls(WINDOWS[key], kind, name)

    def __str__(self) -> str:
        return f"{self.window.key}:{self.kind}:{self.name}" if self.kind else self.window.key

    @property
    def where(self) -> dict[str, str]:
        """The look-ups that choose its rollups."""
        return {_LOOKUPS[self.kind]: self.name} if self.kind else {}

    @property
    def query(self) -> str:
        """The same choice in the address of the list of executions."""
        # The list finds a registration by its search box; the rest are filters of their own.
        chosen = {"search" if self.kind == "registration" else self.kind: self.name} if self.kind else {}
        return urlencode({**chosen, "window": self.window.key})

    def within(self, window: Window) -> Subject:
        """The same subject over another window."""
        return Subject(window, self.kind, self.name)

    @property
    def alternatives(self) -> list[Subject]:
        """The subject over each window."""
        return [self.within(window) for window in WINDOWS.values()]
