"""PRSS: pictures that stay on topic without repeating a memorised training picture.

Enhancing Privacy-Utility Trade-offs to Mitigate Memorization in Diffusion Models. Chen, Liu, Shah, Xu, 2025, arXiv:2504.18032.
A prompt that the model has memorised pulls the noise prediction hard, whatever the noise: at the first step its magnitude

    m(e) = || eps(x_T, e) - eps(x_T, null) ||_2                (over all channels and cells of one sample; Wen et al., 2024)

is large. Where m > lam_ss two things happen. *Semantic prompt search*: paraphrases are tried on the same x_T, one by one, until
one has m <= lam_ss; if none has, the smallest m wins. *Prompt re-anchoring*: at every step the memorised prompt e_o takes the
null prompt's place as the anchor of guidance, the more so the larger the chosen prompt's own magnitude is:

    eps_hat = eps(e_o) + w (eps(e_s) - eps(e_o)) + (s - w) (eps(e_s) - eps(null)),
    w = 1 + (s - 1) (m_t(e_s) - l_pr) / (m_thr - l_pr), held within 1..s

w = 1 is plain guidance with e_s, w = s is guidance by e_s away from e_o. A prompt with m <= lam_ss is sampled as without PRSS.

Paper and code: the paper states w = s wherever the magnitude is above its bound, the released code the ramp above; ``ramp`` chooses.
The code works on one sample; here every sample of a batch has its own decision, paraphrases and w. The paper asks a language
model for paraphrases; here they are yours (a list, a function) or the tabletop grammar's. The thresholds are those of SD 1.4
(latents of 16384 numbers); m grows with the root of that count, so other models want ``calibrate`` [design].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, BadKnob
from diffolio.process.memorization import call_magnitude, guidance_of, noise_gain, noise_magnitude, recorded_magnitudes
from diffolio.process.prompts import Heard, forward_row, heard_prompts, merged, picked, text_arguments, with_samples
from diffolio.registry import Technique, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result
    from diffolio.seams import Call

Outputs = dict[str, Tensor]


@method(paper="2504.18032", family="safety", works_on={"unet", "pixart"}, exclusive={"guidance rows"})
@dataclass(frozen=True)
class PRSS(Technique):
    """Breaks verbatim copies: prompts that look memorised are rephrased and guided away from what was memorised.

    ``paraphrases``: None (no search), "grammar" (the tabletop's), a list for one prompt, or a function (prompt, n) -> list.
    Needs guidance above 1. The report tells, sample by sample, magnitude, decision, chosen paraphrase and w at every step.
    """

    paraphrases: str | tuple[str, ...] | Callable[..., Sequence[str]] | None = knob(  # noqa: RUF009
        None,
        means="None: no search; 'grammar'; paraphrases of one prompt, joined by | or as a list; or a function (prompt, n) -> list",
    )
    lam_ss: float = knob(1.0, above=0.0, means="magnitude at the first step from which a prompt counts as memorised")
    l_pr: float = knob(3.0, above=0.0, means="magnitude of the chosen prompt from which a step is re-anchored")
    m_thr: float = knob(5.0, above=0.0, means="magnitude from which a step is re-anchored fully (above l_pr)")
    n_max: int = knob(25, at_least=1, means="how many paraphrases are tried at most")
    ramp: bool = knob(True, means="the code's gradual w; off: the paper's w = s wherever the magnitude is above l_pr")

    def __post_init__(self) -> None:
        if isinstance(self.paraphrases, list):
            object.__setattr__(self, "paraphrases", tuple(self.paraphrases))
        super().__post_init__()
        if self.m_thr <= self.l_pr:
            raise BadKnob(
                f"prss: m_thr={self.m_thr:g} is not above l_pr={self.l_pr:g}; w rises from 1 at l_pr to the scale at m_thr"
            )

    def neutral(self) -> PRSS:
        return replace(self, lam_ss=float("inf"))

    @classmethod
    def calibrate(
        cls, model: Model, safe_prompts: list[str], fpr: float = 0.05, *, seed: int = 0, steps: int = 25,
        guidance_scale: float | None = None, **knobs: Any,
    ) -> PRSS:  # fmt: skip
        """The thresholds for a model, from prompts that it has surely not memorised [design].

        ``lam_ss`` is the (1 - fpr) quantile of their magnitudes at the first step, ``l_pr`` that of their largest magnitudes in a
        run; ``m_thr`` keeps the authors' ratio 5/3 to it. Sample afterwards with the same ``steps``: the first step's noise level
        depends on them.
        """
        if not 0 < fpr < 1 or len(safe_prompts) < 8:
            raise BadInput(f"fpr {fpr:g} and {len(safe_prompts)} safe prompts: give a share in (0, 1) and at least 8 prompts")
        with recorded_magnitudes(model) as magnitudes:
            model.sample(safe_prompts, seed=seed, steps=steps, guidance_scale=guidance_scale)
        first, largest = (torch.quantile(m, 1 - fpr).item() for m in (magnitudes.first, magnitudes.all.amax(1)))
        return cls(**{"lam_ss": first, "l_pr": largest, "m_thr": largest * 5 / 3, **knobs})

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        session = _Session(self, model)
        with heard_prompts(model) as session.heard, model.seams.denoiser(session.before, session.after, self.name):
            yield model

    def run(self, job: Job) -> Result:
        """Sample with and without. On a bundled model, thresholds that were not set are calibrated on its world's captions."""
        from diffolio.results import compare
        from diffolio.worlds.tabletop import sample_scenes

        ready = self
        if job.model.name.startswith("mini-") and (self.lam_ss, self.l_pr, self.m_thr) == (1.0, 3.0, 5.0):
            safe = [scene.caption for scene in sample_scenes(32, 777)]
            given: dict[str, Any] = {"paraphrases": self.paraphrases or "grammar", "n_max": self.n_max, "ramp": self.ramp}
            ready = type(self).calibrate(job.model, safe, steps=job.steps, guidance_scale=job.guidance_scale, **given)
        return compare(ready, job)

    def candidates(self, prompt: str) -> list[str]:
        """The paraphrases of a prompt, at most ``n_max``."""
        if self.paraphrases is None:
            return []
        if self.paraphrases == "grammar":
            from diffolio.worlds.tabletop.paraphrase import paraphrases

            return paraphrases(prompt, self.n_max)
        if isinstance(self.paraphrases, str):
            found: Sequence[str] = [part.strip() for part in self.paraphrases.split("|")]
        else:
            found = self.paraphrases if isinstance(self.paraphrases, tuple) else self.paraphrases(prompt, self.n_max)
        if isinstance(found, str) or not all(isinstance(text, str) and text.strip() for text in found):
            raise BadInput(f"the paraphrases of {prompt!r} must be a list of texts, none empty; got {found!r}")
        return list(found)[: self.n_max]


def weight(magnitude: Tensor, scale: float, low: float, high: float, ramp: bool = True) -> Tensor:
    """w of every sample, 1..scale: 1 at ``low`` (l_pr), ``scale`` from ``high`` (m_thr) on. (B,) -> (B,).

    The released code's min(s (m - floor) / (m_thr - floor), s) with floor = (s l_pr - m_thr) / (s - 1) is the same line.
    """
    if not ramp:
        return torch.where(magnitude > low, scale, 1.0).to(magnitude)
    return (1 + (scale - 1) * (magnitude - low) / (high - low)).clamp(1, scale)


def reanchor(original: Tensor, chosen: Tensor, null: Tensor, w: Tensor, scale: float) -> Tensor:
    """eps_hat above. Predictions (B, C, h, w), w (B,). Its coefficients sum to 1, so any kind of prediction will do."""
    w = w.to(chosen)[:, None, None, None]
    return original + w * (chosen - original) + (scale - w) * (chosen - null)


@dataclass
class Sample:
    """What was decided for one sample. ``scales``: w at every step, as far as it is re-anchored."""

    prompt: str | None
    magnitude: float
    triggered: bool
    chosen: str | None = None
    chosen_magnitude: float | None = None
    tried: int = 0
    scales: list[float] = field(default_factory=list)


@dataclass
class Report:
    """One entry per sample of the last run."""

    samples: list[Sample] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"triggered": sum(s.triggered for s in self.samples), "samples": [asdict(s) for s in self.samples]}


