"""CRS-Diff: aerial pictures that follow any of road map, segmentation, depth, edges and lines, a reference picture, and metadata.

Tang, Cao, Hou, Jiang, Liu, Meng, 2024, "CRS-Diff: Controllable Remote Sensing Image Generation with Diffusion Model",
arXiv:2403.11614. One adapter on a frozen base reads all that may be told of an aerial picture; what is not told is zeros:

    local      all conditions stacked -> features f_l at every level -> in a copy of the UNet's encoder, first block of each level,
               h' = GroupNorm(h + attention(h)) * (1 + conv(f_l)) + conv(f_l); its outputs, zero convolutions behind, are added to the
               base's skip connections and middle block
    content    a picture's embedding -> 4 tokens behind the text's
    metadata   7 numbers in [0, 1] -> sinusoids of 1000 x number -> a linear layer each -> the sum is added to the time embedding
    any subset a training sample keeps all local conditions (0.1), none (0.1), or loses each with its own probability (0.6 for line
               segments, 0.5 for the rest); half of the captions are left out

The null row of guidance keeps the local conditions and has no content and an empty or negative text.

Paper and code: the released attention before the normalisation is added as it is; here through a gate that starts at zero, so that
the adapter changes nothing before training. Its drops are not released: that metadata fields and the content are dropped too, each by
its own coin, is [design], as what is never missing in training cannot be left out afterwards; so is the start of the condition's
convolutions (``nets.liven``), without which a short training does not find the conditions. Absent content is attended to there as
zero tokens and left out here. DDIM takes 50 steps with eta 0.2 there, and eta 0 here. The released code may also train the UNet's
decoder; here the base stays as it was. By default it is a small one of the earth world, trained first (``miniatures.earth_base``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, unknown
from diffolio.models.aerial import AerialControl, condition_pictures, load_aerial, metadata_from
from diffolio.models.control import ControlConfig
from diffolio.models.controlled import control_adapter, save_control
from diffolio.nets.condition_encoders import liven
from diffolio.process.optim import frozen
from diffolio.registry import Recipe, knob, method
from diffolio.training.loop import Budget, Settings, Trained
from diffolio.training.stages import Stages
from diffolio.worlds.earth.scene import METADATA

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result
    from diffolio.training.aerial import AerialBatches, AerialPictures

DROP = {"lines": 0.6, "edges": 0.5, "sketch": 0.5, "road": 0.5, "depth": 0.5, "segmentation": 0.5}
"""The local conditions in their fixed order, each a picture (B, 3, H, W) in [0, 1], and how often training leaves each out."""
PYRAMID = (192, 256, 384, 512)  # channels of the condition's features for Stable Diffusion's levels
ADAPTER = "crs"
SINGLES = {"road": ("road",), "segmentation": ("segmentation",), "clouds": ()}
"""The claim's baseline: one adapter a condition, by the conditions it reads; "clouds" reads the metadata's cloud cover only."""
CLOUDS = ("cloud_cover",)
STEPS = {"base": 1600, ADAPTER: 1600}
SHARES = {"base": 0.26, ADAPTER: 0.47}
LOOP: dict[str, Any] = {"warmup": 50, "decay": 0.99, "every": 200}
SEED = 620_000  # of the training scenes


@method(
    paper="2403.11614", family="control", works_on={"unet"},
    takes={"image", "lines", "edges", "sketch", "road", "depth", "segmentation"},
)  # fmt: skip
@dataclass(frozen=True)
class CRSDiff(Recipe):
    """Draws aerial pictures after any subset of condition maps, a reference picture and metadata.

    ``diffolio run crs_diff --input road=FILE --input segmentation=FILE --set metadata="cloud_cover=0.3, month=6"``; ``--image`` is the
    reference. Without inputs, drawn maps of the earth world are followed: the road alone, and all together.
    """

    metadata: str = knob("", means="what a run is told: name=number of longitude, latitude, gsd, cloud_cover, year, month, day")
    scale: float = knob(1.0, at_least=0.0, means="strength of the local conditions: what all residuals are multiplied by")
    suffix: str = knob("", means="words behind every prompt of a run (released: best quality, extremely detailed)")
    negative: str = knob("", means="negative text of a run (released: Blurry, distorted, overexposed)")
    start: str = knob("", means="folder of a training to use; empty: the bundled one")
    conditions: str = knob("lines,edges,sketch,road,depth,segmentation", means="local conditions to train on, of these six")
    base: str = knob("earth", choices=("earth", "given"), means="train on: a small base made first, or the model that is given")
    compare: bool = knob(False, means="also train the claim's baseline: one adapter for road, for segmentation, for clouds")
    keep_all: float = knob(0.1, between=(0.0, 1.0), means="share of samples that see everything")
    drop_all: float = knob(0.1, between=(0.0, 1.0), means="share of samples that see nothing but the text")
    drop_field: float = knob(0.5, between=(0.0, 1.0), means="how often each metadata field is left out")
    drop_content: float = knob(0.5, between=(0.0, 1.0), means="how often the content is left out")
    textless: float = knob(0.5, between=(0.0, 1.0), means="share of captions that are left out")
    rate: float = knob(1e-5, above=0.0, means="learning rate of the adapter; the bundled small one took 3e-3")
    batch: int = knob(4, at_least=1, means="pictures a step")
    timesteps: str = knob("uniform", choices=("uniform", "noisy"), means="drawn evenly, or the more often the noisier (bundled)")
    scenes: int = knob(900, at_least=2, means="scenes of the earth world to train on where no data is given")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.names:
            if name not in DROP:
                raise unknown("condition", name, DROP)

    @property
    def names(self) -> tuple[str, ...]:
        """The conditions to train on, in the order in which they are stacked, whatever order they were named in."""
        named = {name.strip() for name in self.conditions.split(",") if name.strip()}
        return tuple(name for name in DROP if name in named) + tuple(sorted(named - set(DROP)))

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/crs_diff",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Train; ``folder/export`` can be given as ``start`` afterwards.

        ``data``: None (the earth world) or AerialPictures, which hold the conditions. The budget is split over base and adapter;
        without one they take ``STEPS``. With ``compare`` each of the three single adapters takes a third of the adapter's steps.
        ``model`` is read only with base="given", and never changed.
        """
        from diffolio.miniatures.earth_base import EarthBase, load_base, words_in
        from diffolio.training.aerial import earth_pictures

        folder = Path(folder)
        (folder / "export").mkdir(parents=True, exist_ok=True)
        if self.base == "given":
            self.check(model)
        names = [ADAPTER] if self.base == "given" else list(STEPS)
        stages = Stages(folder, names, STEPS, SHARES, budget, {}, {"resume": resume, "seed": seed, "progress": progress})
        pictures = data or earth_pictures(self.scenes, SEED + seed, self.size(model), self.names)
        if missing := [name for name in self.names if name not in pictures.conditions]:
            raise BadInput(f"the pictures have no condition {', '.join(missing)}: leave it out of conditions, or give it")
        if "base" in stages.names:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                base = EarthBase(pictures, words_in(stages.export))
            stages.train("base", base, Settings(rate=3e-3, **LOOP))
            base.export(stages.export)
            model = load_base(stages.export, model.device if model is not None else "cpu")
        content = 0 if pictures.content is None else pictures.content.shape[1]
        self._fit_adapter(stages, ADAPTER, model, pictures, self.config(model, content))
        if self.compare:
            each = max(1, stages.taken[ADAPTER] // len(SINGLES))
            singles = replace(stages, names=list(SINGLES), steps=dict.fromkeys(SINGLES, each), budget=None)
            for name, reads in SINGLES.items():
                alone = ControlConfig(dict.fromkeys(reads, 3), "plain" if reads else "none", metadata=() if reads else CLOUDS)
                self._fit_adapter(singles, name, model, pictures, alone)
        record = {"knobs": self.knobs(), "seed": seed, **stages.record()}
        (stages.export / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return Trained(folder, sum(stages.taken.values()), sum(stages.seconds.values()))

    def config(self, model: Model, content: int) -> ControlConfig:
        """The adapter's shape on this model. ``content``: width of the content embedding, 0 for none."""
        widths = tuple(model.denoiser.config.block_out_channels)
        pyramid = PYRAMID if widths == (320, 640, 1280, 1280) else tuple(max(32, 3 * width // 5) for width in widths)
        return ControlConfig(
            dict.fromkeys(self.names, 3), encoder="none", inject=tuple(range(len(widths))), attention=True, pyramid=pyramid,
            content=content, metadata=METADATA,
        )  # fmt: skip

    def _fit_adapter(self, stages: Stages, name: str, model: Model, pictures: AerialPictures, config: ControlConfig) -> None:
        from diffolio.training.control import ControlTraining

        adapter = control_adapter(model, config, seed=stages.options["seed"]).train()
        if (reader := adapter.pyramid or adapter.encoder) is not None:
            liven(reader, stages.options["seed"])
        batches = self.batches(model, pictures, config, subsets=name == ADAPTER)
        objective = ControlTraining(model, adapter, batches, batch=self.batch, timesteps=self.timesteps)
        with frozen(model.denoiser):
            stages.train(name, objective, Settings(rate=self.rate, weight_decay=0.01, **LOOP))
        save_control(adapter, stages.export / name, model)

    def batches(self, model: Model, pictures: AerialPictures, config: ControlConfig, subsets: bool = True) -> AerialBatches:
        """What an adapter of this shape is trained on: all that it reads, or random subsets of it."""
        from diffolio.training.aerial import AerialBatches, schedule_of

        drop = {name: DROP[name] for name in config.conditions}
        schedule = schedule_of(drop, config.metadata, self.drop_field, self.drop_content, self.keep_all, self.drop_all)
        told = tuple(config.conditions), config.metadata, bool(config.content), schedule if subsets else None
        return AerialBatches(model, pictures, *told, self.textless)

    @staticmethod
    def load(start: str | Path | None = None, model: Model | None = None, any_base: bool = False) -> AerialControl:
        """From the folder of a training or its ``export``, or the bundled one. With its own base if it brings one, else on ``model``."""
        return load_aerial(export_of(start), ADAPTER, model, any_base)

    def read(self, folder: Path, model: Model) -> AerialPictures:
        """A user's folder: see ``training.aerial.aerial_folder``."""
        from diffolio.training.aerial import aerial_folder

        return aerial_folder(folder, self.size(model), self.names)

    def size(self, model: Model) -> int:
        """Pixels a side of what is trained on."""
        return 64 if self.base == "earth" else model.default_size

    def run(self, job: Job) -> Result:
        """The job's conditions, or drawn ones, beside the base from text alone."""
        aerial = self.load(self.start or None, job.model)
        given = {name: job.inputs[name] for name in DROP if name in job.inputs}
        told: dict[str, Any] = {"metadata": metadata_from(self.metadata)}
        if job.image is not None:
            told["content"] = aerial.embed(job.image[None])
        if given or job.image is not None or self.metadata:
            side = aerial.model.default_size
            maps = condition_pictures(given, tuple(aerial.adapter.config.conditions), job.height or side, job.width or side)
            return self._followed(job, aerial, job.prompts, {"crs_diff": {**maps, **told}}, maps)
        return self._drawn(job, aerial)

    def _drawn(self, job: Job, aerial: AerialControl) -> Result:
        """Nothing was given: maps of scenes that no training saw, the road alone and all together."""
        from diffolio.worlds.earth import conditions, held_out, render, vocabulary

        scenes = held_out(len(job.prompts), 960_000 + job.seed)
        drawn, known = render(scenes, aerial.model.default_size), set(vocabulary())
        spoken = all(prompt.strip() and set(prompt.replace(",", " , ").split()) <= known for prompt in job.prompts)
        maps = {name: x for name, x in conditions(drawn).items() if name in aerial.adapter.config.conditions}
        cover = torch.tensor([scene.cloud_cover for scene in scenes])
        arms: dict[str, dict[str, Any]] = {"everything": {**maps, "metadata": {"cloud_cover": cover}}}
        if "road" in maps:
            arms = {"road alone": {"road": maps["road"]}, **arms}
        prompts = job.prompts if spoken else [scene.caption for scene in scenes]
        result = self._followed(job, aerial, prompts, arms, {"scene": drawn.images, **maps})
        result.report["notes"] += ["no condition was given: maps of the earth world were drawn, with their cloud cover"]
        result.report["notes"] += [] if spoken else ["the bundled base speaks of the earth: scenes have their own captions"]
        return result

    def _followed(
        self, job: Job, aerial: AerialControl, prompts: list[str], arms: Mapping[str, Mapping[str, Any]], shown: Mapping[str, Tensor]
    ) -> Result:  # fmt: skip
        from diffolio.results import Result

        height, width = next((x.shape[-2:] for x in shown.values()), (job.height, job.width))
        options: dict[str, Any] = {"seed": job.seed, "steps": job.steps, "height": height, "width": width}
        words: dict[str, Any] = {"suffix": self.suffix, "negative": self.negative, "guidance": job.guidance_scale}
        pictures = {name: x.expand(len(prompts), -1, -1, -1) for name, x in shown.items()}
        plain = aerial.model.sample(prompts, guidance_scale=job.guidance_scale, **options).images
        made = {title: aerial.sample(prompts, scales=self.scale, **words, **options, **told) for title, told in arms.items()}
        change = {f"rms_change_{t.replace(' ', '_')}": float((x - plain).square().mean().sqrt()) for t, x in made.items()}
        return Result({**pictures, "text alone": plain, **made}, change, {"notes": list(aerial.notes)}, prompts)


def export_of(start: str | Path | None) -> Path:
    """The folder of weights: of a training, itself, or the bundled one."""
    from diffolio import miniatures

    if start is None:
        return miniatures.adapter("crs_diff")
    return Path(start) / "export" if (Path(start) / "export").is_dir() else Path(start)
