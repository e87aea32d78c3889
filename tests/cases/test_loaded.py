"""Parameters that hold data (contracts O1, O2): files, tensors made before the block, NumPy, training, explicit calls.

Right: they keep them (an outcome that starts with "kept"), and nothing that existed before the block changes.
"""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy
import torch
from safetensors import torch as safetensors
from torch import Tensor, nn

from autoinit import autoinit, initialize, normal_init
from tests.models import filled_with

NORMAL = dict(type="Normal", layer=["Linear", "_ConvNd", "Embedding"], std=0.02)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(80, 80), nn.ReLU(), nn.Linear(80, 8))


def is_seven(*tensors: Tensor) -> bool:
    return all(bool((tensor == 7).all()) for tensor in tensors)


def kept(run: Any, *fqns: str) -> bool:
    """Whether a report of the run has each of the names, and says of it that it was kept."""
    entries = [report[fqn] for fqn in fqns for report in run.reports if fqn in report]
    return len(entries) >= len(fqns) and all(entry.outcome.startswith("kept") for entry in entries)


class Lora(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.linear = nn.Linear(base.in_features, base.out_features)
        self.down, self.up = nn.Linear(base.in_features, 4, bias=False), nn.Linear(4, base.out_features, bias=False)
        self.linear.weight, self.linear.bias = base.weight, base.bias


def test_a_pretrained_parameter_moves_into_a_new_layer() -> None:
    """cloneofsimo/lora lora_diffusion/lora.py: a layer from outside gives its parameters to a new one and goes.

    Right: kept; only what is new is filled.
    """
    model = filled_with(7, net())
    with autoinit(NORMAL, seed=0) as run:
        model[0], model[2] = Lora(model[0]), Lora(model[2])
    assert is_seven(model[0].linear.weight, model[2].linear.bias) and kept(run, "linear.weight", "linear.bias")
    assert abs(model[0].down.weight.std() - 0.02) < 0.003


def test_a_parameter_loaded_in_the_block_moves_into_a_new_layer() -> None:
    """cloneofsimo/lora lora_diffusion/lora.py, on a model that is loaded in the block.

    Right: kept, in whatever layer it ends.
    """
    checkpoint = filled_with(7, net()).state_dict()
    with autoinit(NORMAL, seed=0) as run:
        model = net()
        model.load_state_dict(checkpoint)
        model[0] = Lora(model[0])
    assert is_seven(model[0].linear.weight, model[0].linear.bias) and kept(run, "0.linear.weight", "0.linear.bias")
    assert abs(model[0].down.weight.std() - 0.02) < 0.003


def test_a_convolution_is_inflated_from_one_of_fewer_dimensions() -> None:
    """hassony2/kinetics_i3d_pytorch src/inflate.py: a 3d weight is a pretrained 2d weight, repeated and divided.

    Right: kept.
    """
    flat = filled_with(7, nn.Conv2d(3, 64, 3))
    with autoinit(NORMAL, seed=0) as run:
        conv = nn.Conv3d(3, 64, 3)
        conv.weight = nn.Parameter(flat.weight.data.unsqueeze(2).repeat(1, 1, 3, 1, 1) / 3)
        conv.bias = flat.bias
    assert (
        torch.allclose(conv.weight, torch.tensor(7 / 3))
        and is_seven(conv.bias, flat.weight)
        and kept(run, "weight", "bias")
    )


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


def place(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """As accelerate's `set_module_tensor_to_device`: new parameters in the tables of the modules."""
    for name, tensor in tensors.items():
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._parameters[leaf] = nn.Parameter(tensor.to("cpu"))
    return model


def test_a_model_on_meta_gets_parameters_from_a_dict_made_before() -> None:
    """huggingface/diffusers#281: from_pretrained builds on meta and puts parameters in place by accelerate.

    Right: kept.
    """
    checkpoint = filled_with(7, net()).state_dict()
    with autoinit(NORMAL, seed=0) as run:
        with torch.device("meta"):
            model = net()
        place(model, checkpoint)
    assert is_seven(*model.parameters()) and kept(run, "0.weight", "0.bias", "2.weight", "2.bias")


def test_a_model_on_meta_gets_parameters_from_a_file_read_in_the_block() -> None:
    """huggingface/diffusers#1115: the same, the file is read in the block by torch.load. Right: kept."""
    torch.save(filled_with(7, net()).state_dict(), file := io.BytesIO())
    with autoinit(NORMAL, seed=0) as run:
        with torch.device("meta"):
            model = net()
        file.seek(0)
        place(model, torch.load(file, weights_only=True))
    assert is_seven(*model.parameters()) and kept(run, "0.weight", "2.bias")


def test_a_built_model_gets_parameters_from_a_safetensors_file(tmp_path: pathlib.Path) -> None:
    """huggingface/accelerate utils/modeling.py (load_checkpoint_in_model with a device_map): new Parameters over those
    that were built.

    Right: kept.
    """
    safetensors.save_file(filled_with(7, net()).state_dict(), tmp_path / "x.safetensors")
    with autoinit(NORMAL, seed=0) as run:
        model = place(net(), safetensors.load_file(tmp_path / "x.safetensors"))
    assert is_seven(*model.parameters()) and kept(run, "0.weight", "2.bias")


def test_a_state_dict_is_written_entry_by_entry() -> None:
    """michuanhaohao/reid-strong-baseline modeling/baseline.py (load_param): model.state_dict()[key].copy_(value).

    Right: kept.
    """
    checkpoint = filled_with(7, net()).state_dict()
    with autoinit(NORMAL, seed=0) as run:
        model = net()
        for key, value in checkpoint.items():
            model.state_dict()[key].copy_(value)
    assert is_seven(*model.parameters()) and kept(run, "0.weight", "2.bias")


def test_a_vector_from_outside_becomes_the_memory_of_the_parameters() -> None:
    """pytorch/pytorch torch/nn/utils/convert_parameters.py (vector_to_parameters): parameters become views of a vector.

    Right: kept, the vector unchanged.
    """
    vector = torch.full((80 * 80 + 80 + 80 * 8 + 8,), 7.0)
    with autoinit(NORMAL, seed=0) as run:
        model = net()
        nn.utils.vector_to_parameters(vector, model.parameters())
    assert is_seven(vector, *model.parameters()) and kept(run, "0.weight", "2.bias")


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


def test_word_vectors_come_from_numpy() -> None:
    """bentrevett/pytorch-sentiment-analysis (embedding.weight.data.copy_(pretrained vectors)), vectors from numpy.

    Right: kept.
    """
    vectors = numpy.full((200, 50), 7, dtype="float32")
    with autoinit(NORMAL, seed=0) as run:
        table = nn.Embedding(200, 50)
        table.weight.data.copy_(torch.from_numpy(vectors))
    assert is_seven(table.weight) and kept(run, "weight")


def test_arrays_of_another_framework_become_the_data_of_parameters() -> None:
    """huggingface/transformers load_tf_weights_in_bert: pointer.data = torch.from_numpy(array).

    Right: kept, and the array unchanged.
    """
    array = numpy.full((80, 80), 7, dtype="float32")
    with autoinit(NORMAL, seed=0) as run:
        model = net()
        model[0].weight.data = torch.from_numpy(array)
    assert is_seven(model[0].weight) and (array == 7).all() and kept(run, "0.weight")


def test_a_frozen_table_that_numpy_computed_stays() -> None:
    """facebookresearch/mae models_mae.py: pos_embed, requires_grad=False, gets a sine table of numpy by data.copy_.

    Right: kept; cls_token is filled.
    """
    table = numpy.sin(numpy.outer(numpy.arange(64), numpy.arange(128) / 128)).astype("float32")

    class Mae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cls_token, self.pos_embed = (
                nn.Parameter(torch.zeros(1, 1, 128)),
                nn.Parameter(torch.zeros(1, 64, 128), requires_grad=False),
            )
            self.pos_embed.data.copy_(torch.from_numpy(table).unsqueeze(0))

    with autoinit(dict(type="Normal", name="**", params="*", std=0.02), seed=0) as run:
        model = Mae()
    assert (
        (model.pos_embed[0].numpy() == table).all() and kept(run, "pos_embed") and 0.01 < model.cls_token.std() < 0.03
    )


def test_what_was_trained_without_a_call_stays() -> None:
    """bayesiains/nflows nflows/distributions/base.py: a model that is trained by a method and must not be called.

    Right: kept, the trained values.
    """

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.v = nn.Parameter(torch.randn(64, 64)), nn.Parameter(torch.randn(64, 64))

        def loss(self) -> Tensor:
            return (self.u @ self.v.T).square().mean()

    with autoinit(dict(type="Constant", params=["u", "v"], val=3.0)) as run:
        model = Factors()
        optimizer = torch.optim.SGD(model.parameters(), 1.0)
        model.loss().backward()
        optimizer.step()
        trained = model.u.detach().clone()
    assert torch.equal(model.u, trained) and kept(run, "u", "v")


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 64)


def test_a_rule_may_say_that_it_overwrites() -> None:
    """design.md O2: overwrite=True on a rule. Right: this rule fills what was loaded, a rule without it does not."""
    checkpoint = filled_with(7, net()).state_dict()
    with autoinit([NORMAL, dict(type="Constant", name="2", val=1.0, overwrite=True)], seed=0) as run:
        model = net()
        model.load_state_dict(checkpoint)
    assert is_seven(model[0].weight) and kept(run, "0.weight") and bool((model[2].weight == 1).all())


def test_a_part_is_initialized_explicitly_in_the_block() -> None:
    """autoinit's own API, "an inner block beats an outer one": initialize(model.head, cfg) inside a block.

    Right: it stands; the rest is the block's.
    """
    with autoinit(NORMAL, seed=0) as run:
        model = Parts()
        initialize(model.head, dict(type="Constant", layer="Linear", val=7.0, bias=7.0))
    assert is_seven(model.head.weight, model.head.bias) and kept(run, "head.weight", "head.bias")
    assert abs(model.body.weight.std() - 0.02) < 0.002


def test_one_layer_is_initialized_by_a_function_of_ours_in_the_block() -> None:
    """open-mmlab/mmdetection 2.x, heads that call normal_init(layer, std=0.01) themselves. Right: it stands."""
    with autoinit(NORMAL, seed=0) as run:
        model = Parts()
        normal_init(model.head, mean=7, std=0.001)
    assert abs(model.head.weight.mean() - 7) < 0.01 and kept(run, "head.weight", "head.bias")


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
