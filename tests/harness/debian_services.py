"""A PostgreSQL and a Redis that somebody else runs: Debian's packages, started on free ports for one story."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis

from launcher.addresses import free_port

PASSWORD = "given"


def postgresql_binaries() -> Path | None:
    """Debian's newest PostgreSQL, which is not on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def given_postgresql() -> Iterator[dict[str, str]]:
    """A server with an owner's and an application's role; yields DATABASE_URL and DATABASE_OWNER_URL."""
    binaries = postgresql_binaries()
    assert binaries
    folder = Path(tempfile.mkdtemp(prefix="kaizen-given-"))
    account = {}
    if os.geteuid() == 0:
        postgres = pwd.getpwnam("postgres")
        os.chown(folder, postgres.pw_uid, postgres.pw_gid)
        account = {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
    data, port = folder / "data", free_port()
    subprocess.run(
        [binaries / "initdb", "-D", data, "-A", "trust", "-U", "root", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        **account,
    )  # type: ignore[call-overload]
    options = [
        "-c",
        f"port={port}",
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={folder}",
        "-c",
        "fsync=off",
    ]
    log = (folder / "log").open("wb")
    server = subprocess.Popen([binaries / "postgres", "-D", data, *options], stdout=log, stderr=log, **account)  # type: ignore[call-overload]
    try:
        _create_roles(f"postgresql://root@127.0.0.1:{port}/postgres")
        yield {
            "DATABASE_URL": f"postgresql://shop_app:{PASSWORD}@127.0.0.1:{port}/shop",
            "DATABASE_OWNER_URL": f"postgresql://shop_owner:{PASSWORD}@127.0.0.1:{port}/shop",
        }
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()
        shutil.rmtree(folder)


@contextmanager
def given_redis() -> Iterator[dict[str, str]]:
    """A Redis server with a password; yields REDIS_URL."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="kaizen-given-") as folder:
        command = [
            "redis-server",
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--requirepass",
            PASSWORD,
            "--dir",
            folder,
        ]
        server = subprocess.Popen([*command, "--save", ""], stdout=subprocess.DEVNULL)
        url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        try:
            _retry(lambda: redis.from_url(url).ping())
            yield {"REDIS_URL": url}
        finally:
            server.terminate()
            server.wait(timeout=10)


def _create_roles(url: str) -> None:
    """What an administrator does before Studio comes: a database, its owner, and a role for the application."""
    _retry(lambda: psycopg.connect(url).close())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE shop_owner LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"CREATE ROLE shop_app LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("CREATE DATABASE shop OWNER shop_owner")


def _retry(attempt: object) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            attempt()  # type: ignore[operator]
        except (psycopg.OperationalError, redis.ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
