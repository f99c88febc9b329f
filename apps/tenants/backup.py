"""The whole installation as one file, and back.

The file is a tar archive of `manifest.json` and `database.dump` (PostgreSQL's custom format, compressed). Secrets in it
are encrypted with KAIZEN_ENCRYPTION_KEYS, which are not in it: whoever restores needs both.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.core.errors import Conflict, Invalid
from apps.tenants.postgresql import client_environment, postgresql_program

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = "kaizen.backup/1"
_MANIFEST, _DUMP = "manifest.json", "database.dump"
_MANIFEST_LIMIT = 10_000_000
_CHUNK = 1 << 20
_DATABASE_LIMIT_S = 6 * 3600
# A dump of a newer PostgreSQL sets what an older server does not know; it only concerns the session that restores.
_UNKNOWN_TO_OLDER_SERVERS = (b"SET transaction_timeout",)
# Everything of ours, so that what was made after the backup does not outlive the restore. What an extension brought
# along stays. Each dropped schema would name a hundred objects in a notice.
_EMPTY = r"""
SET lock_timeout = '60s';
SET client_min_messages = warning;
DO $empty$ DECLARE found record; BEGIN
    FOR found IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\_%' OR nspname = '{template}' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', found.nspname);
    END LOOP;
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP TABLE IF EXISTS public.%I CASCADE', found.tablename);
    END LOOP;
    FOR found IN
        SELECT oid::regprocedure AS name FROM pg_proc AS function WHERE pronamespace = 'public'::regnamespace
            AND NOT EXISTS (
                SELECT FROM pg_depend
                WHERE classid = 'pg_proc'::regclass AND objid = function.oid AND deptype = 'e'
            )
    LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', found.name);
    END LOOP;
END $empty$;
"""


def write_backup(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the installation into a new file, mode 0600, complete or not at all. Needs the owner's role.

    Args:
        facts: further members of the manifest.

    Returns:
        The manifest.

    Raises:
        Conflict: the file exists already, or the database could not be read.
    """
    if path.exists():
        raise Conflict(f"{path} exists already; a backup overwrites nothing.")
    if not path.parent.is_dir():
        raise Conflict(f"The folder {path.parent} does not exist.")
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=path.parent) as folder:
        dump, draft = Path(folder) / _DUMP, Path(folder) / "archive.tar"
        _run(["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={dump}"])
        manifest = {
            "format": FORMAT,
            "version": settings.KAIZEN_VERSION,
            "created_at": timezone.now().isoformat(timespec="seconds"),
            "parts": {_DUMP: {"sha256": _digest(dump), "bytes": dump.stat().st_size}},
            **facts,
        }
        with draft.open("xb") as file:
            draft.chmod(0o600)
            with tarfile.open(fileobj=file, mode="w") as archive:
                _add(archive, _MANIFEST, json.dumps(manifest, indent=2).encode())
                archive.add(dump, arcname=_DUMP, filter=_anonymous)
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path)
    return manifest


def _publish(draft: Path, path: Path) -> None:
    """Give the complete file its name, unless somebody else made one of that name meanwhile."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise Conflict(f"{path} exists already; a backup overwrites nothing.") from None
    except OSError:
        # A file system without links, such as a share: what is left is to look once more and rename.
        if path.exists():
            raise Conflict(f"{path} exists already; a backup overwrites nothing.") from None
        draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a backup whose parts were all checked against it.

    Raises:
        Invalid: it is no backup, is damaged, or is of a format or version that this one does not know.
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            manifest = _manifest(archive)
            if _digest_of(_chunks(archive.extractfile(_DUMP))) != manifest["parts"][_DUMP]["sha256"]:
                raise Invalid(f"{path} is damaged: {_DUMP} is not what was backed up.")
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise Invalid(f"{path} is no backup that can be read: {error}") from error
    return manifest


def is_empty() -> bool:
    """Whether the database holds no table but PostgreSQL's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema'))"
        )
        (empty,) = cursor.fetchone()
    return bool(empty)


def restore(path: Path) -> None:
    """Replace whatever the database holds by a checked backup, in one transaction. Needs the owner's role.

    Raises:
        Conflict: PostgreSQL refused a statement; nothing was changed.
    """
    with tempfile.TemporaryDirectory(prefix="kaizen-restore-") as folder:
        dump = Path(folder) / _DUMP
        with tarfile.open(path, mode="r:") as archive, dump.open("xb") as file:
            dump.chmod(0o600)
            file.writelines(_chunks(archive.extractfile(_DUMP)))
        script = Path(folder) / "restore.sql"
        _run(["pg_restore", "--no-owner", "--no-privileges", f"--file={script}", str(dump)])
        _replay(script)


def _replay(script: Path) -> None:
    """Empty the database and run the script, all in psql's one transaction."""
    command = ["psql", "--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    # What psql says goes into a file: a pipe that nobody reads while the script is written would stop both.
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            [str(postgresql_program(command[0])), *command[1:]],
            env=client_environment(connection),
            stdin=subprocess.PIPE,
            stderr=told,
        )
        assert process.stdin is not None
        try:
            process.stdin.write(_EMPTY.replace("{template}", settings.TENANT_TEMPLATE_SCHEMA).encode())
            for line in _portable(script):
                process.stdin.write(line)
        except BrokenPipeError:
            pass  # psql stopped at an error, which it tells below
        finally:
            process.communicate(timeout=_DATABASE_LIMIT_S)
        told.seek(0)
        said = told.read().decode(errors="replace")
    if process.returncode != 0:
        raise Conflict(f"The backup could not be restored, and nothing was changed: {said[-500:].strip()}")


def _portable(script: Path) -> Iterator[bytes]:
    """The script without settings that an older server refuses; those stand before the first of its objects."""
    preamble = True
    with script.open("rb") as file:
        for line in file:
            preamble = preamble and not line.startswith(b"CREATE ")
            if not (preamble and line.startswith(_UNKNOWN_TO_OLDER_SERVERS)):
                yield line


def _run(command: list[str]) -> None:
    done = subprocess.run(
        [str(postgresql_program(command[0])), *command[1:]],
        env=client_environment(connection),
        capture_output=True,
        text=True,
        timeout=_DATABASE_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise Conflict(f"{command[0]} failed: {done.stderr.strip()[-500:]}")


def _manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    content = archive.extractfile(_MANIFEST)
    if content is None:
        raise Invalid("it holds no manifest")
    manifest: dict[str, Any] = json.loads(content.read(_MANIFEST_LIMIT))
    if manifest.get("format") != FORMAT:
        raise Invalid(f"its format is {manifest.get('format')!r}, and this version reads {FORMAT}")
    if _numbers(manifest["version"]) > _numbers(settings.KAIZEN_VERSION):
        raise Invalid(f"it was written by version {manifest['version']}, which is newer than {settings.KAIZEN_VERSION}")
    return manifest


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the account of whoever ran the backup."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member


def _chunks(file: IO[bytes] | None) -> Iterator[bytes]:
    """The content of a file, or of a member of an archive, which is None if it is no file."""
    while file is not None and (chunk := file.read(_CHUNK)):
        yield chunk


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return _digest_of(_chunks(file))


def _digest_of(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
