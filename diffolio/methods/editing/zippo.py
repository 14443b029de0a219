"""Zippo: colour and transparency in one diffusion model. Three verbs: a picture's matte, a matte's picture, and both from words.

Xie et al., 2024, "Zippo: Zipping Color and Transparency Distributions into a Single Diffusion Model", arXiv:2403.11077. A picture and
its matte are one latent, and one network is trained on all ways to go through it: each sample either keeps one of the two *clean*, as
the condition, and diffuses the other, or diffuses both:

    z = [E(rgb) ; E(alpha, alpha, alpha)]        eps(z_t, t_rgb, t_alpha, text),  the clean half at its t = 0 and without a loss
    40% rgb -> alpha,   40% alpha -> rgb,   20% text -> both

Where both are diffused, their noise is *reassigned*: a matte survives noise that erases a picture, so at equal levels the picture is read
off the matte. The matte is given more noise,

    lambda_alpha(t) = lambda_rgb(t) - 2 ln s,   lambda = log-SNR,   s = 2;   s = 1 is a shared level,

in training and in sampling alike.

Paper and code: there is no code, and only the abstract could be read. From it are the joint latent, the alternating modalities and the
name of the noise reassignment; [design] is everything else: the reassignment's form, how the UNet is widened (the picture's half starts
as the base: the matte's columns and rows are zero), that of the matte the network gives the clean latents (its noise would have to be
carried through the whole network), the two timesteps (zero-initialised embeddings beside the UNet's own), the mix above, min-SNR weights,
LoRA instead of all weights, DDIM, and the median over several noises for mattes. Half of the joint samples are trained with a shared
level (``shared``), so that one checkpoint can be sampled either way; text is left out of half of the rgb -> alpha samples, since a matte
is asked for without words.
A matte is given to the VAE in grey ``levels``: (0, 1) for Stable Diffusion's; the bundled VAE has never seen black and takes (0.95, 0.3).
The bundled world has soft edges and glass discs, no strands as thin as hair; the bundled network was trained for minutes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.edits import each
from diffolio.errors import BadKnob
from diffolio.models.joint_network import JointNetwork, load_joint, save_joint
from diffolio.models.joint_sampling import ddim_joint
from diffolio.models.text import DiffolioWarning, listed
from diffolio.models.vae import check_images
from diffolio.process.matting import check_matte, estimate_foreground, two_colour_matte
from diffolio.registry import Recipe, knob, method
from diffolio.training.cutouts import cutout_folder, cutout_pool, from_grey, grey, tabletop_pool
from diffolio.training.joint import JointTraining, Mode
from diffolio.training.loop import Budget, Settings, Trained, train

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result

NAMES = ("rgb", "alpha")


@method(paper="2403.11077", family="editing", works_on={"unet"}, takes={"image"})
@dataclass(frozen=True)
class Zippo(Recipe):
    """Trains one model of pictures with transparency, and uses it: ``Zippo().load(model)`` has the three verbs.

    With ``--image`` a run gives that picture's matte; without, drawn tabletops show all three. ``modes`` other than the default make
    specialists: 1,0,0 knows mattes only.
    """

    noise_scale: float = knob(2.0, above=0.0, means="s: how much more noise the matte has where both are made; 1: the same")
    noises: int = knob(4, at_least=1, means="noises over which a matte is the median")
    cut: bool = knob(False, means="with a picture: also solve for the colours of what is cut out")
    start: str = knob("", means="folder of a training to use; empty: the bundled one")
    modes: tuple[float, ...] = knob((0.4, 0.4, 0.2), means="shares of rgb -> alpha, alpha -> rgb and both in training")
    shared: float = knob(0.5, between=(0.0, 1.0), means="share of the joint samples trained with one level for both")
    rank: int = knob(16, at_least=0, means="rank of the LoRA; 0: all weights")
    levels: tuple[float, ...] = knob((0.0, 1.0), means="grey of what is transparent and of what is opaque, for the VAE")
    gamma: float = knob(5.0, at_least=0.0, means="bound of min-SNR weights; 0: none")
    rate: float = knob(1e-4, above=0.0, means="learning rate; the bundled small one took 2e-3")
    batch: int = knob(16, at_least=1, means="pictures a step")
    scenes: int = knob(2000, at_least=1, means="scenes of the tabletop world to train on where no data is given")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.modes) != 3 or min(self.modes) < 0 or abs(sum(self.modes) - 1) > 1e-6:
            raise BadKnob(f"modes={self.modes}: give three shares that add up to 1, such as 0.4,0.4,0.2")
        if len(self.levels) != 2 or not all(0 <= v <= 1 for v in self.levels) or abs(self.levels[0] - self.levels[1]) < 0.1:
            raise BadKnob(f"levels={self.levels}: give two greys in [0, 1] that differ, such as 0,1")

    @property
    def shift(self) -> float:
        """Of the matte's log-SNR: -2 ln s."""
        return -2 * math.log(self.noise_scale)

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/zippo", resume: bool = False,
        seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Train on ``data``: None (tabletop) or Cutouts. Writes ``folder/adapter``; 20 000 steps without a budget."""
        self.check(model)
        pool = tabletop_pool(model, self.scenes, seed, self.levels) if data is None else cutout_pool(model, data, self.levels)
        network = JointNetwork(
            model, NAMES, inputs=(1.0, 0.0), outputs=(1.0, 0.0), rank=self.rank, seed=seed, as_clean=("alpha",)
        )
        objective = JointTraining(model, network, pool, self.mixture(), batch=self.batch, gamma=self.gamma)
        settings = Settings(rate=self.rate, warmup=40, decay=0.99, every=100)
        options = {"seed": seed, "resume": resume, "progress": progress, "device": model.device}
        trained = train(objective, folder, budget or Budget(steps=20_000), settings, **options)
        about = {**self.knobs(), "seed": seed, "steps": trained.steps, "seconds": round(trained.seconds)}
        save_joint(network.eval(), Path(folder) / "adapter", model, about)
        return trained

    def mixture(self) -> dict[str, Mode]:
        """The ways to be trained whose share is not nothing."""
        to_alpha, to_rgb, both = self.modes
        shifts = tuple(0.0 if k < round(20 * self.shared) else self.shift for k in range(20))
        modes = {
            "rgb_to_alpha": Mode(to_alpha, ("rgb",), drop=0.5),
            "alpha_to_rgb": Mode(to_rgb, ("alpha",)),
            "joint": Mode(both, shifts=shifts),
        }
        return {name: mode for name, mode in modes.items() if mode.share}

    def read(self, folder: Path, model: Model) -> Any:
        """Cut-outs of a folder: pictures with an alpha, captions beside them."""
        return cutout_folder(folder, model.default_size)

    def load(self, model: Model, any_base: bool = False) -> Zipped:
        """The three verbs on ``model``, with the network of ``start`` or the bundled one. BadInput for another base than its own."""
        from diffolio import miniatures

        place = Path(self.start) if self.start else miniatures.adapter("zippo")
        place = place / "adapter" if (place / "adapter").is_dir() else place
        network, about = load_joint(place, model, any_base)
        return Zipped(self, model, network, tuple(about.get("levels", (0.0, 1.0))))

    def run(self, job: Job) -> Result:
        """The matte of the job's picture beside one by colours alone; without a picture all three verbs on drawn tabletops."""
        zipped = self.load(job.model)
        return self._matte(job, zipped) if job.image is not None else self._all_three(job, zipped)

    def _matte(self, job: Job, zipped: Zipped) -> Result:
        from diffolio.models.photos import Photo, fit
        from diffolio.results import Result

        assert job.image is not None
        fitted = fit(Photo(job.image), job.model, job.height, job.width)
        image = fitted.image[None].to(job.model.device)
        alpha, plain = zipped.rgb_to_alpha(image, job.prompts[:1], seed=job.seed, steps=job.steps), two_colour_matte(image)
        colour = estimate_foreground(image, alpha) if self.cut else image
        pictures = {
            "source": image, "matte by colours alone": plain.expand(-1, 3, -1, -1), "matte": alpha.expand(-1, 3, -1, -1),
            "on grey": alpha * colour + (1 - alpha) * 0.5, "cut-out": colour,
        }  # fmt: skip
        notes = [] if job.alpha is None else ["the picture has an alpha of its own, which is not looked at"]
        numbers = {"covered": float(alpha.mean()), "covered_baseline": float(plain.mean())}
        back = {title: fitted.back(batch) for title, batch in pictures.items()}
        matte = fitted.back(alpha.expand(-1, 3, -1, -1))[0, 0]
        return Result(back, numbers, {"notes": notes}, [""], {"cut-out": matte})

    def _all_three(self, job: Job, zipped: Zipped) -> Result:
        from diffolio.results import Result
        from diffolio.worlds.tabletop.depict import depict
        from diffolio.worlds.tabletop.mattes import layers

        options: dict[str, Any] = {"seed": job.seed, "steps": job.steps}
        guided = {**options, "guidance_scale": job.guidance_scale}
        both = zipped.joint(job.prompts, height=job.height, width=job.width, **guided)
        made = {"words -> picture": both[:, :3], "words -> matte": both[:, 3:].expand(-1, 3, -1, -1)}
        scenes = [depict(prompt) for prompt in job.prompts]
        drawn = [replace(scene, style="flat") for scene in scenes if scene is not None]
        if len(drawn) < len(scenes):
            notes = [
                "only words -> picture and matte is shown: not all prompts describe tabletops, from which mattes could be drawn"
            ]
            return Result(made, {"covered": float(both[:, 3].mean())}, {"notes": notes}, job.prompts)
        truth = layers(drawn, job.model.default_size)
        alpha, plain = zipped.rgb_to_alpha(truth.images, **options), two_colour_matte(truth.images)
        pictures = {
            "drawn picture": truth.images, "its true matte": truth.alpha.expand(-1, 3, -1, -1),
            "matte by colours alone": plain.expand(-1, 3, -1, -1), "picture -> matte": alpha.expand(-1, 3, -1, -1),
            "true matte -> picture": zipped.alpha_to_rgb(truth.alpha, job.prompts, **guided),
        }  # fmt: skip
        errors = {"mse": alpha, "mse_baseline": plain}
        numbers = {name: float((matte - truth.alpha).square().mean()) for name, matte in errors.items()}
        return Result({**pictures, **made}, numbers, {}, job.prompts)


