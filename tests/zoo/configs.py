"""The two configs that every model is built under, and what each must cover, decided without autoinit."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

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

EVERYTHING: list[dict[str, Any]] = [dict(type="Normal", name="**", params="*", std=0.02)]


def covered_by_typical(model: nn.Module) -> set[str]:
    """The parameters that `TYPICAL` is about, under every name that they have."""
    return {fqn for module_fqn, module, name, fqn in _parameters(model) if _is_about(module_fqn, module, name)}


def covered_by_everything(model: nn.Module) -> set[str]:
    """All parameters that can have a distribution, under every name that they have."""
    return {
        fqn
        for _, module, name, fqn in _parameters(model)
        if module._parameters[name].dtype.is_floating_point  # type: ignore[union-attr]
    }


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, str]]:
    for module_fqn, module in model.named_modules(remove_duplicate=False):
        for name, param in module._parameters.items():
            if param is not None:
                yield module_fqn, module, name, f"{module_fqn}.{name}" if module_fqn else name


def _is_about(module_fqn: str, module: nn.Module, name: str) -> bool:
    if any(fnmatchcase(name, pattern) for pattern in (*TOKEN_NAMES, *SCALE_NAMES, "in_proj_weight")):
        return True
    if name not in ("weight", "bias"):
        return False
    if any(base.__name__ in LAYER_NAMES for base in type(module).__mro__):
        return True
    return any(fnmatchcase(module_fqn.rpartition(".")[2], pattern) for pattern in NORM_NAMES)
