"""Distribution matching: its gradient, whose weights move, and where it leads when both densities are known."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from diffolio import miniatures, models
from diffolio.errors import BadInput
from diffolio.models.fingerprint import fingerprint
from diffolio.models.students import load_student
from diffolio.process.prediction import alpha_sigma
from diffolio.training.distill import consistency
from diffolio.training.loop import Budget, Settings, train
from diffolio.training.matching import DistributionMatching
from diffolio.training.turbo import MiniTurbo


class Normal(nn.Module):
    """The exact noise prediction for data of N(mean, spread^2), the mean learnable."""

    def __init__(self, scheduler, mean, spread):
        super().__init__()
        self.scheduler, self.spread, self.mean = scheduler, spread, nn.Parameter(torch.tensor(mean))

    def forward(self, x, t, shift=0.0):
        alpha, sigma = alpha_sigma(self.scheduler, t)
        noise = sigma * (x - alpha * (self.mean + shift)) / ((alpha * self.spread) ** 2 + sigma**2)
        return SimpleNamespace(sample=noise)


class Shift(nn.Module):
    def __init__(self, start):
        super().__init__()
        self.place = nn.Parameter(torch.tensor(start))


def world(real=1.5, start=-1.0, cond=0.0, **more):
    """A teacher of N(real + cond, 0.5^2), a generator of N(start, 0.5^2) and a fake that begins at the generator."""
    scheduler = DDPMScheduler(beta_schedule="scaled_linear")
    rows = {"cond": {"shift": cond}, "uncond": {}}
    model = SimpleNamespace(
        scheduler=scheduler, denoiser=Normal(scheduler, real, 0.5).requires_grad_(False), prediction="epsilon", channels=1,
        default_size=8, factor=4, device=torch.device("cpu"), condition=lambda captions: SimpleNamespace(rows=rows),
    )  # fmt: skip
    shift, fake = Shift(start), Normal(scheduler, start, 0.5)
    matching = DistributionMatching(
        model, shift, lambda z, row: shift.place + 0.5 * z, fake, lambda n, generator: ["x"] * n, batch=64, **more
    )
    return matching, shift, fake


def test_the_loss_has_the_gradient_and_the_score_networks_get_none():
    matching, _shift, fake = world()
    loss, told = matching.loss(0, torch.Generator().manual_seed(0))
    loss.backward()
    assert matching.model.denoiser.mean.grad is None and fake.mean.grad is None
    assert told["gradient"] > 0 and told["fake_loss"] > 0
    made = torch.zeros(64, 1, 2, 2, requires_grad=True)
    known = torch.randn(made.shape)
    (0.5 * (made - (made.detach() - known)).square().mean()).backward()
    assert torch.allclose(made.grad, known / known.numel())


def test_no_gradient_where_the_two_agree():
    matching, _, fake = world(real=0.3, start=0.3, guidance=1.0)
    rows = {"cond": {}, "uncond": {}}
    generator = torch.Generator().manual_seed(1)
    assert matching.gradient(torch.randn(8, 1, 2, 2), rows, generator).abs().max() < 1e-6
    with torch.no_grad():
        fake.mean += 1
    assert (matching.gradient(torch.randn(8, 1, 2, 2), rows, generator) > 0).all(), "down the fake's density, up the real one's"


def test_it_finds_the_mean_that_only_the_teacher_knows(tmp_path):
    matching, shift, fake = world(fake_rate=0.03, fake_steps=2, guidance=1.0)
    settings = Settings(rate=0.05, warmup=1, decay=0.0, every=10_000)
    train(matching, tmp_path, Budget(steps=250), settings, progress=False)
    assert float(shift.place.detach()) == pytest.approx(1.5, abs=0.15)
    assert float(fake.mean.detach()) == pytest.approx(float(shift.place.detach()), abs=0.15), "the fake must follow the generator"


def test_guidance_extrapolates_the_teacher_only(tmp_path):
    plain, guided = world(real=0.0, start=0.0, cond=1.0, guidance=1.0)[0], world(real=0.0, start=0.0, cond=1.0, guidance=3.0)[0]
    rows = {"cond": {"shift": 1.0}, "uncond": {}}
    made = torch.randn(512, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    first, second = (m.gradient(made, rows, torch.Generator().manual_seed(2)).mean() for m in (plain, guided))
    assert second < first - 0.1


@pytest.mark.parametrize(("more", "message"), [({"times": (0.9, 0.1)}, "times"), ({"fake_steps": 0}, "at least 1")])
def test_bad_settings_are_refused(more, message):
    with pytest.raises(BadInput, match=message):
        world(**more)


def test_mini_turbo_learns_and_loads_as_a_student_of_one_step(tmp_path):
    teacher = models.load("mini-sd")
    before = fingerprint(teacher.denoiser)
    made = MiniTurbo(teacher, scenes=16)
    made.matching.batch = 2
    loss, _ = made.loss(0, torch.Generator().manual_seed(0))
    loss.backward()
    learned = [p for p in made.student.parameters() if p.requires_grad]
    assert learned and all(p.grad is not None for p in learned) and fingerprint(teacher.denoiser) == before
    made.export(tmp_path / "export")
    student = load_student(teacher, tmp_path / "export")
    drawn = student.sample(["a red circle"], steps=1)
    assert drawn.images.shape == (1, 3, 64, 64) and torch.isfinite(drawn.images).all()
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    row = teacher.condition(["a red circle"] * 2).rows["cond"]
    with torch.no_grad():
        there = consistency(student.denoiser, teacher, noise, torch.full((2,), 999), torch.full((2,), 3.0), row)
        assert (made.matching.generate(noise, row) - there).abs().max() < 0.02  # the file is float16
    assert sum(path.stat().st_size for path in (tmp_path / "export").iterdir()) < 3.5e6
    assert MiniTurbo.guidance == miniatures.GUIDANCE_SCALE
