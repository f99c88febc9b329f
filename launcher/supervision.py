"""supervisord: its configuration, its life, and its XML-RPC interface on a Unix socket.

supervisord restarts a program that died and kills one that ignores its stop signal. Order and readiness are ours: every
program is configured with `autostart=false` and started by name.
"""

import contextlib
import http.client
import os
import shlex
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher import processes
from launcher.children import Account, Interruption, tail
from launcher.errors import LauncherError, NotReady
from launcher.layout import CHECKOUT, STUDIO_PYTHON, StateFolder, write_private
from launcher.probes import Probe, always

# What every program inherits from the person's shell. All else is given to a program by name, so that a gateway never
# sees an address or a secret of Studio's.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_RPC_SECONDS = 10.0
_DO_NOT_WAIT = False  # the `wait` argument of supervisord's calls
_SHUTTING_DOWN = 6  # supervisor.xmlrpc.Faults.SHUTDOWN_STATE
_RPC_INTERFACE = "supervisor.rpcinterface:make_main_rpcinterface"
_SUPERVISOR_START_SECONDS = 15.0
_SUPERVISOR_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """One long-lived process: how it starts, when it is ready, how it stops."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    ready: Probe = always
    account: Account | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 8
    ready_seconds: float = 60.0


@dataclass(frozen=True)
class ProgramState:
    """What supervisord says of a program."""

    name: str
    state: str
    pid: int
    exit_status: int
    spawn_error: str
    started_at: int

    @property
    def is_stopped(self) -> bool:
        return self.state in {"STOPPED", "EXITED", "FATAL", "UNKNOWN"}


class Supervisor:
    """The supervisord of one state folder, whether this process started it or an earlier one did."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder

    # Life -------------------------------------------------------------------------------------------------------------

    def start(
        self,
        programs: Sequence[Program],
        environment: Mapping[str, str],
        interruption: Interruption,
        *,
        outlives_us: bool = True,
    ) -> None:
        """Write the configuration and start supervisord, in a session of its own so that Ctrl-C passes it by.

        Args:
            outlives_us: False ends it, and all it runs, when this process dies, be it by SIGKILL.

        Raises:
            LauncherError: it did not come up; the end of its log is in the text.
        """
        configuration = self._write(programs)
        log = self._folder.logs / "supervisord.log"
        inherited = {name: environment[name] for name in _INHERITED if name in environment}
        with log.open("ab") as output, interruption.postponed():
            began = output.tell()
            child = subprocess.Popen(
                [STUDIO_PYTHON, "-m", "supervisor.supervisord", "-n", "-c", configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                env={**inherited, processes.MARKER: str(self._folder.path), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
                # No other thread runs yet, so code between fork and exec is safe.
                preexec_fn=None if outlives_us else processes.die_with_parent,  # noqa: PLW1509
            )
        deadline = time.monotonic() + _SUPERVISOR_START_SECONDS
        while not self.is_running:
            if child.poll() is not None or time.monotonic() > deadline:
                raise LauncherError(f"supervisord did not start. The end of {log}:\n{tail(log, since=began)}")
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Whether a supervisord listens on this folder's socket, be it one that is about to leave."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._folder.socket)) == 0

    def shutdown(self) -> None:
        """End supervisord and whatever it still runs. Bounded: what does not leave in time is killed."""
        with contextlib.suppress(NotReady):
            self._call("supervisor.shutdown")
        deadline = time.monotonic() + _SUPERVISOR_STOP_SECONDS
        while self.is_running and time.monotonic() < deadline:
            time.sleep(0.05)
        processes.sweep(self._folder)
        self._folder.socket.unlink(missing_ok=True)

    # Programs ---------------------------------------------------------------------------------------------------------

    def launch(self, program: Program) -> None:
        """Start a program, with its variables as they are now, without waiting for it."""
        self._write_start_script(program)
        self.relaunch(program.name)

    def relaunch(self, name: str) -> None:
        """Start a program as it was started last."""
        self._call("supervisor.startProcess", name, _DO_NOT_WAIT)

    def is_ready(self, program: Program, seconds: float) -> bool:
        """Whether a program that was launched `seconds` ago is ready.

        Raises:
            LauncherError: it gave up, or its time is over; the text has the reason and the end of its log.
        """
        state = self.state(program.name)
        if state.state == "FATAL":
            raise self._failure(program, state.spawn_error or "it ended at once, several times")
        try:
            program.ready()
        except NotReady as error:
            reason = str(error)
        else:
            # What has no probe of its own must at least have stayed up for a second.
            if program.ready is not always or state.state == "RUNNING":
                return True
            reason = f"the supervisor says {state.state.lower()}"
        if seconds > program.ready_seconds:
            raise self._failure(program, f"not ready after {program.ready_seconds:.0f} s: {reason}")
        return False

    def wait_ready(self, program: Program) -> None:
        """Wait until a program that was just launched is ready; raises as `is_ready` does."""
        began = time.monotonic()
        while not self.is_ready(program, time.monotonic() - began):
            time.sleep(0.05)

    def _failure(self, program: Program, reason: str) -> LauncherError:
        log = self.log(program.name)
        return LauncherError(f"{program.name} did not start: {reason}. The end of {log}:\n{tail(log)}")

    def stop(self, names: Sequence[str], *, within: float) -> None:
        """Stop programs side by side. Returns when all are stopped, at the latest after `within` seconds."""
        for name in names:
            # Not running, or supervisord is gone: in both cases there is nothing left to stop here.
            with contextlib.suppress(NotReady, xmlrpc.client.Fault):
                self._call("supervisor.stopProcess", name, _DO_NOT_WAIT)
        deadline = time.monotonic() + within
        waiting = set(names)
        while waiting and time.monotonic() < deadline:
            try:
                waiting &= {state.name for state in self.states() if not state.is_stopped}
            except NotReady:
                return
            time.sleep(0.05)

    def states(self) -> list[ProgramState]:
        """What supervisord says of all programs."""
        return [_program_state(entry) for entry in self._call("supervisor.getAllProcessInfo")]

    def state(self, name: str) -> ProgramState:
        """What supervisord says of one program."""
        return _program_state(self._call("supervisor.getProcessInfo", name))

    def log(self, name: str) -> Path:
        """Where a program's output goes."""
        return self._folder.logs / f"{name}.log"

    # Inside -----------------------------------------------------------------------------------------------------------

    def _call(self, method: str, *arguments: Any) -> Any:
        """One call.

        Raises:
            NotReady: nobody answers on the socket, or supervisord is about to leave.
            xmlrpc.client.Fault: supervisord refused.
        """
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(self._folder.socket))
        try:
            with proxy:
                return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTTING_DOWN:
                raise NotReady("supervisord is shutting down") from fault
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise NotReady(f"supervisord: {error}") from error

    def _write(self, programs: Sequence[Program]) -> Path:
        sections = [
            f"[unix_http_server]\nfile={_ini(str(self._folder.socket))}\nchmod=0700",
            "\n".join(
                [
                    "[supervisord]",
                    f"logfile={_ini(str(self._folder.logs / 'supervisord.log'))}",
                    f"pidfile={_ini(str(self._folder.run / 'supervisord.pid'))}",
                    f"childlogdir={_ini(str(self._folder.logs))}",
                    "umask=077",
                    "loglevel=info",
                    "silent=true",
                    # Said aloud, since supervisord warns of running as root otherwise.
                    *(["user=root"] if os.geteuid() == 0 else []),
                ]
            ),
            f"[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory={_RPC_INTERFACE}",
            *(self._section(program) for program in programs),
        ]
        path = self._folder.run / "supervisord.conf"
        write_private(path, "\n\n".join(sections) + "\n")
        return path

    def _section(self, program: Program) -> str:
        command = program.command if program.account else ("/bin/sh", str(self._start_script(program.name)))
        lines = [
            f"[program:{program.name}]",
            f"command={_ini(shlex.join(command))}",
            f"directory={_ini('/' if program.account else str(CHECKOUT))}",
            *([f"user={program.account.name}"] if program.account else []),
            "autostart=false",
            "autorestart=true",
            "startsecs=1",
            "startretries=2",
            f"stopsignal={program.stop_signal}",
            f"stopwaitsecs={program.stop_seconds}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={_ini(str(self.log(program.name)))}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=2",
        ]
        return "\n".join(lines)

    def _start_script(self, name: str) -> Path:
        return self._folder.run / f"{name}.sh"

    def _write_start_script(self, program: Program) -> None:
        """Write a script that sets a program's variables and becomes the program.

        supervisord's own `environment=` cannot hold every value (quotes, percent signs); the shell's quoting can. It
        also lets a person start one program by hand.
        """
        exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(program.environment.items())]
        script = "\n".join([*exports, f"exec {shlex.join(program.command)}"]) + "\n"
        write_private(self._start_script(program.name), script)


class _UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - the base class's signature
        return _UnixConnection(self._path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_RPC_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _program_state(entry: Mapping[str, Any]) -> ProgramState:
    return ProgramState(
        name=entry["name"],
        state=entry["statename"],
        pid=entry["pid"],
        exit_status=entry["exitstatus"],
        spawn_error=entry["spawnerr"],
        started_at=entry["start"],
    )


def _ini(value: str) -> str:
    """supervisord expands `%(name)s` in values; a percent sign in a path is only a percent sign."""
    return value.replace("%", "%%")
