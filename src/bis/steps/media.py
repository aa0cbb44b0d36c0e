"""The kind of a file, by its name: the same on every machine, whatever that machine's own list of kinds says."""

from __future__ import annotations

from mimetypes import MimeTypes
from typing import Final

KINDS: Final = MimeTypes()
for _ending, _kind in {
    ".avif": "image/avif",
    ".webp": "image/webp",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".wav": "audio/wav",
    ".mkv": "video/x-matroska",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.file",
}.items():
    KINDS.add_type(_kind, _ending)


def media_of(path: str) -> str:
    """As HTTP has it: `image/png`. What is packed is neither text nor a picture."""
    kind, packed = KINDS.guess_type(path.rpartition("/")[2])
    return f"application/{packed}" if packed else kind or "application/octet-stream"
