"""The objectives behind the models of tokens: where they start, that they learn and draw by step, and what they write."""

import pytest
import torch

from diffolio import miniatures, models
from diffolio.metrics import psnr
from diffolio.miniatures.latents import encode_with
from diffolio.miniatures.tokenizers import MiniBitwiseTokenizer, MiniVQTokenizer, tokens_of
from diffolio.miniatures.var import MiniVAR
from diffolio.miniatures.vq import MiniVQ, hide
from diffolio.worlds.tabletop import render, sample_scenes


@pytest.fixture(scope="module")
def vae():
    from diffusers import AutoencoderKL

    found = AutoencoderKL.from_pretrained(miniatures.folder("mini-vae"), torch_dtype=torch.float32)
    return found.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def few_codes():
    """A tokenizer objective with a small codebook, so that k-means takes no time."""

    class Few(MiniVQTokenizer):
        codes, batch = 64, 4

    return Few


@pytest.fixture(scope="module")
def vq(vae, few_codes):
    torch.manual_seed(0)
    return few_codes(vae, scenes=24)


@pytest.fixture(scope="module")
def bitwise(vae):
    torch.manual_seed(0)
    made = MiniBitwiseTokenizer(vae, scenes=24)
    made.batch, made.latent_batch = 4, 8
    return made


def steps_of(made, n, rate, start=0):
    parameters = [p for m in made.modules.values() for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, rate)
    for step in range(n):
        optimizer.zero_grad()
        made.loss(start + step % 2, torch.Generator().manual_seed(step % 2))[0].backward()
        optimizer.step()


def value(made, step=0):
    return float(made.loss(step, torch.Generator().manual_seed(0))[0].detach())


@torch.no_grad()
def test_the_vq_tokenizer_starts_from_mini_vae(vae, vq):
    images = render(sample_scenes(8, 900_123), 64).images
    tokens = tokens_of(vq.vqvae, images)
    assert tokens.shape == (8, 16, 16) and tokens.max() < 64 and tokens.unique().numel() > 20
    latents = vq.vqvae.encode(images).latents
    std, mean = latents.std(), latents.mean()
    assert 0.5 < std < 2 and abs(float(mean)) < 0.5, "the codebook's space is whitened"
    plain = vae.encode(images * 2 - 1).latent_dist.mean
    inside = vq.vqvae.post_quant_conv(latents)[..., 4:-4, 4:-4]
    apart = (inside - vae.post_quant_conv(plain)[..., 4:-4, 4:-4]).abs().mean()
    assert apart < 0.02 * plain.std(), "the same but for the border"
    assert psnr(vq.vqvae(images).sample, images).mean() > 22


@torch.no_grad()
def test_the_bitwise_tokenizer_starts_from_mini_vae(vae, bitwise):
    images = render(sample_scenes(4, 900_124), 64).images
    net = bitwise.autoencoder
    plain = vae.encode(images * 2 - 1).latent_dist.mean
    std, mean = torch.std_mean(vae.encode(render(bitwise_scenes(), 64).images * 2 - 1).latent_dist.mean, (0, 2, 3))
    white = (plain - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(net.encoder(images * 2 - 1), white, atol=1e-3)
    assert torch.allclose(net.decoder(vae.post_quant_conv(plain)), vae.decode(plain).sample, atol=1e-4)


def bitwise_scenes():
    from diffolio.miniatures.vae import RICH, TRAIN_SEED

    return sample_scenes(24, TRAIN_SEED, RICH)


def test_tokenizers_learn(vq, bitwise, tmp_path):
    first = value(vq)
    assert first == value(vq)
    steps_of(vq, 8, 1e-4)
    assert value(vq) < first
    early, late = value(bitwise), value(bitwise, bitwise.latent_steps)
    assert early == value(bitwise)
    steps_of(bitwise, 25, 2e-3)
    assert value(bitwise) < 0.9 * early
    assert value(bitwise, bitwise.latent_steps) < late, "what is learned from latents serves for pictures"


def test_hidden_shares_are_a_cosine_and_stratified():
    hidden = hide(torch.Size((64, 16, 16)), torch.Generator().manual_seed(0))
    shares = hidden.float().mean((1, 2))
    expected = torch.cos((torch.arange(64) + 0.5) / 64 * torch.pi / 2)
    assert (shares - expected).abs().max() < 0.03 and (shares.diff() < 0.01).all()
    assert hidden.flatten(1).any(1).all(), "at least one token is hidden"


@pytest.mark.parametrize("which", ["vq", "var"])
def test_an_objective_learns_draws_by_step_and_exports(which, vq, bitwise, tmp_path):
    torch.manual_seed(0)
    made = MiniVQ(vq.vqvae, scenes=0) if which == "vq" else MiniVAR(bitwise.autoencoder, scenes=0)
    scenes = sample_scenes(16, 5)
    encode = (lambda x: tokens_of(vq.vqvae, x).short()) if which == "vq" else (lambda x: bitwise.autoencoder.encode(x).half())
    made.data, made.batch = encode_with(encode, scenes), 8
    first = value(made)
    assert first == value(made)
    assert made.loss(0, torch.Generator().manual_seed(1))[0] != first
    steps_of(made, 10, 2e-3)
    assert value(made) < 0.95 * first
    made.export(tmp_path / which)
    assert {p.name for p in (tmp_path / which).iterdir()} >= {"model_index.json", "transformer", "text_encoder", "tokenizer"}
    assert sum(p.stat().st_size for p in (tmp_path / which).rglob("*")) < 6e6
    model = models.load(str(tmp_path / which))
    with torch.no_grad():
        for module in made.modules.values():
            module.half().float()  # the file holds half precision
        states, pooled = made.encode(["a red ball"])
    row = list(model.condition("a red ball")["cond"].values())
    assert torch.allclose(row[0], states, atol=1e-5) and torch.allclose(row[1], pooled, atol=1e-5)
    assert model.sample("a red ball", steps=2, seed=0).images.shape == (1, 3, 64, 64)


def test_flips_are_in_the_sums_and_not_in_the_labels(bitwise):
    made = MiniVAR(bitwise.autoencoder, scenes=0)
    made.batch = 6
    flips = made.flipped(torch.Generator().manual_seed(0))
    assert [f.shape for f in flips] == [(6, 10, s, s) for s in (1, 2, 4, 8, 16)]
    shares = flips[-1].float().mean((1, 2, 3))
    assert (shares <= made.flips + 0.02).all() and shares.unique().numel() == 6


def test_a_transformer_without_its_tokenizer_says_what_to_do(tmp_path, monkeypatch):
    from diffolio.errors import BadInput
    from diffolio.training.miniatures import PLANS

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(miniatures, "available", list)
    for name in ("mini-vq", "mini-var"):
        with pytest.raises(BadInput, match=f"diffolio train {name}-tokenizer"):
            PLANS[name].make()
