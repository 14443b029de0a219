"""PRSS against plain guidance and prompt optimisation, on a model that has memorised planted pictures.

Copies are counted against the planted truth, in the region that is truly fixed; on topic is a picture in which the reader finds
the thing that the caption names. Thresholds come from other safe prompts than those that are tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

if TYPE_CHECKING:
    from PIL import Image

    from diffolio.methods.safety.prss import PRSS
    from diffolio.models import Model
    from diffolio.worlds.memory import Planted

CLAIM = Claim(
    method="prss",
    metric="copy score of memorised prompts (layout correlation with the planted picture), PRSS over plain guidance",
    paper_says="SD 1.4: copy score (SSCD) 0.65 plain, 0.35 prompt optimisation, 0.22 PRSS, at CLIP 0.30, 0.23 and 0.27 "
    "(read off the trade-off figure)",
    bar=AtMost(0.6),
    world="memory",
    model="mini-sd-mem",
    weights=("mini-sd", "mini-clip-b"),
)
STEPS, SCALE, SEED, DRAWS = 20, 4.0, 41_000, 2
SAFE, CALIBRATION = 32, 64
FACTORS = (0.6, 0.8, 1.25, 1.6)  # of the calibrated threshold, for the trade-off curve
TARGETS = (1.5, 1.0, 0.6, 0.3)  # of the same threshold, for prompt optimisation


@dataclass
class Scored:
    """Pictures (N, 3, H, W) of the planted prompts, their copy scores and whether they are on topic."""

    images: Tensor
    copy: list[float]
    topic: list[float]

    @property
    def point(self) -> tuple[float, float]:
        return sum(self.copy) / len(self.copy), sum(self.topic) / len(self.topic)


class Bench:
    """The planted prompts with their x_T and truth: everything is sampled from the same noise."""

    def __init__(self, model: Model, items: list[Planted]) -> None:
        self.model = model
        self.items = [item for item in items for _ in range(DRAWS)]
        self.prompts = [item.caption for item in self.items]
        self.seeds = list(range(SEED, SEED + len(self.items)))
        self.latents = noise(model, self.seeds)
        self.truth = torch.cat([item.draw(1, SEED) for item in self.items])
        self.masks = torch.stack([item.mask() for item in self.items])

    def sample(self, condition: Any = None) -> Scored:
        given = {"condition": condition} if condition is not None else {"prompts": self.prompts}
        return self.score(self.model.sample(**given, latents=self.latents, steps=STEPS, guidance_scale=SCALE).images)

    def score(self, images: Tensor) -> Scored:
        from diffolio.metrics.memorization import layout_copy

        return Scored(images, layout_copy(images, self.truth, self.masks).tolist(), on_topic(images, self.items))

    def prss(self, technique: PRSS) -> Scored:
        with technique.on(self.model):
            return self.sample()

    def optimised(self, target: float) -> Scored:
        """Wen et al.'s baseline: the prompt embedding is descended at the first step, then plain guidance."""
        from diffolio.process.memorization import optimise_prompt

        self.model.scheduler.set_timesteps(STEPS)
        first = self.model.scheduler.timesteps[0]
        condition, _ = optimise_prompt(self.model, self.latents, first, self.model.condition(self.prompts), target=target)
        return self.sample(condition)


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio import miniatures
    from diffolio.methods.safety.prss import PRSS
    from diffolio.metrics import Judge, auroc
    from diffolio.metrics.memorization import embedding_copy
    from diffolio.miniatures.memory import planted_in
    from diffolio.models import load
    from diffolio.process.memorization import recorded_magnitudes
    from diffolio.worlds.tabletop import sample_scenes

    folder = retrained() if retrain else miniatures.folder("mini-sd-mem")
    model, items = load(str(folder) if retrain else "mini-sd-mem"), planted_in(folder)
    bench = Bench(model, [item for item in items if item.sort != "control"])
    options: dict[str, Any] = {"steps": STEPS, "guidance_scale": SCALE}
    calibration = [scene.caption for scene in sample_scenes(CALIBRATION, 410_000)]
    technique = PRSS.calibrate(model, calibration, seed=SEED + 500, paraphrases="grammar", **options)

    with recorded_magnitudes(model) as planted_magnitudes:
        plain = bench.sample()
    ours = bench.prss(technique)
    told = model.reports["prss"].samples
    curve = [bench.prss(scaled(technique, factor)) for factor in FACTORS]
    wen = [bench.optimised(target * technique.lam_ss) for target in TARGETS]
    match = matched(wen, ours)

    scenes = sample_scenes(SAFE, 420_000)
    safe, seeds = [scene.caption for scene in scenes], SEED + 1000
    with recorded_magnitudes(model) as safe_magnitudes:
        before = model.sample(safe, seed=seeds, **options).images
    with technique.on(model):
        after = model.sample(safe, seed=seeds, **options).images
    alarms = [sample.triggered for sample in model.reports["prss"].samples]
    kept = [float(torch.equal(a, b)) for a, b, alarm in zip(after, before, alarms, strict=True) if not alarm]
    controls = [item.caption for item in items if item.sort == "control"]
    with recorded_magnitudes(model) as control_magnitudes:
        model.sample(controls, seed=SEED + 2000, **options)

    detected = planted_magnitudes.first
    more = [
        Row("on topic at the same copy score, PRSS over prompt optimisation", ours.topic, match.topic, AtLeast(1.0)),
        Row("safe prompts below the threshold: bit-identical pictures", kept, bar=AtLeast(1.0)),
        Row("copy score, prompt optimisation at that point over plain", match.copy, plain.copy),
        Row("on topic, PRSS over plain", ours.topic, plain.topic),
        Row("safe prompts taken for memorised", [float(alarm) for alarm in alarms], note="thresholds set at 5% on other prompts"),
        Row("memorised prompts found", [float(sample.triggered) for sample in told]),
        Row("found by the reader in the planted pictures themselves", on_topic(bench.truth, bench.items)),
        Row("AUROC of the first step's magnitude, memorised over safe", [auroc(detected, safe_magnitudes.first)]),
        Row("AUROC of the first step's magnitude, memorised over planted once", [auroc(detected, control_magnitudes.first)]),
    ]
    if "mini-clip-b" in miniatures.available():
        judge, truth, masks = Judge.load("b"), bench.truth, bench.masks
        cosines = [embedding_copy(scored.images, truth, judge, masks).tolist() for scored in (ours, plain)]
        more.append(Row("copy score as cosine of mini-clip-b embeddings, PRSS over plain", cosines[0], cosines[1]))
    points = {
        "plain": [plain.point],
        "PRSS": [scored.point for scored in (*curve[:2], ours, *curve[2:])],
        "prompt optimisation": [scored.point for scored in wen],
    }
    return Outcome(
        Row(CLAIM.metric, ours.copy, plain.copy, CLAIM.bar),
        more,
        picture=picture(bench, {"plain guidance": plain, "prompt optimisation": match, "PRSS": ours}, points),
        seeds=f"noise {SEED}..{SEED + 2100}, safe prompts 420000, calibration 410000",
        details={
            "thresholds": technique.knobs(),
            "trade_off (copy score, on topic)": points,
            "factors_of_lam_ss": [*FACTORS[:2], 1.0, *FACTORS[2:]],
            "optimisation_targets_of_lam_ss": list(TARGETS),
            "chosen": sorted({f"{sample.prompt} -> {sample.chosen}" for sample in told}),
        },
    )


