"""Completion: three small shell scripts that ask the program itself what may come next."""

from __future__ import annotations

import os

from jackfield.cli.command import Option
from jackfield.cli.commands import COMMANDS, COMMON, find
from jackfield.errors import JackfieldError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jackfield.cli.command import Arguments, Command, Context, Flag, Word

__all__ = ["candidates", "complete", "completion"]

_FILES = ":files"  # asks the scripts for the shell's own completion of file names

_BASH = """\
# Completion of jackfield for bash; use it with: source <(jackfield completion bash)
_jackfield() {
    local line word="${COMP_WORDS[COMP_CWORD]}"
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$word")
        elif [[ $line == "$word"* ]]; then
            COMPREPLY+=("$(printf '%q' "$line")")
        fi
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _jackfield jackfield
"""

_ZSH = """\
#compdef jackfield
# Completion of jackfield for zsh; use it with: source <(jackfield completion zsh)
_jackfield() {
    local line
    local -a found
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then _files; elif [[ -n $line ]]; then found+=("$line"); fi
    done
    (( ${#found} )) && compadd -- "${found[@]}"
}
if [[ ${funcstack[1]} == _jackfield ]]; then
    # A file of this in $fpath is loaded when it is first asked.
    _jackfield
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _jackfield jackfield
fi
"""

_FISH = """\
# Completion of jackfield for fish; use it with: jackfield completion fish | source
function __jackfield_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c jackfield -f -a '(__jackfield_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(context: Context, arguments: Arguments) -> None:
    """Print a shell's completion script."""
    if context.json:
        raise UsageError("completion: a shell's script cannot be had as JSON")
    print(_SCRIPTS[arguments.shell], end="")


def complete(words: Sequence[str]) -> int:
    """Print what may stand in place of the last of ``words``, for the scripts above.

    The line ``:files`` asks for the shell's own file names.  Nothing is ever reported as an
    error here: it would land in the middle of the line being typed.
    """
    try:
        found = candidates(words)
    except JackfieldError:
        found = []
    for word in found:
        print(word)
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """Return what may stand in place of the last of ``words`` (those after ``jackfield``)."""
    *before, last = words or [""]
    command: Command | None = None
    run_dir = os.environ.get("JACKFIELD_RUN_DIR") or "/run/jackfield"
    expected: Option | None = None
    positionals: list[Word] = []
    only_words = False
    for word in before:
        if expected is not None:
            if expected.flag == "--run-dir":
                run_dir = word
            expected = None
        elif word.startswith("--run-dir="):
            run_dir = word.partition("=")[2]
        elif word == "--":
            only_words = True
        elif word.startswith("-") and word != "-" and not only_words:
            expected = _option(command, word)
        elif command is None:
            command = find(word)
            if command is None:
                return []
            positionals = list(command.words)
        elif positionals and not (positionals[0].many or positionals[0].rest):
            positionals.pop(0)
    if expected is not None and expected.choices:
        return _matching(expected.choices, last)
    if expected is not None:
        return _values(expected.completes, last, run_dir)
    if last.startswith("-") and not only_words:
        flags = [item.flag for item in _options(command)]
        return _matching([*flags, "--help"] + ([] if command else ["--version"]), last)
    if command is None:
        return _matching([item.name for item in COMMANDS], last)
    if not positionals:
        return []
    if positionals[0].choices:
        return _matching(positionals[0].choices, last)
    return _values(positionals[0].completes, last, run_dir)


def _options(command: Command | None) -> tuple[Option | Flag, ...]:
    return (*(command.options if command else ()), *COMMON)


def _option(command: Command | None, flag: str) -> Option | None:
    """Return the option ``flag`` when a value must follow it."""
    for item in _options(command):
        if isinstance(item, Option) and item.flag == flag:
            return item
    return None


def _values(what: str, beginning: str, run_dir: str) -> list[str]:
    if what == "file":
        return [_FILES]
    if what == "file-or-network":
        return [_FILES, *_values("network", beginning, run_dir)]
    if what == "netns":
        try:
            return _matching(sorted(os.listdir("/run/netns")), beginning)  # noqa: PTH208
        except OSError:
            return []
    if what in {"network", "port"}:
        return _matching(_known_to_daemon(what, run_dir), beginning)
    return []


def _known_to_daemon(what: str, run_dir: str) -> list[str]:
    """Return the names of networks or ports that the daemon knows; none when it is not there."""
    from jackfield.client import Client

    try:
        found = Client(run_dir).request("GET", f"/v1/{what}s")
    except JackfieldError:
        return []
    if what == "network":
        return sorted(item["name"] for item in found)
    devices = {item["device"] or item["uuid"] for item in found}
    return sorted(devices | {item.get("owner", {}).get("name") or "" for item in found} - {""})


def _matching(words: Sequence[str], beginning: str) -> list[str]:
    return [word for word in words if word.startswith(beginning)]
