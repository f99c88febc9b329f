"""Finding out which keys exist. An answer must depend on it neither in its words nor in the work behind it.

Clocks on a shared machine prove nothing, so the work is compared: every function that is called while somebody is
refused.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from contract.caller_keys import CallerKey, KeyText
from gateway_service.auth import authenticate_caller
from gateway_service.errors import GatewayError
from gateway_service.live_state import Snapshot


def snapshot_with(*keys: KeyText, **members: Any) -> Snapshot:
    """A state that holds these keys."""
    held = {key.id: CallerKey.parse({"hash": key.hash, "scopes": ["*"], **members}) for key in keys}
    return cast("Snapshot", SimpleNamespace(view=lambda _: held))


def work_of(key: KeyText, snapshot: Snapshot) -> list[str]:
    """The functions that are called to refuse a key, in their order."""
    header = (b"authorization", f"Bearer {key.text}".encode())
    request = Request({"type": "http", "headers": [header]})
    called: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)
        elif event == "c_call":
            called.append(argument.__qualname__)

    sys.setprofile(note)
    try:
        authenticate_caller(request, snapshot)
    except GatewayError:
        return called
    finally:
        sys.setprofile(None)
    pytest.fail("the key was accepted")


def test_a_wrong_secret_and_an_unknown_id_are_refused_by_the_same_work() -> None:
    existing = KeyText.generate()
    held = snapshot_with(existing)
    wrong_secret = KeyText(existing.id, KeyText.generate().secret)
    work = work_of(wrong_secret, held)
    assert work == work_of(KeyText.generate(), held)
    assert any("compare_digest" in name for name in work)
    assert any("sha256" in name for name in work)


def test_a_secret_is_compared_whole_however_much_of_it_is_right() -> None:
    existing = KeyText.generate()
    held = snapshot_with(existing)
    nearly = KeyText(existing.id, existing.secret[:-1] + ("a" if existing.secret[-1] != "a" else "b"))
    assert work_of(nearly, held) == work_of(KeyText(existing.id, "x" * len(existing.secret)), held)


def test_an_expired_key_with_a_wrong_secret_does_not_say_that_it_has_expired() -> None:
    existing = KeyText.generate()
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    wrong = KeyText(existing.id, KeyText.generate().secret)
    assert work_of(wrong, snapshot_with(existing, expires_at=past)) == work_of(wrong, snapshot_with(existing))


def test_nobodys_key_opens_nothing() -> None:
    assert work_of(KeyText.generate(), snapshot_with())
