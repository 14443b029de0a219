"""DICE: exact inversion on any weights, the equations against a reference, and what an edit may not do."""

import copy
from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, Unsupported
from diffolio.methods.editing import dice
from diffolio.methods.editing.dice import Dice, edit_multinomial, edit_tokens, invert_multinomial, invert_tokens, levels
from diffolio.models import Model
from diffolio.process.discrete import gumbel, uniform
from diffolio.process.multinomial import MaskAndReplace
from diffolio.process.sampling import generators
from diffolio.registry import make
from tests.models.tiny import tiny_amused, tiny_sd

PROMPTS = ["a red fish", "a blue house"]
EXACT = Dice(steps=6, renoise=5, l1=1.0, l2=0.0, anchor="onehot", guidance=3.0)


@pytest.fixture(scope="module")
def model():
    return Model(tiny_amused())


def tokens(n=2, codes=24, shape=(8, 8), seed=0):
    return torch.randint(codes, (n, *shape), generator=torch.Generator().manual_seed(seed))


def network(codes=6, seed=3, bend=0.0):
    """Logits that depend on all positions; the last id is the mask. ``bend`` stands for another condition."""
    table = torch.randn(codes + 1, codes, generator=torch.Generator().manual_seed(seed)) * 3

    def denoise(x, t):
        own = table[x].movedim(-1, 1)
        return own + own.mean(-1, keepdim=True).roll(1, 1) * (1 + bend) + 0.1 * t

    return denoise


@pytest.mark.parametrize("tau", [0.3, 1.0])
@pytest.mark.parametrize("guidance", [1.0, 10.0])
def test_the_onehot_anchor_recovers_every_token_with_any_weights(model, tau, guidance):
    how = replace(EXACT, tau=tau, guidance=guidance)
    x = tokens()
    record = how.invert(model, x, PROMPTS, seed=1)
    assert torch.equal(how.edit(model, record, PROMPTS, seed=77), x)


