"""Parameters that hold data (contracts O1, O2): files, tensors made before the block, NumPy, training, explicit calls.

Right: they keep them (an outcome that starts with "kept"), and nothing that existed before the block changes.
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from safetensors import torch as safetensors
from torch import Tensor, nn

from autoinit import autoinit, initialize, normal_init
from tests.models import filled_with

from . import Net, is_drawn

NORMAL = dict(type="Normal", layer=["Linear", "_ConvNd", "Embedding"], std=0.02)
State = dict[str, Tensor]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(80, 80), nn.ReLU(), nn.Linear(80, 8))


def is_seven(*tensors: Tensor) -> bool:
    return all(bool((tensor == 7).all()) for tensor in tensors)


def kept(run: Any, *fqns: str) -> bool:
    """True if a report of the run has each of the names, as kept."""
    entries = [report[fqn] for fqn in fqns for report in run.reports if fqn in report]
    return len(entries) >= len(fqns) and all(entry.outcome.startswith("kept") for entry in entries)


def place(model: nn.Module, tensors: State) -> nn.Module:
    """As accelerate's `set_module_tensor_to_device`: new parameters in the tables of the modules."""
    for name, tensor in tensors.items():
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._parameters[leaf] = nn.Parameter(tensor.to("cpu"))
    return model


def on_meta_from_a_dict(checkpoint: State, path: pathlib.Path) -> nn.Module:
    """huggingface/diffusers#281: from_pretrained builds on meta and puts parameters in place by accelerate."""
    with torch.device("meta"):
        model = net()
    return place(model, checkpoint)


def on_meta_from_a_file(checkpoint: State, path: pathlib.Path) -> nn.Module:
    """huggingface/diffusers#1115: the same, the file is read in the block by torch.load."""
    return on_meta_from_a_dict(torch.load(path, weights_only=True), path)


def over_built_ones(checkpoint: State, path: pathlib.Path) -> nn.Module:
    """huggingface/accelerate utils/modeling.py (load_checkpoint_in_model with a device_map), from safetensors."""
    return place(net(), safetensors.load_file(path.with_suffix(".safetensors")))


def entry_by_entry(checkpoint: State, path: pathlib.Path) -> nn.Module:
    """michuanhaohao/reid-strong-baseline modeling/baseline.py (load_param): model.state_dict()[key].copy_(value)."""
    model = net()
    for key, value in checkpoint.items():
        model.state_dict()[key].copy_(value)
    return model


def views_of_a_vector(checkpoint: State, path: pathlib.Path) -> nn.Module:
    """pytorch/pytorch torch/nn/utils/convert_parameters.py (vector_to_parameters): parameters become views."""
    model = net()
    nn.utils.vector_to_parameters(checkpoint["vector"], model.parameters())
    return model


@pytest.mark.parametrize(
    "load",
    [on_meta_from_a_dict, on_meta_from_a_file, over_built_ones, entry_by_entry, views_of_a_vector],
    ids=lambda load: load.__name__,
)
def test_what_another_program_loads_is_kept(
    load: Callable[[State, pathlib.Path], nn.Module], tmp_path: pathlib.Path
) -> None:
    path, checkpoint = tmp_path / "x.pth", filled_with(7, net()).state_dict()
    torch.save(checkpoint, path)
    safetensors.save_file(checkpoint, path.with_suffix(".safetensors"))
    if load is views_of_a_vector:
        checkpoint = {"vector": torch.full((80 * 80 + 80 + 80 * 8 + 8,), 7.0)}
    with autoinit(NORMAL, seed=0) as run:
        model = load(checkpoint, path)
    assert is_seven(*checkpoint.values(), *model.parameters())
    assert kept(run, "0.weight", "0.bias", "2.weight", "2.bias")


