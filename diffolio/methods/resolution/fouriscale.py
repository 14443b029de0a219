"""FouriScale: pictures at two to four times the trained side from an unchanged UNet, without repeated objects.

Huang et al., 2024, "FouriScale: A Frequency Perspective on Training-Free High-Resolution Image Synthesis", arXiv:2403.12963.
A convolution that was trained at one resolution sees too little of a larger picture. At scale r, dilating its kernel by r restores
the receptive field (structure), and low-passing its input first keeps the dilated kernel from aliasing (scale):

    F_r(x) = conv(LowPass_r(x), kernel dilated by r),    LowPass_r = crop . IFFT . (M_r *) . FFT . zero-pad to r x the trained size

    1-D mask over the half band n/2, at distance i from DC:   m(i) = clip((1 - v) / R * (n / (2 s) + 1 - i) + 1, v, 1)
    strong: R = max(n / 8, 1);   weak: R = (s - 1) n / (2 s);   s = dilation / stride

Padding makes odd aspect ratios work. Three rows are run per step: unconditional and conditional with the strong mask, and
conditional with the weak one, which takes its self-attention's queries and keys from the strong conditional row, so that it has the
strong row's structure and the weak row's detail. Guidance uses the weak row:  eps = eps_u + g (eps_weak - eps_u).
The dilation is constant until ``start``, falls linearly to 1 at ``stop``, and the plain UNet finishes. Upsamplers are dilated but not
filtered. In the authors' code the stages are given as step numbers of 50 (10/30 up to 1280 pixels, 20/35 beyond and for SDXL), here
as fractions; their SD runs also turn FreeU on, which diffusers' ``enable_freeu`` does. Their mask is mirrored one bin off centre; here it
is symmetric about DC.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from diffolio.errors import BadKnob, Unsupported
from diffolio.registry import Technique, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.seams import Call, Site


@method(paper="2403.12963", family="resolution", works_on={"unet"}, exclusive={"convolutions", "guidance rows"})
@dataclass(frozen=True)
class FouriScale(Technique):
    """Dilated, low-passed convolutions above the trained size. Features (rows, C, h, w); sizes in latent cells."""

    base: int | None = knob(None, at_least=1, means="trained side in latent cells; none: the model's own")
    start: float = knob(
        0.2, between=(0.0, 1.0), means="share of the steps with full dilation (0.4 above 1280 pixels and for SDXL)"
    )
    stop: float = knob(0.6, between=(0.0, 1.0), means="share of the steps after which the plain UNet goes on (0.7 likewise)")
    value: float | None = knob(None, between=(0.0, 1.0), means="gain outside the pass band; none: 0, for SDXL 0.6")
    weak_dilation: float = knob(1.0, at_least=1.0, means="divides the weak row's dilation (the authors' SDXL: 1.5)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start > self.stop:
            raise BadKnob(f"fouriscale: start={self.start} is after stop={self.stop}; give start <= stop")

    def neutral(self) -> FouriScale:
        return replace(self, base=4096)

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        session = _Session(self, model)
        seams = model.seams
        with (
            seams.denoiser(before=session.before, after=session.after, name=self.name),
            seams.attention(qkv=copy_queries_and_keys, where=lambda site: site.kind == "self", name=self.name),
            seams.around(session.convolve, session.layers),
        ):
            yield model

    def dilation(self, scale: int, step: int, steps: int) -> float:
        """The dilation at a step: ``scale`` until ``start``, then linearly down to 1 at ``stop``."""
        begin, end = self.start * steps, self.stop * steps
        if step < begin:
            return float(scale)
        if step >= end or end <= begin:
            return 1.0
        return 1 + (scale - 1) * (end - step) / (end - begin)


def lowpass_mask(n: int, scale: float, *, weak: bool = False, value: float = 0.0) -> Tensor:
    """The 1-D mask (n,) with DC in the centre (as after fftshift), for keeping 1/scale of the band of n samples."""
    half = n // 2
    ramp = math.floor((scale - 1) * n / (2 * scale)) if weak else max(n // 8, 1)
    if scale <= 1 or ramp == 0:
        return torch.ones(n)
    distance = torch.arange(1, half + 1, dtype=torch.float32)
    side = ((1 - value) / ramp * (n / (2 * scale) + 1 - distance) + 1).clamp(value, 1)
    upper = torch.cat([torch.ones(1), side])[: n - half]
    return torch.cat([side.flip(0), upper])


def lowpass(x: Tensor, masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Low-pass features (B, C, h, w), zero-padded to ``size`` (>= h, w), by centred 2-D masks (B or 1, 1, *size)."""
    h, w = x.shape[-2:]
    spectrum = torch.fft.rfft2(pad(x.float(), (0, size[1] - w, 0, size[0] - h)))
    # The masks are symmetric: half of the spectrum of a real signal is enough.
    masks = torch.fft.ifftshift(masks, dim=(-2, -1))[..., : spectrum.shape[-1]]
    return torch.fft.irfft2(spectrum * masks, s=size)[..., :h, :w].to(x.dtype)


