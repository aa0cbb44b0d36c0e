"""`bis model show`, `diff`, `export`, `import`: what a version is, how two differ, and taking one along."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bis import __version__
from bis.digest import Digest, readable, spell
from bis.errors import AlreadyThere, BisError, KeepingError, NotFound
from bis.flavors.beside import loader_of
from bis.formats import Context, Unreadable
from bis.formats.arrays import Apart, apart
from bis.formats.learned import Learned, learned, named
from bis.formats.registry import compare as compare_files
from bis.ledger import registry
from bis.nouns.artifact import Artifact
from bis.nouns.model import ABOUT, By, ModelVersion
from bis.nouns.part import Change, PartKind
from bis.nouns.run import Chance, Coverage, Output, Run
from bis.nouns.verdict import Judged
from bis.steps.answers import Agreement, Answers, agreement, answers
from bis.steps.compare import compare_parts, judge_parts
from bis.steps.gather import metrics_of_models
from bis.steps.here import host_here, now, user_here
from bis.steps.home import Home
from bis.steps.model_card import signature_rows
from bis.steps.model_environment import environment
from bis.steps.model_folder import MLMODEL, read_folder
from bis.steps.model_identity import APART, TAG, identity_of
from bis.steps.model_place import IMPORT, Placed, models_folder, place, untold, version_model
from bis.steps.recognising import Recognised, described_of
from bis.steps.registering import registering
from bis.steps.repeating import environments_folder
from bis.steps.seal import seal
from bis.steps.site import Site
from bis.store.temporary import temporary

EXAMPLE: Final = "serving_input_example.json"
EXAMPLE_ROWS: Final = "the input example"
MOVED: Final = 1e-12
"""From so much on, the importance of a feature has changed."""
LARGEST: Final = 512 << 20
CHECKPOINT: Final = "variables/variables.index"


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is, as its files say it."""

    found: Recognised
    identity: str
    signature: tuple[tuple[str, str], ...]
    """Words (`takes age`) and types."""


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor or coefficient that differs."""

    name: str
    what: str = ""
    """Where they cannot be held against each other: `only in the first`, another shape."""
    apart: Apart | None = None


class Trees(msgspec.Struct, frozen=True, kw_only=True):
    """How two sets of trees differ."""

    before: int
    after: int
    splits_before: int
    splits_after: int
    changed: int
    """Trees, one beside the other, that ask of other features."""
    thresholds: int
    """Splits of the same features whose threshold is another."""
    leaves: int = 0
    """Leaves of trees that ask of the same, whose value is another."""
    furthest: float = 0.0
    """The largest difference of one."""
    importances: tuple[tuple[str, float, float], ...] = ()
    """Features whose share of the gain has changed, the most changed first."""

    @property
    def differ(self) -> bool:
        return (self.before, self.splits_before) != (self.after, self.splits_after) or any(
            (self.changed, self.thresholds, self.leaves, self.importances)
        )


class ModelDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Two models, side by side."""

    before: str
    after: str
    identities: tuple[str, str]
    params: tuple[Change, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    trees: Trees | None = None
    files: tuple[str, ...] = ()
    """What their files say, where what they have learned is not read, or is the same."""
    signature: tuple[Change, ...] = ()
    metrics: tuple[Change, ...] = ()
    predictions: Agreement | None = None
    asked: str = ""
    """What they were asked about."""
    unasked: str = ""
    """Why they were not asked."""
    parts: tuple[Judged, ...] = ()
    changes: dict[PartKind, list[Change]] = {}

    @property
    def same(self) -> bool:
        """Whether they mean the same, and answer alike as far as they were asked."""
        told = self.predictions
        return self.identities[0] == self.identities[1] and (told is None or told.alike)


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What two versions are asked about."""

    path: Path
    called: str
    target: str = ""
    """The column that they are not asked with."""
    demanded: bool = True
    """Whether it is an error if a model does not take them: somebody named them for this."""


class Asking(Site, frozen=True, kw_only=True):
    """And how models are loaded there."""

    python: str = ""
    trust: bool = False


def describe(home: Home, version: ModelVersion) -> Described | None:
    """None: its files are not here, or are no model."""
    try:
        found = version_model(home, version)
    except (NotFound, KeepingError):
        return None
    signature = described_of(found.files, home.store).get("signature") if found.described else None
    return Described(found=found, identity=_identity(version, found, home), signature=tuple(signature_rows(signature)))


def _identity(version: ModelVersion, found: Recognised, home: Home) -> str:
    try:
        return version.tags.get(TAG) or identity_of(found, home.store)
    except BisError:
        return ""


# -- differences -------------------------------------------------------------------------------------------------


def diff(before: ModelVersion, after: ModelVersion, site: Asking, rows: Rows | None = None) -> ModelDifference:
    """Two versions: what they are, what they answer (to these rows, else to the example that the first came with), and
    what they were made of. Raises NotFound where the files of one are not here."""
    found = compared(before, after, site.home)
    predictions, asked, unasked = _asked(before, after, site, rows)
    return msgspec.structs.replace(found, predictions=predictions, asked=asked, unasked=unasked)


def compared(before: ModelVersion, after: ModelVersion, home: Home) -> ModelDifference:
    """As `diff`, from their files alone: neither is loaded nor asked anything."""
    one, other = version_model(home, before), version_model(home, after)
    told = [_learned(each, home) for each in (one, other)]
    identities = (_identity(before, one, home), _identity(after, other, home))
    params = tuple(_changes("param", _params(told[0], one), _params(told[1], other)))
    tensors = tuple(_tensors(told[0], told[1])) if told[0] and told[1] else ()
    trees = _trees(told[0], told[1]) if told[0] and told[1] else None
    known = all(each is not None and (each.tensors or each.trees) for each in told)
    found = bool(tensors or (trees and trees.differ))
    runs = [_run(home, each.run) for each in (before, after)]
    changes = compare_parts(runs[0], runs[1], home.store) if runs[0] and runs[1] else {}
    return ModelDifference(
        before=before.reference,
        after=after.reference,
        identities=identities,
        params=params,
        tensors=tensors,
        trees=trees,
        files=() if (known and found) or identities[0] == identities[1] else tuple(_files(one, other, home)),
        signature=tuple(_changes("signature", _signature(one, home), _signature(other, home))),
        metrics=tuple(_changes("metric", *map(_measured, (before, after), runs))),
        unasked="nobody asked them",
        parts=tuple(judge_parts(runs[0], runs[1], changes)) if runs[0] and runs[1] else (),
        changes=changes,
    )


def told(found: ModelDifference) -> dict[str, Any]:
    """As JSON has it, in the command's answer and in the page's."""
    tensors = [
        {"name": one.name, "what": one.what, "apart": one.apart._asdict() if one.apart else None}
        for one in found.tensors
    ]
    return {**msgspec.to_builtins(found), "tensors": tensors, "same": found.same}


def _run(home: Home, id: str) -> Run | None:
    try:
        return home.ledger.get(id) if id else None
    except NotFound:
        return None


def _measured(version: ModelVersion, run: Run | None) -> dict[str, float]:
    return version.measured(run.metrics) if run else {}


def _learned(found: Recognised, home: Home) -> Learned | None:
    """What the file of a model has learned; None where that cannot be read."""
    names = [name for name in found.files if name.partition("/")[0] not in APART]
    with temporary("model") as folder:
        for place_, name in enumerate(sorted(names, key=lambda name: -found.files[name].size)):
            if found.files[name].size > LARGEST:
                continue
            path = folder / str(place_)
            if name.endswith(CHECKPOINT):
                path = folder / "checkpoint.index"
                _beside(path, name, found, home)
            home.store.get_file(found.files[name].digest, path)
            try:
                inside = learned(path, name)
            except Unreadable:
                continue
            if inside is not None and (inside.tensors or inside.trees or inside.params):
                return inside
    return None


def _beside(index: Path, name: str, found: Recognised, home: Home) -> None:
    """The values of a checkpoint, beside its index."""
    start = name.removesuffix(".index")
    for other, file in found.files.items():
        if other.startswith(f"{start}.data-") and file.size <= LARGEST:
            home.store.get_file(file.digest, index.with_name(index.stem + other[len(start) :]))


def _params(inside: Learned | None, found: Recognised) -> dict[str, Any]:
    told = found.summary.get("hyperparameters")
    return dict(inside.params) if inside else dict(told) if isinstance(told, dict) else {}


def _signature(found: Recognised, home: Home) -> dict[str, Any]:
    return dict(signature_rows(described_of(found.files, home.store).get("signature"))) if found.described else {}


def _changes(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        sides = [repr(side[name]) if name in side else None for side in (old, new)]
        if sides[0] != sides[1]:
            yield Change(kind=kind, name=name, before=sides[0], after=sides[1])


def _tensors(old: Learned, new: Learned) -> Iterator[Tensor]:
    for name in sorted({*old.tensors, *new.tensors}):
        one, other = old.tensors.get(name), new.tensors.get(name)
        if one is None or other is None:
            yield Tensor(name=name, what=f"only in the {'first' if one else 'second'}")
        elif one.shape != other.shape:
            yield Tensor(name=name, what=f"shape {list(one.shape)} -> {list(other.shape)}")
        elif memoryview(one.data) != memoryview(other.data) or one.dtype != other.dtype:
            found = apart(one, other)
            if found is None or found.differ:
                yield Tensor(name=name, what="" if found else f"other values of {one.dtype}", apart=found)


def _trees(old: Learned, new: Learned) -> Trees | None:
    if not old.trees and not new.trees:
        return None
    pairs = list(zip(old.trees, new.trees, strict=False))
    same = [(one, other) for one, other in pairs if one.features == other.features]
    thresholds = sum(a != b for one, other in same for a, b in zip(one.thresholds, other.thresholds, strict=True))
    leaves = [abs(a - b) for one, other in same for a, b in zip(one.leaves, other.leaves, strict=False) if a != b]
    names = old.names or new.names
    shares = [each.importances for each in (old, new)]
    changed = []
    for feature in range(max(map(len, shares))):
        was, is_ = (share[feature] if feature < len(share) else 0.0 for share in shares)
        if abs(was - is_) > MOVED:
            changed.append((named(names, feature), was, is_))
    return Trees(
        before=len(old.trees),
        after=len(new.trees),
        splits_before=sum(len(tree.features) for tree in old.trees),
        splits_after=sum(len(tree.features) for tree in new.trees),
        changed=len(pairs) - len(same),
        thresholds=thresholds,
        leaves=len(leaves),
        furthest=max(leaves, default=0.0),
        importances=tuple(sorted(changed, key=lambda one: -abs(one[1] - one[2]))),
    )


def _files(one: Recognised, other: Recognised, home: Home) -> Iterator[str]:
    """What their files say, where no reader knows what they have learned."""
    with temporary("model") as folder:
        for name in sorted({*one.files, *other.files}):
            if name.partition("/")[0] in APART:
                continue
            if name not in one.files or name not in other.files:
                yield f"{readable(name)}: only in the {'first' if name in one.files else 'second'}"
                continue
            if one.files[name].digest == other.files[name].digest:
                continue
            old, new = folder / "old", folder / "new"
            for path, file in ((old, one.files[name]), (new, other.files[name])):
                path.unlink(missing_ok=True)
                home.store.get_file(file.digest, path)
            found = compare_files(name.rpartition("/")[2], old, new, Context(name=name))
            if not found.same:
                yield f"{readable(name)}: {found.detail.splitlines()[0] if found.detail else 'other content'}"


def _asked(
    before: ModelVersion, after: ModelVersion, site: Asking, rows: Rows | None
) -> tuple[Agreement | None, str, str]:
    """What both answered and to what, or why they were not asked."""
    try:
        placed = [_placed(each, site) for each in (before, after)]
    except BisError as error:
        return None, "", _why(error)
    rows = rows or _example(placed)
    if rows is None:
        return None, "", "neither came with an input example; --data FILE names rows to ask about"
    try:
        said = [_answers(each, rows, site) for each in placed]
    except BisError as error:
        if rows.demanded:
            raise
        return None, rows.called, _why(error)
    return agreement(*said), rows.called, ""


def _why(error: BisError) -> str:
    return ": ".join(filter(None, (error.what, *error.because.splitlines()[:1])))


def _example(placed: Sequence[Placed]) -> Rows | None:
    found = next((one.folder / EXAMPLE for one in placed if (one.folder / EXAMPLE).is_file()), None)
    return Rows(path=found, called=EXAMPLE_ROWS, demanded=False) if found else None


def _placed(version: ModelVersion, site: Asking) -> Placed:
    cache = models_folder(site.home.settings, site.variables)
    return place(f"models:/{version.exact}", site.now, site.folder, lambda: site.home, cache)


def _answers(placed: Placed, rows: Rows, site: Asking) -> Answers:
    model = read_folder(placed.folder)
    run = placed.run or model.run
    chosen = environment(
        placed.folder,
        home=site.home if run else None,
        run=run,
        python=site.python,
        variables=site.variables,
        cache=environments_folder(site.home.settings, site.variables),
        progress=site.say,
    )
    trust = site.trust or placed.own
    return answers(chosen.python, placed.folder, model.described, rows.path, rows.target, trust=trust)


# -- taking along ------------------------------------------------------------------------------------------------


def export(text: str, into: Path, site: Asking, *, mlflow: bool = False) -> Placed:
    """Put a model with all that its run knows into a folder, which is made; `mlflow`: with what MLflow needs to load
    one that joblib wrote. Raises AlreadyThere where the folder holds something."""
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise AlreadyThere(f"{into} is there already", hint="name a folder that is not there")
    placed = place(text, site.now, site.folder, lambda: site.home, models_folder(site.home.settings, site.variables))
    shutil.copytree(placed.folder, into, dirs_exist_ok=True, copy_function=_copied)
    described = read_folder(into).described
    entry = described["flavors"].get("sklearn") or {}
    if mlflow and entry.get("serialization_format") == "joblib":
        _teach_mlflow(into, described, str(entry.get("pickled_model")))
    return placed


def _teach_mlflow(folder: Path, described: dict[str, Any], file: str) -> None:
    """Put a loader beside a file of joblib, which MLflow's own do not read: the file itself is not opened for it."""
    import yaml

    code, _, module = loader_of("joblib", folder)
    function = {**(described["flavors"].get("python_function") or {}), "code": code, "model_path": file}
    described["flavors"]["python_function"] = {**function, "loader_module": module}
    (folder / MLMODEL).write_text(yaml.safe_dump(described, sort_keys=True, allow_unicode=True), "utf-8")


def _copied(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    Path(target).chmod(0o644)


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    version: ModelVersion
    already: bool
    warnings: tuple[str, ...]


def import_(folder: Path, name: str, by: By, site: Asking, *, description: str = "") -> Imported:
    """Keep the files of a model that somebody else made, and register it. It stands in the ledger as a run that made
    these files and of which no more is known. Raises NotFound for a folder that holds no model."""
    home = site.home
    model = read_folder(folder)
    outputs = tuple(_kept(folder, home))
    files = {one.path: Artifact(one.path, one.digest, one.size) for one in outputs}
    found = Recognised(path="", flavor=model.flavor, files=files, described=True)
    identity = identity_of(found, home.store)
    warnings = tuple(_warnings(model.flavors, [one.path for one in outputs]))
    known = untold(home, name, identity)
    with registering(home) as connection:
        for one in registry.versions(connection, "m.name = ?", (name,)):
            if one.tags.get(TAG) == identity or (known and one.record == known):
                return Imported(version=one, already=True, warnings=warnings)
    run = _stand_in(folder, name, outputs, home, model.run)
    seal(run, home.store, home.ledger)
    with registering(home) as connection:
        if not registry.models(connection, "m.name = ?", (name,), limit=1):
            registry.create(connection, name, by)
        version = registry.add_version(
            connection,
            name,
            by,
            source=f"runs:/{run.id}/",
            run=run.id,
            description=description,
            tags={TAG: identity},
        )
    return Imported(version=version, already=False, warnings=warnings)


def _kept(folder: Path, home: Home) -> Iterator[Output]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            digest = home.store.put_file(path)
            yield Output(
                path=spell(path.relative_to(folder).as_posix()), digest=Digest(digest), size=path.stat().st_size
            )


def _stand_in(folder: Path, name: str, outputs: tuple[Output, ...], home: Home, origin: str) -> Run:
    at = now()
    return Run(
        id=os.urandom(6).hex(),
        name=home.ledger.name("import", at),
        command=(*IMPORT, spell(os.fspath(folder)), name),
        project=spell(os.fspath(home.project)),
        user=user_here(),
        host=host_here(),
        version=__version__,
        started=at,
        ended=at,
        status="finished",
        exit=0,
        outputs=outputs,
        metrics=metrics_of_models({ABOUT: folder / ABOUT}, {}),
        chance=Chance(),
        coverage=Coverage(mechanism="none", complete=False),
        note=f"made elsewhere, by the run {origin}" if origin else "made elsewhere",
    )


def _warnings(flavors: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    for name in names:
        if name.endswith((".pkl", ".pickle", ".joblib", ".pth")):
            yield f"{name} is a pickle: opening it runs code that whoever wrote it chose; --trust opens it"
    if isinstance((flavors.get("python_function") or {}).get("code"), str):
        yield "it comes with code of its own, which runs when it is loaded"
