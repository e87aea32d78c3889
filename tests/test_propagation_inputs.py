"""Inputs: as given, in every form that forward takes, or guessed for models of several libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from autoinit import AutoInitError, ConfigError, ConfigTypeError, InputError, StateError, propagate
from autoinit.propagation.inputs import guessed
from autoinit.propagation.tensors import tensors_in

from .zoo.operators import torchvision_operators

torchvision_operators()

from transformers import (  # noqa: E402
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    WhisperConfig,
    WhisperModel,
)

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
IMAGES = dict(image_size=32, patch_size=8)


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, n_positions=12))


def vit() -> nn.Module:
    return ViTForImageClassification(ViTConfig(**SMALL, **IMAGES, num_channels=1, num_labels=3))


def t5() -> nn.Module:
    return T5ForConditionalGeneration(T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=50))


def bert() -> nn.Module:
    return BertModel(BertConfig(**SMALL, vocab_size=50))


def clip() -> nn.Module:
    text = dict(**SMALL, vocab_size=50, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=dict(**SMALL, **IMAGES), projection_dim=8))


def whisper() -> nn.Module:
    sizes = dict(d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2)
    tokens = dict(vocab_size=50, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3)
    limits = dict(num_mel_bins=8, max_source_positions=10, max_target_positions=20, encoder_ffn_dim=16)
    return WhisperModel(WhisperConfig(**sizes, **tokens, **limits, decoder_ffn_dim=16))


def resnet18() -> nn.Module:
    from torchvision.models import resnet18

    return resnet18()


def vit_of_timm() -> nn.Module:
    from timm import create_model

    return create_model("vit_tiny_patch16_224", img_size=64, depth=2)


def small_cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 13 * 13, 10))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.lstm = nn.Embedding(30, 8), nn.LSTM(8, 8, batch_first=True)

    def forward(self, words: Tensor, state: tuple[Tensor, Tensor] | None = None) -> Any:
        return self.lstm(self.words(words), state)


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "gpt2": (gpt2, "input_ids: 4 x 12"),
    "vit": (vit, "pixel_values: 4 x 1 x 32 x 32"),
    "t5": (t5, "input_ids: 4 x 16, decoder_input_ids: 4 x 16"),
    "bert": (bert, "input_ids: 4 x 16"),
    "clip": (clip, "input_ids: 4 x 16, pixel_values: 4 x 3 x 32 x 32"),
    "whisper": (whisper, "input_features: 4 x 8 x 20, decoder_input_ids: 4 x 16"),
    "resnet18": (resnet18, "4 x 3 x 224 x 224"),
    "timm's vit": (vit_of_timm, "4 x 3 x 64 x 64"),
    "cnn for MNIST": (small_cnn, "4 x 1 x 28 x 28"),
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), "4 x 6"),
    "tagger": (Tagger, "4 x 16"),
    "gru": (lambda: nn.GRU(6, 8), "4 x 16 x 6"),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), "4 x 16 x 8"),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU()), "4 x 2 x 1024"),
    "generator of a gan": (lambda: nn.ConvTranspose2d(10, 4, 4), "4 x 10 x 1 x 1"),
    "half precision": (lambda: nn.Linear(6, 8).bfloat16(), "4 x 6"),
}


@pytest.mark.parametrize(("build", "inputs"), MODELS.values(), ids=MODELS)
def test_inputs_are_guessed(build: Callable[[], nn.Module], inputs: str) -> None:
    torch.manual_seed(0)
    found = propagate(build(), batch=4)
    assert found.inputs == f"{inputs} (guessed)"
    assert all(flag.kind == "zero gradient" for flag in found.flags)
    assert any(signal.gradient for signal in found.values())
    assert found.gradients and any(found.gradients.values())


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)),
        lambda: nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 4)),
        lambda: ViTForImageClassification(ViTConfig(**SMALL, **IMAGES)),
        gpt2,
    ],
)
def test_what_is_drawn_does_not_depend_on_the_default_device(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build().eval()
    expected = propagate(model, batch=2)
    with torch.device("meta"):
        found = propagate(model, batch=2)
    assert found.inputs == expected.inputs
    assert dict(found.items()) == dict(expected.items())


def test_words_that_are_none_are_not_guessed() -> None:
    config = BertConfig(**SMALL, vocab_size=6, pad_token_id=0, bos_token_id=1, eos_token_id=5)
    ids = guessed(BertModel(config), 64, 0).kwargs["input_ids"]
    assert set(ids.flatten().tolist()) == {2, 3, 4}


def test_a_guess_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    (one,), (same,), (other,) = (guessed(nn.Linear(3, 3), 4, seed).args for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, scale: Tensor, *, shift: float = 0.0) -> Tensor:
        return self.layer(x) * scale + shift


X, SCALE = torch.ones(2, 3), torch.tensor(2.0)


class Named(NamedTuple):
    x: Tensor


@pytest.mark.parametrize(
    ("model", "inputs", "text"),
    [
        (nn.Linear(3, 3), X, "2 x 3"),
        (nn.Linear(3, 3), (X,), "2 x 3"),
        (nn.Linear(3, 3), dict(input=X), "input: 2 x 3"),
        (Two(), (X, SCALE), "2 x 3, scalar"),
        (Two(), dict(x=X, scale=SCALE, shift=1.0), "x: 2 x 3, scale: scalar"),
    ],
)
def test_inputs_are_given_in_the_forms_that_forward_takes(model: nn.Module, inputs: Any, text: str) -> None:
    found = propagate(model, inputs)
    assert found.inputs == f"{text} (given)"
    assert found.gradients


def test_a_list_is_one_argument() -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, images: list[Tensor]) -> dict[str, list[Tensor]]:
            return {"boxes": [self.layer(image) for image in images]}

    assert propagate(Detector(), [X, torch.ones(5, 3)])["layer"].calls == 2


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None
    states: tuple[Tensor, ...] = ()


WRAPS: dict[str, Callable[[Tensor], object]] = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, None),
    "list in a dict": lambda y: {"out": [y], "name": "x"},
    "dataclass": lambda y: Output(logits=y, loss=None),
    "with a loss": lambda y: Output(logits=y, loss=y.sum()),
    "with ids": lambda y: (y.argmax(-1), y),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_outputs_may_come_in_any_wrapping(wrap: Callable[[Tensor], object]) -> None:
    class Wraps(nn.Module):
        def __init__(self, wrap: Callable[[Tensor], object]) -> None:
            super().__init__()
            self.inner, self.wrap = Inner(wrap), wrap

        def forward(self, x: Tensor) -> object:
            return self.inner(x)

    class Inner(nn.Module):
        def __init__(self, wrap: Callable[[Tensor], object]) -> None:
            super().__init__()
            self.weight, self.wrap = nn.Parameter(torch.eye(3) * 2), wrap

        def forward(self, x: Tensor) -> object:
            return self.wrap(x @ self.weight)

    found = propagate(Wraps(wrap), torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    assert found["inner"].gain == pytest.approx(2)
    assert found["inner"].gradient == pytest.approx(1)
    assert (
        found.gradients
        == propagate(Wraps(WRAPS["tensor"]), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))).gradients
    )


def test_a_loss_alone_is_differentiated() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1, bias=False)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"loss": self.layer(x).sum()}

    assert propagate(Loss(), X).gradients["layer.weight"] == pytest.approx(2 * 3**0.5)


def test_tensors_are_found_in_named_tuples() -> None:
    assert [tensor.shape for tensor in tensors_in(Named(X))] == [X.shape]


class Shapeless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("no such key")


ERRORS: dict[str, tuple[Callable[[], object], type[AutoInitError], str]] = {
    "two arguments": (
        lambda: propagate(Two()),
        InputError,
        "Two.forward(x: 'Tensor', scale: 'Tensor', *, shift: 'float' = 0.0) -> 'Tensor': its inputs cannot be guessed: "
        "it wants 2 arguments. Pass them: a tensor, a tuple of arguments, or a dict by name, as in "
        "propagate(model, dict(x=..., scale=...)).",
    ),
    "no layer": (
        lambda: propagate(Shapeless()),
        InputError,
        "Shapeless.forward(x: 'Tensor') -> 'Tensor': its inputs cannot be guessed, because it has no layer that says "
        "what it takes. Pass them: a tensor, a tuple of arguments, or a dict by name, as in "
        "propagate(model, dict(x=...)).",
    ),
    "a forward that fails": (
        lambda: propagate(Bare()),
        InputError,
        "Bare.forward(x: 'Tensor') -> 'Tensor': its inputs cannot be guessed, it fails with what was tried. "
        "8 x 3 (guessed): KeyError: 'no such key'; 8 x 16 x 3 (guessed): KeyError: 'no such key'. Pass them: a tensor, "
        "a tuple of arguments, or a dict by name, as in propagate(model, dict(x=...)).",
    ),
    "no module": (
        lambda: propagate(3),  # type: ignore[arg-type]
        ConfigTypeError,
        "propagate(): 3 is a int, not a torch.nn.Module.",
    ),
    "a batch of none": (
        lambda: propagate(nn.Linear(2, 2), batch=0),
        ConfigError,
        "batch=0 must be a positive integer.",
    ),
    "bounds of another kind": (
        lambda: propagate(nn.Linear(2, 2), bounds={"std": 1}),  # type: ignore[arg-type]
        ConfigTypeError,
        "bounds={'std': 1} must be a Bounds(...), of: std, gain, gradient, dead, zero_gradient, ignore.",
    ),
    "a lazy model": (
        lambda: propagate(nn.Sequential(nn.LazyLinear(2))),
        StateError,
        "0.weight is lazy and has no shape yet. Call the model once before propagate.",
    ),
    "a model on meta": (
        lambda: propagate(nn.Linear(2, 2, device="meta")),
        StateError,
        "weight is on the meta device and has no values. Propagate a model with memory, for example after "
        "to_empty(device=...) and initialize.",
    ),
    "nothing to watch": (
        lambda: propagate(nn.Sequential(Uses()), X),
        InputError,
        "Sequential: forward called no module that could be watched.",
    ),
}


class Uses(nn.Module):
    """Computes with a layer, and calls none."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.layer.weight


@pytest.mark.parametrize(("call", "error", "text"), ERRORS.values(), ids=ERRORS)
def test_errors_say_what_is_wanted(call: Callable[[], object], error: type[AutoInitError], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_an_error_of_the_model_is_its_cause() -> None:
    with pytest.raises(InputError) as caught:
        propagate(Bare())
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_with_given_inputs_is_the_models_own() -> None:
    with pytest.raises(KeyError, match="no such key"):
        propagate(Bare(), X)


def test_a_mapping_of_any_kind_is_named_arguments() -> None:
    class Encoding(Mapping[str, Tensor]):
        def __getitem__(self, key: str) -> Tensor:
            return {"input": X}[key]

        def __iter__(self) -> Any:
            return iter(["input"])

        def __len__(self) -> int:
            return 1

    assert propagate(nn.Linear(3, 3), Encoding()).inputs == "input: 2 x 3 (given)"
