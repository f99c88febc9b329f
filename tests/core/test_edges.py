"""What every answer has, on every host, and what stands before Django: the size of bodies."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connection
from django.test import Client

from apps.core import cache as resilient
from apps.core.body_limit import BodyLimit
from apps.core.errors import NotFound, NotReady
from apps.core.tenancy import forget_schema, require_schema, tenant, tenant_tables
from tests.harness.dashboard import Dashboard
from tests.harness.world import Inhabited

UNKNOWN = ("nobody.localhost", "evil.example", "127.0.0.1", "acme.evil.example", "xacme.localhost", "[::1]:8000")


@pytest.mark.parametrize("host", UNKNOWN)
def test_an_unknown_host_is_a_plain_404(acme: Inhabited, host: str) -> None:
    client = Client(headers={"host": host})
    page = client.get("/")
    assert page.status_code == 404
    assert b"no organization" in page.content
    _has_security_headers(page)
    problem = client.get("/api/v1/agents/")
    assert problem.status_code == 404
    assert problem.json()["type"] == "urn:kaizen:problem:unknown-host"
    _has_security_headers(problem)


@pytest.mark.parametrize("host", ["bad host", "a_b.localhost", "x" * 300 + ".localhost", "acme.localhost:port", ""])
def test_a_host_that_is_none_is_a_plain_404(acme: Inhabited, host: str) -> None:
    assert Client(headers={"host": host}).get("/").status_code in (400, 404)


@pytest.mark.parametrize("host", ["ACME.localhost", "acme.localhost.", "acme.localhost:8000"])
def test_a_host_may_be_written_in_other_ways(acme: Inhabited, host: str) -> None:
    assert Client(headers={"host": host}).get("/accounts/login/").status_code == 200


def _has_security_headers(response: Any) -> None:
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    policy = str(response["Content-Security-Policy"])
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/api/v1/members/", "/nothing/", "/static/img/mark.svg"])
def test_every_answer_has_security_headers(acme: Inhabited, path: str) -> None:
    _has_security_headers(acme.client("owner").get(path))


def test_cookies_are_for_their_host_alone(acme: Inhabited) -> None:
    client = Client(headers={"host": acme.host})
    client.get("/accounts/login/")
    client.post("/accounts/login/", {"login": "owner@acme.example", "password": "a long enough passphrase"})
    session = client.cookies["sessionid"]
    assert session["domain"] == ""
    assert session["httponly"]
    assert session["samesite"] == "Lax"


@pytest.mark.parametrize("host", ["acme.localhost", "localhost", "10.0.0.7", "nobody.localhost"])
def test_health_is_answered_on_every_host(acme: Inhabited, host: str) -> None:
    """A load balancer asks by address."""
    response = Client(headers={"host": host}).get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_schema_that_is_not_there_is_refused(acme: Inhabited) -> None:
    with pytest.raises(NotFound), tenant("t_nobody"):
        pytest.fail("entered")


@pytest.mark.parametrize("table", ["django_session", "accounts_user", "agents_agent"])
def test_a_schema_that_lacks_a_table_is_closed(live_organization: Inhabited, table: str) -> None:
    """PostgreSQL would look for the table in `public`: sessions and users of operators, as if they were members."""
    client = live_organization.client("owner")
    assert client.get("/profile/").status_code == 200
    _rename(live_organization, table, f"{table}_away")
    try:
        forget_schema(live_organization.schema)
        page, problem = client.get("/profile/"), client.get("/api/v1/members/")
        assert (page.status_code, problem.status_code) == (503, 503)
        assert problem.json()["type"] == "urn:kaizen:problem:not-ready"
        assert int(page["Retry-After"]) > 0
        with pytest.raises(NotReady):
            require_schema(live_organization.schema)
    finally:
        _rename(live_organization, f"{table}_away", table)
        forget_schema(live_organization.schema)
    assert client.get("/profile/").status_code == 200


def _rename(world: Inhabited, table: str, name: str) -> None:
    from django.db import connections

    with connections["owner"].cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{world.schema}"."{table}" RENAME TO "{name}"')


def test_tenants_tables_are_those_of_every_schema(acme: Inhabited) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [acme.schema])
        present = {name for (name,) in cursor.fetchall()}
    assert tenant_tables() <= present
    assert present - tenant_tables() == {"django_migrations"}


async def _through(limit: int, headers: list[tuple[bytes, bytes]], *chunks: bytes) -> tuple[dict[str, Any], bytes]:
    """What an application behind the limit gets to see: the scope and the body."""
    seen: dict[str, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        seen["scope"], seen["body"] = scope, message["body"]
        assert message["more_body"] is False
        assert (await receive())["type"] == "http.disconnect"

    waiting: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    scope = {"type": "http", "headers": headers, "path": "/"}
    await BodyLimit(application, limit=limit)(scope, receive, None)
    return dict(seen["scope"]["headers"]), seen["body"]


async def test_a_body_without_length_gets_one() -> None:
    headers, body = await _through(10, [(b"transfer-encoding", b"chunked"), (b"a", b"b")], b"12345", b"678")
    assert body == b"12345678"
    assert headers == {b"content-length": b"8", b"a": b"b"}


async def test_a_body_that_goes_on_too_long_is_dropped_and_declared_too_long() -> None:
    headers, body = await _through(10, [(b"transfer-encoding", b"chunked")], b"123456", b"789012")
    assert body == b""
    assert int(headers[b"content-length"]) > 10


async def test_a_body_that_declares_itself_too_long_is_not_read() -> None:
    async def never(*_: Any) -> dict[str, Any]:
        pytest.fail("read")

    seen: dict[str, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.update(body=(await receive())["body"], headers=dict(scope["headers"]))

    scope = {"type": "http", "headers": [(b"content-length", b"11")], "path": "/"}
    await BodyLimit(application, limit=10)(scope, never, None)
    assert seen == {"body": b"", "headers": {b"content-length": b"11"}}


async def test_whoever_leaves_in_the_middle_is_not_answered() -> None:
    async def application(*_: Any) -> None:
        pytest.fail("called with half a body")

    messages = [{"type": "http.request", "body": b"12", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    await BodyLimit(application, limit=10)({"type": "http", "headers": [], "path": "/"}, receive, None)


def _chunked(port: int, headers: dict[str, str], chunks: int, chunk: bytes) -> tuple[int, bytes]:
    """POST with chunks and without a length, as no HTTP library does it by default; the status and the body."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        lines = ["POST /api/v1/tokens/ HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        for _ in range(chunks):
            connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    # The answer comes in chunks as well; its document is what stands between the braces.
    return int(answer.split()[1]), answer[answer.find(b'{"') : answer.rfind(b"}") + 1]


