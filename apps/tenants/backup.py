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
# Everything of ours, so that what was made after the backup does not outlive the restore.
_EMPTY = r"""
DO $empty$ DECLARE found record; BEGIN
    FOR found IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 't\_%%' OR nspname = '{template}' LOOP
        EXECUTE format('DROP SCHEMA %%I CASCADE', found.nspname);
    END LOOP;
    FOR found IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('DROP TABLE IF EXISTS public.%%I CASCADE', found.tablename);
    END LOOP;
    FOR found IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('DROP FUNCTION IF EXISTS %%s CASCADE', found.name);
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
        # A link, not a rename: it fails if somebody else made the file meanwhile.
        os.link(draft, path)
    return manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a backup whose parts were all checked against it.

    Raises:
        Invalid: it is no backup, is damaged, or is of a format that this version does not know.
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            manifest = _manifest(archive)
            for name, part in manifest["parts"].items():
                if _digest_of(_chunks(archive.extractfile(name))) != part["sha256"]:
                    raise Invalid(f"{path} is damaged: {name} is not what was backed up.")
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise Invalid(f"{path} is no backup that can be read: {error}") from error
    return manifest


def is_empty() -> bool:
    """Whether the database holds nothing of an installation."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'public')")
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
    process = subprocess.Popen(
        [str(postgresql_program(command[0])), *command[1:]],
        env=client_environment(connection),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(b"SET lock_timeout = '60s';\n")
        process.stdin.write(_EMPTY.format(template=settings.TENANT_TEMPLATE_SCHEMA).replace("%%", "%").encode())
        for line in _portable(script):
            process.stdin.write(line)
    except BrokenPipeError:
        pass  # psql stopped at an error, which it tells below
    _, told = process.communicate(timeout=_DATABASE_LIMIT_S)
    if process.returncode != 0:
        raise Conflict(f"The backup could not be restored, and nothing was changed: {told.decode()[-500:].strip()}")


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
    return manifest


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
