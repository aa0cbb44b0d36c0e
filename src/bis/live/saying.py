"""The functions of the SDK. Each writes one entry to a journal and returns: a microsecond, and no kill takes it back.

Logging never ends a training: what makes no sense, and what cannot be written, is warned of once.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from bis.live.current import session
from bis.nouns.logged import File, Input, Params, Tags, Values

DEEPEST: Final = 20
"""Levels of nested params that get a name of their own."""

_steps = itertools.count()
_warned: set[str] = set()


def log(values: Mapping[str, Any] | None = None, /, *, step: int | None = None, **more: Any) -> None:
    """Log values of metrics: `bis.log(step=3, loss=0.2)`, or `bis.log({"eval/loss": 0.2}, step=3)`.

    A value is whatever `float` takes: numbers, and arrays and tensors of one element. Without `step`, the calls are
    counted, from 0. Takes about a microsecond; values on a GPU are fetched from it.
    """
    number = next(_steps) if step is None else step
    try:
        numbers = {key: _number(value) for key, value in ({**values, **more} if values else more).items()}
        session().tell(Values(time.time_ns() // 1_000_000, int(number), numbers))
    except Exception as error:
        _log_one_by_one({**(values or {}), **more}, number, error)


def params(values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
    """Log what the run was set to: `bis.params(lr=0.1)`, `bis.params(config)`. Nested mappings get dotted names."""
    _tell(Params(dict(_flat({**(values or {}), **more}))))


def tags(values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
    """Give the run tags, to find it by."""
    _tell(Tags({str(key): str(value) for key, value in {**(values or {}), **more}.items()}))


def log_artifact(path: str | os.PathLike[str], name: str = "") -> None:
    """Keep a file, or a folder with all in it, as it is now. `name`: what it is called; else as the file is."""
    source = Path(path)
    called = name or source.name
    try:
        if source.is_dir():
            for file in sorted(source.rglob("*")):
                if file.is_file():
                    _keep(file, f"{called}/{file.relative_to(source).as_posix()}")
        else:
            _keep(source, called)
    except OSError as error:
        _warn(f"artifact:{path}", f"{path} was not kept: {error}")


def log_text(text: str, name: str) -> None:
    """Keep a text under a name: `bis.log_text(report, "report.txt")`."""
    _write(name, lambda file: file.write(text.encode()))


def log_figure(figure: Any, name: str) -> None:
    """Keep a figure of Matplotlib or Plotly, in the format that the name ends with: `roc.png`, `roc.svg`."""
    if hasattr(figure, "savefig"):
        _write(name, lambda file: figure.savefig(file, format=_ending(name, "png"), bbox_inches="tight"))
    elif _ending(name, "html") == "html":
        _write(name, lambda file: file.write(figure.to_html().encode()))
    else:
        _write(name, lambda file: file.write(figure.to_image(format=_ending(name, "png"))))


def log_image(image: Any, name: str) -> None:
    """Keep a picture: of Pillow, or an array of shape (height, width), (height, width, 3) or (height, width, 4), of
    bytes from 0 to 255 or of floats from 0 to 1."""

    def write(file: IO[bytes]) -> None:
        picture = image
        if not hasattr(image, "save"):
            from PIL import Image

            array = image.detach().cpu().numpy() if hasattr(image, "detach") else image
            if getattr(array.dtype, "kind", "") == "f":
                array = (array.clip(0, 1) * 255).round().astype("uint8")
            picture = Image.fromarray(array)
        picture.save(file, format={"jpg": "jpeg"}.get(_ending(name, "png"), _ending(name, "png")))

    _write(name, write)


def log_table(rows: Any, name: str) -> None:
    """Keep a table as CSV or JSON, as the name ends: a data frame, a list of mappings, or a mapping of columns."""

    def write(file: IO[bytes]) -> None:
        text = _as_json(rows) if _ending(name, "csv") == "json" else _as_csv(rows)
        file.write(text.encode())

    _write(name, write)


def data(path: str | os.PathLike[str], name: str = "") -> Path:
    """Declare a file or folder as data that this run reads, and take its digest; returns the path, to open it."""
    place = Path(path)
    current = session()
    if not current.muted:
        try:
            from bis.live.declared import look

            current.tell(look(place, name))
        except OSError as error:
            _warn(f"data:{path}", f"{path} cannot be read: {error}")
    return place


# -- how it is done ----------------------------------------------------------------------------------------------


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    # A tensor that remembers how it was computed warns of being made a number; what it holds does not.
    return float(value.detach() if hasattr(value, "detach") else value)


def _tell(entry: Params | Tags | File | Input) -> None:
    try:
        session().tell(entry)
    except Exception as error:
        _warn(type(entry).__name__, f"{type(entry).__name__.lower()} were not logged: {error}")


def _log_one_by_one(values: Mapping[str, Any], step: Any, error: Exception) -> None:
    """One value made no sense, or nothing can be written: log the others, and say so, once for each name."""
    if isinstance(error, OSError):
        _warn("journal", f"nothing can be logged: {error}")
        return
    try:
        number = int(step)
    except (TypeError, ValueError):
        _warn("step", f"the step {step!r} is no whole number: nothing was logged with it")
        return
    for key, value in values.items():
        try:
            session().tell(Values(time.time_ns() // 1_000_000, number, {str(key): _number(value)}))
        except OSError as trouble:
            _warn("journal", f"nothing can be logged: {trouble}")
        except Exception:
            hint = "bis.params and bis.tags hold text" if isinstance(value, str) else "float(value) fails"
            _warn(f"metric:{key}", f"{key} was not logged: {_brief(value)} is no number; {hint}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _warn(about: str, text: str) -> None:
    if about not in _warned:
        _warned.add(about)
        warnings.warn(f"bis: {text}", RuntimeWarning, stacklevel=4)


def _flat(values: Mapping[str, Any], before: str = "", depth: int = 0) -> Sequence[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value and depth < DEEPEST:
            found += _flat(value, f"{name}.", depth + 1)
        else:
            found.append((name, str(value)))
    return found


def _keep(source: Path, name: str) -> None:
    current = session()
    if not current.muted:
        content = current.new_file()
        shutil.copyfile(source, content)
        current.tell(File(_inside(name), content.name))


def _write(name: str, write: Callable[[IO[bytes]], Any]) -> None:
    try:
        current = session()
        if current.muted:
            return
        called, content = _inside(name), current.new_file()
        with content.open("wb") as file:
            write(file)
        current.tell(File(called, content.name))
    except Exception as error:
        _warn(f"artifact:{name}", f"{name} was not kept: {error}")


def _inside(name: str) -> str:
    """The name of an artifact: a path that stays where it belongs."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or ".." in parts:
        raise ValueError(f"{name!r} cannot be the name of an artifact")
    return "/".join(parts)


def _ending(name: str, otherwise: str) -> str:
    return Path(name).suffix.lower().lstrip(".") or otherwise


def _records(rows: Any) -> list[dict[str, Any]]:
    if hasattr(rows, "to_dict"):
        found: list[dict[str, Any]] = rows.to_dict("records")
        return found
    if isinstance(rows, Mapping):
        return [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    return [dict(row) for row in rows]


def _as_csv(rows: Any) -> str:
    import csv
    import io

    records = _records(rows)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _as_json(rows: Any) -> str:
    import json

    return json.dumps(_records(rows), default=str)
