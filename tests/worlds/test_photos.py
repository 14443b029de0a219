import math

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.worlds.degradations import (
    SecondOrder,
    downsample,
    filtered,
    gaussian_blur,
    gaussian_kernel,
    gaussian_noise,
    jpeg,
    motion_blur,
    motion_kernel,
    poisson_noise,
    resized,
    sinc_kernel,
)
from diffolio.worlds.photos import PHOTOS, crops, names, photo

IMAGES = crops(64, 6, 0).images


def psnr(a, b):
    return float(-10 * (a - b).square().mean().log10())


@pytest.mark.parametrize("name", names())
def test_every_photograph_is_there_and_is_one(name):
    picture = photo(name)
    assert picture.shape[0] == 3 and min(picture.shape[1:]) >= 300
    assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0.02
    grey = bool((picture[0] == picture[1]).all())
    assert grey == ("grey" in next(p for p in PHOTOS if p.name == name).shows)


def test_splits_share_no_photograph_and_keep_twins_together():
    train, held = set(names("train")), set(names("held-out"))
    assert train and held and not train & held and train | held == set(names())
    assert {"motorcycle_left", "motorcycle_right"} <= train
    assert set(crops(32, 60, 1).names) <= train
    assert set(crops(32, 60, 1, "held-out").names) == held


def test_crops_are_where_they_say_and_come_from_their_seed():
    made = crops(48, 12, 5)
    again = crops(48, 5, 5)
    assert torch.equal(made.images[:5], again.images) and made.names[:5] == again.names
    assert not torch.equal(made.images, crops(48, 12, 6).images)
    assert made.images.shape == (12, 3, 48, 48)
    for i, name in enumerate(made.names):
        left, top, right, bottom = made.boxes[i].tolist()
        assert right - left == bottom - top >= 48
        cut = photo(name)[None, :, top:bottom, left:right]
        cut = cut.flip(-1) if made.flipped[i] else cut
        cut = resized(cut, (48, 48), "bilinear")
        assert torch.allclose(cut[0], made.images[i], atol=1e-5)
    assert made.flipped.any() and not made.flipped.all()
    assert not crops(48, 12, 5, flip=False).flipped.any()
    exact = crops(48, 6, 5, scale=(1, 1))
    assert (exact.boxes[:, 2] - exact.boxes[:, 0] == 48).all()


def test_changing_a_photograph_does_not_change_the_world():
    photo("coins").zero_()
    assert photo("coins").max() > 0.5


def test_gaussian_kernels_have_their_moments():
    kernel = gaussian_kernel(2.0, 1.0, 0.0)
    steps = torch.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum().item() == pytest.approx(1)
    assert (kernel.sum(0) * steps**2).sum().item() == pytest.approx(4.0, rel=0.05)
    assert (kernel.sum(1) * steps**2).sum().item() == pytest.approx(1.0, rel=0.05)
    assert torch.allclose(gaussian_kernel(2.0, 1.0, 90.0), kernel.T, atol=1e-6)


def test_motion_blur_draws_its_line():
    point = torch.zeros(1, 3, 33, 33)
    point[..., 16, 16] = 1
    row, column = (motion_blur(point, 9)[0, 0] > 0.05).nonzero(as_tuple=True)
    assert set(row.tolist()) == {16} and len(column) == 9
    row, column = (motion_blur(point, 15, 45)[0, 0] > 0.02).nonzero(as_tuple=True)
    assert torch.corrcoef(torch.stack([row, column]).float())[0, 1] > 0.9  # clockwise: right is down
    assert motion_kernel(7, 33).sum().item() == pytest.approx(1)


