"""Attribute control: a slider for one attribute of one subject, by a direction added to that subject's words.

Baumann et al., 2024, "Continuous, Subject-Specific Attribute Control in T2I Models by Identifying Semantic Directions", arXiv:2403.17064.
The text embeddings of a prompt are token by token, and a direction ("old" minus "young") added to the tokens of one subject changes
that subject only, by any amount:

    e'_i = e_i + alpha * delta      for the tokens i of the subject; marks, padding and pooled embeddings stay

after the first 20% of the steps, so that the composition stays (``delay``). The model is never changed, sampling costs nothing more.
Optimisation-free (``naive``), delta is the mean of emb("... old man") - emb("... young man") at the subject's last token. Learned
(``learn``), it is what makes the frozen model itself answer as the contrast of two prompts does, at any strength s:

    || eps(x_t, target + s delta) - [eps(x_t, target) + s (eps(x_t, positive) - eps(x_t, negative))] ||^2,   s = +-U(0.1, 5)

x_t is on-policy: latents on the way of sampling the *target* prompt with guidance. As neither they nor the contrast depend on delta,
trajectories are sampled once, and every step of the learning draws samples and times from them.

Paper and code: the released helper ``predict_eps`` gives the clean estimate, so that its loss is weighed by (1 - A_t) / A_t against the
paper's; ``space="x0"`` does as the code, "eps" as the paper says.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, BadKnob, NotFinite, Unsupported, choose
from diffolio.models.condition import Condition
from diffolio.models.deltas import Delta, moved, subject_places, subject_tokens, widths
from diffolio.process.optim import frozen
from diffolio.registry import Technique, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result
    from diffolio.seams.denoiser import Call

PREFIXES = ("a ", "a picture of a ", "a drawing of a ")


@dataclass(frozen=True)
class Pair:
    """A subject in words, with more and with less of the attribute: Pair("man", "old man", "young man")."""

    target: str
    positive: str
    negative: str

    def __post_init__(self) -> None:
        for name in ("target", "positive", "negative"):
            if not getattr(self, name).strip():
                raise BadInput(f"a pair with an empty {name}: give three phrases, such as 'man', 'old man', 'young man'")
        if self.positive == self.negative:
            raise BadInput(f"positive and negative are both {self.positive!r}: a direction needs a contrast")


@method(paper="2403.17064", family="editing", works_on={"unet", "pixart"})
@dataclass(frozen=True)
class AttributeControl(Technique):
    """Deltas on the subjects of whatever is sampled inside: ``AttributeControl([(delta, "circle", 1.2)]).on(model)``.

    A control is (delta, subject, strength), or in text file:subject:strength; subjects stand in the prompt, "word#2" is the second of
    two. Made for CLIP's embeddings; with a T5 text encoder a warning says that the paper has not tried it.
    """

    controls: tuple[Any, ...] = knob((), means="(delta, subject, strength), or file:subject:strength, ...")
    delay: float = knob(0.2, between=(0.0, 1.0), means="share of the steps that are made with the prompt as it is")
    subject: str = knob("", means="run without controls: the word to act on; empty: the last one of the prompt")
    contrast: str = knob("large/small", means="run without controls: more/less, adjectives of the direction that is made")
    strength: float = knob(2.0, at_least=0.0, means="run without controls: strengths go from minus this to plus this")
    learn_steps: int = knob(0, at_least=0, means="run without controls: steps of learning the direction; 0: optimisation-free")

    def __post_init__(self) -> None:
        object.__setattr__(self, "controls", tuple(self.controls))
        super().__post_init__()

    def neutral(self) -> AttributeControl:
        return replace(self, controls=tuple((delta, subject, 0.0) for delta, subject, _ in map(_parsed, self.controls)))

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        controls = [(delta.joined(model), subject, alpha) for delta, subject, alpha in map(_parsed, self.controls)]
        _warn_of_t5(model)

        def move(call: Call) -> Call | None:
            if 0 <= call.step < round(self.delay * (call.steps or 0)) or not any(alpha for _, _, alpha in controls):
                return None
            prompts = model.seams.state.prompts
            if prompts is None or len(prompts) != call.samples:
                raise Unsupported(
                    f"{self.name} looks for words: sample with Model.sample or predict, which say which prompts run"
                )
            states = call.part("cond")["encoder_hidden_states"]
            return call.replace_row("cond", encoder_hidden_states=moved(model, states, prompts, controls))

        with model.seams.denoiser(before=move, name=self.name):
            yield model

    def run(self, job: Job) -> Result:
        """A row of pictures from less to more of the attribute for each prompt; with controls given, with and without them."""
        from diffolio.results import Result

        if self.controls:
            return super().run(job)
        parts = [part.strip() for part in self.contrast.split("/")]
        if len(parts) != 2:
            raise BadKnob(f"contrast={self.contrast!r}: give more/less, such as large/small")
        if empty := [prompt for prompt in job.prompts if not prompt.strip()]:
            raise BadInput(f"{len(empty)} of {len(job.prompts)} prompts are empty: attribute_control needs a subject in each")
        strengths = torch.linspace(-self.strength, self.strength, 5).tolist()
        rows, deltas = {}, {}
        for prompt in job.prompts:
            subject = self.subject or prompt.split()[-1]
            subject_tokens(job.model, prompt, subject)
            word = subject.partition("#")[0]
            pairs = [Pair(word, *(f"{part} {word}" for part in parts))]
            delta = (
                learn(job.model, pairs, steps=self.learn_steps, seed=job.seed) if self.learn_steps else naive(job.model, pairs)
            )
            drawn = []
            for alpha in strengths:
                with replace(self, controls=((delta, subject, alpha),)).on(job.model):
                    drawn.append(replace(job, prompts=[prompt]).sample())
            rows[self.name if len(job.prompts) == 1 else f"{self.name}: {prompt}"] = torch.cat(drawn)
            deltas[word] = delta.as_dict()
        return Result(rows, {}, {"deltas": deltas}, [f"{alpha:+.1f}" for alpha in strengths])


@torch.no_grad()
def naive(model: Model, pairs: Sequence[Pair], prefixes: Sequence[str] = PREFIXES) -> Delta:
    """The optimisation-free direction: the mean difference of the last subject token's embeddings, over pairs and prefixes."""
    texts = _combined(pairs, prefixes)
    sums: dict[str, Tensor] = {}
    edges, start = widths(model), 0
    ends = [
        [
            (model.condition([text])["cond"]["encoder_hidden_states"][0], subject_tokens(model, text, pair.target))
            for text in (more, less)
        ]
        for pair, _, more, less in texts
    ]
    for encoder, (name, width) in enumerate(edges.items()):
        part = slice(start, start + width)
        sums[name] = torch.stack([more[a[encoder][-1], part] - less[b[encoder][-1], part] for (more, a), (less, b) in ends]).mean(
            0
        )
        start += width
    return Delta(sums, {"made": "optimisation-free", "pairs": [vars(pair) for pair in pairs]})


