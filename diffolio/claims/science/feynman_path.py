"""Noise in sampling against the ODE: does a little of it help an imperfect score, and does the first-order theory foretell it?"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffolio import miniatures
from diffolio.claims.base import AtMost, Claim, Outcome, Row

if TYPE_CHECKING:
    from PIL import Image

    from diffolio.nets.mlp import ScoreMLP

CLAIM = Claim(
    method="feynman_path",
    metric="Wasserstein-2 distance to the data, trained MLP scores on swiss roll and 25 Gaussians, h = 0.1 / h = 0 (ODE)",
    paper_says="the WKB correction of the NLL is negative and agrees in sign with a fall of the 2-Wasserstein distance at small h",
    bar=AtMost(0.97),
    world="points",
    model="points-scores",
    weights=("mini-sd", "mini-clip-b"),
)
DATA, SEEDS = ("swiss_roll", "gaussians25"), (10_000_001, 10_000_002, 10_000_003)
TRAINING, SHORT = 20_000, 1000  # steps; the paper's run is of about 80,000
N, TRIALS, STEPS, PATHS = 1500, 2, 1000, 48
HS = (0.0, 0.1, 0.2)


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.methods.science.feynman_path import FeynmanPath, h_sample, w2_curve
    from diffolio.metrics.wasserstein import wasserstein2
    from diffolio.process.sde import Simple
    from diffolio.training.points import train_score
    from diffolio.worlds.points import points

    sde, solver = Simple(), FeynmanPath()
    networks = scores(retrain)
    short = {name: train_score(points(name, 3000, SEEDS[0]), sde, seed=SEEDS[0], steps=SHORT) for name in DATA}
    fresh = {name: points(name, N, 500) for name in DATA}
    curves = {key: w2_curve(model, sde, fresh[key[0]], HS, TRIALS, STEPS, seed=600) for key, model in networks.items()}
    paths = {key: solver(model, sde, points(key[0], PATHS, 700)) for key, model in networks.items()}
    early = {name: w2_curve(model, sde, fresh[name], HS[:2], 1, STEPS, seed=600) for name, model in short.items()}
    early_paths = {name: solver(model, sde, points(name, PATHS, 700)) for name, model in short.items()}

    slopes = {key: found.slope[found.kept] for key, found in paths.items() if found.slope is not None}
    means = {key: float(values.mean()) for key, values in slopes.items()}
    changes = {key: float(curve[1].mean() - curve[0].mean()) for key, curve in curves.items()}
    agree = [float((means[key] < 0) == (changes[key] < 0)) for key in curves]
    agree += [float((early_paths[n].as_dict()["slope"] < 0) == bool(early[n][1] < early[n][0])) for n in DATA]

    def column(h: int, name: str | None = None) -> list[float]:
        return [float(v) for key, curve in curves.items() if name in (None, key[0]) for v in curve[h]]

    rows = [
        Row("mean d NLL/dh at h = 0 over the data, per network", list(means.values()), bar=AtMost(0.0)),
        Row(
            "Gaussian with a wrong score: largest relative error of d NLL/dh to the closed form",
            [gaussian_error()],
            bar=AtMost(1e-3),
        ),
        Row("Gaussian with the exact score: |mean d NLL/dh|", [exact_slope()], bar=AtMost(1e-4)),
        Row(
            "1-D mixture with a distorted score: largest relative error to the density on a grid",
            [mixture_error()],
            bar=AtMost(0.02),
        ),
    ]
    for name in DATA:
        rows.append(Row(f"W2 h = 0.1 / h = 0, {name}", column(1, name), column(0, name)))
        rows.append(Row(f"mean d NLL/dh, {name}", [value for key, value in means.items() if key[0] == name]))
        rows.append(
            Row(
                f"W2 h = 0.1 / h = 0, {name}, after {SHORT} steps of training only",
                early[name][1].tolist(),
                early[name][0].tolist(),
            )
        )
        rows.append(Row(f"mean d NLL/dh, {name}, after {SHORT} steps of training only", [early_paths[name].as_dict()["slope"]]))
    rows += [
        Row("W2 h = 0.2 / h = 0", column(2), column(0)),
        Row("squared W2 (the released code's figure) h = 0.1 / h = 0", [v**2 for v in column(1)], [v**2 for v in column(0)]),
        Row("d NLL/dh and the change of W2 have the same sign (share of networks, short runs too)", agree),
        Row("W2 between two draws of the data, the least there is", [wasserstein2(points(n, N, 501), fresh[n]) for n in DATA]),
        *pictures(),
    ]
    shown = {name: networks[name, SEEDS[0]] for name in DATA}
    samples = {(name, h): h_sample(model, sde, N, h, STEPS, seed=600) for name, model in shown.items() for h in HS[:2]}
    return Outcome(
        Row(CLAIM.metric, column(1), column(0), CLAIM.bar),
        more=rows,
        picture=figure(fresh, samples, {key: curve.mean(1) for key, curve in curves.items()}, slopes),
        seeds=f"training {SEEDS[0]}..{SEEDS[-1]}; data 500, 501, 700; noise 600..{599 + TRIALS}",
        notes=f"{len(SEEDS)} networks a set, {TRAINING} steps of Adam each (about a quarter of the paper's), {N} points, {TRIALS} trials.",
        details={f"{name} {seed}": found.as_dict() for (name, seed), found in paths.items()},
    )


def scores(retrain: bool = False) -> dict[tuple[str, int], ScoreMLP]:
    """The score networks by (data set, seed): the bundled ones, or trained (a minute each on one core) where they are missing."""
    from diffolio.process.sde import Simple
    from diffolio.training.points import load_scores, train_score
    from diffolio.worlds.points import points

    keys = [(name, seed) for seed in SEEDS for name in DATA]
    if retrain or "points-scores" not in miniatures.available():
        return {(name, seed): train_score(points(name, 3000, seed), Simple(), seed=seed, steps=TRAINING) for name, seed in keys}
    bundled = load_scores(miniatures.folder("points-scores"))
    return {(name, seed): bundled[f"{name}-{seed}"] for name, seed in keys}


def bundle() -> None:
    """Train the networks and write them as the bundled ones."""
    from diffolio.training.points import save_scores

    made = {"sde": "simple", "data": DATA, "seeds": SEEDS, "steps": TRAINING, "batch": 512, "rate": 1e-3}
    networks = {f"{name}-{seed}": model for (name, seed), model in scores(retrain=True).items()}
    save_scores(networks, miniatures.WEIGHTS / "points-scores", {**made, "command": f"{__name__}.bundle()"})


def gaussian_error() -> float:
    """Data N(0, 0.25), score -x / (1.2 P_t) with P_t the true variance: WKB against the sampler's own variance, by a fine ODE."""
    from scipy.integrate import solve_ivp

    from diffolio.methods.science.feynman_path import path_nll
    from diffolio.process.sde import Simple

    sde = Simple()

    def nll(x: np.ndarray, h: float) -> np.ndarray:
        def slope(t: float, v: np.ndarray) -> np.ndarray:
            p = 0.25 * math.exp(-10 * t**2) + 1 - math.exp(-10 * t**2)
            return -20 * t * v + (1 + h) * 20 * t * v / (1.2 * p) - h * 20 * t

        v = solve_ivp(slope, (1.0, 0.01), [1.0], rtol=1e-11, atol=1e-13).y[0, -1]
        return 0.5 * np.log(2 * np.pi * v) + x**2 / (2 * v)

    x = torch.tensor([[0.0], [0.3], [0.7], [-0.5]], dtype=torch.float64)
    found = path_nll(lambda x, t: -x / (1.2 * (0.25 * sde.alpha(t) ** 2 + sde.sigma(t) ** 2)), sde, x).slope
    at, e = x[:, 0].numpy(), 1e-4
    closed = (-3 * nll(at, 0) + 4 * nll(at, e) - nll(at, 2 * e)) / (2 * e)
    return float(np.abs(found.numpy() / closed - 1).max()) if found is not None else math.nan


