"""Latents of several modalities that one network denoises together: stacked in channels, each at its own noise level.

z = [z_1 ; z_2 ; ...], a modality being a picture, its matte, a mask drawn as a picture, the clip to be edited. Every modality has
its own timestep, and a modality may be *clean*: then it is the condition, has no noise at all, and no loss. ``nets.widening``
makes the network read and give such latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, unknown
from diffolio.process.prediction import Prediction, add_noise, alpha_sigma, alphas_cumprod

if TYPE_CHECKING:
    from diffolio.models.condition import Condition
    from diffolio.models.model import Model


@dataclass(frozen=True)
class JointLatents:
    """The layout: which modalities, in which order, of how many channels each. Latents are (B, M C, h, w) or (B, M C, T, h, w)."""

    names: tuple[str, ...]
    channels: int = 4

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not self.names:
            raise BadInput(f"modalities {self.names}: give at least one name, each once")

    def stack(self, **parts: Tensor) -> Tensor:
        """Latents by modality, each (B, C, ...), in one tensor (B, M C, ...)."""
        if set(parts) != set(self.names):
            raise BadInput(f"latents of {', '.join(parts) or 'nothing'} were given: give {', '.join(self.names)}")
        shapes = {name: tuple(part.shape) for name, part in parts.items()}
        if len(set(shapes.values())) > 1 or next(iter(shapes.values()))[1] != self.channels:
            raise BadInput(f"latents of shapes {shapes}: give all of one shape, with {self.channels} channels")
        return torch.cat([parts[name] for name in self.names], dim=1)

    def split(self, z: Tensor) -> dict[str, Tensor]:
        """The modalities of joint latents, as views."""
        if z.shape[1] != len(self.names) * self.channels:
            wanted = f"{len(self.names)} x {self.channels}"
            raise BadInput(f"latents of {z.shape[1]} channels: {', '.join(self.names)} have {wanted}")
        return dict(zip(self.names, z.split(self.channels, dim=1), strict=True))

    def flags(self, *names: str, batch: int = 1) -> Tensor:
        """Which modalities are clean: bool (batch, M), true for ``names``."""
        for name in names:
            if name not in self.names:
                raise unknown("modality", name, self.names)
        return torch.tensor([name in names for name in self.names]).expand(batch, -1).clone()

    def timesteps(self, t: Tensor | int, clean: Tensor) -> Tensor:
        """One timestep ``t`` (B,) or a number for all modalities, 0 for those that are clean: (B, M)."""
        t = torch.as_tensor(t, device=clean.device).expand(len(clean))
        return torch.where(clean, torch.zeros_like(t)[:, None], t[:, None])

    def add_noise(self, scheduler: Any, z: Tensor, noise: Tensor, timesteps: Tensor, clean: Tensor | None = None) -> Tensor:
        """Each modality at its own level: alpha(t_m) z_m + sigma(t_m) noise_m; clean ones untouched, bit for bit.

        ``z`` and ``noise`` (B, M C, ...), ``timesteps`` (B, M), ``clean`` bool (B, M).
        """
        alpha, sigma = self.levels(scheduler, timesteps, z)
        noisy = add_noise(z, noise, alpha, sigma)
        return noisy if clean is None else torch.where(self._spread(clean, z), z, noisy)

    def levels(self, scheduler: Any, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) of every channel, (B, M C, 1, ...), in the type of ``like``."""
        self._check_timesteps(timesteps, like)
        pairs = alpha_sigma(scheduler, timesteps.flatten(), 2)
        alpha, sigma = (self._spread(level.reshape(timesteps.shape), like).to(like) for level in pairs)
        return alpha, sigma

    def loss(self, prediction: Tensor, target: Tensor, clean: Tensor, weights: Sequence[float] | None = None) -> Tensor:
        """The mean squared error (B,) over the modalities that are not clean; clean ones add exactly nothing.

        ``weights`` one a modality (1 each if None). A sample whose modalities are all clean has loss 0.
        """
        weight = torch.tensor(weights or [1.0] * len(self.names)).to(prediction) * ~clean.to(prediction.device)
        errors = torch.stack([(part - target[:, at]).square().flatten(1).mean(1) for part, at in self._parts(prediction)], dim=1)
        return (weight * torch.where(weight > 0, errors, 0)).sum(1) / weight.count_nonzero(1).clamp_min(1)

    def _parts(self, z: Tensor) -> list[tuple[Tensor, slice]]:
        return [(part, slice(i * self.channels, (i + 1) * self.channels)) for i, part in enumerate(self.split(z).values())]

    def _spread(self, per_modality: Tensor, like: Tensor) -> Tensor:
        """(B, M) -> (B, M C, 1, ...)."""
        spread = per_modality.to(like.device).repeat_interleave(self.channels, dim=1)
        return spread.reshape(*spread.shape, *[1] * (like.dim() - 2))

    def _check_timesteps(self, timesteps: Tensor, like: Tensor) -> None:
        if tuple(timesteps.shape) != (len(like), len(self.names)):
            wanted = (len(like), len(self.names))
            raise BadInput(f"timesteps of shape {tuple(timesteps.shape)}: give {wanted}, one a sample and modality")


