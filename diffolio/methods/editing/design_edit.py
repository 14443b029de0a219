"""DesignEdit: remove, move, resize, flip, swap, repeat, pan and zoom by taking a picture apart into latent layers and fusing them.

Jia et al., 2024, "DesignEdit: Multi-Layered Latent Decomposition and Fusion for Unified & Accurate Image Editing", arXiv:2403.14487.
Streams are denoised side by side from inverted noise: the reference, a background in which the holes are filled, a canvas, and one
layer for every object. What fills a hole is the picture around it, because in the background's self-attention the removed
object's keys are masked, queries and values are not, and only in the conditional row:

    K = W_k (h (1 - M)),   Q = W_q h,   V = W_v h          M: the hole in the latents, bilinear at the layer's own grid

W_k has no bias, so that a masked key is zero and its logit 0 (not -inf, which is the ablation). The null embedding is the source's:
with the empty prompt both rows ask the same, and guidance amplifies nothing but the masking. After every early step the background
takes over the reference outside of the hole. Once, after 84% of the steps, the object layers are laid over the background as latents,

    canvas = background;   canvas <- canvas (1 - m) + shift(z_object) m     for each object, from back to front

and the steps that remain harmonise it. Scaling and mirroring is done on the object's picture before its inversion (latents blur).

Paper and code: the released code counts 50 steps, here windows are shares of any number. Its quantile of the proximal pull runs over
all streams, here each stream has its own. Its masks grow by 20 (holes), 10 (objects) and 30 (pan, zoom) pixels of 1024, which are
2.5, 1.25 and 3.75 cells of SDXL's latents: cells is what counts, and what the knobs say. The paper's planner (GPT-4V) only parses
instructions; here operations are explicit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.edits import Edit
from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.process.compositing import Window, centre, dilate, over, to_grid
from diffolio.process.inversion import Trajectory, invert
from diffolio.process.layers import Layer, Prepared, fuse, pan, prepare, zoom_out
from diffolio.registry import Editor, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.seams import Site

REFERENCE, BACKGROUND, CANVAS = range(3)


@dataclass(frozen=True, eq=False)
class Plan:
    """Pictures (B, 3, H, W) to start from, their holes (B, H, W) or None, by how many cells those grow, and what is laid over."""

    base: Tensor
    hole: Tensor | None
    grow: float = 0.0
    layers: Sequence[Layer] = ()


@method(paper="2403.14487", family="editing", works_on={"unet"}, edits={"delete"}, takes={"refine", "other", "layers"},
        needs={"mask"})  # fmt: skip
@dataclass(frozen=True)
class DesignEdit(Editor):
    """Edits what the mask shows, without words and without training.

    ``operation`` says what is done. "swap" takes a second object's mask as the input ``other``; "compose" takes a second picture of the
    same size there, whose object the mask shows. "layers" takes ``layers``, a list of ``Layer``, and lays them over the pictures, from
    which the mask's content is removed. ``refine``: a mask of what else (a shadow) is not to be looked at while the hole is filled.
    """

    operation: str = knob("remove", choices=("remove", "move", "resize", "flip", "swap", "repeat", "compose", "pan", "zoom", "layers"),
                          means="what is done with what the mask shows; pan and zoom take no mask")  # fmt: skip
    dx: float = knob(0.0, between=(-1.0, 1.0), means="to the right, a share of the width")
    dy: float = knob(0.0, between=(-1.0, 1.0), means="down, a share of the height")
    scale: float = knob(1.0, between=(0.05, 20.0), means="new size of the object; for zoom of the picture, below 1")
    mirror: str = knob("horizontal", choices=("horizontal", "vertical", "both"), means="how flip mirrors")
    copies: int = knob(1, at_least=1, means="how many more objects repeat makes, each dx, dy further on")
    steps: int = knob(50, at_least=1, means="DDIM steps of inversion and editing")
    guidance: float = knob(7.5, at_least=1.0, means="how much the masking of keys is amplified")
    key_until: float = knob(0.8, between=(0.0, 1.0), means="share of the steps in which keys are masked; 0 fills no hole")
    keep_until: float = knob(
        0.82, between=(0.0, 1.0), means="share of the steps after which the background keeps to the reference"
    )
    fuse_at: float = knob(
        0.84, between=(0.0, 1.0), means="share of the steps after which layers are fused; not before keep_until"
    )
    refine_until: float = knob(0.52, between=(0.0, 1.0), means="share of the steps in which refine is masked too")
    masking: str = knob(
        "zero_key", choices=("zero_key", "neg_inf"), means="a masked key is zero, as in the paper, or not seen at all"
    )
    prox_lr: float = knob(0.1, between=(0.0, 1.0), means="pull to the inverted path below timestep 400, where guidance is weak")
    grow_hole: float = knob(2.5, at_least=0.0, means="latent cells by which holes grow, 1.5 times as many for pan and zoom")
    grow_object: float = knob(1.25, at_least=0.0, means="latent cells by which object masks grow")
    use_prompt: bool = knob(False, means="invert and sample with the source prompt instead of the empty one")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fuse_at < self.keep_until:
            raise BadKnob(f"fuse_at={self.fuse_at} before keep_until={self.keep_until}: fuse when the background is filled")
        if self.operation == "zoom" and self.scale >= 1:
            raise BadKnob(f"zoom with scale={self.scale:g}: it zooms out, give a scale below 1")

    @property
    def required(self) -> frozenset[str]:
        return frozenset() if self.operation in ("pan", "zoom") else self.needs

    def baseline(self) -> DesignEdit:
        """The same streams without masked keys."""
        return replace(self, key_until=0.0)

    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        """Nothing is drawn: the same picture gives the same edit. The source prompts are read only with ``use_prompt``."""
        plan, n = self.plan(model, images, mask, inputs), len(images)
        size = (images.shape[-2] // model.factor, images.shape[-1] // model.factor)

        def grown(mask: Tensor, cells: float) -> Tensor:
            return dilate(mask, round(cells * model.factor))

        hole = torch.zeros_like(images[:, 0], dtype=torch.bool) if plan.hole is None else grown(plan.hole, plan.grow)
        layers = [prepare(layer, plan.base, size, lambda m: grown(m, self.grow_object)) for layer in plan.layers]
        prompts = sources if self.use_prompt else [""] * n
        paths = self.invert(model, [plan.base, *(layer.image for layer in layers)], prompts)
        refine = None if (given := inputs.get("refine")) is None else hole | as_mask(given, images, model)
        clean = self.denoise(model, paths, prompts, hole, layers, refine)
        with torch.no_grad():
            streams = model.decode(clean).unflatten(0, (-1, n))
        reach = [to_grid(layer.placed(size)[:, 0], images.shape[-2:])[:, 0] for layer in layers]
        stays = plan.base is images
        return Edit(
            images, streams[CANVAS if layers else BACKGROUND], sources, targets,
            reconstruction=streams[REFERENCE] if stays else None, trajectory=paths[0],
            mask=torch.stack([hole, *reach]).any(0) if stays else None,
            extra={"background": streams[BACKGROUND], **{f"layer {i}": x for i, x in enumerate(streams[CANVAS + 1 :], 1)}},
            report={"streams": len(streams), "batch": 2 * len(clean), "prompts": prompts, "hole": float(hole.float().mean())},
        )  # fmt: skip

    def plan(self, model: Model, images: Tensor, mask: Tensor | None, inputs: dict[str, Any]) -> Plan:
        """What the operation means: which pixels are removed from which pictures, and which objects are laid over them."""
        if self.operation in ("pan", "zoom"):
            base, border = pan(images, self.dx, self.dy) if self.operation == "pan" else zoom_out(images, self.scale)
            return Plan(base, border, 1.5 * self.grow_hole)
        assert mask is not None
        given = {"swap": "other", "compose": "other", "layers": "layers"}.get(self.operation)
        if given is not None and inputs.get(given) is None:
            raise BadInput(f"operation={self.operation} needs the input {given!r}: see the method's description")
        move = (self.dx, self.dy)
        if self.operation == "compose":
            return Plan(images, None, layers=[Layer(mask, move, self.scale, image=as_picture(inputs["other"], images, model))])
        if self.operation == "repeat":
            return Plan(
                images, None, layers=[Layer(mask, (k * self.dx, k * self.dy), self.scale) for k in range(1, self.copies + 1)]
            )
        if self.operation == "swap":
            other = as_mask(inputs["other"], images, model)
            way = (centre(other) - centre(mask)) / torch.tensor(images.shape[:1:-1], device=images.device)
            return Plan(images, mask | other, self.grow_hole, [Layer(mask, way), Layer(other, -way)])
        moved = Layer(mask, move, self.scale, self.mirror if self.operation == "flip" else "")
        layers = {"remove": [], "layers": inputs.get("layers", [])}.get(self.operation, [moved])
        return Plan(images, mask, self.grow_hole, layers)

    def invert(self, model: Model, pictures: list[Tensor], prompts: list[str]) -> list[Trajectory]:
        """Plain, conditional DDIM inversion of the pictures (B, 3, H, W) of every layer, in one batch, none twice."""
        unique = list({id(x): x for x in pictures}.values())
        with torch.no_grad():
            condition = model.condition(prompts * len(unique))
            found = invert(model, model.encode(torch.cat(unique)).float(), condition, self.steps)
        n, parts = len(prompts), {}
        for i, x in enumerate(unique):
            part = slice(i * n, (i + 1) * n)
            parts[id(x)] = Trajectory([z[part] for z in found.latents], found.timesteps, condition.index(part), prompts)
        return [parts[id(x)] for x in pictures]

    def denoise(
        self, model: Model, paths: list[Trajectory], prompts: list[str], hole: Tensor, layers: list[Prepared],
        refine: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The clean latents (streams * B, C, h, w): reference, background, and with layers the canvas and each object.

        ``paths``: the pictures' inversion and every layer's. ``hole``, ``refine``: bool (B, H, W) at the pictures' size.
        """
        n, of_stream = len(prompts), [paths[0]] * (3 if layers else 2) + paths[1:]
        condition = model.condition(prompts * len(of_stream))
        condition = condition.with_row("uncond", **condition["cond"])
        path = [torch.cat(latents) for latents in zip(*(trajectory.latents for trajectory in of_stream), strict=True)]
        with self._decomposing(model, path, n, hole, layers, refine):
            try:
                return model.sample(condition=condition, latents=path[-1], steps=self.steps, guidance_scale=self.guidance).latents
            except torch.OutOfMemoryError as error:
                raise BadInput(
                    f"no memory for a batch of {2 * len(path[-1])} ({n} pictures, {len(of_stream)} streams, 2 rows each): "
                    "edit fewer pictures at once, use fewer layers, or smaller pictures"
                ) from error

    @contextmanager
    def _decomposing(
        self, model: Model, path: list[Tensor], n: int, hole: Tensor, layers: list[Prepared], refine: Tensor | None
    ) -> Iterator[None]:
        """The streams' life in a run of the model: masked keys, the pull to the inverted path, the kept background, the fusion."""
        from diffolio.seams.proximal import ProximalGuidance

        size = path[0].shape[-2:]
        cells = to_grid(hole, size)
        spared = torch.zeros(len(path[0]), 1, *size, dtype=torch.bool, device=cells.device)
        spared[BACKGROUND * n : CANVAS * n] = cells
        spared[CANVAS * n : (CANVAS + 1) * n] = True
        keep = Window(0.0, self.keep_until)

        def after(step: int, timestep: Any, latents: Tensor) -> Tensor:
            streams, steps = list(latents.split(n)), len(model.scheduler.timesteps)
            if keep.holds(step, steps):
                streams[BACKGROUND] = over(streams[REFERENCE], streams[BACKGROUND], cells)
            if layers and step + 1 == max(1, round(self.fuse_at * steps)):
                streams[CANVAS] = fuse(streams[BACKGROUND], streams[CANVAS + 1 :], layers)
            return torch.cat(streams)

        everyone = torch.ones(len(path[0]), dtype=torch.bool)
        prox = ProximalGuidance(path, everyone, "none", quantile=0.75, rate=self.prox_lr, radius=2, spared=spared)
        with ExitStack() as held:
            held.enter_context(
                self._masking(model, n, cells[:, 0], cells[:, 0] if refine is None else to_grid(refine, size)[:, 0])
            )
            held.enter_context(model.seams.scheduler(after=after))
            held.enter_context(prox.on(model.seams, self.name))  # the last one on acts first after a step
            yield

    @contextmanager
    def _masking(self, model: Model, n: int, cells: Tensor, refined: Tensor) -> Iterator[None]:
        """The background's keys masked in every self-attention, in the conditional row only, from the second step on.

        ``cells``: the hole in the latents, bool (B, h, w); ``refined``: what is masked in the earlier steps.
        """
        window, wider = Window(0.0, self.key_until, later=1), Window(0.0, self.refine_until)

        def background(site: Site) -> slice:
            start = site.row("cond").start + BACKGROUND * n
            return slice(start, start + n)

        def hidden(site: Site, keys: int) -> Tensor:
            """(B, keys) in [0, 1]: how far each cell of the layer lies in the hole."""
            if site.grid is None or keys != site.tokens:
                raise Unsupported(
                    f"{self.name} masks keys where they stand, but those of {site.path} are no grid: merge no tokens"
                )
            more = wider.holds(site.step, len(model.scheduler.timesteps))
            return to_grid(refined if more else cells, site.grid, "bilinear").flatten(1)

        def zero(site: Site, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            if getattr(model.denoiser.get_submodule(site.path).to_k, "bias", None) is not None:
                raise Unsupported(
                    f"{site.path} adds a bias to its keys, so that masking does not make them zero: take another UNet"
                )
            k = k.clone()
            k[background(site)] *= (1 - hidden(site, k.shape[-2]))[:, None, :, None].to(k)
            return q, k, v

        def unseen(site: Site, logits: Tensor) -> Tensor:
            logits = logits.clone()
            # Finite, so that a layer of which the hole covers everything still attends evenly.
            logits[background(site)] += (1 - hidden(site, logits.shape[-1])).log().clamp_min(-1e4)[:, None, None].to(logits)
            return logits

        active = lambda site: site.kind == "self" and window.holds(site.step, len(model.scheduler.timesteps))  # noqa: E731
        how: dict[str, Any] = {"qkv": zero} if self.masking == "zero_key" else {"logits": unseen}
        with model.seams.attention(**how, where=active, name=self.name):
            yield


def as_mask(given: Any, images: Tensor, model: Model) -> Tensor:
    """An input as a mask (B, H, W) of the pictures: a bool tensor, or a file that belongs to the photograph they were fitted from."""
    from diffolio.edits import check_mask

    if not isinstance(given, Tensor):
        from diffolio.models.photos import Photo, fit, load_mask

        full = load_mask(given)
        given = fit(Photo(full[None].expand(3, -1, -1).float()), model, *images.shape[-2:]).mask(full)
    return check_mask(given, images)


def as_picture(given: Any, images: Tensor, model: Model) -> Tensor:
    """An input as a picture (B, 3, H, W) of the edited pictures' size: a tensor, or a file."""
    if not isinstance(given, Tensor):
        from diffolio.models.photos import fit, load_photo

        given = fit(load_photo(given), model, *images.shape[-2:]).image
    if given.shape[-3:] != images.shape[-3:]:
        own, other = ("x".join(map(str, x.shape[:-3:-1])) for x in (images, given))
        raise BadInput(f"a second picture of {other} for pictures of {own} (as fitted to the model): give one of the same size")
    return given.to(images.device).expand_as(images)
