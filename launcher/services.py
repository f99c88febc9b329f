"""PostgreSQL and Redis for tests and for developers: embedded ones in a folder that is thrown away, or given ones."""

import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from launcher import chromium, environments, postgresql, valkey
from launcher.addresses import Port, free_port
from launcher.children import Children
from launcher.errors import LauncherError
from launcher.layout import StateFolder
from launcher.postgresql import APPLICATION_ROLE, OWNER_ROLE, Cluster
from launcher.progress import Progress
from launcher.secret_values import SecretValues
from launcher.supervision import Program, Supervisor

# Tests may lose the last second at a crash, and write far more than they keep.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_GIVEN = ("TEST_DATABASE_URL", "TEST_DATABASE_OWNER_URL", "TEST_REDIS_URL")


@contextmanager
def running(
    environment: Mapping[str, str], *, progress: Progress, children: Children, durable: bool = False
) -> Iterator[dict[str, str]]:
    """Start what is not given, yield the variables that Studio and its tests read, and stop it all again.

    With `durable`, PostgreSQL writes to disk as it does in production, which tests need not wait for.

    TEST_DATABASE_URL with TEST_DATABASE_OWNER_URL, and TEST_REDIS_URL, replace the embedded services. The owner must be
    allowed to create databases. DATABASE_URL is ignored on purpose: tests must never run on data someone needs.
    """
    folder = StateFolder(Path(tempfile.mkdtemp(prefix="kaizen-services-")).resolve())
    folder.path.chmod(0o711)
    folder.create()
    supervisor = Supervisor(folder)
    values = SecretValues.of(folder)
    try:
        programs, addresses = [], _given(environment)
        if "DATABASE_URL" not in addresses:
            cluster = Cluster(folder, values.database_passwords, values.installation)
            with progress.step("postgresql", "creating a database for tests", "created"):
                cluster.initialize(children, may_create_databases=True)
            port = Port("database", "-", free_port())
            programs.append(cluster.program(port, settings={} if durable else _FAST))
            addresses["DATABASE_URL"] = cluster.url(port, APPLICATION_ROLE)
            addresses["DATABASE_OWNER_URL"] = cluster.url(port, OWNER_ROLE)
        if "REDIS_URL" not in addresses:
            port = Port("broker", "-", free_port())
            programs.append(valkey.program(folder, port, values.redis_password))
            addresses["REDIS_URL"] = valkey.url(port, values.redis_password)
        _start(supervisor, programs, environment, children, progress)
        yield {**addresses, **_studio_variables(folder, values)}
    finally:
        children.interruption.hold()
        children.terminate()
        supervisor.stop([program.name for program in programs], within=10)
        supervisor.shutdown()
        postgresql.remove(folder)
        shutil.rmtree(folder.path, ignore_errors=True)


def any_given(environment: Mapping[str, str]) -> bool:
    """Whether a service of somebody else's is to be used."""
    return bool(_given(environment))


def serve(environment: Mapping[str, str], *, progress: Progress, children: Children) -> int:
    """Run services until interrupted; their variables go to standard output, for a shell to evaluate."""
    environments.install((environments.STUDIO_WITH_TOOLS,), children=children, progress=progress)
    with running(environment, progress=progress, children=children) as variables:
        progress.show(exports(variables))
        progress.say("services", "running; Ctrl-C stops them and throws their data away")
        while True:
            signal.pause()


def exports(variables: Mapping[str, str]) -> str:
    """The variables as lines that a shell can evaluate."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items()))


def _given(environment: Mapping[str, str]) -> dict[str, str]:
    given = {name.removeprefix("TEST_"): environment[name] for name in _GIVEN if environment.get(name)}
    if len({"DATABASE_URL", "DATABASE_OWNER_URL"} & set(given)) == 1:
        raise LauncherError(
            "TEST_DATABASE_URL (the application role) and TEST_DATABASE_OWNER_URL (the owner role, allowed to create "
            "databases) belong together: set both, or none."
        )
    return given


def _start(
    supervisor: Supervisor,
    programs: list[Program],
    environment: Mapping[str, str],
    children: Children,
    progress: Progress,
) -> None:
    if not programs:
        return
    names = " and ".join(program.name for program in programs)
    with progress.step(names, "starting", "ready"):
        supervisor.start(programs, environment, children.interruption, outlives_us=False)
        for program in programs:
            supervisor.launch(program)
        for program in programs:
            supervisor.wait_ready(program)


def _studio_variables(folder: StateFolder, values: SecretValues) -> dict[str, str]:
    state = folder.path / "studio"
    state.mkdir()
    browser = chromium.find(os.environ)
    return {
        "SECRET_KEY": values.secret_key,
        "KAIZEN_ENCRYPTION_KEYS": values.encryption_keys,
        "KAIZEN_STATE_DIR": str(state),
        "KAIZEN_ALLOWED_GATEWAY_NETWORKS": "127.0.0.0/8",
        **({"KAIZEN_CHROMIUM": str(browser)} if browser else {}),
    }
