"""PRSS: its equations against references, its decisions per sample, and that it leaves no trace."""

import math

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, Conflict, Unsupported
from diffolio.methods.safety.prss import PRSS, reanchor, weight
from diffolio.process.inversion import ddim_step
from diffolio.process.memorization import recorded_magnitudes
from tests.models.tiny import tiny_model

PROMPTS = ["a red star", "a blue circle on a mint background", "a green tree at night"]
STEPS, SCALE = 3, 6.0
SHORT = {"steps": STEPS, "guidance_scale": SCALE}


def sampled(model, prompts=PROMPTS, **more):
    return model.sample(prompts, seed=3, **SHORT, **more).latents


def magnitudes(model, prompts=PROMPTS):
    with recorded_magnitudes(model) as found:
        sampled(model, prompts)
    return found.all


def between(values, i):
    """A threshold that the values from place i on (in ascending order) exceed."""
    ordered = sorted(values.tolist())
    return (ordered[i - 1] + ordered[i]) / 2


# The equations ----------------------------------------------------------------------------------------------------------


def test_w_is_the_released_codes_line():
    s, low, high = 7.5, 3.0, 5.0
    found = weight(torch.tensor([0.0, 3.0, 3.7, 4.2, 5.0, 9.0], dtype=torch.float64), s, low, high)
    floor = (s * low - high) / (s - 1)
    expected = [1.0, 1.0, *(min(s * (m - floor) / (high - floor), s) for m in (3.7, 4.2)), s, s]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert weight(torch.tensor([low, high]), s, low, high).tolist() == pytest.approx([1.0, s], abs=1e-6)


def test_the_papers_hard_rule():
    assert weight(torch.tensor([2.9, 3.0, 3.1]), 7.5, 3.0, 5.0, ramp=False).tolist() == [1.0, 1.0, 7.5]


