"""`Idempotency-Key`: whoever does not know whether a request arrived sends it again, and nothing happens twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from apps.accounts import commands
from apps.accounts.models import ApiToken, User
from apps.core import idempotency
from apps.core.models import IdempotencyRecord
from tests.harness.world import Api, Inhabited

NEW = {"email": "new@acme.example", "role": "viewer"}


def test_the_same_request_has_one_effect_and_one_answer(acme: Inhabited) -> None:
    api = acme.api("owner")

    first = api.post("/members/", NEW, key="k1")
    again = api.post("/members/", dict(reversed(NEW.items())), key="k1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert User.objects.filter(email=NEW["email"]).count() == 1


def test_without_a_key_each_request_counts(acme: Inhabited) -> None:
    api = acme.api("owner")
    assert [api.post("/tokens/", {"name": "ci"}).status_code for _ in range(2)] == [201, 201]


@pytest.mark.parametrize(
    ("path", "body"), [("/members/", {**NEW, "role": "builder"}), ("/tokens/", NEW), ("/members/?x=1", NEW)]
)
def test_the_key_of_another_request_is_a_conflict(acme: Inhabited, path: str, body: dict[str, Any]) -> None:
    api = acme.api("owner")
    api.post("/members/", NEW, key="k1")
    answer = api.post(path, body, key="k1")
    assert answer.status_code == 409
    assert "another request" in answer.json()["detail"]


def test_keys_of_different_people_have_nothing_in_common(acme: Inhabited) -> None:
    owner, viewer = acme.api("owner"), acme.api("viewer")
    answers = [api.post("/tokens/", {"name": "ci"}, key="k1") for api in (owner, viewer)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert ApiToken.objects.filter(name="ci").values("user").distinct().count() == 2


def test_keys_of_different_organizations_have_nothing_in_common(acme: Inhabited, globex: Inhabited) -> None:
    assert acme.api("owner").post("/tokens/", {"name": "ci"}, key="k1").status_code == 201
    assert globex.api("owner").post("/tokens/", {"name": "other"}, key="k1").status_code == 201


def test_a_secret_is_in_the_first_answer_only(acme: Inhabited) -> None:
    api = acme.api("owner")
    first = api.post("/tokens/", {"name": "ci"}, key="k1").json()
    again = api.post("/tokens/", {"name": "ci"}, key="k1").json()
    assert first["token"].startswith("kzs_acme_")
    assert again == {**first, "token": None}
    assert first["token"] not in str(list(IdempotencyRecord.objects.values()))


def test_a_refused_request_leaves_the_key_free(acme: Inhabited) -> None:
    """It had no effect, so that the corrected request may carry the same key."""
    api = acme.api("owner")
    assert api.post("/members/", {**NEW, "role": "emperor"}, key="k1").status_code == 422
    assert api.post("/members/", NEW, key="k1").status_code == 201


def test_a_denied_request_leaves_the_key_free(acme: Inhabited) -> None:
    assert acme.api("viewer").post("/members/", NEW, key="k1").status_code == 403
    assert not IdempotencyRecord.objects.exists()


def test_an_answer_is_kept_for_a_day(acme: Inhabited) -> None:
    api = acme.api("owner")
    api.post("/tokens/", {"name": "ci"}, key="k1")
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert "Idempotent-Replayed" not in api.post("/tokens/", {"name": "ci"}, key="k1").headers


def test_outdated_records_go_with_later_requests(acme: Inhabited) -> None:
    api = acme.api("owner")
    for number in range(3):
        api.post("/tokens/", {"name": "ci"}, key=f"old {number}")
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(hours=25))
    api.post("/tokens/", {"name": "ci"}, key="new")
    assert list(IdempotencyRecord.objects.values_list("key", flat=True)) == ["new"]


@pytest.mark.parametrize("key", ["x" * 256, "ключ", "tab\tbed"])
def test_a_key_that_is_none_is_refused(acme: Inhabited, key: str) -> None:
    answer = acme.api("owner").client.post(
        "/api/v1/tokens/", {"name": "ci"}, content_type="application/json", HTTP_IDEMPOTENCY_KEY=key
    )
    assert answer.status_code == 422
    assert not ApiToken.objects.filter(name="ci").exists()


def test_a_body_with_numbers_beyond_json_is_compared_like_any_other(acme: Inhabited) -> None:
    """The comparison must not be what refuses a body: the serializer says what is wrong with it."""
    answer = acme.api("owner").post("/tokens/", {"name": 2**80}, key="k1")
    assert answer.status_code in (201, 422)


def _crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies between the commit of the command and the keeping of its answer."""

    def die(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(idempotency, "_kept", die)


def test_after_a_crash_the_repeated_request_learns_what_was_made(
    acme: Inhabited, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = acme.api("owner")
    with monkeypatch.context() as crashing:
        _crash(crashing)
        with pytest.raises(SystemExit):
            api.post("/members/", NEW, key="k1")

    assert api.post("/members/", NEW, key="k1").status_code == 409, "for all that is known, it is still under way"
    IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=3))
    again = api.post("/members/", NEW, key="k1")

    user = User.objects.get(email=NEW["email"])
    assert again.status_code == 200
    assert again.json() == {"type": "user", "id": str(user.pk)}
    assert again.headers["Idempotent-Replayed"] == "true"


