"""LightIt: say from where the sun shines, in a generated picture or in one that is there.

Kocsis, Philip, Sunkavalli, Niessner, Hold-Geoffroy, 2024, "LightIt: Illumination Modeling and Control for Diffusion Models",
arXiv:2403.10615. Light is told as a *direct shading map* with cast shadows, one number a pixel. Three trainings:

    shading    picture + depth + sun -> features in a volume before the camera -> density -> rays marched to the sun -> shadow
               S = RefinementNet(picture, ShadingNet(shadow, N.L));    loss |S - S*|^2 + L2 of the density's expected depth
    control    eps(x_t, t, text; [normals ; S]) on a frozen base, by a copy of its encoder that reads E([normals ; S])
    relight    eps(x_t, t, text; [picture ; S of the new sun])         loss |eps - eps*|^2 + 1.0 * |D(E(c)) - c|^2

E is a residual encoder in the place of ControlNet's few convolutions, and D a decoder, for training only, that must give the
condition c back from E's signal: without it the control is picked up late and in part. Relighting is trained backwards, from a
*synthetic* relit picture to the real one, so that what comes out stays real. For a new sun there is no picture under it: N.L stands
in its place in the shading network.

Paper and code: there is no public code. The paper trains on 51,250 crops of outdoor panoramas and Stable Diffusion 1.5; here the
data are rendered solids. [design]: the volume also holds where the surface is; without ``depth`` a small network guesses it, made for
the solids world only; the synthetic picture is albedo times estimated light, where the paper takes another relighting method;
shading of training pictures is estimated without the picture, as it is for a new sun. The base is given or, by default, a small
one that is trained first on the same scenes and then frozen (``miniatures.lit_base`` says why mini-sd will not do).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, Unsupported
from diffolio.geometry.shading import normals_of, sun
from diffolio.models.control import ControlAdapter, ControlConfig
from diffolio.models.controlled import control_adapter, controlled, load_control, save_control
from diffolio.models.shading import WEIGHTS, ShadingEstimator, check_normals, depth_from
from diffolio.process.optim import frozen
from diffolio.registry import Recipe, knob, method
from diffolio.training.loop import Budget, Settings, Trained
from diffolio.training.stages import Stages

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result
    from diffolio.training.lighting import LitPictures
    from diffolio.worlds.solids.lit import LitScenes

CONTROL = ControlConfig({"normal": 3, "shading": 1}, encoder="residual", reconstruct=True)
RELIGHT = ControlConfig({"image": 3, "shading": 1}, encoder="residual", reconstruct=True)
STEPS = {"geometry": 300, "shading": 130, "base": 2500, "control": 800, "relight": 1800, "control_nl": 800, "relight_plain": 1800}
"""Steps of each training where no budget is given. The last two are the claim's baselines: N.L for shading, and no decoder D."""
SHARES = {"geometry": 60, "shading": 58, "base": 125, "control": 80, "relight": 180, "control_nl": 80, "relight_plain": 150}
TWINS = {"control_nl": "control", "relight_plain": "relight"}
LOOP: dict[str, Any] = {"warmup": 20, "decay": 0.99, "every": 200}
SIZE, SEED = 64, 610_000  # of the training scenes


