"""`python -m tests.published.mmdet FOLDER`: do mmdet's stock models start as their plans say?

A model of each folder of configs is built, initialized by mmengine's own `init_weights()`, and verified against the
plan that autoinit makes of the same `init_cfg`s. FOLDER is `mmdet/.mim/configs` of an mmdet wheel. It needs
`pip install mmengine mmcv-lite==2.1.0 scipy pycocotools shapely terminaltables six setuptools`, and
`pip install --no-deps mmdet==3.3.0 torchvision`. Layers that mmcv compiles have stand-ins; checkpoints are left out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import types
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoinit import AutoInitWarning, Plan, plan, verify
from autoinit.tables import Table
from tests.zoo.operators import torchvision_operators


class Convolution(nn.Module):
    """The parameters of a deformable convolution, which is not a subclass of `nn.Conv2d`."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, groups: int = 1, bias: bool = False, **_: Any):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs // groups, kernel_size, kernel_size) * 0.02)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.transposed, self.groups = False, groups


class Attention(nn.Module):
    """The parameters of deformable attention."""

    def __init__(self, embed_dims: int = 256, num_heads: int = 8, num_levels: int = 4, num_points: int = 4, **_: Any):
        super().__init__()
        self.embed_dims, self.num_heads, self.num_levels, self.num_points = (
            embed_dims,
            num_heads,
            num_levels,
            num_points,
        )
        self.sampling_offsets = nn.Linear(embed_dims, num_heads * num_levels * num_points * 2)
        self.value_proj = nn.Linear(embed_dims, embed_dims)

    def init_weights(self) -> None:
        """Nothing: mmcv's is not what is tested here."""


class Operators(types.ModuleType):
    """`mmcv.ops`: names of classes are modules without parameters, others are functions that do nothing."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "MultiScaleDeformableAttention":
            return Attention
        if name[0].islower():
            return lambda *_, **__: None
        bases = (Convolution,) if "Conv2d" in name else (nn.Module,)
        nothing = {} if "Conv2d" in name else {"__init__": lambda self, *_, **__: nn.Module.__init__(self)}
        setattr(self, name, type(name, bases, nothing))
        return getattr(self, name)


class OperatorFinder:
    """Finds `mmcv.ops` and what is below it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if f"{name}.".startswith("mmcv.ops.") else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return Operators(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """It is complete."""


def without_checkpoints(part: Any) -> None:
    """Remove what would have to be downloaded."""
    if isinstance(part, dict):
        init_cfg = part.get("init_cfg")
        if isinstance(init_cfg, dict) and (init_cfg.get("type") == "Pretrained" or "checkpoint" in init_cfg):
            part["init_cfg"] = None
        if isinstance(part.get("pretrained"), str):
            part["pretrained"] = None
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else ():
        without_checkpoints(inner)


def models(folder: Path) -> Iterator[tuple[Path, nn.Module]]:
    """A model for each folder of configs: that of the first that can be built here."""
    from mmdet.registry import MODELS
    from mmengine import Config

    for configs in sorted(each for each in folder.iterdir() if each.is_dir() and each.name != "_base_"):
        why: object = "no config of a model"
        for file in sorted(configs.glob("*.py")):
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    config = Config.fromfile(str(file))
                    if "backbone" not in config.get("model", {}):
                        continue
                    without_checkpoints(config.model)
                    yield file, MODELS.build(config.model)
                break
            except Exception as error:  # A library that is not here, a file to download ...
                why = f"{type(error).__name__}: {str(error)[:60]}"
        else:
            print(f"{configs.name}: not built ({why})", file=sys.stderr)


def examine(model: nn.Module) -> tuple[Plan, list[str], list[str]]:
    """The plan of a model, its warnings, and what verify says of the values that mmengine gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AutoInitWarning)
        planned = plan(model)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        model.init_weights()  # type: ignore[operator]
    said = [str(warning.message) for warning in caught if issubclass(warning.category, AutoInitWarning)]
    return planned, said, [failure.message for failure in verify(model, planned).failures]


def main(folder: str) -> int:
    """Print one row a model, and return how many disagree."""
    sys.meta_path.insert(0, OperatorFinder())  # type: ignore[arg-type]
    torchvision_operators()
    import mmdet.models  # noqa: F401
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope("mmdet")
    logging.disable(logging.CRITICAL)
    MODELS.register_module(name="MultiScaleDeformableAttention", module=Attention, force=True)
    for name, kind in (("DCN", "DeformConv2dPack"), ("DCNv2", "ModulatedDeformConv2dPack")):
        MODELS.register_module(name=name, module=getattr(sys.modules["mmcv.ops"], kind), force=True)
    rows, disagree, notes = [], 0, []
    for file, model in models(Path(folder)):
        torch.manual_seed(0)
        planned, said, failures = examine(model)
        covered = len(planned) - len(planned.uncovered)
        rows.append((file.parent.name, str(len(planned)), str(covered), str(len(failures)), str(len(said))))
        disagree += bool(failures)
        notes += [f"{file.name}: {text}" for text in (*said[:2], *failures[:2])]
    columns = ("configs", "parameters", "covered", "disagree", "warnings")
    print(Table(title=f"{len(rows)} stock models of mmdet", columns=columns, rows=rows), *notes, sep="\n")
    return disagree


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) > 0)
