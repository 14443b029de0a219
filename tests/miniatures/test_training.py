"""The objectives behind the bundled models: what they draw, that they learn, and that what they write loads as the true class."""

import dataclasses
import re

import pytest
import torch

from diffolio import miniatures, models
from diffolio.errors import BadInput, UnknownName
from diffolio.miniatures.flow import MiniFlow
from diffolio.miniatures.latents import encode_scenes, faded
from diffolio.miniatures.perc import DISTORTIONS, NUISANCE, VERSIONS, MiniPerc, distort, graded
from diffolio.miniatures.pixel import MiniPixel, pictures
from diffolio.miniatures.sd import MiniSD, mean_pictures
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.miniatures.video import FRAMES, WAYS, MiniVideo, mean_clips
from diffolio.nets.perceptual import PerceptualDistance
from diffolio.training.loop import Budget
from diffolio.training.miniatures import PLANS, start_from, train_miniature
from diffolio.worlds.motion import sample_scripts, vocabulary
from diffolio.worlds.tabletop import render, sample_scenes
from diffolio.worlds.tabletop.scene import SIDES


@pytest.fixture(scope="module")
def vae():
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(miniatures.folder("mini-vae"), torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def data(vae):
    return encode_scenes(vae, sample_scenes(24, 5))


def test_things_are_marked_where_they_are_drawn(data):
    drawn = render(data.scenes, 64).full.any(1)
    covered = drawn.unflatten(1, (16, 4)).unflatten(3, (16, 4)).any(4).any(2)
    assert (data.things.bool() | ~covered).all(), "a cell with a thing is not marked"
    assert 0.05 < data.things.float().mean() < 0.9


def test_emphasis_keeps_the_mean_weight(data):
    generator = torch.Generator().manual_seed(0)
    latents, captions, weights = data.draw(4000, 0.25, generator, emphasis=5.0)
    assert latents.shape[1:] == (4, 16, 16) and latents.dtype == torch.float32
    assert abs(float(weights.mean()) - 1) < 0.05
    assert abs(captions.count("") / 4000 - 0.25) < 0.03
    assert torch.unique(weights).numel() == 2 and torch.isclose(weights.max() / weights.min(), torch.tensor(5.0))
    assert torch.equal(data.draw(3, 0, generator)[2], torch.ones(3, 16, 16))


def test_emphasis_fades_with_what_is_hidden():
    """What weighs a target by the target must not do so where the target is unknown: there the best guess is its plain mean."""
    torch.manual_seed(0)
    there = (torch.rand(20_000) < 0.1).float()  # one cell in ten holds a thing, and nothing tells which
    weights = (1 + 4 * there) / (1 + 4 * there.mean())
    guess = lambda w: float((w * there).sum() / w.sum())  # noqa: E731  what minimises the weighted squared error
    assert guess(weights) > 0.3
    assert abs(guess(faded(weights[None], torch.ones(1))[0]) - 0.1) < 0.01
    assert torch.equal(faded(weights[None], torch.zeros(1))[0], weights)
    half = faded(weights.expand(2, -1), torch.tensor([0.5, 1.0]))
    assert torch.allclose(half.mean(1), torch.ones(2), atol=1e-4) and half[0].max() < weights.max()


def test_mean_clips_differ_in_their_way_alone(vae):
    asked, expected = mean_clips(vae, 2, 2)
    assert expected.shape == (2, len(WAYS), 4, FRAMES, 16, 16) and [len(captions) for captions in asked] == [len(WAYS)] * 2
    for captions in asked:
        ways = [re.sub(r"moving |up|down|left|right| and |growing|shrinking", "", caption) for caption in captions]
        assert len(set(captions)) == len(WAYS) and len({" ".join(way.split()) for way in ways}) == 1
    left, right = WAYS.index("left"), WAYS.index("right")
    clip = (expected.float() - expected.float().median(-1, keepdim=True).values).abs().sum(2)  # (looks, ways, T, 16, 16)
    across = (clip.sum(-2) * torch.arange(16)).sum(-1) / clip.sum((-2, -1))  # where things stand, from left to right
    assert (across[:, left, 0] > across[:, left, -1]).all() and (across[:, right, 0] < across[:, right, -1]).all()


def test_a_batch_of_mean_clips_is_pure_noise(vae):
    made = MiniVideo(vae, clips=2, looks=2, places=1)
    made.batch, made.means = 3, 1.0
    seen = {}
    made.transformer.register_forward_pre_hook(lambda module, args: seen.update(noise=args[0], times=args[1]))
    loss, named = made.loss(0, torch.Generator().manual_seed(1))
    loss.backward()
    assert named["means"] == 1.0 and named["still"] == 0.0
    assert (seen["times"] == 1000).all() and abs(float(seen["noise"].std()) - 1) < 0.05
    assert all(p.grad is not None for p in made.text_encoder.parameters())
    made.batch = 2 * len(WAYS) + 1  # more than there are ways, as on a GPU
    with torch.no_grad():
        assert made.loss(0, torch.Generator().manual_seed(1))[0].isfinite() and len(seen["noise"]) == made.batch


def test_mean_pictures_differ_in_their_relation_alone(vae):
    captions, expected = mean_pictures(vae, 2, 3)
    assert expected.shape == (2, len(SIDES), 4, 16, 16)
    for own in captions:
        for caption, relation in zip(own, SIDES, strict=True):
            assert relation in caption and caption.replace(relation, SIDES[0]) == own[0]
    for left, right, above, below in mean_pictures(vae, 2, 20)[1].float():
        for change, side in ((left - right, -1), (above - below, -2)):  # two change places: mirrored, the change is its opposite
            assert (change * change.flip(side)).sum() < -0.2 * change.square().sum()


def test_a_batch_of_mean_pictures_is_pure_noise(vae):
    made = MiniSD(vae, scenes=4, looks=2, places=1)
    made.batch, made.means = 8, 1.0
    seen = {}
    made.unet.register_forward_pre_hook(lambda module, args: seen.update(noise=args[0], t=args[1]))
    loss, named = made.loss(0, torch.Generator().manual_seed(1))
    loss.backward()
    assert named["means"] == 1.0 and len(seen["noise"]) == 8
    assert seen["t"].min() >= 937 and seen["t"].max() <= 999 and abs(float(seen["noise"].std()) - 1) < 0.05
    assert all(p.grad is not None for p in made.text_encoder.parameters())


@pytest.mark.parametrize("objective", [MiniSD, MiniFlow])
def test_an_objective_learns_and_draws_by_step(vae, data, objective):
    torch.manual_seed(0)
    made = objective(vae, scenes=0)
    made.data = data
    made.batch = 8
    made.means = 0.0  # of mini-sd: batches of one kind, to compare one loss with another
    first, again = (float(made.loss(0, torch.Generator().manual_seed(3))[0].detach()) for _ in range(2))
    assert first == again
    optimizer = torch.optim.Adam([p for m in made.modules.values() for p in m.parameters()], 1e-3)
    for step in range(12):
        optimizer.zero_grad()
        made.loss(0, torch.Generator().manual_seed(step % 2))[0].backward()
        optimizer.step()
    assert float(made.loss(0, torch.Generator().manual_seed(0))[0].detach()) < 0.9 * first


def test_mini_flow_loads_as_a_stable_diffusion_3_pipeline(vae, tmp_path):
    from diffusers import StableDiffusion3Pipeline

    torch.manual_seed(0)
    made = MiniFlow(vae, scenes=0)
    made.export(tmp_path / "flow")
    pipeline = StableDiffusion3Pipeline.from_pretrained(tmp_path / "flow", torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    states, _, pooled, _ = pipeline.encode_prompt(["a red ball"], None, None)
    with torch.no_grad():
        for module in made.modules.values():
            module.half().float()  # the file holds half precision
        ours, ours_pooled = made.encode(["a red ball"], 256)
    assert torch.allclose(states, ours, atol=1e-5) and torch.allclose(pooled, ours_pooled, atol=1e-5)
    table = pipeline.transformer.pos_embed.cropped_pos_embed(16, 16).unflatten(1, (8, 8))  # of (1, y, x): first half x, then y
    waves = torch.arange(12, 20) / 10_000 ** (torch.arange(32)[:, None] / 32)  # a unit from patch to patch
    assert torch.allclose(table[0, 3, :, :32], waves.sin().T, atol=1e-3)
    sampled = models.load(str(tmp_path / "flow")).sample("a red ball", steps=2, seed=0)
    assert sampled.images.shape == (1, 3, 64, 64)


def test_mini_video_learns_clips_and_loads_as_a_latte_pipeline(vae, tmp_path):
    from diffusers import LattePipeline

    torch.manual_seed(0)
    made = MiniVideo(vae, clips=2, looks=2, places=1)
    assert made.latents.shape == (2, 4, FRAMES, 16, 16) and made.things.shape == (2, FRAMES, 16, 16)
    assert 0.02 < made.things.float().mean() < 0.6
    made.batch, made.singles, made.means = 2, 4, 0.0
    in_time = made.transformer.temporal_transformer_blocks.parameters
    made.stills = 1.0
    loss, told = made.loss(0, torch.Generator().manual_seed(3))
    loss.backward()
    assert told["still"] == 1.0 and all(p.grad is None for p in in_time())
    made.stills = 0.0
    first = float(made.loss(0, torch.Generator().manual_seed(3))[0].detach())
    loss, told = made.loss(0, torch.Generator().manual_seed(3))
    loss.backward()
    assert first == float(loss.detach()) and told["still"] == 0.0 and all(p.grad is not None for p in in_time())
    optimizer = torch.optim.Adam([p for m in made.modules.values() for p in m.parameters()], 1e-3)
    for step in range(6):
        optimizer.zero_grad()
        made.loss(0, torch.Generator().manual_seed(step % 2))[0].backward()
        optimizer.step()
    assert float(made.loss(0, torch.Generator().manual_seed(0))[0].detach()) < 0.9 * first
    made.export(tmp_path / "video")
    pipeline = LattePipeline.from_pretrained(tmp_path / "video", torch_dtype=torch.float32)
    states, _ = pipeline.encode_prompt(["a red ball moving left", "a cat"], False, clean_caption=False)
    with torch.no_grad():
        for module in made.modules.values():
            module.half().float()  # the file holds half precision
        assert torch.allclose(states, made.encode(["a red ball moving left", "a cat"]), atol=1e-5)
    sampled = models.load(str(tmp_path / "video")).sample("a red ball", steps=2, seed=0)
    assert sampled.images.shape == (1, FRAMES, 3, 64, 64)


def test_captions_of_clips_are_known_words():
    words = set(vocabulary())
    told = {word.strip(",") for script in sample_scripts(300, 2) for word in script.caption.split()}
    assert told <= words


def test_versions_are_graded_by_edits():
    data = graded(6, 3)
    again = graded(6, 3)
    assert torch.equal(data.versions, again.versions) and torch.equal(data.amounts, again.amounts)
    assert data.amounts.shape == (6, len(VERSIONS)) and data.repeated().shape == data.versions.shape
    edits = data.amounts[:, [i for i, kind in enumerate(VERSIONS) if kind == "edits"]]
    distortions = data.amounts[:, [i for i, kind in enumerate(VERSIONS) if kind in DISTORTIONS]]
    assert (edits >= 1).all() and (edits == edits.round()).all()
    assert (distortions <= NUISANCE).all()
    assert not torch.equal(data.versions[0], data.references[0])


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_a_distortion_grows_with_its_level(kind):
    images = render(sample_scenes(4, 8), 64).images
    levels = torch.tensor([0.0, 0.3, 0.6, 1.0])
    generators = (torch.Generator().manual_seed(0) for _ in levels)
    changed = [distort(images, kind, level.expand(4), g) for level, g in zip(levels, generators, strict=True)]
    errors = torch.stack([(c - images).abs().mean((1, 2, 3)) for c in changed])
    assert (errors.diff(dim=0) > 0).all()
    assert errors[0].max() < 1e-3


def test_mini_perc_learns_and_is_a_diffusers_model(tmp_path):
    made, other = MiniPerc("a"), MiniPerc("b")
    made.batch = 6
    generator = torch.Generator().manual_seed(0)
    before = float(made.loss(0, generator)[0].detach())
    optimizer = torch.optim.Adam(made.net.parameters(), 1e-3)
    for step in range(8):
        optimizer.zero_grad()
        made.loss(step, generator)[0].backward()
        optimizer.step()
    assert float(made.loss(0, generator)[0].detach()) < before
    assert made.seed != other.seed
    assert not torch.equal(next(made.net.parameters()), next(other.net.parameters()))
    made.export(tmp_path / "perc")
    loaded = PerceptualDistance.from_pretrained(tmp_path / "perc", torch_dtype=torch.float32)
    images = torch.rand(3, 3, 64, 64, generator=generator)
    assert torch.equal(loaded(images, images), torch.zeros(3))
    assert torch.allclose(loaded(images, images.flip(0)), made.net(images, images.flip(0)), rtol=0.02)


def test_mini_pixel_learns_and_samples_as_a_ddpm_pipeline(tmp_path):
    torch.manual_seed(0)
    made = MiniPixel(n=48)
    assert made.data.shape == (48, 3, 32, 32) and made.data.dtype == torch.uint8
    assert torch.equal(made.data, (pictures(48, TRAIN_SEED * 11) * 255).round().byte())
    made.batch = 8
    first = float(made.loss(0, torch.Generator().manual_seed(3))[0].detach())
    optimizer = torch.optim.Adam(made.unet.parameters(), 1e-3)
    for step in range(8):
        optimizer.zero_grad()
        made.loss(0, torch.Generator().manual_seed(step % 2))[0].backward()
        optimizer.step()
    assert float(made.loss(0, torch.Generator().manual_seed(0))[0].detach()) < 0.9 * first
    made.export(tmp_path / "pixel")
    model = models.load(str(tmp_path / "pixel"))
    assert model.architecture == "pixels"
    assert model.sample(["", ""], steps=2).images.shape == (2, 3, 32, 32)


def test_a_miniature_goes_on_from_finished_weights(tmp_path):
    torch.manual_seed(0)
    first, second = MiniPixel(n=0), MiniPixel(n=0)
    weights = first.unet.conv_in.weight.detach().half().float()
    first.export(tmp_path / "run" / "export")
    start_from(second, tmp_path / "run")
    assert torch.equal(second.unet.conv_in.weight, weights)
    with pytest.raises(BadInput, match="mini-perc-a holds no unet"):
        start_from(MiniPixel(n=0), "mini-perc-a")
    with pytest.raises(UnknownName, match="mini-perc-a"):
        start_from(second, "mini-perc-c")


def test_the_bundled_generators_can_be_trained_on(vae):
    for name, objective in {"mini-video": MiniVideo(vae, clips=0), "mini-sd": MiniSD(vae, scenes=0)}.items():
        before = {part: module.state_dict() for part, module in objective.modules.items()}
        before = {part: {k: v.clone() for k, v in weights.items()} for part, weights in before.items()}
        start_from(objective, name)
        for part, module in objective.modules.items():
            assert any(not torch.equal(before[part][k], v) for k, v in module.state_dict().items()), (name, part)


def test_what_made_a_miniature_lies_beside_it_and_is_no_part_of_its_checksum(tmp_path, monkeypatch):
    plan = dataclasses.replace(PLANS["mini-pixel"], make=lambda: MiniPixel(n=8))
    monkeypatch.setitem(PLANS, "mini-pixel", plan)
    monkeypatch.setattr(miniatures, "WEIGHTS", tmp_path)
    changes = {"batch": "3", "rate": "1e-4"}
    trained = train_miniature("mini-pixel", tmp_path / "run", Budget(steps=2), changes=changes, progress=False)
    (tmp_path / "run" / "export").rename(tmp_path / "mini-pixel")
    about = miniatures.training("mini-pixel")
    assert (
        about["command"] == "diffolio train mini-pixel --budget 2 --set batch=3 --set rate=1e-4"
        and about["steps"] == trained.steps == 2
    )
    assert about["settings"]["rate"] == 1e-4 and about["settings"]["warmup"] == plan.settings.warmup
    assert (tmp_path / "mini-pixel" / miniatures.LOG).read_text() == trained.log.read_text()
    assert not {miniatures.TRAINING, miniatures.LOG} & set(miniatures.checksums("mini-pixel"))
    assert str(tmp_path) not in (tmp_path / "mini-pixel" / miniatures.TRAINING).read_text()
