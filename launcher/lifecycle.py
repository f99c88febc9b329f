"""Start an installation in order, watch over it, stop it in order."""

import contextlib
import json
import time
import xmlrpc.client
from collections.abc import Sequence, Set

from launcher import environments, processes
from launcher.addresses import refuse_busy
from launcher.children import Children
from launcher.errors import LauncherError, NotReady
from launcher.installation import ORGANIZATION, Installation, addresses
from launcher.layout import CHECKOUT, StateFolder, write_private
from launcher.panel import Demo, Panel
from launcher.progress import Progress
from launcher.supervision import Program, ProgramState, Supervisor

_DEMO_SECONDS = 120.0
_REPORT_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_GATEWAY_STOP_SECONDS = 12.0
_WATCH_SECONDS = 1.0
_RETRY_SECONDS = 15.0

# Who is stopped together, and how long that may take. What speaks to a neighbour goes before the neighbour.
_STOP_ORDER: tuple[tuple[tuple[str, ...], float], ...] = (
    (("web", "scanner", "worker"), 10.0),
    (("gateway-development", "gateway-production", "model"), _GATEWAY_STOP_SECONDS),
    (("postgresql", "valkey"), 22.0),
)


class Start:
    """One run of `make up`, from nothing to a demo agent that answers.

    Programs are launched as soon as what they need is ready, and watched together: on a small machine most of a start
    is importing Python modules, and that should keep every core busy.
    """

    def __init__(self, installation: Installation, *, progress: Progress, children: Children) -> None:
        self._installation = installation
        self._progress = progress
        self._children = children
        self._supervisor = Supervisor(installation.folder)
        self._key = installation.trusted_key()
        self._launched: dict[str, tuple[Program, float]] = {}

    def run(self) -> None:
        """Start everything and wait until it is healthy.

        Raises:
            LauncherError: something is in the way or did not start. Whatever was started is left to `stop`.
        """
        installation = self._installation
        refuse_busy(installation.needed_ports())
        self._check_given_neighbours()
        needed = [environments.STUDIO, environments.GATEWAY]
        needed += [environments.MODEL] if installation.embeds_model else []
        environments.install(tuple(needed), children=self._children, progress=self._progress)
        write_private(installation.folder.addresses, json.dumps(addresses(installation.ports)) + "\n")
        self._supervisor.start(self._all_programs(), installation.environment, self._children.interruption)
        self._start_stores()
        self._prepare()
        self._launch(installation.studio())
        self._wait_for_demo()
        self._wait()

    def _all_programs(self) -> list[Program]:
        # Gateways are listed from the beginning; the key that they trust is only known once the seed has run, and
        # reaches them through the script that is written when they are launched.
        installation = self._installation
        gateways = installation.gateways(self._key or "")
        return [*installation.stores(), *installation.models(), *gateways, *installation.studio()]

    def _check_given_neighbours(self) -> None:
        for variable, probe in self._installation.given_neighbours():
            try:
                probe()
            except NotReady as error:
                raise LauncherError(f"{variable} is set, but nothing usable answers there: {error}") from error
            self._progress.say(variable, "given, and answers")

    def _start_stores(self) -> None:
        """Database and broker, waited for; beside them what needs neither."""
        installation = self._installation
        self._launch(installation.models())
        if self._key:
            self._launch(installation.gateways(self._key))
        if installation.embeds_database:
            installation.cluster.initialize(self._children)
        stores = installation.stores()
        self._launch(stores)
        self._wait({store.name for store in stores})

    def _prepare(self) -> None:
        """Migrate and seed, which makes the key that gateways are to trust."""
        command, variables = self._installation.preparation()
        folder = self._installation.folder
        with self._progress.step("database", "migrating and seeding", "up to date"):
            self._children.run(
                command,
                log=folder.logs / "prepare.log",
                name="manage.py prepare",
                environment={**variables, processes.MARKER: str(folder.path)},
                folder=CHECKOUT,
                on_wait=lambda _: self._look(),
                every=0.2,
            )
        keys = json.loads(folder.panel.read_text())["public_keys"]
        write_private(folder.trusted_keys, json.dumps(keys) + "\n")
        self._install_key(keys[ORGANIZATION])

    def _install_key(self, key: str) -> None:
        if key == self._key:
            return
        gateways = self._installation.gateways(key)
        if self._key:
            self._supervisor.stop([gateway.name for gateway in gateways], within=_GATEWAY_STOP_SECONDS)
        self._launch(gateways)

    def _wait_for_demo(self) -> None:
        demo = Panel.of(self._installation.folder, addresses(self._installation.ports)).demo
        if demo is None:
            raise LauncherError("The seed made no demo agent.")
        began = said = time.monotonic()
        with self._progress.step("demo agent", "waiting for its answer through the gateway", "answers"):
            while (reason := _why_not(demo)) is not None:
                self._look()
                now = time.monotonic()
                if now - began > _DEMO_SECONDS:
                    raise LauncherError(f"Not ready: {reason}. See {self._installation.folder.logs}.")
                if now - said > _REPORT_SECONDS:
                    self._progress.say("demo agent", f"still waiting: {reason}")
                    said = now
                time.sleep(_LOOK_SECONDS)

    # Programs that were launched and are not ready yet ---------------------------------------------------------------

    def _launch(self, programs: Sequence[Program]) -> None:
        for program in programs:
            self._supervisor.launch(program)
            self._launched[program.name] = (program, time.monotonic())

    def _wait(self, names: Set[str] | None = None) -> None:
        """Wait until the named programs are ready, or all."""
        while self._launched if names is None else self._launched.keys() & names:
            self._look()
            time.sleep(_LOOK_SECONDS)

    def _look(self) -> None:
        """Ask every launched program whether it is ready.

        Raises:
            LauncherError: one gave up, or did not become ready in time.
        """
        for program, began in list(self._launched.values()):
            seconds = time.monotonic() - began
            if self._supervisor.is_ready(program, seconds):
                del self._launched[program.name]
                self._progress.say(program.name, f"ready ({seconds:.1f} s)")


