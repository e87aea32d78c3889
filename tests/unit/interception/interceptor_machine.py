"""Whatever happens while blocks are open, and what ought to become of each layer: a machine with a model as its oracle.

The model knows nothing of weights: which blocks a layer was built in, whether it was loaded or called, and which
constant it should hold, or that it holds what its constructor drew.
"""

from __future__ import annotations

import copy
import io
import math
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest import mock

import torch
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor, nn
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack
from torch.nn.modules import module as torch_module

from autoinit import autoinit, paused
from autoinit.construction import Watch, current_watches, memory

WIDTH = 2
COVERED, NAMED, NOTHING = "covered", "named", "nothing"
"""What the rules of a block are about: all linear layers, those of one class, none that there is."""


class Marked(nn.Linear):
    """A linear layer with a name of its own."""


class Box(nn.Sequential):
    """Layers in a row."""


@dataclass(eq=False)
class Open:
    """A block or a pause, as the model knows it."""

    manager: Any
    number: int = 0
    about: str = NOTHING
    outer: Open | None = None
    is_pause: bool = False
    members: list[Node] = field(default_factory=list)
    final: set[int] = field(default_factory=set)
    filled_within: set[int] = field(default_factory=set)
    """Layers that a block inside this one has filled, whose rules beat this one's."""

    def chain(self) -> list[Open]:
        """This block and those around it when it was entered."""
        return [self, *(self.outer.chain() if self.outer else [])]

    def covers(self, node: Node) -> bool:
        return self.about == COVERED or (self.about == NAMED and type(node.module) is Marked)

    def roots(self) -> list[Node]:
        inside = {id(part) for node in self.waiting() for part in node.parts()[1:]}
        return [node for node in self.waiting() if id(node) not in inside]

    def waiting(self) -> list[Node]:
        return [node for node in self.members if id(node) not in self.final]

    def give_values(self, node: Node) -> None:
        """Give a model the values that this block has for it."""
        for part in node.parts():
            is_open = part in self.waiting() and not part.loaded and id(part) not in self.filled_within
            if part.is_layer and is_open and self.covers(part):
                part.value = float(self.number)
                for around in self.chain()[1:]:
                    around.filled_within.add(id(part))

    def close(self, node: Node) -> None:
        self.final.update(id(part) for part in node.parts())


@dataclass(eq=False)
class Node:
    """A layer or a box, as the model knows it."""

    module: nn.Module
    children: tuple[Node, ...] = ()
    value: float | Tensor | None = None
    """A constant, what the constructor drew, or None if it was not read yet."""
    loaded: bool = False
    read: bool = False
    """Whether it was read from a file as a whole, perhaps while nothing was watched: then it stays data."""

    @property
    def is_layer(self) -> bool:
        return isinstance(self.module, nn.Linear)

    def parts(self) -> list[Node]:
        found = {id(self): self}
        for child in self.children:
            found |= {id(part): part for part in child.parts()}
        return list(found.values())

    def weights(self) -> Tensor:
        return torch.cat([param.detach().flatten() for param in self.module.parameters()])

    def check(self) -> None:
        """Whether a layer holds what it ought to."""
        weights = self.weights()
        if self.value is None:
            bound = 1 / math.sqrt(WIDTH)
            assert (weights.abs() <= bound).all(), f"not what a constructor draws: {weights}"
            assert weights.unique().numel() > 1, f"not what a constructor draws: {weights}"
            self.value = weights.clone()
        elif isinstance(self.value, Tensor):
            assert torch.equal(weights, self.value), f"{weights}, and it was {self.value}"
        else:
            assert (weights == self.value).all(), f"{weights}, and it should be {self.value}"


def run_in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


