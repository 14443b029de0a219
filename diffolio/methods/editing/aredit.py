"""AREdit: edit a picture with a next-scale model, without training and without inversion.

Wang et al., 2025, "Training-Free Text-Guided Image Editing with Visual Autoregressive Model", arXiv:2503.23897. A picture is a pyramid
of bits R_1..R_K. One forward with the source prompt over the picture's own pyramid says how likely each of its bits was. The
coarse scales are kept. On each finer scale the target prompt, reading what the *edited* scales add up to, lets go of those bits
that became less likely by more than tau, and only of those:

    M_k = 1[ p(R_k | F_k-1, source) - p(R_k | F'_k-1, target) > tau ],   R'_k = M_k * sample(p(. | F'_k-1, target)) + (1 - M_k) * R_k

for k > gamma. Read in third-party accounts of the paper; its repository was not read. That both probabilities are guided in the
same way, so that equal prompts let go of nothing, is ours, and so are gamma's default and the presets. The optional attention
control after prompt-to-prompt is not here. The base model is mini-var in place of Infinity-2B, whose released script draws at a
temperature of 0.5, as is done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.edits import Edit, each
from diffolio.errors import BadInput, BadKnob
from diffolio.process.discrete import uniform
from diffolio.process.sampling import generators
from diffolio.registry import Editor, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model

ROUNDING = 1e-4  # what the same probability may differ by between a forward over all scales and one over some
PRESETS = {"attribute": (2, 0.1), "object": (1, 0.1), "style": (1, 0.05)}
"""gamma and tau for small changes, other things, and another look of everything."""


@dataclass(frozen=True)
class Cache:
    """What an edit needs of a picture: its bits and F_1..F_K, and the probability of each bit under the source prompt.

    Bits and probabilities are lists of (B, d, s_k, s_k), sums of (B, d, s_K, s_K). A second edit of the picture reuses it.
    """

    bits: list[Tensor]
    sums: list[Tensor]
    likely: list[Tensor]
    sources: list[str]
    guidance: float

    def __len__(self) -> int:
        return len(self.sources)


@method(paper="2503.23897", family="editing", works_on={"next_scale"}, edits={"object", "content", "colour", "material", "style"})
@dataclass(frozen=True)
class AREdit(Editor):
    """Edits pictures (B, 3, H, W) by a target prompt in one pass over the scales; what the prompt does not touch keeps its bits.

    ``AREdit().cache(model, images, sources)`` reads the pictures once, ``.edit(model, cache, targets)`` edits them, any number of
    times. Cost: one forward over all scales to read, then one for each scale after gamma, all of them with two rows when
    guided; plain sampling takes one for each scale.
    """

    gamma: int = knob(2, at_least=0, means="coarse scales whose bits are kept as they are; fewer than the model has scales")
    tau: float = knob(0.1, between=(0.0, 1.0), means="loss of probability above which a bit is let go; 1 keeps every bit")
    guidance: float = knob(3.0, at_least=1.0, means="guidance scale of both prompts; 1 is none")
    temperature: float = knob(0.5, above=0.0, means="what logits are divided by where bits are drawn anew")
    preset: str = knob(
        "none",
        choices=("none", "attribute", "object", "style"),
        means="gamma and tau for a kind of edit, in place of the two knobs",
    )

    @torch.no_grad()
    def cache(self, model: Model, images: Tensor, sources: str | Sequence[str]) -> Cache:
        """Read pictures (B, 3, H, W) in [0, 1] under their source prompts: one forward, taught all of their bits."""
        self.check(model)
        pipeline, sources = model.pipeline, each(sources, len(images), "source prompt")
        self._settings(pipeline)
        model.encode(images[:1])  # refuses what the tokenizer's scales do not fit
        features = pipeline.autoencoder.encode(images.to(model.device, model.dtype))
        bits, sums = pipeline.autoencoder.quantize(features)
        logits = pipeline.all_logits(sums[:-1], *self._text(pipeline, sources), self.guidance)
        likely = [of_label(part, label) for part, label in zip(logits, bits, strict=True)]
        return Cache(bits, sums, likely, sources, self.guidance)

    @torch.no_grad()
    def edit(
        self, model: Model, cache: Cache, targets: str | Sequence[str], seed: int = 0, adaptive: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Edited pictures (B, 3, H, W), and which bits were let go, bool (B, d, s_k, s_k) per scale.

        ``adaptive`` False lets all bits after gamma go: regeneration from the coarse scales.
        """
        self.check(model)
        pipeline, targets = model.pipeline, each(targets, len(cache), "target prompt")
        gamma, tau = self._settings(pipeline)
        if cache.guidance != self.guidance or len(cache.bits) != len(pipeline.autoencoder.config.scales):
            raise BadInput(
                f"the cache was read at guidance {cache.guidance:g} over {len(cache.bits)} scales: read the picture again with the "
                "settings and the model of the edit"
            )
        text, null = self._text(pipeline, targets)
        draw = generators(seed, len(cache))
        sums, masks = [], []
        for k, label in enumerate(cache.bits):
            released = torch.zeros_like(label)
            if k >= gamma:
                logits = pipeline.logits(sums, text, null, self.guidance)
                released = let_go(cache.likely[k], of_label(logits, label), tau) if adaptive else ~released
                drawn = uniform(logits.shape, draw, logits.device) < (logits / self.temperature).sigmoid()
                label = torch.where(released, drawn, label)
            added = pipeline.autoencoder.value(label, k)
            sums.append(added + sums[-1] if sums else added)
            masks.append(released)
        return model.decode(sums[-1]), masks

    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        """Edit pictures (B, 3, H, W). A mask only serves the scores; sample i draws from ``seed + i``."""
        cache = self.cache(model, images, sources)
        edited, masks = self.edit(model, cache, targets, seed)
        shares = {f"let_go_{m.shape[-1]}": float(m.float().mean()) for m in masks}
        let = torch.nn.functional.interpolate(masks[-1].float().mean(1, keepdim=True), images.shape[-2:]).expand(-1, 3, -1, -1)
        return Edit(
            images, edited, sources, targets, reconstruction=model.decode(cache.sums[-1]), numbers=shares,
            extra={"let go on the finest scale": let},
        )  # fmt: skip

    def _settings(self, pipeline: Any) -> tuple[int, float]:
        gamma, tau = PRESETS.get(self.preset, (self.gamma, self.tau))
        scales = list(pipeline.autoencoder.config.scales)
        if gamma >= len(scales):
            raise BadKnob(f"gamma={gamma}: the model has {len(scales)} scales {scales}, keep fewer of them")
        return gamma, tau

    def _text(self, pipeline: Any, prompts: list[str]) -> tuple[Any, Any]:
        text = pipeline.encode_prompt(prompts)
        return text, pipeline.encode_prompt([""] * len(prompts)) if self.guidance != 1 else None


def of_label(logits: Tensor, label: Tensor) -> Tensor:
    """The probability that the logits give to these bits, both (B, d, s, s)."""
    return torch.where(label, logits, -logits).sigmoid()


def let_go(before: Tensor, now: Tensor, tau: float) -> Tensor:
    """Which bits became less likely by more than ``tau``; one that became likelier stays."""
    return before - now > tau + ROUNDING
