"""EffiVED: pairs out of pictures and clips, the source beside the latents, two-way guidance, on Latte and on ModelScope's 3D UNet."""

import copy
from dataclasses import replace

import pytest
import torch
from PIL import Image

from diffolio import miniatures
from diffolio.errors import BadInput, BadKnob, Conflict, Unsupported
from diffolio.methods.video.effived import STILL, EffiVED, overlapped, windows
from diffolio.models import Model
from diffolio.models.clips import save_clip
from diffolio.models.instructed import Instructed, load_instructed, trainable_parts
from diffolio.nets.source_columns import first_layer, source_columns, taken
from diffolio.process.guidance import combine_two
from diffolio.results import Job
from diffolio.seams.two_way import beside, two_way
from diffolio.training.edit_clips import build_triples
from diffolio.training.edit_worlds import tabletop_edits
from diffolio.training.instructed import FollowInstructions, edit_latents
from diffolio.training.loop import Budget
from diffolio.worlds.motion import Motion, Script, film
from diffolio.worlds.tabletop import Scene, Thing
from tests.models.tiny import tiny_latte, tiny_sd
from tests.models.video import tiny_text_to_video


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def latte():
    return Model(copy.deepcopy(tiny_latte()), "tiny latte")


def modelscope():
    return Model(copy.deepcopy(tiny_text_to_video()), "tiny text-to-video")


BOTH = pytest.mark.parametrize("build", [latte, modelscope])


def clip_of(model, n=1, frames=4, seed=0):
    side = model.default_size
    return torch.rand(n, frames, 3, side, side, generator=torch.Generator().manual_seed(seed))


def editor_of(model, seed=5):
    """Source columns that are not zero, as after training, and one changed layer."""
    holder, name = first_layer(model.denoiser)
    weight = getattr(holder, name).weight
    changed, value = next((n, p) for n, p in model.denoiser.named_parameters() if ".to_q" in n)
    return Instructed(0.3 * rand(*weight.shape, seed=seed), {changed: value + 0.1})


def triples(n=4, frames=4, size=128):
    made = build_triples(tabletop_edits(n, 3, 32), frames=frames, size=size, seed=1)
    return made


def script(motion="right", what=0.5):
    scene = Scene((Thing("circle", "red", 0.5, 0.5, 0.3),), "cream")
    return Script(scene, (Motion(motion, what),), length=4)


# Exact


def test_windows_cover_and_average():
    assert windows(8, 8) == windows(5, 8) == [0]
    assert windows(20, 8) == [0, 4, 8, 12]
    assert windows(9, 8) == [0, 1]
    whole = rand(1, 2, 11, 3, 3)
    starts = windows(11, 4)
    torch.testing.assert_close(overlapped([whole[:, :, s : s + 4] for s in starts], starts, 11), whole)


# Real architectures: Latte, and UNet3DConditionModel inside TextToVideoSDPipeline


@BOTH
def test_zero_columns_are_the_base_for_any_source(build):
    model = build()
    source = model.encode(clip_of(model))
    start, prompt = rand(*source.shape, seed=3), "make it night"
    plain = model.sample(prompt, latents=start, steps=2, guidance_scale=4.0).latents
    layer = first_layer(model.denoiser)
    old = getattr(*layer)
    for clip in (source, 100 * source):
        with source_columns(model.denoiser), two_way(model.seams, clip, 1.0, 4.0):
            made = model.sample(prompt, latents=start, steps=2, guidance_scale=2.0).latents
        torch.testing.assert_close(made, plain, rtol=1e-3, atol=1e-4)
    assert getattr(*layer) is old


