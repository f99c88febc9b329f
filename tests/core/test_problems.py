"""Bad input at the edge of the API: each a problem document (RFC 9457) with the right status, never a stack trace."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import User
from tests.harness.world import Api, Inhabited

UNKNOWN = "0b2e1c52-7c0c-4a5e-9a51-3f0d8f3f6a10"
HUGE = 2 * 1024 * 1024 + 1


def _problem(response: Any, status: int) -> dict[str, Any]:
    """The document, after checking what every one of them has."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"].startswith("urn:kaizen:problem:")
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in response.content.decode()
    return body


@pytest.fixture
def api(acme: Inhabited) -> Api:
    return acme.api("owner")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nonsense",
        b'{"name": "x",}',
        b'{"name": NaN}',
        b'{"name": "a", "name": "b"}',
        b'{"name": "nul \\u0000"}',
        b'{"name\\u0000": "x"}',
        b'{"name": "half \\ud800"}',
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b'{"name": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_json_is_refused(api: Api, body: bytes) -> None:
    response = api.client.post("/api/v1/tokens/", body, content_type="application/json")
    assert _problem(response, 400)["detail"].startswith("The body")


@pytest.mark.parametrize("body", [[], "text", 5, None, [{"name": "x"}]])
def test_a_body_of_another_kind_is_invalid(api: Api, body: Any) -> None:
    response = api.client.post("/api/v1/tokens/", json.dumps(body), content_type="application/json")
    _problem(response, 422)


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml"]
)
def test_another_media_type_is_unsupported(api: Api, media_type: str) -> None:
    _problem(api.client.post("/api/v1/tokens/", b"name=x", content_type=media_type), 415)


def test_an_unknown_member_is_named(api: Api) -> None:
    problem = _problem(api.post("/members/", {"email": "x@acme.example", "role": "viewer", "admin": True}), 422)
    assert problem["errors"] == [{"field": "admin", "message": "There is no such member."}]
    assert not User.objects.filter(email="x@acme.example").exists()


def test_every_offending_member_is_named_with_its_path(api: Api) -> None:
    problem = _problem(api.post("/members/", {"email": "no address"}), 422)
    assert {error["field"] for error in problem["errors"]} == {"email", "role"}


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], 5, True, None, "x" * 300])
def test_values_of_another_type_are_invalid_and_change_nothing(api: Api, value: Any) -> None:
    before = User.objects.count()
    answer = api.post("/members/", {"email": value, "role": "viewer"})
    _problem(answer, 422)
    assert User.objects.count() == before


@pytest.mark.parametrize("name", ["x" * 121, "x" * 10_000])
def test_a_text_that_is_too_long_is_invalid(api: Api, name: str) -> None:
    _problem(api.post("/members/", {"email": "x@acme.example", "role": "viewer", "name": name}), 422)


@pytest.mark.parametrize(
    "key",
    ["0", "no-uuid", UNKNOWN, f"{UNKNOWN}0", "%00", "a%2Fb", "'; DROP x", "%F0%9F%99%82"],
)
@pytest.mark.parametrize(
    "resource", ["members", "tokens", "deployments", "caller-keys", "executions", "agents", "events"]
)
def test_an_identifier_that_is_none_is_not_found(api: Api, resource: str, key: str) -> None:
    _problem(api.get(f"/{resource}/{key}/"), 404)
    _problem(api.delete(f"/{resource}/{key}/x/"), 404)


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing/", "/api/", "/api/v2/agents/", "/api/v1/agents/../../admin/", "/api/%00/"]
)
def test_an_unknown_address_of_the_api_is_a_problem_and_no_page(api: Api, path: str) -> None:
    _problem(api.client.get(path), 404)


def test_a_post_without_the_last_slash_is_not_redirected(api: Api) -> None:
    """A redirected POST arrives as a GET without its body, and looks like success."""
    problem = _problem(api.client.post("/api/v1/tokens", {"name": "x"}, content_type="application/json"), 404)
    assert "slash" in problem["detail"]
    assert api.client.get("/api/v1/tokens").status_code == 301


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_a_method_that_is_not_there_says_which_are(api: Api, method: str) -> None:
    response = getattr(api.client, method)("/api/v1/members/", "{}", content_type="application/json")
    _problem(response, 405)
    assert "GET" in response["Allow"]


