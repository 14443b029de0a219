"""DICE: invert discrete diffusion exactly, and edit with what is recorded.

He et al., 2024, "DICE: Discrete Inversion Enabling Controllable Editing for Masked Generative and Multinomial Diffusion Models",
arXiv:2410.08207. Tokens have no ordinary differential equation to run backwards. Instead the tokens are noised in a known way, and at
each level the model's mistake is recorded in logit space (algorithm 1; D is guided and divided by the temperature):

    m_t = [u <= t tau],   x_t = x_0 (1 - m_t) + n m_t,   z_t = y_0 - D(x_t, c, t),   y_0 = D(x_0, c, 0)
    edit, t falling:   y = D(x_t, c', t) + l1 z_t + l2 g,   x~_0 = argmax y,   x_t-1 = x~_0 (1 - m_t-1) + n m_t-1

with one uniform field u, so that the masks are nested, one noise map n ([MASK], or random tokens), and g Gumbel noise. All
positions are decided anew at every step: nothing is kept by hand. For multinomial diffusion (algorithm 2) z_t = y_t-1 - log pi(x_t-1 |
x_t), with every x_t drawn on its own; see ``process/multinomial.py``.

With the same condition, l1 = 1 and l2 = 0 the outcome is argmax y_0. That is x_0 if the model's logits of a clean input agree with
it (``anchor="logits"``, the paper's), and for any weights if y_0 = log onehot(x_0) (``anchor="onehot"``, ours; its zeros become
``-margin``). The released script leaves y_0 unguided and moves the temperature from 0.2 to 1.2 in inversion and back in editing;
here y_0 is guided as everything else, and the temperature of a level is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.edits import Edit, each
from diffolio.errors import BadInput, BadKnob
from diffolio.process.discrete import gumbel, log_onehot, uniform
from diffolio.process.multinomial import MaskAndReplace
from diffolio.process.sampling import Generators, generators
from diffolio.registry import Editor, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model

Denoise = Callable[[Tensor, int], Tensor]
"""Logits (B, codes, ...) of tokens (B, ...) at level t = 0..steps, guided."""


@dataclass(frozen=True)
class Record:
    """What an inversion keeps. ``start`` is x_T, ``residuals`` are z_1..z_T, (B, codes, ...) each, and ``masks`` m_0..m_T-1.

    ``settings`` and ``model`` say what made it; it serves no other.
    """

    tokens: Tensor
    start: Tensor
    noise: Tensor
    masks: list[Tensor]
    residuals: list[Tensor]
    settings: tuple[Any, ...]
    model: str = ""

    def __len__(self) -> int:
        return len(self.tokens)


@method(
    paper="2410.08207",
    family="editing",
    works_on={"masked"},
    edits={"object", "content", "colour", "material", "background", "style"},
)
@dataclass(frozen=True)
class Dice(Editor):
    """Inverts and edits pictures of masked-token models; ``invert_tokens`` and ``edit_tokens`` do it for any tokens and logits.

    ``Dice().invert(model, tokens, prompts)`` gives a record, ``.edit(model, record, prompts)`` tokens (B, h, w). Cost: steps + 1
    forwards to invert with the paper's anchor (steps with the other) and as many steps to edit, with two rows each when guided:
    twice plain sampling with as many steps.
    """

    steps: int = knob(32, at_least=1, means="levels of noise, and steps of the edit")
    renoise: int = knob(26, at_least=0, means="steps of the edit after which noise is put back; the last ones do without")
    tau: float = knob(0.9, above=0.0, at_most=1.0, means="share of the tokens that is noise at the start of the edit")
    l1: float = knob(0.7, at_least=0.0, means="weight of the recorded residuals; 1 holds to the source")
    l2: float = knob(0.3, at_least=0.0, means="weight of fresh Gumbel noise; more of it changes more")
    guidance: float = knob(10.0, at_least=1.0, means="guidance scale of inversion and edit; 1 is none")
    temperature: float = knob(1.0, above=0.0, means="what the logits are divided by, in inversion and edit alike")
    inject: str = knob(
        "linear", choices=("linear", "variance", "max"), means="l1 z + l2 g; with l2 = sqrt(1 - l1^2); or the larger"
    )
    decay: str = knob("none", choices=("none", "linear", "exp"), means="how l1 falls over the steps of the edit")
    anchor: str = knob("logits", choices=("logits", "onehot"), means="y_0: the model's logits of the clean tokens, or the tokens")
    margin: float = knob(12.0, above=0.0, means="how far the other tokens lie below the source's in the onehot anchor")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l1 + self.l2 == 0:
            raise BadKnob("l1=0 and l2=0: nothing of the source and no noise is left; give at least one of them")
        if self.inject == "variance" and self.l1 > 1:
            raise BadKnob(f"l1={self.l1:g} with inject=variance: l2 is sqrt(1 - l1^2), give l1 of at most 1")

    @property
    def settings(self) -> tuple[Any, ...]:
        """What inversion and edit must share."""
        return (self.steps, self.renoise, self.tau, self.guidance, self.temperature, self.anchor, self.margin)

    @torch.no_grad()
    def invert(self, model: Model, tokens: Tensor, prompts: str | Sequence[str], seed: int = 0) -> Record:
        """Record how the model errs on tokens (B, h, w) of pictures with these prompts. Sample i draws from ``seed + i``."""
        from diffolio.models.fingerprint import fingerprint
        from diffolio.models.tokens import check_tokens

        self.check(model)
        check_tokens(tokens, model.pipeline.vqvae.config.num_vq_embeddings, [model.pipeline.transformer.config.sample_size] * 2)
        noise = torch.full_like(tokens, model.pipeline.scheduler.config.mask_token_id)
        draw = generators(seed, len(tokens))
        denoise = self._denoise(model, each(prompts, len(tokens), "source prompt", may_be_empty=True))
        return invert_tokens(self, denoise, tokens, noise, draw, fingerprint(model.denoiser))

    @torch.no_grad()
    def edit(self, model: Model, record: Record, prompts: str | Sequence[str], seed: int = 0) -> Tensor:
        """The recorded tokens under other prompts, (B, h, w). Sample i draws from ``seed + i``; nothing is drawn for l2 = 0."""
        from diffolio.models.fingerprint import fingerprint

        self.check(model)
        if record.model != fingerprint(model.denoiser):
            raise BadInput(f"the record was made with other weights than {model.name}'s: invert the picture with this model")
        denoise = self._denoise(model, each(prompts, len(record), "target prompt", may_be_empty=True))
        return edit_tokens(self, denoise, record, generators(seed + 10_000, len(record)))

    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        """Edit pictures (B, 3, H, W). A mask only serves the scores."""
        tokens = model.encode(images)
        record = self.invert(model, tokens, sources, seed)
        edited = self.edit(model, record, targets, seed)
        numbers = {"tokens_changed": float((edited != tokens).float().mean())}
        return Edit(images, model.decode(edited), sources, targets, reconstruction=model.decode(tokens), numbers=numbers)

    def _denoise(self, model: Model, prompts: list[str]) -> Denoise:
        from diffolio.models.tokens import masked_logits

        condition = model.condition(prompts)
        return lambda tokens, t: masked_logits(model.denoiser, tokens, condition, self.guidance)


def invert_tokens(how: Dice, denoise: Denoise, tokens: Tensor, noise: Tensor, generator: Generators, model: str = "") -> Record:
    """Algorithm 1, upwards: tokens and the noise map n (B, ...), ``denoise(x, t)`` with the source condition."""
    u = uniform(tokens.shape, generator, tokens.device)
    masks = [u <= level for level in levels(how.steps, how.renoise, how.tau)]
    clean = None
    if how.anchor == "logits":
        clean = denoise(tokens, 0).float() / how.temperature
    residuals, x = [], tokens
    for t in range(1, how.steps + 1):
        x = torch.where(masks[t], noise, tokens)
        predicted = denoise(x, t).float() / how.temperature
        if clean is None:
            clean = log_onehot(tokens, predicted.shape[1]).clamp_min(-how.margin)
        residuals.append(clean - predicted)
    return Record(tokens, x, noise, masks[:-1], residuals, how.settings, model)


def edit_tokens(how: Dice, denoise: Denoise, record: Record, generator: Generators) -> Tensor:
    """Algorithm 1, downwards: tokens (B, ...) from the record and ``denoise(x, t)`` with the target condition."""
    if record.settings != how.settings:
        raise BadInput(
            f"recorded with {record.settings}, edited with {how.settings}: steps, schedule, guidance and anchor must agree"
        )
    x = record.start
    for t in range(how.steps, 0, -1):
        predicted = denoise(x, t).float() / how.temperature
        y = predicted + injected(how, record.residuals[t - 1], generator, t)
        x = torch.where(record.masks[t - 1], record.noise, y.argmax(1))
    return x


def injected(how: Dice, z: Tensor, generator: Generators, t: int) -> Tensor:
    """What is added to the logits at level t, (B, codes, ...)."""
    l1 = how.l1 * {"none": 1.0, "linear": t / how.steps, "exp": 2.0 ** (-4 * (1 - t / how.steps))}[how.decay]
    l2 = (1 - l1**2) ** 0.5 if how.inject == "variance" else how.l2
    if l2 == 0:
        return l1 * z
    g = l2 * gumbel(z.shape, generator, z.device)
    return torch.maximum(l1 * z, g) if how.inject == "max" else l1 * z + g


def levels(steps: int, renoise: int, tau: float) -> list[float]:
    """The share of noise at t = 0..steps: t tau / steps; none where the edit puts no noise back any more."""
    return [tau * t / steps if t and t >= steps - renoise else -1.0 for t in range(steps + 1)]


def invert_multinomial(
    process: MaskAndReplace, log_p0: Denoise, tokens: Tensor, generator: Generators, floor: float = 1e-9
) -> tuple[Tensor, list[Tensor]]:
    """Algorithm 2, upwards: x_T (B, ...) and z_1..z_T (B, codes + 1, ...). ``log_p0(x_t, t)`` gives log p(x_0 | x_t).

    y_t = log onehot(x_t), its zeros log ``floor``; every x_t is drawn from x_0 on its own, not along a chain.
    """
    path = [tokens, *(process.draw(tokens, t, generator) for t in range(1, process.steps + 1))]
    log_x = [log_onehot(x, process.codes + 1, floor).double() for x in path]
    return path[-1], [
        log_x[t - 1] - process.log_posterior(path[t], log_p0(path[t], t).double(), t) for t in range(1, process.steps + 1)
    ]


def edit_multinomial(
    process: MaskAndReplace, log_p0: Denoise, start: Tensor, residuals: Sequence[Tensor], l1: float = 0.2, l2: float = 0.8,
    generator: Generators = None,
) -> Tensor:  # fmt: skip
    """Algorithm 2, downwards: tokens (B, ...) under the condition that ``log_p0`` holds."""
    if len(residuals) != process.steps:
        raise BadInput(f"{len(residuals)} residuals for {process.steps} steps: edit with the process of the inversion")
    x = start
    for t in range(process.steps, 0, -1):
        y = process.log_posterior(x, log_p0(x, t).double(), t) + l1 * residuals[t - 1]
        x = (y + l2 * gumbel(y.shape, generator, y.device) if l2 else y).argmax(1)
    return x
