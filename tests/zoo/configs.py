"""The two configs that every model is built under, and what each must cover, decided without autoinit."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

NORMS = ("_NormBase", "LayerNorm", "GroupNorm", "RMSNorm")
EMBEDDINGS = ("Embedding", "EmbeddingBag")
# Of classes and their ancestors; of `Conv1D` there is but one.
LAYER_NAMES = {"_ConvNd", "Linear", "Conv1D", *EMBEDDINGS, *NORMS}
NORM_NAMES = ("*norm*", "*Norm*", "ln_*", "bn*")
TOKEN_NAMES = ("*_embed", "*_embedding", "*_embeddings", "*_token", "*_tokens", "*relative_position_bias_table")
SCALE_NAMES = ("gamma*", "layer_scale*", "*_scale", "lambda*")

TYPICAL: list[dict[str, Any]] = [
    dict(type="Kaiming", layer="_ConvNd", bias=0.01),
    dict(type="TruncNormal", layer="Linear", std=0.02, a=-0.04, b=0.04),
    dict(type="TruncNormal", layer="transformers.pytorch_utils.Conv1D", std=0.02, a=-0.04, b=0.04),
    dict(type="Normal", layer=list(EMBEDDINGS), std=0.03),
    dict(type="Xavier", params="in_proj_weight", distribution="uniform"),
    # Half of all norms are classes of their own, found by what their users call them.
    dict(type="Constant", name=[f"**.{name}" for name in NORM_NAMES], val=0.9),
    dict(type="Constant", layer=list(NORMS), val=0.9, bias=0.05),
    dict(type="Normal", params=list(TOKEN_NAMES), std=0.04),
    dict(type="Constant", params=list(SCALE_NAMES), val=1e-4),
]
"""Rules as a project writes them: by type of layer, and what is in no layer by its name."""

NOTHING: dict[str, Any] = dict(type="Constant", name="no_such_module", val=0.0)
"""A rule that matches nothing: the construction is watched, its fills are deferred, and all of them are done."""

EVERYTHING: list[dict[str, Any]] = [dict(type="Normal", name="**", params="*", std=0.02)]


def covered_by_typical(model: nn.Module) -> set[str]:
    """The parameters that `TYPICAL` is about, under every name that they have."""
    return {fqn for fqn, module_fqn, module, name in in_use(model) if _is_about(module_fqn, module, name)}


def covered_by_everything(model: nn.Module) -> set[str]:
    """All parameters that can have a distribution, under every name that they have."""
    return {fqn for fqn, _, module, name in in_use(model) if getattr(module, name).dtype.is_floating_point}


def in_use(model: nn.Module) -> Iterator[tuple[str, str, nn.Module, str]]:
    """The weights that forward uses: FQN, FQN of the module, the module, and the name in it."""
    for module_fqn, module in model.named_modules(remove_duplicate=False):
        if not isinstance(module, parametrize.ParametrizationList):
            for name in names_in_use(module):
                yield f"{module_fqn}.{name}" if module_fqn else name, module_fqn, module, name


def names_in_use(module: nn.Module) -> list[str]:
    """The names of a module's own parameters, and of weights that old-style hooks and parametrizations compute."""
    names = [name for name, param in module._parameters.items() if param is not None]
    for computed in {name.rpartition("_")[0] for name in names if name.endswith(("_g", "_v", "_orig"))}:
        # An old-style hook leaves the weight itself as a plain attribute.
        if isinstance(module.__dict__.get(computed), Tensor):
            stored = {f"{computed}_{ending}" for ending in ("g", "v", "orig")}
            names = [name for name in names if name not in stored] + [computed]
    return names + (list(module.parametrizations) if parametrize.is_parametrized(module) else [])


def _is_about(module_fqn: str, module: nn.Module, name: str) -> bool:
    if any(fnmatchcase(name, pattern) for pattern in (*TOKEN_NAMES, *SCALE_NAMES, "in_proj_weight")):
        return True
    if name not in ("weight", "bias"):
        return False
    if any(base.__name__ in LAYER_NAMES for base in type(module).__mro__):
        return True
    return any(fnmatchcase(module_fqn.rpartition(".")[2], pattern) for pattern in NORM_NAMES)