def test_nobody_signed_in_is_told_how(acme: Inhabited) -> None:
    response = Client(headers={"host": acme.host}).get("/api/v1/members/")
    _problem(response, 401)
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_denial_says_which_rule_was_missing(acme: Inhabited) -> None:
    problem = _problem(acme.api("viewer").post("/members/", {"email": "x@acme.example", "role": "viewer"}), 403)
    assert problem["action"] == "user.create"
    assert "owner" in problem["detail"]
    assert {reason["rule"] for reason in problem["reasons"]} >= {"role", "default"}


def test_a_conflict_says_with_what(api: Api) -> None:
    problem = _problem(api.post("/members/", {"email": "viewer@acme.example", "role": "viewer"}), 409)
    assert "already" in problem["detail"]


@pytest.mark.parametrize("body", [b"x" * HUGE, b'{"name": "' + b"x" * HUGE + b'"}'])
def test_a_huge_body_is_refused(api: Api, body: bytes) -> None:
    _problem(api.client.post("/api/v1/tokens/", body, content_type="application/json"), 413)


@pytest.mark.parametrize("length", ["-1", "x", "²", "1e3", "0x10"])
def test_a_length_that_is_no_number_is_refused(api: Api, length: str) -> None:
    response = api.client.post("/api/v1/tokens/", b"{}", content_type="application/json", CONTENT_LENGTH=length)
    _problem(response, 400)


def test_a_crash_is_a_problem_without_its_reason(acme: Inhabited, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.accounts.api import MemberViewSet

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(MemberViewSet, "list", crash)
    client = acme.api("owner").client
    client.raise_request_exception = False
    problem = _problem(client.get("/api/v1/members/"), 500)
    assert "secret reason" not in str(problem)


@pytest.mark.parametrize(
    "cursor",
    ["x", "%00", base64.b64encode(b"p=no-date").decode(), base64.b64encode(b"p=\x00").decode(), "cD0%3D", "o=1"],
)
def test_a_made_up_cursor_is_not_found(api: Api, cursor: str) -> None:
    for path in ("/members/", "/events/", "/agents/"):
        response = api.client.get(f"/api/v1{path}?cursor={cursor}")
        assert response.status_code in (200, 404), response.content
        if response.status_code == 404:
            _problem(response, 404)


@pytest.mark.parametrize("query", ["search=%00", "search=%ed%a0%80", "role=%00", "is_active=maybe", "since=yesterday"])
def test_a_query_that_makes_no_sense_is_no_crash(api: Api, query: str) -> None:
    for path in ("/members/", "/events/", "/agents/"):
        response = api.client.get(f"/api/v1{path}?{query}")
        assert response.status_code in (200, 422), response.content


def test_more_requests_than_allowed_wait(acme: Inhabited, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.core.throttling import ActorThrottle

    monkeypatch.setattr(ActorThrottle, "THROTTLE_RATES", {"actor": "3/min"})
    busy, other = acme.api("owner"), acme.api("builder")
    codes = [busy.get("/members/").status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    response = busy.get("/members/")
    _problem(response, 429)
    assert 0 < int(response["Retry-After"]) <= 60
    assert other.get("/members/").status_code == 200, "one busy integration keeps nobody else waiting"


def test_the_dashboards_session_works_on_the_api_with_its_proof_against_forgery(acme: Inhabited) -> None:
    client = Client(headers={"host": acme.host}, enforce_csrf_checks=True)
    with acme.inside():
        client.force_login(acme.users["owner"], backend="django.contrib.auth.backends.ModelBackend")
    assert client.get("/api/v1/members/").status_code == 200

    forged = client.post("/api/v1/tokens/", {"name": "x"}, content_type="application/json")
    _problem(forged, 403)

    client.get("/profile/")
    token = client.cookies["csrftoken"].value
    genuine = client.post(
        "/api/v1/tokens/", {"name": "x"}, content_type="application/json", headers={"x-csrftoken": token}
    )
    assert genuine.status_code == 201
