"""The maps in a bias, by those in the weight beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .layout import REST, ROLES, Layout, Part, torch_fans


def weight_names(bias: str) -> tuple[str, ...]:
    """The names that the weight beside a bias may have.

    Example:
        >>> weight_names("bias_ih_l0"), weight_names("down_proj_bias"), weight_names("weight")
        (('weight_ih_l0',), ('down_proj_weight', 'down_proj'), ())
    """
    found = (bias.replace("bias", "weight"), bias.removesuffix("_bias"))
    return tuple(name for name in dict.fromkeys(found) if name != bias)


def bias_parts(
    shape: Sequence[int], weight: Sequence[int], layout: Layout | None
) -> tuple[Layout | None, tuple[Part, ...]]:
    """The maps in a bias of a shape, with the fans of those in the weight beside it; a layout if there are several.

    None, and no maps, if the weight has no fans.

    Raises:
        ShapeError: The maps of the weight do not divide the bias.
    """
    of_weight = layout.parts(weight) if layout is not None else ()
    if layout is None or len(of_weight) == 1:
        fans = of_weight[0].fans if of_weight else torch_fans(weight)
        return None, () if fans is None else (Part(start=0, size=0, shape=tuple(shape), copies=1, fans=fans),)
    words = [word for word in layout.axes.split(",") if word != REST and ROLES[word] in ("stack", "out")]
    found = Layout(axes=",".join(words), splits=layout.splits, repeats=layout.repeats, label=layout.label)
    of_bias = zip(found.parts(shape), of_weight, strict=True)
    return found, tuple([replace(part, shape=part.shape[:1], fans=other.fans) for part, other in of_bias])
