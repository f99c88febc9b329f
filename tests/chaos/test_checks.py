"""The judge can say no: each check is shown what it is there to find, and the same without the fault."""

from __future__ import annotations

from dataclasses import replace

from contract.admin_api import Item
from contract.kinds import TOMBSTONE_DIGEST
from tests.chaos import checks
from tests.chaos.checks import Entry, Row
from tests.chaos.ledger import Ledger, Place, Promise
from tests.chaos.plan import Act
from tests.chaos.prober import ACCEPTED, GONE, RUNNING, STOPPED, Sighting
from tests.chaos.recorder import Applied

ONE, TWO = ("sha256:" + digit * 64 for digit in "12")
PLACE = ("production", "greeter-production")
KEY = ("production", "abcd1234")


def _applied(generation: int, digest: str = ONE, *, at: float = 0.0, life: int = 0) -> Applied:
    return Applied("gateway-0", life, at, "workflow", "greeter-production", generation, digest)


def _sighting(floor: int, seen: str, *, began: float = 100.0, life: int = 0) -> Sighting:
    return Sighting("gateway-0", life, "workflow", "greeter-production", began, floor, seen)


# What a gateway did ---------------------------------------------------------------------------------------------------


def test_a_generation_that_took_effect_twice_is_found() -> None:
    assert checks.applied_twice([_applied(1), _applied(2), _applied(3)]) == []
    (problem,) = checks.applied_twice([_applied(1), _applied(2), _applied(2)])
    assert "generation 2 took effect 2 times" in problem


def test_a_wiped_gateway_may_take_a_generation_again() -> None:
    assert checks.applied_twice([_applied(2), _applied(2, life=1)]) == []
    assert checks.went_back([_applied(3), _applied(2, life=1)]) == []


def test_an_older_generation_after_a_newer_one_is_found() -> None:
    assert checks.went_back([_applied(1), _applied(3)]) == []
    (problem,) = checks.went_back([_applied(3), _applied(2)])
    assert "generation 2 took effect after 3" in problem


# What callers saw -----------------------------------------------------------------------------------------------------


def test_an_old_release_after_the_confirmation_of_a_newer_one_is_found() -> None:
    history = [_applied(1, ONE), _applied(2, TWO)]
    assert checks.stale([_sighting(2, TWO), _sighting(1, ONE), _sighting(1, TWO), _sighting(0, GONE)], history) == []
    (problem,) = checks.stale([_sighting(2, ONE)], history)
    assert "generation 2 was confirmed" in problem
    assert checks.stale([_sighting(2, GONE)], history)


def test_a_release_that_is_served_after_its_confirmed_removal_is_found() -> None:
    history = [_applied(1, ONE), _applied(2, TOMBSTONE_DIGEST)]
    assert checks.stale([_sighting(2, GONE)], history) == []
    assert checks.stale([_sighting(2, ONE)], history)


def test_a_key_that_opens_after_its_confirmed_revocation_is_found() -> None:
    history = [
        replace(_applied(1), kind="api-key", name="abcd1234"),
        replace(_applied(2, TOMBSTONE_DIGEST), kind="api-key", name="abcd1234"),
    ]
    seen = replace(_sighting(2, GONE), kind="api-key", name="abcd1234")
    assert checks.stale([seen], history) == []
    assert checks.stale([replace(seen, seen=ACCEPTED)], history)


def test_a_confirmation_of_what_never_took_effect_is_found() -> None:
    assert checks.stale([_sighting(2, ONE)], [_applied(1, ONE)])


def test_a_wiped_gateway_owes_nothing_until_it_was_repaired() -> None:
    history = [_applied(1, ONE), _applied(2, TWO), _applied(2, TWO, at=50.0, life=1)]
    assert checks.stale([_sighting(2, GONE, began=40.0, life=1)], history) == []
    assert checks.stale([_sighting(2, GONE, began=60.0, life=1)], history)


def test_what_runs_after_its_confirmed_stop_is_found_also_on_a_wiped_gateway() -> None:
    history = [replace(_applied(1), kind="stop", name="s1")]
    ran = replace(_sighting(1, RUNNING), kind="stop", name="s1")
    assert checks.stale([replace(ran, seen=STOPPED)], history) == []
    assert checks.stale([ran], history)
    assert checks.stale([replace(ran, life=1)], history)
    lifted = [*history, replace(_applied(2, TOMBSTONE_DIGEST), kind="stop", name="s1")]
    assert checks.stale([ran], lifted) == []


