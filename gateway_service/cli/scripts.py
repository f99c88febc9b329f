"""The scripts that teach a shell the command, its options, and the names that a key may call."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from gateway_service.cli.parser import COMPLETE, PROGRAM

_HERE = Path(__file__).resolve().parents[2]

_BASH = r"""{function}
_kaizen_gateway() {{
    # bash takes addresses and "name=value" apart; here the line is taken as it was typed.
    local typed=${{COMP_LINE:0:COMP_POINT}} words
    IFS=$' \t\n' read -r -a words <<<"$typed"
    [[ $typed == *[[:space:]] ]] && words+=("")
    mapfile -t COMPREPLY < <({program} {complete} "${{words[@]:1}}")
    [[ ${{#COMPREPLY[@]}} -eq 1 && ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace
}}
complete -o default -F _kaizen_gateway {program}"""

_ZSH = r"""{function}
_kaizen_gateway() {{
    local -a found
    found=(${{(f)"$({program} {complete} "${{(@)words[2,CURRENT]}}")"}})
    (( $#found )) || {{ _files; return }}
    compadd -Q -- ${{found:#*=}}
    compadd -Q -S '' -- ${{(M)found:#*=}}
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
compdef _kaizen_gateway {program}"""

_FISH = r"""{function}
function _kaizen_gateway
    {program} {complete} (commandline --cut-at-cursor --tokenize --current-process)[2..-1] \
        (commandline --cut-at-cursor --current-token)
end
complete --command {program} --arguments '(_kaizen_gateway)'"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(shell: str) -> str:
    """The script for a shell; it also defines the command, if there is none of that name."""
    call = f"PYTHONPATH={shlex.quote(str(_HERE))} {shlex.quote(sys.executable)} -m gateway_service.cli"
    if shell == "fish":
        function = f"type -q {PROGRAM}; or function {PROGRAM}; env {call} $argv; end"
    else:
        function = f'command -v {PROGRAM} >/dev/null || {PROGRAM}() {{ {call} "$@"; }}'
    return _SCRIPTS[shell].format(function=function, program=PROGRAM, complete=COMPLETE)
