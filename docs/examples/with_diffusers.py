"""diffusers: the last convolution of each residual block begins at zero."""

from diffusers import UNet2DModel

from autoinit import autoinit

CFG = [
    dict(type="VarianceScaling", layer=["Conv2d", "Linear"], mode="fan_avg", distribution="uniform"),
    dict(type="Constant", layer="GroupNorm", val=1),
    dict(type="Constant", name=["**.resnets.*.conv2", "conv_out"], val=0),
]
with autoinit(CFG, seed=0, require_coverage=True) as run:
    model = UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
print(run.report.caption)
print(run.report["mid_block.resnets.0.conv2.weight"].fill, "|", run.report["conv_in.weight"].fill)
