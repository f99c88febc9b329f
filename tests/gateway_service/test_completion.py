"""What the tabulator key offers, asked of real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contract.caller_keys import KeyText
from tests.gateway_service.test_command_lines import cli
from tests.harness.gateway import GatewayProcess, Studio, agent_release

ASK = {
    "bash": """eval "$(cat)"
compopt() {{ :; }}
COMP_LINE={line} COMP_POINT=${{#COMP_LINE}}
COMP_POINT=${{#COMP_LINE}}
_kaizen_gateway
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    "zsh": """compdef() {{ :; }}
compadd() {{ while [[ $1 != -- ]]; do shift; done; shift; (( $# )) && print -l -- "$@"; }}
_files() {{ :; }}
eval "$(cat)"
words=({words}) CURRENT=${{#words}}
_kaizen_gateway
""",
    "fish": """source
complete --do-complete {line}
""",
}
STORIES = [
    ("", ["completion", "describe", "list", "run", "stream"]),
    ("de", ["describe"]),
    ("--u", ["--url"]),
    ("completion ", ["bash", "fish", "zsh"]),
    ("run {name} --se", ["--session"]),
    ("run {part}", ["{name}"]),
    ("--url {url} stream {part}", ["{name}"]),
    ("run {name} --param ", ["city=", "message="]),
    ("run {name} --param mess", ["message="]),
    ("run {name} --session ", []),
    ("run {name} ", []),
    ("--url http://127.0.0.1:9 run ", []),
]


@pytest.mark.parametrize("shell", list(ASK))
@pytest.mark.parametrize(("typed", "offered"), STORIES)
def test_what_is_offered(
    gateway: GatewayProcess, studio: Studio, name: str, tmp_path: Path, shell: str, typed: str, offered: list[str]
) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    properties = {"message": {"type": "string"}, "city": {"type": "string"}}
    studio.place(name, agent_release(inputs={"type": "object", "properties": properties}))
    key = studio.issue(scopes=[name])
    known = {"name": name, "part": name[:-2], "url": gateway.address}
    found = ask(shell, program, typed.format(**known), gateway, key, tmp_path)
    assert sorted(found) == [each.format(**known) for each in offered]


def ask(shell: str, program: str, typed: str, gateway: GatewayProcess, key: KeyText, home: Path) -> list[str]:
    """What a shell would offer for a line that was typed so far. It starts in a folder that is not ours."""
    script = cli(gateway, "completion", shell, key=None)
    assert script.returncode == 0, script.stderr
    quoted = [f"'{word}'" for word in f"kaizen-gateway {typed}".split(" ")]
    asking = ASK[shell].format(line=f"'kaizen-gateway {typed}'", words=" ".join(quoted))
    environment = {"HOME": str(home), "GATEWAY_URL": gateway.address, "GATEWAY_KEY": key.text, "TERM": "dumb"}
    no_files_of_the_user = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    answer: Any = subprocess.run(
        [program, *no_files_of_the_user, "-c", asking],
        cwd=home, env={"PATH": os.environ["PATH"], **environment}, input=script.stdout,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.stderr == ""
    return [line.split("\t")[0] for line in answer.stdout.splitlines() if line]
