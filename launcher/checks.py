"""`make check`: everything that can be judged without running Studio."""

import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from launcher import environments
from launcher.children import Children
from launcher.errors import LauncherError
from launcher.layout import CHECKOUT, GATEWAY_PYTHON, STUDIO_PYTHON
from launcher.progress import Progress
from launcher.secret_values import SecretValues

_STUDIO_PACKAGES = ("apps", "kaizen_site", "contract", "launcher", "manage.py")
_GATEWAY_PACKAGES = ("gateway_service", "contract")


@dataclass(frozen=True)
class Check:
    """One tool's verdict on the checkout."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def run(*, progress: Progress, children: Children) -> int:
    """Run every check, also after one failed; returns 1 if any did."""
    needed = (environments.STUDIO_WITH_TOOLS, environments.GATEWAY)
    environments.install(needed, children=children, progress=progress)
    with tempfile.TemporaryDirectory(prefix="kaizen-check-") as folder, ThreadPoolExecutor(_workers()) as pool:
        futures = [pool.submit(_judge, check, Path(folder), progress, children) for check in _checks()]
        try:
            failures = [failure for future in futures if (failure := future.result())]
        except BaseException:
            children.terminate()
            raise
    for failure in failures:
        print(failure)
    progress.say("check", f"{len(failures)} failed" if failures else "all passed")
    return 1 if failures else 0


def _judge(check: Check, folder: Path, progress: Progress, children: Children) -> str | None:
    """Run one check; the text of its complaint, or None."""
    log = folder / check.name.replace(" ", "-")
    began = time.monotonic()
    try:
        children.run(
            check.command,
            log=log,
            name=check.name,
            folder=CHECKOUT,
            environment={**os.environ, **check.environment},
        )
    except LauncherError:
        if children.cancelled.is_set():
            raise
        progress.say(check.name, f"FAILED ({time.monotonic() - began:.1f} s)")
        return f"\n── {check.name} ──\n{log.read_text(errors='replace')}"
    progress.say(check.name, f"passed ({time.monotonic() - began:.1f} s)")
    return None


def _checks() -> list[Check]:
    tools = STUDIO_PYTHON.parent
    studio = _studio_variables()
    mypy = (str(tools / "mypy"), "--no-error-summary")
    gateway = ("--config-file", "gateway_service/mypy.ini", "--python-executable", str(GATEWAY_PYTHON))
    return [
        # The slowest first, so that the others run beside it.
        Check("mypy studio", (*mypy, *_STUDIO_PACKAGES), studio),
        Check("mypy gateway", (*mypy, *gateway, *_GATEWAY_PACKAGES)),
        Check("ruff check", (str(tools / "ruff"), "check", ".")),
        Check("ruff format", (str(tools / "ruff"), "format", "--check", ".")),
        Check("import-linter", (str(tools / "lint-imports"), "--no-cache"), {"PYTHONPATH": str(CHECKOUT)}),
        Check("migrations", (str(STUDIO_PYTHON), "manage.py", "makemigrations", "--check", "--dry-run"), studio),
        Check("templates", (str(tools / "djlint"), "--lint", "--quiet", "templates")),
    ]


def _studio_variables() -> dict[str, str]:
    """Settings that Studio needs in order to be imported. Nothing is connected to."""
    values = SecretValues.generate()
    return {
        "SECRET_KEY": values.secret_key,
        "KAIZEN_ENCRYPTION_KEYS": values.encryption_keys,
        # Port 9 is "discard": nothing listens there, and Django only warns that it could not compare with a database.
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "PYTHONWARNINGS": "ignore::RuntimeWarning",
    }


def _workers() -> int:
    return min(4, os.cpu_count() or 1)
