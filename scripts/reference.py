"""Write the pages that say what the code says: commands, settings, errors, the pages that a browser is shown.

scripts/reference.py            write docs/reference/, and the tables of docs/settings.md and docs/recorded.md
scripts/reference.py --check    exit 1, naming the pages that are not current, and write nothing
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTE = "<!-- Written by scripts/reference.py from the code: change it there, and type `make docs`. -->\n"
WIDTH = 100
COMMON = {
    "asof": "The moment that is looked at: `2026-11-20`, `2 days ago`; empty: now.",
    "filter": "Only runs for which this is true, in MLflow's language.",
    "first": "Where the window begins, in the unit of `x`.",
    "last": "Where it ends.",
    "limit": "Rows at most.",
    "metric": "Its key.",
    "of": "The thing, as `bis lineage` takes it.",
    "other": "The number of the other version.",
    "path": "A folder or file.",
    "q": "What is looked for.",
    "run": "A run: its id, the beginning of it, or its name.",
    "stream": "`stdout`, `stderr`, or `both`.",
    "until": "Where the window ends.",
    "width": "Pixels.",
}
"""What pages are asked for in the same way, by name, where they say nothing of it themselves."""


def commands(command: click.Command, words: str) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, by what is typed; those hidden from help are left out."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=words)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from commands(inner, f"{words} {name}")


def cli_page() -> str:
    """Each command with the help that it prints itself."""
    from bis.cli.main import cli

    pages = ["# Commands\n\n", NOTE]
    for words, command in commands(cli, "bis"):
        context = click.Context(
            command,
            info_name=words,
            terminal_width=WIDTH,
            max_content_width=WIDTH,
            help_option_names=cli.context_settings["help_option_names"],
        )
        text = "\n".join(line.rstrip() for line in click.unstyle(command.get_help(context)).splitlines())
        pages.append(f"\n## {words}\n\n```text\n{text.rstrip()}\n```\n")
    return "".join(pages)


def errors_page() -> str:
    """Each exit status and each error code with its meaning."""
    import bis
    from bis import errors

    for module in pkgutil.walk_packages(bis.__path__, "bis."):
        if ".inside" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    rows = [f"| {code} | {meaning} |\n" for code, meaning in sorted(errors.EXPLANATIONS.items())]
    return (
        "# Exit statuses and errors\n\n" + NOTE + "\n"
        "| status | means |\n|---|---|\n"
        "| 0 | done; for a comparison: the same (identical or equivalent) |\n"
        "| 1 | a comparison found a difference |\n"
        "| 2 | the command line, a reference or a setting makes no sense |\n"
        "| 3 | what was asked for was looked for and is not there |\n"
        "| 4 | the run cannot be repeated here, because an ingredient cannot be had again |\n"
        "| 5 | the store, the ledger or the network could not be read or written |\n"
        "| 125 | bis itself failed |\n"
        "| 130 | interrupted |\n\n"
        "`bis run` passes on the exit status of the command that it ran; 125 then means that bis itself failed.\n\n"
        "An error is told on stderr: what happened, what is known of the reason, what to type next. With `--json`, "
        "every\ncommand prints one object on standard output, and where there is no result, it is the error:\n\n"
        "```json\n"
        '{"schema": "bis.error/1", "error": {"code": "B003", "what": "…", "because": "…", "hint": "bis log"}}\n'
        "```\n\n"
        "`bis repeat` answers with its own schema where a run cannot be repeated, as that is a verdict: `sameness` is\n"
        "*not repeatable*, and `error` is the same object. A command that is interrupted answers nothing.\n\n"
        "Each error has a code that stays the same from version to version.\n\n"
        "| code | means |\n|---|---|\n" + "".join(rows)
    )


def settings_rows() -> str:
    """A table for each class of settings, from the class bodies: name, default, and the sentence below it."""
    from bis import settings

    source = Path(settings.__file__).read_text("utf-8")
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    tables = []
    for name, prefix, sentence in (
        ("Settings", "", "Keys at the top of the file."),
        ("Limits", "limits.", ""),
        ("Promotion", "promotion.ALIAS.", ""),
    ):
        sentence = sentence or (ast.get_docstring(classes[name]) or "")
        rows = [
            f"| `{prefix}{field}` | {_default(value)} | {_words(text)} |\n"
            for field, value, text in _fields(classes[name])
            if field not in ("limits", "promotion")
        ]
        tables.append(f"\n{sentence}\n\n| key | default | says |\n|---|---|---|\n{''.join(rows)}")
    return "".join(tables) + "\n"


def _fields(body: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    following = [*body.body[1:], None]
    for node, after in zip(body.body, following, strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            text = str(after.value.value) if told else ""  # type: ignore[union-attr]
            yield node.target.id, ast.unparse(node.value) if node.value else "", text


def _default(code: str) -> str:
    from bis.settings import GIB

    value = eval(code, {"GIB": GIB})
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and value >= 1 << 20:
        return f"`{value}` ({value >> 30} GiB)" if value % GIB == 0 else f"`{value}` ({value >> 20} MiB)"
    if isinstance(value, (tuple, dict)):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{value}`" if value != "" else "empty"


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def settings_page() -> str:
    return _between("settings.md", "settings", settings_rows())


def recorded_page() -> str:
    """With the environment variables whose values are recorded."""
    from bis.parts.params import ALLOWED, APPEARANCE

    names = ", ".join(f"`{name}`" for name in (*ALLOWED, *APPEARANCE))
    return _between("recorded.md", "variables", "\n" + textwrap.fill(names, 119, break_on_hyphens=False) + "\n\n")


def _between(name: str, mark: str, written: str) -> str:
    """A page as it is, with what stands between two marks written anew."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    before, _, rest = (DOCS / name).read_text("utf-8").partition(begin)
    return before + begin + written + end + rest.partition(end)[2]