def test_reanchoring_between_its_two_ends():
    original, chosen, null = torch.randn(3, 2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    s = 7.5
    ends = reanchor(original, chosen, null, torch.tensor([1.0, s]), s)
    assert torch.allclose(ends[0], null[0] + s * (chosen[0] - null[0]), atol=1e-12)
    assert torch.allclose(ends[1], original[1] + s * (chosen[1] - original[1]), atol=1e-12)
    # Affine in the predictions: adding the same to all adds it to the result, so v and noise give the same picture.
    moved = reanchor(original + 3, chosen + 3, null + 3, torch.tensor([2.0, 4.0]), s)
    assert torch.allclose(moved, reanchor(original, chosen, null, torch.tensor([2.0, 4.0]), s) + 3, atol=1e-10)


# On real architectures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["sd", "sd_v", "sdxl", "pixart"])
def test_neutral_is_the_plain_model_and_nothing_stays(which):
    model = tiny_model(which)
    plain = sampled(model)
    technique = PRSS(paraphrases=lambda prompt, n: ["a boat"])
    with technique.neutral().on(model):
        assert torch.equal(sampled(model), plain)
        assert not any(sample.triggered for sample in model.reports["prss"].samples)
    with PRSS(lam_ss=1e-6, l_pr=1e-6, m_thr=2e-6, paraphrases=lambda prompt, n: ["a boat"]).on(model):
        changed = sampled(model)
    assert (changed - plain).abs().amax((1, 2, 3)).min() > 1e-3
    assert torch.equal(sampled(model), plain)
    assert not model.denoiser._forward_hooks
    assert not model.denoiser._forward_pre_hooks
    assert "encode_prompt" not in vars(model.pipeline)


def test_it_comes_off_after_an_exception():
    model = tiny_model("sd")
    plain = sampled(model)

    def broken(prompt, n):
        raise RuntimeError("no more paraphrases")

    with pytest.raises(RuntimeError, match="no more"), PRSS(lam_ss=1e-6, paraphrases=broken).on(model):
        sampled(model)
    assert torch.equal(sampled(model), plain)
    assert "encode_prompt" not in vars(model.pipeline)


@pytest.mark.parametrize("which", ["sd", "sdxl"])
def test_untriggered_samples_keep_every_bit(which):
    model = tiny_model(which)
    plain, first = sampled(model), magnitudes(model)[:, 0]
    limit = between(first, 2)
    with PRSS(lam_ss=limit, l_pr=1e-3, m_thr=2e-3, paraphrases=lambda prompt, n: ["a boat", "a fish"]).on(model):
        changed = sampled(model)
    triggered = first > limit
    assert triggered.sum() == 1
    told = model.reports["prss"]
    assert [sample.triggered for sample in told.samples] == triggered.tolist()
    assert [sample.magnitude for sample in told.samples] == pytest.approx(first.tolist())
    for i in range(3):
        assert torch.equal(changed[i], plain[i]) != bool(triggered[i])


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart"])
def test_full_reanchoring_on_the_same_prompt_is_guidance_one(which):
    """e_s = e_o and w = s leave eps(e_o)."""
    model = tiny_model(which)
    unguided = model.sample(PROMPTS, seed=3, steps=STEPS, guidance_scale=1.0).latents
    with PRSS(lam_ss=1e-6, l_pr=1e-7, m_thr=1e-6).on(model):
        assert torch.allclose(sampled(model), unguided, atol=1e-4)


@pytest.mark.parametrize("which", ["sd", "sd_v", "sdxl"])
def test_a_run_equals_a_loop_by_hand(which):
    """The whole method, one sample, written out: detection, search, w, anchor, DDIM."""
    model, prompt, options = tiny_model(which), "a red star", ["a boat", "a fish at night", "two stars"]
    first, limits = magnitudes(model, [prompt])[0], (1e-4, float("nan"))
    low, high = float(first.min()) * 0.9, float(first.max()) * 1.2
    limits = (float(first[0]) * 0.5, low, high)
    with PRSS(options, lam_ss=limits[0], l_pr=low, m_thr=high).on(model):
        found = sampled(model, [prompt])
    told = model.reports["prss"].samples[0]

    scheduler = model.scheduler
    scheduler.set_timesteps(STEPS)
    shape = (1, model.channels, 16, 16)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(3)) * scheduler.init_noise_sigma
    conditions = {text: model.condition([text]) for text in [prompt, *options]}
    size = model.default_size
    conditions = {text: model.condition([text], height=size, width=size) for text in conditions}

    def noise(text, row="cond"):
        return model.predict(z, t, conditions[text], rows=(row,)).noise

    scales, chosen = [], prompt
    with torch.no_grad():
        for step, t in enumerate(scheduler.timesteps):
            null = noise(prompt, "uncond")
            size_of = {text: float((noise(text) - null).norm()) for text in conditions}
            if step == 0:
                safe = [text for text in options if size_of[text] <= limits[0]]
                chosen = safe[0] if safe else min(size_of, key=size_of.get)
                assert told.triggered
                assert told.magnitude == pytest.approx(size_of[prompt], rel=1e-4)
            floor = (SCALE * low - high) / (SCALE - 1)
            mag = size_of[chosen]
            w = 1.0 if mag <= low else min(SCALE * (mag - floor) / (high - floor), SCALE)
            scales.append(w)
            original, other = noise(prompt), noise(chosen)
            hat = original + w * (other - original) + (SCALE - w) * (other - null)
            before = int(t) - scheduler.config.num_train_timesteps // STEPS
            levels = scheduler.alphas_cumprod
            z = ddim_step(z, hat, levels[int(t)], levels[before] if before >= 0 else scheduler.final_alpha_cumprod)
    assert told.chosen == chosen
    assert told.scales == pytest.approx(scales, rel=1e-3)
    assert torch.allclose(found, z, atol=2e-3 * float(z.abs().max()))


def test_the_search_goes_by_magnitude_and_stops_at_the_first_safe_one():
    model, prompt = tiny_model("sd"), "a red star"
    texts = ["a boat", "a fish", "a ring", "a house", "a heart"]
    alone = {text: float(magnitudes(model, [text])[0, 0]) for text in [prompt, *texts]}
    ranked = sorted(texts, key=alone.get)
    worst, middle, best = ranked[-1], ranked[2], ranked[0]
    limit = (alone[middle] + alone[ranked[3]]) / 2
    if alone[prompt] > limit:
        with PRSS([worst, middle, best], lam_ss=limit).on(model):
            sampled(model, [prompt])
        told = model.reports["prss"].samples[0]
        assert (told.chosen, told.tried) == (middle, 2)
        assert told.chosen_magnitude == pytest.approx(alone[middle], rel=1e-3)
    with PRSS([worst, middle, best], lam_ss=1e-6).on(model):  # none is safe: the least wins, the prompt itself included
        sampled(model, [prompt])
    told = model.reports["prss"].samples[0]
    assert told.tried == 3
    assert told.chosen == min([prompt, worst, middle, best], key=alone.get)
    with PRSS([worst, middle, best], lam_ss=1e-6, n_max=1).on(model):
        sampled(model, [prompt])
    assert model.reports["prss"].samples[0].tried == 1


