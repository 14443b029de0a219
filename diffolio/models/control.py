"""A condition adapter: a trainable copy of a UNet's encoder whose residuals steer the frozen UNet (ControlNet's shape).

ControlNet (Zhang et al., 2023, arXiv:2302.05543): the copy's outputs pass zero convolutions and are added to the base's skip
connections and middle block, so that before training nothing changes. The copy is diffusers' ControlNetModel; how conditions enter
it is chosen: a signal added to its first features, feature denormalisation in its residual blocks (Uni-ControlNet, CRS-Diff), or
both. Conditions without a place enter the base too: tokens behind the text's, a vector in the time embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported, choose, unknown
from diffolio.nets.condition_encoders import FeaturePyramid, ReconstructionHead, ResidualEncoder, zero_convolution
from diffolio.nets.content import ContentTokens, NamedNumbers
from diffolio.nets.fdn import FeatureDenormalization, given_features

ENCODERS = ("plain", "residual", "none", "custom")
TRUNK_READS = ("class_labels", "timestep_cond", "attention_mask", "added_cond_kwargs")


@dataclass(frozen=True)
class ControlConfig:
    """What an adapter reads and how. It is saved beside the weights.

    ``conditions``: channels by name, in the order in which they are stacked. ``encoder``: of the signal that enters the copy's
    first features: "plain" (ControlNet's own), "residual" (LightIt's), "custom" (brought by the caller), "none". ``inject``: the
    levels whose first residual block reads condition features by feature denormalisation, with ``attention`` before it;
    ``pyramid`` their widths (half of the UNet's if empty). ``reconstruct``: a head that must give the conditions back, for
    training. ``content``: the width of a content embedding, 0 for none, read as ``tokens`` tokens. ``metadata``: named numbers.
    """

    conditions: Mapping[str, int] = field(default_factory=dict)
    encoder: str = "plain"
    inject: tuple[int, ...] = ()
    attention: bool = False
    pyramid: tuple[int, ...] = ()
    reconstruct: bool = False
    content: int = 0
    tokens: int = 4
    metadata: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choose("condition encoder", self.encoder, ENCODERS)
        if self.conditions and self.encoder == "none" and not self.inject:
            raise BadInput("conditions with encoder='none' and no level to inject into are never read: give one of the two")
        if not self.conditions and (self.encoder == "custom" or self.inject or self.reconstruct):
            raise BadInput("an encoder, injection or reconstruction without conditions: name the conditions and their channels")
        if self.reconstruct and self.encoder == "none":
            raise BadInput("reconstruct=True reads the encoder's signal: take the encoder 'plain' or 'residual'")

    @property
    def channels(self) -> int:
        """Of all conditions together."""
        return sum(self.conditions.values())


@dataclass(frozen=True)
class Residuals:
    """What the adapter gives for one forward: one tensor for each of the base's skip connections, and one for its middle."""

    down: tuple[Tensor, ...]
    mid: Tensor

    def scaled(self, scales: float | list[float]) -> Residuals:
        """Each times its own scale (down, then mid), or all times one."""
        count = len(self.down) + 1
        each = [float(scales)] * count if isinstance(scales, (int, float)) else list(scales)
        if len(each) != count:
            raise BadInput(f"{len(each)} control scales: this adapter has {count} residuals ({count - 1} skips, then the middle)")
        return Residuals(tuple(r * s for r, s in zip(self.down, each, strict=False)), self.mid * each[-1])


class ControlAdapter(nn.Module):
    """Residuals for a UNet2DConditionModel. ``models.controlled`` puts it on a model; ``factor`` is pixels per latent cell.

    ``encoder`` is the module for encoder="custom": conditions (B, channels, H, W) -> (B, width of the UNet's first level, h, w).
    The weights are float32 and trainable, seeded by ``seed``; the UNet is only read.
    """

    def __init__(self, unet: Any, config: ControlConfig, factor: int, encoder: nn.Module | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config, self.factor = config, factor
        self.encoded: Tensor | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.trunk = encoder_copy(unet)
            widths = tuple(unet.config.block_out_channels)
            self._build_entry(widths[0], encoder)
            self._build_injection(widths)
            text, time = unet.config.cross_attention_dim, unet.time_embedding.linear_2.out_features
            self.content = ContentTokens(config.content, text, config.tokens) if config.content else None
            self.metadata = NamedNumbers(config.metadata, time, widths[0]) if config.metadata else None
        self.requires_grad_(True)

    @property
    def residuals(self) -> int:
        """How many there are, the middle one included."""
        return len(self.trunk.controlnet_down_blocks) + 1

    def stacked(self, conditions: Mapping[str, Tensor], size: tuple[int, int], samples: int) -> Tensor:
        """Conditions by name, each (B or 1, C, H, W), in the adapter's order; zeros for those that are absent.

        BadInput for an unknown name, other channels, another size than ``size`` (H, W) in pixels, or not finite values.
        """
        parts = []
        for name in conditions:
            if name not in self.config.conditions:
                raise unknown("condition", name, self.config.conditions)
        like = self.trunk.conv_in.weight
        for name, channels in self.config.conditions.items():
            given = conditions.get(name)
            if given is None:
                parts.append(like.new_zeros(samples, channels, *size))
                continue
            wanted = (channels, *size)
            if given.dim() != 4 or tuple(given.shape[1:]) != wanted or len(given) not in (1, samples):
                raise BadInput(
                    f"condition {name} of shape {tuple(given.shape)}: give {(samples, *wanted)}, or one for all samples"
                )
            if not bool(torch.isfinite(given).all()):
                raise BadInput(f"condition {name} holds NaN or infinity: it must be finite, in [0, 1]")
            parts.append(given.to(like).expand(samples, *wanted))
        return torch.cat(parts, dim=1)

    def numbers(self, metadata: Mapping[str, Any], samples: int = 1) -> Tensor:
        """Metadata by name, each a number or (B,) in [0, 1], as (B, fields); fields that are not given are 0."""
        for name in metadata:
            if name not in self.config.metadata:
                raise unknown("metadata field", name, self.config.metadata or ("none",))
        like = self.trunk.conv_in.weight
        columns = [torch.as_tensor(metadata.get(name, 0.0)).to(like).reshape(-1) for name in self.config.metadata]
        samples = max([samples, *(len(column) for column in columns)])
        return torch.stack([column.expand(samples) for column in columns], dim=1)

    def forward(
        self,
        latents: Tensor,
        timestep: Any,
        text: Tensor,
        conditions: Tensor | None = None,
        vector: Tensor | None = None,
        **more: Any,
    ) -> Residuals:
        """Residuals for noisy ``latents`` (N, C, h, w), text tokens (N, L, D) and stacked conditions (B, channels, H, W).

        N may be rows times B: the conditions are then the same in every row. ``vector`` (N, D) is added to the time embedding.
        ``more`` are further arguments of ControlNetModel. ``encoded`` afterwards holds the signal, for :meth:`reconstruction_loss`.
        """
        signal, features = self._read(conditions)
        entering = signal.repeat(len(latents) // len(signal), 1, 1, 1) if signal is not None else latents.new_zeros(())
        hook = None if vector is None else self.trunk.time_embedding.register_forward_hook(lambda m, args, out: out + vector)
        try:
            with given_features(self._denormalising(), features):
                down, mid = self.trunk(latents, timestep, text, entering, return_dict=False, **more)
        finally:
            if hook is not None:
                hook.remove()
        return Residuals(tuple(down), mid)

    def reconstruction_loss(self, conditions: Tensor) -> Tensor:
        """Mean squared error (scalar) of the conditions read back from the signal of the last forward (LightIt, section 3.2)."""
        if self.reconstruction is None or self.encoded is None:
            raise BadInput("reconstruct=True in the adapter's config, and one forward before, are needed for this loss")
        return nn.functional.mse_loss(self.reconstruction(self.encoded), conditions)

    def _build_entry(self, width: int, encoder: nn.Module | None) -> None:
        config, factor = self.config, self.factor
        if (encoder is not None) != (config.encoder == "custom"):
            raise BadInput("an encoder module is given exactly when the config says encoder='custom'")
        self.encoder: nn.Module | None = None
        if config.conditions and config.encoder == "plain":
            from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

            widths = (16, 32, 96, 256)[: factor.bit_length()] + (256,) * max(0, factor.bit_length() - 4)
            self.encoder = ControlNetConditioningEmbedding(width, config.channels, widths)
            nn.init.xavier_uniform_(self.encoder.conv_out.weight)  # its zero convolution is ours, behind the encoded signal
        elif config.conditions and config.encoder == "residual":
            self.encoder = ResidualEncoder(config.channels, width, factor)
        elif encoder is not None:
            self.encoder = encoder
        self.entry = zero_convolution(width) if self.encoder is not None else None
        self.reconstruction = ReconstructionHead(width, config.channels, factor) if config.reconstruct else None

    def _build_injection(self, widths: tuple[int, ...]) -> None:
        self.pyramid: FeaturePyramid | None = None
        if not self.config.inject:
            return
        if strange := [level for level in self.config.inject if not 0 <= level < len(widths)]:
            raise BadInput(f"levels {strange} to inject into: the UNet has the levels 0 to {len(widths) - 1}")
        given = self.config.pyramid or tuple(max(8, width // 2) for width in widths)
        if len(given) <= max(self.config.inject):
            raise BadInput(f"a pyramid of {len(given)} widths does not reach level {max(self.config.inject)}: give one a level")
        self.pyramid = FeaturePyramid(self.config.channels, given[: max(self.config.inject) + 1], self.factor)
        for level in self.config.inject:
            block = self.trunk.down_blocks[level].resnets[0]
            for norm in ("norm1", "norm2"):
                setattr(block, norm, FeatureDenormalization(getattr(block, norm), given[level], self.config.attention))

    def _denormalising(self) -> list[FeatureDenormalization]:
        blocks = [self.trunk.down_blocks[level].resnets[0] for level in self.config.inject]
        return [norm for block in blocks for norm in (block.norm1, block.norm2)]

    def _read(self, conditions: Tensor | None) -> tuple[Tensor | None, list[Tensor]]:
        """The signal behind its zero convolution, and the features of each denormalising layer."""
        if self.config.conditions and conditions is None:
            raise BadInput(f"this adapter reads {', '.join(self.config.conditions)}: give them stacked (zeros where absent)")
        self.encoded, signal = None, None
        if self.encoder is not None and self.entry is not None:
            self.encoded = self.encoder(conditions)
            signal = self.entry(self.encoded)
        if self.pyramid is None:
            return signal, []
        features = self.pyramid(conditions)
        return signal, [features[level] for level in self.config.inject for _ in range(2)]


def encoder_copy(unet: Any) -> Any:
    """A ControlNetModel with the weights of ``unet``, float32, that takes its signal as it is given."""
    from diffusers import ControlNetModel

    if type(unet).__name__ != "UNet2DConditionModel":
        raise Unsupported(f"{type(unet).__name__}: a condition adapter copies the encoder of a UNet2DConditionModel")
    if getattr(unet, "peft_config", None) or unet.config.time_cond_proj_dim is not None:
        raise Unsupported(
            "this UNet carries LoRA layers or reads a guidance embedding, which ControlNet's encoder lacks: merge the LoRA first, "
            "or train on the undistilled base"
        )
    trunk = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16,))
    trunk.controlnet_cond_embedding = nn.Identity()
    return trunk.float().to(unet.device).train(False)
