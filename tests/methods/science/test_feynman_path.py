"""How noise changes the likelihood: against closed forms, a density on a grid, and by two independent ways; eta on real pipelines."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from diffolio.errors import BadInput, BadKnob, NotFinite, Unsupported
from diffolio.methods.science.feynman_path import FeynmanPath, h_sample, h_sampling, latent_bits, path_nll, w2_curve
from diffolio.nets.mlp import ScoreMLP
from diffolio.process.fokker_planck import sampler_density
from diffolio.process.sampling import generators
from diffolio.process.sde import Cosine, Simple
from diffolio.results import Job
from diffolio.worlds.points import GaussianMixture
from tests.models.tiny import tiny_model

SIMPLE = Simple()
POINTS = torch.tensor([[0.3], [0.7]])
PROMPTS = ["a red fish", "a blue house"]


def wrong_gaussian(x, t, factor=1.2):
    """The score of N(0, 0.25) noised, as if its variance were ``factor`` times what it is."""
    return -x / (factor * (0.25 * SIMPLE.alpha(t) ** 2 + SIMPLE.sigma(t) ** 2))


def closed_form_variance(h, factor=1.2):
    """Variance at t = 0.01 of the h-sampler with that score: dV/dt = 2 f V + (1 + h) g^2 V / (factor P) - h g^2, V(1) = 1."""

    def slope(t, v):
        p = 0.25 * np.exp(-10 * t**2) + 1 - np.exp(-10 * t**2)
        return -20 * t * v + (1 + h) * 20 * t * v / (factor * p) - h * 20 * t

    return solve_ivp(slope, (1.0, 0.01), [1.0], rtol=1e-11, atol=1e-13).y[0, -1]


def closed_form_nll(x, h):
    v = closed_form_variance(h)
    return 0.5 * np.log(2 * np.pi * v) + np.asarray(x) ** 2 / (2 * v)


@pytest.mark.parametrize("method", ["transport", "stencil"])
def test_a_gaussian_with_a_wrong_score_meets_its_closed_form(method):
    """Also guards two traps: the stencil's boundary term x_T . y_T, and grad log q of the model in place of its score."""
    found = path_nll(wrong_gaussian, SIMPLE, POINTS, method=method, steps=32 if method == "transport" else 8)
    x, e = POINTS[:, 0].numpy(), 1e-4
    slope = (-3 * closed_form_nll(x, 0) + 4 * closed_form_nll(x, e) - closed_form_nll(x, 2 * e)) / (2 * e)
    np.testing.assert_allclose(found.nll, closed_form_nll(x, 0), rtol=1e-3)
    np.testing.assert_allclose(found.slope, slope, rtol=1e-3)
    np.testing.assert_allclose(found.slope, [-2.0747, -1.5500], rtol=1e-3)
    assert bool((found.error < 0.03).all())


def test_the_sampler_has_the_closed_forms_variance():
    """Mean NLL over the data 1.2502, 1.1630, 1.0879, 0.8146, 0.7607 at h = 0, 0.05, 0.1, 0.5, 1 (by a coarser integration)."""
    p = 0.25 * math.exp(-1e-3) + 1 - math.exp(-1e-3)
    for h, expected in ((0.0, 1.2502), (0.05, 1.1630), (0.1, 1.0879), (0.5, 0.8146), (1.0, 0.7607)):
        v = closed_form_variance(h)
        assert 0.5 * math.log(2 * math.pi * v) + p / (2 * v) == pytest.approx(expected, abs=3e-3)
        if h in (0.0, 0.5):
            drawn = h_sample(wrong_gaussian, SIMPLE, 20000, h, 300, seed=1, dimensions=1)
            assert float(drawn.var()) == pytest.approx(v, rel=0.04)


@pytest.mark.parametrize("sde", [SIMPLE, Cosine()], ids=["simple", "cosine"])
def test_with_an_exact_score_noise_changes_nothing(sde):
    """What is left is the gap between N(0, I) and the data at the last time, of the order of alpha squared there."""
    x = torch.tensor([[0.3, -0.2], [1.1, 0.6]])
    assert float(path_nll(lambda x, t: -x, sde, x, steps=8).slope.abs().max()) < 1e-9, "unit Gaussian: no gap"

    def gaussian(x, t):
        return -x / (0.25 * sde.alpha(t) ** 2 + sde.sigma(t) ** 2)

    slope = path_nll(gaussian, sde, torch.tensor([[0.5], [-0.5], [1.1]]), steps=32).slope
    assert float(slope[:2].abs().max()) < 1e-4, "one deviation from the mean, where NLL has its average over the data"
    assert float(slope.abs().max()) < 1e-3


