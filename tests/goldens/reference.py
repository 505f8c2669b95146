"""The two networks of the voxel runs in PyTorch: what the engine's models are compared with.

Axis order is PyTorch's (N, C, D, H, W) and the state-dict names are the published ones.
"""

import math

import torch
from torch import nn


def normalisation(kind: str, channels: int) -> nn.Module:
    """One normalisation layer; Identity keeps the indices of the layers after it when there is none."""
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "group":
        return nn.GroupNorm(min(8, channels), channels)
    if kind == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"normalisation: expected batch, group, instance or none, got {kind!r}")


class DoubleConv(nn.Module):
    """(Conv3d 3x3x3 with bias, normalisation, ReLU) twice; indices 0,1,3,4 carry the parameters."""

    def __init__(self, inputs: int, mid: int, outputs: int, norm: str):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv3d(inputs, mid, 3, padding=1),
            normalisation(norm, mid),
            nn.ReLU(),
            nn.Conv3d(mid, outputs, 3, padding=1),
            normalisation(norm, outputs),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: str):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool3d(2), DoubleConv(inputs, outputs, outputs, norm))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    """Doubles the extents, then concatenates [skip, up]; the up-sampling keeps its channel count."""

    def __init__(self, skip: int, below: int, outputs: int, norm: str, upsampling: str):
        super().__init__()
        if upsampling == "nearest":
            self.up = nn.Upsample(scale_factor=2, mode="nearest")
        elif upsampling == "transposed":
            self.up = nn.ConvTranspose3d(below, below, 2, stride=2)
        else:
            raise ValueError(f"upsampling: expected nearest or transposed, got {upsampling!r}")
        self.conv = DoubleConv(skip + below, (skip + below) // 2, outputs, norm)

    def forward(self, below, skip):
        return self.conv(torch.cat([skip, self.up(below)], dim=1))


class UNet3D(nn.Module):
    """The transport map. With noise_channels the call takes z of that many channels, appended to x.

    residual: the map is x + U(x, z). Group normalisation takes min(8, channels) groups.
    """

    def __init__(
        self,
        inputs: int = 3,
        outputs: int = 3,
        base: int = 32,
        noise_channels: int = 0,
        residual: bool = False,
        norm: str = "batch",
        upsampling: str = "nearest",
    ):
        super().__init__()
        b = base
        self.residual = residual
        self.inc = DoubleConv(inputs + noise_channels, b, b, norm)
        self.down1 = Down(b, 2 * b, norm)
        self.down2 = Down(2 * b, 4 * b, norm)
        self.down3 = Down(4 * b, 4 * b, norm)
        self.up2 = Up(4 * b, 4 * b, 2 * b, norm, upsampling)
        self.up3 = Up(2 * b, 2 * b, b, norm, upsampling)
        self.up4 = Up(b, b, b, norm, upsampling)
        self.outc = nn.Module()
        self.outc.conv = nn.Conv3d(b, outputs, 1)

    def forward(self, x, z=None):
        x1 = self.inc(x if z is None else torch.cat([x, z], dim=1))
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        y = self.outc.conv(self.up4(self.up3(self.up2(x4, x3), x2), x1))
        return x + y if self.residual else y


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, res_ratio: float = 0.1):
        super().__init__()
        hidden = min(inputs, outputs)
        self.res_ratio = res_ratio
        self.conv_0 = nn.Conv3d(inputs, hidden, 3, padding=1)
        self.conv_1 = nn.Conv3d(hidden, outputs, 3, padding=1)
        self.conv_s = nn.Conv3d(inputs, outputs, 1, bias=False) if inputs != outputs else None

    def forward(self, x):
        shortcut = x if self.conv_s is None else self.conv_s(x)
        dx = self.conv_1(nn.functional.leaky_relu(self.conv_0(x), 0.2))
        return nn.functional.leaky_relu(shortcut + self.res_ratio * dx, 0.2)


class ResNet3D(nn.Module):
    """The potential. The pooling layers sit in the sequence `resnet`, so indices count them.

    size: the cube's side, or (D, H, W); the shortest side decides how often it is halved.
    """

    def __init__(self, size=16, nc: int = 3, nf: int = 64, nf_max: int = 512, res_ratio: float = 0.1):
        super().__init__()
        extent = (size,) * 3 if isinstance(size, int) else tuple(size)
        levels = int(math.log2(min(extent) // 4))

        def width(i):
            return min(nf * 2**i, nf_max)

        layers = [ResidualBlock(width(0), width(0), res_ratio), ResidualBlock(width(0), width(1), res_ratio)]
        for i in range(1, levels + 1):
            layers += [
                nn.AvgPool3d(3, stride=2, padding=1),
                ResidualBlock(width(i), width(i), res_ratio),
                ResidualBlock(width(i), width(i + 1), res_ratio),
            ]
        layers.append(nn.MaxPool3d(2))
        self.conv_img = nn.Conv3d(nc, width(0), 3, padding=1)
        self.resnet = nn.Sequential(*layers)
        self.fc = nn.Linear(width(levels + 1) * math.prod(e // 2 ** (levels + 1) for e in extent), 1)

    def forward(self, x):
        x = nn.functional.leaky_relu(self.conv_img(x), 0.2)
        return self.fc(self.resnet(x).flatten(1))
