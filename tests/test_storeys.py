"""The map of the house: which module may import which.

A module imports from storeys below its own, or from its own storey as long as that makes no circle. Imports
inside functions count as well: they may be lazy, never upward. This page is where a new module is entered.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

STOREYS: tuple[tuple[str, ...], ...] = (
    ("bis", "bis.errors", "bis.digest", "bis.extras", "bis.settings", "bis.text", "bis.inside"),  # 0 ground
    ("bis.nouns",),  # 1 nouns: frozen values, no input or output
    ("bis.store", "bis.ledger"),  # 2 keeping
    ("bis.parts", "bis.formats", "bis.flavors", "bis.foreign", "bis.oci", "bis.scoring"),  # 3 kinds
    ("bis.steps",),  # 4 steps
    ("bis.acts",),  # 5 acts
    ("bis.live", "bis.serving", "bis.server", "bis.integrations"),  # 6 doors
    ("bis.cli", "bis.__main__"),  # 7 the front door
)

HEAVY = {
    *("aiohttp", "asyncio", "boto3", "h5py", "httpx", "jax", "joblib", "keras", "lightgbm", "matplotlib", "nbclient"),
    *("nbformat", "numpy", "obstore", "onnx", "pandas", "PIL", "polars", "psycopg", "pyarrow", "ray", "requests"),
    *("scipy", "sklearn", "sqlalchemy", "starlette", "tensorflow", "torch", "uvicorn", "xgboost", "yaml"),
}
"""Imported only where they are used, so that `bis --help` imports no more than it prints."""

APART = ("bis.inside", "bis.server", "bis.serving", "bis.ledger.postgres", "bis.flavors", "bis.scoring")
"""Not imported themselves before they are used."""
BESIDE_MODELS = ("bis.flavors", "bis.scoring")
"""What runs in the interpreters of models, and is loaded there under another name."""

LONGEST = 800
SOURCE = Path(__file__).resolve().parent.parent / "src"


class Import(NamedTuple):
    """One import of one module by another, and where it is written."""

    module: str
    imported: str
    place: str
    lazy: bool


def modules() -> dict[str, Path]:
    """Every module of bis by its dotted name."""
    found = {}
    for path in sorted((SOURCE / "bis").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def storey(module: str) -> int | None:
    """The storey of a module, by the longest entry of the table that names it or a package around it."""
    if module == "bis":
        return 0
    entries = {entry: number for number, row in enumerate(STOREYS) for entry in row if entry != "bis"}
    while module and module not in entries:
        module = module.rpartition(".")[0]
    return entries.get(module)


def imports_of(module: str, path: Path, known: frozenset[str]) -> Iterator[Import]:
    """The imports that a file writes, lazy ones too. `from package import name` names the module, where it is one."""
    tree = ast.parse(path.read_text("utf-8"), str(path))
    lazy = {node for outer in ast.walk(tree) if _delays(outer) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        place = f"{_short(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, place, node in lazy)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, path)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(module, name if name in known else base, place, node in lazy)


def _short(path: Path) -> Path:
    return path.relative_to(SOURCE.parent) if path.is_relative_to(SOURCE) else path


def _delays(node: ast.AST) -> bool:
    """Whether what stands below is not executed at import: functions, and what only type checkers read."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return True
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _absolute(node: ast.ImportFrom, module: str, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    package = package[: len(package) - (node.level - 1)]
    return ".".join([*package, *filter(None, [node.module])])


@functools.cache
def all_imports() -> list[Import]:
    found = modules()
    known = frozenset(found)
    return [each for module, path in found.items() for each in imports_of(module, path, known)]


def own(imports: list[Import]) -> list[Import]:
    """Those of modules of bis; not the names that the package itself offers to scripts, which it looks up when used."""
    ours = [each for each in imports if each.imported.split(".")[0] == "bis"]
    return [each for each in ours if not (each.module == "bis" and each.lazy)]


def upward(imports: list[Import]) -> list[str]:
    """A sentence for each import of a storey above the importer's own."""
    wrong = []
    for each in own(imports):
        above, here = storey(each.imported), storey(each.module)
        if above is not None and here is not None and above > here:
            wrong.append(f"{each.place}: {each.module} (storey {here}) imports {each.imported} (storey {above})")
    return wrong


def circles(imports: list[Import]) -> list[str]:
    """A sentence for each circle of imports, with the place of each step."""
    follows: dict[str, dict[str, str]] = {}
    for each in own(imports):
        if each.imported != each.module:
            follows.setdefault(each.module, {}).setdefault(each.imported, each.place)
    found: dict[frozenset[str], str] = {}
    finished: set[str] = set()

    def walk(module: str, trail: list[str]) -> None:
        if module in trail:
            circle = trail[trail.index(module) :]
            steps = zip(circle, [*circle[1:], module], strict=True)
            text = "; ".join(f"{follows[one][other]}: {one} imports {other}" for one, other in steps)
            found.setdefault(frozenset(circle), text)
        elif module not in finished:
            for other in follows.get(module, {}):
                walk(other, [*trail, module])
            finished.add(module)

    for module in follows:
        walk(module, [])
    return list(found.values())


def test_every_module_has_a_storey() -> None:
    homeless = [str(path) for module, path in modules().items() if storey(module) is None]
    assert not homeless, f"enter these in the table of {__file__}: {homeless}"


def test_no_module_imports_from_a_storey_above_its_own() -> None:
    assert not upward(all_imports())


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circles(all_imports())


def test_acts_do_not_call_acts() -> None:
    """What two acts share is a step, one storey down."""
    wrong = [
        f"{each.place}: {each.module} imports {each.imported}"
        for each in own(all_imports())
        if each.module.startswith("bis.acts.") and each.imported.startswith("bis.acts.")
    ]
    assert not wrong


def test_code_that_runs_inside_the_users_interpreter_imports_nothing_of_bis() -> None:
    """It runs where bis is not installed."""
    inside = [each for each in own(all_imports()) if each.module.startswith("bis.inside.")]
    assert not [f"{each.place}: imports {each.imported}" for each in inside]


def test_what_runs_beside_a_model_names_its_neighbours_relatively_and_nothing_else_of_bis() -> None:
    """It is loaded where bis is not installed, and not as bis."""
    wrong = [
        f"{each.place}: imports {each.imported}"
        for each in own(all_imports())
        if each.module.startswith(BESIDE_MODELS) and not each.imported.startswith(BESIDE_MODELS)
    ]
    absolute = [
        f"{path}:{number}"
        for module, path in modules().items()
        if module.startswith(BESIDE_MODELS)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if line.lstrip().startswith(("from bis", "import bis"))
    ]
    assert not wrong + absolute


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    wrong = [
        f"{each.place}: {each.module} imports {each.imported} at the top"
        for each in all_imports()
        if not each.lazy and each.imported.split(".")[0] in HEAVY and not each.module.startswith(APART)
    ]
    assert not wrong


def test_no_module_is_named_utils() -> None:
    names = {"util", "utils", "helpers", "misc", "common"}
    assert not [module for module in modules() if module.rpartition(".")[2] in names]


def test_no_package_passes_on_the_names_of_its_modules() -> None:
    """A name is imported from where it is defined; `__init__` of a package may define a protocol, not collect."""
    wrong = []
    for module, path in modules().items():
        if path.name != "__init__.py":
            continue
        inner = f"{module}."
        for each in imports_of(module, path, frozenset(modules())):
            if not each.lazy and each.imported.startswith(inner):
                wrong.append(f"{each.place}: {module} imports its own module {each.imported}")
    assert not wrong


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in modules().values()}
    assert not {str(path): length for path, length in lengths.items() if length > LONGEST}