def test_the_sinc_filter_passes_low_and_stops_high_frequencies():
    x = torch.arange(64.0)
    low, high = ((0.5 + 0.3 * torch.sin(w * x)).expand(1, 3, 64, 64) for w in (0.3, 2.5))
    kernel = sinc_kernel(1.4, 10)
    assert filtered(low, kernel)[..., 16:48].std() > 0.85 * low[..., 16:48].std()
    assert filtered(high, kernel)[..., 16:48].std() < 0.15 * high[..., 16:48].std()
    flat = torch.full((1, 3, 20, 20), 0.4)
    assert torch.allclose(filtered(flat, kernel), flat, atol=1e-5)


def test_noise_is_as_strong_as_it_says_and_seeded():
    flat = torch.full((4, 3, 64, 64), 0.5)
    noisy = gaussian_noise(flat, 20, 3)
    assert (noisy - flat).std().item() == pytest.approx(20 / 255, rel=0.03)
    assert torch.equal(noisy[:2], gaussian_noise(flat[:2], 20, 3))
    assert not torch.equal(noisy, gaussian_noise(flat, 20, 4)) and not torch.equal(noisy[0], noisy[1])
    shot = poisson_noise(flat, 2.0, 3)
    assert (shot - flat).std().item() == pytest.approx(math.sqrt(2.0 * 0.5 / 255), rel=0.03)
    assert (shot - flat).mean().abs() < 1e-3
    dark = poisson_noise(flat / 10, 2.0, 3)
    assert (dark - flat / 10).std() < 0.5 * (shot - flat).std()
    for made in (gaussian_noise(flat, 20, 1, grey=True), poisson_noise(flat, 1.0, 1, grey=True)):
        assert torch.allclose(made[:, 0], made[:, 2], atol=1e-6) and made.std() > 0.01


def test_stronger_degradations_do_more_harm():
    for harm in (
        [jpeg(IMAGES, q) for q in (90, 50, 10)],
        [gaussian_blur(IMAGES, s) for s in (0.6, 1.5, 4)],
        [motion_blur(IMAGES, s, 20) for s in (2, 6, 15)],
        [resized(downsample(IMAGES, f), (64, 64)) for f in (2, 4, 8)],
    ):
        scores = [psnr(IMAGES, images) for images in harm]
        assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1] + 3
        assert all(images.shape == IMAGES.shape and images.min() >= 0 and images.max() <= 1 for images in harm)


def test_the_chain_is_seeded_logged_and_alone_with_each_image():
    chain = SecondOrder(kernels=0.5)
    made, again = chain(IMAGES, 7), chain(IMAGES[:2], 7)
    assert made.images.shape == (6, 3, 16, 16)
    assert torch.equal(made.images[:2], again.images) and made.steps[:2] == again.steps
    assert not torch.equal(made.images, chain(IMAGES, 8).images)
    for steps in made.steps:
        assert sum(s.startswith("jpeg") for s in steps) == 2 and sum("noise" in s for s in steps) == 2
        assert sum(s.startswith("resize") for s in steps) == 2
    plain = downsample(IMAGES, 4)
    assert psnr(made.images, plain) < 30
    assert psnr(made.images, plain) > psnr(made.images.flip(0), plain) + 2  # degraded, but still the same picture


def test_what_cannot_be_done_is_refused():
    with pytest.raises(UnknownName, match="coins"):
        photo("coin")
    with pytest.raises(UnknownName, match="held-out"):
        crops(32, 1, 0, "heldout")
    with pytest.raises(BadInput, match="crop"):
        crops(600, 1, 0)
    with pytest.raises(BadInput, match="scales"):
        crops(32, 1, 0, scale=(0.5, 2))
    with pytest.raises(BadInput, match="quality"):
        jpeg(IMAGES, 0)
    with pytest.raises(BadInput, match="multiples"):
        downsample(IMAGES, 7)
    with pytest.raises(BadInput, match="one as"):
        gaussian_blur(IMAGES[0], 1)
    with pytest.raises(BadInput, match="blur"):
        gaussian_blur(IMAGES, 0)
    with pytest.raises(BadInput, match="motion blur"):
        motion_blur(IMAGES, 0.2)
