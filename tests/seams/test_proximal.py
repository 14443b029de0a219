"""Proximal guidance on a true UNet: the combined prediction, the pull back, and nothing left behind."""

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.process.proximal import edit_mask, proximal, threshold
from diffolio.seams.proximal import ProximalGuidance
from tests.models.tiny import tiny_model

PROMPTS = ["a red fish", "a blue house"]


@pytest.fixture(scope="module")
def model():
    return tiny_model("sd")


def path(steps=4, n=2):
    return [torch.randn(n, 4, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(steps + 1)]


def run(model, guide=None, seen=None, guidance=5.0):
    from contextlib import ExitStack

    with ExitStack() as held:
        if seen is not None:
            held.enter_context(
                model.seams.denoiser(after=lambda call, out: seen.append((call.step, call.run.timestep, dict(out))))
            )
            held.enter_context(model.seams.scheduler(before=lambda step, output, t, z: seen.append(output.clone())))
        if guide is not None:
            held.enter_context(guide.on(model.seams))
        return model.sample(PROMPTS, seed=3, steps=4, guidance_scale=guidance).latents


@pytest.mark.parametrize("kind", ["l0", "l1"])
def test_what_the_scheduler_gets(model, kind):
    seen = []
    run(model, ProximalGuidance(path(), torch.tensor([True, True]), kind, rate=0.0), seen)
    # The editor that looks was entered first, so after the denoiser it looks last: at the changed conditional row.
    (_, _, first), combined = seen[0], seen[1]
    torch.testing.assert_close(combined, first["uncond"] + 5.0 * (first["cond"] - first["uncond"]), atol=1e-5, rtol=1e-5)
    plain = []
    run(model, None, plain)
    delta = plain[0][2]["cond"] - plain[0][2]["uncond"]
    expected = proximal(delta, threshold(delta, 0.7), kind)
    torch.testing.assert_close(first["cond"] - first["uncond"], expected, atol=1e-6, rtol=1e-4)
    assert 0.65 < (expected == 0).float().mean() < 0.75


def test_the_rest_is_pulled_back_to_the_path(model):
    z = path()
    end = run(model, ProximalGuidance(z, torch.tensor([False, True])))
    assert torch.equal(end[0], z[0][0]), "what is no edit ends where the path began"
    same = end[1] == z[0][1]
    assert 0 < same.sum() < same.numel()


def test_the_pull_starts_below_its_timestep(model):
    seen, z = [], path()
    with model.seams.scheduler(before=lambda step, output, t, latents: seen.append((int(t), latents.clone()))):
        run(model, ProximalGuidance(z, torch.tensor([False, False]), below=400))
    for (t, _), (_, after), reference in zip(seen, seen[1:], reversed(z[1:-1]), strict=False):
        assert torch.equal(after, reference) == (t < 400)


def test_masks_are_those_of_the_guidance(model):
    z, seen = path(), []
    end = run(model, ProximalGuidance(z, torch.tensor([True, True]), "none"), seen)
    last = [item for item in seen if isinstance(item, tuple)][-1][2]
    delta = last["cond"] - last["uncond"]
    mask = edit_mask(delta, threshold(delta, 0.7))
    assert torch.equal(end[~mask], z[0][~mask])


def test_without_guidance_or_with_nothing_to_do_the_output_is_the_same(model):
    everything = torch.tensor([True, True])
    assert torch.equal(run(model, ProximalGuidance(path(), everything), guidance=1.0), run(model, guidance=1.0))
    assert torch.equal(run(model, ProximalGuidance(path(), everything, "none", rate=0.0)), run(model))


def test_refusals(model):
    with pytest.raises(BadInput, match="take as many"):
        run(model, ProximalGuidance(path(3), torch.tensor([True, True])))
    with pytest.raises(BadInput, match="2 samples run"):
        run(model, ProximalGuidance(path(), torch.tensor([True])))
    assert "step" not in vars(model.scheduler)
