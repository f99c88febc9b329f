"""WebSockets are as strict as pages: by host, origin, session and object, when they open and as long as they last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.db import connections
from django.test import Client

from apps.accounts import commands
from apps.core.actors import Actor
from apps.core.live import fragments
from apps.core.tenancy import public
from apps.tenants.commands import restore, suspend
from kaizen_site.asgi import application
from kaizen_site.routing import websocket_urlpatterns
from tests.harness.dashboard import Dashboard
from tests.harness.websocket import web_socket
from tests.harness.world import Inhabited, settled
from tests.isolation.belongings import Belongings

SYSTEM = Actor.system("tests")
HOME = "/ws/live/home/now/"
# Ends of an open socket are told at once; the look every five seconds is only the net below.
AT_ONCE_S = 3.0


def _headers(host: str, cookie: str = "", origin: str | None = "") -> list[tuple[bytes, bytes]]:
    """A browser's headers; its page is of the same host unless said otherwise."""
    origin = f"http://{host}" if origin == "" else origin
    pairs = {"host": host, "cookie": cookie, "origin": origin or ""}
    return [(name.encode(), value.encode()) for name, value in pairs.items() if value]


def _cookie(client: Client) -> str:
    return f"sessionid={client.cookies['sessionid'].value}"


@asynccontextmanager
async def _socket(path: str, headers: list[tuple[bytes, bytes]]) -> AsyncIterator[WebsocketCommunicator]:
    socket = WebsocketCommunicator(application, path, headers=headers)
    opened, _ = await socket.connect(timeout=20)
    assert opened, "a socket is accepted first, so that the browser can read why it is closed"
    try:
        yield socket
    finally:
        await socket.disconnect()


async def _close_code(path: str, headers: list[tuple[bytes, bytes]]) -> int:
    async with _socket(path, headers) as socket:
        message = await socket.receive_output(timeout=20)
        assert message["type"] == "websocket.close", message
        return int(message["code"])


async def _closes(socket: WebsocketCommunicator, within: float) -> int:
    """The code with which an open socket ends, passing over what it still says."""
    async with asyncio.timeout(within):
        while (message := await socket.receive_output(timeout=within))["type"] != "websocket.close":
            pass
    return int(message["code"])


def _home() -> str:
    from apps.home.live import FRAGMENT_ID

    return f"/ws/live/home/{FRAGMENT_ID}/"


@pytest.fixture(scope="module")
def company(installation: dict[str, Inhabited], django_db_blocker: Any) -> Iterator[Inhabited]:
    """An organization that all stories here share; whoever changes a member takes one that no other story needs."""
    with django_db_blocker.unblock(), settled() as inhabited:
        yield inhabited


@pytest.fixture
def cookie(company: Inhabited) -> Callable[[str], str]:
    return lambda role: _cookie(company.client(role))


@pytest.fixture
def owners_cookie(cookie: Callable[[str], str]) -> str:
    return cookie("owner")


@pytest.fixture(autouse=True)
def _leave_no_connection() -> Iterator[None]:
    yield
    connections.close_all()


async def test_a_member_is_served(company: Inhabited, owners_cookie: str) -> None:
    async with _socket(_home(), _headers(company.host, owners_cookie)) as socket:
        assert "html" in await socket.receive_json_from(timeout=20)


async def test_nobody_is_not_served(company: Inhabited) -> None:
    assert await _close_code(_home(), _headers(company.host)) == 4401


@pytest.mark.parametrize("cookie_text", ["sessionid=", "sessionid=no-such-session", 'sessionid="\x01"', "=;,[]"])
async def test_a_made_up_session_is_no_session(company: Inhabited, cookie_text: str) -> None:
    assert await _close_code(_home(), _headers(company.host, cookie_text)) == 4401


async def test_a_session_of_another_organization_is_no_session(company: Inhabited, owners_cookie: str) -> None:
    assert await _close_code(_home(), _headers("globex.localhost", owners_cookie)) == 4401


