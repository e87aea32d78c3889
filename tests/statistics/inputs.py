"""The normal formula on every one of its inputs: whether it rises, and how far it is from the quantile."""

from __future__ import annotations

import itertools
import math

import torch
from scipy import special

from autoinit.sampling import NormalTransform, normal_quantile

STRIDE = 1 << 24

# Where the tail begins, and the reach.
REGIONS = (0.0, 0.1, 0.5, 1.0, 1.5, 1.99, 2.01, 3.0, 4.0, 5.0, 6.4)


def falls() -> int:
    """How often the value of one input is below that of the input before, of all 2**32."""
    transform, fallen, before = NormalTransform(0.0, 1.0), 0, -math.inf
    out = torch.empty(STRIDE)
    for start in range(-(1 << 31), 1 << 31, STRIDE):
        transform(torch.arange(start, start + STRIDE, dtype=torch.int64).to(torch.int32), out)
        fallen += int((out.diff() < 0).sum()) + (out[0].item() < before)
        before = out[-1].item()
    return fallen


def errors() -> dict[str, tuple[float, float]]:
    """By region of standard deviations, the largest error in units in the last place, of 2**22 inputs each.

    Against the quantile of the place that the formula takes, which is rounded to float32, and against that of the bits.
    """
    transform, found = NormalTransform(0.0, 1.0), {}
    for low, high in itertools.pairwise(REGIONS):
        first, last = (min(int(special.erf(z / math.sqrt(2)) * 2**31), 2**31 - 1) for z in (low, high))
        inwards = torch.linspace(first, last, 1 << 22, dtype=torch.float64).to(torch.int64).unique()
        out = torch.empty(len(inwards))
        transform(inwards.to(torch.int32), out)
        values, numbers = out.double(), inwards.double()
        beyond = (2**31 - 1 - numbers + 0.5) * 2.0**-31
        unit = 2.0 ** (values.log2().floor() - 23)
        exact = newton(values, (numbers + 0.5) * 2.0**-31, beyond)
        place = numbers.float().mul_(2.0**-31).add_(2.0**-32).double()
        taken = exact if low > 2 else newton(values, place, 1 - place)
        found[f"{low:g} to {high:g}"] = (
            float(((values - taken).abs() / unit).max()),
            float(((values - exact).abs() / unit).max()),
        )
    return found


def newton(values: torch.Tensor, places: torch.Tensor, beyond: torch.Tensor) -> torch.Tensor:
    """The quantiles in float64, from values that are right to six digits."""
    exact = values.clone()
    for _ in range(2):
        density = torch.exp(-exact.square() / 2) * math.sqrt(2 / math.pi)
        at = exact / math.sqrt(2)
        off = torch.where(places < 0.5, places - torch.erf(at), torch.special.erfc(at) - beyond)
        exact = exact + off / density
    return exact


if __name__ == "__main__":
    for region, (place, bits) in errors().items():
        print(f"{region:12} {place:.2f} {bits:.2f}")
    print(f"falls: {falls()} of 2**32; seam at {normal_quantile.AT_SEAM}")
