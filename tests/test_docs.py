"""The documentation is held to the code: what it names is there, and what is there is named."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def script(name: str) -> ModuleType:
    """A module of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tracked() -> list[Path]:
    """The committed files; without Git (an unpacked release), all that a commit would hold."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        folders = ("src", "tests", "docs", "scripts", "benchmarks", "demo", "changes")
        return [path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.is_file()]
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def anchors(page: Path) -> set[str]:
    """The names by which the headings of a page can be linked to."""
    text = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_line() -> click.Group:
    """The commands of bis."""
    if not (ROOT / "src" / "bis" / "cli" / "main.py").exists():
        pytest.skip("there are no commands yet")
    from bis.cli.main import cli

    return cli


def typed(page: Path) -> Iterator[list[str]]:
    """The words of each `bis …` that a page shows as typed: in fences after `$ `, and in inline code."""
    text = page.read_text("utf-8")
    for _, block in FENCE.findall(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.startswith("$ bis "):
                yield shlex.split(line[2:], comments=True)
    for code in re.findall(r"`(bis [^`\n]+)`", FENCE.sub("", text)):
        yield code.split()


def unknown(words: list[str], group: click.Group) -> str:
    """What bis would not understand of these words: a command or an option; empty when it would."""
    command: click.Command = group
    for place, word in enumerate(words[1:], start=1):
        if word == "--":
            break
        if word.startswith("-") and len(word) > 1:
            option = word.partition("=")[0]
            context = click.Context(command, info_name="bis")
            names = {name for each in command.get_params(context) for name in (*each.opts, *each.secondary_opts)}
            if option not in names | {"--help", "--debug"}:
                return f"{' '.join(words[:place])} has no option {option}"
        elif isinstance(command, click.Group):
            inner = command.get_command(click.Context(command, info_name="bis"), word)
            if inner is None:
                return f"there is no command {word!r}" if re.fullmatch(r"[a-z][a-z-]*", word) else ""
            command = inner
        elif command.name == "run":
            break
    return ""


def test_what_the_code_says_of_itself_is_on_the_pages() -> None:
    """Each command, option, setting and error code; `make docs` writes them anew."""
    command_line()
    reference = script("reference")
    assert not reference.stale({name: write() for name, write in reference.PAGES.items()}), "type `make docs`"


def explained() -> Iterator[str]:
    """The code of each error wherever the code of bis gives it its meaning."""
    for path in sorted((ROOT / "src" / "bis").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "explains":
                yield ast.literal_eval(node.args[0])
            if path.name == "errors.py" and isinstance(node, ast.Dict):
                yield from (ast.literal_eval(key) for key in node.keys if key is not None)


def test_each_code_of_an_error_has_one_meaning() -> None:
    """Modules register theirs apart from each other, and the later one would take the code in silence."""
    codes = list(explained())
    assert len(codes) > 20
    assert sorted(codes) == sorted(set(codes))


def test_every_setting_has_a_sentence_that_says_what_it_does() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.+?) \| (.*?) \|$", script("reference").settings_rows(), re.M)
    assert len(rows) > 15
    assert not [name for name, _, text in rows if not text.endswith(".")]


def test_every_command_and_option_has_a_sentence_that_says_what_it_does() -> None:
    silent = []
    for words, command in script("reference").commands(command_line(), "bis"):
        if not (command.help or "").strip():
            silent.append(words)
        silent += [
            f"{words} {parameter.opts[0]}"
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.hidden and not (parameter.help or "").strip()
        ]
    assert not silent


def test_the_help_of_every_command_has_examples_that_are_understood() -> None:
    group = command_line()
    commands = [(words, command) for words, command in script("reference").commands(group, "bis") if " " in words]
    assert not [words for words, command in commands if not getattr(command, "examples", ())]
    shown = [example for _, command in commands for example in command.examples]
    typed = [part.strip() for example in shown for part in re.split(r" && | \| |\s+\(with ", example)]
    assert len(typed) > 150
    assert not {part: fault for part in typed if part[:4] == "bis " if (fault := unknown(shlex.split(part), group))}


def test_every_command_line_on_the_pages_is_understood() -> None:
    group = command_line()
    wrong = [
        f"{page.relative_to(ROOT)}: `{shlex.join(words)}`: {fault}"
        for page in pages()
        if page.name not in ("cli.md", "changes.md")
        for words in typed(page)
        if (fault := unknown(words, group))
    ]
    assert not wrong


def test_no_page_asks_an_index_for_bis() -> None:
    """Under that name it may have somebody else's package: the page on installing has the lines to type."""
    asked = re.compile(r"\binstall (?:--\S+ )*['\"]?bis\b")
    wrong = [str(page.relative_to(ROOT)) for page in pages() if asked.search(page.read_text("utf-8"))]
    assert [name for name in wrong if not name.startswith(("changes", "docs/changes"))] == []


