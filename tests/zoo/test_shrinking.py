"""Configs made small: what stays in proportion, what is kept of layers, and which attempt is taken."""

from __future__ import annotations

import copy
import os
import signal
import time
from types import SimpleNamespace

import pytest
from torch import nn

from .shrinking import AT_MOST, TOKENS, different, kind_of, shrunk
from .transformers_models import changed, part_for, smallest, succeeds


class Config(SimpleNamespace):
    model_type = "made up"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("width", "hidden_size moe_intermediate_size d_model head_dim qk_rope_head_dim kv_lora_rank n_embd ffn_dim"),
        ("layers", "num_hidden_layers n_layer encoder_layers depth depths decoder_depth num_hidden_groups"),
        ("token", "pad_token_id image_token_index eos_token_ids vision_start_token_id pad_index"),
        ("vocabulary", "vocab_size text_vocab_size vocab_size_per_layer_input num_embeddings codebook_size"),
        ("positions", "max_position_embeddings max_source_positions n_positions max_seq_len"),
        ("experts", "num_experts n_routed_experts num_local_experts n_shared_experts"),
        ("choices among experts", "num_experts_per_tok num_experts_per_token moe_topk moe_k n_group topk_group"),
        ("as it is", "num_attention_heads image_size patch_size window_size kernel_size num_groups sampling_rate"),
    ],
)
def test_a_name_says_what_a_number_means(kind: str, names: str) -> None:
    assert {name: kind_of(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


def test_widths_are_divided_by_one_number_wherever_they_stand() -> None:
    inner = Config(d_model=768, heads=[dict(channels=(48, 96, 33))])
    config = Config(hidden_size=768, text_config=inner, num_attention_heads=32, few_channels=3)
    before = copy.deepcopy(config)
    # Numbers that are no multiple stay.
    small_inner = Config(d_model=48, heads=[dict(channels=(3, 6, 33))])
    small = Config(hidden_size=48, text_config=small_inner, num_attention_heads=32, few_channels=3)
    assert shrunk(config, 16) == small
    assert config == before


def test_counts_get_small_and_tokens_fit_the_vocabulary() -> None:
    tokens = dict(eos_token_id=49_999, pad_token_id=-1)
    small = shrunk(Config(vocab_size=50_000, num_experts=64, max_positions=4096, **tokens), 2)
    assert small.vocab_size == AT_MOST["vocabulary"] > TOKENS > small.eos_token_id
    assert small.pad_token_id == -1
    assert (small.num_experts, small.max_positions) == (AT_MOST["experts"], AT_MOST["positions"])


def test_what_is_no_number_or_a_truth_value_stays() -> None:
    given = Config(hidden_size=None, use_layers=True, num_layers="many", id2label={0: "hidden_size"})
    assert vars(shrunk(given, 16)) == vars(given)


def test_one_layer_of_each_kind_is_kept_in_every_list_about_layers() -> None:
    config = Config(num_hidden_layers=6, layer_types=[*"aaabab"], intermediate_size=[32, 32, 64, 64, 32, 64])
    assert shrunk(config, 16) == Config(num_hidden_layers=3, layer_types=[*"aab"], intermediate_size=[2, 4, 4])
    # A list of another length is not about layers.
    config = Config(num_layers=6, stages=[*"abc"], depths=[9, 1, 3])
    assert shrunk(config, 16) == Config(num_layers=2, stages=[*"abc"], depths=[2, 1, 2])


def test_at_least_two_layers_are_kept_and_not_too_many() -> None:
    assert different(["a"] * 30) == [0, 1]
    assert different(list(range(30))) == [0, 1, 2, 3, 4, 5]


class Divisible(nn.Module):
    """Accepts widths of whole heads only, as most models do."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.hidden_size % config.num_attention_heads:
            raise ValueError
        self.linear = nn.Linear(config.hidden_size, config.hidden_size)


class Curious(Divisible):
    """Looks at its values, which a model on the meta device has none of."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scale = self.linear.weight.max().item()


@pytest.mark.parametrize("cls", [Divisible, Curious])
def test_the_smallest_config_that_the_models_code_accepts_is_taken(cls: type[nn.Module]) -> None:
    config = Config(hidden_size=96, num_attention_heads=24)
    assert smallest(cls, config, {}).hidden_size == 24


def test_changes_reach_into_inner_configs() -> None:
    config = changed(Config(hidden_size=1, sub=Config(sub=Config(width=1))), {"hidden_size": 2, "sub.sub.width": 3})
    assert (config.hidden_size, config.sub.sub.width) == (2, 3)


def test_a_model_of_a_part_gets_the_config_of_that_part() -> None:
    class Whole(Config):
        pass

    class Part(Config):
        pass

    whole = Whole(hidden_size=1, decoder=Part(hidden_size=2))
    assert part_for(SimpleNamespace(config_class=Part), whole) is whole.decoder
    assert part_for(SimpleNamespace(config_class=Whole), whole) is whole
    assert part_for(SimpleNamespace(config_class=None), whole) is whole


def test_an_attempt_leaves_no_trace_however_it_ends() -> None:
    seen: list[int] = []
    assert succeeds(lambda: seen.append(1))
    assert not succeeds(lambda: 1 / 0)
    assert not succeeds(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert not succeeds(lambda: time.sleep(60), seconds=1)
    assert seen == []
