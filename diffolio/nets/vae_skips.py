"""Skip connections from a VAE's encoder to its decoder, so that one pass through the latents keeps the input's detail.

pix2pix-Turbo (Parmar et al., 2024, arXiv:2403.12036, section 3.2): what enters each of the encoder's down blocks passes a 1x1
convolution, all of whose weights start at 1e-5, and is added to what enters the decoder's up block of the same size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported

NEARLY_ZERO = 1e-5


class VAESkips(nn.Module):
    """One convolution for each level of an AutoencoderKL; the widths are read from its layers, whatever their number."""

    def __init__(self, vae: Any, start: float = NEARLY_ZERO) -> None:
        super().__init__()
        down, up = _blocks(vae)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(_width(source), _width(target), 1, bias=False) for source, target in zip(reversed(down), up, strict=True)
        )
        for layer in self.convolutions:
            nn.init.constant_(layer.weight, start)  # type: ignore[arg-type]

    @contextmanager
    def on(self, vae: Any, gamma: float = 1.0) -> Iterator[None]:
        """Inside, ``vae.decode`` adds gamma times what the last ``vae.encode`` passed on. Encode and decode the same batch.

        The VAE is as it was after the block. BadInput for a decode without an encode, or of another batch.
        """
        down, up = _blocks(vae)
        seen: dict[int, Tensor] = {}

        def remember(level: int) -> Any:
            def hook(block: nn.Module, args: tuple[Any, ...]) -> None:
                seen[level] = args[0]

            return hook

        def add(level: int) -> Any:
            def hook(block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
                skip = seen.get(len(up) - 1 - level)
                if skip is None or (len(skip), skip.shape[2:]) != (len(args[0]), args[0].shape[2:]):
                    found = "nothing" if skip is None else str(tuple(skip.shape))
                    raise BadInput(f"the decoder's level {level} is given {tuple(args[0].shape)}, the encoder passed on {found}")
                return (args[0] + gamma * self.convolutions[level](skip), *args[1:])

            return hook

        with ExitStack() as held:
            for level, block in enumerate(down):
                held.callback(block.register_forward_pre_hook(remember(level)).remove)
            for level, block in enumerate(up):
                held.callback(block.register_forward_pre_hook(add(level)).remove)
            yield


def _blocks(vae: Any) -> tuple[list[nn.Module], list[nn.Module]]:
    try:
        down, up = list(vae.encoder.down_blocks), list(vae.decoder.up_blocks)
    except AttributeError:
        raise Unsupported(
            f"{type(vae).__name__} has no encoder.down_blocks and decoder.up_blocks: use an AutoencoderKL"
        ) from None
    if len(down) != len(up):
        raise Unsupported(f"a VAE of {len(down)} levels down and {len(up)} up: skips need as many of both")
    return down, up


def _width(block: Any) -> int:
    return int(block.resnets[0].in_channels)
