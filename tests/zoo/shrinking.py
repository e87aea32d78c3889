"""A config of transformers made small: a layer of each kind, narrow ones, a small vocabulary, few experts.

Nothing here knows an architecture. A config is walked with all configs inside it, and a number is taken for what its
name says it is. What is left are widths. They are divided by one number throughout: so equal ones stay equal, sums stay
sums, and what is divided among heads or groups still can be. Which number a model's own code accepts is found by trial.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

DIVISORS = (16, 8, 4, 2, 1)

KINDS = {
    "token": r"(.*_)?token_(id|ids|index|idx)(_.*)? | .*_(start|end|bos|eos|pad)_id"
    r"| (pad|bos|eos|mask|unk)_(id|index|idx)",
    "vocabulary": r"(.*_)?vocab(ulary)?_size(_.*)? | num_embed(ding)?s | .*_vocab | (.*_)?codebook_size",
    "positions": r"(.*_)?max(_.*)?_positions?(_embeddings)? | n_positions | (.*_)?(seq|sequence|context)_len(gth)?",
    "experts": r"(.*_)?experts",
    "choices among experts": r"(.*_)?(experts_per_tok(en)?|moe_(topk|k)|top_?k(_experts)?|(n|topk|expert)_group)",
    "layers": r"(.*_)?(layers?|depths?|blocks?|repeats)(_per_stage)? | num_hidden_groups",
    "width": r"(.*_)?(head_(dim|size)|hidden_(size|dim)|intermediate_size) | upsample_groups",
    "as it is": r".*(head|group|patch|kernel|window|stride|dilat|pool|merge|factor|ratio|rate|scale|expan|mult|period|"
    r"interval|offset|image|img|resol|frames|length|chunk|ind(ex|ices)|level|theta|temperature|bins|buckets|classes|"
    r"label|codebooks|quantizers|points|seed|cost|loss|crop|fps|hop|register|langs|spkrs|speakers|seconds|steps|freq|"
    r"grid|tiles|side|reduction|conv_pos|mel|bands|feature_size|range|stages|queries).*",
}
"""The meaning of a number by its whole name; the first pattern that matches. Without a match it is a width."""

_PATTERNS = {kind: re.compile(names, re.X) for kind, names in KINDS.items()}

AT_MOST = {"vocabulary": 128, "positions": 128, "experts": 4, "choices among experts": 1, "layers": 2}
# Below the size of the vocabulary, and a prime, so that most of the special tokens stay different ones.
TOKENS = 97
# A smaller number is a count of something, not a width.
NARROWEST = 16
MOST_KINDS_OF_LAYERS = 6

Table = MutableMapping[str, Any]


def shrunk(config: Any, divisor: int) -> Any:
    """A copy of a config with few layers, and with every width divided that is a multiple of the divisor."""
    config = copy.deepcopy(config)
    for table in tables(config):
        shorten(table)
        for name, value in list(table.items()):
            table[name] = smaller(name, value, divisor)
    return config


def tables(config: Any) -> Iterator[Table]:
    """The attributes of a config, and those of every config and dict inside it."""
    table = config if isinstance(config, dict) else vars(config)
    yield table
    for name, value in list(table.items()):
        if name not in ("id2label", "label2id"):
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                if hasattr(inner, "model_type") or (isinstance(inner, dict) and all(type(key) is str for key in inner)):
                    yield from tables(inner)


def kind_of(name: str) -> str:
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(name)), "width")


def shorten(table: Table) -> None:
    """Keep one layer of each kind, where lists say layer by layer what each of them is like."""
    for count in {value for name, value in table.items() if _is_count(value) and kind_of(name) == "layers"}:
        lists = {
            name: value for name, value in table.items() if isinstance(value, (list, tuple)) and len(value) == count
        }
        if not lists or count <= 1:
            continue
        kept = different(list(zip(*lists.values(), strict=True)))
        for name, value in lists.items():
            table[name] = type(value)(value[layer] for layer in kept)
        for name, value in table.items():
            if _is_count(value) and value == count and kind_of(name) == "layers":
                table[name] = Exactly(len(kept))


class Exactly(int):
    """A number that is small already."""


def different(layers: Sequence[Any]) -> list[int]:
    """The first layer of each kind, in order, and at least two."""
    first = [index for index, layer in enumerate(layers) if layers.index(layer) == index]
    return first[:MOST_KINDS_OF_LAYERS] if len(first) > 1 else [0, 1]


def smaller(name: str, value: Any, divisor: int) -> Any:
    """A number as small as what its name says allows; of a list each; anything else as it is."""
    if isinstance(value, Exactly):
        return int(value)
    if type(value) in (list, tuple):
        return type(value)(smaller(name, item, divisor) for item in value)
    if not _is_count(value):
        return value
    kind = kind_of(name)
    if kind in AT_MOST:
        return min(value, AT_MOST[kind])
    if kind == "token":
        return value % TOKENS if value >= 0 else value
    return value // divisor if kind == "width" and value >= NARROWEST and value % divisor == 0 else value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
