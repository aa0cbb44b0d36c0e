"""From how a person names a model to a folder on this machine: a registered version, what a run made, a folder.

What comes from the store lies in a cache below the name of its content. It is verified when it is brought, and each
time that it is found there again.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from bis.digest import Digest, digest_bytes, digest_file, digest_value, readable, short
from bis.errors import BisError, NotFound, UsageError
from bis.ledger import locations, registry
from bis.ledger.connection import Connection
from bis.nouns.artifact import SCHEME, Artifact, joined, path_of
from bis.nouns.model import ModelVersion
from bis.nouns.reference import MODELS, ModelReference, parse, parse_model
from bis.nouns.run import Run
from bis.settings import Settings
from bis.steps.home import Home
from bis.steps.leftovers import all_in_use
from bis.steps.model_card import beside
from bis.steps.model_identity import TAG, identity_of
from bis.steps.models import asking, database_of, resolve
from bis.steps.recognising import MLMODEL, Recognised, models_in
from bis.store.trouble import shown, trouble

RUNS: Final = "runs:/"
IMPORT: Final = ("bis", "model", "import")
"""How the command of a run begins that stands for an imported model."""
SEVERAL: Final = 5
LOOKED_AT: Final = 20
NONE: Final[Mapping[str, bytes]] = MappingProxyType({})


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A model whose files are here."""

    folder: Path
    reference: str
    """As it was named."""
    name: str
    """Of the registered model; else of the run or the folder."""
    version: str = ""
    """The number of the registered version."""
    run: str = ""
    """The id of the run that made it."""
    own: bool = False
    """Whether it was made by a run of this ledger, so that whoever serves it trusts what made it."""
    content: str = ""
    """Digest over its files; empty for a folder, which may change."""


Homes = Callable[[], Home]
"""Opens the project's home; raises NotFound where there is none."""


def place(text: str, now: datetime, folder: Path, home: Homes, cache: Path) -> Placed:
    """The files of a model on this machine. `text`: `models:/NAME@ALIAS`, `runs:/RUN/PATH`, a run, or a folder, which
    is looked for below `folder`. Raises UsageError, NotFound, and KeepingError for what the store has not whole."""
    if text.startswith(MODELS):
        return place_version(parse_model(text, now), home(), cache)
    if text.startswith(RUNS):
        run, _, path = text.removeprefix(RUNS).partition("/")
        return _of_run(text, run, path, now, home(), cache)
    local = folder / Path(text.removeprefix("file://")).expanduser()
    if local.is_dir() or "/" in text or text.startswith("."):
        if not local.is_dir():
            raise meant(text, now, home) or NotFound(
                f"there is no folder {shown(local)}", hint="bis model list, or bis log"
            )
        return Placed(folder=local.resolve(), reference=text, name=local.resolve().name)
    there = home()
    try:
        there.ledger.find(parse(text, now.astimezone().replace(tzinfo=None)))
    except (NotFound, UsageError) as error:
        raise meant(text, now, home) or error from None
    return _of_run(text, text, "", now, there, cache)


def meant(text: str, now: datetime, home: Homes) -> NotFound | None:
    """What to type for a registered model that was named as `bis model` takes it: here, that may be a run or a folder,
    too."""
    try:
        with asking(home()) as connection:
            version = resolve(connection, parse_model(f"{MODELS}/{text}", now))
    except BisError:
        return None
    return NotFound(
        f"{readable(text)} is no run and no folder here, but a registered model",
        because=f"It means {version.reference}.",
        hint=f"{MODELS}/{readable(text)}  names it",
    )