@pytest.mark.parametrize("origin", ["http://evil.example", "http://globex.localhost", "null", None])
async def test_a_page_of_another_site_cannot_ride_on_the_session(
    company: Inhabited, owners_cookie: str, origin: str | None
) -> None:
    assert await _close_code(_home(), _headers(company.host, owners_cookie, origin)) == 4403


@pytest.mark.parametrize("host", ["nobody.localhost", "evil.example", "localhost", "127.0.0.1"])
async def test_there_are_no_sockets_on_other_hosts(company: Inhabited, owners_cookie: str, host: str) -> None:
    assert await _close_code(_home(), _headers(host, owners_cookie)) == 4404


@pytest.mark.parametrize(
    "path", ["/", "/ws/", "/ws/live/home/", "/ws/live/nothing/now/", "/ws/%00/", "/api/v1/agents/"]
)
async def test_an_unknown_socket_is_not_found(company: Inhabited, owners_cookie: str, path: str) -> None:
    assert await _close_code(path, _headers(company.host, owners_cookie)) == 4404


async def test_a_suspended_organization_opens_no_sockets(company: Inhabited, owners_cookie: str) -> None:
    await _in_public(suspend, company, reason="unpaid")
    assert await _close_code(_home(), _headers(company.host, owners_cookie)) == 4403
    await _in_public(restore, company)
    async with _socket(_home(), _headers(company.host, owners_cookie)) as socket:
        assert "html" in await socket.receive_json_from(timeout=20)


async def _in_public(command: Callable[..., Any], world: Inhabited, **arguments: Any) -> None:
    def run() -> None:
        with public():
            command(actor=SYSTEM, organization=world.organization, **arguments)

    await sync_to_async(run)()


async def _inside(world: Inhabited, act: Callable[[], object]) -> None:
    def run() -> None:
        with world.inside():
            act()

    await sync_to_async(run)()


def test_every_kind_of_socket_is_covered_here() -> None:
    """A new route or fragment about an object belongs into the two tests below."""
    assert [str(route.pattern) for route in websocket_urlpatterns] == [
        "ws/live/<str:name>/<str:id>/",
        "ws/playground/<str:id>/",
        "",
    ]
    about_objects = {"gateway", "environment", "caller-key", "deployment", "rollout", "stop"}
    about_oneself = {"home", "activity"}
    # Those of the product; other tests register their own.
    ours = {name for name, each in fragments.items() if each.render.__module__.startswith("apps.")}
    assert ours == about_objects | about_oneself


async def test_a_strangers_object_is_not_found(company: Inhabited, owners_cookie: str) -> None:
    """acme's own rows, on the socket of another organization's owner."""
    paths = await sync_to_async(_paths_of_acmes_objects)()
    codes = {path: await _close_code(path, _headers(company.host, owners_cookie)) for path in paths}
    assert set(codes.values()) == {4404}, codes


def _paths_of_acmes_objects() -> list[str]:
    from django.db import transaction
    from django_tenants.utils import schema_context

    from tests.harness.world import Inhabited

    # The rows need not stay: what counts is that their identifiers are real ones, of another organization.
    with schema_context("t_acme"), transaction.atomic():
        from apps.accounts.models import User
        from apps.tenants.models import Organization

        users = {"owner": User.objects.get(email="owner@acme.example")}
        belongings = Belongings(Inhabited(Organization.objects.get(slug="acme"), users), events=0)
        transaction.set_rollback(True)
    paths = [f"/ws/live/{name}/{key}/" for name, key in belongings.by_fragment.items()]
    return [*paths, f"/ws/playground/{belongings.deployment.pk}/"]


@pytest.mark.parametrize("name", ["gateway", "environment", "caller-key", "deployment", "rollout", "stop"])
@pytest.mark.parametrize("key", ["0b2e1c52-7c0c-4a5e-9a51-3f0d8f3f6a10", "1", "no-uuid", "%00", "x" * 500])
async def test_a_made_up_object_is_not_found(company: Inhabited, owners_cookie: str, name: str, key: str) -> None:
    assert await _close_code(f"/ws/live/{name}/{key}/", _headers(company.host, owners_cookie)) == 4404


