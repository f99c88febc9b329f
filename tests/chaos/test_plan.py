"""The plan of a run: repeatable, and hard on everything."""

from __future__ import annotations

from tests.chaos.plan import Victim, make_plan


def test_a_seed_makes_one_plan() -> None:
    assert make_plan(7, kills=20, tenants=2) == make_plan(7, kills=20, tenants=2)
    assert make_plan(7, kills=20, tenants=2) != make_plan(8, kills=20, tenants=2)


def test_every_kind_of_death_occurs_and_the_number_is_kept() -> None:
    for seed in range(20):
        victims = [strike.victim for each in make_plan(seed, kills=20, tenants=2) for strike in each.strikes]
        assert len(victims) == 20
        assert set(victims) == set(Victim)


def test_every_death_meets_wishes_of_every_tenant() -> None:
    for each in make_plan(3, kills=50, tenants=2):
        assert each.strikes
        assert {wish.tenant for wish in each.wishes} == {0, 1}


def test_wishes_can_be_told_apart() -> None:
    tags = [wish.tag for each in make_plan(3, kills=50, tenants=2) for wish in each.wishes]
    assert len(tags) == len(set(tags))
