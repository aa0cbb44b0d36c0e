"""What a model is, whoever saved it and however often: the digest that is noted when it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bis.digest import Digest
from bis.flavors.beside import FILES
from bis.nouns.artifact import Artifact
from bis.nouns.model import ABOUT
from bis.steps.packaging import identity
from bis.steps.recognising import MLMODEL, Recognised, about_of, described_of
from bis.store import Store
from bis.store.temporary import temporary

TAG: Final = "bis.identity"
"""The tag of a registered version that holds its identity."""
APART: Final = frozenset(
    (
        *(MLMODEL, ABOUT, "README.md", "pylock.toml", "requirements.txt", "conda.yaml", "python_env.yaml"),
        *("input_example.json", "serving_input_example.json", "registered_model_meta", "metadata"),
    )
)
"""Files of a model's folder that say how it is used, and not what it is."""


def identity_of(found: Recognised, store: Store) -> Digest:
    """Of a model that lies in the store. Its files count by their meaning, its signature, and how it is loaded. Raises
    NotFound for one that is not here as a whole."""
    if not found.described:
        return identity(_meanings(found.files, list(found.files), store), None, found.flavors)
    told = described_of(found.files, store)
    files = about_of(found.files, store).get("files")
    payload = [name for name in files if name in found.files] if isinstance(files, dict) and files else None
    names = payload or [name for name in found.files if name.partition("/")[0] not in APART and name not in FILES]
    signature = told.get("signature")
    flavors = told.get("flavors")
    return identity(
        _meanings(found.files, names, store),
        signature if isinstance(signature, dict) else None,
        {name: entry for name, entry in flavors.items() if isinstance(entry, dict)}
        if isinstance(flavors, dict)
        else {},
    )


def _meanings(files: Mapping[str, Artifact], names: list[str], store: Store) -> dict[str, Digest]:
    from bis.formats.meaning import meaning  # every format that there is: not for who only serves

    found: dict[str, Any] = {}
    with temporary("model") as folder:
        path = folder / "file"
        for name in names:
            store.get_file(files[name].digest, path)
            found[name] = meaning(path, name)
            path.unlink()
    return found