def test_every_command_that_messages_and_pages_name_is_there() -> None:
    named = re.compile(r"(?:`|<code>)bis ([a-z][a-z-]*)|f\"bis ([a-z][a-z-]*)(?= [{-])")
    sources = [one for end in ("py", "html") for one in (ROOT / "src").rglob(f"*.{end}")]
    found = {(one, first or second) for one in sources for first, second in named.findall(one.read_text())}
    assert len(found) > 100
    known = set(command_line().list_commands(click.Context(command_line())))
    assert [(str(one.relative_to(ROOT)), word) for one, word in sorted(found) if word not in known] == []


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in pages():
        for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_every_page_can_be_reached_from_the_first() -> None:
    docs = ROOT / "docs"
    seen: set[Path] = set()
    ahead = [docs / "index.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or not page.exists():
            continue
        seen.add(page)
        links = (target.partition("#")[0] for target in LINK.findall(page.read_text("utf-8")))
        ahead += [(page.parent / name).resolve() for name in links if name.endswith(".md")]
    assert not [str(page.relative_to(ROOT)) for page in docs.rglob("*.md") if page not in seen]


def test_every_noun_is_in_the_glossary() -> None:
    words = set(re.findall(r"^- \*\*(\w+)\*\*: ", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.M))
    nouns = {
        f"{node.name} ({file.name})"
        for file in (ROOT / "src" / "bis" / "nouns").glob("*.py")
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    assert len(nouns) > 10
    assert not {noun for noun in nouns if noun.partition(" ")[0] not in words}


def test_changes_are_told_in_the_form_that_the_page_needs() -> None:
    changelog = script("changelog")
    assert not [fault for path in changelog.fragments() for fault in changelog.faults(path)]
    assert changelog.PAGE.read_text("utf-8") == changelog.page(), "type `make docs`"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no-kind.md", "Something.\n"),
        ("Upper.added.md", "Something.\n"),
        ("lower-case.fixed.md", "something went wrong.\n"),
        ("no-stop.fixed.md", "Something went wrong\n"),
        ("two.fixed.md", "Something.\n\nAnd more.\n"),
    ],
)
def test_a_change_told_in_another_form_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert script("changelog").faults(tmp_path / name)


def test_a_release_gives_the_collected_changes_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changelog = script("changelog")
    monkeypatch.setattr(changelog, "FOLDER", tmp_path)
    monkeypatch.setattr(changelog, "PAGE", tmp_path / "changes.md.page")
    for version, text in (("0.1.0", "First.\n"), ("0.2.0", "Second.\n")):
        (tmp_path / "news.added.md").write_text(text)
        monkeypatch.setattr(sys, "argv", ["changelog.py", "--release", version, "2026-12-24"])
        assert changelog.main() == 0
        assert not changelog.fragments()
    page = changelog.PAGE.read_text("utf-8")
    assert page.index("## 0.2.0 (2026-12-24)") < page.index("- Second.") < page.index("## 0.1.0") < page.index("First")
    assert page == changelog.page()


def test_nothing_that_is_committed_names_a_machine_or_an_index() -> None:
    """A checkout works anywhere: no path of somebody's machine, no address of a registry."""
    machines = ("/work" + "/", "/root" + r"/\.pyenv", "/opt" + "/wheels", "/tmp" + "/w/")
    indexes = (f"{host}\\.org" for host in ("pypi", "pythonhosted", r"registry\.npmjs", r"deb\.debian"))
    forbidden = re.compile("|".join([*machines, *indexes]).encode())
    found = [
        f"{path.relative_to(ROOT)}:{path.read_bytes()[: hit.start()].count(10) + 1}: {hit.group().decode()}"
        for path in tracked()
        for hit in forbidden.finditer(path.read_bytes())
        if path != ROOT / "src/bis/parts/indexes.py"  # which knows the index that pip and uv ask by default
    ]
    assert not found


def test_no_two_errors_have_one_code() -> None:
    registered = [
        (ast.literal_eval(node.args[0]), f"{path.name}:{node.lineno}")
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "explains"
    ]
    assert len(registered) > 20
    places: dict[str, list[str]] = {}
    for code, place in registered:
        places.setdefault(code, []).append(place)
    assert {code: found for code, found in places.items() if len(found) > 1} == {}
