"""Real gateway processes for tests: their own interpreter, their own folder, their own port."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from contract.admin_api import PREFIX, SIGNATURE_HEADER, PutRequest, tombstone_signature
from contract.agents import AGENT_NODE_ID, DEFAULT_INPUTS, agent_interface
from contract.caller_keys import CallerKey, KeyText
from contract.envelope import generate_private_key, public_key_to_text
from contract.generations import Stamp
from contract.kinds import API_KEY, ROUTE, STOP, TOMBSTONE_DIGEST, WORKFLOW, Kind
from contract.names import canary_name
from contract.release import Binding, Interface, Limits, Metadata, Node, Output, Release, Subject, Workflow
from contract.routes import Route
from contract.stops import Stop

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from contract.document import Document

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("KAIZEN_GATEWAY_PYTHON", ROOT / ".venv" / "gateway" / "bin" / "python"))

AGENT = "greeter-test"
"""The registration of tests that have a gateway to themselves."""

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 45.0


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class GatewayProcess:
    """One gateway: start, stop, kill and wipe it, and reach it.

    Attributes:
        folder: everything of it: data and log.
        model_base_url: where its default model answers.
        organization_key: the private key whose envelopes it trusts.
        extra: further environment variables.
        tls: what its clients trust and show, where it speaks TLS.
        working_folder: where it is started.
    """

    folder: Path
    model_base_url: str
    organization_key: Ed25519PrivateKey = field(default_factory=generate_private_key)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    port: int = field(default_factory=free_port)
    extra: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    working_folder: Path = ROOT
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"{'https' if 'GATEWAY_TLS_CERT' in self.extra else 'http'}://127.0.0.1:{self.port}"

    @property
    def admin_address(self) -> str:
        """Where it answers Studio."""
        apart = self.extra.get("GATEWAY_ADMIN_ADDRESS")
        if apart is None:
            return self.address
        return f"{'https' if 'GATEWAY_ADMIN_TLS_CERT' in self.extra else 'http'}://{apart}"

    @property
    def data_dir(self) -> Path:
        """Its store and its identity."""
        return self.folder / "data"

    @property
    def log(self) -> str:
        """What it has logged."""
        path = self.folder / "gateway.log"
        return path.read_text() if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None, "the gateway is not running"
        return self._process.pid

    def environment(self) -> dict[str, str]:
        """What the process sees; nothing else of the test's environment reaches it."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "GATEWAY_ADDRESS": f"127.0.0.1:{self.port}",
            "GATEWAY_DATA_DIR": str(self.data_dir),
            "GATEWAY_DEPLOY_TOKEN": self.token,
            "GATEWAY_TRUSTED_KEY": public_key_to_text(self.organization_key.public_key()),
            "GATEWAY_MODEL_BASE_URL": self.model_base_url,
            "GATEWAY_MODEL_NAME": "a-model",
            "GATEWAY_MODEL_API_KEY": "the-provider-key",
            "GATEWAY_DRAIN_SECONDS": "30",
            **self.extra,
        }

    def start(self) -> GatewayProcess:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PYTHON), "-m", "gateway_service"],
                cwd=self.working_folder, env=self.environment(), stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/healthz", timeout=2, verify=self.tls or True).status_code == 200:
                    return self
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the gateway did not start:\n{self.log}")

    def stop(self) -> int:
        """Ask it to stop, wait, and return its exit status. Does nothing if it is not running."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._ended(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the gateway did not stop:\n{self.log}") from None

    def kill(self) -> None:
        """``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._ended(_STOP_TIMEOUT_S)

    def terminate(self) -> None:
        """Ask it to stop without waiting for it; `stop` or `wait` then waits."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end."""
        return self._ended(_STOP_TIMEOUT_S)

    def wipe_store(self) -> None:
        """Lose everything but the identity. It must not be running."""
        for path in self.data_dir.glob("*.sqlite*"):
            path.unlink()

    def remove(self) -> None:
        """Stop it, and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def admin(self) -> Studio:
        """Studio's side of it."""
        return Studio(self)

    def caller(self, key: KeyText | None = None, **options: Any) -> httpx.Client:
        """A client with a gateway key, or with none."""
        headers = {} if key is None else {"Authorization": f"Bearer {key.text}"}
        verify = self.tls or True
        timeout = options.pop("timeout", 60)
        return httpx.Client(base_url=self.address, headers=headers, timeout=timeout, verify=verify, **options)

    def ask(self, key: KeyText, message: str = "Hi", *, name: str = AGENT, **members: Any) -> httpx.Response:
        """Execute a registration that takes a message."""
        with self.caller(key) as client:
            body = {"inputs": {"message": message}, **members}
            return client.post(f"/workflows/{name}/execute", json=body)

    def _ended(self, timeout: float) -> int:
        assert self._process is not None
        status = self._process.wait(timeout)
        self._process = None
        return status


