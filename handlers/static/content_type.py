"""Content type of a file by its name, as mime.types has it; a compressed file is served as what it is."""

from __future__ import annotations

import mimetypes

# Read /etc/mime.types here, once in each worker, and not in each child of --fork.
mimetypes.init()

# What the second suffix says; a client that is told the type below it would not unpack it.
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}
_UNKNOWN = "application/octet-stream"


def content_type(name: str) -> str:
    """Return the media type of a file called `name`."""
    found, encoding = mimetypes.guess_type(name)
    if encoding:
        return _COMPRESSED.get(encoding, _UNKNOWN)
    return found or _UNKNOWN
