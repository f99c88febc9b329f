"""What the gateway costs around a workflow that costs nothing, against what else could answer.

One trivial workflow, a text with one blank, is answered by bare FastAPI (which only answers), by kailash's runtime
called directly, by Nexus's own HTTP server, and by this gateway with everything on: key, schema, limits, metrics,
execution log. Each is a process of its own. In each round they take turns at 1, 16 and 64 connections; figures are
medians over the rounds.

Prints `{"rps": {contender: {connections: n}}, "vs_stock_nexus", "vs_fastapi", "p50_ms", "p99_ms": {connections: n},
"cpu_us": {contender: {connections: n}}}`; the ratios and latencies are those of the gateway with one worker. `cpu_us`
is the contender's processor time for each request, which a busy machine distorts least. `KAIZEN_BENCH_ROUNDS` and
`KAIZEN_BENCH_SECONDS` (of each measurement) change the effort.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import httpx

from benchmarks._contenders import ANSWER, TEMPLATE, WORKFLOW
from benchmarks._load import Load, Seen
from tests.harness.gateway import PYTHON, ROOT, GatewayProcess, free_port, template_release, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("KAIZEN_BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("KAIZEN_BENCH_SECONDS", "1.5"))
LEVELS = (1, 16, 64)
_NAME = "letter-production"
# Nothing asks a model.
_NO_MODEL = "http://127.0.0.1:9/v1"


class Contender(Protocol):
    """Something that answers."""

    @property
    def pid(self) -> int:
        """Its process."""
        ...

    def measure(self, connections: int) -> Seen:
        """Keep it busy for a while."""
        ...


@dataclass(frozen=True)
class Server:
    """A contender that is called over HTTP."""

    port: int
    request: str
    pid: int

    def measure(self, connections: int) -> Seen:
        """Send requests from a process of its own."""
        load = Load(self.port, self.request, ANSWER, connections, SECONDS)
        done = subprocess.run(
            [PYTHON, "-m", "benchmarks._load"],
            cwd=ROOT, input=json.dumps(asdict(load)).encode(), stdout=subprocess.PIPE, check=True,
        )  # fmt: skip
        return Seen(**json.loads(done.stdout))


@dataclass(frozen=True)
class Direct:
    """A contender that is called inside its process."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def measure(self, connections: int) -> Seen:
        """Ask the process to keep itself busy."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"connections": connections, "seconds": SECONDS}).encode() + b"\n")
        self.process.stdin.flush()
        return Seen(**json.loads(self.process.stdout.readline()))


@dataclass
class Figures:
    """All measurements of one contender."""

    seen: dict[int, list[Seen]] = field(default_factory=lambda: {level: [] for level in LEVELS})
    cpu_us: dict[int, list[float]] = field(default_factory=lambda: {level: [] for level in LEVELS})

    def measure(self, contender: Contender, connections: int) -> Seen:
        """Measure once more."""
        before = _cpu_s(contender.pid)
        seen = contender.measure(connections)
        self.seen[connections].append(seen)
        self.cpu_us[connections].append((_cpu_s(contender.pid) - before) / seen.answered * 1_000_000)
        return seen

    @property
    def median_cpu_us(self) -> dict[str, float]:
        """Processor time for each request, by connections."""
        return {str(level): round(statistics.median(self.cpu_us[level])) for level in LEVELS}

    def median(self, what: str) -> dict[str, float]:
        """The median of a figure over the rounds, by connections."""
        return {str(level): statistics.median(getattr(seen, what) for seen in self.seen[level]) for level in LEVELS}


def main() -> None:
    """Measure, and print one line of JSON."""
    with tempfile.TemporaryDirectory(prefix="kaizen-bench-") as folder, contextlib.ExitStack() as stack:
        contenders: dict[str, Contender] = {
            "gateway": stack.enter_context(_gateway(Path(folder) / "one")),
            "fastapi": stack.enter_context(_served("fastapi", "GET", "/", "")),
            "kailash": stack.enter_context(_direct()),
            "stock_nexus": stack.enter_context(
                _served("nexus", "POST", f"/workflows/{WORKFLOW}/execute", '{"inputs":{"message":"you"}}')
            ),
        }
        figures = {name: Figures() for name in contenders}
        for number in range(1, ROUNDS + 1):
            for level in LEVELS:
                for name, contender in contenders.items():
                    seen = figures[name].measure(contender, level)
                    print(
                        f"round {number}, {level} connections, {name}: {seen.rps:.0f}/s, "
                        f"p50 {seen.p50_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms",
                        file=sys.stderr,
                    )
    print(json.dumps(_report(figures)))


def _report(figures: dict[str, Figures]) -> dict[str, object]:
    rps = {name: each.median("rps") for name, each in figures.items()}
    ours = figures["gateway"]

    def against(other: str) -> dict[str, float]:
        return {level: round(rps["gateway"][level] / rps[other][level], 2) for level in rps[other]}

    return {
        "rps": {name: _rounded(levels, 0) for name, levels in rps.items()},
        "vs_stock_nexus": against("stock_nexus"),
        "vs_fastapi": against("fastapi"),
        "p50_ms": _rounded(ours.median("p50_ms"), 2),
        "p99_ms": _rounded(ours.median("p99_ms"), 2),
        "cpu_us": {name: each.median_cpu_us for name, each in figures.items()},
    }


def _cpu_s(pid: int) -> float:
    """Processor time that a process has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # proc_pid_stat(5): fields 14 and 15


def _rounded(levels: dict[str, float], digits: int) -> dict[str, float]:
    return {level: round(value, digits) for level, value in levels.items()}


@contextlib.contextmanager
def _gateway(folder: Path, **extra: str) -> Iterator[Server]:
    process = GatewayProcess(folder, _NO_MODEL, extra=extra).start()
    try:
        studio = process.admin()
        studio.place(_NAME, template_release(TEMPLATE))
        key = studio.issue([_NAME])
        wait_until(lambda: process.ask(key, "you", name=_NAME).status_code == httpx.codes.OK)
        yield Server(
            process.port,
            _request("POST", f"/workflows/{_NAME}/execute", '{"inputs":{"message":"you"}}', f"Bearer {key.text}"),
            process.pid,
        )
    finally:
        process.kill()


@contextlib.contextmanager
def _served(contender: str, method: str, path: str, body: str) -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen(
        [PYTHON, "-m", "benchmarks._contenders", contender, str(port)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: _answers(method, f"http://127.0.0.1:{port}{path}", body))
        yield Server(port, _request(method, path, body), process.pid)
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _direct() -> Iterator[Direct]:
    process = subprocess.Popen(
        [PYTHON, "-m", "benchmarks._contenders", "kailash"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Direct(process)
    finally:
        process.kill()
        process.wait()


def _answers(method: str, url: str, body: str) -> bool:
    try:
        answer = httpx.request(method, url, content=body, headers={"Content-Type": "application/json"})
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK and ANSWER in answer.text


def _request(method: str, path: str, body: str, authorization: str = "") -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if authorization:
        lines.append(f"Authorization: {authorization}")
    return "\r\n".join([*lines, "", body])


if __name__ == "__main__":
    main()
