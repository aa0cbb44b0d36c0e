"""What is put beside a model when it is laid out in a folder: all that its run knows of it. An MLmodel where it has
none, the exact lock of its environment, `bis.json`, and a card to read. The same bytes each time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from bis.digest import Digest, canonical, readable, short
from bis.errors import BisError, NotFound
from bis.flavors.signature import Column, Param, Tensor, read
from bis.nouns.model import ABOUT, MODEL_SCHEMA, ModelVersion
from bis.nouns.run import Run
from bis.parts import pylock
from bis.steps.home import Home
from bis.steps.metrics import of_model
from bis.steps.model_identity import identity_of
from bis.steps.model_summary import about, hyperparameters, layers
from bis.steps.recognising import MLMODEL, Recognised, about_of, described_of
from bis.text import number

CARD: Final = "README.md"
LOCK: Final = "pylock.toml"
REQUIREMENTS: Final = "requirements.txt"
PYTHON: Final = "python_env.yaml"
SHOWN: Final = 40
"""Lines of a table of a card, at most."""
VERSIONS: Final = 2000
"""Versions of data that are looked through for the inputs of a run."""


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """All that a card tells of."""

    found: Recognised
    described: dict[str, Any]
    about: dict[str, Any]
    identity: str
    run: Run | None
    version: ModelVersion | None
    lock: str
    data: tuple[str, ...]


def beside(found: Recognised, home: Home, run: str, version: ModelVersion | None = None) -> dict[str, bytes]:
    """Files by name, for the folder of a model that this run made."""
    known = _known(found, home, run, version)
    written: dict[str, bytes] = {}
    if not found.described:
        written[MLMODEL] = _mlmodel(known)
    if known.lock and LOCK not in found.files:
        written[LOCK] = known.lock.encode()
    if known.lock and REQUIREMENTS not in found.files:
        written |= _requirements(known.lock)
    written[ABOUT] = _about(known)
    if CARD not in found.files:
        written[CARD] = _card(known).encode("utf-8", "surrogateescape")
    return written


def _known(found: Recognised, home: Home, run: str, version: ModelVersion | None) -> _Known:
    record = _record(home, run)
    about = about_of(found.files, home.store)
    identity = str(version.tags.get("bis.identity", "")) if version else ""
    return _Known(
        found=found,
        described=described_of(found.files, home.store) if found.described else {"flavors": found.flavors},
        about=about,
        identity=identity or str(about.get("identity") or "") or identity_of(found, home.store),
        run=record,
        version=version,
        lock=_lock(record, home),
        data=tuple(data_of(record, home)) if record else (),
    )


def _record(home: Home, run: str) -> Run | None:
    try:
        return home.ledger.get(run) if run else None
    except NotFound:
        return None


def _lock(run: Run | None, home: Home) -> str:
    part = run.parts.get("environment") if run else None
    try:
        return home.store.get_bytes(part.trees["lock"]).decode() if part and "lock" in part.trees else ""
    except BisError:
        return ""


def data_of(run: Run, home: Home) -> Iterator[str]:
    """What a run read, as versions of data where it is known as such, else by path."""
    part = run.parts.get("data")
    rows = part.facts.get("inputs", ()) if part else ()
    versions = home.ledger.data.versions()[:VERSIONS] if rows else []
    known = {held.version.content: held for held in reversed(versions) if held.version.single}
    for row in rows:
        held = known.get(Digest(str(row.get("digest", ""))))
        named = f"  data:/{held.reference}" if held else ""
        yield f"{readable(str(row['path']))}  {short(str(row.get('digest', '')))}{named}"


# -- files -------------------------------------------------------------------------------------------------------


def _mlmodel(known: _Known) -> bytes:
    import yaml

    run, found = known.run, known.found
    made = (run.ended or run.started) if run else ""
    document: dict[str, Any] = {
        "flavors": found.flavors,
        "metadata": {"bis": {"identity": known.identity, **({"run": run.id} if run else {})}},
        "model_size_bytes": found.size,
        "model_uuid": known.identity.removeprefix("b3:")[:32],
        "utc_time_created": made.replace("T", " ").rstrip("Z") or "1970-01-01 00:00:00.000000",
    }
    if run:
        document["run_id"] = run.id
    text: str = yaml.safe_dump(document, sort_keys=True, allow_unicode=True)
    return text.encode()


def _requirements(lock: str) -> dict[str, bytes]:
    """As pip and MLflow read them: exact versions, of what came from an index."""
    import yaml

    try:
        told = pylock.read(lock)
    except ValueError:
        return {}
    pins = "".join(f"{one.name}=={one.version}\n" for one in told.packages if one.origin == "index")
    python = {"python": told.version, "build_dependencies": ["pip"], "dependencies": [f"-r {REQUIREMENTS}"]}
    return {REQUIREMENTS: pins.encode(), PYTHON: yaml.safe_dump(python, sort_keys=False).encode()}


def _about(known: _Known) -> bytes:
    told = {"format": MODEL_SCHEMA, "flavor": known.found.flavor, "summary": known.found.summary, **known.about}
    run = known.run
    told |= {"identity": known.identity, "warnings": list(known.found.warnings)}
    if run:
        told |= {"run": run.id, "parts": {kind: part.digest for kind, part in sorted(run.parts.items())}}
        told["metrics"] = _metrics(known)
    return canonical(told) + b"\n"


def _metrics(known: _Known) -> dict[str, float]:
    """Of the run, and those that the model came with, which are its own."""
    found = (known.version.measured if known.version else dict)(known.run.metrics) if known.run else {}
    return {**found, **of_model(known.about)}


# -- the card ----------------------------------------------------------------------------------------------------


def _card(known: _Known) -> str:
    version, run, found = known.version, known.run, known.found
    name = f"{version.name}/{version.number}" if version else found.path.rpartition("/")[2] or "model"
    what = f"{found.flavor}: {found.words}" if found.words else found.flavor
    sections = [
        f"# {name}\n\n{what}." + (f"\n\n{version.description}" if version and version.description else ""),
        *_table("Signature", signature_rows(known.described.get("signature"))),
        *_table("Summary", about(found.summary)),
        *_table("Hyperparameters", hyperparameters(found.summary)),
        *_table("Layers", layers(found.summary)),
        *_table("Metrics", [(key, number(value)) for key, value in _metrics(known).items()]),
        *_listed("Data", sorted(known.data, key=lambda line: ("  data:/" not in line, line.startswith("/")))),
        *_listed("Code", _code(run)),
        *_listed("Environment", _environment(run)),
        *_listed("Warnings", found.warnings),
        _use(known),
        _origin(known),
    ]
    return "\n\n".join(sections) + "\n"


def _table(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    shown = [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows[:SHOWN]]
    more = [f"| … | {len(rows) - SHOWN} more |"] if len(rows) > SHOWN else []
    return [f"## {title}\n\n" + "\n".join(["| | |", "|---|---|", *shown, *more])]


def _listed(title: str, lines: Iterable[str]) -> list[str]:
    told = list(lines)
    more = [f"- and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return [f"## {title}\n\n" + "\n".join([*(f"- {line}" for line in told[:SHOWN]), *more])] if told else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def signature_rows(written: Any) -> list[tuple[str, str]]:
    """What a signature, as MLmodel has it, takes and gives: words and types. Nothing for one that makes no sense."""
    try:
        told = read(written)
    except (ValueError, KeyError, TypeError):
        return []
    sides = [("takes", told.inputs), ("gives", told.outputs), ("can be asked with", told.params)]
    return [(f"{word} {one.name}".strip(), type_words(one)) for word, fields in sides for one in fields]


def type_words(one: Column | Tensor | Param) -> str:
    """A type as a person reads it."""
    if isinstance(one, Tensor):
        return f"{one.dtype}, {_shape_words(one.shape)}"
    told = one.type if isinstance(one.type, str) else json.dumps(one.type)
    if isinstance(one, Param):
        return f"{told}, else {one.default!r}"
    return told if one.required else f"{told}, may be missing"


def _shape_words(shape: Sequence[int]) -> str:
    """Of a tensor whose first side is the rows, as most are, what there is for each of them."""
    if not shape or shape[0] >= 0:
        return f"shape {'×'.join(map(_side, shape)) or 'of one number'}"
    return f"{'×'.join(map(_side, shape[1:])) or 'one'} for each row"


def _side(side: int) -> str:
    return "any" if side < 0 else str(side)


def _code(run: Run | None) -> Iterator[str]:
    part = run.parts.get("code") if run else None
    if part is None:
        return
    yield f"{readable(part.summary)}  {short(part.digest)}"
    if link := part.facts.get("link"):
        yield f"<{link}>"
    if revision := part.facts.get("revision"):
        yield f"commit {revision}"


def _environment(run: Run | None) -> Iterator[str]:
    for kind in ("environment", "infrastructure", "machine"):
        part = run.parts.get(kind) if run else None
        if part is not None:
            yield f"{kind}: {readable(part.summary)}  {short(part.digest)}"


def _use(known: _Known) -> str:
    """What to type: by its reference where it is registered, else by the folder of the card."""
    named = f"models:/{known.version.name}/{known.version.number}" if known.version else "FOLDER"
    shell = [f"bis serve {named}", f"bis predict {named} --input rows.csv --output answers.csv"]
    shell += [f"bis repeat {known.run.name}"] if known.run and known.run.parts else []
    python = ["import bis", f'bis.load_model("{named}").predict(rows)']
    if known.found.described:
        python += ["", "import mlflow", 'mlflow.pyfunc.load_model("FOLDER").predict(rows)']
    folder = "`FOLDER` is where this file lies" + (
        f"; it does in the place of `{named}`, too." if known.version else "."
    )
    told = "\n".join(f"$ {line}" for line in shell)
    code = "\n".join(python)
    return f"## Use\n\n```console\n{told}\n```\n\n```python\n{code}\n```\n\n{folder}"


def _origin(known: _Known) -> str:
    rows = [("identity", known.identity)]
    if known.run:
        rows += [("run", f"{known.run.name} ({known.run.id})"), ("made", known.run.ended or known.run.started)]
        rows += [("by", known.run.user)] if known.run.user else []
    if known.version:
        rows.append(("registered", f"models:/{known.version.name}/{known.version.number}"))
    (told,) = _table("Made", rows)
    return told
