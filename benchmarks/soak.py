"""How one gateway stands ten minutes of everything at once.

Callers on every channel, some of whom hang up in the middle; meanwhile releases are replaced, canaries come and go,
keys are made and revoked, and registrations stopped and released. An error counts unless a limit explains it: a key
that was revoked, a stop in force, or a gateway that was full. Memory and file descriptors have to be flat once
everything has happened once.

`KAIZEN_SOAK_MINUTES` changes the length (10), `KAIZEN_SOAK_CALLERS` the number of callers at once (12).

Prints `{"minutes", "calls", "explained", "unexplained", "examples", "pushes", "memory_mb", "descriptors", "flat",
"ok"}`; memory and descriptors as they were after the warm-up and at the end. The status is 1 unless all is well.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from contract.kinds import API_KEY, ROUTE, WORKFLOW
from contract.names import canary_name
from tests.doubles.model_server import ModelServer
from tests.harness.gateway import GatewayProcess, agent_release

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.caller_keys import KeyText
    from tests.harness.gateway import Studio

_NAMES = [f"agent-{number}-soak" for number in range(6)]
_STOPPABLE = _NAMES[0]
_KEYS = 6
_SAMPLE_S = 2.0
_CHANGE_S = 0.25
_WARM_UP = 0.3
"""The part of the run after which memory and descriptors may not grow any more."""
_MEMORY_SLACK = 1.05
_MEMORY_SLACK_MB = 8.0
_DESCRIPTOR_SLACK = 12
_MCP_HEADERS = {"Accept": "application/json, text/event-stream"}


@dataclass
class Outcome:
    """What callers met."""

    calls: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, channel: str, code: str, *, explained: bool, example: str) -> None:
        """One call; `code` is empty where it went well."""
        with self._lock:
            self.calls[channel] += 1
            if code and explained:
                self.explained[code] += 1
            elif code:
                self.unexplained[f"{channel}: {code}"] += 1
                self.examples.append(example[:300])


class Changes:
    """What is changed meanwhile, by one thread, in the order in which Studio would."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._generations: Counter[tuple[str, str]] = Counter()
        self._versions = 0
        self._stop_began = self._stop_ended = 0.0
        self.pushes = 0
        self.revoked: set[str] = set()
        for name in _NAMES:
            self._place(name)
        self.keys = [studio.issue() for _ in range(_KEYS)]

    def once(self) -> None:
        """One change of each kind, in turn."""
        turn = self.pushes % 5
        self.pushes += 1
        name = random.choice(_NAMES)
        if turn == 0:
            self._place(name)
        elif turn == 1:
            self._replace_a_key()
        elif turn == 2:
            self._canary(name)
        elif turn == 3:
            self._stop_for_a_moment()
        else:
            self._end_canary(name)

    def explains(self, code: str, key: KeyText, name: str, began: float) -> bool:
        """Whether a limit explains an error that a call since `began` has met."""
        match code:
            case "unauthenticated":
                return key.id in self.revoked
            case "stopped":
                return name == _STOPPABLE and self._stop_began > 0 and not 0 < self._stop_ended < began
            case "overloaded":
                return True
            case _:
                return False

    def _next(self, kind: str, name: str) -> int:
        self._generations[kind, name] += 1
        return self._generations[kind, name]

    def _release(self) -> Any:
        self._versions += 1
        return agent_release(version=self._versions, instructions=f"Version {self._versions}.", memory=True)

    def _place(self, name: str) -> None:
        self._studio.place(name, self._release(), self._next("workflow", name))

    def _canary(self, name: str) -> None:
        release = self._release()
        self._studio.place(canary_name(name), release, self._next("workflow", canary_name(name)))
        self._studio.route(name, release.digest, random.randint(1, 100), self._next("route", name))

    def _end_canary(self, name: str) -> None:
        self._studio.delete(ROUTE, name, self._next("route", name)).raise_for_status()
        canary = canary_name(name)
        self._studio.delete(WORKFLOW, canary, self._next("workflow", canary)).raise_for_status()

    def _replace_a_key(self) -> None:
        place = random.randrange(len(self.keys))
        gone, self.keys[place] = self.keys[place], self._studio.issue()
        self.revoked.add(gone.id)
        self._studio.delete(API_KEY, gone.id, 2).raise_for_status()

    def _stop_for_a_moment(self) -> None:
        self._stop_began, self._stop_ended = time.monotonic(), 0.0
        stop = self._studio.stop(_STOPPABLE)["name"]
        time.sleep(_CHANGE_S / 5)
        self._studio.lift(stop).raise_for_status()
        self._stop_ended = time.monotonic()