def _why_not(demo: Demo) -> str | None:
    """What keeps the demo agent from answering; None if it answers."""
    try:
        demo.answer()
    except NotReady as error:
        return str(error)
    return None


class Watch:
    """Tells the person at the terminal when supervisord restarts something, and revives what it gave up on."""

    def __init__(self, supervisor: Supervisor, progress: Progress) -> None:
        self._supervisor = supervisor
        self._progress = progress
        self._last: dict[str, ProgramState] = {}
        self._retry_at: dict[str, float] = {}

    def run(self) -> None:
        """Watch until interrupted.

        Raises:
            LauncherError: supervisord itself is gone.
        """
        while True:
            try:
                states = self._supervisor.states()
            except NotReady as error:
                raise LauncherError(f"The supervisor ended unexpectedly ({error}); stopping what it left.") from error
            for state in states:
                self._compare(state)
            time.sleep(_WATCH_SECONDS)

    def _compare(self, state: ProgramState) -> None:
        before = self._last.get(state.name)
        self._last[state.name] = state
        if before and before.pid and state.pid != before.pid:
            self._progress.say(state.name, f"ended (process {before.pid}); the supervisor starts it again")
        if state.state == "FATAL":
            self._revive(state)

    def _revive(self, state: ProgramState) -> None:
        now = time.monotonic()
        if now < self._retry_at.get(state.name, 0.0):
            return
        self._retry_at[state.name] = now + _RETRY_SECONDS
        log = self._supervisor.log(state.name)
        self._progress.say(state.name, f"does not stay up; trying again every {_RETRY_SECONDS:.0f} s, see {log}")
        # It may have come up, or supervisord gone, since we asked; the next look tells.
        with contextlib.suppress(NotReady, xmlrpc.client.Fault):
            self._supervisor.relaunch(state.name)


def stop(folder: StateFolder, progress: Progress) -> bool:
    """Stop an installation in order, within a bounded time; False if nothing of it was running.

    Works on what an earlier launcher left, too: the supervisor's socket and the marker in every process's environment
    are enough.
    """
    supervisor = Supervisor(folder)
    if not supervisor.is_running and not processes.marked(folder):
        return False
    with progress.step("stopping", "in order", "stopped"):
        for names, seconds in _STOP_ORDER:
            supervisor.stop(names, within=seconds)
        supervisor.shutdown()
    return True
