"""SHA-256 of files, and what file names say of it."""

from __future__ import annotations

import functools
import hashlib
import os
import re

from .source import Source

_NAMED = re.compile(r"-([0-9a-f]{8,64})\.")
_PIECE = 1 << 20


def digest_of(path: str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def remembered_digest(path: str) -> str:
    """`digest_of`, computed again by this process only if the file's size or time has changed."""
    found = os.stat(path)
    return _remembered(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _remembered(path: str, size: int, mtime_ns: int) -> str:
    return digest_of(path)


def named_digest(name: str) -> str | None:
    """The beginning of the digest that a file's name ends with, as torch.hub and OpenMMLab write it.

    Eight digits may as well be a date, and are not taken for a digest.

    Example:
        >>> (
        ...     named_digest("resnet50-0676ba61.pth"),
        ...     named_digest("vgg11_imagenet_20210208-4271cd6c.pth"),
        ... )
        ('0676ba61', '4271cd6c')
        >>> named_digest("vit-20211231.pth"), named_digest("net.pth")
        (None, None)
    """
    found = [digest for digest in _NAMED.findall(name) if not digest.isdigit()]
    return found[-1] if found else None


def require_digest(source: Source, sha256: str | None) -> None:
    """Require the digest of a file to begin as a user wrote it; None requires nothing.

    Raises:
        CheckpointError: It does not, or the file cannot be read.
    """
    if sha256 is None:
        return
    try:
        found = remembered_digest(source.path)
    except OSError as e:
        raise source.error(f"cannot be read ({e.strerror or e})") from e
    if not found.startswith(sha256):
        what = f"is not what it should be: sha256={sha256!r} was asked for, and its SHA-256 is {found}"
        raise source.error(what, "give the digest of this file, or the path of the other one")
