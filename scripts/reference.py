"""Write the pages that say what the code says: commands, settings, errors.

scripts/reference.py            write docs/reference/cli.md, docs/reference/errors.md, docs/settings.md
scripts/reference.py --check    exit 1, naming the pages that are not current, and write nothing
"""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NOTE = "<!-- Written by scripts/reference.py from the code: change it there, and type `make docs`. -->\n"
MARKS = "<!-- settings -->\n", "<!-- end of settings -->\n"
WIDTH = 100


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
        context = click.Context(command, info_name=words, terminal_width=WIDTH, max_content_width=WIDTH)
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
    """The page as it is, with the tables between the marks written anew."""
    text = (DOCS / "settings.md").read_text("utf-8")
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return before + MARKS[0] + settings_rows() + MARKS[1] + after


PAGES = {
    "reference/cli.md": cli_page,
    "reference/errors.md": errors_page,
    "settings.md": settings_page,
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
