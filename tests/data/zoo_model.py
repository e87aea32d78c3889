"""The network that the outcomes in real_init_cfgs.json were taken on: every layer kind once, torch only."""

import torch
import torch.nn as nn


class LayerScale(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))


class ConvModule(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3)
        self.bn = nn.BatchNorm2d(channels_out)


class SubLinear(nn.Linear):
    pass


class Zoo(nn.Module):
    """A fixed part, and one `nn.Conv2d` for each override name of a config."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.conv1d_ = nn.Conv1d(4, 4, 3)
        self.conv2d_ = nn.Conv2d(4, 4, 3)
        self.conv3d_ = nn.Conv3d(2, 2, 3)
        self.deconv1_ = nn.ConvTranspose1d(4, 4, 3)
        self.deconv2_ = nn.ConvTranspose2d(4, 4, 3)
        self.deconv3_ = nn.ConvTranspose3d(2, 2, 3)
        self.linear_ = nn.Linear(4, 4)
        self.sublinear_ = SubLinear(4, 4)
        self.emb_ = nn.Embedding(5, 4)
        self.bn1_ = nn.BatchNorm1d(4)
        self.bn2_ = nn.BatchNorm2d(4)
        self.sbn_ = nn.SyncBatchNorm(4)
        self.gn_ = nn.GroupNorm(2, 4)
        self.ln_ = nn.LayerNorm(4)
        self.in_ = nn.InstanceNorm2d(4, affine=True)
        self.prelu_ = nn.PReLU()
        self.ls_ = LayerScale(4)
        self.cm_ = ConvModule(4, 4)
        self.seq_ = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Linear(4, 4))
        self.mha_ = nn.MultiheadAttention(4, 2)
        self.lstm_ = nn.LSTM(4, 4)
        for name in names:
            setattr(self, name, nn.Conv2d(4, 4, 3))
