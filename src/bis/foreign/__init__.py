"""Other systems of data, one module each: their files are read and written plainly, with no store in it.

Nothing here decides what becomes of the content: these modules say which bytes a pointer, manifest or layout names,
where they lie, and whether some bytes are those. What they write, the other system's own program accepts.
"""

from __future__ import annotations

from bis.errors import UsageError, explains

NOT_UNDERSTOOD = explains("B080", "A file of another system (DVC, Git LFS, Quilt, …) is not in a form that is known.")


def not_understood(name: str, why: str, hint: str = "") -> UsageError:
    """The error for a file that a person named and that is not what it should be."""
    return UsageError(f"{name} is not understood: {why}", hint=hint, code=NOT_UNDERSTOOD)


def is_inside(path: str) -> bool:
    """Whether a path that a foreign file names stays in its folder. What leads out is not followed."""
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and "\0" not in path and not {"", ".", ".."} & set(parts)