def exact_slope() -> float:
    """The same data with the exact score: nothing should depend on h."""
    from diffolio.methods.science.feynman_path import path_nll
    from diffolio.process.sde import Simple

    sde = Simple()
    x = 0.5 * torch.randn(64, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(701))
    slope = path_nll(lambda x, t: -x / (0.25 * sde.alpha(t) ** 2 + sde.sigma(t) ** 2), sde, x).slope
    return float(slope.mean().abs()) if slope is not None else math.nan


def mixture_error() -> float:
    """Two Gaussians, 0.9 of their score plus a ripple: the slope against NLLs of the sampler's density at h = 0, 0.0025 and 0.005."""
    from diffolio.methods.science.feynman_path import path_nll
    from diffolio.process.fokker_planck import sampler_density
    from diffolio.process.sde import Simple
    from diffolio.worlds.points import GaussianMixture

    sde = Simple()
    means, stds, weights = (torch.tensor(v, dtype=torch.float64) for v in ([[-0.8], [0.6]], [0.3, 0.4], [0.4, 0.6]))
    mixture = GaussianMixture(means, stds, weights)

    def score(x: Tensor, t: Tensor) -> Tensor:
        return 0.9 * mixture.score(x, sde.alpha(t), sde.sigma(t)) + 0.2 * torch.sin(2 * x)

    x = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None]
    found = path_nll(score, sde, x).slope
    nll = []
    for h in (0.0, 0.0025, 0.005):
        grid, q = sampler_density(score, sde, h, reach=6.0, cells=3000, steps=600)
        nll.append(-np.interp(x[:, 0], grid, np.log(q.clip(1e-12))))
    slope = (-3 * nll[0] + 4 * nll[1] - nll[2]) / 0.005
    return float(np.abs(found.numpy() / slope - 1).max()) if found is not None else math.nan