@method(paper="2403.10615", family="control", works_on={"unet"}, takes={"image", "depth"})
@dataclass(frozen=True)
class LightIt(Recipe):
    """Relights a picture, lights a generated one, and gives the direct shading map for a sun that you place.

    ``--image`` relights that picture; its depth is guessed, or given by ``--input depth=FILE``, lighter being nearer, black being sky.
    Without a picture, solids are drawn: with and without light control, and relit.
    """

    azimuth: float = knob(-50.0, between=(-180.0, 180.0), means="where the sun stands: 0 behind the camera, 90 to the right")
    elevation: float = knob(45.0, above=0.0, at_most=90.0, means="how high it stands, degrees above the horizon")
    pitch: float = knob(20.0, between=(-89.0, 89.0), means="how far the camera looks down, in degrees")
    stop_at: float = knob(0.2, between=(0.0, 1.0), means="share of the noise schedule under which light control is off")
    start: str = knob("", means="folder of a training to use; empty: the bundled one")
    part: str = knob("all", choices=("all", "shading", "control", "relight"), means="what to train")
    base: str = knob("solids", choices=("solids", "given"), means="train on: a small base made first, or the model that is given")
    compare: bool = knob(False, means="train the claim's baselines too: N.L in the place of shading, and no reconstruction")
    recon_weight: float = knob(1.0, at_least=0.0, means="weight of the condition's reconstruction")
    rate: float = knob(1e-5, above=0.0, means="learning rate of the adapters; the bundled small ones took 4e-3")
    batch: int = knob(16, at_least=1, means="pictures a step of the adapters; the bundled ones took 4")
    timesteps: str = knob("uniform", choices=("uniform", "noisy"), means="drawn evenly, or the more often the noisier (bundled)")
    scenes: int = knob(
        2000, at_least=2, means="scenes of the solids world, each under two suns, to train on where no data is given"
    )

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/lightit",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Train what ``part`` names; ``folder/export`` can be given as ``start`` afterwards.

        ``data``: None (solids) or LitPictures with shading and normals; then ``part`` is "control" or "relight". The budget is split
        over the trainings; without one they take ``STEPS``. ``model`` is read only with base="given", and never changed.
        """
        from diffolio.training.lighting import LitPictures

        if data is not None and not (isinstance(data, LitPictures) and self.part in ("control", "relight")):
            raise BadInput(
                "light is learned from pictures with their shading and normals: give LitPictures and part=control or relight"
            )
        folder = Path(folder)
        export = folder / "export"
        export.mkdir(parents=True, exist_ok=True)
        options = {"resume": resume, "seed": seed, "progress": progress}
        stages = Stages(folder, self.stages(data), STEPS, SHARES, budget, TWINS, options)
        scenes = None
        if data is None:
            from diffolio.worlds.solids.lit import lit_scenes

            scenes = lit_scenes(self.scenes, SEED + seed, SIZE)
            if "shading" in stages.names:
                self._fit_shading(stages, scenes)
        if self.part != "shading":
            self._fit_adapters(stages, model, scenes, data)
        record = {"knobs": self.knobs(), "seed": seed, **stages.record()}
        (export / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return Trained(folder, sum(stages.taken.values()), sum(stages.seconds.values()))

    def stages(self, data: Any = None) -> list[str]:
        """What is trained, in order."""
        parts = {"all": list(STEPS), "shading": ["geometry", "shading"], "control": ["base", "control", "control_nl"],
                 "relight": ["base", "relight", "relight_plain"]}[self.part]  # fmt: skip
        left_out = set() if self.compare else set(TWINS)
        if self.base == "given" or data is not None:
            left_out.add("base")
        return [name for name in parts if name not in left_out]

    def _fit_shading(self, stages: Stages, scenes: LitScenes) -> None:
        from diffolio.training.lighting import GeometryTraining, ShadingTraining, trained_estimator

        geometry, shading = (_seeded(stages, lambda make=make: make(scenes)) for make in (GeometryTraining, ShadingTraining))
        for name, objective in (("geometry", geometry), ("shading", shading)):
            stages.train(name, objective, Settings(rate=2e-3, **LOOP))
        trained_estimator(shading.net, geometry.net).save(stages.export)

    def _fit_adapters(self, stages: Stages, model: Model, scenes: LitScenes | None, data: LitPictures | None) -> None:
        from diffolio.miniatures.lit_base import LitBase, load_base, words_in
        from diffolio.training.control import ControlTraining
        from diffolio.training.lighting import Control, Relighting, lit_pictures

        if "base" in stages.names:
            base = _seeded(stages, lambda: LitBase(scenes, words_in(stages.export)))
            stages.train("base", base, Settings(rate=3e-3, **LOOP))
            base.export(stages.export)
            model = load_base(stages.export, model.device if model is not None else "cpu")

        @functools.cache
        def pictures(shading: str) -> LitPictures:
            return data or lit_pictures(scenes, load_shading(stages.export), shading)

        for name in [name for name in stages.names if name.startswith(("control", "relight"))]:
            known = pictures("n_dot_l" if name == "control_nl" else "direct")
            config, draws = (CONTROL, Control) if name.startswith("control") else (RELIGHT, Relighting)
            config = replace(config, reconstruct=name != "relight_plain" and self.recon_weight > 0)
            adapter = control_adapter(model, config, seed=stages.options["seed"]).train()
            how = {"batch": self.batch, "recon_weight": self.recon_weight, "timesteps": self.timesteps}
            objective = ControlTraining(model, adapter, draws(model, known), **how)  # type: ignore[arg-type]
            with frozen(model.denoiser):
                stages.train(name, objective, Settings(rate=self.rate, weight_decay=0.01, **LOOP))
            save_control(adapter, stages.export / name, model)

    def run(self, job: Job) -> Result:
        """Relight the job's picture; without one, light, generate and relight drawn solids, one a prompt."""
        trained = Lights.load(self.start or None, job.model)
        return self._relight_photo(job, trained) if job.image is not None else self._light_solids(job, trained)

    def _relight_photo(self, job: Job, trained: Lights) -> Result:
        from diffolio.models.photos import Photo, fit
        from diffolio.results import Result

        assert job.image is not None
        fitted = fit(Photo(job.image, job.alpha), trained.model, job.height, job.width)
        image = fitted.image[None].to(trained.model.device)
        given = job.inputs.get("depth")
        depth = trained.estimator.depth(image) if given is None else depth_from(given, trained.model, image)
        shading = trained.estimator.shade(depth, self.light)
        relit = trained.relight(image, shading, job.prompts, seed=job.seed, steps=job.steps)
        pictures = {
            "source": fitted.photo.image[None], "normals": fitted.back(normals_of(depth) * 0.5 + 0.5),
            "shading": fitted.back(shading.expand(-1, 3, -1, -1)), "relit": fitted.back(relit),
        }  # fmt: skip
        guessed = [] if given is not None else ["depth was guessed by a network that knows solids only: give --input depth=FILE"]
        numbers = {"rms_change": float((relit - image).square().mean().sqrt()), "mean_shading": float(shading.mean())}
        return Result(pictures, numbers, {"light": self.light.tolist(), "notes": [*trained.notes, *guessed]}, [""])

    def _light_solids(self, job: Job, trained: Lights) -> Result:
        from diffolio.results import Result
        from diffolio.worlds.solids import vocabulary
        from diffolio.worlds.solids.lit import lit_scenes

        scenes = lit_scenes(len(job.prompts), 970_000 + job.seed, trained.model.default_size)
        known = set(vocabulary())
        spoken = all(prompt.strip() and set(prompt.replace(",", " , ").split()) <= known for prompt in job.prompts)
        prompts = job.prompts if spoken else scenes.captions(list(range(len(scenes))))
        notes = [
            *trained.notes,
            *([] if spoken else ["the bundled base speaks of solids: each picture has its scene's own caption"]),
        ]
        shading = trained.estimator.shade(scenes.depth, self.light)
        real = scenes.rgb[:, 0].float() / 255
        options = {"seed": job.seed, "steps": job.steps, "guidance_scale": job.guidance_scale}
        plain = trained.model.sample(prompts, **options).images
        with trained.lit(normals_of(scenes.depth), shading, self.stop_at):
            lit = trained.model.sample(prompts, **options).images
        relit = trained.relight(real, shading, prompts, seed=job.seed, steps=job.steps)
        pictures = {
            "scene": real, "shading of the new sun": shading.expand(-1, 3, -1, -1), "scene relit": relit,
            "generated, no control": plain, "generated with the scene's normals and shading": lit,
        }  # fmt: skip
        numbers = {"rms_change": float((relit - real).square().mean().sqrt())}
        return Result(pictures, numbers, {"light": self.light.tolist(), "prompts": prompts, "notes": notes}, prompts)

    @property
    def light(self) -> Tensor:
        """(1, 3): towards the sun, in view axes."""
        return sun(self.azimuth, self.elevation, self.pitch)[None]