@pytest.fixture
def imagined() -> tuple[Import, ...]:
    return (
        Import("bis.nouns.run", "bis.store.local", "src/bis/nouns/run.py:7", lazy=True),
        Import("bis.store.local", "bis.nouns.run", "src/bis/store/local.py:3", lazy=False),
        Import("bis.__main__", "bis.cli.main", "src/bis/__main__.py:1", lazy=True),
        Import("bis.cli.main", "bis", "src/bis/cli/main.py:1", lazy=False),
    )


def test_an_upward_import_is_named_with_its_line(imagined: tuple[Import, ...]) -> None:
    assert upward(list(imagined)) == [
        "src/bis/nouns/run.py:7: bis.nouns.run (storey 1) imports bis.store.local (storey 2)"
    ]


def test_a_circle_is_named_with_its_lines(imagined: tuple[Import, ...]) -> None:
    (circle,) = circles(list(imagined))
    assert "src/bis/nouns/run.py:7" in circle
    assert "src/bis/store/local.py:3" in circle


def test_the_imports_of_a_file_are_read_wherever_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "capture.py"
    file.write_text(
        "from bis import digest\nfrom . import other\n"
        "def f():\n    import torch.nn\n    from bis.nouns.run import Run\n"
    )
    known = frozenset({"bis.digest", "bis.nouns.run"})
    found = {(each.imported, each.lazy) for each in imports_of("bis.steps.capture", file, known)}
    assert found == {("bis.digest", False), ("bis.steps", False), ("torch.nn", True), ("bis.nouns.run", True)}