def test_every_sample_is_as_if_it_were_alone():
    model = tiny_model("sd")
    technique = PRSS(lambda prompt, n: [prompt + " at night", "a boat"], lam_ss=1e-6, l_pr=1e-3, m_thr=2e-3)
    with technique.on(model):
        together = sampled(model)
        alone = torch.cat([model.sample([p], seed=3 + i, **SHORT).latents for i, p in enumerate(PROMPTS)])
    assert torch.allclose(together, alone, atol=1e-3)


def test_no_random_number_is_drawn():
    model = tiny_model("sd")
    state = torch.random.get_rng_state()
    with PRSS(["a boat"], lam_ss=1e-6).on(model):
        model.sample(["a red star"], seed=3, **SHORT)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_pipeline_itself_may_be_called():
    model = tiny_model("sd")
    with PRSS(["a boat"], lam_ss=1e-6, l_pr=1e-3, m_thr=2e-3).on(model):
        for _ in range(2):  # a second run decides anew
            model.pipeline("a red star", num_inference_steps=2, num_images_per_prompt=2, output_type="latent")
            told = model.reports["prss"].samples
            assert [sample.prompt for sample in told] == ["a red star"] * 2
            assert all(len(sample.scales) == 2 and sample.tried == 1 for sample in told)


def test_calibration_takes_quantiles():
    model = tiny_model("sd")
    safe = [f"a {colour} {kind}" for colour in ("red", "blue", "green") for kind in ("star", "boat", "tree")]
    made = PRSS.calibrate(model, safe, 0.25, seed=3, ramp=False, **SHORT)
    with recorded_magnitudes(model) as found:
        model.sample(safe, seed=3, **SHORT)
    assert made.lam_ss == pytest.approx(float(found.first.quantile(0.75)))
    assert made.l_pr == pytest.approx(float(found.all.amax(1).quantile(0.75)))
    assert made.m_thr / made.l_pr == pytest.approx(5 / 3)
    assert not made.ramp


# Bad input --------------------------------------------------------------------------------------------------------------


def test_bad_knobs():
    with pytest.raises(BadKnob, match="m_thr"):
        PRSS(l_pr=5.0, m_thr=5.0)
    with pytest.raises(BadKnob, match="n_max"):
        PRSS(n_max=0)
    with pytest.raises(BadKnob, match="lam_ss"):
        PRSS(lam_ss=math.nan)
    assert PRSS(["a", "b"]).paraphrases == ("a", "b")
    assert PRSS("a red star | a boat").candidates("x") == ["a red star", "a boat"]


def test_bad_runs():
    model = tiny_model("sd")
    with PRSS().on(model), pytest.raises(BadInput, match="guidance is off"):
        model.sample(PROMPTS, steps=2, guidance_scale=1.0)
    with PRSS(["a boat"]).on(model), pytest.raises(BadInput, match="share one list"):
        sampled(model)
    outside = model.condition(PROMPTS)
    with PRSS("grammar").on(model), pytest.raises(BadInput, match="never saw"):
        sampled(model, None, condition=outside)
    with PRSS(lambda prompt, n: ["ok", ""], lam_ss=1e-6).on(model), pytest.raises(BadInput, match="none empty"):
        sampled(model)
    with PRSS("grammar", lam_ss=1e-6).on(model), pytest.raises(BadInput, match="names no thing"):
        sampled(model, ["an astronaut"])
    with pytest.raises(BadInput, match="at least 8"):
        PRSS.calibrate(model, ["a"], 0.05)
    with PRSS().on(model), pytest.raises(Conflict), PRSS().on(model):
        pass
    with pytest.raises(Unsupported), PRSS().on(tiny_model("sd3")):
        pass
