"""Models of random structure, yet to be built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize

from .descriptions import Branch, Layer, Stage, Tree, Unit, built_aside

SIZES = st.integers(1, 6)

# In the order in which counterexamples shrink.
_ARGUMENTS: dict[type[nn.Module], st.SearchStrategy[tuple[Any, ...]]] = {
    nn.Linear: st.tuples(SIZES, SIZES),
    nn.Conv2d: st.tuples(SIZES, SIZES, st.integers(1, 3)),
    nn.LayerNorm: st.tuples(SIZES),
    nn.BatchNorm2d: st.tuples(SIZES),
    nn.Embedding: st.tuples(SIZES, SIZES),
    nn.MultiheadAttention: st.sampled_from(((2, 1), (4, 2), (6, 3))),
    nn.Conv1d: st.tuples(SIZES, SIZES, st.integers(1, 3)),
    nn.ConvTranspose2d: st.tuples(SIZES, SIZES, st.integers(1, 3)),
    nn.Bilinear: st.tuples(SIZES, SIZES, SIZES),
    nn.PReLU: st.tuples(SIZES),
    nn.LSTM: st.tuples(SIZES, SIZES),
    nn.ReLU: st.just(()),
}
LAYERS = tuple(_ARGUMENTS)
"""The layers of trees, by default."""

_WITHOUT_BIAS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.MultiheadAttention, nn.Conv1d, nn.ConvTranspose2d, nn.Bilinear)
_WITHOUT_DTYPE = (nn.ReLU,)
_PARAMETRIZABLE = (nn.Linear, nn.Conv2d, nn.Conv1d)


def layers(
    kinds: Sequence[type[nn.Module]] = LAYERS,
    *,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
    parametrized: bool = False,
) -> st.SearchStrategy[Layer]:
    """Layers of torch that are yet to be built, of a few units; shrinks to `Linear(1, 1)`.

    Args:
        kinds: some of `LAYERS`.
        dtypes: of their parameters.
        parametrized: whether some have a weight that is computed: weight norm, spectral norm.
    """
    of_kind = st.sampled_from([_layers_of(kind, tuple(dtypes), parametrized) for kind in kinds])

    # A function without arguments has a short repr; that of a strategy made of all others would fill a book.
    @st.composite
    def layers(draw: st.DrawFn) -> Layer:
        return draw(draw(of_kind))

    return layers()


def _layers_of(kind: type[nn.Module], dtypes: tuple[torch.dtype, ...], parametrized: bool) -> st.SearchStrategy[Layer]:
    nothing: st.SearchStrategy[dict[str, Any]] = st.just({})
    bias = st.sampled_from(({}, {"bias": False})) if kind in _WITHOUT_BIAS else nothing
    choices = [{"dtype": dtype} if dtype is not torch.float32 else {} for dtype in dtypes]
    dtype = st.sampled_from(choices) if kind not in _WITHOUT_DTYPE else nothing
    ways = ("", "weight_norm", "spectral_norm") if parametrized and kind in _PARAMETRIZABLE else ("",)
    return st.builds(
        lambda args, bias, dtype, through: Layer(kind, args, (*bias.items(), *dtype.items()), through),
        *(_ARGUMENTS[kind], bias, dtype, st.sampled_from(ways)),
    )


NAMES = ("a", "b", "conv", "norm", "head", "layer1", "layer2", "attn", "blocks")
PARAMS = ("scale", "weight", "bias", "pos_embed", "cls_token")
BRANCHES = (nn.Sequential, Stage, nn.ModuleList, Unit, nn.ModuleDict)

_OWN = st.lists(
    st.tuples(st.sampled_from(PARAMS), st.lists(SIZES, max_size=3).map(tuple)),
    max_size=2,
    unique_by=lambda item: item[0],
)


def _branches(
    kinds: Sequence[type[nn.Module]],
    children: st.SearchStrategy[Tree],
    inits: st.SearchStrategy[Any],
    smallest: int = 0,
) -> st.SearchStrategy[Branch]:
    numbered = st.lists(children, min_size=smallest, max_size=4).map(
        lambda items: tuple((str(index), child) for index, child in enumerate(items))
    )
    named = st.lists(
        st.tuples(st.sampled_from(NAMES), children), min_size=smallest, max_size=4, unique_by=lambda item: item[0]
    ).map(tuple)

    kind_of = st.sampled_from(tuple(kinds))

    @st.composite
    def branches(draw: st.DrawFn) -> Branch:
        kind = draw(kind_of)
        if kind in (nn.Sequential, nn.ModuleList):
            return Branch(kind, draw(numbered))
        if kind is nn.ModuleDict:
            return Branch(kind, draw(named))
        return Branch(kind, draw(named), tuple(draw(_OWN)), init_cfg=draw(inits))

    return branches()


def module_trees(
    *,
    leaves: st.SearchStrategy[Layer] | None = None,
    max_leaves: int = 8,
    ties: bool = False,
    init_cfg: st.SearchStrategy[Any] | None = None,
    root: type[nn.Module] | None = None,
) -> st.SearchStrategy[Branch]:
    """Models of random structure that are yet to be built: print as one would write them, shrink to the fewest layers.

    Args:
        leaves: what they are made of; `layers()` if nobody says.
        max_leaves: about how many layers there are at most.
        ties: whether parameters may be tied and modules shared.
        init_cfg: what stages say of their own initialization, None for nothing; no stage says anything by default.
        root: the class of the outermost module; any by default.

    Returns:
        Descriptions: `.build()` calls the constructors, as often as one likes.
    """
    inits = st.none() if init_cfg is None else init_cfg
    leaf: st.SearchStrategy[Tree] = layers() if leaves is None else leaves
    inner = st.recursive(leaf, lambda below: _branches(BRANCHES, below, inits), max_leaves=max_leaves)
    trees = _branches(BRANCHES if root is None else (root,), inner, inits, smallest=1)
    return _tied(trees) if ties else trees


_TIES = st.integers(0, 3)


@st.composite
def _tied(draw: st.DrawFn, trees: st.SearchStrategy[Branch]) -> Branch:
    tree = draw(trees)
    for _ in range(draw(_TIES)):
        pairs = list(_pairs(built_aside(tree)))
        if pairs:
            tree = tree.tie(*draw(st.sampled_from(pairs)))
    return tree


def _pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Pairs that can be tied: parameters of one shape, and modules that are not inside each other."""
    params = [
        (name, param)
        for name, param in module.named_parameters()
        if "parametrizations" not in name
        and not parametrize.is_parametrized(module.get_submodule(name.rpartition(".")[0]))
    ]
    for source, one in params:
        for target, other in params:
            if source != target and one.shape == other.shape and one.dtype == other.dtype:
                yield source, target
    parts = {name: part for name, part in module.named_modules() if name and _is_free(name, part)}
    for source, one in parts.items():
        for target in parts:
            # No module may come to be inside itself.
            if source != target and module.get_submodule(target.rpartition(".")[0]) not in set(one.modules()):
                yield source, target


def _is_free(name: str, module: nn.Module) -> bool:
    """True for children of branches, which any other module can replace; a layer needs the parts it has."""
    return "parametrizations" not in name and type(module) in (*BRANCHES, *LAYERS)