def learn(
    model: Model,
    pairs: Sequence[Pair],
    prefixes: Sequence[str] = PREFIXES,
    *,
    steps: int = 1000,
    batch: int = 10,
    scales: int = 4,
    guidance: float = 7.5,
    sampling_steps: int = 50,
    trajectories: int = 64,
    lr: float = 0.1,
    scale_range: tuple[float, float] = (0.1, 5.0),
    space: str = "eps",
    seed: int = 0,
) -> Delta:
    """The learned direction: AdamW (betas 0.5, 0.8, decay 0.333) from zero, ``batch`` states with ``scales`` strengths each step.

    ``trajectories`` of the target prompts are sampled with ``guidance`` in ``sampling_steps``. Only the delta is trained: the
    network's weights take no gradient. BadInput for no pairs or steps; NotFinite if the loss blows up.
    """
    choose("space of the loss", space, ("eps", "x0"))
    if min(steps, batch, scales, sampling_steps, trajectories) < 1:
        raise BadInput("learning needs at least one step, state, scale, sampling step and trajectory")
    _warn_of_t5(model)
    rng, draws = random.Random(seed), torch.Generator().manual_seed(seed)
    texts = _combined(pairs, prefixes)
    chosen = [texts[i % len(texts)] for i in range(trajectories)]
    path = on_policy(model, [target for _, target, _, _ in chosen], guidance, sampling_steps, seed)
    with torch.no_grad():
        conditions = [model.condition([text[k] for text in chosen]) for k in (1, 2, 3)]
        states = conditions[0]["cond"]["encoder_hidden_states"]
        places = subject_places(model, conditions[0].prompts, [text[0].target for text in chosen], states)
    delta = torch.zeros(sum(widths(model).values()), device=model.device, requires_grad=True)
    optimizer = torch.optim.AdamW([delta], lr=lr, betas=(0.5, 0.8), weight_decay=0.333)
    losses = []
    with frozen(model.denoiser):
        for _ in range(steps):
            which = [rng.randrange(trajectories) for _ in range(batch)]
            times = [rng.randrange(len(path)) for _ in range(batch)]
            x = torch.stack([path[k][1][i] for k, i in zip(times, which, strict=True)])
            t = torch.tensor([path[k][0] for k in times], device=model.device)
            low, high = scale_range
            size = low + (high - low) * torch.rand(batch * scales, generator=draws)
            s = (size * (2 * torch.randint(2, (batch * scales,), generator=draws) - 1)).to(model.device)
            loss = _loss(model, delta, x, t, [c.index(which) for c in conditions], places[which], s, space)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
    if not bool(torch.isfinite(delta).all()):
        raise NotFinite(f"the direction became NaN or infinite after {steps} steps: lower lr, or load the model in float32")
    vectors = dict(zip(widths(model), delta.detach().split(list(widths(model).values())), strict=True))
    ends = [sum(part) / len(part) for part in (losses[: max(1, steps // 10)], losses[-max(1, steps // 10) :])]
    made = {"made": f"{steps} steps, space {space}, seed {seed}", "loss_first": ends[0], "loss_last": ends[1]}
    return Delta(vectors, {**made, "pairs": [vars(pair) for pair in pairs]})


def _loss(
    model: Model, delta: Tensor, x: Tensor, t: Tensor, conditions: Sequence[Condition], places: Tensor, s: Tensor, space: str
) -> Tensor:
    """The mean squared difference of what the moved target says at strengths ``s`` (B * scales,) and the extrapolated contrast.

    ``conditions``: target, positive, negative. ``places`` (B, L, D): the subject's tokens in the target.
    """

    def said(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        prediction = model.predict(x, t, condition)
        return prediction.noise if space == "eps" else prediction.clean

    n = len(s) // len(x)
    with torch.no_grad():
        target, positive, negative = (said(x, t, condition).repeat_interleave(n, 0) for condition in conditions)
        wanted = target + s.view(-1, 1, 1, 1) * (positive - negative)
    condition = conditions[0].repeat(n)
    states = condition["cond"]["encoder_hidden_states"] + s.view(-1, 1, 1) * delta * places.repeat_interleave(n, 0)
    there = said(x.repeat_interleave(n, 0), t.repeat_interleave(n), condition.with_row("cond", encoder_hidden_states=states))
    return (there - wanted).square().mean()


@torch.no_grad()
def on_policy(
    model: Model, prompts: list[str], guidance: float, steps: int, seed: int, batch: int = 32
) -> list[tuple[int, Tensor]]:
    """The timesteps and latents (N, C, h, w) that sampling the prompts with guidance goes through, from noise on."""
    found: dict[int, list[Tensor]] = {}

    def keep(step: int, output: Tensor, timestep: Any, latents: Tensor) -> None:
        found.setdefault(int(timestep), []).append(latents.clone())

    with model.seams.scheduler(before=keep):
        for start in range(0, len(prompts), batch):
            model.sample(prompts[start : start + batch], seed=seed + start, steps=steps, guidance_scale=guidance)
    return [(t, torch.cat(latents)) for t, latents in found.items()]


def _combined(pairs: Sequence[Pair], prefixes: Sequence[str]) -> list[tuple[Pair, str, str, str]]:
    """Every pair behind every prefix: (pair, target, positive, negative)."""
    if not pairs or not prefixes:
        raise BadInput(f"{len(pairs)} pairs and {len(prefixes)} prefixes: give at least one of each; a prefix may be empty")
    return [
        (pair, prefix + pair.target, prefix + pair.positive, prefix + pair.negative) for pair, prefix in product(pairs, prefixes)
    ]


def _parsed(control: Any) -> tuple[Delta, str, float]:
    """A control as given, or from file:subject:strength."""
    if isinstance(control, str):
        file, _, rest = control.rpartition(":")[0].rpartition(":")
        try:
            return Delta.load(file), rest, float(control.rpartition(":")[2])
        except ValueError:
            raise BadKnob(f"control {control!r}: give file:subject:strength, such as size.safetensors:fish:1.5") from None
    if not isinstance(control, tuple | list) or len(control) != 3 or not isinstance(control[0], Delta):
        raise BadKnob(f"control {control!r}: give (delta, subject, strength)")
    return control[0], str(control[1]), float(control[2])


def _warn_of_t5(model: Model) -> None:
    if "T5" in type(model.pipeline.text_encoder).__name__:
        import warnings

        from diffolio.models.text import DiffolioWarning

        warnings.warn(
            "attribute control was made for CLIP's text embeddings; this model reads with T5", DiffolioWarning, stacklevel=3
        )
