"""The edit benchmark: every editor on the same pictures, prompts and seeds, beside what it has to beat, in one run.

The protocol of PIE-Bench (Ju et al., 2023, arXiv:2310.01506): what is no part of the edit must stay (structure distance; PSNR, SSIM
and perceptual distance outside of the edit's mask), and the edit must be there. On tabletop scenes the mask, the perfect edit and
whether it is there are exact. Two things differ from PIE-Bench's own code: its PSNR averages over the blacked-out mask as well,
here over the background alone, which is stricter; and the networks behind structure and perceptual distance are the bundled ones,
so that figures compare within a table, not with the paper's.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio import miniatures, registry
from diffolio.claims.benchmark.baselines import CopySource, DDIMInversion, ImageToImage
from diffolio.claims.benchmark.cases import SEED, Case, successes, tabletop
from diffolio.edits import kept, perform
from diffolio.errors import BadInput, DiffolioError, Unsupported
from diffolio.metrics.image import psnr

if TYPE_CHECKING:
    from diffolio.models import Model

METRICS = {
    "structure_distance": "structure distance x1000 (lower)", "background_psnr": "background PSNR, dB (higher)",
    "background_ssim": "background SSIM (higher)", "background_perceptual": "background perceptual distance x1000 (lower)",
    "success": "the reader sees the edit in its place, share (higher)",
    "all_right": "and everything else as the target says, share (higher)", "truth_psnr": "PSNR to the true twin, dB (higher)",
    "model_calls": "model calls a picture", "seconds": "seconds a picture",
}  # fmt: skip
THOUSANDTHS = ("structure_distance", "background_perceptual")
SHARES = ("success", "all_right")
BATCH = 16
TRUTH = "the true twin through the model's autoencoder"


@dataclass
class Entry:
    """One editor on its cases: ``scores`` by metric, a number a case (NaN where it does not apply), and what it made."""

    editor: str
    model: str
    paper: str | None
    given_mask: bool
    cases: list[Case]
    scores: dict[str, Tensor]
    edited: Tensor

    def as_dict(self) -> dict[str, Any]:
        kinds = list(dict.fromkeys(case.kind for case in self.cases))
        rows = {kind: torch.tensor([case.kind == kind for case in self.cases]) for kind in kinds}
        return {
            "editor": self.editor, "model": self.model, "paper": self.paper, "given_mask": self.given_mask, "n": len(self.cases),
            "metrics": {name: summary(name, values) for name, values in self.scores.items()},
            "by_kind": {kind: {name: summary(name, v[some]) for name, v in self.scores.items()} for kind, some in rows.items()},
        }  # fmt: skip


@dataclass
class Benchmark:
    """The entries in the order of the table, what was left out and why, and what the run was."""

    entries: list[Entry]
    left_out: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        rows = [entry.as_dict() for entry in self.entries]
        return {**self.settings, "metrics": METRICS, "rows": rows, "left_out": self.left_out, "skipped": self.skipped}


Cases = Callable[[int], Sequence[Case]]
"""The cases at a picture size."""


def benchmark(
    model: Model,
    cases: Cases,
    *,
    steps: int = 25,
    only: Sequence[str] = (),
    seed: int = SEED,
    tell: Callable[[str], None] = lambda line: None,
) -> Benchmark:
    """Every editor of the registry (or ``only`` those named) after the baselines, each with its default knobs and the same ``steps``.

    An editor that does not work on ``model`` runs on the bundled model that its own claim uses, on the same scenes. What cannot run
    at all is left out with the reason.
    """
    started = time.perf_counter()
    done = Benchmark([], settings={"model": model.name, "steps": steps, "seed": seed})
    for editor in [*baselines(steps), *editors(steps, only)]:
        tell(editor.name)
        try:
            own = model_for(editor, model)
            chosen = [case for case in cases(own.default_size) if can(editor, case)]
            if not chosen:
                done.left_out[editor.name] = "it does none of these kinds of edit"
                continue
            done.entries.append(measure(editor, own, chosen, seed))
        except DiffolioError as error:
            done.left_out[editor.name] = str(error)
    known = [case for case in cases(model.default_size) if case.truth is not None]
    if known:
        done.entries.append(ceiling(model, known))
    done.settings |= {"seconds": round(time.perf_counter() - started, 1)}
    return done


def measure(editor: Any, model: Model, cases: list[Case], seed: int) -> Entry:
    """One editor on its cases, in batches of pictures of one size. Sample i of the whole run draws from ``seed + i``."""
    found: dict[int, dict[str, Tensor]] = {}
    edited: dict[int, Tensor] = {}
    for group in batches(cases):
        chosen = [cases[i] for i in group]
        images, inside = (torch.stack(list(x)) for x in zip(*((case.image, case.inside) for case in chosen), strict=True))
        mask = torch.stack([case.mask for case in chosen]) if "mask" in editor.needs else None
        words = ([case.prompt for case in chosen], [case.target for case in chosen])
        edit = perform(editor, model, images, *words, mask, seed + group[0], {})
        made = edit.edited.float().cpu()
        cost = {name: torch.full((len(group),), edit.numbers[name]) for name in ("model_calls", "seconds")}
        rows = {**score(made, images, inside, chosen), **cost}
        for place, i in enumerate(group):
            found[i] = {name: values[place] for name, values in rows.items()}
            edited[i] = made[place]
    order = range(len(cases))
    scores = {name: torch.stack([found[i].get(name, torch.tensor(torch.nan)) for i in order]) for name in METRICS}
    pictures = torch.stack([edited[i] for i in order]) if len({x.shape for x in edited.values()}) == 1 else edited[0][None]
    paper = editor.paper or None
    return Entry(editor.name, model.name, paper, "mask" in editor.needs, cases, scores, pictures)


def score(edited: Tensor, images: Tensor, inside: Tensor, cases: Sequence[Case]) -> dict[str, Tensor]:
    """Everything but the costs, a number a case."""
    rows = kept(edited, images, inside)
    rows.pop("rms_change", None)
    rows |= successes(edited, cases)
    pairs = zip(edited, (case.truth for case in cases), strict=True)
    known = [torch.nan if t is None or t.shape != e.shape else float(psnr(e[None], t[None])) for e, t in pairs]
    rows["truth_psnr"] = torch.tensor(known)
    return {name: values.double() for name, values in rows.items()}


@torch.no_grad()
def ceiling(model: Model, cases: list[Case]) -> Entry:
    """What a perfect edit would score, had it to come out of the model's autoencoder."""
    made = []
    for group in batches(cases):
        truths = torch.stack([truth for i in group if (truth := cases[i].truth) is not None])
        made.append(model.decode(model.encode(truths.to(model.device))).float().cpu())
    edited = torch.cat(made)
    images, inside = (torch.stack(list(x)) for x in zip(*((case.image, case.inside) for case in cases), strict=True))
    scores = score(edited, images, inside, cases)
    empty = torch.full((len(cases),), torch.nan).double()
    return Entry(TRUTH, model.name, None, False, cases, {name: scores.get(name, empty) for name in METRICS}, edited)