@BOTH
def test_two_way_guidance_is_three_forwards_and_plain_guidance_at_one(build):
    model = build()
    source = model.encode(clip_of(model))
    z, condition = rand(*source.shape, seed=2), model.condition("make it night")
    trained = editor_of(model)
    with torch.no_grad(), source_columns(model.denoiser, trained.columns):
        arguments = {row: condition[row] for row in ("cond", "uncond")}
        t = torch.tensor([500])
        none, video, both = (
            model.denoiser(torch.cat([z, s], 1), timestep=t, **arguments[row], return_dict=False)[0][:, :4]
            for s, row in ((torch.zeros_like(source), "uncond"), (source, "uncond"), (source, "cond"))
        )
        with two_way(model.seams, source, 1.5, 7.5):
            guided = model.predict(z, 500, condition, guidance_scale=2.0).raw
        with two_way(model.seams, source, 1.0, 7.5):
            one = model.predict(z, 500, condition, guidance_scale=2.0).raw
        with beside(model.seams, source):
            plain = model.predict(z, 500, condition, guidance_scale=7.5).raw
    torch.testing.assert_close(guided, combine_two(none, video, both, 1.5, 7.5), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one, plain, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(guided, plain, atol=1e-2)


@BOTH
def test_edits_and_comes_off_bit_for_bit_also_by_an_exception(build):
    model = build()
    clip = clip_of(model, 2)
    weights = {n: p.clone() for n, p in model.denoiser.state_dict().items()}
    before = model.sample(["a"], seed=1, steps=1).latents
    trained, editor = editor_of(model), EffiVED(steps=2)
    one = editor.edit(model, clip, ["make it night", "make it snow"], trained, seed=3)
    assert one.shape == clip.shape
    assert torch.allclose(one[1], editor.edit(model, clip[1], "make it snow", trained, seed=4), atol=1e-4)
    assert not torch.allclose(
        one, editor.edit(model, clip.flip(1), ["make it night", "make it snow"], trained, seed=3), atol=1e-3
    )
    with pytest.raises(ZeroDivisionError), trained.on(model, model.encode(clip)):
        1 / 0  # noqa: B018
    with pytest.raises(Conflict), trained.on(model, model.encode(clip)), two_way(model.seams, model.encode(clip)):
        pass
    assert all(torch.equal(p, weights[n]) for n, p in model.denoiser.state_dict().items())
    assert torch.equal(model.sample(["a"], seed=1, steps=1).latents, before)


def test_longer_and_shorter_clips():
    model, editor = latte(), EffiVED(steps=1)
    trained = editor_of(model)
    assert editor.edit(model, clip_of(model, frames=3)[0], "make it night", trained).shape[0] == 3
    assert editor.edit(model, clip_of(model, frames=7)[0], "make it night", trained).shape[0] == 7
    free = modelscope()
    assert editor.edit(free, clip_of(free, frames=3)[0], "make it night", editor_of(free)).shape[0] == 3


@BOTH
def test_training_changes_a_copy_and_what_it_ships_makes_the_same_editor(build, tmp_path):
    model = build()
    data = triples(4, size=model.default_size)
    before = {n: p.clone() for n, p in model.denoiser.state_dict().items()}
    recipe = EffiVED(trains="attention", rate=1e-2, batch=2, compare=True, steps=1)
    trained = recipe.fit(model, data, Budget(steps=4), folder=tmp_path, progress=False)
    assert trained.steps == 2
    assert all(torch.equal(p, before[n]) for n, p in model.denoiser.state_dict().items())
    found, plain = load_instructed(tmp_path / "export", model), load_instructed(tmp_path / "export" / STILL, model)
    assert found.about["trained_steps"] == plain.about["trained_steps"] == 2
    assert found.columns.abs().max() > 0
    assert not torch.equal(found.columns, plain.columns)
    assert all(".ff." not in name for name in found.weights)
    clip = clip_of(model)
    assert not torch.equal(*(recipe.edit(model, clip, "make it night", e) for e in (found, plain)))


def test_training_resumes_where_it_was(tmp_path):
    model = latte()
    recipe, data = EffiVED(trains="attention", rate=1e-3, batch=1), edit_latents(latte(), triples(3))
    recipe.fit(model, data, Budget(steps=3), folder=tmp_path / "a", progress=False)
    recipe.fit(model, data, Budget(steps=3), folder=tmp_path / "b", progress=False)
    again = recipe.fit(model, data, Budget(steps=3), folder=tmp_path / "b", progress=False, resume=True)
    assert again.steps == 3
    a, b = (load_instructed(tmp_path / name / "export", model) for name in "ab")
    assert torch.equal(a.columns, b.columns)


def test_what_trains_and_what_a_sample_sees():
    model = latte()
    with source_columns(model.denoiser) as wide:
        names = trainable_parts(model.denoiser, "temporal")
        assert all("temporal_" in n or n.startswith("pos_embed") for n in names)
        assert any(n.startswith("temporal_transformer_blocks") for n in names)
        objective = FollowInstructions(model, edit_latents(model, triples(3)), batch=2, drop=(0.0, 0.0, 0.0), emphasis=3.0)
        loss, told = objective.loss(0, torch.Generator().manual_seed(0))
        loss.backward()
        assert taken(wide.grad).abs().max() > 0
        assert {"plain", "changed"} == set(told)
        blind = FollowInstructions(model, edit_latents(model, triples(3)), batch=2, drop=(0.0, 0.0, 1.0))
        wide.grad = None
        blind.loss(0, torch.Generator().manual_seed(0))[0].backward()
        assert not taken(wide.grad).any()
        times = [objective.times(torch.Generator().manual_seed(i)) for i in range(50)]
        assert 350 < torch.cat(times).mean() < 650


# Bad input


def test_refuses_what_is_no_clip_and_no_instruction():
    model, editor = latte(), EffiVED(steps=1)
    trained = editor_of(model)
    with pytest.raises(BadInput, match="one frame"):
        editor.edit(model, clip_of(model, frames=1), "make it night", trained)
    with pytest.raises(BadInput, match="T, 3, H, W"):
        editor.edit(model, torch.rand(3, 64, 64), "make it night", trained)
    with pytest.raises(BadInput, match="empty instruction"):
        editor.edit(model, clip_of(model), " ", trained)
    with pytest.raises(BadInput, match="2 instructions for 1"):
        editor.edit(model, clip_of(model), ["a", "b"], trained)
    with pytest.raises(Unsupported, match="works on video"):
        editor.edit(Model(tiny_sd()), clip_of(model), "make it night", trained)
    with pytest.raises(BadInput, match="source columns of shape"), source_columns(model.denoiser, torch.zeros(3)):
        pass
    with pytest.raises(Unsupported, match="no plain convolution"):
        first_layer(torch.nn.Linear(2, 2))
    with pytest.raises(BadKnob, match="three shares"):
        EffiVED(drop=(0.5, 0.6))


def test_a_run_edits_the_given_clip_at_its_speed(tmp_path):
    model = latte()
    editor_of(model).save(tmp_path / "export", model)
    path = save_clip(tmp_path / "clip.webp", clip_of(model)[0], fps=5)
    editor = EffiVED(adapter=str(tmp_path), steps=1)
    result = editor.run(Job(model, ["make it night"], inputs={"video": path}))
    assert result.fps == pytest.approx(5)
    assert result.images["effived"].shape == (1, 4, 3, 128, 128)
    result.save(tmp_path / "out")
    with Image.open(tmp_path / "out" / "effived-0.webp") as told:
        told.seek(1)
        told.load()
        assert told.info["duration"] == 200
    drawn = editor.run(Job(model, ["make the star red", "a tree"]))
    assert set(drawn.images) == {"source", "effived", "exact edit"}
    assert any("a drawn clip allows" in note for note in drawn.report["notes"])


# Miniature


@pytest.mark.skipif("mini-video" not in miniatures.available(), reason="mini-video is not bundled")
def test_the_bundled_editor_does_what_it_is_told():
    """One clip, few steps: by night it is dark, and the thing is still where it was."""
    from diffolio.models import load

    model = load("mini-video")
    clip = film(replace(script("right", 0.4), length=8)).frames
    night = EffiVED(steps=6, s_text=4.0).edit(model, clip, "make it night")
    assert night.mean() < 0.6 * clip.mean()
    place = miniatures.adapter("effived")
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 8 * 2**20
    assert (place / STILL).is_dir()
