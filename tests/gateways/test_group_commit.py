"""Results that threads have at the same moment share one transaction, and nobody waits with others' rows in hand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction

from apps.gateways import recording
from apps.gateways.client import GatewayUnreachable
from apps.gateways.commands import create_key, register_gateway
from apps.gateways.group_commit import GroupCommit
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.reconcile import ORDINARY, claim
from apps.gateways.recording import Result
from tests.harness.gateway import free_port, wait_until

if TYPE_CHECKING:
    from tests.harness.world import Inhabited

BROKEN = GatewayUnreachable("connection-refused", "connection refused")


class Ledger:
    """A place to write to that is slow until it is told to go on."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go_on = threading.Event()

    def write(self, things: Sequence[int]) -> list[str]:
        self.groups.append(list(things))
        assert self.go_on.wait(20)
        if -1 in things:
            raise ValueError("minus one")
        return [f"wrote {thing}" for thing in things]


def test_what_comes_while_one_writes_is_written_next_together() -> None:
    ledger = Ledger()
    commit = GroupCommit(ledger.write)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(commit, 1)
        wait_until(lambda: ledger.groups == [[1]], 20)
        rest = [threads.submit(commit, number) for number in (2, 3, 4)]
        wait_until(lambda: sum(map(len, commit._waiting.values())) == 3, 20)
        ledger.go_on.set()
        assert first.result(20) == "wrote 1"
        assert [each.result(20) for each in rest] == ["wrote 2", "wrote 3", "wrote 4"]
    assert [sorted(group) for group in ledger.groups] == [[1], [2, 3, 4]]
    assert commit(5) == "wrote 5", "and whoever comes later leads again"


def test_what_fails_fails_for_everyone_in_its_group_and_for_nobody_else() -> None:
    ledger = Ledger()
    commit = GroupCommit(ledger.write)
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(commit, 1)
        wait_until(lambda: ledger.groups == [[1]], 20)
        rest = [threads.submit(commit, number) for number in (2, -1)]
        wait_until(lambda: sum(map(len, commit._waiting.values())) == 2, 20)
        ledger.go_on.set()
        assert first.result(20) == "wrote 1"
        for each in rest:
            with pytest.raises(ValueError, match="minus one"):
                each.result(20)
    assert commit(5) == "wrote 5"


def test_a_follow_up_that_breaks_keeps_nobody_waiting_for_ever() -> None:
    ledger = Ledger()
    ledger.go_on.set()

    def broken() -> None:
        raise RuntimeError("followed up badly")

    commit = GroupCommit(ledger.write, after=broken)
    for number in (1, 2):
        with ThreadPoolExecutor(1) as threads, pytest.raises(RuntimeError, match="badly"):
            threads.submit(commit, number).result(20)
    assert ledger.groups == [[1], [2]]


@pytest.mark.slow
def test_a_row_that_somebody_has_locked_holds_up_no_other(live_organization: Inhabited) -> None:
    environment = Environment.objects.get(slug="development")
    for name in ("one", "two"):
        register_gateway(
            actor=live_organization.actor("owner"), environment=environment, name=name,
            address=f"http://127.0.0.1:{free_port()}", deploy_token="a-token-of-some-length",
        )  # fmt: skip
        Gateway.objects.filter(name=name).update(gateway_id=name, public_key="its", status="healthy")
    create_key(actor=live_organization.actor("owner"), environment=environment, name="shop")
    locked, free = claim(ORDINARY, limit=2)

    def write_both() -> list[bool]:
        with live_organization.inside():
            try:
                return recording._write([Result(locked, BROKEN), Result(free, BROKEN)])
            finally:
                connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            Placement.objects.select_for_update().get(pk=locked.placement)
            writing = threads.submit(write_both)
            wait_until(lambda: Placement.objects.get(pk=free.placement).attempts == 1, 20)
            assert Placement.objects.get(pk=locked.placement).attempts == 0
        assert writing.result(20) == [True, True]
    assert Placement.objects.get(pk=locked.placement).attempts == 1
    assert set(Gateway.objects.values_list("circuit_failures", flat=True)) == {1}
