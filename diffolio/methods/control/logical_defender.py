"""LogicalDefender: a rule of common sense, learned as a few words, that any prompt can carry.

"LogicalDefender: Discovering, Extracting, and Utilizing Common-Sense Knowledge", 2024, arXiv:2403.11570. A
text-to-image model draws a pear and does not tie it to its branch. A summary of the rule in words starts a *logical embedding* e_L
of n pseudo-words; it is learned, with everything else frozen, from some pictures that obey the rule, by prompts "[object] . <L>".
A parallel path holds what the object's own words explain (colour, shape, ground), so that e_L is left with the rest, the relation:

    eps_hat = eps(z, t, "[object] . <L>") + g (eps(z, t, "[object] . <L>") - sg eps(z, t, "[object]"))
    loss    = | eps - eps_hat |^2 + 0.01 mean_w cos^2(mean e_L - mean e_L(0), w)               w: the object's words

To use it, <L> stands behind a prompt, or guides beside it (``w_logic``): eps_0 + w (eps_text - eps_0) + w_L (eps_text+L - eps_text).

Paper and code: there is no public code, and only a summary of the paper was at hand: the embedding's start from a summary of the rule,
the frozen model and the negative path are the paper's; the equations are ours, consistent with it [design], as are the
decorrelation, g and the numbers. The paper asks a language model for the summary; here the user writes it. No vocabulary is
resized: the words enter as vectors while a prompt is encoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.fine_tuning import copied, trainable, trained_folder
from diffolio.models.logic import LogicEmbedding
from diffolio.models.pseudo_words import check_one_encoder, states_with, word_vectors
from diffolio.models.swapped import load_weights, save_weights, swapped
from diffolio.registry import Recipe, knob, method
from diffolio.training.latents import captioned_latents
from diffolio.training.logic import ORCHARD_SEED, LearnLogic, Words
from diffolio.training.loop import Budget, Settings, Trained, train

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result
    from diffolio.seams import Call

CAP = 16
LOGIC, INVERSION, BASE = "logic.safetensors", "inversion.safetensors", "base"
ROW = "logic"


@method(paper="2403.11570", family="control", works_on={"unet"})
@dataclass(frozen=True)
class LogicalDefender(Recipe):
    """Learns a rule from 5 to 20 captioned pictures that obey it, and lets prompts carry it.

    The bundled rule is the orchard's, "the stalk is tied to the branch"; it belongs to mini-sd after a fine-tuning on orchards half of
    which break the rule, which is bundled too and put on the model meanwhile.
    """

    rule: str = knob("the stalk is tied to the branch", means="the rule in words, 16 tokens at most; where the embedding starts")
    start: str = knob("rule", choices=("rule", "random"), means="start from the rule's words, or from noise of their size")
    against: float = knob(1.5, at_least=0.0, means="strength g of the negative path; 0 is textual inversion")
    decorrelate: float = knob(
        0.01, at_least=0.0, means="weight of the cosine between the embedding's move and the object's words"
    )
    rate: float = knob(5e-4, above=0.0, means="learning rate")
    batch: int = knob(4, at_least=1, means="pictures a step")
    pictures: int = knob(12, at_least=3, means="orchards that obey the rule, where no data is given")
    strength: float = knob(1.0, at_least=0.0, means="how far from the rule's own words towards the learned ones")
    text_rule: bool = knob(True, means="at strength 0, leave the rule's own words in the prompt")
    w_logic: float = knob(0.0, at_least=0.0, means="guide by the logical prompt beside the plain one, so strongly; 0: append it")
    adapter: str = knob("logical_defender", means="what a run uses: a bundled adapter or a training's folder")
    prepare: int = knob(0, at_least=0, means="first fine-tune the model on orchards, so many steps")
    prepare_rate: float = knob(1e-3, above=0.0, means="learning rate of that")
    scenes: int = knob(1500, at_least=1, means="orchards to prepare with")
    compare: bool = knob(False, means="also learn as long without the negative path: textual inversion")

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/logical_defender",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Learn the embedding on ``model``, which is unchanged afterwards; writes ``folder/export``.

        ``data``: pictures that obey the rule with captions that do not state it (a sequence of (picture, caption), (latents, captions));
        None: the orchard's, on the model fine-tuned first (``prepare``) or with the bundled fine-tuning. ``budget`` None: 1000 steps.
        """
        self.check(model)
        check_one_encoder(model)
        first = start_of(model, self.rule, self.start, seed)
        folder, options = Path(folder), {"resume": resume, "seed": seed, "progress": progress}
        weights = self._prepared(model, folder, data, options)
        with swapped(model.denoiser, weights), frozen(model):
            latents, captions = orchard_examples(model, self.pictures, seed) if data is None else examples(model, data)
            runs = {LOGIC: self.against} | ({INVERSION: 0.0} if self.compare else {})
            outcome = {}
            for name, against in runs.items():
                words = Words(first).to(model.device)
                objective = LearnLogic(
                    model,
                    latents,
                    captions,
                    words,
                    against=against,
                    decorrelate=self.decorrelate if against else 0.0,
                    batch=self.batch,
                )
                settings = Settings(rate=self.rate, warmup=10, last_rate=0.1, decay=0.98, every=200)
                place = folder if name == LOGIC else folder / "inversion"
                trained = train(objective, place, budget or Budget(steps=1000), settings, device=model.device, **options)
                about = {"rule": self.rule, "against": against, "steps": trained.steps, "pictures": len(captions), "seed": seed}
                outcome[name] = (trained, LogicEmbedding(words.vectors.detach(), first, about))
        (folder / "export").mkdir(parents=True, exist_ok=True)
        for name, (_, embedding) in outcome.items():
            embedding.save(folder / "export" / name)
        if weights:
            save_weights(folder / "export" / BASE, model, weights, {"prepare": self.prepare, "seed": seed, "scenes": self.scenes})
        (folder / "export" / "knobs.json").write_text(
            json.dumps(self.knobs() | {"seed": seed}, indent=1) + "\n", encoding="utf-8"
        )
        return outcome[LOGIC][0]

    def _prepared(self, model: Model, folder: Path, data: Any, options: dict[str, Any]) -> dict[str, Tensor]:
        """The weights to put on the model while it learns: none for a user's own pictures, unless ``prepare`` says so."""
        if self.prepare:
            return prepared(model, folder / BASE, self.prepare, self.prepare_rate, self.scenes, options)
        return {} if data is not None else load_weights(trained_folder(self.adapter) / BASE, model)[0]

    @contextmanager
    def on(self, model: Model, embedding: LogicEmbedding | str | Path | None = None) -> Iterator[Model]:
        """Every prompt that is sampled inside carries the rule; only the conditional row changes. As it was afterwards, bit for bit.

        ``embedding``: what was learned, or its file; None: the adapter's. At strength 0 without ``text_rule`` nothing is added.
        """
        self.check(model)
        if not isinstance(embedding, LogicEmbedding):
            embedding = LogicEmbedding.load(embedding or trained_folder(self.adapter) / LOGIC)
        words = embedding.at(self.strength).to(model.device)
        if self.strength == 0 and not self.text_rule:
            yield model
            return
        read: dict[tuple[str, ...], Tensor] = {}

        def states(prompts: Sequence[str] | None, like: Tensor) -> Tensor:
            if prompts is None:
                raise BadInput("the rule stands behind a prompt, and this run does not say its prompts: sample with Model.sample")
            if tuple(prompts) not in read:
                with torch.no_grad():
                    read[tuple(prompts)] = states_with(model, prompts, words)
            return read[tuple(prompts)].to(like)

        def carry(call: Call) -> Call:
            found = states(model.seams.state.prompts, call.kwargs["encoder_hidden_states"])
            if not self.w_logic:
                return call.replace_row("cond", encoder_hidden_states=found)
            return call.add(ROW, encoder_hidden_states=found)

        def guide(call: Call, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
            scale = call.guidance_scale or 1.0
            plain, more = outputs["cond"], self.w_logic * (outputs[ROW] - outputs["cond"])
            if "uncond" not in outputs:
                return {"cond": plain + more}
            return call.same(outputs["uncond"] + scale * (plain - outputs["uncond"]) + more)

        held = model.seams.claim("guidance rule", by=self.name) if self.w_logic else nullcontext()
        with held, model.seams.denoiser(before=carry, after=guide if self.w_logic else None, name=self.name):
            yield model

    def run(self, job: Job) -> Result:
        """The prompts plain, with the rule's own words, with textual inversion, and with the rule learned."""
        from diffolio.results import Result
        from diffolio.worlds.orchard import read_orchard, sample_orchard

        place, notes = trained_folder(self.adapter), []
        weights = load_weights(place / BASE, job.model)[0] if (place / BASE).is_dir() else {}
        if weights and not any("branch" in prompt for prompt in job.prompts):
            drawn = [scene.plain for scene in sample_orchard(len(job.prompts), 920_000 + job.seed)]
            job = replace(job, prompts=drawn)
            notes.append("the bundled rule is about fruits on branches: prompts of the orchard took the place of those given")
        learned = {name: LogicEmbedding.load(place / name) for name in (INVERSION, LOGIC) if (place / name).exists()}
        images = {}
        with swapped(job.model.denoiser, weights):
            images["plain prompt"] = job.sample()
            for title, method, name in (
                ("the rule in words", replace(self, strength=0.0, text_rule=True), LOGIC),
                ("textual inversion", self, INVERSION),
                ("logical defender", self, LOGIC),
            ):
                if name in learned:
                    with method.on(job.model, learned[name]):
                        images[title] = job.sample()
        numbers = {}
        if weights:
            for title, batch in images.items():
                numbers[f"tied: {title}"] = sum(picked.tied for picked in read_orchard(batch)) / len(batch)
        return Result(images, numbers, {"notes": notes, "embedding": learned[LOGIC].about}, job.prompts)


def start_of(model: Model, rule: str, start: str, seed: int) -> Tensor:
    """(n, D): the rule's word embeddings, or noise of their mean and spread. BadInput for an empty rule or one of more than 16 tokens."""
    words = word_vectors(model, rule)
    if not 1 <= len(words) <= CAP:
        raise BadInput(f"the rule {rule!r} takes {len(words)} tokens: say it in 1 to {CAP}")
    if start == "rule":
        return words
    noise = torch.randn(words.shape, generator=torch.Generator().manual_seed(seed))
    return words.mean() + words.std() * noise.to(words)


def examples(model: Model, data: Any) -> tuple[Tensor, list[str]]:
    """A user's pictures as latents (N, C, h, w) and their captions."""
    import random

    pool = captioned_latents(model, data, 0)
    return pool.latents, [pool.caption(i, random.Random(0)) for i in range(len(pool))]


def orchard_examples(model: Model, n: int, seed: int) -> tuple[Tensor, list[str]]:
    """``n`` orchards that obey the rule, of the first two kinds of fruit."""
    from diffolio.training.latents import encode
    from diffolio.worlds.orchard import KINDS, draw_orchard, sample_orchard

    scenes = sample_orchard(n, ORCHARD_SEED + 500_000 + seed, 1.0, KINDS[:2])
    return encode(model, draw_orchard(scenes, model.default_size)), [scene.plain for scene in scenes]


def prepared(model: Model, folder: Path, steps: int, rate: float, scenes: int, options: dict[str, Any]) -> dict[str, Tensor]:
    """The attention weights of the model after a fine-tuning on orchards, half of which break the rule."""
    from diffolio.training.latents import CaptionedLatents, encode
    from diffolio.training.noise import PredictNoise
    from diffolio.worlds.orchard import draw_orchard, sample_orchard

    drawn = sample_orchard(scenes, ORCHARD_SEED + int(options["seed"]))
    parts = [encode(model, draw_orchard(drawn[i : i + 64], model.default_size)) for i in range(0, scenes, 64)]
    pool = CaptionedLatents(torch.cat(parts), lambda i, rng: drawn[i].caption if rng.random() < 0.5 else drawn[i].plain)
    student = copied(model)
    weights = trainable(student.denoiser, "attention")
    settings = Settings(rate=rate, warmup=20, last_rate=0.1, decay=0.99, every=200)
    train(PredictNoise(student, pool), folder, Budget(steps=steps), settings, device=model.device, **options)
    return {name: w.detach() for name, w in weights.items()}


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """No weight of the UNet or the text encoder collects a gradient inside."""
    own = [(p, p.requires_grad) for part in (model.denoiser, model.pipeline.text_encoder) for p in part.parameters()]
    try:
        for parameter, _ in own:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in own:
            parameter.requires_grad_(flag)
