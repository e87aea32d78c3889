"""Keys of random streams, derived from seed, root index and FQN; and seeds."""

from __future__ import annotations

import hashlib
import operator
from contextlib import suppress
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii

import torch

from ..errors import ConfigTypeError

VERSION = 2
"""Version of the definition of the values. A release that changes a value increments it and keeps old versions."""
BITS_VERSION = 1  # The first version with these bits; part of the text that is hashed into a key.


@dataclass(frozen=True)
class Key:
    """128 bits that select one stream: the start of its counter and the function applied to it.

    Two words, because with the first alone all parameters would share one sequence of 2**64 words and differ
    only in where they start in it.
    """

    offset: int
    twist: int


def derive_key(seed: int, root: int, fqn: str, stream: int = 0) -> Key:
    """The key of one stream of one parameter; independent streams of a parameter are numbered from 0."""
    # A JSON list delimits its parts unambiguously: no (seed, fqn) can spell another pair.
    text = f'["autoinit", {BITS_VERSION}, {seed}, {root}, {encode_basestring_ascii(fqn)}, {stream}]'
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return Key(int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little"))


def check_seed(seed: object) -> int | None:
    """Convert a seed to a Python integer; NumPy integers and one-element integer tensors are accepted.

    Raises:
        ConfigTypeError: anything but an integer or None.
    """
    if seed is None:
        return None
    if not isinstance(seed, bool):
        with suppress(TypeError):
            return operator.index(seed)  # type: ignore[arg-type]
    raise ConfigTypeError(f"seed={seed!r} must be an integer or None.", origin="seed")


def fresh_seed() -> int:
    """Draw a seed from torch's default generator, without communication."""
    return int(torch.empty((), dtype=torch.int64, device="cpu").random_(generator=torch.default_generator))
