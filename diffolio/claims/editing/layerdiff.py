"""LayerDiff: do things in layers of their own stand as the prompt says, do masks fit what is drawn, and can one layer be changed alone?

Prompts ask for two things, one left of, right of, above or below the other. The exact reader looks at the composite. The baseline is the
same network trained without attention between layers, from the same start, for as many steps, on the same batches.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffolio.methods.editing.layerdiff import Layered
    from diffolio.models import Model
    from diffolio.models.layered_image import LayeredImage
    from diffolio.worlds.tabletop import Scene

CLAIM = Claim(
    method="layerdiff",
    metric="relations right in the composite, LayerDiff / the same without inter-layer attention",
    paper_says="FID of two-layer pictures 25.9, of SD 1.5's whole ones 27.0; with self-mask guidance 88.9, without 112.8 (secondary)",
    bar=AtLeast(1.2),
    weights=("adapters/layerdiff",),
)
SCENES, SEED, STEPS, GUIDANCE, EDITED = 24, 930_000, 10, 4.0, 4

# How the bundled networks were trained; the same values as `diffolio train layerdiff --set ...`. The steps are in the record.
TRAINING: dict[str, Any] = {
    "levels": (0.95, 0.3), "mask_input": 0.0, "rate": 1.5e-3, "scenes": 400, "shared_first": 0.6, "compare": True,
}  # fmt: skip


def measure(*, retrain: bool = False) -> Outcome:
    """The same prompts and noise for all; self-mask guidance is off but in its own row."""
    from diffolio import miniatures
    from diffolio.methods.editing.layerdiff import LayerDiff
    from diffolio.metrics.compliance import compliance, held_out
    from diffolio.models import load
    from diffolio.models.images import sheet
    from diffolio.models.layer_network import load_layers
    from diffolio.worlds.tabletop.stacked import layer_prompts, stacked

    model = load("mini-sd")
    scenes = held_out(SCENES, 2, SEED, in_front=0.0)
    prompts, wanted, noises = [s.caption for s in scenes], [layer_prompts(s) for s in scenes], list(range(SEED, SEED + SCENES))
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty and overlapping layers are counted below
        folder = miniatures.adapter("layerdiff")
        about = load_layers(folder, model)[1]
        folder = trained(model, Path(place), about["steps"]) if retrain else folder
        full, apart = (LayerDiff(start=str(f)).load(model) for f in (folder, folder / "baseline"))

        def drawn(layered: Layered, smg: float) -> list[LayeredImage]:
            options: dict[str, Any] = {"steps": STEPS, "guidance_scale": GUIDANCE}
            return layered.sample_many(prompts, wanted, seed=noises, smg=smg, **options)

        made = {"layerdiff": drawn(full, 0.0), "smg": drawn(full, 0.7), "apart": drawn(apart, 0.0)}
        pictures = {name: torch.stack([one.composite() for one in every]) for name, every in made.items()}
        kept, changed, edits = edited(full, made["layerdiff"][:EDITED], scenes)
        pictures["edited"] = torch.stack([one.composite() for one in edits])
    whole = model.sample(prompts, seed=noises, steps=STEPS, guidance_scale=GUIDANCE).images
    truth = stacked(scenes, model.default_size)
    asked = {**{name: pictures[name] for name in made}, "whole": whole, "true": truth.pictures}
    right = {name: compliance(batch, scenes) for name, batch in asked.items()}
    fit = {name: overlaps(every) for name, every in made.items()}
    true = overlaps_of(truth.images[:, 1:].flatten(0, 1), truth.masks[:, 1:].flatten(0, 1))
    shared = {name: [one.overlap for one in every] for name, every in made.items()}
    empty = {name: [len(one.empty) / 2 for one in every] for name, every in made.items()}
    placed = {
        name: [placed_right(one.masks, scene) for one, scene in zip(every, scenes, strict=True)] for name, every in made.items()
    }

    def ratio(metric: str, numbers: dict[str, list[float]], one: str = "layerdiff", other: str = "apart", bar: Any = None) -> Row:
        return Row(metric, list(numbers[one]), list(numbers[other]), bar)

    relation, valid = ({name: getattr(c, part).tolist() for name, c in right.items()} for part in ("relation", "all"))
    both = {name: c.both.tolist() for name, c in right.items()}
    shown = list(range(8))
    return Outcome(
        ratio(CLAIM.metric, relation, bar=CLAIM.bar),
        more=[
            Row("overlap of generated masks with what the reader finds in their layers", fit["layerdiff"], None, AtLeast(0.7)),
            ratio("pictures all right, self-mask guidance on / off", valid, "smg", "layerdiff", AtLeast(1.0)),
            Row("layers that were kept, bit-identical after another was regenerated", kept, None, AtLeast(1.0)),
            Row("pixels of the regenerated layer that changed", changed),
            ratio("centres of masks stand as the prompt says, LayerDiff / without inter-layer attention", placed),
            ratio("kinds and colours right in the composite, LayerDiff / without inter-layer attention", both),
            Row("relations right in the composite, self-mask guidance on", relation["smg"]),
            Row("overlap of masks with what is found, self-mask guidance on", fit["smg"]),
            Row("overlap of masks with what is found, without inter-layer attention", fit["apart"]),
            Row("share of the picture where masks overlap, LayerDiff", shared["layerdiff"]),
            Row("share of the picture where masks overlap, without inter-layer attention", shared["apart"]),
            Row("layers that are empty, LayerDiff", empty["layerdiff"]),
            Row("layers that are empty, without inter-layer attention", empty["apart"]),
            Row("relations right in mini-sd's whole pictures, which have no layers", relation["whole"]),
            Row("relations right in true pictures: the reader's own error", relation["true"]),
            Row("overlap of true masks with what is found in true layers", true),
        ],
        picture=sheet(
            {
                "whole, no layers": whole[shown], "no inter-layer attention": pictures["apart"][shown],
                "LayerDiff": pictures["layerdiff"][shown],
                "with self-mask guidance": pictures["smg"][shown], **parts(made["layerdiff"], shown),
                "layer 2 made anew": pictures["edited"],
            },
            [prompts[i] for i in shown],
        ),
        seeds=f"scenes {SEED + 2}; noise {SEED}..{SEED + SCENES - 1}; training scenes from 90000000",
        notes=NOTES.format(**about["steps"], scenes=SCENES, minutes=round(sum(about["seconds"].values()) / 60)),
        details={"training": about},
    )  # fmt: skip


NOTES = (
    "Both networks share {first} steps without inter-layer attention and were trained for {layers} more, of 4 scenes, with "
    "it and without it: {minutes} minutes of training in all, on a CPU core that other work shared. Things are drawn alone "
    "and their masks fit them; why the headline fails: neither network has yet learned to place a thing by the global "
    "prompt. The centres of their masks stand as asked about as often as by chance, four directions being possible, and "
    "mini-sd's whole pictures, from which they start, have a quarter of the relations right. With its output starting at "
    "zero, the attention between layers has had {layers} steps: the two networks still draw nearly the same pictures, so "
    "that nothing can be told of what it does. Training until the baseline places things better than chance is the first "
    "thing to try. Self-mask guidance on and off differ by few pictures of {scenes}: that row cannot tell an effect from "
    "luck. Backgrounds are poor, as mini-sd has never seen an empty table. Where the reader finds nothing in a layer, the "
    "overlap of its mask counts 0."
)


def trained(model: Model, folder: Path, steps: dict[str, int]) -> Path:
    """Both networks, trained anew for as many steps."""
    from diffolio.methods.editing.layerdiff import LayerDiff
    from diffolio.training.loop import Budget

    total = steps["first"] + steps["layers"]
    LayerDiff(**{**TRAINING, "shared_first": steps["first"] / total}).fit(model, None, Budget(steps=total), folder=folder)
    return folder / "adapter"


def edited(
    full: Layered, made: Sequence[LayeredImage], scenes: Sequence[Scene]
) -> tuple[list[float], list[float], list[LayeredImage]]:
    """Of every picture the front thing made anew in another colour: whether each other layer is bit-identical, what changed, pictures."""
    from diffolio.worlds.tabletop.stacked import layer_prompts

    kept, changed, edits = [], [], []
    for i, (one, scene) in enumerate(zip(made, scenes, strict=False)):
        colour = next(c for c in ("red", "blue", "green") if c not in {thing.colour for thing in scene.things})
        other = scene.change(1, colour=colour)
        options: dict[str, Any] = {"steps": STEPS, "guidance_scale": GUIDANCE, "smg": 0.0}
        edit = full.regenerate(one, 2, layer_prompts(other)[2], other.caption, seed=SEED + 500 + i, **options)
        kept += [float(torch.equal(edit.images[k], one.images[k])) for k in (0, 1)] + [
            float(torch.equal(edit.masks[0], one.masks[0]))
        ]
        changed.append(float(((edit.images[2] - one.images[2]).abs().amax(0) > 0.02).float().mean()))
        edits.append(edit)
    return kept, changed, edits


def overlaps(made: Sequence[LayeredImage]) -> list[float]:
    """Of every thing's layer: intersection over union of its mask with what the reader finds in it."""
    return overlaps_of(torch.cat([one.images[1:] for one in made]), torch.cat([one.masks for one in made]))


