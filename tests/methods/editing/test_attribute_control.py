"""Attribute control: only the subject's tokens move, directions are learned as the paper says, and files and words that do not fit."""

import pytest
import torch

from diffolio.errors import BadInput, BadKnob, UnknownName, Unsupported
from diffolio.methods.editing import attribute_control
from diffolio.methods.editing.attribute_control import AttributeControl, Pair, learn, naive, on_policy
from diffolio.models import DiffolioWarning, Model
from diffolio.models.deltas import Delta, controlled, moved, subject_places, subject_tokens, widths
from diffolio.results import Job
from tests.models.tiny import WIDTH, tiny_model, tiny_pixart, tiny_sd, tiny_sd3

PROMPT = "a red fish left of a blue house"
PAIRS = [Pair("fish", "large fish", "small fish"), Pair("house", "large house", "small house")]
CHEAP = {"steps": 2, "batch": 1, "scales": 2, "sampling_steps": 2, "trajectories": 2}


def delta_for(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Delta({name: torch.randn(width, generator=generator) for name, width in widths(model).items()})


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def model(request):
    return tiny_model(request.param)


def fish_places(model, condition):
    return subject_places(model, condition.prompts, ["fish"], condition["cond"]["encoder_hidden_states"])


def seen_texts(model, prompts, **options):
    """What the denoiser is told at every step, by row."""
    seen = []

    def look(call):
        seen.append({row: call.part(row) for row in call.rows})

    with model.seams.denoiser(before=look):
        images = model.sample(prompts, **options).images
    return seen, images


def test_only_the_subjects_tokens_move_and_only_in_the_conditional_row(model):
    delta, options = delta_for(model), {"steps": 5, "guidance_scale": 3.0}
    plain, _ = seen_texts(model, [PROMPT, "a fish"], **options)
    with AttributeControl([(delta, "fish", 1.5)]).on(model):
        ours, _ = seen_texts(model, [PROMPT, "a fish"], **options)
    whole = torch.cat(list(delta.vectors.values()))
    for step, (before, after) in enumerate(zip(plain, ours, strict=True)):
        for key in ("uncond", "cond"):
            x, y = before[key]["encoder_hidden_states"], after[key]["encoder_hidden_states"]
            assert x.shape == y.shape
            if key == "uncond" or step == 0:  # a fifth of five steps is one
                assert torch.equal(x, y)
                continue
            changed = (x != y).any(-1)
            assert changed[0].nonzero().flatten().tolist() == model.token_span(PROMPT, "fish")
            assert changed[1].nonzero().flatten().tolist() == model.token_span("a fish", "fish")
            torch.testing.assert_close((y - x)[changed], 1.5 * whole.expand(2, -1), atol=1e-5, rtol=1e-5)
        pooled = [(row["cond"].get("added_cond_kwargs") or {}).get("text_embeds") for row in (before, after)]
        assert pooled[0] is None or torch.equal(*pooled), "pooled embeddings stay"


def test_strength_zero_and_leaving_are_bit_identical(model):
    delta = delta_for(model)
    plain = model.sample(PROMPT, steps=3).images
    method = AttributeControl([(delta, "fish", 1.0)], delay=0.0)
    with method.neutral().on(model):
        assert torch.equal(model.sample(PROMPT, steps=3).images, plain)
    with method.on(model):
        assert not torch.equal(model.sample(PROMPT, steps=3).images, plain)
    with pytest.raises(RuntimeError, match="stop"), method.on(model):
        raise RuntimeError("stop")
    assert torch.equal(model.sample(PROMPT, steps=3).images, plain)


def test_deltas_add_up_and_two_subjects_do_not_mix(model):
    states = model.condition([PROMPT])["cond"]["encoder_hidden_states"]
    a, b = (delta_for(model, seed).joined(model) for seed in (1, 2))
    both = moved(model, states, [PROMPT], [(a, "fish", 1.0), (b, "fish", -0.5), (b, "house", 2.0)]) - states
    fish, house = model.token_span(PROMPT, "fish"), model.token_span(PROMPT, "house")
    torch.testing.assert_close(both[0, fish], (a - 0.5 * b).expand(len(fish), -1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[0, house], (2 * b).expand(len(house), -1), atol=1e-5, rtol=1e-5)
    rest = [i for i in range(states.shape[1]) if i not in fish + house]
    assert not both[0, rest].any()


def test_the_second_encoder_has_the_second_half():
    model = tiny_model("sdxl")
    assert widths(model) == {"text_encoder": WIDTH, "text_encoder_2": WIDTH}
    delta = Delta({"text_encoder": torch.zeros(WIDTH), "text_encoder_2": torch.ones(WIDTH)})
    states = model.condition([PROMPT])["cond"]["encoder_hidden_states"]
    change = moved(model, states, [PROMPT], [(delta.joined(model), "fish", 1.0)]) - states
    assert not change[..., :WIDTH].any() and change[..., WIDTH:].any()


def test_the_optimisation_free_direction_is_the_mean_difference_at_the_last_token(model):
    found = naive(model, PAIRS, ("a ", "there is a "))
    expected = []
    for pair in PAIRS:
        for prefix in ("a ", "there is a "):
            rows = [
                model.condition([prefix + text])["cond"]["encoder_hidden_states"][0] for text in (pair.positive, pair.negative)
            ]
            last = model.token_span(prefix + pair.positive, pair.target)[-1]
            expected.append(rows[0][last] - rows[1][last])
    torch.testing.assert_close(found.joined(model), torch.stack(expected).mean(0))


@pytest.mark.parametrize("space", ["eps", "x0"])
def test_the_loss_is_zero_where_the_target_already_answers_as_the_contrast_does(space):
    """With equal contrasts the wanted answer is the target's own, so that no delta is right."""
    model = Model(tiny_sd())
    conditions = [model.condition(["a fish"])] * 3
    x, places = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)), fish_places(model, conditions[0])
    t, s, zero = torch.tensor([400]), torch.tensor([2.0, -3.0]), torch.zeros(WIDTH)
    assert float(attribute_control._loss(model, zero, x, t, conditions, places, s, space)) < 1e-10
    other = [conditions[0], model.condition(["a large fish"]), model.condition(["a small fish"])]
    loss = float(attribute_control._loss(model, zero, x, t, other, places, s, space))
    said = [model.predict(x, t, c) for c in other]
    gap = (said[1].noise - said[2].noise) if space == "eps" else (said[1].clean - said[2].clean)
    torch.testing.assert_close(loss, float(sum((k * gap).square().mean() for k in (2.0, 3.0)) / 2), rtol=1e-3, atol=1e-12)


