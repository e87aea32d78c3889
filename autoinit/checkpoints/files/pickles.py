"""What a pickle names, found by reading its opcodes: nothing is imported, nothing is run."""

from __future__ import annotations

import os
import pickletools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

_PICKLES_OF_AN_OLD_FILE = 5
"""Magic number, protocol, system info, the object, storage keys: then come the values."""

_HARMLESS = ("torch.", "collections.", "_codecs.")


@dataclass(frozen=True, kw_only=True)
class PickleScan:
    """The globals that the complete pickles of a file name, and the highest protocol among them.

    Args:
        names: dotted names, in order of appearance.
        protocol: 0 where none is stated.
    """

    names: tuple[str, ...]
    protocol: int

    def culprit(self, error: BaseException, *, known: frozenset[str]) -> str | None:
        """The global for which `torch.load` refused the file, or None if it failed for another reason.

        Args:
            error: what `torch.load` raised.
            known: names that are never refused.
        """
        said = re.search(r"GLOBAL (\S+)", str(error))
        if said and any(_attribute(name) == _attribute(said[1]) for name in self.names):
            return said[1]
        suspects = (name for name in self.names if name not in known and not name.startswith(_HARMLESS))
        return next(suspects, None)


def scan_pickles(path: str) -> PickleScan:
    """Scan the file at `path`, whatever it is; what is no complete pickle counts as naming nothing."""
    names: dict[str, None] = {}
    protocol = 0
    try:
        with _pickle_stream(path) as stream:
            for _ in range(_PICKLES_OF_AN_OLD_FILE):
                found = [*_opcodes(stream)]
                names.update(dict.fromkeys(_globals(found)))
                protocol = max([protocol, *(arg for name, arg in found if name == "PROTO")])
    except Exception:
        # Not a pickle, or cut off. zipfile and pickletools raise whatever a wrong byte leads them to.
        pass
    return PickleScan(names=tuple(names), protocol=protocol)


def _pickle_stream(path: str) -> IO[bytes]:
    if not zipfile.is_zipfile(path):
        return open(path, "rb")
    with zipfile.ZipFile(path) as archive:
        records = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        return archive.open(records[0]) if records else open(os.devnull, "rb")


def _opcodes(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    for opcode, arg, _ in pickletools.genops(stream):
        yield opcode.name, None if isinstance(arg, (bytes, bytearray)) else arg


def _globals(opcodes: list[tuple[str, Any]]) -> Iterator[str]:
    strings: list[str] = []
    for name, arg in opcodes:
        if name in ("GLOBAL", "INST"):
            yield str(arg).replace(" ", ".")
        elif name == "STACK_GLOBAL":
            # The two strings were pushed just before, unless they came from the memo: a name, not a proof.
            yield ".".join(strings[-2:])
        elif isinstance(arg, str):
            strings.append(arg)


def _attribute(name: str) -> str:
    # Python 2 spelt modules differently (`__builtin__.eval`), and torch reports today's spelling.
    return name.rpartition(".")[2]