class Interceptor(RuleBasedStateMachine):
    """Any interleaving of entering, leaving, failing, building, copying, loading, calling, training, pausing."""

    nodes = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[Open] = []
        self.all: list[Node] = []
        self.number = 0
        self.compiled = False
        self.init = nn.Module.__init__
        self.hooks = dict(torch_module._global_forward_pre_hooks)
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        # What is allocated is NaN until it is filled.
        torch.use_deterministic_algorithms(True)
        self.large = mock.patch.multiple(Watch, LARGE=1), mock.patch.multiple(memory, SMALL=1)
        self.is_large = False

    @initialize(is_large=st.sampled_from((True, True, False)))
    def layers_are_as_large_as_those_that_are_deferred(self, is_large: bool) -> None:
        self.is_large = is_large
        for each in self.large if is_large else ():
            each.start()

    # --- the model -----------------------------------------------------------------------------------------------

    def blocks(self) -> list[Open]:
        return [each for each in self.stack if not each.is_pause]

    def holders(self, node: Node) -> list[Open]:
        """The open blocks that a layer or box was built in, inner before outer."""
        return [each for each in reversed(self.blocks()) if node in each.members]

    def built(self, module: nn.Module, children: tuple[Node, ...] = ()) -> Node:
        node = Node(module, children)
        self.all.append(node)
        if self.stack and not self.stack[-1].is_pause:
            for each in self.stack[-1].chain():
                each.members.append(node)
        return node

    def called(self, node: Node) -> None:
        for part in node.parts():
            for block in self.holders(part):
                if id(part) not in block.final:
                    for root in block.roots():
                        if part in root.parts():
                            block.give_values(root)
                            block.close(root)

    def in_pause_since(self, block: Open) -> bool:
        return any(each.is_pause for each in self.stack[self.stack.index(block) + 1 :])

    # --- entering and leaving ------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.stack) < 4)
    @rule(about=st.sampled_from((COVERED, COVERED, NAMED, NAMED, NOTHING, "no rules")), defer=st.booleans())
    def enter(self, about: str, defer: bool) -> None:
        self.number += 1
        layer = {COVERED: "Linear", NAMED: Marked, NOTHING: "Conv2d"}
        value = dict(type="Constant", val=self.number + 10, bias=self.number + 10)
        cfg = [] if about == "no rules" else [dict(value, layer=layer[about])]
        outer = self.stack[-1] if self.stack and not self.stack[-1].is_pause else None
        manager = autoinit(cfg, defer=defer, unmatched="ignore")
        manager.__enter__()
        self.stack.append(Open(manager, self.number + 10, about, outer))

    @precondition(lambda self: self.stack and len(self.stack) < 4)
    @rule()
    def pause(self) -> None:
        manager = paused()
        manager.__enter__()
        self.stack.append(Open(manager, is_pause=True))

    def leave_block(self, index: int, failed: bool) -> None:
        block = self.stack.pop(index)
        if block.is_pause:
            block.manager.__exit__(None, None, None)
        else:
            error = KeyError("on purpose") if failed else None
            block.manager.__exit__(type(error) if error else None, error, None)
            if not failed:
                for root in block.roots():
                    block.give_values(root)

    @precondition(lambda self: self.stack)
    @rule(failed=st.booleans())
    def leave(self, failed: bool) -> None:
        self.leave_block(len(self.stack) - 1, failed)

    @precondition(lambda self: len(self.stack) > 1)
    @rule(index=st.integers(0, 2), failed=st.booleans())
    def leave_out_of_order(self, index: int, failed: bool) -> None:
        self.leave_block(index % len(self.stack), failed)

    # --- building ------------------------------------------------------------------------------------------------

    @rule(target=nodes, cls=st.sampled_from((nn.Linear, Marked)))
    def build(self, cls: type[nn.Linear]) -> Node:
        return self.built(cls(WIDTH, WIDTH))

    @rule(target=nodes, cls=st.sampled_from((nn.Linear, Marked)))
    def build_box(self, cls: type[nn.Linear]) -> Node:
        inner = tuple(self.built(each(WIDTH, WIDTH)) for each in (cls, nn.Linear))
        return self.built(Box(*(node.module for node in inner)), inner)

    @rule(target=nodes, inner=st.lists(nodes, min_size=1, max_size=2))
    def put_into_a_box(self, inner: list[Node]) -> Node:
        return self.built(Box(*(node.module for node in inner)), tuple(inner))

    @rule(target=nodes, original=nodes)
    def deepcopy(self, original: Node) -> Node:
        return self.made_of(original, copy.deepcopy(original.module), self.copied, {})

    @precondition(lambda self: self.stack and len(self.stack) < 4)
    @rule(target=nodes, original=nodes)
    def deepcopy_in_a_pause(self, original: Node) -> Node:
        self.pause()
        copied = self.deepcopy(original)
        self.leave(False)
        return copied

    @rule(target=nodes, original=nodes, value=st.integers(200, 203))
    def deepcopy_and_write(self, original: Node, value: int) -> Node:
        copied = self.deepcopy(original)
        self.write(copied, value)
        return copied

    def made_of(self, original: Node, module: nn.Module, make: Callable[..., Node], known: dict[int, Node]) -> Node:
        """The node of a module that was made of another one, without a constructor."""
        if id(original) not in known:
            parts = zip(original.children, module._modules.values(), strict=True)
            children = tuple(self.made_of(child, part, make, known) for child, part in parts if part is not None)
            # It has the very values of the original, which may not have been read yet.
            if original.is_layer and original.value is None:
                original.check()
            known[id(original)] = make(original, module, children)
        return known[id(original)]

    def copied(self, original: Node, module: nn.Module, children: tuple[Node, ...]) -> Node:
        node = Node(module, children, original.value, original.loaded, original.read)
        self.all.append(node)
        for block in self.holders(original):
            if not self.in_pause_since(block):
                block.members.append(node)
                for marked in (block.final, block.filled_within):
                    if id(original) in marked:  # A copy stays one (O3).
                        marked.add(id(node))
        return node

    @rule(target=nodes, original=nodes)
    def save_and_read_as_a_whole(self, original: Node) -> Node:
        file = io.BytesIO()
        torch.save(original.module, file)
        file.seek(0)
        return self.made_of(original, torch.load(file, weights_only=False), self.read, {})

    def read(self, original: Node, module: nn.Module, children: tuple[Node, ...]) -> Node:
        node = self.built(module, children)
        # Nothing of it is new, wherever it was read.
        node.value, node.loaded, node.read = original.value, True, True
        return node

    @rule(target=nodes, in_a_block=st.booleans())
    def build_in_a_thread(self, in_a_block: bool) -> Node:
        made: list[nn.Module] = []

        def build() -> None:
            with autoinit(dict(type="Constant", val=-1, bias=-1, layer="Linear")) if in_a_block else nullcontext():
                made.append(nn.Linear(WIDTH, WIDTH))

        run_in_a_thread(build)
        node = Node(made[0], value=-1.0 if in_a_block else None)
        self.all.append(node)
        return node

    # --- using ---------------------------------------------------------------------------------------------------

    @rule(node=nodes, in_a_thread=st.booleans())
    def forward(self, node: Node, in_a_thread: bool) -> None:
        call = partial(node.module, torch.ones(1, WIDTH))
        if in_a_thread:
            run_in_a_thread(call)
        else:
            call()
        self.called(node)

    @rule(node=nodes, value=st.integers(100, 103))
    def load(self, node: Node, value: int) -> None:
        node.module.load_state_dict({key: torch.full_like(t, value) for key, t in node.module.state_dict().items()})
        for part in node.parts():
            if part.is_layer:
                part.value, part.loaded = float(value), True

    @rule(node=nodes, value=st.integers(200, 203))
    def write(self, node: Node, value: int) -> None:
        if any(part.read for part in node.parts()):
            return
        with torch.no_grad():
            for param in node.module.parameters():
                param.fill_(value)
        for part in node.parts():
            if part.is_layer:
                # A number is initialization, also over what was loaded (O1) or what an inner block has filled.
                part.value, part.loaded = float(value), False
                for block in self.blocks():
                    block.filled_within.discard(id(part))

    @rule(node=nodes, value=st.integers(300, 303))
    def train(self, node: Node, value: int) -> None:
        self.forward(node, False)
        self.write(node, value)

    @rule(node=nodes)
    def look(self, node: Node) -> None:
        for part in node.parts():
            if part.is_layer:
                part.check()

    # --- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def what_no_open_block_holds_is_what_it_should_be(self) -> None:
        for node in self.all:
            if node.is_layer and not self.holders(node):
                node.check()

    @invariant()
    def without_a_block_there_is_no_trace(self) -> None:
        if not self.stack:
            assert self.init is None or nn.Module.__init__ is self.init
            assert dict(torch_module._global_forward_pre_hooks) == self.hooks
            assert _len_torch_function_stack() == _len_torch_dispatch_stack() == len(current_watches()) == 0
            for node in self.all:
                assert "init_cfg" not in node.module.__dict__
                assert type(node.module) in (nn.Linear, Marked, Box)

    def teardown(self) -> None:
        try:
            while self.stack:
                self.leave_block(len(self.stack) - 1, False)
            for node in self.all:
                if node.is_layer:
                    node.check()
        finally:
            while self.stack:  # What failed must not fail the next example.
                self.stack.pop().manager.__exit__(None, None, None)
            torch.use_deterministic_algorithms(self.deterministic)
            for each in self.large if self.is_large else ():
                each.stop()
            if self.compiled:
                torch.compiler.reset()


class Compiler(Interceptor):
    """The same with `torch.compile`, which takes a hundred times as long as all else."""

    @rule(node=Interceptor.nodes)
    def forward_of_a_compiled_one(self, node: Node) -> None:
        with warnings.catch_warnings():
            # The hook by which calls are noticed is there for as long as something waits for its values.
            warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks", UserWarning)
            torch.compile(node.module, backend=lambda graph, inputs: graph.forward)(torch.ones(1, WIDTH))
        self.compiled = True
        self.init = None  # type: ignore[assignment]  # torch.compile replaces it for good.
        self.called(node)