def test_roberta_recovers_its_sentence():
    from transformers import RobertaConfig, RobertaForMaskedLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = RobertaForMaskedLM(
            RobertaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                          max_position_embeddings=20)
        ).eval()  # fmt: skip
    x = torch.randint(3, 39, (2, 9), generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def denoise(ids, t):
        return net(ids).logits.movedim(-1, 1)

    for dtype in (torch.float32, torch.bfloat16):
        net.to(dtype)
        record = invert_tokens(EXACT, denoise, x, torch.full_like(x, 39), generators(0, 2))
        assert torch.equal(edit_tokens(EXACT, denoise, record, generators(1, 2)), x)


def test_the_papers_anchor_gives_the_models_own_reading(model):
    """Of the clean tokens, in one step; it is exact over many where that reading agrees with the tokens."""
    how = replace(EXACT, steps=1, anchor="logits", guidance=1.0)
    x = tokens()
    record = how.invert(model, x, PROMPTS)
    with torch.no_grad():
        own = model.denoiser(x, **model.condition(PROMPTS)["cond"])
    found = how.edit(model, record, PROMPTS)
    chosen = own.gather(1, found[:, None])[:, 0]
    assert torch.allclose(chosen, own.max(1).values, atol=1e-5), "the likeliest, but for rounding"
    assert not torch.equal(found, x)

    def agrees(ids, t):
        return network()(ids, t) + 50.0 * torch.nn.functional.one_hot(ids, 7).movedim(-1, 1)[:, :6]

    how, x = replace(EXACT, anchor="logits"), tokens(2, 6, (30,))
    record = invert_tokens(how, agrees, x, torch.full_like(x, 6), generators(0, 2))
    assert torch.equal(edit_tokens(how, agrees, record, generators(1, 2)), x)


def reference(how, source, target, x, noise, seed):
    """Algorithm 1 of the paper, position by position, in float64."""
    u = uniform(x.shape, generators(seed, len(x)))
    level = levels(how.steps, how.renoise, how.tau)
    z = {}
    for t in range(1, how.steps + 1):
        noised = x.clone()
        for place in (u <= level[t]).nonzero().tolist():
            noised[tuple(place)] = noise[tuple(place)]
        z[t] = source(x, 0).double() - source(noised, t).double()
    draw = generators(seed + 50, len(x))
    for t in range(how.steps, 0, -1):
        y = target(noised, t).double() + how.l1 * z[t] + how.l2 * gumbel(z[t].shape, draw).double()
        best = y.argmax(1)
        noised = torch.where(u <= level[t - 1], noise, best)
    return noised


@pytest.mark.parametrize("noise", ["mask", "random"])
def test_inversion_and_edit_against_the_algorithm(noise):
    how = Dice(steps=5, renoise=3, tau=0.8, l1=0.6, l2=0.4)
    x = tokens(3, 6, (10,))
    n = torch.full_like(x, 6) if noise == "mask" else tokens(3, 6, (10,), seed=9)
    source, target = network(), network(bend=1.5)
    record = invert_tokens(how, source, x, n, generators(2, 3))
    found = edit_tokens(how, target, record, generators(52, 3))
    assert torch.equal(found, reference(how, source, target, x, n, 2))
    assert not torch.equal(found, x)


def test_masks_are_nested_and_the_last_steps_put_no_noise_back():
    how = Dice(steps=8, renoise=6, tau=0.9)
    assert levels(8, 6, 0.9)[:3] == [-1.0, -1.0, pytest.approx(0.225)] and levels(8, 6, 0.9)[8] == pytest.approx(0.9)
    x = tokens(1, 6, (500,))
    record = invert_tokens(how, network(), x, torch.full_like(x, 6), generators(0, 1))
    shares = [float(mask.float().mean()) for mask in record.masks]
    assert all(bool((a <= b).all()) for a, b in zip(record.masks[:-1], record.masks[1:], strict=True))
    assert shares[:2] == [0.0, 0.0] and shares[7] == pytest.approx(0.9 * 7 / 8, abs=0.05)
    assert float((record.start == 6).float().mean()) == pytest.approx(0.9, abs=0.05)


def test_seen_tokens_may_change():
    """Keeping what is not masked by hand would be inpainting."""
    how = Dice(steps=4, renoise=4, tau=0.3, l1=0.2, l2=0.0)
    x = tokens(2, 6, (40,))
    record = invert_tokens(how, network(), x, torch.full_like(x, 6), generators(0, 2))
    seen = record.start != 6
    edited = edit_tokens(how, network(seed=8), record, generators(0, 2))
    assert (edited[seen] != x[seen]).any()


def test_guidance_and_temperature_are_in_the_residuals():
    x = tokens(2, 6, (10,))
    mask = torch.full_like(x, 6)
    one, two = (invert_tokens(replace(EXACT, temperature=t), network(), x, mask, generators(0, 2)) for t in (1.0, 2.0))
    top = -EXACT.margin * (torch.nn.functional.one_hot(x, 6).movedim(-1, 1) == 0)
    for a, b in zip(one.residuals, two.residuals, strict=True):
        assert torch.allclose(top - a, 2 * (top - b), atol=1e-4)


def test_injections():
    z = torch.randn(1, 6, 4)
    g = gumbel(z.shape, generators(3, 1))
    how = Dice(steps=4, l1=0.6, l2=0.3)
    assert torch.allclose(dice.injected(how, z, generators(3, 1), 4), 0.6 * z + 0.3 * g)
    assert torch.allclose(dice.injected(replace(how, inject="variance"), z, generators(3, 1), 4), 0.6 * z + 0.8 * g)
    assert torch.allclose(dice.injected(replace(how, inject="max"), z, generators(3, 1), 4), torch.maximum(0.6 * z, 0.3 * g))
    assert torch.allclose(dice.injected(replace(how, decay="linear", l2=0.0), z, None, 1), 0.15 * z)


def test_multinomial_diffusion_is_retraced_and_edited():
    process = MaskAndReplace.linear(6, 7)
    x = tokens(2, 6, (12,))

    def log_p0(bend):
        net = network(bend=bend)

        def found(x_t, t):
            logits = torch.log_softmax(net(x_t, t), 1)
            return torch.cat([logits, torch.full_like(logits[:, :1], -torch.inf)], 1)

        return found

    start, residuals = invert_multinomial(process, log_p0(0.0), x, generators(0, 2))
    assert torch.equal(edit_multinomial(process, log_p0(0.0), start, residuals, 1.0, 0.0), x)
    edited = edit_multinomial(process, log_p0(2.0), start, residuals, 0.2, 0.8, generators(1, 2))
    assert not torch.equal(edited, x) and edited.max() < 6
    with pytest.raises(BadInput, match="6 residuals for 7 steps"):
        edit_multinomial(process, log_p0(0.0), start, residuals[1:])


def test_an_edit_of_pictures(model):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    how = Dice(steps=4, renoise=3, guidance=3.0)
    edit = how(model, images, "a red fish", "a blue fish", seed=5)
    assert edit.edited.shape == images.shape and edit.numbers["model_calls"] == 2 * 9
    again = how(model, images[1:], "a red fish", "a blue fish", seed=6)
    assert torch.allclose(edit.edited[1:], again.edited, atol=1e-5)
    same = EXACT(model, images, "a red fish", "a red fish")
    assert torch.equal(same.edited, model.decode(model.encode(images))) and same.notes


def test_records_of_others_are_refused(model):
    x = tokens()
    record = EXACT.invert(model, x, PROMPTS)
    for other in (replace(EXACT, tau=0.5), replace(EXACT, steps=7), replace(EXACT, guidance=1.0)):
        with pytest.raises(BadInput, match="must agree"):
            other.edit(model, record, PROMPTS)
    changed = copy.deepcopy(model.pipeline)
    with torch.no_grad():
        next(changed.transformer.parameters()).add_(1.0)
    with pytest.raises(BadInput, match="other weights"):
        EXACT.edit(Model(changed), record, PROMPTS)


def test_bad_input(model):
    with pytest.raises(BadInput, match="0 to 23"):
        EXACT.invert(model, tokens(codes=24) + 24, PROMPTS)
    with pytest.raises(BadInput, match=r"\(B, 8, 8\)"):
        EXACT.invert(model, tokens(shape=(4, 8)), PROMPTS)
    for tau in ("0", "1.5"):
        with pytest.raises(BadKnob, match="tau"):
            make("dice", {"tau": tau})
    with pytest.raises(BadKnob, match="l1=0 and l2=0"):
        Dice(l1=0.0, l2=0.0)
    with pytest.raises(Unsupported, match="masked"):
        EXACT.invert(Model(tiny_sd()), tokens(), PROMPTS)