class Studio:
    """What Studio does to a gateway, by hand: signs and pushes."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._gateway = gateway
        self.http = httpx.Client(
            base_url=gateway.admin_address,
            headers={"Authorization": f"Bearer {gateway.token}"},
            timeout=60,
            verify=gateway.tls or True,
        )
        self.gateway_id: str = self.state()["gateway_id"]

    def state(self, *, items: bool = False) -> dict[str, Any]:
        """The gateway's state."""
        answer = self.http.get(f"{PREFIX}/state", params={"items": "1"} if items else {})
        assert answer.status_code == 200, answer.text
        state: dict[str, Any] = answer.json()
        return state

    def holds(self) -> dict[tuple[str, str], Stamp]:
        """Generation and digest of everything on the gateway, by kind and name; tombstones included."""
        items = self.state(items=True)["items"]
        return {(item["kind"], item["name"]): Stamp(item["generation"], item["digest"]) for item in items}

    def living(self) -> dict[tuple[str, str], str]:
        """Digests of everything on the gateway that is not gone, by kind and name."""
        return {thing: stamp.digest for thing, stamp in self.holds().items() if stamp.digest != TOMBSTONE_DIGEST}

    def request(
        self, kind: Kind, name: str, payload: Document, generation: int, key: Ed25519PrivateKey | None = None
    ) -> PutRequest:
        """The signed request, not sent yet."""
        key = key or self._gateway.organization_key
        return PutRequest.signed(kind, name, payload, gateway=self.gateway_id, generation=generation, key=key)

    def send(self, kind: Kind, name: str, body: dict[str, Any]) -> httpx.Response:
        """PUT any body."""
        return self.http.put(f"{PREFIX}/{kind.segment}/{name}", json=body)

    def put(self, kind: Kind, name: str, payload: Document, generation: int = 1) -> dict[str, Any]:
        """Place a payload; returns the acknowledgement."""
        answer = self.send(kind, name, self.request(kind, name, payload, generation).body(kind))
        assert answer.status_code == 200, answer.text
        acknowledgement: dict[str, Any] = answer.json()
        return acknowledgement

    def delete(self, kind: Kind, name: str, generation: int) -> httpx.Response:
        """Delete a thing."""
        key = self._gateway.organization_key
        signature = tombstone_signature(kind, name, gateway=self.gateway_id, generation=generation, key=key)
        return self.http.delete(
            f"{PREFIX}/{kind.segment}/{name}", params={"generation": generation}, headers={SIGNATURE_HEADER: signature}
        )

    def place(self, name: str, release: Release, generation: int = 1) -> dict[str, Any]:
        """Register a release."""
        return self.put(WORKFLOW, name, release, generation)

    def canary(self, name: str, release: Release, generation: int = 1) -> dict[str, Any]:
        """Place a release as a registration's canary. Nobody is sent there before there is a route."""
        return self.place(canary_name(name), release, generation)

    def route(self, name: str, canary: str, percent: int, generation: int = 1) -> dict[str, Any]:
        """Send a part of a registration's callers to its canary (the digest of its release)."""
        return self.put(ROUTE, name, Route(canary=canary, percent=percent), generation)

    def stop(
        self, *registrations: str, releases: list[str] | None = None, stop_id: str | None = None, generation: int = 1
    ) -> dict[str, Any]:
        """Stop registrations and releases (by digest); returns the acknowledgement, whose `name` is the stop's id."""
        payload = Stop(registrations=list(registrations), releases=releases or [])
        return self.put(STOP, stop_id or secrets.token_hex(8), payload, generation)

    def lift(self, stop_id: str, generation: int = 2) -> httpx.Response:
        """Lift a stop."""
        return self.delete(STOP, stop_id, generation)

    def issue(self, scopes: list[str] | None = None, generation: int = 1, **members: Any) -> KeyText:
        """A new caller key on the gateway."""
        key = KeyText.generate()
        payload = CallerKey.parse({"hash": key.hash, "scopes": scopes or ["*"], **members})
        self.put(API_KEY, key.id, payload, generation)
        return key

    def executions(self, after: int = 0) -> dict[str, Any]:
        """A page of the execution log."""
        answer = self.http.get(f"{PREFIX}/executions", params={"after": after})
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page


def agent_release(
    slug: str = "greeter",
    *,
    version: int = 1,
    instructions: str = "You greet people.",
    inputs: dict[str, Any] | None = None,
    limits: Limits | None = None,
    description: str = "",
    **parameters: Any,
) -> Release:
    """The release of a single agent; `parameters` are further ones of its node."""
    node = Node(id=AGENT_NODE_ID, type="KaizenAgent", parameters={"instructions": instructions, **parameters})
    return Release(
        subject=Subject(kind="agent", slug=slug, version=version),
        workflow=Workflow(nodes=[node]),
        interface=agent_interface(inputs, parameters.get("answer_schema")),
        limits=limits or Limits(),
        metadata=Metadata(title=slug.title(), description=description),
    )


def template_release(template: str = "Hello {{message}}", slug: str = "letter") -> Release:
    """The release of one Template node, which needs no model."""
    return Release(
        subject=Subject(kind="workflow", slug=slug, version=1),
        workflow=Workflow(nodes=[Node(id="letter", type="Template", parameters={"template": template})]),
        interface=Interface(
            inputs=DEFAULT_INPUTS,
            bindings=[Binding(input="message", node="letter", parameter="message")],
            outputs=[Output(name="text", node="letter", output="text")],
            output_schema={"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
        ),
    )


def read_events(response: httpx.Response) -> list[tuple[str, Any]]:
    """All events of a server-sent stream, as (name, content)."""
    events, name = [], ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            text = line.removeprefix("data: ")
            events.append((name, text if text == "[DONE]" else json.loads(text)))
            name = ""
    return events


def error_of(response: httpx.Response) -> dict[str, Any]:
    """What an error answer says."""
    detail: dict[str, Any] = response.json()["error"]
    return detail


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for something that becomes true soon."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "this never became true"
        time.sleep(0.02)


def executions_of(studio: Studio, name: str, count: int) -> list[dict[str, Any]]:
    """The execution records of a registration, as soon as there are so many."""
    found: list[dict[str, Any]] = []

    def arrived() -> bool:
        found[:] = [record for record in studio.executions()["items"] if record["registration"] == name]
        return len(found) >= count

    wait_until(arrived)
    return found
