"""Models of clips: the true LattePipeline behind the handle, the seams in space and time, and clips as files."""

from contextlib import contextmanager

import pytest
import torch
from PIL import Image

from diffolio.errors import BadInput
from diffolio.models import Model
from diffolio.models.clips import film_strip, save_clip
from diffolio.process.sampling import generators
from diffolio.registry import Technique
from diffolio.results import Job, compare
from tests.models.tiny import tiny_latte

PROMPTS = ["a red ball moving left", "a tree"]


@pytest.fixture(scope="module")
def model():
    return Model(tiny_latte())


def test_a_sample_is_the_pipelines_own(model):
    assert (model.architecture, model.frames, model.factor, model.channels) == ("latte", 4, 8, 4)
    assert model.kinds == {"latte", "transformer", "video"} and model.prediction == "flow"
    told = []
    got = model.sample(PROMPTS, seed=3, steps=3, guidance_scale=4, progress=lambda done, steps: told.append((done, steps)))
    assert got.images.shape == (2, 4, 3, 128, 128) and got.latents.shape == (2, 4, 4, 16, 16)
    # With two prompts the pipeline masks its text as we do, but leaves the padding of the null in.
    condition = model.condition(PROMPTS)
    want = model.pipeline(
        prompt_embeds=condition["cond"]["encoder_hidden_states"], negative_prompt=None, mask_feature=False, clean_caption=False,
        negative_prompt_embeds=condition["uncond"]["encoder_hidden_states"], guidance_scale=4, num_inference_steps=3,
        generator=generators(3, 2), video_length=4, height=128, width=128, output_type="pt",
    ).frames  # fmt: skip
    assert torch.allclose(got.images, want, atol=1e-5) and told == [(1, 3), (2, 3), (3, 3)]


def test_the_text_is_masked_as_the_pipeline_masks_it(model):
    theirs, _ = model.pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False, clean_caption=False)
    assert torch.equal(model.condition(PROMPTS)["cond"]["encoder_hidden_states"], theirs)


def test_a_clip_depends_on_its_seed_and_not_on_its_batch(model):
    both = model.sample(PROMPTS, seed=5, steps=2)
    alone = model.sample(PROMPTS[1], seed=6, steps=2)
    assert torch.allclose(alone.latents, both.latents[1:], atol=1e-5)


def test_encode_and_decode_frame_by_frame(model):
    clips = torch.rand(2, 4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    latents = model.encode(clips)
    assert latents.shape == (2, 4, 4, 16, 16)
    single = model._codec
    own = super(type(single), single).encode(clips[1, 2:3], False, None)[0]
    assert torch.allclose(latents[1, :, 2], own, atol=1e-6)
    assert model.decode(latents).shape == clips.shape
    with pytest.raises(BadInput, match="B, T, 3, H, W"):
        model.encode(clips[:, 0])


def test_predictions_hold_together(model):
    condition = model.condition(PROMPTS)
    x = torch.randn(2, 4, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    model.scheduler.set_timesteps(4)
    told = model.predict(x, 500.0, condition, guidance_scale=3.0)
    assert told.kind == "flow" and torch.allclose(told.noise - told.clean, told.raw, atol=1e-4)
    assert torch.allclose(0.5 * told.clean + 0.5 * told.noise, x, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"frames": 6}, "for 4"), ({"latents": torch.zeros(2, 4, 16, 16)}, "T, h, w"), ({"latents": torch.zeros(2, 4, 3, 16, 16)}, "for 4")],
)  # fmt: skip
def test_clips_that_cannot_be_made_are_refused(model, options, words):
    with pytest.raises(BadInput, match=words):
        model.sample(PROMPTS, steps=1, **options)


def test_seams_name_the_rows_in_space_and_in_time(model):
    plain = model.sample(PROMPTS, seed=1, steps=2, guidance_scale=4)
    seen = []

    def look(site, q, k, v):
        seen.append((site.path.split(".")[0], site.kind, site.grid, site.rows, site.samples, len(q)))

    with model.seams.attention(qkv=look):
        watched = model.sample(PROMPTS, seed=1, steps=2, guidance_scale=4)
    assert torch.equal(plain.latents, watched.latents)
    rows = ("uncond", "cond")
    assert ("transformer_blocks", "self", (8, 8), rows, 8, 16) in seen  # 2 clips x 4 frames a row
    assert ("temporal_transformer_blocks", "self", None, rows, 128, 256) in seen  # 2 clips x 64 cells a row

    def silence(site, out):
        changed = out.clone()
        changed[site.row("cond")] = 0
        return changed

    with model.seams.attention(output=silence, where=lambda site: "temporal" in site.path):
        edited = model.sample(PROMPTS, seed=1, steps=2, guidance_scale=4)
    assert not torch.allclose(edited.latents, plain.latents)
    assert torch.equal(model.sample(PROMPTS, seed=1, steps=2, guidance_scale=4).latents, plain.latents)


def test_clips_as_files(tmp_path):
    clip = torch.rand(5, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    for name in ("a.webp", "b.gif", "c.png"):
        with Image.open(save_clip(tmp_path / name, clip, fps=10)) as told:
            assert told.n_frames == 5 and told.size == (24, 16)
            told.seek(3)
            assert told.info.get("duration", 100) == 100  # WebP's reader tells it only after decoding
    with Image.open(tmp_path / "a.webp") as told:
        told.seek(4)
        last = torch.tensor(list(told.convert("RGB").tobytes())).view(16, 24, 3).permute(2, 0, 1)
    assert torch.equal(last, (clip[4] * 255).round().long())
    assert film_strip(clip, most=3).size == (3 * 26 - 2, 16)
    with pytest.raises(BadInput, match=r"\.webp"):
        save_clip(tmp_path / "a.mp4", clip)
    with pytest.raises(BadInput, match="T, 3, H, W"):
        save_clip(tmp_path / "a.gif", clip[0])


def test_a_technique_on_clips_is_run_and_saved_beside_its_baseline(model, tmp_path):
    class Silence(Technique):
        name = "silence"

        @contextmanager
        def on(self, model):
            with model.seams.attention(
                output=lambda site, out: torch.zeros_like(out), where=lambda site: "temporal" in site.path
            ):
                yield model

    result = compare(Silence(), Job(model, PROMPTS, steps=1))
    paths = [path.name for path in result.save(tmp_path)]
    assert paths == ["baseline-0.webp", "baseline-1.webp", "silence-0.webp", "silence-1.webp", "sheet.png", "result.json"]
    with Image.open(tmp_path / "silence-1.webp") as told, Image.open(tmp_path / "sheet.png") as sheet:
        assert told.n_frames == 4 and sheet.width > 4 * 128 and sheet.height > 4 * 128
    assert result.numbers["rms_difference"] > 0
