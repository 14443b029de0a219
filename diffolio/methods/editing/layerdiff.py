"""LayerDiff: a picture made as layers from words, a background and things with masks, so that each can be changed alone afterwards.

Huang et al., 2024, "LayerDiff: Exploring Text-guided Multi-layered Composable Image Synthesis via Layer-Collaborative Diffusion Model",
arXiv:2403.11929. One UNet denoises L layers together, each a picture f_i and its mask m_i (drawn as a picture, in the same VAE):

    x = sum_i m_i f_i + (1 - sum_i m_i) b                     masks do not overlap; a layer lies over those before it

    inter-layer attention:      h_i <- h_i + Attention(h_i; h_1 .. h_L at the same place, global prompt)
    intra-layer attention:      the pretrained cross-attention of layer i reads the prompt of layer i
    prompt enhancer:            p_i <- p_i + Attention(p_i; global prompt)
    self-mask guidance:         eps <- eps + s (eps - eps of the estimate blurred inside the predicted masks),  s = 0.7

Paper and code: there is no code, and only descriptions of the paper could be read. From them are layers with masks denoised together, the
layer-collaborative block of the two attentions, the enhancer and that guidance uses the predicted masks. [design] is everything else:
how the UNet is widened (the picture's half starts as the base), masks predicted as clean latents (``models.layer_network``), the global
prompt as further keys, a layer embedding beside the timestep, the form of self-mask guidance (that of self-attention guidance, Hong et al.,
2023, arXiv:2210.00939, one further forward a step), grey where a layer is empty, min-SNR weights, LoRA, DDIM. What is new starts at zero.
A mask is given to the VAE in grey ``levels``: (0, 1) for Stable Diffusion's; the bundled VAE has never seen black and takes (0.95, 0.3).
The bundled network was trained for minutes on drawn tabletops of one and two things: things and masks come out, backgrounds and places
are poor (the claim says so). It refuses more layers than it was trained with.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, BadKnob
from diffolio.models.layer_network import LayerNetwork, load_layers, read_texts
from diffolio.models.layer_sampling import SelfMask, ddim_layers
from diffolio.models.layered_image import LayeredImage
from diffolio.models.text import DiffolioWarning
from diffolio.models.vae import check_images
from diffolio.process.matting import check_matte
from diffolio.process.sampling import generators
from diffolio.registry import Recipe, knob, method
from diffolio.training.cutouts import from_grey, grey
from diffolio.training.layer_stages import BASELINE, LayerPlan
from diffolio.training.layered import layer_folder, picture_stacks, tabletop_stacks
from diffolio.training.loop import Budget, Trained
from diffolio.worlds.tabletop.stacked import told_layers

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result

Given = tuple[Tensor, Tensor | None]
"""A layer that is known: its picture, and its mask unless it is the background."""


@method(paper="2403.11929", family="editing", works_on={"unet"})
@dataclass(frozen=True)
class LayerDiff(Recipe):
    """Trains a model of layered pictures and uses it: ``LayerDiff().load(model).sample("a red star left of a blue boat", ["a mint
    background", "a red star", "a blue boat"])`` gives a background, two things and two masks; ``.regenerate`` makes one layer anew.
    """

    smg: float = knob(0.7, at_least=0.0, means="scale of self-mask guidance; 0: none, and no further forward")
    blur: float = knob(1.0, above=0.0, means="of self-mask guidance, standard deviation in cells of the latents")
    layer_prompts: str = knob(
        "", means="for a run: the layers' prompts, the background's first, parted by |; empty: told from the prompt"
    )
    start: str = knob("", means="folder of a training to use; empty: the bundled one")
    layers: tuple[int, ...] = knob((2, 3), means="numbers of layers to train with, the background included")
    inter_layer: bool = knob(True, means="train attention between layers")
    prompt_enhancer: bool = knob(True, means="let layer prompts read the global prompt")
    layer_embedding: bool = knob(True, means="tell the network which layer is which")
    window: int = knob(1, at_least=1, means="side of the neighbourhood that inter-layer attention looks at, odd")
    mask_input: float = knob(0.5, means="the first convolution's columns for masks, times those for pictures, before training")
    mask_weight: float = knob(1.0, at_least=0.0, means="weight of the masks' loss")
    rank: int = knob(16, at_least=0, means="rank of the LoRA; 0: all weights")
    levels: tuple[float, ...] = knob((0.0, 1.0), means="grey of what a mask leaves out and of what it covers, for the VAE")
    gamma: float = knob(5.0, at_least=0.0, means="bound of min-SNR weights; 0: the noise's plain error, as in the paper")
    drop: float = knob(0.1, between=(0.0, 0.9), means="share of scenes, and of single layers, without text")
    rate: float = knob(1e-4, above=0.0, means="learning rate; the bundled small one took 1.5e-3")
    batch: int = knob(4, at_least=1, means="scenes a step")
    scenes: int = knob(2000, at_least=1, means="tabletop scenes for each number of layers where no data is given")
    shared_first: float = knob(
        0.0, between=(0.0, 0.95), means="share of the steps without inter-layer attention, which then is added"
    )
    compare: bool = knob(False, means="from there on also train the same without inter-layer attention, for as many steps")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or min(self.layers) < 1:
            raise BadKnob(f"layers={self.layers}: give numbers of layers, such as 2,3: one background and one or two things")
        if len(self.levels) != 2 or not all(0 <= v <= 1 for v in self.levels) or abs(self.levels[0] - self.levels[1]) < 0.1:
            raise BadKnob(f"levels={self.levels}: give two greys in [0, 1] that differ, such as 0,1")
        if self.window % 2 == 0:
            raise BadKnob(f"window={self.window}: a neighbourhood has a middle, give an odd number of cells")
        if self.compare and not self.inter_layer:
            raise BadKnob("compare=True without inter_layer: that is the baseline itself, leave it out")

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/layerdiff",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Train on ``data``: None (tabletop) or a sequence of LayeredPictures. Writes ``folder/adapter``, and with ``compare``
        ``folder/adapter/baseline``; 20 000 steps without a budget."""
        self.check(model)
        pools = (
            tabletop_stacks(model, self.scenes, self.layers, seed, self.levels)
            if data is None else picture_stacks(model, data, self.levels)
        )  # fmt: skip
        network = {
            "mask_input": self.mask_input, "rank": self.rank, "enhancer": self.prompt_enhancer, "embedding": self.layer_embedding,
            "window": self.window, "seed": seed,
        }  # fmt: skip
        loss = {"batch": self.batch, "drop": self.drop, "gamma": self.gamma, "mask_weight": self.mask_weight}
        plan = LayerPlan(self.inter_layer, self.compare, self.shared_first, self.rate, network, loss, self.knobs())
        return plan.train(model, pools, Path(folder), budget, seed=seed, resume=resume, progress=progress)

    def read(self, folder: Path, model: Model) -> Any:
        """A user's scenes: a folder each, with ``prompts.txt``, ``0.png`` and ``1.png``, ... (see ``layer_folder``)."""
        return layer_folder(folder)

    def load(self, model: Model, any_base: bool = False) -> Layered:
        """``model`` with the network of ``start`` or the bundled one. BadInput for another base or VAE than its own."""
        from diffolio import miniatures

        place = Path(self.start) if self.start else miniatures.adapter(self.name)
        place = place / "adapter" if (place / "adapter").is_dir() else place
        network, about = load_layers(place, model, any_base)
        return Layered(self, model, network, tuple(about.get("levels", (0.0, 1.0))))

    def run(self, job: Job) -> Result:
        """The layers, masks and picture of each of the job's prompts, beside the same network without inter-layer attention."""
        from diffolio import miniatures
        from diffolio.results import Result

        wanted = [told_layers(prompt, self.layer_prompts) for prompt in job.prompts]
        options: dict[str, Any] = {
            "seed": job.seed, "steps": job.steps, "guidance_scale": job.guidance_scale, "height": job.height, "width": job.width,
        }  # fmt: skip
        place = Path(self.start or miniatures.adapter(self.name))
        other = next((p for p in (place / "adapter" / BASELINE, place / BASELINE) if (p / "joint.json").exists()), None)
        images: dict[str, Tensor] = {}
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", DiffolioWarning)
            made = self.load(job.model).sample_many(job.prompts, wanted, **options)
            together = torch.stack([one.composite() for one in made])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DiffolioWarning)
            if other is not None:
                apart = replace(self, start=str(other)).load(job.model).sample_many(job.prompts, wanted, **options)
                images["layers that do not see each other"] = torch.stack([one.composite() for one in apart])
        images |= {"layerdiff": together, "background": torch.stack([one.images[0] for one in made])}
        for i in range(1, len(wanted[0])):
            images[f"layer {i}"] = torch.stack([one.images[i] for one in made])
            images[f"mask {i}"] = torch.stack([one.masks[i - 1].expand(3, -1, -1) for one in made])
        notes = [str(one.message) for one in told if issubclass(one.category, DiffolioWarning)]
        numbers = {
            "overlap": sum(one.overlap for one in made) / len(made),
            "empty_layers": float(sum(len(one.empty) for one in made)),
        }
        alphas = {f"layer {i + 1}": mask[0] for i, mask in enumerate(made[0].masks)} if len(made) == 1 else {}
        return Result(images, numbers, {"notes": notes, "layer_prompts": wanted}, job.prompts, alphas)


@dataclass(frozen=True, eq=False)
class Layered:
    """A trained network on its model. The model is as before after each call; ``levels`` are the greys that masks are drawn in."""

    recipe: LayerDiff
    model: Model
    network: LayerNetwork
    levels: tuple[float, ...] = (0.0, 1.0)

    def sample(
        self,
        prompt: str,
        layer_prompts: Sequence[str],
        *,
        seed: int = 0,
        fixed: Mapping[int, Given] | None = None,
        **options: Any,
    ) -> LayeredImage:
        """One picture of as many layers as there are ``layer_prompts``, the background's first. ``fixed``: layers that are given, by their
        number (0: the background): picture (3, H, W) and mask (1, H, W); the background's mask is not looked at."""
        held = {index: (image[None], None if mask is None else mask[None]) for index, (image, mask) in (fixed or {}).items()}
        return self.sample_many([prompt], [list(layer_prompts)], seed=seed, fixed=held, **options)[0]

    def regenerate(
        self, picture: LayeredImage, index: int, layer_prompt: str, prompt: str | None = None, *, seed: int = 0, **options: Any
    ) -> LayeredImage:
        """The picture with layer ``index`` made anew, from other words or another seed; all others are kept, bit for bit."""
        if not 0 <= index < len(picture):
            raise BadInput(f"layer {index} of {len(picture)}: give 0 (the background) to {len(picture) - 1}")
        prompts = [layer_prompt if i == index else text for i, text in enumerate(picture.names())]
        fixed = {i: picture.layer(i) for i in range(len(picture)) if i != index}
        return self.sample(picture.prompt if prompt is None else prompt, prompts, seed=seed, fixed=fixed, **options)

    @torch.no_grad()
    def sample_many(
        self, prompts: Sequence[str], layer_prompts: Sequence[Sequence[str]], *, seed: int | Sequence[int] = 0, steps: int = 50,
        guidance_scale: float | None = None, smg: float | None = None, fixed: Mapping[int, Given] | None = None,
        height: int | None = None, width: int | None = None,
    ) -> list[LayeredImage]:  # fmt: skip
        """Pictures of B global prompts, all of as many layers; ``fixed`` holds pictures (B, 3, H, W) and masks (B, 1, H, W)."""
        model, network, given = self.model, self.network, dict(fixed or {})
        texts = read_texts(model, prompts, layer_prompts)
        if texts.layers > network.layers:
            raise BadInput(
                f"{texts.layers} layers: this network was trained for up to {network.layers}; ask for fewer, or train for more"
            )
        if any(not 0 <= index < texts.layers for index in given):
            raise BadInput(f"fixed layers {sorted(given)} of {texts.layers}: give 0 (the background) to {texts.layers - 1}")
        if given:
            height, width = next(iter(given.values()))[0].shape[-2:]
        size = model._size(height, width, None)
        known = {index: self._encode(index, *layer) for index, layer in given.items()}
        scale = model.guidance_scale if guidance_scale is None else guidance_scale
        strength = self.recipe.smg if smg is None else smg
        ends = model.encode(
            grey(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(-1, 1, *size).to(model.device), self.levels)
        ).mean((2, 3))
        latents = ddim_layers(
            model, network, texts, (size[0] // model.factor, size[1] // model.factor), steps=steps, guidance_scale=scale,
            generators=generators(seed, len(prompts)), self_mask=SelfMask(strength, self.recipe.blur, *ends), fixed=known,
        )  # fmt: skip
        made = []
        for i, (z, prompt) in enumerate(zip(latents, prompts, strict=True)):
            images = model.decode(z[:, : model.channels])
            masks = from_grey(model.decode(z[1:, model.channels :]), self.levels) if len(z) > 1 else images[:0, :1]
            for index, (image, mask) in given.items():
                images[index] = image[i]
                if index and mask is not None:
                    masks[index - 1] = mask[i]
            made.append(one := LayeredImage(images, masks, prompt, tuple(layer_prompts[i])))
            for index in one.empty:
                warnings.warn(f"layer {index} ({one.prompts[index]}) is empty in {prompt!r}", DiffolioWarning, stacklevel=2)
        return made

    def _encode(self, index: int, image: Tensor, mask: Tensor | None) -> Tensor:
        """Latents (B, 2 C, h, w) of a given layer."""
        if index and mask is None:
            raise BadInput(f"layer {index} was given without a mask: give (picture, mask); only the background has none")
        full = torch.ones_like(image[:, :1])
        drawn = grey(full if index == 0 or mask is None else check_matte(mask), self.levels)
        check_images(image, self.model.factor)
        return torch.cat([self.model.encode(x.to(self.model.device)) for x in (image, drawn)], 1)
