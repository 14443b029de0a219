"""Training pictures in layers, all layers of a scene together (LayerDiff, arXiv:2403.11929), from drawn scenes or from a user's folder."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.models.layer_network import NAMES, LayerNetwork, read_texts
from diffolio.process.matting import check_matte
from diffolio.process.prediction import alpha_sigma
from diffolio.process.sampling import stratified
from diffolio.training.cutouts import grey
from diffolio.training.joint import CLEAN_ERROR
from diffolio.training.latents import encode

if TYPE_CHECKING:
    from diffolio.models import Model

Texts = Callable[[int, random.Random], tuple[str, list[str]]]


@dataclass(frozen=True)
class LayeredPictures:
    """One scene: ``images`` (L, 3, H, W), the background first, ``masks`` (L - 1, 1, H, W), both in [0, 1]; a prompt for all of it, and
    one a layer. Where a layer is empty its picture should be one grey, so that it holds no copy of what is behind it."""

    images: Tensor
    masks: Tensor
    prompt: str
    prompts: Sequence[str]

    def __post_init__(self) -> None:
        layers = len(self.images)
        if not layers == len(self.masks) + 1 == len(self.prompts) or self.images.shape[-2:] != self.masks.shape[-2:]:
            given = f"{layers} pictures, {len(self.masks)} masks and {len(self.prompts)} prompts"
            raise BadInput(
                f"a scene of {given}: give L pictures, L - 1 masks of the same size (none for the background) and L prompts"
            )
        if layers > 1:
            check_matte(self.masks)


@dataclass(frozen=True)
class LayerPool:
    """Clean latents of scenes of L layers (N, L, 2 C, h, w) in float16, and their texts: (global prompt, L layer prompts)."""

    latents: Tensor
    texts: Texts

    @property
    def layers(self) -> int:
        return self.latents.shape[1]


def tabletop_stacks(model: Model, n: int, layers: Sequence[int], seed: int, levels: Sequence[float]) -> dict[int, LayerPool]:
    """``n`` drawn scenes for every number of layers; texts are redrawn at every use."""
    from dataclasses import replace

    from diffolio.worlds.tabletop import sample_scenes
    from diffolio.worlds.tabletop.stacked import MIXTURE, layer_prompts, stacked, whole_prompt

    pools = {}
    for count in layers:
        if not 2 <= count <= 4:
            raise BadInput(
                f"{count} layers: the tabletop has one to three things on its table, that is 2 to 4 layers; or give data"
            )
        mixture = replace(MIXTURE, counts=tuple(float(k == count - 1) for k in (1, 2, 3)))  # type: ignore[arg-type]
        scenes = sample_scenes(n, 9 * TRAIN_SEED + 1000 * count + seed, mixture)
        parts = []
        for i in range(0, n, 64):
            drawn = stacked(scenes[i : i + 64], model.default_size)
            parts.append(layer_latents(model, drawn.images, drawn.masks, levels))

        def texts(i: int, rng: random.Random, scenes=scenes) -> tuple[str, list[str]]:  # type: ignore[no-untyped-def]
            return whole_prompt(scenes[i], rng), layer_prompts(scenes[i], rng)

        pools[count] = LayerPool(torch.cat(parts), texts)
    return pools


def picture_stacks(model: Model, data: Sequence[LayeredPictures], levels: Sequence[float]) -> dict[int, LayerPool]:
    """A user's scenes by their number of layers, cropped to squares of the model's size."""
    from diffolio.models.images import fit_size

    if not data or not all(isinstance(scene, LayeredPictures) for scene in data):
        raise BadInput("data for layers: give a sequence of LayeredPictures, or a folder that holds a folder a scene")
    size, found = model.default_size, {}
    for count in sorted({len(scene.images) for scene in data}):
        chosen = [scene for scene in data if len(scene.images) == count]
        images = torch.stack([fit_size(scene.images, size, size).clamp(0, 1) for scene in chosen])
        masks = torch.ones(len(chosen), count, 1, size, size)
        for i, scene in enumerate(chosen):
            if count > 1:
                masks[i, 1:] = fit_size(scene.masks.expand(-1, 3, -1, -1), size, size)[:, :1].clamp(0, 1)
        texts = [(scene.prompt, list(scene.prompts)) for scene in chosen]
        found[count] = LayerPool(layer_latents(model, images, masks, levels), lambda i, rng, texts=texts: texts[i])  # type: ignore[misc]
    return found


def layer_folder(folder: Path, fill: float = 0.7) -> list[LayeredPictures]:
    """A folder a scene: ``prompts.txt`` (the global prompt, then a line a layer, the background's first), ``0.png``, and ``1.png`` and so
    on with an alpha. What is transparent is filled with grey."""
    from diffolio.models.photos import load_photo

    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give one that holds a folder a scene")
    scenes = []
    for place in sorted(path.parent for path in folder.glob("*/prompts.txt")):
        lines = [line.strip() for line in (place / "prompts.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
        files = [place / f"{i}.png" for i in range(len(lines) - 1)]
        missing = [path.name for path in files if not path.exists()]
        if not files or missing:
            given = f"{place.name}/prompts.txt names {len(files)} layers, and {', '.join(missing) or 'no picture'} is missing"
            raise BadInput(f"{given}: give 0.png, 1.png, ... and a line for each behind the global prompt")
        photos = [load_photo(path) for path in files]
        clear = [path.name for path, photo in zip(files[1:], photos[1:], strict=True) if photo.alpha is None]
        if clear:
            raise BadInput(f"{place.name}: {', '.join(clear)} has no alpha; every layer but the background needs one")
        alphas = [photo.alpha[None] for photo in photos[1:] if photo.alpha is not None]
        images = [
            photos[0].image,
            *(p.image - (1 - a) * (1 - fill) for p, a in zip(photos[1:], alphas, strict=True)),
        ]  # were on white
        masks = torch.stack(alphas) if alphas else photos[0].image.new_zeros(0, 1, *photos[0].image.shape[1:])
        scenes.append(LayeredPictures(torch.stack(images), masks, lines[0], lines[1:]))
    if not scenes:
        raise BadInput(f"{folder} holds no folder with prompts.txt, 0.png, 1.png, ...")
    return scenes


def layer_latents(model: Model, images: Tensor, masks: Tensor, levels: Sequence[float]) -> Tensor:
    """Pictures (B, L, 3, H, W) and masks (B, L, 1, H, W) -> [picture ; mask] latents (B, L, 2 C, h, w), float16."""
    scenes, layers = images.shape[:2]
    pictures = torch.cat([encode(model, part) for part in images.flatten(0, 1).split(64)]).unflatten(0, (scenes, layers))
    full = encode(model, grey(torch.ones_like(masks[:1, 0]), levels)).expand(
        scenes, 1, -1, -1, -1
    )  # the background's is always full
    drawn = grey(masks[:, 1:].flatten(0, 1), levels)
    rest = [encode(model, part).unflatten(0, (-1, layers - 1)) for part in drawn.split(64 * (layers - 1))] if layers > 1 else []
    return torch.cat([pictures, torch.cat([full, torch.cat(rest)], 1) if rest else full], 2)


class LayerTraining:
    """Objective: the squared error of every layer's picture and mask, the same noise level for all layers of a scene.

    Every step takes one number of layers, drawn by ``shares``, and ``batch`` scenes. ``drop`` of the scenes have no text at all, and
    ``drop`` of the other layers none of their own. ``gamma``: the error of the clean estimate counts min(max(SNR, 1/4), gamma)
    times (min-SNR: Hang et al., 2023); 0: the error of the noise, unweighted, as in the paper.
    """

    def __init__(
        self, model: Model, network: LayerNetwork, pools: Mapping[int, LayerPool], *, batch: int = 4, drop: float = 0.1, gamma: float = 5.0,
        mask_weight: float = 1.0,
    ) -> None:  # fmt: skip
        if not pools or max(pools) > network.layers:
            raise BadInput(
                f"scenes of {sorted(pools)} layers for a network of {network.layers}: give some, of no more layers than it has"
            )
        wrong = [pool.latents.shape[2] for pool in pools.values() if pool.latents.shape[2] != len(NAMES) * model.channels]
        if wrong:
            raise BadInput(
                f"latents of {wrong[0]} channels: {model.name}'s VAE gives {model.channels} for a picture and for a mask each"
            )
        self.model, self.network, self.pools = model, network, dict(pools)
        self.batch, self.drop, self.gamma, self.mask_weight = batch, drop, gamma, mask_weight
        self.told = dict.fromkeys(NAMES, 0.0)
        self.modules: dict[str, nn.Module] = {"network": network}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        pool = self.pools[rng.choice(sorted(self.pools))]
        index = torch.randint(len(pool.latents), (self.batch,), generator=generator)
        texts = [pool.texts(i, rng) for i in index.tolist()]
        wholes, layers = [], []
        for whole, each in texts:
            nothing = rng.random() < self.drop
            wholes.append("" if nothing else whole)
            layers.append(["" if nothing or rng.random() < self.drop else text for text in each])
        errors = self.errors(pool.latents[index].float(), wholes, layers, generator)
        self.told = {name: float(error.detach().mean()) for name, error in errors.items()}
        return errors["image"].mean() + self.mask_weight * errors["mask"].mean(), dict(self.told)

    def errors(
        self, z: Tensor, prompts: Sequence[str], layer_prompts: Sequence[Sequence[str]], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The loss by modality, (B L,), of clean latents ``z`` (B, L, 2 C, h, w)."""
        model, (scenes, layers) = self.model, z.shape[:2]
        flat = z.flatten(0, 1).to(model.device)
        noise = torch.randn(flat.shape, generator=generator).to(flat)
        steps = model.scheduler.config.num_train_timesteps
        t = (stratified(scenes, generator) * steps).long().clamp_max(steps - 1).repeat_interleave(layers).to(model.device)
        alpha, sigma = (level.to(flat) for level in alpha_sigma(model.scheduler, t))
        with torch.no_grad():
            texts = read_texts(model, prompts, layer_prompts)
        said = self.network.predict(model, alpha * flat + sigma * noise, t, texts)["cond"]
        known = dict(zip(NAMES, zip(flat.split(model.channels, 1), noise.split(model.channels, 1), strict=True), strict=True))
        snr = (alpha / sigma).square()
        errors = {}
        for name, (clean, eps) in known.items():
            kind = said[name].kind
            target = {"epsilon": eps, "sample": clean}.get(kind, alpha * eps - sigma * clean)
            # Of an error of 1 of the output: how large it is for the clean latents, and those are what is weighted.
            scale = CLEAN_ERROR[kind](alpha, sigma).square()
            weight = scale * snr.clamp(0.25, self.gamma) if self.gamma else scale * snr
            errors[name] = (weight * (said[name].raw.float() - target).square()).mean((1, 2, 3))
        return errors