class _Session:
    """The state of one ``on`` block: what was decided at the first step of the run, and the chosen prompts' arguments."""

    def __init__(self, method: PRSS, model: Model) -> None:
        self.method, self.model = method, model
        self.heard = Heard()
        self.step, self.fresh = -2, True
        self.report = Report()
        self.index = torch.empty(0, dtype=torch.long)  # the triggered samples
        self.chosen: dict[str, Any] = {}  # their text arguments
        self.original: dict[str, Any] = {}  # their conditional rows as the pipeline made them

    def before(self, call: Call) -> Call | None:
        guidance_of(call)
        begins, self.step = self.step == -2 or call.step <= self.step, call.step
        if begins:
            self._start()
        elif len(self.index):
            part = call.part("cond")
            self.original = picked(part, self.index, call.samples)
            return call.replace_row("cond", **with_samples(text_arguments(part), self.index, self.chosen))
        return None

    def after(self, call: Call, outputs: Outputs) -> Outputs | None:
        found, first = call_magnitude(call, outputs), self.fresh
        chosen = outputs["cond"]
        if first:
            self.fresh = False
            chosen, found = self._decide(call, outputs, found)
        if not len(self.index):
            return None
        index, scale = self.index, guidance_of(call)
        null, chosen = outputs["uncond"][index], chosen[index]
        w = weight(found[index], scale, self.method.l_pr, self.method.m_thr, self.method.ramp)
        original, far = chosen.clone(), (w > 1).nonzero().flatten()
        if len(far):  # at w = 1 the memorised prompt has no part in the sum
            original[far] = (
                outputs["cond"][index[far]] if first else forward_row(self.model, picked(self.original, far, len(index)))
            )
        noise = reanchor(original, chosen, null, w, scale)
        for i, value in zip(index.tolist(), w.tolist(), strict=True):
            self.report.samples[i].scales.append(value)
        # The same in both rows: the pipeline's own u + s (c - u) gives it back for any s.
        return {row: outputs[row].index_copy(0, index, noise.to(outputs[row])) for row in ("uncond", "cond")}

    def _start(self) -> None:
        """A new run: nothing is decided yet."""
        self.fresh, self.index = True, self.index[:0]
        self.report = self.model.reports[self.method.name] = Report()

    def _decide(self, call: Call, outputs: Outputs, found: Tensor) -> tuple[Tensor, Tensor]:
        """Which samples are triggered, and the prediction and magnitude of what is chosen for them (others as they are)."""
        part = call.part("cond")
        prompts = self.heard.of(part["encoder_hidden_states"])
        self._check_prompts(prompts)
        self.report.samples.extend(
            Sample(prompt, m, m > self.method.lam_ss) for prompt, m in zip(prompts, found.tolist(), strict=True)
        )
        self.index = (found > self.method.lam_ss).nonzero().flatten()
        chosen = outputs["cond"].clone()
        if len(self.index):
            self.chosen = picked(text_arguments(part), self.index, call.samples)
            self._search(call, picked(part, self.index, call.samples), outputs["uncond"], chosen, found)
        return chosen, found

    def _search(self, call: Call, part: dict[str, Any], null: Tensor, chosen: Tensor, found: Tensor) -> None:
        """Try paraphrases of the triggered samples on their own x_T, one a sample and round, until each has a safe one.

        ``chosen`` (B, C, h, w), ``found`` (B,) and the chosen texts are improved in place.
        """
        told = [self.report.samples[i] for i in self.index.tolist()]
        candidates = [self.method.candidates(sample.prompt) if sample.prompt is not None else [] for sample in told]
        for sample in told:
            sample.chosen, sample.chosen_magnitude = sample.prompt, sample.magnitude
        for turn in range(max(map(len, candidates))):
            busy = [j for j, i in enumerate(self.index) if turn < len(candidates[j]) and found[i] > self.method.lam_ss]
            if not busy:
                break
            texts, places = [candidates[j][turn] for j in busy], torch.tensor(busy, device=self.index.device)
            arguments = text_arguments(self.model.condition(texts)["cond"])
            noise = forward_row(self.model, merged(picked(part, places, len(told)), arguments))
            magnitude = noise_gain(call) * noise_magnitude(noise - null[self.index[places]])
            for j in busy:
                told[j].tried += 1
            better = (magnitude < found[self.index[places]]).nonzero().flatten()
            places = places[better]
            chosen[self.index[places]], found[self.index[places]] = noise[better], magnitude[better]
            self.chosen = with_samples(self.chosen, places, picked(arguments, better, len(busy)))
            for b, j in zip(better.tolist(), places.tolist(), strict=True):
                told[j].chosen, told[j].chosen_magnitude = texts[b], float(magnitude[b])

    def _check_prompts(self, prompts: list[str | None]) -> None:
        if self.method.paraphrases is None:
            return
        if None in prompts:
            raise BadInput(
                "prss searches for paraphrases, but was given embeddings whose text it never saw: "
                "give prompts, make the condition inside the block, or switch the search off (paraphrases=None)"
            )
        listed = isinstance(self.method.paraphrases, (str, tuple)) and self.method.paraphrases != "grammar"
        if listed and len(set(prompts)) > 1:
            raise BadInput(
                f"{len(set(prompts))} different prompts share one list of paraphrases: sample one prompt at a time, "
                "or give a function (prompt, n) -> list"
            )
