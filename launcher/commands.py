"""The commands themselves: up, down, reset, panel, manage."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence

from launcher import lifecycle, postgresql
from launcher.addresses import Ports
from launcher.children import Children
from launcher.errors import Interrupted, LauncherError
from launcher.installation import Installation, addresses
from launcher.layout import CHECKOUT, StateFolder
from launcher.lock import Lock
from launcher.panel import Panel, for_people
from launcher.progress import Progress
from launcher.supervision import Supervisor

# The longest that an ordered stop takes, and a little.
_STOP_SECONDS = 60.0


def up(environment: Mapping[str, str], *, progress: Progress, children: Children) -> int:
    """Start everything, print the panel, watch until Ctrl-C, stop everything."""
    folder = StateFolder.of(environment)
    _refuse_foreign_folder(folder)
    folder.create()
    with Lock(folder.lock) as lock:
        if not lock.acquire():
            return _running_already(folder, lock, environment, progress)
        if lifecycle.stop(folder, progress):
            progress.say("studio", "an earlier `make up` was killed; stopped what it had left")
        installation = Installation.of(environment, folder)
        started = False
        try:
            lifecycle.Start(installation, progress=progress, children=children).run()
            started = True
            _show(folder, environment, progress, ready=True)
            progress.say("studio", "running; Ctrl-C stops it")
            lifecycle.Watch(Supervisor(folder), progress).run()
        except Interrupted as error:
            # Asked to stop what was running: done is success. Asked while starting: the start did not succeed.
            return 0 if started else 128 + error.signal_number
        finally:
            children.interruption.hold()
            children.terminate()
            lifecycle.stop(folder, progress)
    return 0


def down(environment: Mapping[str, str], *, progress: Progress) -> int:
    """Stop everything, whoever started it and whether or not they still live."""
    folder = StateFolder.of(environment)
    if not folder.path.exists():
        progress.say("studio", "is not running")
        return 0
    with Lock(folder.lock) as lock:
        holder = _take(lock)
        if holder:
            progress.say("studio", f"process {holder} stopped it")
        # After a launcher that stopped what it ran there is nothing left to stop.
        if not lifecycle.stop(folder, progress) and not holder:
            progress.say("studio", "is not running")
    return 0


def reset(environment: Mapping[str, str], *, progress: Progress) -> int:
    """Stop everything and delete all local state: database, gateways' stores, secrets, logs."""
    folder = StateFolder.of(environment)
    if not folder.secrets.exists():
        progress.say("studio", f"there is nothing to reset in {folder.path}")
        return 0
    if environment.get("CONFIRM") != "yes" and not _confirmed(folder):
        print("Nothing was deleted.", file=sys.stderr)
        return 1
    down(environment, progress=progress)
    postgresql.remove(folder)
    shutil.rmtree(folder.path)
    shutil.rmtree(folder.socket.parent, ignore_errors=True)
    progress.say("studio", f"deleted {folder.path}")
    return 0


def panel(environment: Mapping[str, str]) -> int:
    """Print the panel as one line of JSON."""
    print(json.dumps(_panel(StateFolder.of(environment), environment).document()))
    return 0


def manage(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run `manage.py` with the variables of this installation, owner's role included."""
    folder = StateFolder.of(environment)
    if not folder.secrets.exists():
        raise LauncherError("There is no installation here yet: `make up` makes one.")
    variables = Installation.of(environment, folder).owner_variables()
    command = [str(CHECKOUT / ".venv" / "studio" / "bin" / "python"), "manage.py", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, env={**os.environ, **variables}, check=False).returncode


def _running_already(folder: StateFolder, lock: Lock, environment: Mapping[str, str], progress: Progress) -> int:
    progress.say("studio", f"is up already, or starting: process {lock.holder} runs it")
    _show(folder, environment, progress)
    return 0


def _show(
    folder: StateFolder, environment: Mapping[str, str], progress: Progress, *, ready: bool | None = None
) -> None:
    document = _panel(folder, environment).document(ready=ready)
    progress.show(for_people(document, mailbox=not environment.get("EMAIL_URL")))


def _panel(folder: StateFolder, environment: Mapping[str, str]) -> Panel:
    return Panel.of(folder, addresses(Ports.of(environment)))


def _take(lock: Lock) -> int | None:
    """Take the lock, from a living launcher if need be; returns the process id of that launcher."""
    if lock.acquire() or not (holder := lock.holder):
        return None
    lock.take_from(holder, within=_STOP_SECONDS)
    return holder


def _confirmed(folder: StateFolder) -> bool:
    if not sys.stdin.isatty():
        print("Answer with CONFIRM=yes: `make reset CONFIRM=yes`.", file=sys.stderr)
        return False
    print(f"This deletes everything in {folder.path}: the database, the gateways' stores, secrets, logs.")
    return input("Type yes to go on: ").strip() == "yes"


def _refuse_foreign_folder(folder: StateFolder) -> None:
    """A folder that holds other things must not become ours, since `reset` deletes ours whole."""
    if folder.path == CHECKOUT / ".kaizen" or not folder.path.exists() or folder.secrets.exists():
        return
    if not folder.path.is_dir() or any(folder.path.iterdir()):
        raise LauncherError(f"KAIZEN_STATE_DIR={folder.path} holds other things; name an empty or a new folder.")
