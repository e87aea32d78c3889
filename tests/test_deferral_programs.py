"""Random programs of fills, reads, draws and moves of the generator: deferred, they end as they do plainly (D2)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from unittest import mock

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from autoinit import autoinit
from autoinit.deferral import Deferrer, records

SIZE = 64
LAYERS = 4

Step = Callable[["Machine", int, int], object]
STEPS: dict[str, Step] = {}


def step(function: Step) -> Step:
    STEPS[function.__name__] = function
    return function


class Machine:
    """Some layers, and what was seen of them."""

    def __init__(self) -> None:
        self.layers = [nn.Linear(SIZE, SIZE) for _ in range(LAYERS)]
        self.views: list[Tensor] = [layer.weight.data for layer in self.layers]
        self.states = [torch.get_rng_state()]
        self.seen: list[Tensor] = []

    def run(self, program: list[tuple[str, int, int]]) -> Machine:
        for name, one, other in program:
            STEPS[name](self, one, other)
        return self

    def weight(self, index: int) -> nn.Parameter:
        return self.layers[index % LAYERS].weight

    def view(self, index: int) -> Tensor:
        return self.views[index % len(self.views)]

    def outcome(self) -> list[Tensor]:
        """All that can be told from outside."""
        return [*(p.detach() for layer in self.layers for p in layer.parameters()), *self.seen, torch.get_rng_state()]


@step
def build(machine: Machine, one: int, other: int) -> None:
    machine.layers[one % LAYERS] = nn.Linear(SIZE, SIZE)


@step
def normal(machine: Machine, one: int, other: int) -> None:
    nn.init.normal_(machine.weight(one), other, 0.1)


@step
def constant(machine: Machine, one: int, other: int) -> None:
    nn.init.constant_(machine.weight(one), other)


@step
def truncated(machine: Machine, one: int, other: int) -> None:
    nn.init.trunc_normal_(machine.weight(one), std=0.02)


@step
def xavier(machine: Machine, one: int, other: int) -> None:
    nn.init.xavier_uniform_(machine.weight(one))


@step
def orthogonal(machine: Machine, one: int, other: int) -> None:
    nn.init.orthogonal_(machine.weight(one))


@step
def look_through_data(machine: Machine, one: int, other: int) -> None:
    machine.views.append(machine.weight(one).data)


@step
def look_through_a_row(machine: Machine, one: int, other: int) -> None:
    view = machine.view(one)
    machine.views.append(view[other % len(view)] if view.dim() > 1 else view[other % len(view) :])


@step
def look_transposed(machine: Machine, one: int, other: int) -> None:
    machine.views.append(machine.view(one).t())


@step
def fill_a_view(machine: Machine, one: int, other: int) -> None:
    machine.view(one).fill_(other)


@step
def draw_a_view(machine: Machine, one: int, other: int) -> None:
    machine.view(one).uniform_(-1, 1)


@step
def scale_a_view(machine: Machine, one: int, other: int) -> None:
    machine.view(one).mul_(0.5).add_(other)


@step
def put_by_index(machine: Machine, one: int, other: int) -> None:
    machine.weight(one).data[other % SIZE, 1::2] = 7.0


@step
def put_by_list(machine: Machine, one: int, other: int) -> None:
    machine.weight(one).data[[other % SIZE, 0]] = 8.0


@step
def read_a_view(machine: Machine, one: int, other: int) -> None:
    machine.seen.append(machine.view(one).sum())


@step
def read_a_weight(machine: Machine, one: int, other: int) -> None:
    machine.seen.append(machine.weight(one).detach() * 2)


@step
def copy_one_into_another(machine: Machine, one: int, other: int) -> None:
    machine.weight(one).data.copy_(machine.weight(other).data)


@step
def replace_the_data(machine: Machine, one: int, other: int) -> None:
    machine.weight(one).data = machine.weight(other).data.clone()


@step
def share_the_data(machine: Machine, one: int, other: int) -> None:
    machine.weight(one).data = machine.weight(other).data


@step
def tie(machine: Machine, one: int, other: int) -> None:
    machine.layers[one % LAYERS].weight = machine.weight(other)


@step
def copy_a_layer(machine: Machine, one: int, other: int) -> None:
    machine.layers[one % LAYERS] = copy.deepcopy(machine.layers[other % LAYERS])


@step
def draw_elsewhere(machine: Machine, one: int, other: int) -> None:
    machine.seen.append(torch.rand(3))


@step
def seed(machine: Machine, one: int, other: int) -> None:
    torch.manual_seed(other)


@step
def note_the_state(machine: Machine, one: int, other: int) -> None:
    machine.states.append(torch.get_rng_state())


@step
def go_back_to_a_state(machine: Machine, one: int, other: int) -> None:
    torch.set_rng_state(machine.states[one % len(machine.states)])


@step
def write_unseen(machine: Machine, one: int, other: int) -> None:
    # As C++ does, or another thread: no mode is told.
    with torch._C.DisableTorchFunction(), torch.no_grad():
        machine.weight(one).fill_(other)


PROGRAMS = st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 7), st.integers(0, 7)), max_size=25)


LARGE = Deferrer.LARGE


def differences(program: list[tuple[str, int, int]], large: int) -> list[int]:
    """The places of what a program leaves that differ, if parameters of `large` elements are worth deferring."""
    torch.manual_seed(3)
    plain = Machine().run(program).outcome()
    torch.manual_seed(3)
    with mock.patch.object(Deferrer, "LARGE", large), autoinit([]):
        machine = Machine().run(program)
    deferred = machine.outcome()
    assert len(plain) == len(deferred)
    return [
        index for index, (one, other) in enumerate(zip(plain, deferred, strict=True)) if not torch.equal(one, other)
    ]


@given(PROGRAMS, st.sampled_from([1, LARGE]))
def test_a_program_ends_as_it_does_plainly(program: list[tuple[str, int, int]], large: int) -> None:
    assert differences(program, large) == []


SABOTAGE = {
    "what is read is not brought up to date": (records.Records, "run_for", lambda self, storages: None),
    "draws elsewhere overtake those that are pending": (records.Records, "run_draws", lambda self: None),
    "a fill does not wait for those before it": (
        records.Records,
        "_before",
        lambda self, last, besides=(): [each for each in self._draws if each.number == last],
    ),
    "a write of others is overwritten": (
        records.Records,
        "_fill",
        lambda self, record, is_seen: record.function(record.tensor, *record.args, **record.kwargs),
    ),
    "a fill of a part leaves nothing of the whole": (records.Record, "covers", lambda self, other: True),
}


@pytest.mark.parametrize(("owner", "name", "wrong"), SABOTAGE.values(), ids=SABOTAGE)
def test_the_programs_find_mistakes(
    owner: type, name: str, wrong: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, wrong)

    @settings(max_examples=400, database=None, derandomize=True, phases=[Phase.generate])
    @given(PROGRAMS)
    def run(program: list[tuple[str, int, int]]) -> None:
        assert differences(program, large=1) == []

    with pytest.raises(AssertionError):
        run()
