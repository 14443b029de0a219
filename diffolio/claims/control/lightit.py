"""LightIt: does a shading map with cast shadows light a picture better than N.L, and is a relit picture what the renderer gives?

All is measured on solids, whose depth, normals, suns and shadows are exact. The shading that is asked for is *estimated* from depth and
sun; the renderer's own only judges. Light is read from pictures by least squares (``metrics.light``), not by a network.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

if TYPE_CHECKING:
    from diffolio.methods.control.lightit import Lights
    from diffolio.worlds.solids.lit import LitScenes

CLAIM = Claim(
    method="lightit",
    metric="L-PSNR of generated pictures, controlled by direct shading minus controlled by N.L, dB",
    paper_says="L-PSNR 12.69 with direct shading against 6.43 with N.L; light angle 28.6 against 37.2 degrees; relighting PSNR 20.44, "
    "20.24 without the reconstruction",
    bar=AtLeast(2.0),
    world="solids",
    weights=("adapters/lightit",),
)
SCENES, SEED, STEPS, GUIDANCE = 48, 990_000, 25, 3.0
READABLE = 12.0  # degrees by which the light may be misread from a true render of a scene that is used for angles
COMMAND = {"compare": True, "rate": 4e-3, "batch": 4, "timesteps": "noisy"}  # how the bundled adapters are trained


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.methods.control.lightit import Lights, export_of
    from diffolio.models.images import sheet
    from diffolio.worlds.solids.lit import lit_scenes

    place = trained() if retrain else export_of(None)
    lights = Lights.load(place)
    scenes = lit_scenes(SCENES, SEED + 1)
    estimates = estimation(lights, scenes)
    generated = generation(lights, place)
    relit = relighting(lights, place, scenes)
    made, few = generated.pictures, slice(0, 8)

    def ratio(metric: str, value: Tensor, baseline: Tensor, bar: Any = None, note: str = "") -> Row:
        return Row(metric, value.tolist(), baseline.tolist(), bar, note=note)

    mine, theirs = generated.angles["direct"], generated.angles["n_dot_l"]
    return Outcome(
        Row(CLAIM.metric, (generated.psnr["direct"] - generated.psnr["n_dot_l"]).tolist(), None, CLAIM.bar),
        more=[
            ratio("estimator: squared error of the shading / that of N.L", estimates["picture"], estimates["n_dot_l"], AtMost(0.5)),
            ratio("error of the light's angle, direct shading / N.L", mine, theirs, AtMost(0.85)),
            Row("relighting: PSNR with the reconstruction minus without, equal steps, dB", (relit["psnr"] - relit["psnr plain"]).tolist(),
                None, AtLeast(0.2)),
            ratio("relighting: squared error to the render / leaving the picture as it is", relit["error"], relit["as is"], AtMost(0.6)),
            ratio("estimator for a new sun, without the picture", estimates["no picture"], estimates["n_dot_l"]),
            ratio("estimator with depth guessed from the picture", estimates["guessed"], estimates["n_dot_l"]),
            Row("L-PSNR of generated pictures, direct shading, dB", generated.psnr["direct"].tolist()),
            Row("L-PSNR of generated pictures, N.L, dB", generated.psnr["n_dot_l"].tolist()),
            Row("L-PSNR of generated pictures without control, dB", generated.psnr["none"].tolist()),
            Row("L-PSNR as read from true renders, dB", generated.psnr["true"].tolist(), note="the reader's own limit"),
            Row("error of the light's angle as read from true renders, degrees", generated.angles["true"].tolist(),
                note=f"scenes in which it is below {READABLE:g}"),
            Row("PSNR of relit pictures, dB", relit["psnr"].tolist()),
            Row("PSNR of the pictures as they are, dB", relit["psnr as is"].tolist()),
            ratio("relighting with N.L for shading / leaving the picture as it is", relit["error N.L"], relit["as is"]),
            ratio("relighting with guessed depth / leaving the picture as it is", relit["error guessed"], relit["as is"]),
        ],
        picture=sheet(
            {
                "a scene": made["scene"][few], "its N.L": made["n_dot_l"][few], "drawn from N.L": made["drawn n_dot_l"][few],
                "its shading, estimated": made["direct"][few], "drawn from shading": made["drawn direct"][few],
                "a picture": relit["source"][few], "a new sun's shading": relit["shading"][few], "relit": relit["relit"][few],
                "the true picture": relit["truth"][few],
            }
        ),
        seeds=f"scenes {SEED + 1}, {SEED + 2}; noise {SEED}..; training on scenes of seed 610000",
        notes=NOTES,
        details=details(place),
    )  # fmt: skip


NOTES = (
    "One number an albedo is free when shading is read from a picture, so that what is missing are shadows and their places. "
    "Depth is exact unless a row says otherwise, as a user's depth map would be."
)


@dataclass(frozen=True)
class Generated:
    """L-PSNR (B,) and angles (fewer) by arm, and pictures."""

    psnr: dict[str, Tensor]
    angles: dict[str, Tensor]
    pictures: dict[str, Tensor]


def estimation(lights: Lights, scenes: LitScenes) -> dict[str, Tensor]:
    """Squared errors (B,) of direct shading."""
    image, light, truth = scenes.rgb[:, 0].float() / 255, scenes.light[:, 0], scenes.direct[:, 0].float() / 255
    estimator = lights.estimator
    found = {
        "picture": estimator.shade(scenes.depth, light, image),
        "no picture": estimator.shade(scenes.depth, light),
        "guessed": estimator.shade(estimator.depth(image), light, image),
        "n_dot_l": estimator.n_dot_l(scenes.depth, light),
    }
    return {name: (shading - truth).square().flatten(1).mean(1) for name, shading in found.items()}


def generation(lights: Lights, place: Path) -> Generated:
    """Scenes of one albedo a surface, drawn anew from normals and shading, by each arm from the same noise."""
    from dataclasses import replace

    from diffolio.geometry.shading import n_dot_l, normals_of
    from diffolio.metrics.light import angle, light_direction, light_psnr
    from diffolio.models.controlled import load_control
    from diffolio.worlds.solids import FLOOR, Mixture, render
    from diffolio.worlds.solids.lit import lit_scenes

    plain = Mixture(settings=(1.0, 0.0, 0.0), textured=0.0, patterned_ground=0.0, glossy=0.0, canonical=True)
    scenes = lit_scenes(SCENES, SEED + 2, mixture=plain)
    drawn = render(scenes.scenes, size=scenes.rgb.shape[-1])
    prompts = [scene.caption for scene in scenes.scenes]
    depth, light = scenes.depth, scenes.light[:, 0]
    normals, maps = (
        normals_of(depth),
        {"direct": lights.estimator.shade(depth, light), "n_dot_l": lights.estimator.n_dot_l(depth, light)},
    )
    options: dict[str, Any] = {"seed": SEED, "steps": STEPS, "guidance_scale": GUIDANCE}
    other = replace(lights, control=load_control(place / "control_nl", lights.model))
    images = {"none": lights.model.sample(prompts, **options).images, "true": drawn.rgb}
    for name, arm in (("direct", lights), ("n_dot_l", other)):
        with arm.lit(normals, maps[name], stop_at=0.0):
            images[name] = arm.model.sample(prompts, **options).images

    regions = torch.where(drawn.ids == FLOOR, 100, drawn.ids)
    psnr = {name: light_psnr(x, regions, drawn.shading[:, 0]) for name, x in images.items()}
    exact = torch.einsum("bij,bjhw->bihw", drawn.cameras.world_to_camera[:, :3, :3], drawn.normals)
    exact = exact * exact.new_tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    lit = (n_dot_l(exact, light)[:, 0] > 0.05) & ~drawn.shadow & (drawn.ids >= 0)
    angles = {name: angle(light_direction(x, regions, exact, lit), light) for name, x in images.items()}
    readable = (angles["true"] < READABLE) & torch.stack([torch.isfinite(a) for a in angles.values()]).all(0)
    pictures = {"scene": drawn.rgb, "drawn direct": images["direct"], "drawn n_dot_l": images["n_dot_l"]}
    pictures |= {name: x.expand(-1, 3, -1, -1) for name, x in maps.items()}
    return Generated(psnr, {name: a[readable] for name, a in angles.items()}, pictures)


def relighting(lights: Lights, place: Path, scenes: LitScenes) -> dict[str, Tensor]:
    """Real renders under one sun, relit for the other."""
    from dataclasses import replace

    from diffolio.metrics import mse, psnr
    from diffolio.models.controlled import load_control

    source, truth = (scenes.rgb[:, k].float() / 255 for k in (0, 1))
    light, estimator = scenes.light[:, 1], lights.estimator
    shading = estimator.shade(scenes.depth, light)
    plain = replace(lights, relighter=load_control(place / "relight_plain", lights.model))
    relit = lights.relight(source, shading, seed=SEED, steps=STEPS)
    without = plain.relight(source, shading, seed=SEED, steps=STEPS)
    flat = lights.relight(source, estimator.n_dot_l(scenes.depth, light), seed=SEED, steps=STEPS)
    guessed = lights.relight(source, estimator.shade(estimator.depth(source), light), seed=SEED, steps=STEPS)
    return {
        "source": source, "truth": truth, "relit": relit, "shading": shading.expand(-1, 3, -1, -1),
        "error": mse(relit, truth), "as is": mse(source, truth), "error N.L": mse(flat, truth), "error guessed": mse(guessed, truth),
        "psnr": psnr(relit, truth), "psnr plain": psnr(without, truth), "psnr as is": psnr(source, truth),
    }  # fmt: skip


def trained() -> Path:
    from diffolio.methods.control.lightit import LightIt
    from diffolio.models import load

    folder = Path(tempfile.mkdtemp())
    LightIt(**COMMAND).fit(load("mini-sd"), folder=folder)  # type: ignore[arg-type]
    return folder / "export"


def details(place: Path) -> dict[str, Any]:
    import json

    record = json.loads((place / "training.json").read_text(encoding="utf-8"))
    return {"trained_steps": record["steps"], "trained_seconds": record["seconds"]}
