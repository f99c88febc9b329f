"""Where things lie: the checkout, its virtual environments, and the folder of local state."""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = CHECKOUT / ".venv"
STUDIO_PYTHON = ENVIRONMENTS / "studio" / "bin" / "python"
GATEWAY_PYTHON = ENVIRONMENTS / "gateway" / "bin" / "python"
MODEL_PYTHON = ENVIRONMENTS / "model" / "bin" / "python"

# sun_path holds 108 bytes (unix(7)); supervisord first binds `<path>.<pid>` and renames it.
_LONGEST_SOCKET_PATH = 108 - len(".4194304") - 1


@dataclass(frozen=True)
class StateFolder:
    """The folder that holds everything one installation keeps on this machine.

    The folder itself can be traversed (the database's own account must reach its data when we run as root); every file
    with a secret in it is of mode 0600, and the folders of logs and start scripts are of mode 0700.
    """

    path: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "StateFolder":
        """The folder named by KAIZEN_STATE_DIR, by default `.kaizen` in the checkout."""
        return cls(Path(environment.get("KAIZEN_STATE_DIR") or CHECKOUT / ".kaizen").resolve())

    @property
    def digest(self) -> str:
        """A short name for this folder that is safe in file names."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Start scripts and supervisord's configuration, written anew at each start."""
        return self.path / "run"

    @property
    def lock(self) -> Path:
        """Held by the launcher that runs this installation; contains its process id."""
        return self.path / "launcher.lock"

    @property
    def secrets(self) -> Path:
        """What `make up` generated at its first start. Read by the launcher only."""
        return self.path / "environment.json"

    @property
    def panel(self) -> Path:
        """What the seed generated. Read by `panel` only."""
        return self.path / "panel.json"

    @property
    def trusted_keys(self) -> Path:
        """The organizations' public keys, which gateways are installed with. No secret."""
        return self.path / "trusted-keys.json"

    @property
    def addresses(self) -> Path:
        """The addresses the running installation was started with. No secret."""
        return self.path / "addresses.json"

    @property
    def socket(self) -> Path:
        """supervisord's control socket, elsewhere if the state folder's path is too long for a socket."""
        socket = self.run / "supervisor.sock"
        if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
            return socket
        return Path(tempfile.gettempdir()) / f"kaizen-{os.geteuid()}-{self.digest}" / "supervisor.sock"

    def create(self) -> None:
        """Make the folders. Refuses a socket folder that someone else prepared."""
        self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        for folder in (self.logs, self.run, self.socket.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        owner = self.socket.parent.lstat()
        if owner.st_uid != os.geteuid() or owner.st_mode & 0o077:
            raise LauncherError(f"{self.socket.parent} belongs to someone else or is open to others; remove it.")


def write_private(path: Path, content: str) -> None:
    """Replace a file at once, readable by its owner only from the first byte on."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
