"""torch_geometric: its own `Linear`, bare parameters of convolutions, and sizes found by the first batch."""

import torch
from torch_geometric.nn import GATConv, GCNConv

from autoinit import autoinit


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = GCNConv(-1, 16)  # the number of inputs comes with the first batch
        self.second = GATConv(16, 8, heads=2)

    def forward(self, nodes, edges):
        return self.second(self.first(nodes, edges).relu(), edges)


CFG = [
    dict(type="Kaiming", layer="torch_geometric.nn.Linear", mode="fan_in"),
    dict(type="Normal", layer="GATConv", params="att_*", std=0.1),
    dict(type="Constant", layer=["GCNConv", "GATConv"], params="bias", val=0),
]
with autoinit(CFG, seed=0) as run:
    model = Net()
print(run.report)

nodes, edges = torch.randn(5, 4), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
model(nodes, edges)
print(run.report["first.lin.weight"].outcome, "|", run.report["first.lin.weight"].fill)
