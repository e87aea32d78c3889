"""peft: LoRA's matrices get an initialization of their own; the base model is left alone."""

from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

from autoinit import autoinit

base = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=100, n_positions=16))

CFG = [
    dict(type="Normal", name="**.lora_A.**", layer="Linear", std=0.02),
    dict(type="Constant", name="**.lora_B.**", layer="Linear", val=0),
]
with autoinit(CFG, seed=0) as run:
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["c_attn"]))
for fqn, entry in run.report.items():
    if "lora" in fqn:
        print(fqn, "|", entry.outcome, "|", entry.fill)
