"""transformers: a model from its config, and a new head on a pretrained body."""

from transformers import BertConfig, BertForSequenceClassification, BertModel

from autoinit import autoinit, verify

CFG = [
    dict(type="TruncNormal", layer=["Linear", "Embedding"], std=0.02, a=-0.04, b=0.04),
    dict(type="Constant", layer="LayerNorm", val=1),
]
config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100)

with autoinit(CFG, seed=0, require_coverage=True) as run:
    body = BertModel(config)
print(run.report.caption)
print("verify:", verify(body, run.report).caption)

# Loaded weights are kept. The rule fills the head, which the checkpoint does not have.
body.save_pretrained("body")
with autoinit(dict(type="Constant", layer="Linear", val=0)) as run:
    model = BertForSequenceClassification.from_pretrained("body")
for fqn in ("bert.pooler.dense.weight", "classifier.weight", "classifier.bias"):
    print(fqn, "|", run.report[fqn].outcome)