@pytest.mark.slow
def test_bodies_in_chunks_through_the_real_server(live_organization: Inhabited, tmp_path: Path) -> None:
    dashboard = Dashboard(tmp_path / "daphne.log")
    token = live_organization.api("owner").token
    headers = {
        "Host": live_organization.host,
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
    }
    dashboard.start()
    try:
        status, body = _chunked(dashboard.port, headers, 1, b'{"name": "in chunks"}')
        assert status == 201, body
        assert b'"in chunks"' in body
        status, body = _chunked(dashboard.port, headers, 3, b"x" * 1024 * 1024)
        assert status == 413
        assert json.loads(body)["type"] == "urn:kaizen:problem:too-large"
        # Whoever goes on for ever is cut off: no answer is worth listening to so much.
        with pytest.raises((ConnectionError, IndexError)):
            _chunked(dashboard.port, headers, 64, b"x" * 1024 * 1024)
        assert _chunked(dashboard.port, headers, 1, b'{"name": "after"}')[0] == 201
    finally:
        dashboard.stop()


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens where Redis should be."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    away = resilient.ResilientRedisCache(
        f"redis://127.0.0.1:{port}/0",
        {"KEY_FUNCTION": "django_tenants.cache.make_key", "OPTIONS": {"socket_connect_timeout": 1}},
    )
    away.memory.clear()
    monkeypatch.setitem(resilient._quiet, "until", 0.0)
    monkeypatch.setattr(caches["default"].__class__, "_cache", away._cache, raising=False)


def test_without_redis_people_sign_in_and_limits_hold(acme: Inhabited, no_redis: None) -> None:
    caches["default"].memory.clear()
    client = Client(headers={"host": acme.host})
    good = {"login": "owner@acme.example", "password": "a long enough passphrase"}
    assert client.post("/accounts/login/", good).status_code == 302
    assert acme.api("owner").get("/members/").status_code == 200

    guesser = Client(headers={"host": acme.host}, REMOTE_ADDR="10.9.9.9")
    for _ in range(5):
        assert guesser.post("/accounts/login/", {**good, "password": "wrong"}).status_code == 200
    refused = guesser.post("/accounts/login/", good)
    assert b"Too many failed" in refused.content
    caches["default"].memory.clear()


def test_the_cache_keeps_organizations_apart_also_in_memory(acme: Inhabited, globex: Inhabited, no_redis: None) -> None:
    store = caches["default"]
    store.memory.clear()
    store.set("name", "acme", 60)
    with globex.inside():
        assert store.get("name") is None
        store.set("name", "globex", 60)
    assert store.get("name") == "acme"
    assert store.incr("count") if store.add("count", 1) else False
    assert store.get_many(["name", "count"]) == {"name": "acme", "count": 2}
    store.memory.clear()


def test_the_log_of_requests_keeps_no_keys_and_no_queries(acme: Inhabited, caplog: pytest.LogCaptureFixture) -> None:
    """The key of a link that sets a password is as good as the password."""
    client = Client(headers={"host": acme.host})
    with caplog.at_level("INFO"):
        client.get("/accounts/password/reset/key/abc-the-secret-key/")
        client.get("/members/?search=somebody")
    assert "/accounts/password/reset/key/" in caplog.text
    assert "/members/" in caplog.text
    assert "secret-key" not in caplog.text
    assert "somebody" not in caplog.text
