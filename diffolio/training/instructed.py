"""Training a model of clips to follow an instruction: it reads the clip to be edited beside its noisy latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.process.prediction import add_noise, alpha_sigma, raw_from
from diffolio.process.sampling import logit_normal
from diffolio.training.condition_drop import JointDrop, keep_samples
from diffolio.training.edit_clips import Triples

if TYPE_CHECKING:
    from diffolio.models import Model

CHANGED = 0.15  # of a latent's deviation of about 1: cells that differ by more are part of the edit


@dataclass(frozen=True)
class EditLatents:
    """Latents of sources and targets (N, C, T, h, w) in float16, and the instructions."""

    sources: Tensor
    targets: Tensor
    instructions: list[str]

    def __len__(self) -> int:
        return len(self.sources)


@torch.no_grad()
def edit_latents(model: Model, triples: Triples, at_once: int = 8) -> EditLatents:
    """The pairs as the model sees them."""
    both = []
    for clips in (triples.sources, triples.targets):
        length = clips.shape[1]
        if torch.equal(clips, clips[:, :1].expand_as(clips)):  # nothing but still clips: one frame says all
            clips = clips[:, :1]
        parts = [model.encode(clips[i : i + at_once].to(model.device).float() / 255) for i in range(0, len(clips), at_once)]
        both.append(torch.cat(parts).half().cpu().expand(-1, -1, length, -1, -1))
    return EditLatents(both[0], both[1], triples.instructions)


class FollowInstructions:
    """Objective: the network's own loss on the target's latents, which it sees noisy beside the source's clean ones.

    ``drop`` are the shares that lose the source, the text, or both (InstructPix2Pix: Brooks et al., 2023, section 3.2.1). Cells that
    the edit changes weigh ``emphasis`` times as much. ``shift`` above 1 trains flows more where there is noise
    (sigma' = shift sigma / (1 + (shift - 1) sigma)); diffusion draws its timesteps evenly. The denoiser must read the source
    already (``nets.source_columns``).
    """

    def __init__(
        self, model: Model, data: EditLatents, *, batch: int = 4, drop: tuple[float, float, float] = (0.05, 0.05, 0.05),
        emphasis: float = 1.0, shift: float = 1.0,
    ) -> None:  # fmt: skip
        if len(data) == 0:
            raise BadInput("no pair to train on: give at least one")
        self.model, self.data, self.batch, self.emphasis, self.shift = model, data, batch, emphasis, shift
        source, text, both = drop
        self.drop = JointDrop(((source, ("source",)), (text, ("text",)), (both, ("source", "text"))))
        self.modules: dict[str, nn.Module] = {"denoiser": model.denoiser}
        self.states = cached_states(model)
        changed = self.changed(data.sources[:256].float(), data.targets[:256].float())
        self.mean = 1 + (emphasis - 1) * float(changed.mean())

    def changed(self, sources: Tensor, targets: Tensor) -> Tensor:
        """1 where the edit changes the latents, (B, 1, T, h, w)."""
        return ((targets - sources).square().mean(1, keepdim=True).sqrt() > CHANGED).float()

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        model, data = self.model, self.data
        index = torch.randint(len(data), (self.batch,), generator=generator)
        keep = self.drop.draw(self.batch, generator)
        device = model.device
        targets, sources = (x[index].float().to(device) for x in (data.targets, data.sources))
        texts = [data.instructions[i] if kept else "" for i, kept in zip(index.tolist(), keep["text"].tolist(), strict=True)]
        arguments = {name: torch.cat([self.states(text)[name] for text in texts]) for name in self.states("")}
        noise = torch.randn(targets.shape, generator=generator).to(device)
        times = self.times(generator).to(device)
        alpha, sigma = (level.to(targets) for level in alpha_sigma(model.scheduler, times, targets.dim()))
        noisy = add_noise(targets, noise, alpha, sigma)
        kind = model.prediction
        known = {"noise": noise} if kind == "epsilon" else {"clean": targets}
        wanted = noise - targets if kind == "flow" else raw_from(kind, latents=noisy, alpha=alpha, sigma=sigma, **known)
        read = torch.cat([noisy, keep_samples(sources, keep["source"])], dim=1)
        given = model.denoiser(read, timestep=times, **arguments, return_dict=False)[0][:, : targets.shape[1]]
        error = (given.float() - wanted).square()
        changed = self.changed(sources, targets)
        weighted = (error * (1 + (self.emphasis - 1) * changed)).mean() / self.mean
        told = float((error.detach() * changed).sum() / (changed.sum() * error.shape[1]).clamp_min(1))
        return weighted, {"plain": float(error.detach().mean()), "changed": told}

    def times(self, generator: torch.Generator) -> Tensor:
        """One timestep a sample: of a flow logit-normal, one from every n-th part of it; of diffusion uniform."""
        count = self.model.scheduler.config.num_train_timesteps
        if self.model.prediction != "flow":
            return torch.randint(count, (self.batch,), generator=generator)
        return logit_normal(self.batch, generator, 1.0, self.shift) * count


def cached_states(model: Model) -> Callable[[str], dict[str, Tensor]]:
    """text -> the denoiser's arguments for it (one sample), computed once: the text encoder is frozen."""
    held: dict[str, dict[str, Tensor]] = {}

    @torch.no_grad()
    def states(text: str) -> dict[str, Tensor]:
        if text not in held:
            condition = model.condition([text or " "])
            held[text] = dict(condition["cond" if text else "uncond"])
        return held[text]

    return states
