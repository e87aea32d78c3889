"""Fills that are a function of the whole tensor: computed at once, in float32 or float64, then rounded once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..sampling import NormalTransform, Region, Sampler
from .distributions import ComplexNormal, Normal
from .fill import Fill, KeyOf


def normals(tensor: Tensor, shape: Sequence[int], std: float, key_of: KeyOf, sampler: Sampler) -> Tensor:
    """Normal values in a new tensor, in float32 or, since version 2, in float64 if `tensor` has that precision."""
    dtype = torch.complex64 if tensor.is_complex() else torch.float32
    drawn = torch.empty(shape, dtype=dtype, device=tensor.device)
    fill: Fill = ComplexNormal(0.0, std) if tensor.is_complex() else Normal(0.0, std)
    fill.write(drawn, key_of, sampler)
    is_double = tensor.dtype in (torch.float64, torch.complex128) and sampler.version > 1
    return drawn.to(tensor.dtype) if is_double else drawn


class Gained(Fill):
    """A fill in proportion to its `gain`."""

    gain: float

    def scaled(self, factor: float) -> Fill:
        return replace(self, gain=self.gain * factor)  # type: ignore[type-var]


@dataclass(frozen=True)
class Orthogonal(Gained):
    """Rows or columns, whichever are fewer, orthonormal, times `gain`; axes after the first are flattened.

    Haar distributed (Mezzadri 2007, "How to generate random matrices from the classical compact groups").
    Transient memory: three float32 copies of the tensor.
    """

    gain: float
    rows: int = field(repr=False)
    columns: int = field(repr=False)

    mean = 0.0

    @property
    def std(self) -> float:
        """The square root of the mean square of the elements, which is the same in every draw."""
        return abs(self.gain) / math.sqrt(max(self.rows, self.columns))

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        normal = normals(tensor, (self.rows, self.columns), 1.0, key_of, sampler)
        q, r = torch.linalg.qr(normal.t() if self.rows < self.columns else normal)
        # QR leaves the signs to the implementation; tying them to R's diagonal makes Q Haar distributed.
        signs = r.diagonal().sgn()
        q *= torch.where(signs == 0, 1, signs)
        tensor.copy_((q.t() if self.rows < self.columns else q).mul(self.gain).reshape(tensor.shape))


@dataclass(frozen=True)
class DeltaOrthogonal(Gained):
    """An `Orthogonal` matrix at the centre of a convolution's kernel, zeros elsewhere (Xiao et al. 2018)."""

    gain: float
    rows: int
    columns: int
    positions: int = field(repr=False)

    mean = 0.0

    @property
    def centre(self) -> Orthogonal:
        """Fill of the centre."""
        return Orthogonal(self.gain, self.rows, self.columns)

    @property
    def std(self) -> float:
        """The square root of the mean square of the elements, which is the same in every draw."""
        return self.centre.std / math.sqrt(self.positions)

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        self.centre.write(middle(tensor.zero_()), key_of, sampler)


