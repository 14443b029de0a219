"""Img2Img-Turbo: a one-step diffusion model as the generator of image translation, with pairs or without.

Parmar, Park, Narasimhan, Zhu, 2024, "One-Step Image Translation with Text-to-Image Models", arXiv:2403.12036. The input picture
takes the place of the noise: encoded, it goes through the UNet once, at the last timestep, and is decoded again,

    G(x, c) = D( (z - sigma_T eps(z, T, c)) / alpha_T ; skips ),   z = E(x)

What enters each of the encoder's levels passes a 1x1 convolution, started at 1e-5, and is added in the decoder, so that detail
survives the latents. LoRA on UNet and VAE, the first convolution and the skips train; see ``models/one_step.py``. pix2pix-Turbo
learns from pairs. CycleGAN-Turbo learns from two domains without any: one UNet for both directions, told by the target domain's
fixed caption, VAE adapters of their own, cycle and identity losses, a discriminator on frozen features for each domain; the losses
are in ``training/translation.py``. With r below 1 noise is mixed in, and control is traded for variety (section 3.4).

Paper and code: the released code makes a step of the optimiser for each term of the loss, here one on the sum, after that of the
discriminators; it holds the rate, here it falls along a cosine to a tenth. Its LoRA also lies on the skips. The paper trains a
model of its own for r below 1, here r acts on any. Discriminator and perceptual distance are the bundled copies "a" unless others
are given to ``fit``: for photographs give CLIP's features and LPIPS. Sketches of the tabletop are Sobel's gradient, not Canny's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, BadKnob
from diffolio.registry import Recipe, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.models.one_step import OneStepGenerator
    from diffolio.nets.feature_discriminator import Backbone
    from diffolio.process.adversarial import Distance
    from diffolio.results import Job, Result
    from diffolio.training.domains import Domains, Pairs
    from diffolio.training.loop import Budget, Trained
    from diffolio.training.translation import Similarity

STEPS = {"unpaired": 25_000, "paired": 10_000}
RANKS = {"unpaired": 128, "paired": 8}
CLIP = {"unpaired": 10.0, "paired": 1.0}  # of the gradient's norm
SDEDIT = 0.9  # strength of the baseline that a run shows: what came nearest to the twins by night in the claim
SPREAD = (0.75, 1.5)  # of a base that can be used in one step; see one_step_spread


@method(paper="2403.12036", family="editing", works_on={"unet"}, takes={"image", "target"})
@dataclass(frozen=True)
class Img2ImgTurbo(Recipe):
    """Translates pictures in one run of the network: by day to by night and back, a drawing to a picture.

    ``fit`` trains on a base that samples in one step (SD-Turbo, an LCM), ``translator`` loads what was trained, and
    ``Img2ImgTurbo()(model, images)`` translates pictures (B, 3, H, W) in [0, 1]. Training data from a folder: pictures in ``a`` and
    ``b``; pairs have the same names, and captions in ``b/NAME.txt``. Weights of the losses are the paper's for LPIPS.
    """

    mode: str = knob("unpaired", choices=("unpaired", "paired"), means="train CycleGAN-Turbo, or pix2pix-Turbo on pairs")
    direction: str = knob("a2b", choices=("a2b", "b2a"), means="which way an unpaired translator goes")
    r: float = knob(1.0, between=(0.0, 1.0), means="1: the picture decides; below, noise is mixed in; 0: the base on noise")
    adapter: str = knob("", means="folder of a trained translator; empty: the bundled one")
    captions: tuple[str, ...] = knob(("a picture", "a picture at night"), means="unpaired: what a and b show in general: a,b")
    rank_unet: int | None = knob(None, at_least=0, means="rank of the UNet's LoRA; None: 128 unpaired, 8 paired")
    rank_vae: int = knob(4, at_least=0, means="rank of the VAE's LoRA")
    skips: bool = knob(True, means="connect the VAE's encoder with its decoder")
    guidance: float = knob(1.0, at_least=1.0, means="guidance scale that a guidance-distilled base is told")
    gan: float = knob(0.5, at_least=0.0, means="weight of the adversarial loss")
    cycle: float = knob(1.0, at_least=0.0, means="unpaired: weight of there and back again")
    cycle_perceptual: float = knob(10.0, at_least=0.0, means="unpaired: weight of the perceptual distance within it")
    identity: float = knob(1.0, at_least=0.0, means="unpaired: weight of leaving the target domain's pictures alone")
    identity_perceptual: float = knob(1.0, at_least=0.0, means="unpaired: weight of the perceptual distance within it")
    l2: float = knob(1.0, at_least=0.0, means="paired: weight of the squared error")
    perceptual: float = knob(5.0, at_least=0.0, means="paired: weight of the perceptual distance")
    text: float = knob(5.0, at_least=0.0, means="paired: weight of CLIP's similarity of picture and caption")
    rate: float = knob(5e-6, above=0.0, means="learning rate")
    critic_rate: float = knob(5e-6, above=0.0, means="learning rate of the discriminators")
    batch: int = knob(1, at_least=1, means="pictures of each domain, or pairs, a step")
    crop: int | None = knob(None, at_least=8, means="side of the random cuts that it trains on, in pixels; None: whole pictures")
    ema: float = knob(0.0, at_least=0.0, below=1.0, means="decay of the averaged weights; 0: none, as in the paper")
    scenes: int = knob(2000, at_least=1, means="tabletop scenes of each domain to train on where no data is given")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.captions) != 2 or not all(text.strip() for text in self.captions):
            raise BadKnob(
                f"captions={self.captions}: give what pictures of either domain show, such as a street,a street at night"
            )

    def fit(
        self, model: Model, data: Domains | Pairs | None = None, budget: Budget | None = None, *,
        folder: str | Path = "runs/img2img_turbo", resume: bool = False, seed: int = 0, progress: bool = True,
        backbone: Backbone | None = None, distance: Distance | None = None, similarity: Similarity | None = None,
    ) -> Trained:  # fmt: skip
        """Train on the base ``model``, which is unchanged afterwards; writes ``folder/adapter``.

        ``data``: None (the tabletop by day and by night, or its edges), ``Domains`` or ``Pairs``. ``budget`` None: the released
        code's steps. ``backbone``, ``distance`` and ``similarity`` take the place of the bundled judges' copies "a".
        """
        from diffolio.models.one_step import OneStepGenerator
        from diffolio.models.one_step_files import save_one_step
        from diffolio.training.loop import Budget, Settings, train

        self.check(model)
        data = self.checked(model, data)
        rank = RANKS[self.mode] if self.rank_unet is None else self.rank_unet
        directions = ("a2b", "b2a") if self.mode == "unpaired" else ("a2b",)
        options = {"directions": directions, "skips": self.skips, "guidance_scale": self.guidance, "seed": seed}
        generator = OneStepGenerator(model, rank, self.rank_vae, **options).to(model.device)  # type: ignore[arg-type]
        self.warn_unless_one_step(generator, data)
        objective = self.objective(generator, data, backbone, distance, similarity, seed)
        settings = Settings(
            rate=self.rate, warmup=10, last_rate=0.1, weight_decay=1e-2, betas=(0.9, 0.999), clip=CLIP[self.mode], every=200,
            decay=self.ema,
        )  # fmt: skip
        limit, folder = budget or Budget(steps=STEPS[self.mode]), Path(folder)
        trained = train(
            objective, folder, limit, settings, seed=seed, resume=resume, device=model.device, progress=progress
        )  # fmt: skip
        about = {**self.knobs(), "rank_unet": rank, "seed": seed, "steps": trained.steps, "seconds": round(trained.seconds)}
        save_one_step(generator, folder / "adapter", about)
        return trained

    def checked(self, model: Model, data: Domains | Pairs | None) -> Domains | Pairs:
        """What to train on, of the kind that the mode needs, at sizes that the model takes."""
        from diffolio.training.domains import Domains, Pairs, tabletop_domains, tabletop_pairs

        multiple = model._architecture.multiple(model.pipeline)
        if self.crop is not None and self.crop % multiple:
            raise BadInput(f"crop={self.crop}: {model.name} takes multiples of {multiple} pixels")
        if data is None:
            drawn = tabletop_pairs if self.mode == "paired" else tabletop_domains
            made = drawn(self.scenes, model.default_size)
            return made if isinstance(made, Pairs) else Domains(made.a, made.b, (self.captions[0], self.captions[1]))
        wanted = Pairs if self.mode == "paired" else Domains
        if not isinstance(data, wanted):
            raise BadInput(f"data of type {type(data).__name__} for mode={self.mode}: give {wanted.__name__}")
        return data

    def objective(
        self, generator: OneStepGenerator, data: Domains | Pairs, backbone: Backbone | None = None,
        distance: Distance | None = None, similarity: Similarity | None = None, seed: int = 0,
    ) -> Any:  # fmt: skip
        """What the training loop lowers."""
        from diffolio.nets.feature_discriminator import FeatureDiscriminator
        from diffolio.training.domains import Pairs
        from diffolio.training.translation import Critics, Paired, Unpaired, Weights, bundled_judges

        terms = ("gan", "cycle", "cycle_perceptual", "identity", "identity_perceptual", "l2", "perceptual", "text")
        weights = Weights(**{term: getattr(self, term) for term in terms})
        device = generator.model.device
        judges, domains = bundled_judges(device), "b" if isinstance(data, Pairs) else "ab"
        nets = {name: FeatureDiscriminator(backbone or judges.backbone, seed=seed + i) for i, name in enumerate(domains)}
        critics = Critics({name: net.to(device) for name, net in nets.items()}, self.critic_rate)
        distance = distance or judges.distance
        if not isinstance(data, Pairs):
            return Unpaired(generator, data, critics, distance, weights, batch=self.batch, crop=self.crop)
        likeness = similarity or judges.similarity
        return Paired(generator, data, critics, distance, likeness, weights, batch=self.batch, crop=self.crop)

    def warn_unless_one_step(self, generator: OneStepGenerator, data: Domains | Pairs, n: int = 8) -> float:
        """Measure the base's clean estimates at the last timestep; a DiffolioWarning if they are no pictures' latents."""
        from diffolio.models import DiffolioWarning
        from diffolio.models.one_step import one_step_spread
        from diffolio.training.domains import Pairs

        pictures = data.outcomes[:n] if isinstance(data, Pairs) else data.b[:n]
        prompts = data.captions[: len(pictures)] if isinstance(data, Pairs) else [data.captions[1]] * len(pictures)
        spread = one_step_spread(generator, pictures.float() / 255, prompts)
        if not SPREAD[0] <= spread <= SPREAD[1]:
            warnings.warn(
                f"{generator.model.name} was hardly made for one step: from noise alone its latents spread {spread:.2f} times as far as "
                "pictures' do. Start from one that was, such as SD-Turbo or a student of rg_lcd",
                DiffolioWarning, stacklevel=3,
            )  # fmt: skip
        return spread

    def read(self, folder: Path, model: Model) -> Domains | Pairs:
        """Training data from ``folder/a`` and ``folder/b``."""
        from diffolio.training.domains import folder_domains, folder_pairs

        size = model.default_size
        return folder_pairs(folder, size) if self.mode == "paired" else folder_domains(folder, size, self.captions)

    def place(self) -> Path:
        """The folder of the translator that these knobs mean."""
        from diffolio import miniatures

        if self.adapter:
            folder = Path(self.adapter)
            return folder / "adapter" if (folder / "adapter").is_dir() else folder
        folder = miniatures.adapter("img2img_turbo")
        if self.mode == "unpaired":
            return folder
        if not (folder / "paired").is_dir():
            raise BadInput(
                "no translator of pairs is bundled: make one with `diffolio train img2img_turbo --set mode=paired` and give its "
                "folder as adapter"
            )
        return folder / "paired"

    def translator(self, model: Model) -> OneStepGenerator:
        """What was trained, on its base: ``model``, or the bundled one that it was trained on."""
        from diffolio.models.one_step_files import base_for, load_one_step

        self.check(model)
        return load_one_step(self.place(), base_for(self.place(), model))

    @torch.no_grad()
    def translate(
        self, generator: OneStepGenerator, images: Tensor, prompts: str | Sequence[str] = "", seed: int = 0
    ) -> Tensor:  # fmt: skip
        """Pictures (B, 3, H, W) in [0, 1] in one run of the UNet each; sides are multiples of the VAE's factor.

        ``prompts``: what they become, one for all or one each; an unpaired translator has its own. With ``r`` below 1 sample i
        draws its noise from ``seed + i``.
        """
        from diffolio.process.sampling import generators, noise

        words = prompts or self.domains(generator)[1]
        if not words:
            raise BadInput("a translator of pairs is told what each picture becomes: give prompts")
        model, drawn = generator.model, None
        if self.r < 1:
            shape = (len(images), model.channels, *(side // model.factor for side in images.shape[-2:]))
            drawn = noise(shape, generators(seed, len(images)), device=model.device, dtype=torch.float32)
        direction = self.direction if "b2a" in generator.vaes else None
        return generator(images.to(model.device), words, direction, r=self.r, noise=drawn)  # type: ignore[no-any-return]

    def __call__(self, model: Model, images: Tensor, prompts: str | Sequence[str] = "", *, seed: int = 0) -> Tensor:
        """:meth:`translate` with the translator loaded anew."""
        return self.translate(self.translator(model), images, prompts, seed)

    def domains(self, generator: OneStepGenerator) -> tuple[str, str]:
        """The captions of what goes in and of what comes out; empty for a translator of pairs."""
        a, b = generator.about.get("captions", self.captions) if "b2a" in generator.vaes else ("", "")
        return (a, b) if self.direction == "a2b" else (b, a)

    def run(self, job: Job) -> Result:
        """Translate the job's picture, or drawn ones, beside SDEdit on the job's model with ``job.steps`` steps.

        A prompt takes the place of domain a's caption: with "a picture at night", "a fish" becomes "a fish at night".
        """
        from diffolio.edits import measured, pictures
        from diffolio.process.sdedit import sdedit
        from diffolio.training.domains import edges

        generator, model = self.translator(job.model), job.model
        sources, targets = self.said(generator, job)
        images, _, fitted = pictures(replace(job, prompts=sources))
        if self.direction == "a2b" and "b2a" not in generator.vaes and job.image is None:
            images = edges(images)

        scale = model.guidance_scale if job.guidance_scale is None else job.guidance_scale

        @torch.no_grad()
        def plain() -> Tensor:
            latents, condition = model.encode(images.to(model.device)), model.condition(targets)
            return model.decode(sdedit(model, latents, condition, SDEDIT, job.steps, scale, job.seed)).clamp(0, 1)

        words = targets if "b2a" not in generator.vaes else ""
        ours = measured(lambda: self.translate(generator, images, words, job.seed), generator.unet, images, sources, targets)
        theirs = measured(plain, model.denoiser, images, sources, targets)
        ours.fitted = theirs.fitted = fitted
        ours.notes.append(
            f"the baseline is SDEdit at strength {SDEDIT:g} on {model.name}; the translator's base is {generator.model.name}"
        )
        return ours.result(theirs)

    def said(self, generator: OneStepGenerator, job: Job) -> tuple[list[str], list[str]]:
        """What the job's pictures show and what they become."""
        source, target = self.domains(generator)
        if not target:
            return job.prompts, [job.target or prompt for prompt in job.prompts]
        a, b = (source, target) if self.direction == "a2b" else (target, source)
        by_day = [prompt.removesuffix(b.removeprefix(a)) or a for prompt in job.prompts]
        by_night = [b.replace(a, prompt) for prompt in by_day]
        sources, targets = (by_day, by_night) if self.direction == "a2b" else (by_night, by_day)
        return sources, [job.target or prompt for prompt in targets]