@dataclass(frozen=True, eq=False)
class Zipped:
    """A trained network and its three verbs. The model is as before after each; ``network.on(model)`` keeps the network on it for a block,
    inside of which techniques can be entered. ``levels`` are the greys that its mattes are drawn in."""

    zippo: Zippo
    model: Model
    network: JointNetwork
    levels: tuple[float, ...] = (0.0, 1.0)

    def rgb_to_alpha(
        self, images: Tensor, prompts: str | Sequence[str] = "", n: int | None = None, *, seed: int = 0, steps: int = 50
    ) -> Tensor:
        """Pictures (B, 3, H, W) -> mattes (B, 1, H, W): the median over ``n`` noises. Of (B, 4, H, W) the alpha is not looked at."""
        images = images[None] if images.dim() == 3 else images
        if images.dim() == 4 and images.shape[1] == 4:
            warnings.warn("pictures with an alpha: their colours alone are looked at", DiffolioWarning, stacklevel=2)
            images = images[:, :3]
        check_images(images, self.model.factor)
        n, images = n or self.zippo.noises, images.to(self.model.device)
        with torch.no_grad():
            rgb = self.model.encode(images).repeat_interleave(n, 0)
        seeds = [seed + i + 100_000 * k for i in range(len(images)) for k in range(n)]
        texts = [text for text in each(prompts, len(images), may_be_empty=True) for _ in range(n)]
        alphas = self._alpha(self._sample(texts, {"rgb": rgb}, seeds, steps, 1.0)["alpha"])
        return alphas.unflatten(0, (len(images), n)).quantile(0.5, dim=1)

    def alpha_to_rgb(
        self,
        alpha: Tensor,
        prompts: str | Sequence[str] = "",
        *,
        seed: int = 0,
        steps: int = 50,
        guidance_scale: float | None = None,
    ) -> Tensor:
        """Mattes in [0, 1], (H, W), (B, H, W) or (B, 1, H, W), and prompts -> pictures (B, 3, H, W)."""
        alpha = check_matte(alpha).to(self.model.device)
        with torch.no_grad():
            given = self.model.encode(grey(alpha, self.levels))
        found = self._sample(each(prompts, len(alpha), may_be_empty=True), {"alpha": given}, seed, steps, guidance_scale)
        with torch.no_grad():
            return self.model.decode(found["rgb"])

    def joint(
        self, prompts: str | Sequence[str], *, seed: int = 0, steps: int = 50, guidance_scale: float | None = None,
        height: int | None = None, width: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Prompts -> (B, 4, H, W): pictures on their background and, last, their mattes; with ``cut`` the foreground's colours alone."""
        found = self._sample(listed(prompts), {}, seed, steps, guidance_scale, self.model._size(height, width, None))
        alpha = self._alpha(found["alpha"])
        with torch.no_grad():
            images = self.model.decode(found["rgb"])
        return torch.cat([estimate_foreground(images, alpha) if self.zippo.cut else images, alpha], 1)

    def _sample(
        self,
        prompts: list[str],
        clean: dict[str, Tensor],
        seed: Any,
        steps: int,
        guidance: float | None,
        size: tuple[int, int] = (0, 0),
    ) -> dict[str, Tensor]:
        scale = self.model.guidance_scale if guidance is None else guidance
        cells = next((tuple(z.shape[-2:]) for z in clean.values()), (size[0] // self.model.factor, size[1] // self.model.factor))
        with torch.no_grad():
            condition = self.model.condition(prompts)
        shift = 0.0 if clean else self.zippo.shift
        options: dict[str, Any] = {"clean": clean, "shift": shift, "steps": steps, "guidance_scale": scale, "seed": seed}
        return ddim_joint(self.model, self.network, condition, cells, **options)  # type: ignore[arg-type]

    @torch.no_grad()
    def _alpha(self, latents: Tensor) -> Tensor:
        return from_grey(self.model.decode(latents), self.levels)
