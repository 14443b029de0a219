import numpy as np
import pytest
import torch

from diffolio.errors import BadInput
from diffolio.metrics import auroc, frechet_distance, mean_interval, mse, psnr, ratio_interval, ssim


def test_paired_ratio_is_tighter_than_unpaired():
    rng = np.random.default_rng(0)
    baseline = rng.uniform(1, 10, 200)
    method = 0.8 * baseline + rng.normal(0, 0.05, 200)
    paired, unpaired = ratio_interval(method, baseline), ratio_interval(method, baseline, paired=False)
    assert paired.value == pytest.approx(method.mean() / baseline.mean())
    assert paired.low < 0.8 < paired.high
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)


def test_interval_covers_the_mean_about_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = sum(i.low <= 0 <= i.high for i in (mean_interval(rng.normal(size=60), draws=500) for _ in range(200)))
    assert 180 <= hits <= 200


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(BadInput, match="not finite"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(BadInput, match="cannot be paired"):
        ratio_interval([1, 2], [1, 2, 3])


def test_auroc_of_known_order():
    assert auroc([2, 3], [0, 1]) == 1.0
    assert auroc([0, 3], [1, 2]) == 0.5


def test_frechet_distance_of_gaussians_in_closed_form():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(20000, 3, generator=g, dtype=torch.float64)
    b = 2 * torch.randn(20000, 3, generator=g, dtype=torch.float64) + torch.tensor([1.0, 0.0, 0.0])
    assert frechet_distance(a, b) == pytest.approx(1 + 3 * (1 + 4 - 4), rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def test_masked_error_sees_the_masked_pixels_only():
    a, b = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    b[:, :, :4] = 0.5
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, :4] = True
    assert mse(a, b, mask).item() == pytest.approx(0.25)
    assert mse(a, b, ~mask).item() == 0
    assert psnr(a, b).item() == pytest.approx(-10 * np.log10(0.125), rel=1e-5)
    assert ssim(b, b).item() == pytest.approx(1)
    with pytest.raises(BadInput, match="equal shapes"):
        mse(a, b[..., :4])
