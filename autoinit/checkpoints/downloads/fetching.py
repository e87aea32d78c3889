"""A URL as a file on this machine: found in the cache, or fetched, verified and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ..location import Location
from .cache import Slot, slot_of
from .digests import digest_of, named_digest
from .progress import progress_bar
from .transfer import Transfer
from .verdicts import InterruptedTransferError, RefusedError

_log = logging.getLogger("autoinit")


def download(url: str, location: Location, sha256: str | None, check: Callable[[str], None]) -> str:
    """The path of a file with what is at a URL. If it is in the cache there is no request.

    Args:
        url: http or https.
        location: who asked for it, for errors.
        sha256: what its digest begins with; None for what its name says of that, if anything.
        check: is called with the path of what was fetched, and raises if that is no checkpoint.

    Raises:
        CheckpointError: it cannot be fetched or kept, or is not what it should be. Whatever was there before is intact.
    """
    slot = slot_of(url)
    wanted = sha256 or named_digest(slot.name)
    try:
        found = slot.find(wanted)
        if found is None:
            with slot.locked():
                # Another process may have fetched it while this one waited.
                found = slot.find(wanted) or _fetch(slot, wanted, sha256 is not None, check)
        return str(found)
    except RefusedError as e:
        raise location.error(e.what, e.remedy) from e
    except InterruptedTransferError as e:
        remedy = "try again: what has arrived is kept, and continued where the server can do that"
        raise location.error(f"could not be fetched: {e.what}", remedy) from e
    except (OSError, NotImplementedError) as e:  # the latter where a file system has no locks
        what = f"cannot be kept in {str(slot.folder)!r} ({getattr(e, 'strerror', None) or e})"
        raise location.error(what, "set TORCH_HOME to a folder that can be written to and has room") from e


def _fetch(slot: Slot, wanted: str | None, was_given: bool, check: Callable[[str], None]) -> Path:
    with progress_bar(slot.name) as shown:
        _log.info("downloading %s to %s", slot.url, slot.file)
        transfer = Transfer(url=slot.url, path=slot.partial, shown=shown)
        transfer.run()
    try:
        digest = _verified(slot, wanted, was_given)
        check(str(slot.partial))
    except Exception:
        transfer.discard()
        raise
    return slot.keep(digest)


def _verified(slot: Slot, wanted: str | None, was_given: bool) -> str:
    found = digest_of(str(slot.partial))
    if wanted is None or found.startswith(wanted):
        return found
    said = f"sha256={wanted!r} was asked for" if was_given else f"its name says {wanted!r}"
    remedy = f"download it again later; or, if you know that this is the file, say so with sha256={found!r}"
    raise RefusedError(f"is not what it should be: {said}, and the SHA-256 of what arrived is {found}", remedy)
