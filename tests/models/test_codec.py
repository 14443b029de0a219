"""Pictures to latents and back: scale, shift, gradients, bad pictures."""

from __future__ import annotations

import pytest
import torch

from diffolio.errors import BadInput, Unsupported
from diffolio.models import vae
from diffolio.models.vae import Autoencoder
from tests.models.tiny import tiny_model


def pictures(size: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("which", "scale", "shift"), [("sd", 0.18215, 0.0), ("sdxl", 0.13025, 0.0), ("pixart", 0.18215, 0.0), ("sd3", 1.5305, 0.0609)]
)
@torch.no_grad()
def test_latents_are_scaled_and_shifted(which: str, scale: float, shift: float) -> None:
    model = tiny_model(which)
    z = model.encode(pictures())
    assert z.shape == (2, model.channels, 4, 4)
    mean = model.vae.encode(pictures() * 2 - 1).latent_dist.mean
    torch.testing.assert_close(z, (mean - shift) * scale)
    want = model.vae.decode(z / scale + shift).sample / 2 + 0.5
    torch.testing.assert_close(model.decode(z), want.clamp(0, 1))


@torch.no_grad()
def test_the_posterior_is_sampled_from_its_generator() -> None:
    model = tiny_model()
    once, again, other = (model.encode(pictures(), sample=True, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    deviation = model.vae.encode(pictures() * 2 - 1).latent_dist.std * 0.18215
    assert float(((once - model.encode(pictures())) / deviation).std()) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("which", ["sd", "sd3"])
def test_gradients_pass_and_decoding_is_not_clamped_for_them(which: str) -> None:
    model = tiny_model(which)
    images = pictures().requires_grad_(True)
    z = model.encode(images)
    decoded = model.decode(10 * z)
    decoded.square().mean().backward()
    assert float(images.grad.abs().min()) >= 0  # type: ignore[union-attr]
    assert float(images.grad.abs().max()) > 0  # type: ignore[union-attr]
    with torch.no_grad():
        assert torch.equal(model.decode(10 * z.detach()), decoded.clamp(0, 1))
    (gradient,) = torch.autograd.grad(model.encode(images, sample=True, generator=torch.Generator().manual_seed(0)).sum(), images)
    assert float(gradient.abs().max()) > 0


@torch.no_grad()
def test_large_batches_are_decoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    z = torch.randn(5, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = model.decode(z)
    calls = []
    handle = model.vae.decoder.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    monkeypatch.setattr(vae, "DECODED_AT_ONCE", 2 * 32 * 32)
    try:
        torch.testing.assert_close(model.decode(z), whole, rtol=1e-4, atol=1e-5)
    finally:
        handle.remove()
    assert calls == [2, 2, 1]


@torch.no_grad()
def test_a_vae_with_statistics_by_channel() -> None:
    model = tiny_model("sdxl")
    original = model.vae.config
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.0, 2.0, 3.0, 4.0]
    try:
        model.vae.register_to_config(latents_mean=mean, latents_std=std)
        z = model.encode(pictures())
        plain = model.vae.encode(pictures() * 2 - 1).latent_dist.mean
        column = (1, 4, 1, 1)
        torch.testing.assert_close(z, (plain - torch.tensor(mean).view(column)) * 0.13025 / torch.tensor(std).view(column))
        torch.testing.assert_close(model.decode(z), (model.vae.decode(plain).sample / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-5)
    finally:
        model.vae._internal_dict = original


@pytest.mark.parametrize(
    ("images", "need"),
    [
        (torch.zeros(3, 32, 32), "B, 3, H, W"),
        (torch.zeros(1, 1, 32, 32), "B, 3, H, W"),
        (torch.zeros(1, 3, 30, 32), "multiples of 8"),
        (torch.zeros(0, 3, 32, 32), "at least one"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "255"),
        (torch.full((1, 3, 32, 32), 200.0), r"\[0, 1\]"),
        (torch.full((1, 3, 32, 32), -1.0), r"\[0, 1\]"),
        (torch.full((1, 3, 32, 32), torch.nan), r"\[0, 1\]"),
    ],
)
def test_bad_pictures(images: torch.Tensor, need: str) -> None:
    with pytest.raises(BadInput, match=need):
        tiny_model().encode(images)


def test_other_autoencoders_are_refused() -> None:
    with pytest.raises(Unsupported, match="AutoencoderKL"):
        Autoencoder(torch.nn.Identity(), 8)
