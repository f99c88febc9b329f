"""Whatever happens to a gateway's disk or to Studio's database, a running scanner brings both together again.

Nobody polls, retries or presses anything here: the scanner is the process that runs in production.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from apps.audit.models import Event
from apps.deployments.models import Deployment, Rollout
from apps.gateways import due
from apps.gateways.commands import create_key, edit_environment, revoke_key
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from contract.kinds import TOMBSTONE_DIGEST
from tests.deployments.steps import SYSTEM, deploy, next_version, release_of
from tests.gateways.test_reconciling import call
from tests.harness.fleet import Fleet
from tests.harness.scanning import ScannerProcess, becomes, scanner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from django.db.models import Model

    from contract.caller_keys import KeyText
    from tests.harness.gateway import GatewayProcess
    from tests.harness.world import Inhabited

pytestmark = pytest.mark.slow


def edit(process: GatewayProcess, statement: str, *values: Any) -> None:
    """Change the gateway's file behind its back."""
    with sqlite3.connect(process.data_dir / "store.sqlite") as store:
        assert store.execute(statement, values).rowcount > 0, "nothing was changed"


def settled() -> bool:
    return not Placement.objects.unsettled().exists()


class Delivered:
    """One gateway with an agent, a living key and a revoked one; and the way back to exactly that."""

    def __init__(self, world: Inhabited, folder: Path) -> None:
        self.environment = Environment.objects.get(slug="staging")
        edit_environment(actor=SYSTEM, environment=self.environment, name="Staging", order=1, poll_interval_s=1)
        self.fleet = Fleet(world, folder, "http://127.0.0.1:9/v1")
        self.process = self.fleet.start_gateway("stage-1", "staging")
        self.agent, self.version = self.fleet.write_agent()
        self.living, self.revoked = self._key("living"), self._key("revoked")
        self.old_backup = b""
        deploy(SYSTEM, self.environment, self.version)

    def _key(self, name: str) -> KeyText:
        return create_key(actor=SYSTEM, environment=self.environment, name=name)[1]

    def is_right(self) -> bool:
        held = self.process.admin().living()
        runs = held.get(("workflow", "greeter-staging")) == release_of(self.version).digest
        keys = [call(self.process, key.text) for key in (self.living, self.revoked)]
        return runs and len(held) == 2 and keys == [200, 401] and settled()


def wipe(delivered: Delivered) -> None:
    delivered.process.wipe_store()


def edit_a_payload(delivered: Delivered) -> None:
    edit(delivered.process, "UPDATE placement SET payload = x'7b7d' WHERE kind = 'workflow'")


def delete_a_row(delivered: Delivered) -> None:
    edit(delivered.process, "DELETE FROM placement WHERE name = ?", delivered.living.id)


def delete_the_record_of_a_revocation(delivered: Delivered) -> None:
    edit(delivered.process, "DELETE FROM placement WHERE name = ?", delivered.revoked.id)


def raise_a_generation(delivered: Delivered) -> None:
    edit(delivered.process, "UPDATE placement SET generation = generation + 90 WHERE kind = 'workflow'")


def lower_a_generation(delivered: Delivered) -> None:
    edit(delivered.process, "UPDATE placement SET generation = 1 WHERE kind = 'workflow' AND generation > 1")


def edit_a_signature(delivered: Delivered) -> None:
    edit(delivered.process, "UPDATE placement SET signature = replace(signature, substr(signature, 1, 8), 'AAAAAAAA')")


def forge_a_revocation(delivered: Delivered) -> None:
    """Nobody signed it, so it ends no key: who can write to one disk cannot revoke for everybody."""
    edit(
        delivered.process,
        "UPDATE placement SET payload = NULL, digest = ?, generation = generation + 1 WHERE name = ?",
        TOMBSTONE_DIGEST,
        delivered.living.id,
    )


