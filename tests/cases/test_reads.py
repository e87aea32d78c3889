"""Ways in which constructors read and write their weights that leave no trace in `nn.init` or in tensor methods.

Right: a block without rules is bitwise the plain construction, and what no rule covers is, under any rules, as its
constructor left and saw it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autoinit import autoinit

from . import Net

N = 128  # 16,384 elements: smaller weights may be filled at once.
FOR_ANOTHER = dict(type="Normal", name="after", std=0.02)

Use = Callable[[nn.Linear], "Tensor | None"]


@pytest.fixture(autouse=True)
def unwritten_memory_shows() -> None:
    torch.use_deterministic_algorithms(True)  # torch.empty gives NaN then


def build(use: Use) -> Any:
    def construct(net: Any) -> None:
        net.layer = nn.Linear(N, N)
        net.seen = use(net.layer)
        net.after = nn.Linear(N, N)

    torch.manual_seed(0)
    return Net(construct)


def through_a_file(layer: nn.Linear) -> Tensor:
    torch.jit.save(torch.jit.script(layer), file := io.BytesIO())
    file.seek(0)
    return torch.jit.load(file).weight.detach()


@torch.jit.script
def doubled(weight: torch.Tensor) -> None:
    weight.mul_(2.0)


def become_zeros(layer: nn.Linear) -> None:
    torch.zeros(N, N, out=layer.weight.data)


def become_identity(layer: nn.Linear) -> None:
    torch.eye(N, out=layer.weight.data)


def share_a_buffer(layer: nn.Linear) -> None:
    layer.a, layer.b = (nn.Parameter(part.view(N, N)) for part in torch.empty(2 * N * N).chunk(2))
    nn.init.normal_(layer.a)
    nn.init.eye_(layer.b)


READS: dict[str, Use] = {
    # deepmodeling/deepmd-kit#3476, cornellius-gp/gpytorch#281
    "torch.tensor of elements": lambda layer: torch.tensor([layer.weight.data[0, 0], layer.weight.data[1, 1]]),
    "torch.tensor of a tensor": lambda layer: torch.tensor(layer.weight.detach()),
    "new_tensor": lambda layer: torch.zeros(1).new_tensor(layer.weight),
    "as_tensor, another dtype": lambda layer: torch.as_tensor(layer.weight.detach(), dtype=torch.float64),
    # torch docs: a 0-dim tensor is taken as a number; C++ reads the weight and writes the file.
    "full": lambda layer: torch.full((3,), layer.weight.data[0, 0]),
    "linspace": lambda layer: torch.linspace(layer.weight.data[0, 0], layer.weight.data[1, 1], 5),
    "torch.jit.save": through_a_file,
}
WRITES: dict[str, tuple[Use, Tensor | None]] = {
    # torch docs, torch.zeros(out=); pytorch/pytorch torch/nn/init.py: eye_ writes by torch.eye(out=).
    "zeros(out=)": (become_zeros, torch.zeros(N, N)),
    "eye(out=)": (become_identity, torch.eye(N)),
    # torch docs, torch.jit.script: a function in TorchScript writes in place.
    "a scripted function": (lambda layer: doubled(layer.weight.data), None),
    # facebookresearch/fairscale nn/misc/flatten_params_wrapper.py: parameters that are views of one buffer.
    "two parameters in one buffer": (share_a_buffer, None),
}


def is_as_plain(use: Use) -> bool:
    """True if `autoinit([])` changes no parameter, nothing that the constructor read, and no state of the generator."""

    def state(net: Any) -> list[Tensor]:
        seen = [] if net.seen is None else [net.seen.detach()]
        return [*(param.detach() for param in net.parameters()), *seen, torch.get_rng_state()]

    plain = state(build(use))
    with autoinit([]):
        block = state(build(use))
    return all(torch.equal(a, b) for a, b in zip(plain, block, strict=True))


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_constructor_reads_what_is_there_afterwards(read: Use) -> None:
    assert is_as_plain(read)
    with autoinit(FOR_ANOTHER, seed=0):
        net = build(read)
    assert torch.equal(net.seen, read(net.layer)) and not net.layer.weight.isnan().any()


@pytest.mark.parametrize(("write", "written"), WRITES.values(), ids=WRITES)
def test_what_a_constructor_writes_stays(write: Use, written: Tensor | None) -> None:
    assert is_as_plain(write)
    with autoinit(FOR_ANOTHER, seed=0):
        net = build(write)
    assert written is None or torch.equal(net.layer.weight, written)


def test_a_scripted_layer_is_called() -> None:
    """torch docs, TorchScript (an eager model may hold scripted submodules): one is called in the constructor.

    Right: with its own weight.
    """

    def construct(net: Any) -> None:
        net.body = torch.jit.script(nn.Linear(N, N))
        net.out = net.body(torch.ones(1, N)).detach()

    with autoinit([]):
        net = Net(construct)
    assert torch.equal(net.out, net.body(torch.ones(1, N)))