def baselines(steps: int) -> list[Any]:
    """Nothing done, image-to-image at two strengths, and DDIM inversion."""
    return [CopySource(), ImageToImage(0.5, steps), ImageToImage(0.8, steps), DDIMInversion(steps)]


def editors(steps: int, only: Sequence[str] = ()) -> Iterator[Any]:
    """The methods that say which kinds of edit they do, at their default knobs but for the steps."""
    names = [registry.card(name).name for name in only] or [card.name for card in registry.cards().values() if card.edits]
    for name in names:
        if not registry.card(name).edits:
            editing = ", ".join(card.name for card in registry.cards().values() if card.edits)
            raise BadInput(f"{name} says of no kind of edit that it does it: choose among {editing}")
        made: Any = registry.make(name)
        yield dataclasses.replace(made, steps=steps) if "steps" in made.knobs() else made


def can(editor: Any, case: Case) -> bool:
    """Whether the editor does this kind of edit; "random" ones are asked of all that follow words."""
    return case.kind in editor.edits or (case.kind == "random" and "mask" not in editor.needs)


def model_for(editor: Any, model: Model) -> Model:
    """The model itself if the editor works on it, else the bundled one of the editor's claim."""
    from diffolio.claims.evidence import claim_module
    from diffolio.models import load

    try:
        editor.check(model)
        return model
    except Unsupported as error:
        if not editor.paper:
            raise
        own = claim_module(editor.name).CLAIM.model
        if own == model.name or own not in miniatures.available():
            raise Unsupported(f"{error}, and {own}, on which its claim stands, is not here") from error
        return load(own)


def batches(cases: Sequence[Case]) -> Iterator[list[int]]:
    """Places of cases with pictures of one size, at most ``BATCH`` together, in order."""
    groups: dict[torch.Size, list[int]] = {}
    for i, case in enumerate(cases):
        groups.setdefault(case.image.shape, []).append(i)
    for group in groups.values():
        yield from (group[i : i + BATCH] for i in range(0, len(group), BATCH))


def on_tabletop(n: int, kinds: Sequence[str], seed: int = SEED) -> Cases:
    """``n`` scenes of every kind of edit."""
    return lambda size: tabletop(n, size, tuple(kinds), seed)


def summary(name: str, values: Tensor) -> dict[str, float | int] | None:
    """Mean, 95% interval and n of what is not NaN; None if nothing is. Shares have Wilson's interval, the rest a bootstrap's."""
    from scipy.stats import binomtest

    from diffolio.metrics.stats import mean_interval

    known = values[~values.isnan()].double().numpy()
    if not len(known):
        return None
    if name in SHARES:
        interval = binomtest(int(known.sum()), len(known)).proportion_ci(method="wilson")
        return {"value": float(known.mean()), "low": float(interval.low), "high": float(interval.high), "n": len(known)}
    figure = mean_interval(known)
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": len(known)}