def revive_a_revoked_key(delivered: Delivered) -> None:
    edit(
        delivered.process,
        "UPDATE placement SET (payload, digest) = (SELECT payload, digest FROM placement WHERE name = ?) "
        "WHERE name = ?",
        delivered.living.id,
        delivered.revoked.id,
    )


def restore_an_old_backup(delivered: Delivered) -> None:
    """Of when the key was not revoked yet, and another version ran."""
    delivered.process.wipe_store()
    (delivered.process.data_dir / "store.sqlite").write_bytes(delivered.old_backup)


# What stands together is done together, to different things: each restart of the gateway takes a second.
TAMPERING: list[tuple[Callable[[Delivered], None], ...]] = [
    (wipe,),
    (edit_a_payload, delete_a_row, delete_the_record_of_a_revocation),
    (raise_a_generation, forge_a_revocation),
    (lower_a_generation, revive_a_revoked_key),
    (edit_a_signature,),
    (restore_an_old_backup,),
]


@pytest.mark.timeout(900)
def test_whatever_is_done_to_a_gateways_disk_repairs_itself(live_organization: Inhabited, tmp_path: Path) -> None:
    delivered = Delivered(live_organization, tmp_path)
    with scanner():
        try:
            becomes(settled, "the first delivery")
            with sqlite3.connect(delivered.process.data_dir / "store.sqlite") as store:
                delivered.old_backup = store.serialize()
            delivered.version = next_version(delivered.agent, "Say two.")
            deploy(SYSTEM, delivered.environment, delivered.version)
            revoke_key(actor=SYSTEM, key=CallerKey.objects.get(public_id=delivered.revoked.id))
            becomes(delivered.is_right, "the second delivery")

            for tampering in TAMPERING:
                delivered.process.kill()
                for tamper in tampering:
                    tamper(delivered)
                delivered.process.start()
                becomes(delivered.is_right, f"after {' and '.join(tamper.__name__ for tamper in tampering)}")
            assert not CallerKey.objects.get(public_id=delivered.living.id).revoked_at
        finally:
            delivered.fleet.stop()


def test_a_gateway_ahead_of_a_restored_studio(live_organization: Inhabited, tmp_path: Path) -> None:
    """What Studio was restored to is what runs; but what was revoked meanwhile stays revoked."""
    delivered = Delivered(live_organization, tmp_path)
    process = ScannerProcess().start()
    try:
        becomes(settled, "the first delivery")
        backup = _rows()
        newer = next_version(delivered.agent, "Say two.")
        deploy(SYSTEM, delivered.environment, newer)
        revoke_key(actor=SYSTEM, key=CallerKey.objects.get(public_id=delivered.revoked.id))
        becomes(
            lambda: settled() and call(delivered.process, delivered.revoked.text) == 401, "what came after the backup"
        )
        assert release_of(newer).digest in delivered.process.admin().living().values()

        process.stop()
        _restore(backup)
        assert not CallerKey.objects.get(public_id=delivered.revoked.id).revoked_at
        process.start()

        becomes(delivered.is_right, "Studio and its gateway agree")
        assert CallerKey.objects.get(public_id=delivered.revoked.id).revoked_at
        assert Event.objects.filter(action="caller-key.adopt-revocation").count() == 1
    finally:
        process.kill()
        delivered.fleet.stop()


# What a backup brings back, of that which a delivery changes; in the order in which rows refer to each other.
_KEPT: tuple[type[Model], ...] = (Gateway, CallerKey, Deployment, Rollout, Placement)


def _rows() -> dict[type[Model], dict[Any, dict[str, Any]]]:
    """A backup of what matters here. Whole backups, by the commands that make them: `tests/tenants/test_backup.py`."""
    return {model: {row["id"]: row for row in model._default_manager.values()} for model in _KEPT}


def _restore(backup: dict[type[Model], dict[Any, dict[str, Any]]]) -> None:
    for model in reversed(_KEPT):
        model._default_manager.exclude(pk__in=backup[model]).delete()
    for model in _KEPT:
        for key, row in backup[model].items():
            model._default_manager.filter(pk=key).update(**row)
    due.lower()
