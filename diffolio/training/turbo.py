"""mini-turbo: mini-sd in one step, a LoRA distilled by distribution matching from where mini-rg-lcm, cut to a lower rank, ends."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.models.low_rank import low_rank_student
from diffolio.models.students import load_student, save_adapter, start_student
from diffolio.training.distill import consistency
from diffolio.training.matching import DistributionMatching
from diffolio.worlds.tabletop import caption, sample_scenes

if TYPE_CHECKING:
    from diffolio.models import Model

START, RANK = "mini-rg-lcm", 16


class MiniTurbo:
    """Objective: distribution matching on captions of tabletop scenes. The student runs at the schedule's last timestep only."""

    batch = 8
    guidance = 4.0
    fake_steps = 1
    fake_rate = 5e-4

    def __init__(self, teacher: Model, scenes: int = 30_000, start: str = START, rank: int = RANK) -> None:
        self.teacher, self.rank = teacher, rank
        self.student, _ = low_rank_student(teacher.denoiser, load_student(teacher, start).denoiser, rank)
        self.student.train()
        self.scenes = sample_scenes(scenes, 7 * TRAIN_SEED)
        last = teacher.scheduler.config.num_train_timesteps - 1

        def generate(noise: Tensor, row: dict[str, Any]) -> Tensor:
            t = torch.full((len(noise),), last, device=noise.device)
            w = torch.full((len(noise),), self.guidance - 1, device=noise.device)
            return consistency(self.student, teacher, noise, t, w, row)

        fake = copy.deepcopy(teacher.denoiser).requires_grad_(True)
        self.matching = DistributionMatching(
            teacher, self.student, generate, fake, self.captions, batch=self.batch, guidance=self.guidance,
            fake_steps=self.fake_steps, fake_rate=self.fake_rate,
        )  # fmt: skip
        self.modules: dict[str, nn.Module] = self.matching.modules

    def start_from(self, folder: Path) -> None:
        """Go on from an earlier mini-turbo, whose rank must be the same."""
        self.student.load_state_dict(start_student(self.teacher, str(folder), self.rank).state_dict())

    def captions(self, n: int, generator: torch.Generator) -> list[str]:
        index = torch.randint(len(self.scenes), (n,), generator=generator)
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        return [caption(self.scenes[i], rng) for i in index.tolist()]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        self.matching.batch = self.batch
        return self.matching.loss(step, generator)

    def export(self, folder: Path) -> None:
        """Write the adapter that makes mini-sd the student (float16 safetensors and its record)."""
        about = {"lora_rank": self.rank, "ddim_steps": 50}
        save_adapter(folder, self.student.eval(), self.teacher, about)