def test_the_spaces_weigh_time_by_noise_over_signal():
    model = Model(tiny_sd())
    conditions = [model.condition([text]) for text in ("a fish", "a large fish", "a small fish")]
    x, zero = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(WIDTH)
    for t in (100, 800):
        level = model.scheduler.alphas_cumprod[t]
        args = (model, zero, x, torch.tensor([t]), conditions, fish_places(model, conditions[0]), torch.ones(1))
        eps, clean = (float(attribute_control._loss(*args, space)) for space in ("eps", "x0"))
        assert clean == pytest.approx(eps * float((1 - level) / level), rel=1e-2)


def test_learning_is_on_policy_with_guidance_and_moves_nothing_but_the_delta(model, monkeypatch):
    before = {name: p.clone() for name, p in model.denoiser.named_parameters()}
    asked = []
    sample = model.sample
    monkeypatch.setattr(
        model, "sample", lambda prompts, **options: asked.append((prompts, options)) or sample(prompts, **options)
    )
    first, again = (learn(model, PAIRS, ("a ",), seed=5, **CHEAP) for _ in range(2))
    assert asked[0][0] == ["a fish", "a house"], "trajectories of the target prompts"
    assert asked[0][1]["guidance_scale"] == 7.5
    assert all(torch.equal(first.vectors[name], again.vectors[name]) for name in first.vectors), "the same seed, the same delta"
    assert all(v.abs().max() > 0 for v in first.vectors.values())
    assert all(torch.equal(p, before[name]) for name, p in model.denoiser.named_parameters())
    assert not any(p.grad is not None for p in model.denoiser.parameters())
    assert first.about["loss_first"] > 0


def test_on_policy_states_are_those_of_sampling():
    model = Model(tiny_sd())
    path = on_policy(model, ["a fish", "a house", "a tree"], 7.5, 3, seed=2, batch=2)
    assert [t for t, _ in path] == sorted((t for t, _ in path), reverse=True) and len(path) == 3
    assert all(z.shape == (3, 4, 16, 16) for _, z in path)
    alone = on_policy(model, ["a tree"], 7.5, 3, seed=4)
    torch.testing.assert_close(path[-1][1][2:], alone[-1][1], atol=1e-4, rtol=1e-4)


