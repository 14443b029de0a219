"""AID: pictures from one prompt to another that change evenly and stay pictures on the way.

He, Wang, Liu, Yao, 2024, "AID: Attention Interpolation of Text-to-Image Diffusion", arXiv:2403.17924. Interpolating prompt embeddings
makes the middle inconsistent: self-attention, which lays the picture out, is never interpolated. Here every picture between also
attends to its two ends. With c in [0, 1] the place of a picture on the way, in self- and in cross-attention,

    outer:  A = (1 - c) Attn(Q, K_start, V_start) + c Attn(Q, K_end, V_end)
    inner:  A = Attn(Q, (1 - c) K_start + c K_end, (1 - c) V_start + c V_end)
    fused:  the picture's own keys and values are put before those of an end, [K; K_end], [V; V_end]

in the conditional row only and in the first ``warmup`` of the steps; afterwards attention is the model's own. The ends are sampled
along and never changed. Noise is interpolated on the sphere (the released code does it row by row of the latent, here it is the whole
latent, which is what keeps its norm). A guide prompt for everything between (PAID) enters through the own keys.

Where on the way the pictures are taken is ``spacing``: "uniform"; "beta", quantiles of a Beta distribution fitted to the perceptual
distances along an exploration that keeps splitting the widest gap; "explore", the most even path among the explored pictures. The
paper chose the Beta distribution by Bayesian optimisation; its released code later did it this way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from diffolio.errors import BadInput
from diffolio.process.interpolation import Distance, beta_places, even_path, explore, gini, slerp
from diffolio.registry import Technique, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.models.condition import Condition
    from diffolio.results import Job, Result
    from diffolio.seams import Site


@dataclass(frozen=True)
class Between:
    """``images`` (N, 3, H, W), the ends first and last; ``places`` in [0, 1]; perceptual ``gaps`` between neighbours (N - 1)."""

    images: Tensor
    places: tuple[float, ...]
    gaps: tuple[float, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            "places": self.places,
            "gaps": self.gaps,
            "consistency": float(np.mean(self.gaps)),
            "smoothness": 1 - gini(self.gaps),
        }


@method(paper="2403.17924", family="editing", works_on={"unet"}, exclusive={"attention interpolation"})
@dataclass(frozen=True)
class AID(Technique):
    """A batch sampled inside is one sequence: its first and last sample are the ends, the others lie evenly between them.

    ``interpolate`` makes such a sequence from two prompts, noise included, with the spacing asked for.
    """

    kind: str = knob("outer", choices=("outer", "inner"), means="blend two attentions, or their keys and values")
    fused: bool = knob(True, means="the picture also attends to itself")
    warmup: float = knob(0.5, between=(0.0, 1.0), means="share of the steps that are interpolated")
    spacing: str = knob("beta", choices=("uniform", "beta", "explore"), means="how places on the way are chosen")
    images: int = knob(7, at_least=3, means="pictures of a sequence, the ends included")
    guide: str = knob("", means="a prompt for everything between the ends (PAID)")
    explored: int = knob(16, at_least=3, means="pictures that the exploration for beta and explore makes")

    def neutral(self) -> AID:
        return replace(self, warmup=0.0)

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        with self._attending(model, None):
            yield model

    def interpolate(
        self,
        model: Model,
        start: str,
        end: str,
        *,
        seed: int = 0,
        steps: int = 25,
        guidance_scale: float | None = None,
        latents: tuple[Tensor, Tensor] | None = None,
        distance: Distance | None = None,
    ) -> Between:
        """A sequence from ``start`` to ``end``. The ends' noise is seeded ``seed`` and ``seed + 1`` or given, (1, C, h, w) each.

        ``distance(a, b)`` of two batches of pictures, (B,) each; without it one minus the cosine of the bundled judge "a".
        """
        self.check(model)
        distance = distance or _judge()
        ends = latents or tuple(_noise(model, seed + i) for i in range(2))

        def sample(places: Sequence[float]) -> Tensor:
            return self.sample(model, start, end, places, ends, seed, steps, guidance_scale)

        if self.spacing == "uniform":
            places = tuple(np.linspace(0, 1, self.images).tolist())
            images = sample(places)
        else:
            places, images, alpha_beta = explore(sample, distance, max(self.explored, self.images))
            if self.spacing == "beta":
                places = beta_places(self.images, *alpha_beta)
                images = sample(places)
            else:
                flat = images.repeat_interleave(len(images), 0), images.repeat(len(images), 1, 1, 1)
                chosen = even_path(distance(*flat).view(len(images), -1).double().numpy(), self.images)
                places, images = tuple(places[i] for i in chosen), images[chosen]
        return Between(images, places, tuple(distance(images[:-1], images[1:]).tolist()))

    def sample(
        self, model: Model, start: str, end: str, places: Sequence[float], ends: tuple[Tensor, Tensor], seed: int, steps: int,
        guidance_scale: float | None,
    ) -> Tensor:  # fmt: skip
        """The pictures (N, 3, H, W) at ``places``, which begin with 0 and end with 1."""
        if len(places) < 3 or places[0] != 0 or places[-1] != 1 or not all(a < b for a, b in itertools.pairwise(places)):
            raise BadInput(f"places {tuple(places)}: give at least three, ascending from 0 to 1")
        condition = blended(model, start, end, places, self.guide)
        share = torch.tensor(places)
        first, last = (x.to(model.device).expand(len(places), -1, -1, -1) for x in ends)
        latents = slerp(first, last, share)
        latents[0], latents[-1] = first[0], last[0]
        # Schedulers that add noise must add the same to all, or neighbours would drift apart.
        with self._attending(model, share):
            return model.sample(
                condition=condition, latents=latents, seed=[seed] * len(places), steps=steps, guidance_scale=guidance_scale
            ).images

    @contextmanager
    def _attending(self, model: Model, places: Tensor | None) -> Iterator[None]:
        held: dict[tuple[str, int], tuple[Tensor, Tensor, Tensor]] = {}

        def active(site: Site) -> bool:
            return 0 <= site.step < self.warmup * len(model.scheduler.timesteps) and site.samples > 2

        def keep(site: Site, q: Tensor, k: Tensor, v: Tensor) -> None:
            row = site.row("cond")
            held[site.path, site.call] = (q[row], k[row], v[row])

        def mix(site: Site, out: Tensor) -> Tensor:
            q, k, v = held.pop((site.path, site.call))
            c = torch.linspace(0, 1, len(q)) if places is None else places
            scale = getattr(model.denoiser.get_submodule(site.path), "scale", None)
            changed = out.clone()
            row = site.row("cond")
            changed[row.start + 1 : row.stop - 1] = between(q, k, v, c.to(q), self.kind, self.fused, scale)
            return changed

        with model.seams.attention(qkv=keep, output=mix, where=active, name=self.name):
            yield

    def run(self, job: Job) -> Result:
        """From the first prompt to the second: embeddings alone, then attention too."""
        from diffolio.results import Result

        if len(job.prompts) < 2:
            raise BadInput("aid goes from one prompt to another: give --prompt twice")
        start, end = job.prompts[:2]
        options = {"seed": job.seed, "steps": job.steps, "guidance_scale": job.guidance_scale}
        plain = replace(self, warmup=0.0, guide="", spacing="uniform").interpolate(job.model, start, end, **options)
        ours = self.interpolate(job.model, start, end, **options)
        numbers = {f"{name}_{key}": value for name, made in (("embeddings", plain), ("aid", ours))
                   for key, value in made.as_dict().items() if isinstance(value, float)}  # fmt: skip
        labels = [start, *(f"{place:.2f}" for place in ours.places[1:-1]), end]
        return Result({"embeddings only": plain.images, self.name: ours.images}, numbers, {"aid": ours.as_dict()}, labels)


def between(
    q: Tensor, k: Tensor, v: Tensor, places: Tensor, kind: str = "outer", fused: bool = True, scale: float | None = None
) -> Tensor:
    """Interpolated attention of the samples between the ends: q, k, v (N, heads, tokens, d) -> (N - 2, heads, tokens, d)."""
    own_k, own_v = k[1:-1], v[1:-1]
    c = places[1:-1, None, None, None]
    start, end = ((k[[i]].expand_as(own_k), v[[i]].expand_as(own_v)) for i in (0, -1))

    def attend(keys: Tensor, values: Tensor) -> Tensor:
        if fused:
            keys, values = torch.cat([own_k, keys], -2), torch.cat([own_v, values], -2)
        return scaled_dot_product_attention(q[1:-1], keys, values, scale=scale)

    if kind == "inner":
        return attend(torch.lerp(start[0], end[0], c), torch.lerp(start[1], end[1], c))
    return (1 - c) * attend(*start) + c * attend(*end)


@torch.no_grad()
def blended(model: Model, start: str, end: str, places: Sequence[float], guide: str = "") -> Condition:
    """The ends' conditions, and between them interpolated embeddings, or the guide's own."""
    from diffolio.models.condition import join, map_tensors

    n = len(places)
    both = model.condition([start, end])
    chosen = both.index([0] * (n - 1) + [1])
    share = torch.tensor(places, device=model.device)

    def lerp(x: Tensor) -> Tensor:
        c = share.view(-1, *[1] * (x.dim() - 1)).to(x)
        return torch.lerp(x[:1].expand(n, *x.shape[1:]), x[1:].expand(n, *x.shape[1:]), c)

    cond = map_tensors(lambda x: lerp(x) if x.is_floating_point() else x[:1].expand(n, *x.shape[1:]), both["cond"])
    if guide:
        middle = model.condition([guide]).repeat(n - 2)["cond"]
        cond = join([both.index([0])["cond"], middle, both.index([1])["cond"]])
    prompts = [start, *[guide or f"between {start} and {end}"] * (n - 2), end]
    return replace(chosen.with_row("cond", **cond), prompts=prompts)


def _noise(model: Model, seed: int) -> Tensor:
    side = model.default_size // model.factor
    return torch.randn(1, model.channels, side, side, generator=torch.Generator().manual_seed(seed))


def _judge() -> Distance:
    from diffolio.metrics import Judge

    judge = Judge.load("a")
    return torch.no_grad()(judge.distance)