class Lora(nn.Module):
    """cloneofsimo/lora lora_diffusion/lora.py: a layer gives its parameters to a new one and goes."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.linear = nn.Linear(base.in_features, base.out_features)
        self.down, self.up = nn.Linear(base.in_features, 4, bias=False), nn.Linear(4, base.out_features, bias=False)
        self.linear.weight, self.linear.bias = base.weight, base.bias


@pytest.mark.parametrize("loaded_in_the_block", [False, True])
def test_a_parameter_moves_into_a_new_layer(loaded_in_the_block: bool) -> None:
    """Right: kept, in whatever layer it ends; only what is new is filled."""
    model, prefix = filled_with(7, net()), "0." if loaded_in_the_block else ""
    with autoinit(NORMAL, seed=0) as run:
        if loaded_in_the_block:
            checkpoint, model = model.state_dict(), net()
            model.load_state_dict(checkpoint)
        model[0], model[2] = Lora(model[0]), Lora(model[2])
    assert is_seven(*model[0].linear.parameters(), *model[2].linear.parameters())
    assert kept(run, f"{prefix}linear.weight", f"{prefix}linear.bias") and is_drawn(model[0].down.weight)


def test_a_convolution_is_inflated_from_one_of_fewer_dimensions() -> None:
    """hassony2/kinetics_i3d_pytorch src/inflate.py: a 3d weight is a pretrained 2d weight, repeated and divided.

    Right: kept.
    """
    flat = filled_with(7, nn.Conv2d(3, 64, 3))
    with autoinit(NORMAL, seed=0) as run:
        conv = nn.Conv3d(3, 64, 3)
        conv.weight = nn.Parameter(flat.weight.data.unsqueeze(2).repeat(1, 1, 3, 1, 1) / 3)
        conv.bias = flat.bias
    assert torch.allclose(conv.weight, torch.tensor(7 / 3)) and is_seven(conv.bias, flat.weight)
    assert kept(run, "weight", "bias")


def test_a_first_layer_gets_more_channels_than_the_checkpoint_has() -> None:
    """open-mmlab/mmdetection#7357: new conv1 of 5 channels, its first 3 from the pretrained weight.

    Right: kept, those 3 to the last bit.
    """
    old = filled_with(7, nn.Conv2d(3, 64, 7, bias=False)).weight.clone()
    with autoinit(NORMAL, seed=0) as run:
        conv = nn.Conv2d(5, 64, 7, bias=False)
        with torch.no_grad():
            conv.weight[:, :3] = old
    assert is_seven(conv.weight[:, :3]) and kept(run, "weight")


def test_position_embeddings_get_longer() -> None:
    """huggingface/transformers#13559: a longer nn.Embedding takes the rows of the loaded one.

    Right: kept, those rows to the last bit.
    """
    checkpoint = filled_with(7, nn.Embedding(16, 32)).state_dict()
    with autoinit(NORMAL, seed=0) as run:
        model = nn.Sequential(nn.Embedding(16, 32))
        model[0].load_state_dict(checkpoint)
        longer = nn.Embedding(128, 32)
        longer.weight.data[:16] = model[0].weight.data
        model[0] = longer
    assert is_seven(longer.weight[:16]) and kept(run, "0.weight")


def test_a_parameter_is_made_of_a_tensor_from_outside() -> None:
    """torch docs, nn.Parameter(tensor): it has the memory of the tensor.

    Right: kept, and the model that the tensor belongs to unchanged.
    """
    donor = filled_with(7, net())
    with autoinit(NORMAL, seed=0) as run:
        model = net()
        model[0].weight = nn.Parameter(donor[0].weight.detach())
    assert is_seven(donor[0].weight, model[0].weight) and kept(run, "0.weight")


def test_an_exported_program_is_read_as_a_backbone() -> None:
    """torch docs, torch.export.load: the module of a program that was read from a file.

    Right: its parameters stay, also under a rule for every name.
    """
    torch.export.save(torch.export.export(filled_with(7, net()), (torch.zeros(2, 80),)), file := io.BytesIO())
    file.seek(0)
    with autoinit(dict(type="Normal", name="**", std=0.02), seed=0, unmatched="ignore"):
        model = torch.export.load(file).module()
    assert is_seven(*model.parameters())


def test_arrays_of_numpy_are_data() -> None:
    """bentrevett/pytorch-sentiment-analysis: embedding.weight.data.copy_(vectors);
    huggingface/transformers load_tf_weights_in_bert: pointer.data = torch.from_numpy(array).

    Right: kept, and the arrays unchanged.
    """
    vectors, array = (numpy.full(shape, 7, dtype="float32") for shape in ((200, 50), (80, 80)))
    with autoinit(NORMAL, seed=0) as run:
        model = nn.Sequential(nn.Embedding(200, 50), nn.Linear(80, 80))
        model[0].weight.data.copy_(torch.from_numpy(vectors))
        model[1].weight.data = torch.from_numpy(array)
    assert is_seven(model[0].weight, model[1].weight) and (array == 7).all() and kept(run, "0.weight", "1.weight")


def test_a_frozen_table_that_numpy_computed_stays() -> None:
    """facebookresearch/mae models_mae.py: pos_embed, requires_grad=False, gets a sine table of numpy by data.copy_.

    Right: kept; cls_token is filled.
    """
    table = numpy.sin(numpy.outer(numpy.arange(64), numpy.arange(128) / 128)).astype("float32")

    def construct(mae: Any) -> None:
        mae.cls_token = nn.Parameter(torch.zeros(1, 1, 128))
        mae.pos_embed = nn.Parameter(torch.zeros(1, 64, 128), requires_grad=False)
        mae.pos_embed.data.copy_(torch.from_numpy(table).unsqueeze(0))

    with autoinit(dict(type="Normal", name="**", params="*", std=0.02), seed=0) as run:
        model = Net(construct)
    assert (model.pos_embed[0].numpy() == table).all() and kept(run, "pos_embed")
    assert 0.01 < model.cls_token.std() < 0.03


def test_what_was_trained_without_a_call_stays() -> None:
    """bayesiains/nflows nflows/distributions/base.py: a model that is trained by a method and must not be called.

    Right: kept, the trained values.
    """

    def construct(factors: Any) -> None:
        factors.u, factors.v = nn.Parameter(torch.randn(64, 64)), nn.Parameter(torch.randn(64, 64))

    with autoinit(dict(type="Constant", params=["u", "v"], val=3.0)) as run:
        model = Net(construct)
        optimizer = torch.optim.SGD(model.parameters(), 1.0)
        (model.u @ model.v.T).square().mean().backward()
        optimizer.step()
        trained = model.u.detach().clone()
    assert torch.equal(model.u, trained) and kept(run, "u", "v")


def test_a_rule_may_say_that_it_overwrites() -> None:
    """design.md O2: overwrite=True on a rule. Right: this rule fills what was loaded, a rule without it does not."""
    checkpoint = filled_with(7, net()).state_dict()
    with autoinit([NORMAL, dict(type="Constant", name="2", val=1.0, overwrite=True)], seed=0) as run:
        model = net()
        model.load_state_dict(checkpoint)
    assert is_seven(model[0].weight) and kept(run, "0.weight") and bool((model[2].weight == 1).all())


@pytest.mark.parametrize(
    ("call", "spread"),
    [
        (lambda layer: initialize(layer, dict(type="Constant", layer="Linear", val=7.0, bias=7.0)), 0.0),
        (lambda layer: normal_init(layer, mean=7, std=0.001, bias=7), 0.01),
    ],
)
def test_a_part_is_initialized_explicitly_in_the_block(call: Callable[[nn.Module], object], spread: float) -> None:
    """autoinit's own API, "an inner block beats an outer one": initialize(model.head, cfg) inside a block;
    open-mmlab/mmdetection 2.x, heads that call normal_init(layer, std=0.01) themselves.

    Right: it stands; the rest is the block's.
    """

    def construct(m: Any) -> None:
        m.body, m.head = nn.Linear(64, 64), nn.Linear(64, 64)

    with autoinit(NORMAL, seed=0) as run:
        model = Net(construct)
        call(model.head)
    assert ((model.head.weight - 7).abs() <= spread).all() and is_seven(model.head.bias)
    assert kept(run, "head.weight", "head.bias") and is_drawn(model.body.weight)


def test_a_checkpoint_from_before_batches_were_counted_is_loaded() -> None:
    """`BatchNorm` then copies its counter to itself."""
    state = {name: value for name, value in nn.BatchNorm2d(2).state_dict().items() if "num_batches" not in name}
    with autoinit(dict(type="Constant", layer="BatchNorm2d", val=3)) as run:
        layer = nn.BatchNorm2d(2)
        layer.load_state_dict(state)
    assert kept(run, "weight", "bias") and layer.weight.unique().tolist() == [1.0]


def test_data_that_is_computed_in_its_own_memory_stays() -> None:
    values = torch.full((2, 2), 3.0)
    with autoinit(dict(type="Constant", layer="Linear", val=1)) as run, torch.no_grad():
        layer = nn.Linear(2, 2)
        layer.weight.copy_(values)
        torch.mul(layer.weight, 2, out=layer.weight)
    assert layer.weight.unique().tolist() == [6.0]
    assert run.report["weight"].outcome.startswith("kept: data")