def test_a_crash_inside_the_command_leaves_neither_effect_nor_record(
    live_organization: Inhabited, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.core.ports import ports

    def die(*_: object) -> None:
        raise SystemExit

    api = live_organization.api("owner")
    with monkeypatch.context() as crashing:
        crashing.setattr(ports, "record", staticmethod(die))
        with pytest.raises(SystemExit):
            api.post("/members/", NEW, key="k1")
    with live_organization.inside():
        assert not User.objects.filter(email=NEW["email"]).exists()
    assert api.post("/members/", NEW, key="k1").status_code == 201


def _at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """So many calls in threads of their own, released together."""
    barrier, answers = threading.Barrier(count), [None] * count

    def run(number: int) -> None:
        try:
            barrier.wait(timeout=30)
            answers[number] = call(number)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return answers


def test_two_at_the_same_moment_have_one_effect(live_organization: Inhabited) -> None:
    token = live_organization.api("owner").token
    for turn in range(5):
        body = {"email": f"new{turn}@live.example", "role": "viewer"}
        answers = _at_once(
            4,
            lambda _, body=body, turn=turn: Api(live_organization.host, token).post("/members/", body, key=f"t{turn}"),
        )
        codes = sorted(answer.status_code for answer in answers)
        # The others get the answer if it is there already, or are told to ask again; never a second effect.
        assert set(codes) <= {201, 409}
        assert 201 in codes
        assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
        with live_organization.inside():
            assert User.objects.filter(email=body["email"]).count() == 1


def test_a_claim_that_was_overtaken_has_no_effect(
    live_organization: Inhabited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request so slow that its claim counted as abandoned must not act after the one that took its place."""
    slow_api, fast_api = live_organization.api("owner"), live_organization.api("owner")
    make = commands.create_token
    answers: list[Any] = []

    def overtaken(**arguments: Any) -> Any:
        monkeypatch.setattr(commands, "create_token", make)
        IdempotencyRecord.objects.update(created_at=timezone.now() - timedelta(minutes=3))
        answers.extend(_at_once(1, lambda _: fast_api.post("/tokens/", {"name": "ci"}, key="k1")))
        return make(**arguments)

    monkeypatch.setattr(commands, "create_token", overtaken)
    slow = slow_api.post("/tokens/", {"name": "ci"}, key="k1")

    assert answers[0].status_code == 201
    assert slow.status_code == 409
    with live_organization.inside():
        assert ApiToken.objects.filter(name="ci").count() == 1