@functools.lru_cache(maxsize=256)
def lowpass_mask_2d(size: tuple[int, int], scale: float, weak: bool, value: float) -> Tensor:
    """The outer product of the two 1-D masks, (h, w), DC in the centre."""
    return lowpass_mask(size[0], scale, weak=weak, value=value)[:, None] * lowpass_mask(size[1], scale, weak=weak, value=value)


def dilated_convolution(x: Tensor, layer: nn.Conv2d, dilation: int) -> Tensor:
    """The layer with its kernel spread by ``dilation`` and the padding that keeps the output's size."""
    padding = [dilation * (k - 1) // 2 for k in layer.kernel_size]
    return nn.functional.conv2d(x, layer.weight, layer.bias, layer.stride, padding, dilation, layer.groups)


def copy_queries_and_keys(site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """The weak row attends with the strong conditional row's queries and keys, and its own values."""
    if "weak" not in site.rows:
        return None
    q, k = q.clone(), k.clone()
    q[site.row("weak")], k[site.row("weak")] = q[site.row("cond")], k[site.row("cond")]
    return q, k, v


class _Session:
    """The state of one ``on`` block: which convolutions, the scale, and the dilation of the current step."""

    def __init__(self, method: FouriScale, model: Model) -> None:
        self.method = method
        self.layers = structure_convolutions(model.denoiser)
        self.base = method.base or model.denoiser.config.sample_size
        self.value = method.value if method.value is not None else (0.6 if "sdxl" in model.kinds else 0.0)
        self.scale, self.dilation = 1, 1.0
        self.size = (self.base, self.base)
        self.weak = slice(0)
        self.warned = False

    def before(self, call: Call) -> Call | None:
        """Find the step's dilation; while it is above 1, add the weak row."""
        height, width = self.size = (call.latents.shape[-2], call.latents.shape[-1])
        self.scale = max(math.ceil(height / self.base), math.ceil(width / self.base))
        self.dilation = self.method.dilation(self.scale, call.step, call.steps or 1)
        if self.scale == 1 and self.method.base is None and not self.warned:
            self.warned = True
            warnings.warn(
                f"fouriscale: {width}x{height} latent cells are within the trained {self.base}: nothing changes", stacklevel=2
            )
        if self.dilation == 1:
            return None
        wider = call.add("weak", like="cond")
        self.weak = wider.row("weak")
        return wider

    def after(self, call: Call, out: dict[str, Tensor]) -> dict[str, Tensor] | None:
        """Guidance sees the weak row in place of the conditional one."""
        return {**out, "cond": out["weak"]} if "weak" in out else None

    def convolve(self, site: Site, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """One layer for all rows: the strong ones, then the weak one with its own mask and dilation."""
        if self.dilation == 1:
            return forward(x)
        layer = self.layers[site.path]
        if "upsamplers" not in site.path:
            x = self.filter(x, max(self.dilation / layer.stride[0], 1.0))
        strong, weak = math.ceil(self.dilation), math.ceil(max(self.dilation / self.method.weak_dilation, 1.0))
        if weak == strong:
            return dilated_convolution(x, layer, strong)
        parts = x[: self.weak.start], x[self.weak], x[self.weak.stop :]
        return torch.cat(
            [dilated_convolution(part, layer, d) for part, d in zip(parts, (strong, weak, strong), strict=True) if len(part)]
        )

    def filter(self, x: Tensor, scale: float) -> Tensor:
        """Low-pass every row with its mask; padded to this layer's trained size times the scale, where that is larger."""
        trained = [math.ceil(self.base * n / whole) for n, whole in zip(x.shape[-2:], self.size, strict=True)]
        height, width = (max(side * self.scale, n) for side, n in zip(trained, x.shape[-2:], strict=True))
        masks = lowpass_mask_2d((height, width), scale, False, self.value).repeat(len(x), 1, 1, 1)
        masks[self.weak] = lowpass_mask_2d((height, width), scale, True, self.value)
        return lowpass(x, masks.to(x.device), (height, width))


def structure_convolutions(unet: nn.Module) -> dict[str, nn.Conv2d]:
    """The 3x3 convolutions of all but the finest levels, by path: the authors' lists for SD 1.5, 2.1 and SDXL follow this rule.

    Down blocks from the third on (their downsamplers too), the middle, and all up blocks but the last (their upsamplers too, but
    in networks of three levels only the first's).
    """
    if not hasattr(unet, "down_blocks"):
        raise Unsupported(f"fouriscale needs a UNet's convolutions; {type(unet).__name__} has none")
    ups = len(unet.up_blocks)
    blocks = (
        [f"down_blocks.{i}" for i in range(2, len(unet.down_blocks))] + ["mid_block"] + [f"up_blocks.{i}" for i in range(ups - 1)]
    )
    skipped = f"up_blocks.{ups - 2}.upsamplers" if ups == 3 else "no such path"
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.kernel_size == (3, 3)
        and any(path.startswith(block + ".") for block in blocks)
        and not path.startswith(skipped)
    }
