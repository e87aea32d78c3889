"""Lightning: the block goes around the layers in `configure_model`, so that it works with every strategy."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autoinit import autoinit

CFG = [
    dict(type="Kaiming", layer="Linear", mode="fan_in"),
    dict(type="Constant", name="2", val=0),
]


class Classifier(lightning.LightningModule):
    def __init__(self, width=32, cfg=None, seed=0):
        super().__init__()
        self.save_hyperparameters()
        self.net = None

    def configure_model(self):
        if self.net is not None:  # Lightning calls this before each fit, validate, test and predict
            return
        with autoinit(self.hparams.cfg, seed=self.hparams.seed) as run:
            self.net = nn.Sequential(nn.Linear(8, self.hparams.width), nn.ReLU(), nn.Linear(self.hparams.width, 2))
        print(run.report.caption)

    def training_step(self, batch, _):
        inputs, labels = batch
        return nn.functional.cross_entropy(self.net(inputs), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


batches = DataLoader(TensorDataset(torch.randn(16, 8), torch.randint(2, (16,))), batch_size=8)
trainer = lightning.Trainer(
    accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False
)
model = Classifier(cfg=CFG)
trainer.fit(model, batches)
trainer.save_checkpoint("last.ckpt")

# The checkpoint has the config among the hyperparameters. The weights that it loads replace the initial ones.
loaded = Classifier.load_from_checkpoint("last.ckpt", weights_only=True)
print(torch.equal(loaded.net[2].weight, model.net[2].weight), bool(loaded.net[2].weight.any()))
