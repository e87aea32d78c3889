"""Operators that torchvision (and timm, which needs it) asks for at import, where its own are not compiled."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import torch


@functools.cache
def torchvision_operators() -> torch.library.Library | None:
    """Define the operators that torchvision asks for at import, unless its own library brings them.

    torchvision's wheel is built against one build of torch. Beside another its library does not load,
    and the import then fails over fake kernels of two operators that no model here runs. The cache keeps
    the `Library` alive: the definitions go with it.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or _loads(Path(spec.origin).parent):
        return None
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _loads(package: Path) -> bool:
    for path in package.glob("_C.*"):
        try:
            torch.ops.load_library(path)
        except OSError:
            continue
        return True
    return False
