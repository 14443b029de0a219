"""Giving a Hand: are fingers where the pose says, if hands are made first and alone, and does the person grow around them without a seam?

Figures of the bodies world, with exact keypoints. The pose is read off the pictures by a regressor that learned from true renders only; it
never sees the skeletons, and its own error on true renders stands beside. The single stage is the second stage's network, trained on for as
many steps as the first stage took: both ways have seen equally many batches.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

CLAIM = Claim(
    method="hand_to_diffusion",
    metric="error of fingertips, two stages / one stage trained as long",
    paper_says="better pose accuracy and image quality than the state of the art on HaGRID (no number in the abstract)",
    bar=AtMost(0.7),
    world="hands",
    weights=("adapters/hand_to_diffusion",),
)
FIGURES, SEED, STEPS, GUIDANCE, BATCH = 48, 930_500, 20, 2.0, 16
TIPS = (4, 8, 12, 16, 20)

# How the bundled networks were trained; the same values as `diffolio train hand_to_diffusion --set ...`.
COMMAND = {"compare": True, "trains": "all", "rate": 3e-3}


def measure(*, retrain: bool = False) -> Outcome:
    """Same poses, captions and noise for all arms; the arms with hands share the first stage's hands and masks."""
    from diffolio.metrics.seam import seam_ratio
    from diffolio.models.hand_stages import TwoStage, export_of
    from diffolio.models.images import sheet
    from diffolio.process.expansion import Expansion
    from diffolio.training.hand_poses import load_judge
    from diffolio.training.hands import figures_in_view
    from diffolio.worlds.hands import render_bodies

    place = trained() if retrain else export_of(None)
    two, single = TwoStage.load(place), TwoStage.load(place, body="single")
    size = two.model.default_size
    figures = figures_in_view(FIGURES, SEED)
    truth = render_bodies(figures, size)
    skins, captions = [f"a {f.skin} hand" for f in figures], [f.caption for f in figures]
    canvas, mask = (torch.cat(part) for part in zip(*(
        two.hands(truth.hand_keypoints[at], (size, size), skins[at], seed=SEED + at.start, steps=STEPS) for at in batches()
    ), strict=True))  # fmt: skip
    grown, hard, none = Expansion(round(size / 8)), Expansion(0, until=0.0, soften=0, free=0.0), torch.zeros_like(mask)
    arms = {"two": (two, mask, grown), "fixed": (two, mask, hard), "alone": (two, none, hard), "single": (single, none, hard)}
    images, skeleton = {"true": truth.images, "stage 1": canvas}, truth.images
    for name, (stages, kept, expansion) in arms.items():
        parts = [
            stages.around(canvas[at], kept[at], truth.hand_keypoints[at], truth.joints[at], captions[at], expansion,
                          seed=SEED + at.start, steps=STEPS, guidance_scale=GUIDANCE)
            for at in batches()
        ]  # fmt: skip
        images[name], skeleton = torch.cat([made for made, _ in parts]), torch.cat([bones for _, bones in parts])

    tips, counts, read = {}, {}, {}
    for name, batch in images.items():
        tips[name], counts[name], read[name] = judged(load_judge(place), batch, truth, figures)
    seams = {name: seam_ratio(images[name], mask).tolist() for name in ("two", "fixed")}
    seams["true"] = seam_ratio(truth.images, truth.hand_masks.any(1)).tolist()
    kept_error = {name: in_hands(images[name], canvas, mask) for name in ("two", "fixed", "alone")}
    true_mask = truth.hand_masks.any(1)
    overlap = ((mask & true_mask).sum((1, 2)) / (mask | true_mask).sum((1, 2))).tolist()
    few = slice(0, 8)
    return Outcome(
        Row(CLAIM.metric, tips["two"], tips["single"], CLAIM.bar),
        more=[
            Row("number of raised fingers right, two stages / one", counts["two"], counts["single"], AtLeast(1.2)),
            Row("gradient across the mask's border over that beside it, expansion / mask fixed from the first step", seams["two"],
                seams["fixed"], AtMost(0.85)),
            Row("squared error of hands to the first stage's, expansion / fixed mask", kept_error["two"], kept_error["fixed"], AtMost(1.2)),
            Row("error of fingertips, two stages / the second stage without hands", tips["two"], tips["alone"]),
            *(Row(f"error of fingertips in hands' lengths, {title}", tips[name]) for name, title in NAMES.items()),
            *(Row(f"number of raised fingers right, {title}", counts[name]) for name, title in NAMES.items()),
            *(Row(f"the same by the form of the silhouette, {title}", read[name]) for name, title in NAMES.items()),
            *(Row(f"gradient across the border over beside it, {title}", seams[name]) for name, title in NAMES.items() if name in seams),
            Row("squared error of the hands to the first stage's, the second stage without hands / fixed mask", kept_error["alone"],
                kept_error["fixed"]),
            Row("overlap of the generated mask with the true one", overlap),
        ],
        picture=sheet(
            {
                "pose": skeleton[few], "one stage": images["single"][few], "first stage": canvas[few],
                "its mask": mask[few, None].float().expand(-1, 3, -1, -1), "fixed mask": images["fixed"][few],
                "two stages": images["two"][few], "true figure": truth.images[few],
            },
            captions[few],
        ),
        seeds=f"figures {SEED}, noise {SEED}..{SEED + FIGURES - 1}; training on scenes of seed 640000",
        notes=NOTES,
        details=details(place),
    )  # fmt: skip


