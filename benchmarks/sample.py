"""What Model.sample costs over calling the diffusers pipeline: ``python benchmarks/sample.py [--model NAME] [--rounds N]``.

Both make the same pictures from the same generators (checked to the bit), in turns, so that a change of the machine's load
hits both alike. The figure is the median over rounds of the ratio of their times; the aim is at most 1.02.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from diffolio import miniatures
from diffolio.models import Model, load

PROMPTS = ["a red circle left of a blue star", "a green tree", "a yellow fish above a purple house", "an orange boat"]
AIM = 1.02


def direct(model: Model, steps: int, seed: int) -> torch.Tensor:
    generator = [torch.Generator().manual_seed(seed + i) for i in range(len(PROMPTS))]
    return model.pipeline(
        PROMPTS, num_inference_steps=steps, guidance_scale=model.guidance_scale, generator=generator, output_type="pt"
    ).images


def through_model(model: Model, steps: int, seed: int) -> torch.Tensor:
    return model.sample(PROMPTS, steps=steps, seed=seed).images


def timed(run: Callable[[Model, int, int], torch.Tensor], model: Model, steps: int, seed: int) -> tuple[float, torch.Tensor]:
    begun = time.process_time() if model.device.type == "cpu" else time.perf_counter()
    images = run(model, steps, seed)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.process_time() if model.device.type == "cpu" else time.perf_counter()) - begun, images


def ratios(model: Model, rounds: int, steps: int) -> list[float]:
    """Model.sample's time over the direct call's, a round each; who goes first alternates."""
    found = []
    for seed in range(-2, rounds):  # two rounds warm up
        order = (direct, through_model) if seed % 2 else (through_model, direct)
        times = {run: timed(run, model, steps, seed + 2) for run in order}
        if not torch.equal(times[direct][1], times[through_model][1]):
            raise SystemExit("Model.sample and the pipeline disagree")
        if seed >= 0:
            found.append(times[through_model][0] / times[direct][0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini-sd", help="a bundled name, a diffusers folder or a hub id; tiny: random weights")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=25)
    given = parser.parse_args()
    if given.model == "tiny" or (given.model == "mini-sd" and "mini-sd" not in miniatures.available()):
        from tests.models.tiny import tiny_model

        model = tiny_model("sd")
    else:
        model = load(given.model)
    found = ratios(model, given.rounds, given.steps)
    low, middle, high = (statistics.quantiles(found, n=4)[i] for i in range(3))
    verdict = "holds" if middle <= AIM else "fails"
    print(
        f"{model.name}: Model.sample / pipeline = {middle:.4f} (quartiles {low:.4f} to {high:.4f}, {given.rounds} rounds, "
        f"{given.steps} steps, {len(PROMPTS)} pictures); aim <= {AIM}: {verdict}"
    )


if __name__ == "__main__":
    main()