def models_folder(settings: Settings, variables: Mapping[str, str]) -> Path:
    """Where models that were brought from the store lie."""
    base = variables.get("XDG_CACHE_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".cache")
    return Path(base) / "bis" / "models"


def data_folder(variables: Mapping[str, str]) -> Path:
    """Where models, programs and what was fetched lie while they are used: no cache, as a record is made of them."""
    base = variables.get("XDG_DATA_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".local" / "share")
    return Path(base) / "bis"


def place_version(reference: ModelReference, home: Home, cache: Path) -> Placed:
    """Of a registered model. Raises NotFound, with the nearest names."""
    with asking(home) as connection:
        version = resolve(connection, reference)
        files = files_at(connection, version.storage or version.source)
    if isinstance(files, Path):
        return Placed(
            folder=files, reference=reference.text, name=version.name, version=str(version.number), run=version.run
        )
    if not files:
        raise NotFound(f"the files of {version.reference} are not here", hint=f"bis model show {version.name}")
    found = only(files, version.reference, home)
    placed = _laid_out(found, home, version.run, cache, version=version)
    return msgspec.structs.replace(placed, reference=reference.text, name=version.name, version=str(version.number))


def _of_run(text: str, run: str, path: str, now: datetime, home: Home, cache: Path) -> Placed:
    found = home.ledger.find(parse(run, now.astimezone().replace(tzinfo=None)))
    files = files_of(home, found)
    models = models_in(files, home.store)
    there = [one.path for one in models if not one.cannot]
    wanted = path.strip("/")
    chosen = [one for one in models if one.path == wanted] if path else models if len(models) == 1 else []
    if not chosen and not path and len(there) == 1:
        chosen = [one for one in models if one.path == there[0]]
    if not chosen:
        raise _no_model(found.name, path, there)
    placed = _laid_out(chosen[0], home, found.id, cache)
    return msgspec.structs.replace(placed, reference=text, name=found.name)


def files_of(home: Home, run: Run) -> dict[str, Artifact]:
    """What a run made, below its folder of artifacts, as far as its content was kept here."""
    if run.outputs:
        return {
            path: Artifact(one.path, one.digest, one.size)
            for path, one in locations.made(run).items()
            if one.kept and not one.target and not one.is_log
        }
    with database_of(home).reading() as connection:
        uri = locations.of_run(connection, run.id)
        if not uri.startswith(f"{SCHEME}:"):
            return {}
        start = path_of(uri)
        return {file.path[len(start) :].lstrip("/"): file for file in _below(connection, start)}


def is_own(home: Home, run: str, files: Mapping[str, Artifact]) -> bool:
    """Whether a run that bis recorded made these files itself: not a client, which may upload anything to a run that it
    logs, nor `bis model import`, which takes what was made elsewhere."""
    try:
        made = home.ledger.as_recorded(run)
    except NotFound:
        return False
    kept = {output.digest for output in made.outputs}
    recorded = not made.tracked and made.command[: len(IMPORT)] != IMPORT
    return recorded and all(file.digest in kept for file in files.values())


def version_model(home: Home, version: ModelVersion) -> Recognised:
    """What a registered version is, in the store. Raises NotFound where its files are not here, or are no model."""
    with asking(home) as connection:
        files = files_at(connection, version.storage or version.source)
    if isinstance(files, Path) or not files:
        raise NotFound(f"the files of {version.reference} are not in the store", hint=f"bis model show {version.name}")
    return only(files, version.reference, home)


def untold(home: Home, name: str, identity: str) -> str:
    """The record of the newest version of a model whose files have this identity, of those that say nothing of theirs,
    as clients register them; empty where none has it. So many are looked at as one waits for."""
    if not identity or not database_of(home).there:
        return ""
    with database_of(home).reading() as connection:
        versions = [one for one in registry.versions(connection, "m.name = ?", (name,)) if TAG not in one.tags]
    for one in versions[:LOOKED_AT]:
        with suppress(BisError):  # its files are not here, or are no model
            if identity_of(version_model(home, one), home.store) == identity:
                return one.record
    return ""


def only(files: Mapping[str, Artifact], called: str, home: Home) -> Recognised:
    """The model that a folder or file is, as a whole. Raises NotFound."""
    found = models_in(files, home.store)
    for one in found:
        if one.described and not one.path:
            return one
    if len(found) == 1:
        return found[0]
    names = ", ".join(readable(name) for name in list(files)[:SEVERAL])
    raise NotFound(
        f"{called} is no model that can be loaded",
        because=f"It is {names}: none of these is of a kind that bis knows, and no file is called {MLMODEL}.",
        hint="bis.save_model(model, NAME) in the script says what it is",
    )


def _laid_out(found: Recognised, home: Home, run: str, cache: Path, version: ModelVersion | None = None) -> Placed:
    """A folder with the files of a model, an MLmodel, and what is known of its run. Raises UsageError for one that
    cannot be loaded."""
    if found.cannot:
        raise UsageError(
            f"{readable(found.path)} cannot be loaded: {found.cannot}",
            hint="bis.save_model(model, NAME) in the script keeps the model itself",
        )
    written = beside(found, home, run, version)
    return Placed(
        folder=bring(home, found.files, cache, written),
        reference="",
        name="",
        run=run,
        own=bool(run) and is_own(home, run, found.files),
        content=_content(found.files, written),
    )


def _no_model(run: str, path: str, there: list[str]) -> BisError:
    known = ", ".join(readable(one) or "." for one in there[:SEVERAL])
    if path:
        because = f"Its models: {known}." if there else ""
        return NotFound(f"{run} has no model at {readable(path)}", because=because, hint=f"bis show {run} --outputs")
    if there:
        return UsageError(f"{run} made several models: {known}", hint=f"bis serve {RUNS}{run}/{there[0]}")
    return NotFound(
        f"{run} made no model that can be served",
        because=f"None of its files is of a kind that bis knows, and none is called {MLMODEL}.",
        hint=f"bis show {run} --outputs",
    )


def files_at(connection: Connection, uri: str) -> Path | dict[str, Artifact]:
    """What lies at the source of a version: files by their path in it, or a folder of this machine."""
    if uri.startswith("models:/m-"):
        uri = locations.of_model(connection, uri.removeprefix(MODELS).strip("/"))
    if uri.startswith(RUNS):
        run, _, path = uri.removeprefix(RUNS).partition("/")
        uri = f"{locations.of_run(connection, run)}/{path}"
    if uri.startswith(("/", "file:")):
        folder = Path(unquote(urlsplit(uri).path))
        if not folder.is_dir():
            raise NotFound(f"the model was registered from {shown(folder)}, which is not there any more")
        return folder
    start = path_of(uri)
    found = {file.path[len(start) :].lstrip("/"): file for file in _below(connection, start)}
    if not found:
        with suppress(NotFound):
            return {start.rpartition("/")[2]: locations.get(connection, start)}
    return found


def _below(connection: Connection, folder: str) -> Iterator[Artifact]:
    """All files below a folder of artifacts, or of the outputs of a sealed run, as far as their content was kept."""
    for one in locations.listing(connection, folder):
        path = joined(folder, one.name)
        if one.size is None:
            yield from _below(connection, path)
            continue
        try:
            yield locations.get(connection, path)
        except NotFound:
            continue


# -- bringing ----------------------------------------------------------------------------------------------------


def bring(home: Home, files: Mapping[str, Artifact], cache: Path, written: Mapping[str, bytes] = NONE) -> Path:
    """A folder with these files, verified, and with what is written beside them. It is there whole or not at all."""
    final = cache / short(_content(files, written), 20)
    try:
        if final.is_dir():
            if _is_whole(final, files, written):
                with suppress(OSError):  # `bis clean` goes by that
                    os.utime(final)
                return final
            final.rename(final.with_name(f".damaged-{final.name}-{secrets.token_hex(4)}"))
        draft = cache / f".bringing-{final.name}-{secrets.token_hex(4)}"
        try:
            with all_in_use(cache.parent):  # `bis clean` takes nothing from there meanwhile
                _write(home, files, written, draft)
                draft.rename(final)
        except FileExistsError:
            pass  # somebody else brought it at the same time
        except OSError:
            if not final.is_dir():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise trouble(error, "bring a model into", Path(os.fspath(error.filename or cache))) from error
    return final


def _write(home: Home, files: Mapping[str, Artifact], written: Mapping[str, bytes], draft: Path) -> None:
    for name, file in files.items():
        if name not in written:
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            home.store.get_file(file.digest, path, 0o444)
    for name, content in written.items():
        (draft / name).write_bytes(content)
        (draft / name).chmod(0o444)


def _is_whole(folder: Path, files: Mapping[str, Artifact], written: Mapping[str, bytes]) -> bool:
    wanted = {name: file.digest for name, file in files.items()} | _digests(written)
    try:
        return all(digest_file(folder / name) == digest for name, digest in wanted.items())
    except OSError:
        return False


def _content(files: Mapping[str, Artifact], written: Mapping[str, bytes]) -> Digest:
    return digest_value({name: file.digest for name, file in files.items()} | _digests(written))


def _digests(written: Mapping[str, bytes]) -> dict[str, Digest]:
    return {name: digest_bytes(content) for name, content in written.items()}