NAMES = {
    "two": "two stages", "single": "one stage", "fixed": "fixed mask", "alone": "the second stage without hands",
    "stage 1": "first stage on its neutral canvas", "true": "true renders (the judge's own limit)",
}  # fmt: skip
NOTES = (
    "Figures a hand of which leaves the picture are left out. Skins are told to the first stage, whose text is of the hand; the "
    "figure's caption does not name them. The border's gradient is no measure of the seam here: a hand ends there in truth, and true "
    "renders have the highest."
)


def batches() -> list[slice]:
    return [slice(i, i + BATCH) for i in range(0, FIGURES, BATCH)]


def judged(judge: Any, images: Tensor, truth: Any, figures: Any) -> tuple[list[float], list[float], list[float]]:
    """Of every hand: error of its visible fingertips in hands' lengths, and whether as many fingers are raised as should be, by the
    judge and by the reader of silhouettes. NaN-free: a hand none of whose tips is visible is left out of the first."""
    from diffolio.models.hands import crop_boxes, crops
    from diffolio.training.hand_poses import read_poses
    from diffolio.worlds.hands import read

    there = ~truth.hand_keypoints.flatten(2).isnan().any(-1)
    which, points, visible = there.nonzero(), truth.hand_keypoints[there][..., :2], truth.hand_visible[there]
    boxes = crop_boxes(points).float()
    found, raised = read_poses(judge, images[which[:, 0]], boxes)
    lengths = torch.tensor([figures[i].hands[k].size for i, k in which.tolist()]) * images.shape[-1]
    wrong = (found - points).norm(dim=-1)[:, TIPS] / lengths[:, None]
    seen = visible[:, TIPS]
    errors = [float(w[s].mean()) for w, s in zip(wrong, seen, strict=True) if bool(s.any())]
    wanted = torch.tensor([figures[i].hands[k].count for i, k in which.tolist()])
    form = read(crops(images[which[:, 0]], boxes, 64)).fingers
    return errors, (raised.sum(1) == wanted).float().tolist(), (form == wanted).float().tolist()


def in_hands(images: Tensor, canvas: Tensor, mask: Tensor) -> list[float]:
    """Mean squared difference of each picture to the first stage's, inside the generated mask."""
    error = (images - canvas).square().mean(1) * mask
    return (error.sum((1, 2)) / mask.sum((1, 2))).tolist()


def trained() -> Path:
    from diffolio.methods.control.hand_to_diffusion import HandToDiffusion
    from diffolio.models import load

    folder = Path(tempfile.mkdtemp())
    HandToDiffusion(**COMMAND).fit(load("mini-sd"), folder=folder)  # type: ignore[arg-type]
    return folder / "export"


def details(place: Path) -> dict[str, Any]:
    import json

    record = json.loads((place / "training.json").read_text(encoding="utf-8"))
    return {"trained_steps": record["steps"], "trained_seconds": record["seconds"]}