@dataclass(frozen=True, eq=False)
class Lights:
    """A trained LightIt at work. ``model`` is the base that the adapters belong to."""

    model: Model
    estimator: ShadingEstimator
    control: ControlAdapter | None
    relighter: ControlAdapter | None
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, start: str | Path | None = None, model: Model | None = None, any_base: bool = False) -> Lights:
        """From the folder of a training or its ``export``, or the bundled one. With its own base if it brings one, else on ``model``."""
        from diffolio.miniatures.lit_base import LitBase

        place = export_of(start)
        model, notes = LitBase.under(place, model, "adapters")
        found = [
            load_control(place / n, model, any_base=any_base) if (place / n).is_dir() else None for n in ("control", "relight")
        ]
        return cls(model, load_shading(place), *found, notes)

    @contextmanager
    def lit(self, normals: Tensor, shading: Tensor, stop_at: float = 0.2) -> Iterator[Model]:
        """The model follows normals (B, 3, H, W) in view axes and shading (B, 1, H, W) in [0, 1] while it samples."""
        if self.control is None:
            raise Unsupported("this training has no light control: train it with part=control")
        conditions = {"normal": check_normals(normals) * 0.5 + 0.5, "shading": shading}
        with controlled(self.model, self.control, conditions, stop_below=stop_at):
            yield self.model

    def relight(
        self, image: Tensor, shading: Tensor, prompts: list[str] | None = None, *, seed: int = 0, steps: int = 25
    ) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] under the light of ``shading`` (B, 1, H, W). Without guidance, the control always on."""
        if self.relighter is None:
            raise Unsupported("this training has no relighter: train it with part=relight")
        with controlled(self.model, self.relighter, {"image": image, "shading": shading}):
            height, width = image.shape[-2:]
            options = {"seed": seed, "steps": steps, "guidance_scale": 1.0, "height": height, "width": width}
            return self.model.sample(prompts or [""] * len(image), **options).images


def export_of(start: str | Path | None) -> Path:
    """The folder of weights: of a training, itself, or the bundled one."""
    from diffolio import miniatures

    if start is None:
        return miniatures.adapter("lightit")
    return Path(start) / "export" if (Path(start) / "export").is_dir() else Path(start)


def load_shading(place: Path) -> ShadingEstimator:
    """The estimator in ``place``, or the bundled one where it holds none."""
    return ShadingEstimator.load(place if (place / WEIGHTS).exists() else export_of(None))


def _seeded(stages: Stages, make: Callable[[], Any]) -> Any:
    """Networks from the training's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stages.options["seed"])
        return make()
