"""ImportanceToMe: fewer tokens in self-attention, keeping those that guidance says matter.

Wu et al., 2024, "Importance-Based Token Merging for Efficient Image and Video Generation", arXiv:2411.16720. ToMe merges similar
tokens wherever they are and so wastes its budget on the background. How strongly classifier-free guidance pulls at a place says
how much the place matters, and comes for free with every guided step:

    s(h, w) = mean over channels of | eps_cond - eps_uncond |

Tokens with high s form a pool. Destinations are drawn at random from the pool; of the rest of the pool, those that match no
destination well stay on their own; everything else, inside the pool or not, is averaged into its most similar destination before
the attention layer and gets that destination's output after it. Random drawing inside the pool, not the top of it, keeps the
destinations spread out.

The map of step i serves step i+1; the first step has none and uses ToMe's choice (one random destination in every 2x2 cell). Both
guidance rows merge alike. The exact fractions of the budget are not public: with K = round((1 - ratio) N) tokens kept, there are
min(dst N, 0.8 K) destinations, and the pool holds max(K, pool N) tokens. As in ToMe for Stable Diffusion the match is on the block's
input, the merge on what enters attention, and only layers at full latent resolution are merged by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from diffolio.errors import Unsupported
from diffolio.nets.token_merging import Merging, complement, grid_destinations, match, merge_best, split_by
from diffolio.registry import Technique, knob, method
from diffolio.seams.run import patch_size

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.seams import Call, Site


@dataclass
class MergeReport:
    """What was merged: tokens before and after per layer, the share of attention's multiplications that is left, the last map."""

    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    score: Tensor | None = None

    def as_dict(self) -> dict[str, object]:
        before = sum(n * n for n, _ in self.layers.values())
        after = sum(k * k for _, k in self.layers.values())
        return {
            "tokens": {path: {"before": n, "kept": k} for path, (n, k) in self.layers.items()},
            "attention_macs_ratio": after / before if before else 1.0,
        }


@method(paper="2411.16720", family="acceleration", works_on={"unet", "transformer"}, exclusive={"self-attention tokens"})
@dataclass(frozen=True)
class ImportanceToMe(Technique):
    """Merge tokens in self-attention by importance. Shapes: tokens (B, N, C), score maps (samples, H, W) at latent size."""

    ratio: float = knob(0.5, at_least=0.0, below=0.95, means="share of tokens removed inside attention")
    pool: float = knob(0.5, between=(0.0, 1.0), means="least share of tokens that count as important; 1 and score=none is ToMe")
    dst: float = knob(0.25, above=0.0, at_most=0.5, means="share of tokens that others are merged into")
    max_downsample: int = knob(1, choices=(1, 2, 4, 8), means="layers are merged down to this fraction of the latent's side")
    score: str = knob(
        "cfg", choices=("cfg", "none"), means="importance: the guidance term of the step before, or none (plain ToMe)"
    )
    seed: int = knob(0, at_least=0, means="seed of the destinations, drawn anew each step")

    def neutral(self) -> ImportanceToMe:
        return replace(self, ratio=0.0)

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        report = MergeReport()
        model.reports[self.name] = report
        if self.ratio == 0:
            yield model
            return
        blocks = self_attention_blocks(model)
        run = _Run(self, report, patch_size(model.denoiser)[-1])
        with (
            model.seams.denoiser(before=run.start, after=run.read_score, name=self.name),
            model.seams.inputs(run.decide, blocks),
            model.seams.around(run.attend, [f"{path}.attn1" for path in blocks]),
        ):
            yield model

    def choose(self, x: Tensor, grid: tuple[int, int], score: Tensor | None, generator: torch.Generator) -> Merging:
        """The partition of the tokens ``x`` (B, N, C) of one guidance row; ``score`` (B, h, w) at the token grid, or None."""
        n = x.shape[1]
        keep = round((1 - self.ratio) * n)
        if score is None:
            destinations = grid_destinations(grid, 2, generator).to(x.device)
            return merge_best(x, destinations.expand(len(x), -1)[:, :keep], keep)
        return merge_important(x, score.flatten(1), keep, self.pool, self.dst, generator)