class ModalityTime(nn.Module):
    """What the network is told beside its own timestep, which is the *first* modality's: the other modalities' timesteps, and
    which modalities are clean. Zero before training, so that it starts as the base. (B, M) timesteps and flags -> (B, width).

    ``unet`` is read for its sinusoids (``time_proj``) and the width of its time embedding.
    """

    def __init__(self, unet: Any, modalities: int) -> None:
        super().__init__()
        embedding = unet.time_embedding
        self.sinusoids = [unet.time_proj]  # in a list: it has no weights and belongs to the network
        self.times = nn.ModuleList(
            nn.Linear(embedding.linear_1.in_features, embedding.linear_2.out_features) for _ in range(modalities - 1)
        )
        self.clean = nn.Linear(modalities, embedding.linear_2.out_features, bias=False)
        for layer in (*self.times, self.clean):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, timesteps: Tensor, clean: Tensor | None = None) -> Tensor:
        weight = self.clean.weight
        sinusoids = [self.sinusoids[0](t).to(weight) for t in timesteps.to(weight.device).T]
        vector = sum(
            (layer(s) for layer, s in zip(self.times, sinusoids[1:], strict=True)), torch.zeros((), device=weight.device)
        )
        flags = torch.zeros_like(timesteps) if clean is None else clean
        return vector + self.clean(flags.to(weight))


def predict_joint(
    model: Model, layout: JointLatents, latents: Tensor, timesteps: Tensor, condition: Condition, rows: Sequence[str] = ("cond",),
    guidance_scale: float | None = None, own_time: Tensor | None = None,
) -> dict[str, dict[str, Prediction]]:  # fmt: skip
    """What a widened denoiser says of noisy joint latents (B, M C, ...): by row, by modality. One forward, seams see it.

    ``timesteps`` (B, M); the network is given the first modality's, or ``own_time`` (B,), and :class:`ModalityTime` tells it the
    others. Of a modality at timestep 0 that is clean, only ``raw`` has a meaning. Gradients flow.
    """
    alpha, sigma = layout.levels(model.scheduler, timesteps, latents)
    arguments = condition.joined(tuple(rows))
    t = (timesteps[:, 0] if own_time is None else own_time).to(latents.device).repeat(len(rows))
    with model.seams.rows(*rows, guidance_scale=guidance_scale):
        output = model.denoiser(torch.cat([latents] * len(rows)), t, **arguments, return_dict=False)[0]

    def parted(raw: Tensor) -> dict[str, Prediction]:
        cut = [layout.split(x) for x in (raw, latents, alpha, sigma)]
        levels = {name: (cut[2][name][:, :1], cut[3][name][:, :1]) for name in layout.names}
        return {name: Prediction(cut[0][name], cut[1][name], *levels[name], model.prediction) for name in layout.names}

    return {row: parted(raw) for row, raw in zip(rows, output.chunk(len(rows)), strict=True)}


def reassigned(scheduler: Any, t: Tensor, shift: float) -> Tensor:
    """The timesteps at which the log-SNR is nearest to that of ``t`` plus ``shift``: integer, of the shape of ``t``.

    Modalities do not lose information at one rate: a binary mask survives noise that erases a photograph. A negative shift
    gives a modality more noise than the first, and at the ends of the schedule the first or last timestep is taken.
    """
    table = alphas_cumprod(scheduler).double()
    snr = (table / (1 - table)).log()
    wanted = snr.to(t.device)[t.long()] + shift
    return (snr.to(t.device) - wanted[..., None]).abs().argmin(-1)