class Caller:
    """Calls at random, until it is told to end."""

    def __init__(self, address: str, changes: Changes, outcome: Outcome) -> None:
        self._client = httpx.Client(base_url=address, timeout=30)
        self._changes = changes
        self._outcome = outcome
        self._channels: dict[str, Callable[[KeyText, str], str]] = {
            "api": self._api,
            "stream": self._stream,
            "openai": self._openai,
            "openai stream": self._openai_stream,
            "mcp": self._mcp,
            "list": self._list,
            "hang up": self._hang_up,
        }

    def run(self, ending: threading.Event) -> None:
        """Call until the end."""
        with self._client:
            while not ending.is_set():
                self._call()

    def _call(self) -> None:
        channel = random.choice(list(self._channels))
        key, name, began = random.choice(self._changes.keys), random.choice(_NAMES), time.monotonic()
        try:
            code, example = self._channels[channel](key, name), ""
        except httpx.HTTPError as error:
            code, example = type(error).__name__, str(error)
        explained = bool(code) and self._changes.explains(code, key, name, began)
        self._outcome.count(channel, code, explained=explained, example=f"{channel} {name}: {code} {example}")

    def _api(self, key: KeyText, name: str) -> str:
        body = {"inputs": {"message": "Hello there"}, "session_id": f"s{random.randrange(200)}"}
        return _code(self._client.post(f"/workflows/{name}/execute", json=body, headers=_bearer(key)))

    def _stream(self, key: KeyText, name: str) -> str:
        body = {"inputs": {"message": "Hello there"}, "mode": "stream"}
        return self._read_stream(f"/workflows/{name}/execute", body, key, end="event: done")

    def _openai(self, key: KeyText, name: str) -> str:
        return _code(self._client.post("/v1/chat/completions", json=_chat(name), headers=_bearer(key)))

    def _openai_stream(self, key: KeyText, name: str) -> str:
        return self._read_stream("/v1/chat/completions", {**_chat(name), "stream": True}, key, end="data: [DONE]")

    def _mcp(self, key: KeyText, name: str) -> str:
        params = {"name": name, "arguments": {"message": "Hello there"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = self._client.post("/mcp", json=body, headers={**_bearer(key), **_MCP_HEADERS})
        if answer.status_code != 200:
            return _code(answer)
        result = answer.json()["result"]
        return str(result["_meta"]["error"]["code"]) if result.get("isError") else ""

    def _list(self, key: KeyText, _: str) -> str:
        return _code(self._client.get("/workflows", headers=_bearer(key)))

    def _hang_up(self, key: KeyText, name: str) -> str:
        body = {"inputs": {"message": "word " * 200}, "mode": "stream"}
        with self._client.stream("POST", f"/workflows/{name}/execute", json=body, headers=_bearer(key)) as answer:
            if answer.status_code != 200:
                answer.read()
                return _code(answer)
            next(answer.iter_raw())
        return ""

    def _read_stream(self, path: str, body: dict[str, Any], key: KeyText, *, end: str) -> str:
        with self._client.stream("POST", path, json=body, headers=_bearer(key)) as answer:
            text = answer.read().decode()
        if answer.status_code != 200:
            return _code(answer)
        if end in text:
            return ""
        errors = [line.removeprefix("data: ") for line in text.splitlines() if '"error"' in line]
        return str(json.loads(errors[-1])["error"]["code"]) if errors else "stream without an end"


class Samples:
    """Memory and descriptors of a process, over time."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self.memory_mb: list[float] = []
        self.descriptors: list[int] = []

    def take(self) -> None:
        """Look once."""
        status = (self._proc / "status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        self.memory_mb.append(int(resident.split()[1]) / 1_024)
        self.descriptors.append(len(list((self._proc / "fd").iterdir())))

    def ends(self, series: list[Any]) -> tuple[float, float]:
        """The median of the first quarter after the warm-up, and that of the last one."""
        warm = series[int(len(series) * _WARM_UP) :]
        quarter = max(1, len(warm) // 4)
        return statistics.median(warm[:quarter]), statistics.median(warm[-quarter:])

    @property
    def flat(self) -> bool:
        """Whether neither has grown since the warm-up."""
        memory, later_memory = self.ends(self.memory_mb)
        descriptors, later_descriptors = self.ends(self.descriptors)
        return (
            later_memory <= memory * _MEMORY_SLACK + _MEMORY_SLACK_MB
            and later_descriptors <= descriptors + _DESCRIPTOR_SLACK
        )


def main() -> int:
    """Soak a gateway, and say how it stood."""
    minutes = float(os.environ.get("KAIZEN_SOAK_MINUTES", "10"))
    callers = int(os.environ.get("KAIZEN_SOAK_CALLERS", "12"))
    folder = Path(tempfile.mkdtemp(prefix="kaizen-soak-"))
    # Fewer executions at once than callers, so that it is full now and then.
    bounds = {"GATEWAY_EXECUTIONS_KEPT": "1000", "GATEWAY_MAX_CONCURRENT": str(max(2, callers - 2))}
    try:
        with ModelServer() as model:
            gateway = GatewayProcess(folder / "gateway", model.base_url, extra=bounds).start()
            try:
                result = _soak(gateway, model, minutes, callers)
            finally:
                gateway.stop()
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result))
    return 0 if result["ok"] else 1


def _soak(gateway: GatewayProcess, model: ModelServer, minutes: float, callers: int) -> dict[str, Any]:
    changes, outcome, ending = Changes(gateway.admin()), Outcome(), threading.Event()
    threads = [
        threading.Thread(target=Caller(gateway.address, changes, outcome).run, args=(ending,)) for _ in range(callers)
    ]
    samples = Samples(gateway.pid)
    for thread in threads:
        thread.start()
    try:
        _meanwhile(changes, samples, model, time.monotonic() + minutes * 60)
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    rounded = {
        what: dict(zip(("warm", "end"), (round(value, 1) for value in samples.ends(series)), strict=True))
        for what, series in (("memory_mb", samples.memory_mb), ("descriptors", samples.descriptors))
    }
    return {
        "minutes": minutes, "calls": dict(outcome.calls), "explained": dict(outcome.explained),
        "unexplained": dict(outcome.unexplained), "examples": outcome.examples[:5], "pushes": changes.pushes,
        **rounded, "flat": samples.flat, "ok": samples.flat and not outcome.unexplained,
    }  # fmt: skip


def _meanwhile(changes: Changes, samples: Samples, model: ModelServer, until: float) -> None:
    sampled, told = 0.0, time.monotonic()
    while time.monotonic() < until:
        changes.once()
        if time.monotonic() - sampled >= _SAMPLE_S:
            sampled = time.monotonic()
            samples.take()
            # The double remembers what it was asked, which nobody reads here.
            model.forget()
        if time.monotonic() - told >= 30:
            told = time.monotonic()
            memory, descriptors = samples.memory_mb[-1], samples.descriptors[-1]
            print(f"{changes.pushes} changes, {memory:.0f} MB, {descriptors} descriptors", file=sys.stderr, flush=True)
        time.sleep(_CHANGE_S)


def _bearer(key: KeyText) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text}"}


def _chat(name: str) -> dict[str, Any]:
    return {"model": name, "messages": [{"role": "user", "content": "Hello there"}]}


def _code(answer: httpx.Response) -> str:
    return "" if answer.status_code == 200 else str(answer.json()["error"]["code"])


if __name__ == "__main__":
    sys.exit(main())
