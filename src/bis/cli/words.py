"""`bis explain` and `bis completion`."""

from __future__ import annotations

import importlib
import pkgutil

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

from bis.cli.command import Door, command, json_option, nearest
from bis.errors import EXPLANATIONS, NotFound

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
    short_help="Explain an error code.",
    statuses={3: "there is no such code"},
    examples=["bis explain B004", "bis explain"],
)
@json_option
@click.argument("code", required=False, type=Code(), metavar="[CODE]")
def explain(door: Door, code: str | None, as_json: bool) -> int:
    """Say what the CODE of an error means; without one, what all of them mean."""
    from bis.cli.text import plain

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
@click.argument("shell", type=click.Choice(list(WHERE)))
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
