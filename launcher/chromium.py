"""The browser that browser stories are told through."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from launcher.children import Children
from launcher.progress import Progress

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find(environment: Mapping[str, str]) -> Path | None:
    """The browser named by KAIZEN_CHROMIUM, or the first one on PATH."""
    if named := environment.get("KAIZEN_CHROMIUM"):
        return Path(named)
    for name in _NAMES:
        if path := shutil.which(name):
            return Path(path)
    return None


def may_install() -> bool:
    """Whether Debian's browser can be installed here without asking anyone."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(children: Children, progress: Progress, log: Path) -> None:
    """Install Debian's Chromium.

    Raises:
        LauncherError: apt-get failed; the end of its output is in the text.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with progress.step("chromium", "installing Debian's (for browser stories)", "installed"):
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
            children.run(["apt-get", *arguments], log=log, name=f"apt-get {arguments[0]}", environment=environment)
