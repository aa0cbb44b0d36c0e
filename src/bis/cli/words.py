"""`bis explain` and `bis completion`."""

from __future__ import annotations

import importlib
import pkgutil
import re

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

from bis.cli.command import Door, command, json_option, nearest
from bis.errors import EXPLANATIONS, NotFound
from bis.text import plain

FINDING = re.compile("[a-z]+(-[a-z]+)*")
NAMED = 5
"""So many runs are named."""
WHERE = {
    "bash": "bis completion bash > ~/.local/share/bash-completion/completions/bis",
    "zsh": "bis completion zsh > ~/.zfunc/_bis     (with `fpath+=~/.zfunc` before `compinit` in ~/.zshrc)",
    "fish": "bis completion fish > ~/.config/fish/completions/bis.fish",
}
BASH = """\
%(complete_func)s() {
    local kind value help place longest=0 IFS=$'\\n'
    local -a values helps
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value help; do
        case $kind in
            dir) compopt -o dirnames 2> /dev/null ;;
            file) compopt -o default 2> /dev/null ;;
            plain) values+=("$value"); helps+=("$help"); (( ${#value} > longest )) && longest=${#value} ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete "$1")
    # What words mean is told where bash only lists them (a second Tab), never where it would insert it.
    for place in "${!values[@]}"; do
        if [[ ${COMP_TYPE:-9} == 63 && ${#values[@]} -gt 1 && -n ${helps[place]} ]]; then
            COMPREPLY+=("$(printf '%%-*s  (%%s)' "$longest" "${values[place]}" "${helps[place]}")")
        else
            COMPREPLY+=("${values[place]}")
        fi
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class DescribingBash(BashComplete):
    """Completion for bash that says what the words mean, as those of zsh and fish do."""

    source_template = BASH

    def source(self) -> str:
        return self.source_template % self.source_vars()

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type}\t{item.value}\t{item.help or ''}"


class Code(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A code of an error; completes those there are."""

    name = "code"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        _import_all()
        return [
            CompletionItem(code, help=meaning) for code, meaning in EXPLANATIONS.items() if code.startswith(incomplete)
        ]


@command(
    "explain",
    short_help="Explain an error code, or a finding of a run.",
    statuses={3: "there is no such code"},
    examples=["bis explain B004", "bis explain os-randomness", "bis explain"],
)
@json_option
@click.argument("code", required=False, type=Code(), metavar="[CODE]")
def explain(door: Door, code: str | None, as_json: bool) -> int:
    """Say what the CODE of an error means, or which runs have a finding of this CODE, what it says and what to do.
    Without CODE, what all codes of errors mean.
    """
    if code is not None and FINDING.fullmatch(code):
        return _explain_finding(door, code, as_json)
    _import_all()
    known = dict(sorted(EXPLANATIONS.items()))
    if code is not None:
        known = {code.upper(): known[code.upper()]} if code.upper() in known else {}
        if not known:
            near = nearest(code.upper(), EXPLANATIONS)
            raise NotFound(f"no error has the code {plain(code)}", hint=f"bis explain {near}".strip())
    if as_json:
        door.terminal.json("bis.explain/1", {"codes": known})
    else:
        door.terminal.show(door.terminal.aligned([[(name, "yellow"), meaning] for name, meaning in known.items()]))
    return 0


def _explain_finding(door: Door, code: str, as_json: bool) -> int:
    """Where a finding was made, newest first, and its words in the newest run."""
    from bis.cli.page_run import finding_lines, labelled

    home, terminal = door.home, door.terminal
    rows = home.ledger.rows()
    having = [row for row in rows if code in row.findings]
    if not having:
        near = nearest(code, {each for row in rows for each in row.findings})
        raise NotFound(f"no run here has a finding {code}", hint=f"bis explain {near}".strip())
    found = [finding for finding in home.ledger.get(having[0].id).all_findings if finding.code == code]
    if as_json:
        terminal.json("bis.explain/1", {"findings": found, "runs": [row.id for row in having]})
        return 0
    names = ", ".join(plain(row.name) for row in having[:NAMED])
    more = f" and {len(having) - NAMED:,} more" if len(having) > NAMED else ""
    terminal.show([*finding_lines(found, terminal), *labelled("in", [f"{names}{more}"], terminal)])
    return 0


def _import_all() -> None:
    """Import the modules that register codes, which is all of them."""
    import bis

    for module in pkgutil.walk_packages(bis.__path__, "bis."):
        if ".inside" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


@command(
    "completion",
    short_help="Print the script that completes bis commands in a shell.",
    examples=list(WHERE.values()),
)
@click.argument("shell", type=click.Choice(list(WHERE)), metavar="SHELL")
def completion(door: Door, shell: str) -> int:
    """Print the script with which SHELL completes commands, options and runs, saying what each of them is."""
    register()
    found = get_completion_class(shell)
    assert found is not None
    script = found(click.get_current_context().find_root().command, {}, "bis", "_BIS_COMPLETE").source()
    door.terminal.show(script.strip("\n").split("\n"))
    if door.terminal.tty:
        door.terminal.tell(f"help: {WHERE[shell]}")
    return 0


def register() -> None:
    """Let click use our completion for bash."""
    add_completion_class(DescribingBash)