def overlaps_of(images: Tensor, masks: Tensor) -> list[float]:
    """Intersection over union of masks (B, 1, H, W), above one half, with the largest thing found in each picture; 0 for none."""
    from diffolio.worlds.tabletop import read

    scores = []
    for reading, mask in zip(read(images.clamp(0, 1)), masks[:, 0] > 0.5, strict=True):
        seen = max((found.mask for found in reading.found), key=lambda m: int(m.sum()), default=torch.zeros_like(mask))
        scores.append(float((seen & mask).sum() / (seen | mask).sum().clamp_min(1)))
    return scores


def placed_right(masks: Tensor, scene: Scene) -> float:
    """Whether the centres of two masks (2, 1, H, W) stand to each other as the scene says, by the reader's rule; 0 if one is empty."""
    from diffolio.process.compositing import centre

    seen = masks[:, 0] > 0.5
    if not bool(seen.flatten(1).any(1).all()):
        return 0.0
    x, y = (centre(seen)[scene.subject] - centre(seen)[1 - scene.subject]).tolist()
    dx, dy = x / masks.shape[-1], y / masks.shape[-2]
    along, across = (dx, dy) if scene.relation in ("left of", "right of") else (dy, dx)
    sign = -1 if scene.relation in ("left of", "above") else 1
    return float(sign * along > max(0.1, abs(across) * 2 / 3))


def parts(made: Sequence[LayeredImage], shown: Sequence[int]) -> dict[str, Tensor]:
    """The layers and masks of some pictures, a row each."""
    rows = {"background": torch.stack([made[i].images[0] for i in shown])}
    for k in (1, 2):
        rows[f"layer {k}"] = torch.stack([made[i].images[k] for i in shown])
        rows[f"mask {k}"] = torch.stack([made[i].masks[k - 1].expand(3, -1, -1) for i in shown])
    return rows