async def test_an_open_socket_ends_with_the_members_access(company: Inhabited, cookie: Callable[[str], str]) -> None:
    viewer = company.users["viewer"]
    async with _socket(_home(), _headers(company.host, await sync_to_async(cookie)("viewer"))) as socket:
        await socket.receive_json_from(timeout=20)
        await _inside(company, lambda: commands.deactivate(actor=SYSTEM, user=viewer))
        assert await _closes(socket, AT_ONCE_S) == 4401


async def test_an_open_socket_ends_with_its_session(company: Inhabited) -> None:
    client = await sync_to_async(company.client)("builder")
    async with _socket(_home(), _headers(company.host, _cookie(client))) as socket:
        await socket.receive_json_from(timeout=20)
        await sync_to_async(client.post)("/accounts/logout/")
        assert await _closes(socket, AT_ONCE_S) == 4401


async def test_an_open_socket_ends_with_the_organization(company: Inhabited, owners_cookie: str) -> None:
    async with _socket(_home(), _headers(company.host, owners_cookie)) as socket:
        await socket.receive_json_from(timeout=20)
        await _in_public(suspend, company, reason="unpaid")
        assert await _closes(socket, AT_ONCE_S) == 4403
    await _in_public(restore, company)


async def test_garbage_ends_nothing(company: Inhabited, owners_cookie: str) -> None:
    async with _socket(_home(), _headers(company.host, owners_cookie)) as socket:
        await socket.receive_json_from(timeout=20)
        await socket.send_to(bytes_data=b"\xff\x00")
        await socket.send_to(text_data="{no json")
        await socket.send_to(text_data='{"type": "hint"}')
        assert await socket.receive_json_from(timeout=20) is not None, "it still tells that nothing changed"


@pytest.mark.slow
def test_the_real_server_is_as_strict(company: Inhabited, tmp_path: Path) -> None:
    """The same through daphne, whose process does not share this one's caches, patches or connections."""
    session = _cookie(company.client("owner"))
    dashboard = Dashboard(tmp_path / "daphne.log")
    dashboard.start()
    try:
        host = f"{company.host}:{dashboard.port}"
        good = {"Host": host, "Origin": f"http://{host}", "Cookie": session}
        with web_socket(dashboard.port) as socket:
            assert socket.open(_home(), good) == 101
            assert "html" in socket.receive()
            with company.inside():
                commands.deactivate(actor=SYSTEM, user=_second_owner(company))
            while socket.receive() is not None:
                pass
            assert socket.closed == 4401
        for changed, code in (
            ({"Cookie": ""}, 4401),
            ({"Origin": "http://evil.example"}, 4403),
            ({"Host": "nobody.localhost", "Origin": "http://nobody.localhost"}, 4404),
            ({"Host": "localhost", "Origin": "http://localhost"}, 4404),
            ({"Host": "globex.localhost", "Origin": "http://globex.localhost"}, 4401),
        ):
            with web_socket(dashboard.port) as socket:
                assert socket.open(_home(), {**good, **changed}) == 101
                assert socket.receive() is None
                assert socket.closed == code, changed
        with web_socket(dashboard.port) as socket:
            assert socket.open(_home(), good) == 101
            socket.send(b"x" * 200_000)
            while socket.receive() is not None:
                pass
            assert socket.closed in (1009, 4401), "a message too big for a conversation ends it"
    finally:
        dashboard.stop()
    assert "Traceback" not in (tmp_path / "daphne.log").read_text()


def _second_owner(world: Inhabited) -> Any:
    """Makes the administrator an owner, so that the first may be closed out."""
    commands.grant_ownership(actor=SYSTEM, user=world.users["admin"])
    return world.users["owner"]
