"""The tabletop reader's own error on true renders, clean, disturbed and after a VAE round trip: ``python benchmarks/reader.py``.

Options: ``--n`` scenes (1000), ``--seed``, ``--failures FOLDER`` saves the pictures that were misread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

import diffolio
from diffolio.worlds.tabletop import Mixture, Scene, judge, read, render, sample_scenes
from diffolio.worlds.tabletop.verdict import Reading, distance

VAE = Path(diffolio.__file__).parent / "miniatures" / "weights" / "mini-vae"
COLUMNS = ("things", "kind", "colour", "count", "backgr.", "style", "relation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20240)
    parser.add_argument("--vae", type=Path, default=VAE)
    parser.add_argument("--failures", type=Path)
    options = parser.parse_args()
    print(f"errors in % of {options.n} scenes; 'things': any kind, colour or the count wrong; centre in % of the side")
    print(f"{'pictures':<22}" + "".join(f"{name:>9}" for name in (*COLUMNS, "centre", "mask IoU", "unsure", "img/s")))
    cases: list[tuple[str, int, int, Callable[[Tensor], Tensor]]] = [
        ("renders 64x64", 64, 64, lambda x: x),
        ("blur + noise 64x64", 64, 64, disturbed),
        ("renders 128x128", 128, 128, lambda x: x),
        ("renders 96x64", 64, 96, lambda x: x),
        ("renders 48x48", 48, 48, lambda x: x),
        ("renders 32x32", 32, 32, lambda x: x),
    ]
    if (options.vae / "config.json").exists():
        cases.insert(2, ("VAE round trip 64x64", 64, 64, round_trip(options.vae)))
    else:
        print(f"(no VAE at {options.vae}: round trip left out)")
    for name, height, width, change in cases:
        print(f"{name:<22}" + row(name, height, width, change, options), flush=True)


def disturbed(images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    blurred = torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 0.6, 0.6)))
    return (blurred + 0.02 * noise).clamp(0, 1)


def round_trip(folder: Path) -> Callable[[Tensor], Tensor]:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(folder).eval()

    @torch.no_grad()
    def change(images: Tensor) -> Tensor:
        latents = vae.encode(images * 2 - 1).latent_dist.mode()
        return (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)

    return change


def row(name: str, height: int, width: int, change: Callable[[Tensor], Tensor], options: argparse.Namespace) -> str:
    scenes = sample_scenes(options.n, options.seed, Mixture(), aspect=width / height)
    wrong, centres, overlaps, unsure, seconds = dict.fromkeys(COLUMNS, 0), [], [], 0, 0.0
    for start in range(0, len(scenes), 50):
        batch = scenes[start : start + 50]
        drawn = render(batch, height, width)
        images = change(drawn.images)
        began = time.process_time()
        readings = read(images)
        seconds += time.process_time() - began
        for index, (scene, reading) in enumerate(zip(batch, readings, strict=True)):
            errors = mistakes(scene, reading)
            for column in errors:
                wrong[column] += 1
            unsure += "things" not in errors and not judge(reading, scene).both
            for thing, found in matched(scene, reading):
                centres.append(distance(reading.found[found], scene.things[thing], width / height))
                truth, seen = drawn.visible[index, thing], reading.found[found].mask
                overlaps.append(float((truth & seen).sum() / (truth | seen).sum().clamp_min(1)))
            if errors and options.failures:
                options.failures.mkdir(parents=True, exist_ok=True)
                stem = f"{name} {start + index} {' '.join(sorted(errors))}".replace(" ", "-")
                pixels = (images[index].permute(1, 2, 0) * 255).round().byte().numpy()
                Image.fromarray(pixels).save(options.failures / f"{stem}.png")
    cells = [100 * wrong[column] / len(scenes) for column in COLUMNS]
    centre, overlap = 100 * sum(centres) / max(len(centres), 1), sum(overlaps) / max(len(overlaps), 1)
    tail = f"{centre:9.2f}{overlap:9.3f}{100 * unsure / len(scenes):9.1f}{len(scenes) / seconds:9.0f}"
    return "".join(f"{value:9.1f}" for value in cells) + tail


def mistakes(scene: Scene, reading: Reading) -> set[str]:
    """The columns in which a reading is wrong, whatever its confidence."""
    verdict = judge(reading, scene, least_confidence=0.0)
    errors = {
        "things": not (verdict.both and verdict.count),
        "kind": not verdict.kinds,
        "colour": not verdict.colours,
        "count": not verdict.count,
        "backgr.": reading.background != scene.background,
        "style": reading.style != scene.style,
        "relation": not verdict.relation,
    }
    return {name for name, is_wrong in errors.items() if is_wrong}


def matched(scene: Scene, reading: Reading) -> list[tuple[int, int]]:
    """Pairs of true and found things of the same kind and colour, nearest first."""
    pairs = [
        (distance(found, thing), t, f)
        for t, thing in enumerate(scene.things)
        for f, found in enumerate(reading.found)
        if (found.kind, found.colour) == (thing.kind, thing.colour)
    ]
    chosen: list[tuple[int, int]] = []
    for _, t, f in sorted(pairs):
        if all(t != other and f != seen for other, seen in chosen):
            chosen.append((t, f))
    return chosen


if __name__ == "__main__":
    main()
