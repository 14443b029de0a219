"""Seconds a training step of every miniature takes on this machine, plain and with what is said to speed it up.

    OMP_NUM_THREADS=1 python benchmarks/training.py [NAME...] [--steps 6]

Every variant starts from fresh weights on a few scenes; rounds of all variants are interleaved and the median is printed, with
its ratio to the plain variant. Latents are cached in all of them, as in training.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from diffolio import miniatures


def vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(miniatures.folder("mini-vae"), torch_dtype=torch.float32)


def mini_vae() -> Any:
    from diffolio.miniatures.vae import MiniVAE

    return MiniVAE()


def mini_sd() -> Any:
    from diffolio.miniatures.sd import MiniSD

    return MiniSD(vae(), scenes=128, looks=1, places=1)


def mini_flow() -> Any:
    from diffolio.miniatures.flow import MiniFlow

    return MiniFlow(vae(), scenes=128)


def mini_video() -> Any:
    from diffolio.miniatures.video import MiniVideo

    return MiniVideo(vae(), clips=16)


def mini_vq() -> Any:
    from diffusers import VQModel

    from diffolio.miniatures.vq import MiniVQ

    return MiniVQ(VQModel.from_pretrained(miniatures.folder("mini-vq") / "vqvae", torch_dtype=torch.float32), scenes=128)


def mini_var() -> Any:
    from diffolio.miniatures.var import MiniVAR
    from diffolio.nets.bitwise import BitwiseTokenizer

    folder = miniatures.folder("mini-var") / "autoencoder"
    return MiniVAR(BitwiseTokenizer.from_pretrained(folder, torch_dtype=torch.float32), scenes=128)


def mini_pixel() -> Any:
    from diffolio.miniatures.pixel import MiniPixel

    return MiniPixel(n=128)


def mini_turbo() -> Any:
    from diffolio.models import load
    from diffolio.training.turbo import MiniTurbo

    return MiniTurbo(load("mini-sd"), scenes=128)


def mini_clip() -> Any:
    from diffolio.miniatures.clip import MiniCLIP

    return MiniCLIP("a")


def mini_perc() -> Any:
    from diffolio.miniatures.perc import MiniPerc

    return MiniPerc("a")


OBJECTIVES: dict[str, Callable[[], Any]] = {
    "mini-vae": mini_vae, "mini-sd": mini_sd, "mini-flow": mini_flow, "mini-video": mini_video, "mini-vq": mini_vq,
    "mini-var": mini_var, "mini-pixel": mini_pixel, "mini-turbo": mini_turbo, "mini-clip": mini_clip, "mini-perc": mini_perc,
}  # fmt: skip
VARIANTS = ("plain", "bfloat16", "channels_last", "compile")


class Trainer:
    """One objective in one variant."""

    def __init__(self, make: Callable[[], Any], variant: str) -> None:
        torch.manual_seed(0)
        self.objective, self.variant = make(), variant
        self.parameters = [p for module in self.objective.modules.values() for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, 1e-4)
        for module in self.objective.modules.values():
            if variant == "channels_last":
                module.to(memory_format=torch.channels_last)
            elif variant == "compile":
                module.compile()
        self.step = 0

    def __call__(self) -> float:
        """Seconds of one step."""
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(self.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.variant == "bfloat16"):
            loss, _ = self.objective.loss(self.step, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(OBJECTIVES))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    given = parser.parse_args()
    for name in given.names:
        trainers = {variant: Trainer(OBJECTIVES[name], variant) for variant in given.variants}
        seconds: dict[str, list[float]] = {variant: [] for variant in trainers}
        for one in range(given.steps + 2):
            for variant, trainer in trainers.items():
                taken = trainer()
                if one >= 2:  # the first two warm up, and compile
                    seconds[variant].append(taken)
        plain = statistics.median(seconds[given.variants[0]])
        for variant, values in seconds.items():
            middle = statistics.median(values)
            print(
                f"{name:10} {variant:14} {middle:7.3f} s a step ({min(values):.3f} .. {max(values):.3f}), "
                f"{middle / plain:.2f} of {given.variants[0]}, {given.steps} steps of batch {trainers[variant].objective.batch}",
                flush=True,
            )


if __name__ == "__main__":
    main()
