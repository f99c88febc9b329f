"""A backup holds everything, changes nothing, and comes back into a fresh database, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import sql

from apps.agents import commands as agents
from apps.agents.definitions import Definition
from apps.core.actors import Actor
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment
from tests.harness.world import Inhabited

ROOT = Path(__file__).resolve().parent.parent.parent
SYSTEM = Actor.system("tests")
pytestmark = pytest.mark.slow


def _at(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def _manage(*arguments: str, database: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """`manage.py` as an operator runs it, on this database or another one of the cluster."""
    environment = {**os.environ, **variables}
    if database:
        for name in ("DATABASE_URL", "DATABASE_OWNER_URL"):
            environment[name] = _at(environment[name], database)
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def _owner(database: str = "") -> Iterator[psycopg.Connection[Any]]:
    url = os.environ["DATABASE_OWNER_URL"]
    with psycopg.connect(_at(url, database) if database else url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[str]:
    """An empty database of the same cluster."""
    name = f"restored_{os.getpid()}"
    with _owner() as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield name
    with _owner() as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def archive(live_organization: Inhabited, tmp_path: Path) -> Path:
    """A backup of the installation, with an organization that has an agent and a gateway."""
    agents.create(
        actor=SYSTEM, slug="kept", definition=Definition(name="Kept", instructions="Stay.\n-- SET x = y;\n\\.")
    )
    register_gateway(
        actor=SYSTEM,
        environment=Environment.objects.get(slug="development"),
        name="eu-1",
        address="http://127.0.0.1:9",
        deploy_token="a-token-of-some-length",
    )
    path = tmp_path / "installation.tar"
    done = _manage("backup", str(path))
    assert done.returncode == 0, done.stderr
    return path


def _content(database: str = "") -> dict[str, Any]:
    """Every row of every table of ours, as a digest by schema and table."""
    found: dict[str, Any] = {}
    with _owner(database) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            query = sql.SQL(
                "SELECT count(*), md5(string_agg(row::text, '|' ORDER BY row::text)) FROM {} AS row"
            ).format(sql.Identifier(schema, table))
            found[f"{schema}.{table}"] = connection.execute(query).fetchone()
    return found


def test_everything_comes_back(archive: Path, fresh: str, live_organization: Inhabited) -> None:
    before = _content()
    agents.create(actor=SYSTEM, slug="later", definition=Definition(name="Later", instructions="Come later."))
    assert _content() != before

    done = _manage("restore", str(archive), database=fresh)

    assert done.returncode == 0, done.stderr
    assert "reconciler brings them back" in done.stdout
    assert done.stderr == ""
    assert _content(fresh) == before


def test_what_came_back_works_and_the_application_may_no_more_than_before(
    archive: Path, fresh: str, live_organization: Inhabited
) -> None:
    assert _manage("restore", str(archive), database=fresh).returncode == 0
    schema = live_organization.schema
    with psycopg.connect(_at(os.environ["DATABASE_URL"], fresh), autocommit=True) as application:
        application.execute(f"SET search_path = {schema}, public")
        assert application.execute("SELECT instructions FROM agents_agent").fetchone() == ("Stay.\n-- SET x = y;\n\\.",)
        application.execute("UPDATE agents_agent SET name = 'Changed'")
        for statement in (
            "UPDATE audit_event SET action = 'x'",
            "DELETE FROM audit_event",
            "CREATE TABLE x (id int)",
            "DROP TABLE agents_agent",
            "UPDATE public.tenants_schematemplate SET sql = ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(statement)
    with _owner(fresh) as owner, pytest.raises(psycopg.errors.RaiseException):
        owner.execute(f"DELETE FROM {schema}.audit_event")
    # A new organization can be founded from the template that came back, and a start has nothing to migrate.
    assert _manage("migrate_installation", database=fresh).stdout == ""


def test_a_database_that_is_not_empty_is_left_alone(archive: Path, live_organization: Inhabited) -> None:
    before = _content()
    done = _manage("restore", str(archive))
    assert done.returncode != 0
    assert "--replace" in done.stderr
    assert _content() == before


def test_replacing_takes_away_what_came_after(archive: Path, fresh: str) -> None:
    before = _content()
    assert _manage("restore", str(archive), database=fresh).returncode == 0
    with _owner(fresh) as owner:
        owner.execute("CREATE SCHEMA t_later")
        owner.execute("CREATE TABLE t_later.x AS SELECT 1")
        owner.execute("CREATE TABLE public.later AS SELECT 1")
        # Enough to drop that naming it all would fill a pipe.
        owner.execute(
            "DO $$ BEGIN FOR n IN 1..30 LOOP EXECUTE format('CREATE SCHEMA t_x%s', n);"
            " FOR m IN 1..40 LOOP EXECUTE format('CREATE TABLE t_x%s.a_table_with_a_long_name_%s ()', n, m);"
            " END LOOP; END LOOP; END $$"
        )
    done = _manage("restore", str(archive), "--replace", database=fresh)
    assert done.returncode == 0, done.stderr
    assert _content(fresh) == before


def test_a_restore_that_fails_leaves_the_database_as_it_was(archive: Path, fresh: str) -> None:
    """One schema stands in the way; by then, everything else has been dropped and half of it made again."""
    assert _manage("restore", str(archive), database=fresh).returncode == 0
    with _owner() as source:
        source.execute("CREATE SCHEMA zz_in_the_way")
    try:
        path = archive.with_name("with-more.tar")
        assert _manage("backup", str(path)).returncode == 0
    finally:
        with _owner() as source:
            source.execute("DROP SCHEMA zz_in_the_way")
    with _owner(fresh) as owner:
        owner.execute("CREATE SCHEMA zz_in_the_way")
        owner.execute("CREATE TABLE zz_in_the_way.precious AS SELECT 1 AS one")
    before = _content(fresh)

    done = _manage("restore", str(path), "--replace", database=fresh)

    assert done.returncode != 0
    assert "nothing was changed" in done.stderr
    assert "zz_in_the_way" in done.stderr
    assert _content(fresh) == before


def test_without_the_right_encryption_key_it_says_what_cannot_be_read(
    archive: Path, fresh: str, live_organization: Inhabited
) -> None:
    other = Fernet.generate_key().decode()
    done = _manage("restore", str(archive), database=fresh, KAIZEN_ENCRYPTION_KEYS=other)
    assert done.returncode == 0
    [told] = [line for line in done.stderr.splitlines() if line.startswith(live_organization.organization.slug)]
    assert "the deploy token of eu-1" in told
    assert "the signing key" in told
    assert "KAIZEN_ENCRYPTION_KEYS" in told


def test_the_file_is_private_complete_and_says_what_it_holds(archive: Path, live_organization: Inhabited) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    assert [path.name for path in archive.parent.iterdir()] == [archive.name], "nothing of the work is left beside it"
    with tarfile.open(archive) as opened:
        assert opened.getnames() == ["manifest.json", "database.dump"]
        assert {member.uname for member in opened.getmembers()} == {""}
        manifest = json.loads(opened.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert manifest["format"] == "kaizen.backup/1"
    assert set(manifest["organizations"]) >= {"public", "t_acme", "t_globex", live_organization.schema}
    sequence, digest = manifest["organizations"][live_organization.schema]
    assert sequence > 0
    assert len(digest) == 64
    content = archive.read_bytes()
    for secret in (os.environ["SECRET_KEY"], os.environ["KAIZEN_ENCRYPTION_KEYS"], "a-token-of-some-length"):
        assert secret.encode() not in content


def test_a_backup_overwrites_nothing(archive: Path) -> None:
    before = archive.read_bytes()
    done = _manage("backup", str(archive))
    assert done.returncode != 0
    assert "overwrites nothing" in done.stderr
    assert archive.read_bytes() == before


@pytest.mark.parametrize("place", ["no/such/folder/x.tar", "/proc/x.tar"])
def test_a_backup_that_cannot_be_written_says_so(tmp_path: Path, db: None, place: str) -> None:
    done = _manage("backup", str(tmp_path / place))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_a_backup_of_a_database_that_goes_away_leaves_no_file(tmp_path: Path, db: None) -> None:
    path = tmp_path / "installation.tar"
    done = _manage("backup", str(path), KAIZEN_POSTGRESQL_BIN="/bin")
    assert done.returncode != 0
    assert list(tmp_path.iterdir()) == []


def _rewritten(archive: Path, change: Callable[[dict[str, Any]], None], *, dump: bytes | None = None) -> Path:
    """The archive with another manifest or dump."""
    path = archive.with_name("changed.tar")
    with tarfile.open(archive) as old, tarfile.open(path, "w") as new:
        for name in ("manifest.json", "database.dump"):
            content = old.extractfile(name).read()  # type: ignore[union-attr]
            if name == "manifest.json":
                manifest = json.loads(content)
                change(manifest)
                content = json.dumps(manifest).encode()
            elif dump is not None:
                content = dump
            member = tarfile.TarInfo(name)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return path


def test_what_is_no_sound_backup_is_refused_before_anything_changes(archive: Path, fresh: str, tmp_path: Path) -> None:
    flipped = bytearray(archive.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    files = {
        "flipped": bytes(flipped),
        "cut": archive.read_bytes()[: archive.stat().st_size // 2],
        "empty": b"",
        "text": b"hello" * 1000,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    wrong = {name: tmp_path / name for name in files} | {"missing": tmp_path / "missing", "folder": tmp_path}
    told = {name: _manage("restore", str(path), "--replace", database=fresh) for name, path in wrong.items()}
    changed: dict[str, Callable[[dict[str, Any]], Any]] = {
        "newer": lambda manifest: manifest.update(version="99.0.0"),
        "format": lambda manifest: manifest.update(format="kaizen.backup/9"),
        "no digest": lambda manifest: manifest.update(parts={}),
        "other digest": lambda manifest: manifest["parts"]["database.dump"].update(sha256="0" * 64),
    }
    for name, change in changed.items():
        told[name] = _manage("restore", str(_rewritten(archive, change)), "--replace", database=fresh)
    assert {name: done.returncode for name, done in told.items()} == dict.fromkeys(told, 1)
    assert not [name for name, done in told.items() if "Traceback" in done.stderr]
    assert "damaged" in told["flipped"].stderr
    assert "newer" in told["newer"].stderr
    assert _content(fresh) == {}


def test_a_log_that_does_not_end_as_the_manifest_says_is_told(archive: Path, fresh: str) -> None:
    """Somebody who rewrote the log before the dump was taken could not have rewritten the manifest of an older one."""

    def other_end(manifest: dict[str, Any]) -> None:
        sequence, _ = manifest["organizations"]["t_acme"]
        manifest["organizations"]["t_acme"] = [sequence, "f" * 64]

    done = _manage("restore", str(_rewritten(archive, other_end)), database=fresh)
    assert done.returncode != 0
    assert "The log of t_acme lacks event" in done.stderr
