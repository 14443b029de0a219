"""Several modalities in one latent: layout, levels, clean conditions, the loss, their timesteps, prediction through the model."""

import copy
import math

import pytest
import torch

from diffolio.errors import BadInput, UnknownName
from diffolio.models import Model
from diffolio.models.joint import JointLatents, ModalityTime, predict_joint, reassigned
from diffolio.nets.widening import widen
from diffolio.process import alpha_sigma
from diffolio.seams.time_vector import time_vector
from tests.models.tiny import tiny_sd

LAYOUT = JointLatents(("rgb", "alpha"))


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    made = Model(copy.deepcopy(tiny_sd()), name="tiny")
    widen(made.denoiser, (1, 0), (1, 0.5))
    return made


def test_stacked_and_split_again():
    rgb, alpha = rand(2, 4, 3, 5, 5), rand(2, 4, 3, 5, 5, seed=1)
    z = LAYOUT.stack(alpha=alpha, rgb=rgb)  # the order is the layout's, not the call's
    assert torch.equal(z, torch.cat([rgb, alpha], 1))
    parts = LAYOUT.split(z)
    assert torch.equal(parts["rgb"], rgb) and torch.equal(parts["alpha"], alpha)


@pytest.mark.parametrize("shape", [(3, 4, 5, 5), (3, 4, 2, 5, 5)])
def test_each_modality_has_its_own_level_and_clean_ones_none(model, shape):
    z, noise = torch.cat([rand(*shape), rand(*shape, seed=1)], 1), torch.cat([rand(*shape, seed=2), rand(*shape, seed=3)], 1)
    clean = torch.tensor([[False, False], [True, False], [False, True]])
    timesteps = torch.tensor([[100, 900], [0, 500], [700, 0]])
    noisy = LAYOUT.split(LAYOUT.add_noise(model.scheduler, z, noise, timesteps, clean))
    for i in range(3):
        for m, name in enumerate(LAYOUT.names):
            x, e = LAYOUT.split(z)[name][i], LAYOUT.split(noise)[name][i]
            if clean[i, m]:
                assert torch.equal(noisy[name][i], x)
            else:
                a, s = (float(v) for v in alpha_sigma(model.scheduler, timesteps[i, m]))
                torch.testing.assert_close(noisy[name][i], a * x + s * e)


def test_the_loss_of_a_clean_modality_is_exactly_nothing():
    target, prediction = rand(3, 8, 4, 4), rand(3, 8, 4, 4, seed=1).requires_grad_(True)
    clean = torch.tensor([[False, False], [True, False], [True, True]])
    loss = LAYOUT.loss(prediction, target, clean)
    torch.testing.assert_close(loss[0], (prediction[0] - target[0]).square().mean())
    torch.testing.assert_close(loss[1], (prediction[1, 4:] - target[1, 4:]).square().mean())
    assert loss[2] == 0
    (gradient,) = torch.autograd.grad(loss.sum(), prediction)
    assert not gradient[1, :4].any() and not gradient[2].any() and gradient[1, 4:].all()
    with torch.no_grad():
        prediction[1, :4] = float("nan")  # what is not asked for may be anything
        torch.testing.assert_close(LAYOUT.loss(prediction, target, clean)[1], loss[1])


def test_flags_and_shared_timesteps():
    clean = LAYOUT.flags("rgb", batch=2)
    assert clean.tolist() == [[True, False]] * 2
    assert LAYOUT.timesteps(torch.tensor([10, 20]), clean).tolist() == [[0, 10], [0, 20]]
    with pytest.raises(UnknownName, match="alpha"):
        LAYOUT.flags("alhpa")