def test_with_an_exact_mixture_score_noise_changes_nothing():
    half = torch.full((2,), 0.5, dtype=torch.float64)
    mixture = GaussianMixture(torch.tensor([[-0.5, 0.0], [0.5, 0.0]]).double(), half, half)
    x = torch.tensor([[0.3, -0.2], [1.1, 0.6]])
    exact = path_nll(lambda x, t: mixture.score(x, SIMPLE.alpha(t), SIMPLE.sigma(t)), SIMPLE, x, steps=24)
    assert float(exact.slope.abs().max()) < 1e-3


def test_a_mixture_with_a_distorted_score_meets_the_density_on_a_grid():
    mixture = GaussianMixture(
        torch.tensor([[-0.8], [0.6]]).double(), torch.tensor([0.3, 0.4]).double(), torch.tensor([0.4, 0.6]).double()
    )

    def score(x, t):
        return 0.9 * mixture.score(x, SIMPLE.alpha(t), SIMPLE.sigma(t)) + 0.2 * torch.sin(2 * x)

    x = torch.tensor([[-0.9], [-0.4], [0.1], [0.6], [1.0]])
    found = path_nll(score, SIMPLE, x, steps=32)
    nll = {}
    for h in (0.0, 0.0025, 0.005):
        grid, q = sampler_density(score, SIMPLE, h, reach=6.0, cells=2000, steps=300)
        nll[h] = -np.interp(x[:, 0], grid, np.log(q.clip(1e-12)))
    np.testing.assert_allclose(found.nll, nll[0.0], atol=2e-3)
    slope = (-3 * nll[0.0] + 4 * nll[0.0025] - nll[0.005]) / 0.005
    np.testing.assert_allclose(found.slope, slope, rtol=0.02)


def test_transport_and_stencil_agree_on_a_network():
    torch.manual_seed(0)
    model = ScoreMLP(width=16)
    x = torch.tensor([[0.4, -0.3]])
    sweep, stencil = (path_nll(model, SIMPLE, x, method=m, steps=n) for m, n in (("transport", 16), ("stencil", 6)))
    assert abs(float(sweep.slope)) > 0.5
    assert float(stencil.slope) == pytest.approx(float(sweep.slope), rel=0.06)
    assert next(model.parameters()).dtype == torch.float32, "the caller's network is left alone"


def test_the_radius_of_validity_is_told():
    found = path_nll(wrong_gaussian, SIMPLE, POINTS, steps=16)
    torch.testing.assert_close(found.radius * found.slope.abs(), torch.full((2,), 0.1, dtype=torch.float64))
    assert "radius_median 0.04" in str(found)
    # Inside the radius the first order holds to a few percent of the change; at h = 1 it would be off by far.
    h = float(found.radius[0]) / 2
    change = closed_form_nll(0.3, h) - closed_form_nll(0.3, 0)
    assert float(found.at(h)[0] - found.nll[0]) == pytest.approx(change, rel=0.1)
    assert abs(float(found.at(1.0)[0]) - closed_form_nll(0.3, 1)) > 1


def test_paths_that_leave_are_dropped_and_counted():
    def pushing(x, t):
        return torch.where(x > 1, 40.0, 0.0) * x - x

    found = FeynmanPath(steps=16)(lambda x, t: -pushing(x, t), SIMPLE, torch.tensor([[0.2], [1.5]]))
    assert found.dropped == 1
    assert found.kept.tolist() == [True, False]
    assert math.isnan(float(found.nll[1])) and math.isnan(float(found.slope[1]))
    assert found.as_dict()["dropped"] == 1
    assert math.isfinite(found.as_dict()["nll"])


