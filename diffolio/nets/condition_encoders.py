"""What turns condition pictures into what an adapter reads: one signal at the latents' size, or features for every level.

All take (B, C, H, W) with H and W multiples of ``factor``, the pixels per latent cell (a power of two).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput


def zero_convolution(channels: int, out: int | None = None, kernel: int = 1) -> nn.Conv2d:
    """A convolution that gives zeros until it is trained (ControlNet: Zhang et al., 2023, arXiv:2302.05543)."""
    layer = nn.Conv2d(channels, out or channels, kernel, padding=kernel // 2)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class ResidualEncoder(nn.Module):
    """Condition -> signal (B, width, H / factor, W / factor), by residual blocks as Stable Diffusion's.

    Two blocks at every resolution above the latents' and one at theirs, channels doubling towards ``width``: at 8 pixels a cell
    and width 320 the seven blocks of LightIt's Residual Control Encoder (Kocsis et al., 2024, arXiv:2403.10615, section 3.2).
    """

    def __init__(self, channels: int, width: int, factor: int) -> None:
        super().__init__()
        from diffusers.models.resnet import Downsample2D

        widths = _doubling(width, factor)
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        layers: list[nn.Module] = []
        for here, after in itertools.pairwise(widths):
            layers += [ResidualBlock(here, here), ResidualBlock(here, here)]
            layers += [Downsample2D(here, use_conv=True, out_channels=after)]
        self.blocks = nn.Sequential(*layers, ResidualBlock(width, width))

    def forward(self, condition: Tensor) -> Tensor:
        return self.blocks(self.conv_in(condition))  # type: ignore[no-any-return]


class ReconstructionHead(nn.Module):
    """Signal (B, width, h, w) -> condition (B, C, h * factor, w * factor), as it was: LightIt's Residual Control Decoder.

    Only for training. It makes the encoder keep all of the condition, where a plain adapter picks it up late and drops part.
    """

    def __init__(self, width: int, channels: int, factor: int) -> None:
        super().__init__()
        from diffusers.models.resnet import Upsample2D

        widths = _doubling(width, factor)[::-1]
        layers: list[nn.Module] = []
        for here, after in itertools.pairwise(widths):
            layers += [ResidualBlock(here, after), Upsample2D(after, use_conv=True)]
        self.blocks = nn.Sequential(*layers)
        self.conv_out = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, signal: Tensor) -> Tensor:
        return self.conv_out(self.blocks(signal))  # type: ignore[no-any-return]


class FeaturePyramid(nn.Module):
    """Condition -> features for each level of a UNet, level i (B, widths[i], h / 2^i, w / 2^i), each ended by a zero convolution.

    The local feature extractor of CRS-Diff (Tang et al., 2024, arXiv:2403.11614; after Uni-ControlNet, arXiv:2305.16322): a stem
    that halves all but once down to the latents' size, then one halving a level. CRS-Diff's widths are (192, 256, 384, 512).
    """

    def __init__(self, channels: int, widths: Sequence[int], factor: int) -> None:
        super().__init__()
        halvings = _halvings(factor)
        strides = [2] * max(0, halvings - 1)
        stem, width = [nn.Conv2d(channels, 32, 3, padding=1), nn.SiLU()], 32
        for i, stride in enumerate(strides or [1]):
            after = min(64 * 2**i, 128)
            stem += [nn.Conv2d(width, after, 3, stride=stride, padding=1), nn.SiLU()]
            stem += [nn.Conv2d(after, after, 3, padding=1), nn.SiLU()]
            width = after
        self.stem = nn.Sequential(*stem)
        self.levels, self.ends = nn.ModuleList(), nn.ModuleList()
        for i, after in enumerate(widths):
            stride = 2 if i > 0 or halvings > 0 else 1
            self.levels.append(
                nn.Sequential(
                    nn.Conv2d(width, after, 3, stride=stride, padding=1), nn.SiLU(), nn.Conv2d(after, after, 3, padding=1), nn.SiLU()
                )
            )  # fmt: skip
            self.ends.append(zero_convolution(after, kernel=3))
            width = after

    def forward(self, condition: Tensor) -> list[Tensor]:
        x, features = self.stem(condition), []
        for level, end in zip(self.levels, self.ends, strict=True):
            x = level(x)
            features.append(end(x))
        return features


def liven(encoder: nn.Module, seed: int = 0, gain: float = math.sqrt(2)) -> None:
    """Draw the convolutions of an encoder anew, so that a condition's contrast is kept from layer to layer: normal, of deviation
    gain / sqrt(inputs) (He et al., 2015, arXiv:1502.01852), biases 0; what is zero stays zero.

    PyTorch's own start shrinks it a hundredfold over a pyramid's depth, and a short training does not find it again.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in encoder.modules():
            if isinstance(layer, nn.Conv2d) and bool(layer.weight.any()):
                drawn = torch.randn(layer.weight.shape, generator=generator)
                layer.weight.copy_(drawn * gain / math.sqrt(layer.weight[0].numel()))
                if layer.bias is not None:
                    layer.bias.zero_()


class ResidualBlock(nn.Module):
    """diffusers' ResnetBlock2D without a time embedding, (B, channels, h, w) -> (B, out, h, w)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        from diffusers.models.resnet import ResnetBlock2D

        groups = {"groups": math.gcd(channels, 32), "groups_out": math.gcd(out, 32)}
        self.block = ResnetBlock2D(in_channels=channels, out_channels=out, temb_channels=None, **groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x, None)  # type: ignore[no-any-return]


def _doubling(width: int, factor: int) -> list[int]:
    """Widths from the picture's size to the latents', the last of them ``width``; multiples of 8 that double."""
    halvings = _halvings(factor)
    return [max(8, width // 2 ** (halvings - i) // 8 * 8) for i in range(halvings)] + [width]


def _halvings(factor: int) -> int:
    halvings = int(factor).bit_length() - 1
    if factor != 2**halvings:
        raise BadInput(f"{factor} pixels a latent cell: condition encoders halve, so they need a power of two")
    return halvings