def test_prediction_by_modality_equals_the_base_for_the_first(model):
    base, z = tiny_sd().unet, rand(2, 8, 16, 16)
    condition = model.condition(["a red circle", "a blue square"])
    timesteps = torch.tensor([[300, 800], [500, 0]])
    with torch.no_grad():
        made = predict_joint(model, LAYOUT, z, timesteps, condition, ("uncond", "cond"))
        for row in ("uncond", "cond"):
            raw = base(z[:, :4], timesteps[:, 0], condition[row]["encoder_hidden_states"]).sample
            torch.testing.assert_close(made[row]["rgb"].raw, raw, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(made[row]["alpha"].raw, raw / 2, rtol=1e-4, atol=1e-5)
    a, s = (float(v) for v in alpha_sigma(model.scheduler, timesteps[0, 1]))
    alpha = made["cond"]["alpha"]
    torch.testing.assert_close(alpha.clean[0], (z[0, 4:] - s * alpha.raw[0]) / a, rtol=1e-4, atol=1e-4)


def test_modality_times_start_at_nothing_and_then_matter(model):
    z, condition = rand(2, 8, 16, 16), model.condition(["a red circle", "a blue square"])
    timesteps, clean = torch.tensor([[300, 800], [500, 0]]), LAYOUT.flags("alpha", batch=2)
    times = ModalityTime(model.denoiser, 2)
    assert "sinusoids" not in "".join(times.state_dict())

    def run():
        with time_vector(model.seams, lambda: times(timesteps, clean)):
            return predict_joint(model, LAYOUT, z, timesteps, condition, ("uncond", "cond"))["cond"]["rgb"].raw

    plain = predict_joint(model, LAYOUT, z, timesteps, condition)["cond"]["rgb"].raw
    torch.testing.assert_close(run(), plain, rtol=1e-5, atol=1e-6)
    run().square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in times.parameters())
    with torch.no_grad():
        times.times[0].weight.normal_(generator=torch.Generator().manual_seed(0))
        assert (run() - plain).abs().max() > 1e-3


def test_the_time_vector_is_added_in_its_rows_and_comes_off(model):
    z, condition = rand(1, 8, 16, 16), model.condition("a red circle")
    embedding = model.denoiser.time_embedding
    seen = []
    handle = embedding.register_forward_hook(lambda m, a, out: seen.append(out))
    predict = lambda: predict_joint(model, LAYOUT, z, torch.tensor([[300, 300]]), condition, ("uncond", "cond"))  # noqa: E731
    with torch.no_grad():
        before = predict()["cond"]["rgb"].raw
        vector = rand(1, embedding.linear_2.out_features)
        second = embedding.linear_2.out_features
        handle.remove()
        with pytest.raises(RuntimeError, match="stop"), time_vector(model.seams, vector, rows=("cond",)):  # noqa: PT012
            handle = embedding.register_forward_hook(lambda m, a, out: seen.append(out))
            predict()
            raise RuntimeError("stop")
        torch.testing.assert_close(seen[1] - seen[0], torch.cat([torch.zeros(1, second), vector]), rtol=1e-4, atol=1e-5)
        handle.remove()
        assert torch.equal(predict()["cond"]["rgb"].raw, before)
    with time_vector(model.seams, rand(3, second)), pytest.raises(BadInput, match="time vector"):
        predict()


def test_reassigned_levels_move_by_the_asked_log_snr(model):
    table = model.scheduler.alphas_cumprod.double()
    snr = (table / (1 - table)).log()
    t = torch.tensor([[100, 500], [800, 999]])
    assert torch.equal(reassigned(model.scheduler, t, 0.0), t)
    noisier = reassigned(model.scheduler, t, -2 * math.log(2))
    torch.testing.assert_close(snr[noisier[0]], snr[t[0]] - 2 * math.log(2), rtol=0, atol=0.02)
    assert noisier[1, 1] == 999


def test_bad_joint_latents():
    with pytest.raises(BadInput, match="each once"):
        JointLatents(("a", "a"))
    with pytest.raises(BadInput, match="give rgb, alpha"):
        LAYOUT.stack(rgb=rand(1, 4, 2, 2))
    with pytest.raises(BadInput, match="one shape"):
        LAYOUT.stack(rgb=rand(1, 4, 2, 2), alpha=rand(1, 4, 3, 3))
    with pytest.raises(BadInput, match="7 channels"):
        LAYOUT.split(rand(1, 7, 2, 2))
    with pytest.raises(BadInput, match="sample and modality"):
        LAYOUT.levels(tiny_sd().scheduler, torch.tensor([1, 2]), rand(2, 8, 2, 2))