def test_order_zero_has_no_limit_of_dimensions_and_no_slope():
    x = torch.zeros(2, 70)
    found = FeynmanPath(order=0, steps=8)(lambda x, t: -x, SIMPLE, x)
    torch.testing.assert_close(found.nll, torch.full((2,), 35 * math.log(2 * math.pi), dtype=torch.float64))
    assert found.slope is None
    with pytest.raises(BadInput, match="order=1"):
        found.at(0.1)
    with pytest.raises(BadInput, match="64 or less"):
        FeynmanPath(order=1)(lambda x, t: -x, SIMPLE, x)


def test_w2_against_h_shares_noise_between_columns():
    reference = 0.5 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    curve = w2_curve(wrong_gaussian, SIMPLE, reference, (0.0, 0.5, 0.5), trials=2, steps=50)
    assert curve.shape == (3, 2)
    assert torch.equal(curve[1], curve[2])
    assert bool((curve[1] < curve[0]).all()), "noise mends this wrong score"


def test_bad_input():
    with pytest.raises(BadKnob, match="at least 0"):
        FeynmanPath(h=-0.1)
    with pytest.raises(BadKnob, match="one of"):
        FeynmanPath(order=2)
    with pytest.raises(BadInput, match="1 outside"):
        path_nll(wrong_gaussian, SIMPLE, torch.tensor([[0.1], [9.0]]))
    with pytest.raises(BadInput, match=r"\(N, D\)"):
        path_nll(wrong_gaussian, SIMPLE, torch.zeros(3))
    with pytest.raises(Unsupported, match="continuous-time"):
        path_nll(wrong_gaussian, [0.1, 0.9], POINTS)
    with pytest.raises(BadInput, match="zero or above"):
        h_sample(wrong_gaussian, SIMPLE, 3, -1.0)
    with pytest.raises(NotFinite, match="steps"):
        w2_curve(lambda x, t: x * torch.inf, SIMPLE, torch.zeros(3, 1), (0.0,), trials=1, steps=2)


def eta_call(model, eta):
    return model.pipeline(
        PROMPTS, num_inference_steps=2, guidance_scale=4.0, generator=generators(5, 2), eta=eta, output_type="latent",
        height=128, width=128, **({"use_resolution_binning": False} if "pixart" in model.kinds else {}),
    ).images  # fmt: skip


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart"])
def test_h_is_ddims_eta_squared_on_real_pipelines(which):
    """h = 0 and h = 1 equal the pipeline's own eta = 0 and eta = 1 calls, bit for bit; afterwards nothing is left."""
    model = tiny_model(which)

    def sample():
        return model.sample(PROMPTS, seed=5, steps=2, guidance_scale=4.0, height=128, width=128).latents

    plain = sample()
    for h in (0.0, 1.0):
        with h_sampling(model, h):
            assert torch.equal(sample(), eta_call(model, 0.7)), "within the block h decides, whatever the caller says"
            inside = sample()
        assert torch.equal(inside, eta_call(model, math.sqrt(h)))
        assert torch.equal(inside, plain) == (h == 0)
    with pytest.raises(RuntimeError), h_sampling(model, 0.5):
        raise RuntimeError
    assert "prepare_extra_step_kwargs" not in vars(model.pipeline)
    assert torch.equal(sample(), plain)


def test_pipelines_without_eta_are_refused():
    with pytest.raises(Unsupported, match="eta"), h_sampling(tiny_model("sd3"), 0.1):
        pass
    with pytest.raises(BadInput, match="zero or above"), h_sampling(tiny_model("sd"), -1.0):
        pass
    with pytest.raises(Unsupported, match="alphas_cumprod"):
        latent_bits(tiny_model("sd3"), torch.zeros(1, 16, 16, 16), PROMPTS[:1])


def test_run_shows_both_and_tells_the_likelihood_of_an_image():
    image = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    job = Job(tiny_model("sd"), PROMPTS[:1], image=image, steps=2, guidance_scale=4.0, height=128, width=128)
    result = FeynmanPath(h=0.25, steps=4).run(job)
    assert list(result.images) == ["h = 0", "h = 0.25"]
    assert result.numbers["eta"] == 0.5
    assert result.numbers["rms_difference"] > 0
    assert math.isfinite(result.numbers["bits_per_dimension_of_image"])
    with pytest.raises(Unsupported):
        FeynmanPath().run(Job(tiny_model("sd3"), PROMPTS[:1]))
