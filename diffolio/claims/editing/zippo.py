"""Zippo: is one model of colour and transparency as good at mattes as one that does nothing else, and do its pictures fit its mattes?

Pictures are drawn in layers, so that their mattes are known. The exact reader says where in a generated picture things stand. Both networks
of the comparison were trained for the same number of steps, on the same scenes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

if TYPE_CHECKING:
    from diffolio.methods.editing.zippo import Zipped
    from diffolio.models import Model

CLAIM = Claim(
    method="zippo",
    metric="squared error of mattes, Zippo / distance to the border's colour",
    paper_says="one model makes pictures with alpha from words, pictures from mattes and mattes from pictures; the abstract has no numbers",
    bar=AtMost(0.5),
    weights=("adapters/zippo",),
)
SCENES, SEED = 40, 970_000
MATTE_STEPS, STEPS, GUIDANCE, BATCH = 8, 20, 4.0, 20

KNOBS = ("levels", "rate", "batch", "gamma", "scenes", "rank")
"""Of the bundled networks' training: their values and the number of steps are in the record beside the weights."""


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.metrics.compliance import held_out
    from diffolio.metrics.matting import matte_errors
    from diffolio.models import load
    from diffolio.models.images import sheet
    from diffolio.process.matting import two_colour_matte
    from diffolio.training.cutouts import from_grey, grey
    from diffolio.worlds.tabletop.mattes import MIXTURE, layers

    model = load("mini-sd")
    zippo, shared, matting, about = networks(model, retrain)
    scenes = [
        s for pair in zip(*(held_out(SCENES // 2, k, SEED, plain=MIXTURE.plain) for k in (1, 2)), strict=True) for s in pair
    ]
    prompts, drawn = [scene.caption for scene in scenes], layers(scenes, model.default_size)

    def batched(verb: Any, *given: Any, **options: Any) -> Tensor:
        parts = [verb(*(x[i : i + BATCH] for x in given), seed=SEED + i, **options) for i in range(0, SCENES, BATCH)]
        return torch.cat(parts)

    mattes = {
        "colours": two_colour_matte(drawn.images),
        "zippo": batched(zippo.rgb_to_alpha, drawn.images, steps=MATTE_STEPS),
        "matting": batched(matting.rgb_to_alpha, drawn.images, steps=MATTE_STEPS),
        "vae": decoded(model, drawn.alpha, zippo.levels, grey, from_grey),
    }
    errors = {name: {k: v.tolist() for k, v in matte_errors(matte, drawn.alpha).items()} for name, matte in mattes.items()}
    painted = batched(zippo.alpha_to_rgb, drawn.alpha, prompts, steps=STEPS, guidance_scale=GUIDANCE)
    both = {
        name: batched(one.joint, prompts, steps=STEPS, guidance_scale=GUIDANCE)
        for name, one in (("s", zippo), ("shared", shared))
    }
    joint = {name: overlaps(made[:, :3], made[:, 3:]) for name, made in both.items()}
    given, seen = overlaps(painted, drawn.alpha), overlaps(drawn.images, drawn.alpha)

    def ratio(metric: str, name: str, over: str, error: str = "mse", bar: Any = None) -> Row:
        return Row(metric, errors[name][error], errors[over][error], bar)

    shown = [0, 1, 2, 3, 4, 5, 6, 7]

    def three(x: Tensor) -> Tensor:
        return x[shown].expand(-1, 3, -1, -1)

    return Outcome(
        ratio(CLAIM.metric, "zippo", "colours", bar=CLAIM.bar),
        more=[
            ratio("squared error of mattes, Zippo / a network trained on mattes only", "zippo", "matting", bar=AtMost(1.15)),
            Row("overlap of matte and picture, both from words, reassigned noise / shared", joint["s"], joint["shared"], AtLeast(1.05)),
            Row("overlap of a given matte with what is seen in its picture", given, None, AtLeast(0.8)),
            Row("the same for true pictures: the reader's own error", seen),
            Row("overlap of matte and picture, both from words, reassigned noise", joint["s"]),
            ratio("squared error of true mattes through the VAE / distance to the border's colour", "vae", "colours"),
            ratio("squared error of mattes, the network trained on mattes only / distance to the border's colour", "matting", "colours"),
            *(
                ratio(f"{error} of mattes, Zippo / distance to the border's colour", "zippo", "colours", error)
                for error in ("sad", "gradient", "connectivity")
            ),
        ],
        picture=sheet(
            {
                "picture": drawn.images[shown], "true matte": three(drawn.alpha), "by colours alone": three(mattes["colours"]),
                "trained on mattes only": three(mattes["matting"]), "picture -> matte": three(mattes["zippo"]),
                "true matte -> picture": painted[shown], "words -> picture": both["s"][shown, :3],
                "words -> matte": three(both["s"][:, 3:]),
            },
            [prompts[i] for i in shown],
        ),
        seeds=f"scenes {SEED + 1} and {SEED + 2}; noise {SEED}..; training scenes 70000000",
        notes=NOTES.format(steps=about.get("steps"), samples=about.get("steps", 0) * about.get("batch", 0)),
        details={"training": about},
    )  # fmt: skip


NOTES = (
    "Both networks were trained for {steps} steps ({samples} samples), minutes on one CPU core. The bundled VAE alone costs the first bar "
    "much of its room (see true mattes through the VAE). Overlaps are 0 where the reader finds nothing."
)


def networks(model: Model, retrain: bool) -> tuple[Zipped, Zipped, Zipped, dict[str, Any]]:
    """Zippo with reassigned and with shared noise in sampling (the same network), the one for mattes only, and how they were trained."""
    from diffolio import miniatures
    from diffolio.methods.editing.zippo import Zippo
    from diffolio.models.joint_network import load_joint
    from diffolio.training.loop import Budget

    with tempfile.TemporaryDirectory() as place:
        folders = [miniatures.adapter("zippo"), miniatures.adapter("zippo") / "matting_only"]
        about = load_joint(folders[0], model)[1]
        if retrain:
            folders = [Path(place) / "zippo", Path(place) / "matting_only"]
            same = {name: tuple(v) if isinstance(v := about[name], list) else v for name in KNOBS}
            for folder, modes in zip(folders, ((0.4, 0.4, 0.2), (1.0, 0.0, 0.0)), strict=True):
                Zippo(modes=modes, **same).fit(model, None, Budget(steps=about["steps"]), folder=folder)
        one, two = (str(folder) for folder in folders)
        return Zippo(start=one).load(model), Zippo(start=one, noise_scale=1.0).load(model), Zippo(start=two).load(model), about


@torch.no_grad()
def decoded(model: Model, alpha: Tensor, levels: tuple[float, ...], grey: Any, from_grey: Any) -> Tensor:
    """True mattes after encoding and decoding: what no network in this latent space can go below by much."""
    return from_grey(model.decode(model.encode(grey(alpha, levels))), levels)


def overlaps(images: Tensor, alphas: Tensor) -> list[float]:
    """Intersection over union of all things that the reader finds with where the matte exceeds half of its largest value; 0 for none."""
    from diffolio.worlds.tabletop import read

    scores = []
    for reading, alpha in zip(read(images), alphas[:, 0], strict=True):
        matte = (alpha > 0.5 * alpha.max()) & (alpha > 0.1)
        seen = torch.stack([torch.zeros_like(matte), *(found.mask for found in reading.found)]).any(0)
        scores.append(float((seen & matte).sum() / (seen | matte).sum().clamp_min(1)))
    return scores