# What database and gateway hold ---------------------------------------------------------------------------------------


def _item(generation: int, digest: str) -> Item:
    return Item(kind="workflow", name="greeter-production", generation=generation, digest=digest, tombstone=False)


def _row(desired: tuple[int, str], observed: tuple[int, str]) -> Row:
    return Row("gateway-0", "workflow", "greeter-production", desired, observed)


def test_a_gateway_that_holds_something_else_than_is_wanted_is_found() -> None:
    row = _row((2, TWO), (2, TWO))
    assert checks.unsettled("gateway-0", [row], [_item(2, TWO)]) == []
    assert checks.unsettled("gateway-0", [row], [_item(2, ONE)])
    assert checks.unsettled("gateway-0", [row], [_item(1, TWO)])
    assert checks.unsettled("gateway-0", [row], [])
    assert checks.unsettled("gateway-0", [], [_item(2, TWO)])


def test_what_the_gateway_holds_and_nobody_recorded_is_found() -> None:
    assert checks.unsettled("gateway-0", [_row((2, TWO), (1, ONE))], [_item(2, TWO)])


# What was promised ----------------------------------------------------------------------------------------------------


def test_a_deploy_that_was_lost_is_found() -> None:
    ledger = Ledger()
    ledger.add(Promise("wish-1", Act.DEPLOY, PLACE, 1, "r1"))
    ledger.add(Promise("wish-2", Act.DEPLOY, PLACE, 2, "r2"))
    ledger.add(Promise("wish-3", Act.REVOKE_KEY, KEY, None, "k1"))
    right: dict[Place, dict[str, int | None]] = {PLACE: {"gateway-0": 2, "gateway-1": 2}, KEY: {"gateway-0": None}}
    assert checks.lost(ledger.expected(), right) == []
    (problem,) = checks.lost(ledger.expected(), {**right, PLACE: {"gateway-0": 2, "gateway-1": 1}})
    assert problem == "gateway-1: greeter-production: promised version 2, serves version 1"
    assert checks.lost(ledger.expected(), {**right, PLACE: {"gateway-0": None, "gateway-1": 2}})
    assert checks.lost(ledger.expected(), {**right, KEY: {"gateway-0": 1}})


def test_a_stop_that_was_lost_or_outlived_its_end_is_found() -> None:
    ledger = Ledger()
    stop = Promise("wish-1", Act.STOP, ("production", "s1"), 1, "i1", stops="greeter-production")
    ledger.add(stop)
    assert checks.unstopped(ledger.stops, {"greeter-production": {"gateway-0": True}}) == []
    assert checks.unstopped(ledger.stops, {"greeter-production": {"gateway-0": False}})
    ledger.add(replace(stop, act=Act.LIFT, version=None))
    assert checks.unstopped(ledger.stops, {"greeter-production": {"gateway-0": False}}) == []
    assert checks.unstopped(ledger.stops, {"greeter-production": {"gateway-0": True}})


def test_a_gateway_that_was_asked_nothing_is_not_taken_for_right() -> None:
    ledger = Ledger()
    ledger.add(Promise("wish-1", Act.DEPLOY, PLACE, 1, "r1"))
    assert checks.lost(ledger.expected(), {})


def test_promises_that_the_database_forgot_doubled_or_invented_are_found() -> None:
    ledger = Ledger()
    ledger.add(Promise("wish-1", Act.DEPLOY, PLACE, 1, "r1"))
    ledger.add(Promise("wish-2", Act.REVOKE_KEY, KEY, None, "k1"))
    deployed, revoked = Entry("environment.deploy", "e1", "r1"), Entry("caller-key.revoke", "k1", "")
    assert checks.forgotten(ledger, ["r1"], [deployed, revoked]) == []
    assert "not in the database" in checks.forgotten(ledger, [], [deployed, revoked])[0]
    assert "nobody was promised it" in checks.forgotten(ledger, ["r1", "r2"], [deployed, revoked])[0]
    assert "has 0 events" in checks.forgotten(ledger, ["r1"], [deployed])[0]
    assert "has 2 events" in checks.forgotten(ledger, ["r1"], [deployed, deployed, revoked])[0]


def test_a_success_that_the_log_does_not_tell_once_is_found() -> None:
    told = Entry("rollout.succeeded", "r1", "")
    assert checks.untold(["r1"], [told]) == []
    assert "0 events" in checks.untold(["r1"], [])[0]
    assert "2 events" in checks.untold(["r1"], [told, told])[0]
    assert "did not succeed" in checks.untold([], [told])[0]
