"""The program that scores in bulk: one file with what runs in a model's interpreter and what MLmodel says of the model.

It is the same file for the same model and the same bis, so that the record of a scoring holds all that decided its
answers, and another bis repeats it with the program of then.
"""

from __future__ import annotations

import io
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.digest import digest_bytes, short
from bis.steps.leftovers import note_use

SOURCE: Final = Path(__file__).resolve().parent.parent
TAKEN: Final = (
    "flavors/*.py",
    "scoring/__init__.py",
    "scoring/frames.py",
    "scoring/lean.py",
    "scoring/tabular.py",
    "scoring/written.py",
)
BULK: Final = "scoring/bulk"
ROOT: Final = "_bis"
EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def program(described: Mapping[str, Any], folder: Path) -> Path:
    """The program for a model, below a folder."""
    content = _zipped(described)
    final = folder / f"score-{short(digest_bytes(content), 16)}.pyz"
    if not final.exists() or final.read_bytes() != content:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{final.name}-{secrets.token_hex(4)}"
        draft.write_bytes(content)
        draft.replace(final)
    note_use(final)
    return final


def _zipped(described: Mapping[str, Any]) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted(_members(described)):
            file.writestr(zipfile.ZipInfo(name, EPOCH), content)
    return into.getvalue()


def _members(described: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", (SOURCE / BULK / "__main__.py").read_bytes()
    yield "MLmodel.json", msgspec.json.encode(_lasting(described), order="sorted")
    yield f"{ROOT}/__init__.py", b""
    for pattern in (*TAKEN, f"{BULK}/*.py"):
        for path in SOURCE.glob(pattern):
            if path.name != "__main__.py":
                yield f"{ROOT}/{path.relative_to(SOURCE)}", path.read_bytes()


def _lasting(described: Mapping[str, Any]) -> dict[str, Any]:
    """What decides how the model is loaded and asked."""
    return {"flavors": described["flavors"], "signature": described.get("signature")}