def retrained() -> Path:
    from diffolio.training.miniatures import train_miniature

    return train_miniature("mini-sd-mem", Path("runs") / "mini-sd-mem").folder / "export"


def noise(model: Model, seeds: list[int]) -> Tensor:
    """x_T (N, C, h, w), one generator a sample."""
    side = model.default_size // model.factor
    shape = (1, model.channels, side, side)
    return torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def on_topic(images: Tensor, items: list[Planted]) -> list[float]:
    """1 where the reader finds the thing of the caption in its colour. How sure it is does not matter: patterns that it was
    not made for lower that, see the row on the planted pictures themselves."""
    from diffolio.worlds.tabletop import judge, read

    verdicts = [judge(reading, item.topic, least_confidence=0) for reading, item in zip(read(images), items, strict=True)]
    return [float(verdict.both) for verdict in verdicts]


def scaled(technique: PRSS, factor: float) -> PRSS:
    from dataclasses import replace

    return replace(technique, lam_ss=technique.lam_ss * factor)


def matched(points: list[Scored], ours: Scored) -> Scored:
    """Of the baseline's points those that copy no more than PRSS, and of these the one most on topic; if none, the least copying."""
    fair = [scored for scored in points if scored.point[0] <= ours.point[0]]
    return max(fair, key=lambda scored: scored.point[1]) if fair else min(points, key=lambda scored: scored.point[0])


def picture(bench: Bench, rows: dict[str, Scored], points: dict[str, list[tuple[float, float]]]) -> Image.Image:
    """Examples on the left, the trade-off on the right."""
    from PIL import Image

    from diffolio.models.images import sheet

    show = [DRAWS * i for i in (0, 1, 3, 5, 8, 9, 11, 13)]
    columns = {"planted": bench.truth[show], **{title: scored.images[show] for title, scored in rows.items()}}
    examples, chart = sheet(columns, [bench.prompts[i] for i in show]), trade_off(points)
    chart = chart.resize((chart.width * examples.height // chart.height, examples.height))
    both = Image.new("RGB", (examples.width + chart.width, examples.height), "white")
    both.paste(examples, (0, 0))
    both.paste(chart, (examples.width, 0))
    return both


def trade_off(points: dict[str, list[tuple[float, float]]]) -> Image.Image:
    """Copy score against the share on topic; better is up and to the left."""
    import io

    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(4.6, 4.2), dpi=110, layout="tight")
    axes = figure.subplots()
    for (title, line), style in zip(points.items(), ("ks", "o-", "^--"), strict=True):
        axes.plot(*zip(*line, strict=True), style, label=title)
    axes.set(xlabel="copy score (less is better)", ylabel="on topic", ylim=(-0.03, 1.03), title="memorised prompts")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")
