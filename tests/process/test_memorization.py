"""Noise magnitudes and prompt optimisation, on real architectures; and prompts found again inside a pipeline."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.memorization import noise_magnitude, optimise_prompt, recorded_magnitudes
from diffolio.process.prompts import heard_prompts, merged, picked, text_arguments, with_samples
from tests.models.tiny import tiny_model

PROMPTS = ["a red star", "a blue boat at night"]


def test_the_norm_is_per_sample_and_the_mask_does_not_measure_its_area():
    d = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert noise_magnitude(d).tolist() == pytest.approx([float(x.square().sum().sqrt()) for x in d], rel=1e-5)
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, :4] = 1
    assert noise_magnitude(d, mask).tolist() == pytest.approx([float(x[:, :4].square().sum().sqrt()) / 0.5 for x in d], rel=1e-5)


@pytest.mark.parametrize("which", ["sd", "sd_v"])
def test_recording_changes_nothing_and_agrees_with_predict(which):
    model = tiny_model(which)
    plain = model.sample(PROMPTS, seed=1, steps=2).latents
    with recorded_magnitudes(model) as found:
        assert torch.equal(model.sample(PROMPTS, seed=1, steps=2).latents, plain)
    assert found.all.shape == (2, 2)
    z = torch.cat([torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1 + i)) for i in range(2)])
    with torch.no_grad():
        rows = model.predict_rows(z, model.scheduler.timesteps[0], model.condition(PROMPTS), ("uncond", "cond"))
    expected = noise_magnitude(rows["cond"].noise - rows["uncond"].noise)
    assert torch.allclose(found.first, expected, rtol=1e-4)


def test_prompt_optimisation_is_adamw_on_the_embedding():
    model = tiny_model("sd")
    model.scheduler.set_timesteps(4)
    t = model.scheduler.timesteps[0]
    z = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    condition = model.condition(PROMPTS)
    start = condition["cond"]["encoder_hidden_states"].clone()
    found, before = optimise_prompt(model, z, t, condition, target=1e-6, iterations=3, rate=0.01)
    ours = found["cond"]["encoder_hidden_states"]

    embedding = start[:1].clone().requires_grad_(True)  # by hand, the first sample alone
    optimizer = torch.optim.AdamW([embedding], lr=0.01)
    alone = condition.index(0)
    null = model.predict(z[:1], t, alone, rows=("uncond",)).noise.detach()
    for step in range(3):
        loss = (model.predict(z[:1], t, alone.with_row("cond", encoder_hidden_states=embedding)).noise - null).norm()
        if step == 0:
            assert before[0].item() == pytest.approx(loss.item(), rel=1e-4)
        (embedding.grad,) = torch.autograd.grad(loss, embedding)
        embedding.grad[:, 0] = 0
        optimizer.step()
    assert torch.allclose(ours[:1], embedding.detach(), atol=1e-4)
    assert torch.allclose(ours[:, 0], start[:, 0] * (1 - 0.01 * 0.01) ** 3, atol=1e-6)  # only AdamW's decay touches it
    assert torch.equal(condition["cond"]["encoder_hidden_states"], start)


def test_every_sample_stops_at_the_target_by_itself():
    model = tiny_model("sd")
    z = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    condition = model.condition(PROMPTS)
    _, before = optimise_prompt(model, z, 751, condition, target=1e9)
    low, high = sorted(before.tolist())
    found, _ = optimise_prompt(model, z, 751, condition, target=(low + high) / 2, iterations=2)
    same = [torch.equal(a, b) for a, b in zip(*(c["cond"]["encoder_hidden_states"] for c in (found, condition)), strict=True)]
    assert same == [bool(m == low) for m in before.tolist()]


def test_bad_input():
    model = tiny_model("sd")
    z, condition = torch.zeros(2, 4, 16, 16), model.condition(PROMPTS)
    with pytest.raises(BadInput, match="positive"):
        optimise_prompt(model, z, 751, condition, target=0.0)
    with recorded_magnitudes(model), pytest.raises(BadInput, match="guidance is off"):
        model.sample(PROMPTS, steps=1, guidance_scale=1.0)


@pytest.mark.parametrize("which", ["sd", "sdxl", "pixart"])
def test_prompts_are_found_again_by_their_embeddings(which):
    model = tiny_model(which)
    original = model.pipeline.encode_prompt
    with heard_prompts(model) as heard:
        states = model.condition(PROMPTS)["cond"]["encoder_hidden_states"]
        model.condition(["something else"])
        assert heard.of(states.flip(0)) == PROMPTS[::-1]
        assert heard.of(states + 1e-3) == [None, None]
        heard.hear(["a"], torch.ones(3, 4, 5))
        assert heard.of(torch.ones(1, 4, 5)) == ["a"]
    assert model.pipeline.encode_prompt == original


def test_arguments_of_some_samples_change_and_others_keep_their_bits():
    row = {
        "encoder_hidden_states": torch.randn(3, 4, 5),
        "added_cond_kwargs": {"text_embeds": torch.randn(3, 6), "time_ids": torch.ones(3, 6)},
        "return_dict": False,
    }
    text = text_arguments(row)
    assert set(text) == {"encoder_hidden_states", "added_cond_kwargs"}
    assert set(text["added_cond_kwargs"]) == {"text_embeds"}
    index = torch.tensor([2, 0])
    some = picked(row, index, 3)
    assert torch.equal(some["added_cond_kwargs"]["text_embeds"], row["added_cond_kwargs"]["text_embeds"][index])
    assert some["return_dict"] is False
    new = picked(text, torch.tensor([1, 1]), 3)
    out = with_samples(text, index, new)
    assert torch.equal(out["encoder_hidden_states"][1], text["encoder_hidden_states"][1])
    assert torch.equal(out["encoder_hidden_states"][0], text["encoder_hidden_states"][1])
    together = merged(row, out)
    assert torch.equal(together["added_cond_kwargs"]["time_ids"], row["added_cond_kwargs"]["time_ids"])
    assert torch.equal(together["added_cond_kwargs"]["text_embeds"], out["added_cond_kwargs"]["text_embeds"])