def addresses_page() -> str:
    """Each page that a browser is shown, with its other forms and what it is asked for."""
    from bis.server.pages.routes import ACTIONS, PAGES

    rows, asked = [], []
    for page in PAGES:
        forms = [form for form in ("json", "csv") if form == "json" or page.rows]
        said = " ".join(f"`?as={form}`" if page.is_open_ended else f"`.{form}`" for form in forms)
        rows.append(f"| `{_shown(page.path)}` | {_first_sentence(page.answer)} | `bis.page.{page.name}/1` | {said} |\n")
        if fields := _queries(page.asked, page.path):
            asked.append(f"\n### {_shown(page.path)}\n\n| name | default | says |\n|---|---|---|\n{''.join(fields)}")
    forms_row = [
        f"| `{_shown(action.path)}` | {', '.join(_names(action.asked, action.path))} |\n" for action in ACTIONS
    ]
    return (
        "# Addresses of pages\n\n" + NOTE + "\n"
        "`bis ui` and `bis server` show these pages. Each has other forms: with `.json` behind its path it is the\n"
        "value that the page is made of, with the name of its schema in `schema`; with `.csv` it is the rows of its\n"
        "table. `/` has them as `/runs.json` and `/runs.csv`. Pages whose paths end with that of a file are asked by\n"
        '`?as=json`. An error is `{"error": {"code", "what", "because", "hint"}}`, as that of a command.\n\n'
        "| address | shows | schema | forms |\n|---|---|---|---|\n" + "".join(rows) + "\n"
        "## What pages are asked\n\n"
        "Behind a `?`. What may be a list is given several times.\n" + "".join(asked) + "\n"
        "## What forms change\n\n"
        "By POST, from a page of the same server, with the field `csrf` of that page; who may is said in\n"
        "[Serve](../howto/server.md#tokens). Programs use the server's "
        "[own API](../howto/server.md#the-servers-own-api).\n\n"
        "| address | fields |\n|---|---|\n" + "".join(forms_row)
    )


def _shown(path: str) -> str:
    """Without what the names in it may be."""
    return re.sub(r":\w+}", "}", path)


def _first_sentence(answer: Any) -> str:
    """What a page shows: the beginning of what its module says of itself."""
    text = _words(sys.modules[answer.__module__].__doc__ or "")
    return re.split(r"(?<=\.) ", text)[0].replace("|", "\\|")


def _names(kind: type, path: str) -> list[str]:
    return [f"`{one.encode_name}`" for one in msgspec.structs.fields(kind) if f"{{{one.encode_name}" not in path]


def _queries(kind: type, path: str) -> list[str]:
    """A row for each thing that stands behind the path."""
    texts = {name: text for body in reversed(_bodies(kind)) for name, _, text in _fields(body)}
    rows = []
    for one in msgspec.structs.fields(kind):
        if f"{{{one.encode_name}" in path:
            continue
        said = _words(texts.get(one.name, "")) or COMMON.get(one.encode_name, "")
        rows.append(f"| `{one.encode_name}` | {_said_default(one)} | {said} |\n".replace("|  |", "| |"))
    return rows


def _bodies(kind: type) -> list[ast.ClassDef]:
    """Of a class and of those that it is made of."""
    kinds = [each for each in kind.__mro__ if each.__module__.startswith("bis.")]
    trees = [ast.parse(inspect.getsource(each)).body[0] for each in kinds]
    return [tree for tree in trees if isinstance(tree, ast.ClassDef)]


def _said_default(one: Any) -> str:
    if one.required:
        return "needed"
    value = one.default_factory() if one.default_factory is not msgspec.NODEFAULT else one.default
    if value in ("", None, [], ()) or (isinstance(value, int) and value > 1 << 60):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


PAGES = {
    "reference/cli.md": cli_page,
    "reference/errors.md": errors_page,
    "reference/pages.md": addresses_page,
    "settings.md": settings_page,
    "recorded.md": recorded_page,
}


def stale(pages: dict[str, str]) -> list[str]:
    """The pages whose text is not what the code says."""
    return [
        name for name, text in pages.items() if not (DOCS / name).exists() or (DOCS / name).read_text("utf-8") != text
    ]


def main() -> int:
    pages = {name: write() for name, write in PAGES.items()}
    old = stale(pages)
    if "--check" in sys.argv[1:]:
        print("\n".join(f"docs/{name} is not current: type `make docs`" for name in old))
        return int(bool(old))
    for name in old:
        (DOCS / name).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / name).write_text(pages[name], "utf-8")
        print(f"wrote docs/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
