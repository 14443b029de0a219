"""A pretrained network that reads, and gives, more channels: its first and last convolution are widened and the rest is kept.

Latents of several modalities are stacked in channels, [z_1 ; z_2 ; ...], each with as many as the base has. What the new columns
start as says what the network does before any training: with zeros it is the base, whatever stands in the new channels; with
copies it treats every modality as the base treats its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported

Convolution = nn.Conv2d | nn.Conv3d


class Widened:
    """A widened network and the way back. ``conv_in`` and ``conv_out`` are the new layers (``conv_out`` the old one if it was
    left as it is)."""

    def __init__(self, unet: Any, old: dict[str, nn.Module], config: dict[str, int]) -> None:
        self.unet, self._old, self._config = unet, old, config

    @property
    def conv_in(self) -> Convolution:
        return self.unet.conv_in  # type: ignore[no-any-return]

    @property
    def conv_out(self) -> Convolution:
        return self.unet.conv_out  # type: ignore[no-any-return]

    def undo(self) -> None:
        """The layers that the base had, the very same, and its configuration. Once only; the second time nothing happens."""
        for name, layer in self._old.items():
            setattr(self.unet, name, layer)
        if self._old:
            self.unet.register_to_config(**self._config)
        self._old = {}


def widen(unet: Any, inputs: Sequence[float], outputs: Sequence[float] | None = None) -> Widened:
    """Widen ``unet`` in place, one entry a modality: what its columns (rows) are, as a multiple of the base's.

        inputs=(1, 0), outputs=None         reads a second picture, gives the first: equal to the base (InstructPix2Pix, EffiVED)
        inputs=(0.5, 0.5), outputs=(1, 1)   two like modalities, whose sum has the base's size (Zippo)
        inputs=(1, 0.5), outputs=(1, 1)     a copy at half strength for the second (LayerDiff)

    Works where ``conv_in`` and ``conv_out`` are plain 2D or 3D convolutions: UNet2DConditionModel, UNet3DConditionModel,
    UNetMotionModel, UNetSpatioTemporalConditionModel, UNet2DModel. ``in_channels`` and ``out_channels`` of the configuration
    follow, so that ``save_pretrained`` and ``from_pretrained`` do. New layers require gradients where the old ones did.
    """
    for what, scales in (("inputs", inputs), ("outputs", outputs)):
        if scales is not None and (len(scales) == 0 or not all(math.isfinite(s) for s in scales)):
            raise BadInput(f"{what} {tuple(scales)}: give one finite number for each modality, such as (1, 0)")
    old: dict[str, nn.Module] = {"conv_in": _convolution(unet, "conv_in")}
    if outputs is not None:
        old["conv_out"] = _convolution(unet, "conv_out")
    config = {key: unet.config[key] for key in ("in_channels", "out_channels")}
    unet.conv_in = widened_input(old["conv_in"], inputs)
    changed = {"in_channels": config["in_channels"] * len(inputs)}
    if outputs is not None:
        unet.conv_out = widened_output(old["conv_out"], outputs)
        changed["out_channels"] = config["out_channels"] * len(outputs)
    unet.register_to_config(**changed)
    return Widened(unet, old, config)


@contextmanager
def widening(unet: Any, inputs: Sequence[float], outputs: Sequence[float] | None = None) -> Iterator[Widened]:
    """:func:`widen` inside a ``with`` block, undone on leaving it, also by an exception."""
    widened = widen(unet, inputs, outputs)
    try:
        yield widened
    finally:
        widened.undo()


def widened_input(layer: Any, scales: Sequence[float]) -> Convolution:
    """A convolution of len(scales) times the input channels: weight [s_1 W, s_2 W, ...] along its inputs, the bias as it is."""
    weight = torch.cat([scale * layer.weight.detach() for scale in scales], dim=1)
    return _like(layer, weight, None if layer.bias is None else layer.bias.detach().clone())


def widened_output(layer: Any, scales: Sequence[float]) -> Convolution:
    """A convolution of len(scales) times the output channels: weight and bias of each part are s_i W and s_i b."""
    weight = torch.cat([scale * layer.weight.detach() for scale in scales])
    return _like(layer, weight, None if layer.bias is None else torch.cat([scale * layer.bias.detach() for scale in scales]))


def _like(layer: Any, weight: Tensor, bias: Tensor | None) -> Convolution:
    with torch.device("meta"):
        made = type(layer)(
            weight.shape[1], weight.shape[0], layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            bias=bias is not None, padding_mode=layer.padding_mode,
        )  # fmt: skip
    made.weight = nn.Parameter(weight.contiguous(), requires_grad=layer.weight.requires_grad)
    if bias is not None:
        made.bias = nn.Parameter(bias, requires_grad=layer.bias.requires_grad)
    return made.train(layer.training)  # type: ignore[no-any-return]


def _convolution(unet: Any, name: str) -> nn.Module:
    layer = getattr(unet, name, None)
    if type(layer) not in (nn.Conv2d, nn.Conv3d) or layer.groups != 1:  # a subclass or wrapper would lose what it adds
        found = f"its {name} is a {type(layer).__name__}" if layer is not None else f"it has no {name}"
        raise Unsupported(f"{type(unet).__name__} cannot be widened: {found}. Widen a plain UNet, before LoRA or other adapters")
    return layer
