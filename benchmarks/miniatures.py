"""How good are the bundled models? Each figure by the world's reader or against held-out renders.

    python benchmarks/miniatures.py [--prompts 256]

Bars: mini-vae PSNR >= 32 dB; mini-sd one object, kind and colour right >= 85%; two objects, all kinds, colours and the
relation right >= 60% (25 DDIM steps, guidance 4).
"""

from __future__ import annotations

import argparse

import torch

from diffolio import miniatures
from diffolio.metrics import Judge, mean_interval, psnr
from diffolio.metrics.compliance import compliance, held_out
from diffolio.models import load
from diffolio.worlds.tabletop import Mixture, render, sample_scenes


@torch.no_grad()
def vae() -> None:
    model = load("mini-sd")
    scenes = sample_scenes(512, 900_000)
    images = render(scenes, 64).images
    decoded = torch.cat([model.decode(model.encode(part)) for part in images.split(64)])
    scores = psnr(decoded, images)
    print(f"mini-vae   PSNR {scores.mean():.2f} dB (bar 32), worst {scores.min():.1f}, n {len(scenes)}")
    exact, blurred = compliance(images, scenes), compliance(decoded, scenes)
    print(
        f"reader     error on true renders {1 - exact.all.mean():.2%} (aim 1%), on reconstructions {1 - blurred.all.mean():.2%} (aim 3%)"
    )


def sd(prompts: int, name: str = "mini-sd") -> None:
    model = load(name)
    for things, part, bar in ((1, "both", 0.85), (2, "all", 0.60)):
        scenes = held_out(prompts, things)
        images = torch.cat(
            [
                model.sample([s.caption for s in scenes[i : i + 64]], seed=1000 + i, steps=25, guidance_scale=4.0).images
                for i in range(0, prompts, 64)
            ]
        )
        scores = compliance(images, scenes)
        figure = mean_interval(getattr(scores, part))
        interval = f"[{figure.low:.1%}, {figure.high:.1%}]"
        print(f"{name:10} {things} object(s): {part} right {figure.value:.1%} {interval} (bar {bar:.0%}), n {prompts}")
        print("           " + ", ".join(f"{k} {v:.3f}" for k, v in scores.means().items()))


@torch.no_grad()
def clip() -> None:
    scenes = sample_scenes(512, 910_000, Mixture(counts=(0.4, 0.5, 0.1)))
    images = render(scenes, 64).images
    for copy in ("a", "b"):
        judge = Judge.load(copy)
        right = []
        for i in range(0, len(scenes), 64):
            similar = judge.features(images[i : i + 64]) @ judge.text([s.caption for s in scenes[i : i + 64]]).T
            right.append((similar.argmax(1) == torch.arange(len(similar))).float())
        print(f"mini-clip-{copy} retrieval@1 among 64: {torch.cat(right).mean():.1%}, n {len(scenes)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=256)
    given = parser.parse_args()
    vae()
    if "mini-sd" in miniatures.available():
        sd(given.prompts)
    if "mini-clip-a" in miniatures.available():
        clip()


if __name__ == "__main__":
    main()