def middle(tensor: Tensor) -> Tensor:
    """The matrix at the centre of a convolution's kernel: of an even size, the earlier of the two in the middle."""
    for axis in range(tensor.dim() - 1, 1, -1):
        tensor = tensor.select(axis, (tensor.shape[axis] - 1) // 2)
    return tensor


@dataclass(frozen=True, repr=False)
class Dirac(Gained):
    """A convolution that passes its input channels through, in each of `groups` groups (`torch.nn.init.dirac_`)."""

    groups: int = 1
    gain: float = 1.0

    is_random = False

    def __repr__(self) -> str:
        return f"Dirac(groups={self.groups}{'' if self.gain == 1 else f', gain={self.gain!r}'})"

    def __str__(self) -> str:
        return f"Dirac(groups={self.groups}{'' if self.gain == 1 else f', gain={self.gain:.6g}'})"

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        groups = tensor.zero_().view(self.groups, tensor.shape[0] // self.groups, *tensor.shape[1:])
        channels = torch.arange(min(groups.shape[1:3]), device=tensor.device)
        centres: tuple[Tensor | int, ...] = (channels, channels, *(size // 2 for size in tensor.shape[2:]))
        groups.movedim(0, -1)[centres] = self.gain


@dataclass(frozen=True, repr=False)
class Eye(Gained):
    """The identity matrix, as much of it as fits, times `gain` (`torch.nn.init.eye_`)."""

    gain: float = 1.0

    is_random = False

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        tensor.zero_().diagonal().fill_(self.gain)

    def __repr__(self) -> str:
        return "Eye()" if self.gain == 1 else f"Eye(gain={self.gain!r})"

    def __str__(self) -> str:
        return "Eye()" if self.gain == 1 else f"Eye(gain={self.gain:.6g})"


@dataclass(frozen=True)
class Sparse(Fill):
    """In each column exactly ceil(sparsity * rows) zeros, elsewhere normal (Martens 2010; `torch.nn.init.sparse_`)."""

    sparsity: float
    scale: float
    rows: int = field(repr=False)

    mean = 0.0

    @property
    def zeros_per_column(self) -> int:
        return math.ceil(self.sparsity * self.rows)

    @property
    def std(self) -> float:
        return self.scale * math.sqrt(1 - self.zeros_per_column / self.rows) if self.rows else 0.0

    def scaled(self, factor: float) -> Sparse:
        return replace(self, scale=self.scale * abs(factor))

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        values = normals(tensor, tensor.shape, self.scale, key_of, sampler)
        # Sorting independent normals gives each column a uniformly random order of its rows.
        order = torch.empty(tensor.shape, dtype=torch.float32, device=tensor.device)
        sampler.draw_into(order, key_of(1), NormalTransform(0.0, 1.0))
        zeros = order.argsort(dim=0, stable=True)[: self.zeros_per_column]
        tensor.copy_(values.scatter_(0, zeros, 0.0))


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Context with torch's generators for a device seeded, which puts their states back afterwards."""
    is_cpu = device.type in ("cpu", "meta")
    every = [] if is_cpu else range(torch.get_device_module(device).device_count())
    with torch.random.fork_rng(every, device_type="cuda" if is_cpu else device.type):
        # torch.manual_seed seeds accelerators too, at once or when they are first used.
        (torch.default_generator.manual_seed if is_cpu else torch.manual_seed)(seed)
        yield


@dataclass(frozen=True)
class Custom(Fill):
    """Values that a user's function writes in-place. It sees torch's generators seeded from the parameter's key.

    The function gets the tensor itself, so that it finds the attributes which libraries keep on parameters. The tensor
    keeps its memory, and one whose function raises keeps its values.
    """

    function: Callable[..., object]
    arguments: Mapping[str, object]

    def write(self, tensor: Tensor, key_of: KeyOf, sampler: Sampler) -> None:
        memory, before = tensor.data, tensor.detach().clone()
        try:
            with seeded(tensor.device, key_of(0).offset >> 1):
                self.function(tensor, **self.arguments)
            if not _is_same_memory(tensor, memory):  # The function has assigned to `.data`.
                memory.copy_(tensor.detach())
        except BaseException:
            memory.copy_(before)
            raise
        finally:
            if not _is_same_memory(tensor, memory):
                tensor.data = memory

    def write_region(self, tensor: Tensor, region: Region, key_of: KeyOf, sampler: Sampler) -> None:
        # The function may read values and attributes; of other ranks' values nothing is known.
        whole = torch.zeros(region.shape, dtype=tensor.dtype, device=tensor.device)
        vars(whole).update(vars(tensor))
        region.put(whole, tensor)
        self.write(whole, key_of, sampler)
        tensor.copy_(region.select(whole))

    def __str__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"


def _is_same_memory(tensor: Tensor, other: Tensor) -> bool:
    places = ((each.data_ptr(), each.shape, each.stride(), each.dtype) for each in (tensor, other))
    return next(places) == next(places)