def merge_important(x: Tensor, score: Tensor, keep: int, pool: float, dst: float, generator: torch.Generator) -> Merging:
    """The paper's choice. ``x`` (B, N, C) the metric, ``score`` (B, N); leaves ``keep`` groups."""
    n = x.shape[1]
    important = score.argsort(dim=1, descending=True)[:, : max(keep, round(pool * n))]
    drawn = torch.rand(important.shape, generator=generator).to(x.device).argsort(dim=1)
    important = important.gather(1, drawn)  # in random order: the first are the destinations
    count = max(1, min(round(dst * n), int(0.8 * keep)))
    destinations, candidates = important[:, :count], important[:, count:]
    sources = complement(destinations, n)
    similarity, place = match(x, sources, destinations)
    # Only the pool may stay on its own: what is outside is ranked behind everything inside.
    inside = torch.zeros(len(x), n, dtype=torch.bool, device=x.device).scatter_(1, candidates, True).gather(1, sources)
    alone, merged = split_by(torch.where(inside, similarity, similarity + 4), keep - count)
    heads = torch.cat([sources.gather(1, alone), destinations], 1)
    return Merging(heads, sources.gather(1, merged), place.gather(1, merged) + alone.shape[1])


def guidance_map(cond: Tensor, uncond: Tensor) -> Tensor:
    """s = mean over channels of |eps_cond - eps_uncond|, (B, C, H, W) -> (B, H, W)."""
    return (cond - uncond).abs().mean(1)


class _Run:
    """What one session keeps between hooks: the last step's score and this step's partitions."""

    def __init__(self, method: ImportanceToMe, report: MergeReport, patch: int) -> None:
        self.method, self.report, self.patch = method, report, patch
        self.generator = torch.Generator()
        self.score: Tensor | None = None
        self.merging: dict[str, Merging] = {}
        self.size = (0, 0)

    def start(self, call: Call) -> None:
        if self.method.score == "cfg" and "uncond" not in call.rows:
            raise Unsupported(
                "importance_tome takes its importance from classifier-free guidance, which is off here: "
                "set a guidance scale above 1, or score=none for plain ToMe"
            )
        if call.step <= 0:  # a new picture: nothing is known yet
            self.score = None
            self.generator.manual_seed(self.method.seed)
        self.size = (call.latents.shape[-2], call.latents.shape[-1])
        self.merging.clear()

    def read_score(self, call: Call, out: dict[str, Tensor]) -> None:
        if self.method.score == "cfg":
            self.score = self.report.score = guidance_map(out["cond"], out["uncond"])

    def decide(self, site: Site, x: Tensor) -> None:
        """At the block's input: one partition, matched on the last row, for all rows alike."""
        if site.grid is None or len(site.grid) != 2:
            raise Unsupported(f"importance_tome: the {x.shape[1]} tokens at {site.path} are no grid of image cells")
        h, w = site.grid
        if (
            h * self.method.max_downsample * self.patch < self.size[0]
            or w * self.method.max_downsample * self.patch < self.size[1]
        ):
            return
        score = self.score
        if score is not None:
            score = interpolate(score[:, None].float(), (h, w), mode="area")[:, 0]
        merging = self.method.choose(x[-site.samples :], (h, w), score, self.generator)
        self.merging[site.path] = merging.repeat(len(site.rows))
        self.report.layers[site.path] = (merging.tokens, merging.kept)

    def attend(self, site: Site, forward: Callable[..., Any], hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Self-attention over the groups."""
        merging = self.merging.pop(site.path.removesuffix(".attn1"), None)
        if merging is None:
            return forward(hidden_states, *args, **kwargs)
        return merging.unmerge(forward(merging.merge(hidden_states), *args, **kwargs))


def self_attention_blocks(model: Model) -> list[str]:
    """Paths of every transformer block that has its own self-attention ``attn1``."""
    found = [path for path, module in model.denoiser.named_modules() if hasattr(module, "attn1") and hasattr(module, "norm1")]
    if not found:
        raise Unsupported(
            f"importance_tome: {type(model.denoiser).__name__} has no self-attention layers named attn1 to merge in"
        )
    return found
