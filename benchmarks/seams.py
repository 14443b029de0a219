"""What an open seam costs: ``python benchmarks/seams.py``.

A UNet with mini-sd's configuration, random weights, a guided batch of one picture, one thread unless ``--threads``. Every case is
timed against the bare network in turns, so that a busy machine slows both: the figure is the median of the ratios of neighbours,
with a 95% bootstrap interval. On one thread the clock is the processor's time, in which waiting for other programs does not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace

import numpy as np
import torch

from diffolio.miniatures.sd import MiniSD
from diffolio.miniatures.vae import MiniVAE
from diffolio.seams import AttentionBank, Seams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=60, help="pairs of forwards for each case")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=16, help="latent size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    torch.manual_seed(0)
    parts = MiniSD(MiniVAE().vae, scenes=0)
    parts.scheduler.set_timesteps(25)
    unet = parts.unet.eval()
    seams = Seams(SimpleNamespace(unet=unet, scheduler=parts.scheduler, do_classifier_free_guidance=True, _guidance_scale=4.0))
    latents = torch.randn(1, 4, options.size, options.size).repeat(2, 1, 1, 1)
    text = torch.randn(2, 32, 64)
    bank = AttentionBank(what=("probabilities",), last_only=True)
    cases: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "nothing (the noise)": nullcontext,
        "empty denoiser seam": lambda: seams.denoiser(before=lambda call: None),
        "no-op qkv at every site": lambda: seams.attention(qkv=lambda site, q, k, v: (q, k, v)),
        "no-op qkv, no site wants it": lambda: seams.attention(qkv=lambda site, q, k, v: (q, k, v), where=lambda site: False),
        "explicit probabilities everywhere": lambda: seams.attention(probabilities=lambda site, p: p),
        "bank of probabilities": lambda: bank.record(seams),
    }

    @torch.no_grad()
    def seconds() -> float:
        begin = clock()
        unet(latents, parts.scheduler.timesteps[3], text)
        return clock() - begin

    bare = [seconds() for _ in range(5)][1:]
    print(f"bare forward {1000 * float(np.median(bare)):.1f} ms, {options.threads} threads, {len(seams.sites())} attention sites")
    print(f"{'inside':<36}{'ratio':>8}{'95% interval':>18}{'n':>6}")
    for name, seam in cases.items():
        ratios = []
        for turn in range(options.n):
            # Each goes first in half of the turns: what runs second may find warmer caches.
            first = seconds() if turn % 2 else None
            with seam():
                inside = seconds()
            ratios.append(inside / (first if first is not None else seconds()))
        low, high = median_interval(np.array(ratios))
        print(f"{name:<36}{float(np.median(ratios)):>8.3f}{f'{low:.3f} to {high:.3f}':>18}{options.n:>6}", flush=True)


def median_interval(x: np.ndarray, draws: int = 4000) -> tuple[float, float]:
    """The 95% bootstrap interval of the median."""
    index = np.random.default_rng(0).integers(0, len(x), (draws, len(x)))
    low, high = np.quantile(np.median(x[index], axis=1), (0.025, 0.975))
    return float(low), float(high)


if __name__ == "__main__":
    main()
