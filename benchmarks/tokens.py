"""Token merging against the package tomesd on the same tensors: matching + merge + unmerge at Stable Diffusion 1.5's layer sizes.

    python benchmarks/tokens.py [--rounds 15]

Interleaved runs, median of the ratios with its bootstrap interval; aim: at most 1 (at least as fast).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from tomesd.merge import bipartite_soft_matching_random2d

from diffolio.nets.token_merging import grid_destinations, merge_best


def ours(x: torch.Tensor, grid: tuple[int, int], keep: int, generator: torch.Generator) -> torch.Tensor:
    destinations = grid_destinations(grid, 2, generator)
    merging = merge_best(x, destinations.expand(len(x), -1), keep)
    return merging.unmerge(merging.merge(x))


def theirs(x: torch.Tensor, grid: tuple[int, int], keep: int, generator: torch.Generator) -> torch.Tensor:
    merge, unmerge = bipartite_soft_matching_random2d(x, grid[1], grid[0], 2, 2, x.shape[1] - keep, generator=generator)
    return unmerge(merge(x))


def seconds(run: Callable[..., torch.Tensor], *arguments: object) -> float:
    started = time.process_time()
    run(*arguments)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for grid, channels in (((64, 64), 320), ((32, 32), 640), ((16, 16), 1280)):
        tokens = grid[0] * grid[1]
        x = torch.randn(2, tokens, channels, generator=torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(0)
        arguments = (x, grid, tokens // 2, generator)
        seconds(ours, *arguments), seconds(theirs, *arguments)
        ratios = np.array([seconds(ours, *arguments) / seconds(theirs, *arguments) for _ in range(rounds)])
        draws = np.median(ratios[np.random.default_rng(0).integers(0, rounds, (2000, rounds))], axis=1)
        low, high = np.quantile(draws, (0.025, 0.975))
        print(f"{tokens:5} tokens x {channels:4}: ours / tomesd {np.median(ratios):.2f} [{low:.2f}, {high:.2f}], n {rounds}")


if __name__ == "__main__":
    main()
