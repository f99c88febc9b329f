"""Plans as people write them, and what the pure functions behind a rollout say: no gateway, no database."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import Invalid
from apps.deployments.strategies.gates import judge
from apps.deployments.strategies.plans import (
    ALL_AT_ONCE,
    HealthGate,
    Plan,
    PlannedStep,
    Share,
    default_steps,
    seconds_in_words,
    steps_from_text,
)
from apps.deployments.strategies.shapes import Held, Shape, Standing, moves
from apps.deployments.strategies.waves import Member, members_of_wave, waves_of
from apps.telemetry.comparison import ReleaseFigures
from apps.telemetry.prices import Price, Pricing
from contract.kinds import TOMBSTONE_DIGEST

NAMES = ("a", "b", "c", "d", "e")


def fleet(**labels: dict[str, str]) -> list[Member]:
    """Five gateways in an order that is not that of their names."""
    return [Member(UUID(int=ord(name)), name, labels.get(name, {})) for name in reversed(NAMES)]


def named(gateways: tuple[UUID, ...]) -> str:
    return "".join(chr(gateway.int) for gateway in gateways)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("3", Share(count=3)),
        ("25 %", Share(percent=25)),
        ("25%", Share(percent=25)),
        ("region=eu", Share(percent=100, label=("region", "eu"))),
        ("region=eu 50 %", Share(percent=50, label=("region", "eu"))),
        ("region=eu 1", Share(count=1, label=("region", "eu"))),
    ],
)
def test_a_share_is_read_and_written(text: str, share: Share) -> None:
    assert Share.parse(text) == share
    assert Share.parse(str(share)) == share


@pytest.mark.parametrize(
    "text", ["", "0", "0 %", "101 %", "-1", "half", "region=", "=eu", "region=eu50 %", "1 2", "1.5"]
)
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Share.parse(text)
    assert "plan" in refused.value.fields


def test_plans_survive_json() -> None:
    plans = [
        ALL_AT_ONCE,
        Plan("canary", default_steps("canary"), HealthGate()),
        Plan("waves", steps_from_text("1, 25 %, region=eu, 100 %", soak_s=60, approval=True), HealthGate(p95_ratio=3)),
    ]
    assert [Plan.from_json(plan.to_json()) for plan in plans] == plans


def test_a_strategy_alone_is_a_plan() -> None:
    plan = Plan.from_json({"strategy": "canary"})
    assert [str(step.share) for step in plan.steps] == ["1 %", "5 %", "25 %", "100 %"]
    assert plan.gate is None


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "is an object"),
        ([], "is an object"),
        ({"strategy": "blue-green"}, "one of all-at-once, waves, canary"),
        ({"strategy": "waves", "steps": []}, "from 1 to 20 steps"),
        ({"strategy": "waves", "steps": "1, 100 %"}, "is a list"),
        ({"strategy": "waves", "steps": [{"share": "1"}]}, "end with 100 %"),
        ({"strategy": "waves", "steps": [{"share": "50 %"}, {"share": "25 %"}, {"share": "100 %"}]}, "reaches more"),
        ({"strategy": "canary", "steps": [{"share": "3"}]}, "percentages of the callers"),
        ({"strategy": "canary", "steps": [{"share": "region=eu 3 %"}]}, "percentages of the callers"),
        ({"strategy": "all-at-once", "steps": [{"share": "50 %"}]}, "one step, 100 %"),
        ({"strategy": "waves", "steps": [{"share": "100 %", "soak": 3}]}, "no “soak”"),
        ({"strategy": "waves", "steps": [{"share": "100 %", "soak_s": "3"}]}, "whole number"),
        ({"strategy": "waves", "steps": [{"share": "100 %", "soak_s": True}]}, "whole number"),
        ({"strategy": "waves", "steps": [{"share": "100 %", "approval": 1}]}, "true or false"),
        ({"strategy": "waves", "steps": [{"soak_s": 1}]}, "“share” is missing"),
        ({"strategy": "canary", "gate": {"p95_ratio": 0.5}}, "from 1 to"),
        ({"strategy": "canary", "gate": {"error_rate_points": float("nan")}}, "a number from 0"),
        ({"strategy": "canary", "gate": {"error_rate_points": None}}, "cannot be null"),
        ({"strategy": "canary", "gate": {"minimum_executions": 0}}, "whole number from 1"),
        ({"strategy": "canary", "extra": 1}, "no “extra”"),
    ],
)
def test_a_wrong_plan_says_what_is_wrong(value: Any, complaint: str) -> None:
    with pytest.raises(Invalid) as refused:
        Plan.from_json(value)
    assert complaint in refused.value.fields["plan"][0]


def test_a_plan_in_words() -> None:
    plan = Plan("canary", default_steps("canary"), HealthGate())
    assert plan.in_words == (
        "canary 1 %, 5 %, 25 %, 100 %; soaks 5 min each; errors at most 5 points more, p95 at most 2 times, "
        "cost at most 1.5 times, judged on 20 executions"
    )
    assert ALL_AT_ONCE.in_words == "all at once; not judged"
    assert [seconds_in_words(each) for each in (45, 600, 5400, 86_400)] == ["45 s", "10 min", "1 h 30 min", "24 h"]


def test_waves_count_what_earlier_waves_have() -> None:
    shares = [step.share for step in steps_from_text("1, 50 %, 100 %")]
    assert [named(wave) for wave in waves_of(shares, fleet())] == ["a", "bc", "de"]


def test_waves_by_label() -> None:
    members = fleet(b={"region": "eu"}, d={"region": "eu"}, e={"region": "us"})
    shares = [step.share for step in steps_from_text("region=eu 1, region=eu, 100 %")]
    assert [named(wave) for wave in waves_of(shares, members)] == ["b", "d", "ace"]
    # One that a wave without a label took counts for the wave of its label.
    assert named(members_of_wave(Share.parse("region=eu 1"), members, {UUID(int=ord("d"))})) == ""


@given(st.integers(0, 60), st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True))
def test_waves_part_the_fleet(size: int, percents: list[int]) -> None:
    members = [Member(uuid4(), f"g{number}") for number in range(size)]
    waves = waves_of([Share(percent=percent) for percent in sorted({*percents, 100})], members)
    everybody = [gateway for wave in waves for gateway in wave]
    assert len(everybody) == len(set(everybody)) == size


# ── one gateway's way to a shape ────────────────────────────────────────────────────────────────────────────────────
OLD, NEW, OTHER, ROUTE_5, ROUTE_25 = "old", "new", "other", "route-5", "route-25"


def stands(release: str = OLD, canary: str = TOMBSTONE_DIGEST, route: str = TOMBSTONE_DIGEST) -> Standing:
    """A gateway that has confirmed all of this."""
    return Standing(Held(release), Held(canary), Held(route))


def test_callers_are_sent_only_to_a_canary_that_is_there() -> None:
    shape = Shape(OLD, canary=NEW, percent=5)
    first = moves(shape, stands(), ROUTE_5)
    assert (first.release, first.canary, first.route, first.done) == (None, NEW, None, False)
    on_its_way = Standing(Held(OLD), Held(NEW, confirmed=False), Held())
    assert moves(shape, on_its_way, ROUTE_5).route is None
    assert moves(shape, stands(canary=NEW), ROUTE_5).route == ROUTE_5
    assert moves(shape, stands(canary=NEW, route=ROUTE_5), ROUTE_5).done


def test_a_promotion_keeps_the_callers_until_the_release_is_there() -> None:
    shape = Shape(NEW, promotes=True)
    first = moves(shape, stands(canary=NEW, route=ROUTE_25), TOMBSTONE_DIGEST)
    assert (first.release, first.canary, first.route) == (NEW, None, None)
    second = moves(shape, stands(NEW, NEW, ROUTE_25), TOMBSTONE_DIGEST)
    assert (second.canary, second.route) == (None, TOMBSTONE_DIGEST)
    third = moves(shape, stands(NEW, NEW), TOMBSTONE_DIGEST)
    assert third.canary == TOMBSTONE_DIGEST
    assert moves(shape, stands(NEW), TOMBSTONE_DIGEST).done


def test_taking_back_does_not_wait_for_the_release() -> None:
    """Callers leave a canary at once, whatever else is under way."""
    interrupted = Standing(Held(NEW, confirmed=False), Held(NEW), Held(ROUTE_25))
    first = moves(Shape(OLD), interrupted, TOMBSTONE_DIGEST)
    assert (first.release, first.canary, first.route) == (OLD, None, TOMBSTONE_DIGEST)


HELD = st.builds(Held, st.sampled_from([TOMBSTONE_DIGEST, OLD, NEW, OTHER]), st.booleans())
ROUTES = st.builds(Held, st.sampled_from([TOMBSTONE_DIGEST, ROUTE_5, ROUTE_25]), st.booleans())
SHAPES = st.sampled_from([
    (Shape(OLD), TOMBSTONE_DIGEST), (Shape(NEW), TOMBSTONE_DIGEST), (Shape(NEW, promotes=True), TOMBSTONE_DIGEST),
    (Shape(TOMBSTONE_DIGEST), TOMBSTONE_DIGEST), (Shape(OLD, canary=NEW, percent=5), ROUTE_5),
    (Shape(OLD, canary=NEW, percent=25), ROUTE_25),
])  # fmt: skip


@given(st.builds(Standing, HELD, HELD, ROUTES), SHAPES, st.booleans())
def test_from_anywhere_every_shape_is_reached(here: Standing, target: tuple[Shape, str], at_once: bool) -> None:
    """Whatever a gateway holds or is about to hold, wanting what comes next and confirming it ends in the shape."""
    shape, route = target
    for _ in range(8):
        step = moves(shape, here, route, at_once=at_once)
        if step.done:
            break
        here = Standing(
            Held(step.release or here.release.digest),
            Held(step.canary or here.canary.digest),
            Held(step.route or here.route.digest),
        )
    assert (here.release.digest, here.canary.digest, here.route.digest) == (shape.release, shape.canary, route)


# ── the health gate ─────────────────────────────────────────────────────────────────────────────────────────────────
GATE = HealthGate(minimum_executions=10)
PRICED = Pricing(frozenset({"default"}), Price("EUR", Decimal(1), Decimal(2)), "")


def figures(
    executions: int = 100, errors: int = 1, p95_ms: float = 200.0, tokens: int = 1000, **more: Any
) -> ReleaseFigures:
    return ReleaseFigures(executions=executions, errors=errors, p95_ms=p95_ms, input_tokens=tokens * executions, **more)


def test_too_few_executions_say_nothing() -> None:
    verdict = judge(GATE, new=figures(9, errors=9), old=figures())
    assert (verdict.health, verdict.in_words) == ("too-few", "judged on 9 of 10 executions")


def test_a_gate_lets_a_healthy_release_through() -> None:
    verdict = judge(GATE, new=figures(pricing=PRICED), old=figures(pricing=PRICED))
    assert verdict.health == "healthy"
    assert "error rate 1.0 % against 1.0 %" in verdict.in_words


@pytest.mark.parametrize(
    ("new", "complaint"),
    [
        (figures(50, errors=10), "error rate 20.0 % against 1.0 % (10 of 50 executions failed)"),
        (figures(p95_ms=900.0), "p95 900 ms against 200 ms (4.5 times)"),
        (figures(tokens=2000, pricing=PRICED), "(2 times)"),
    ],
)
def test_a_degraded_release_is_told_apart_with_numbers(new: ReleaseFigures, complaint: str) -> None:
    old = figures(pricing=PRICED) if new.priced else figures()
    verdict = judge(GATE, new=new, old=old)
    assert verdict.health == "degraded"
    assert len(verdict.reasons) == 1
    assert complaint in verdict.in_words


def test_the_limits_themselves_are_allowed() -> None:
    assert judge(GATE, new=figures(100, errors=6, p95_ms=400.0), old=figures()).health == "healthy"


def test_without_an_old_release_only_errors_count() -> None:
    assert judge(GATE, new=figures(p95_ms=90_000.0), old=None).health == "healthy"
    assert judge(GATE, new=figures(100, errors=6), old=None).health == "degraded"


def test_costs_that_cannot_be_compared_are_not_compared() -> None:
    verdict = judge(GATE, new=figures(tokens=9000, pricing=PRICED), old=figures())
    assert verdict.health == "healthy"
    assert "cost not compared" in verdict.in_words


def test_a_step_has_sane_defaults() -> None:
    assert PlannedStep.from_json({"share": "5 %"}, "step 1") == PlannedStep(Share(percent=5), 0, approval=False)