def test_a_delta_is_saved_and_read_back_and_the_authors_files_too(tmp_path, model):
    delta = delta_for(model)
    back = Delta.load(delta.save(tmp_path / "size.safetensors"))
    assert all(torch.equal(back.vectors[name], v) for name, v in delta.vectors.items())
    file = {
        "tokenwise_delta.oai_clip_vit_l": torch.ones(768).bfloat16(),
        "tokenwise_delta.openclip_g": torch.ones(1280).bfloat16(),
    }
    torch.save({"delta": file}, tmp_path / "person_age.pt")
    published = Delta.load(tmp_path / "person_age.pt")
    assert {name: v.shape[0] for name, v in published.vectors.items()} == {"text_encoder": 768, "text_encoder_2": 1280}
    with AttributeControl([f"{tmp_path / 'size.safetensors'}:fish:0.5"]).on(model):
        model.sample(PROMPT, steps=2)
    with pytest.raises(BadInput, match=r"768.*learn one for this model"), AttributeControl([(published, "fish", 1.0)]).on(model):
        pass
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(BadInput, match="cannot be read as a delta"):
        Delta.load(tmp_path / "broken.safetensors")


def test_run_shows_a_row_from_less_to_more():
    result = AttributeControl().run(Job(Model(tiny_sd()), ["a red fish"], steps=2))
    assert result.labels == ["-2.0", "-1.0", "+0.0", "+1.0", "+2.0"] and len(result.images["attribute_control"]) == 5
    two = AttributeControl().run(Job(Model(tiny_sd()), ["a red fish", "a blue tree"], steps=1))
    assert [len(row) for row in two.images.values()] == [5, 5] and set(two.report["deltas"]) == {"fish", "tree"}
    with pytest.raises(BadInput, match="1 of 2 prompts"):
        AttributeControl().run(Job(Model(tiny_sd()), ["a red fish", " "], steps=1))


def test_words_that_do_not_fit_say_so():
    model = Model(tiny_sd())
    twice = "a red fish left of a blue fish"
    first, second = (subject_tokens(model, twice, f"fish#{k}")[0] for k in (1, 2))
    assert sorted(first + second) == model.token_span(twice, "fish") and first != second
    with pytest.raises(BadInput, match="2 times"):
        subject_tokens(model, twice, "fish")
    with pytest.raises(BadInput, match="2 times"):
        subject_tokens(model, twice, "fish#3")
    with pytest.raises(UnknownName, match="house"):
        subject_tokens(model, PROMPT, "hous")
    with pytest.raises(BadInput, match="word#2"):
        subject_tokens(model, PROMPT, "")
    with pytest.raises(BadInput, match="stands behind"):
        subject_tokens(model, "a red fish left of " * 12 + "a boat", "boat")
    with pytest.raises(UnknownName), AttributeControl([(delta_for(model), "boat", 1.0)], delay=0.0).on(model):
        model.sample(PROMPT, steps=1)


def test_a_span_that_cuts_a_token_is_refused(monkeypatch):
    model = Model(tiny_sd())
    from diffolio.models.text import Reader

    monkeypatch.setattr(Reader, "offsets", lambda self, prompt: [(0, 0), (0, 5), (6, 14), (0, 0)])
    with pytest.raises(BadInput, match="shares a token"):
        subject_tokens(model, "a red fish-man", "fish")


def test_what_cannot_be_done_says_so(model):
    with pytest.raises(BadInput, match="0 pairs"):
        learn(model, [], **CHEAP)
    with pytest.raises(BadInput, match="at least one"):
        learn(model, PAIRS, **{**CHEAP, "steps": 0})
    with pytest.raises(UnknownName, match="space"):
        learn(model, PAIRS, space="v", **CHEAP)
    with pytest.raises(BadInput, match="contrast"):
        Pair("fish", "large fish", "large fish")
    with pytest.raises(BadInput, match="empty negative"):
        Pair("fish", "large fish", " ")
    with pytest.raises(BadKnob, match="file:subject:strength"), AttributeControl(["fish"]).on(model):
        pass
    method = AttributeControl([(delta_for(model), "fish", 1.0)], delay=0.0)
    with pytest.raises(Unsupported, match="which prompts run"), method.on(model):
        model.pipeline(PROMPT, num_inference_steps=1, output_type="latent")
    with pytest.raises(Unsupported, match="unet"), AttributeControl([]).on(Model(tiny_sd3())):
        pass


def test_t5_is_allowed_with_a_warning():
    model = Model(tiny_pixart())
    delta = delta_for(model)
    with pytest.warns(DiffolioWarning, match="T5"), AttributeControl([(delta, "fish", 1.0)], delay=0.0).on(model):
        moved_picture = model.sample(PROMPT, steps=1).images
    assert not torch.equal(moved_picture, model.sample(PROMPT, steps=1).images)


def test_gradients_reach_the_delta_through_a_condition():
    model = Model(tiny_sd())
    delta = torch.zeros(WIDTH, requires_grad=True)
    condition = controlled(model, model.condition([PROMPT]), [(delta, "fish", 1.0)])
    model.predict(torch.randn(1, 4, 16, 16), 500, condition).noise.square().sum().backward()
    assert delta.grad is not None and delta.grad.abs().max() > 0