def pictures() -> list[Row]:
    """Frechet distance of mini-sd's pictures to true renders at 50 steps, by h; nothing where the weights are missing."""
    if not {"mini-sd", "mini-clip-b"} <= set(miniatures.available()):
        return []
    from diffolio.methods.science.feynman_path import h_sampling
    from diffolio.metrics import Judge, frechet_distance
    from diffolio.metrics.compliance import compliance, held_out
    from diffolio.models import load
    from diffolio.worlds.tabletop import render

    model, judge, n = load("mini-sd"), Judge.load("b"), 16
    scenes, true = held_out(n, 1, seed=930_000), held_out(8 * n, 1, seed=931_000)
    with torch.no_grad():
        reference = judge.features(render(true).images)
        found = {}
        for h in (0.0, 0.1, 0.3, 1.0):
            with h_sampling(model, h):
                images = model.sample([scene.caption for scene in scenes], seed=610, steps=50).images
            found[h] = (frechet_distance(judge.features(images), reference), compliance(images, scenes).both.mean())
    rows = [Row(f"mini-sd, FD at h = {h:g} / h = 0 ({n} pictures)", [found[h][0]], [found[0.0][0]]) for h in (0.1, 0.3, 1.0)]
    return [*rows, *(Row(f"mini-sd, kind and colour right at h = {h:g}", [float(found[h][1])]) for h in found)]


def figure(
    data: dict[str, Tensor],
    samples: dict[tuple[str, float], Tensor],
    curves: dict[tuple[str, int], Tensor],
    slopes: dict[tuple[str, int], Tensor],
) -> Image.Image:
    """A row per data set: the data, samples of the ODE and at h = 0.1, W2 against h for every network, histogram of slopes."""
    from matplotlib.figure import Figure
    from PIL import Image

    drawing = Figure(figsize=(15, 6), layout="constrained")
    axes = drawing.subplots(len(data), 5)
    for row, (name, points) in zip(axes, data.items(), strict=True):
        clouds: list[tuple[str, Tensor]] = [
            (f"{name}: data", points),
            *((f"samples, h = {h:g}", samples[name, h]) for h in HS[:2]),
        ]
        for axis, (title, cloud) in zip(row, clouds, strict=False):
            axis.scatter(cloud[:, 0], cloud[:, 1], s=1.5, linewidths=0)
            axis.set(title=title, xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal", xticks=[], yticks=[])
        for (which, seed), curve in curves.items():
            if which == name:
                row[3].plot(HS, curve / curve[0], marker="o", label=f"seed {seed}")
        row[3].axhline(1, color="grey", linewidth=0.8)
        row[3].set(title="W2 to the data, over that of the ODE", xlabel="noise h")
        row[3].legend(fontsize=7)
        every = torch.cat([values for (which, _), values in slopes.items() if which == name])
        row[4].hist(every.clamp(-60, 60).numpy(), bins=40)
        row[4].axvline(float(every.mean()), color="black", linestyle="--")
        row[4].set(title=f"d NLL/dh at data points, mean {float(every.mean()):.2f}", xlabel="below 0: noise helps (ends clamped)")
    buffer = io.BytesIO()
    drawing.savefig(buffer, dpi=70)
    return Image.open(buffer).convert("RGB")
