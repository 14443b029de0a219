"""LogicalDefender: pseudo-words without a vocabulary, the two-path loss, what it refuses, and that all of it comes off again."""

import copy

import pytest
import torch

from diffolio import miniatures
from diffolio.errors import BadInput, Conflict, Unsupported
from diffolio.methods.control.logical_defender import BASE, LOGIC, LogicalDefender, frozen, orchard_examples, start_of
from diffolio.models import Model, load
from diffolio.models.logic import LogicEmbedding
from diffolio.models.pseudo_words import states_with, word_vectors
from diffolio.models.swapped import load_weights, save_weights, swapped
from diffolio.training.logic import LearnLogic, Words, cosines
from diffolio.training.loop import Budget
from tests.models.tiny import tiny_model, tiny_pixart, tiny_sdxl

RULE, PROMPT = "the stalk is tied to the branch", "a red circle under a branch"


def states(model, prompt):
    with torch.no_grad():
        return model.condition([prompt])["cond"]["encoder_hidden_states"]


def embedding(model, move=0.5):
    start = word_vectors(model, RULE)
    return LogicEmbedding(start + move * torch.randn(start.shape, generator=torch.Generator().manual_seed(0)), start)


def sample(model, prompt=PROMPT, **options):
    return model.sample([prompt], steps=2, guidance_scale=3.0, **options).latents


def objective(model, **options):
    latents = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    words = Words(word_vectors(model, RULE) + 0.1)
    return LearnLogic(model, latents, [PROMPT, "a blue heart", PROMPT, "a green star"], words, **options)


# Exact


def test_pseudo_words_that_are_words_read_as_these():
    model = tiny_model()
    vectors = word_vectors(model, RULE)
    assert torch.equal(states_with(model, [PROMPT], vectors), states(model, f"{PROMPT} . {RULE}"))
    both = states_with(model, [PROMPT, "a star"], vectors)
    assert torch.allclose(both[1:], states(model, f"a star . {RULE}"), atol=1e-6)


def test_the_loss_is_the_formula():
    """Against the two paths, computed one by one."""
    model = tiny_model()
    with frozen(model):
        learned = objective(model, against=1.5, decorrelate=0.01)
        loss, told = learned.loss(3, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    chosen = torch.randint(4, (4,), generator=generator).tolist()
    latents, prompts = learned.latents[chosen], [learned.captions[i] for i in chosen]
    noise = torch.randn(latents.shape, generator=generator)
    t = torch.randint(1000, (4,), generator=generator)
    noisy = model.scheduler.add_noise(latents, noise, t)
    with torch.no_grad():
        pos = model.denoiser(noisy, t, states_with(model, prompts, learned.words.vectors)).sample
        neg = model.denoiser(noisy, t, model.condition(prompts)["cond"]["encoder_hidden_states"]).sample
        move = (learned.words.vectors - learned.start).mean(0)
        objects = torch.cat([word_vectors(model, prompt) for prompt in prompts])
        wanted = (noise - (pos + 1.5 * (pos - neg))).square().mean() + 0.01 * cosines(move, objects).square().mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert told["plain"] == pytest.approx(float((noise - pos).square().mean()), rel=1e-5)


def test_without_the_negative_path_it_is_textual_inversion():
    model = tiny_model()
    with frozen(model):
        loss, told = objective(model, against=0.0, decorrelate=0.0).loss(0, torch.Generator().manual_seed(2))
    assert loss.item() == pytest.approx(told["plain"])
    assert "apart" not in told


def test_cosines():
    words = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    found = cosines(torch.tensor([3.0, 0.0], dtype=torch.float64), words)
    assert torch.allclose(found, torch.tensor([1.0, 0.0, 0.5**0.5], dtype=torch.float64), atol=1e-6)
    assert torch.equal(cosines(torch.zeros(2), words.float()), torch.zeros(3))


def test_strength_goes_from_the_rule_to_what_was_learned(tmp_path):
    made = LogicEmbedding(torch.ones(3, 4), torch.zeros(3, 4), {"rule": "x"})
    assert torch.equal(made.at(0.0), made.start)
    assert torch.equal(made.at(1.0), made.vectors)
    assert torch.allclose(made.at(0.25), torch.full((3, 4), 0.25))
    again = LogicEmbedding.load(made.save(tmp_path / "logic.safetensors"))
    assert torch.equal(again.vectors, made.vectors)
    assert again.about == {"rule": "x"}


def test_starts():
    model = tiny_model()
    words, noise = start_of(model, RULE, "rule", 0), start_of(model, RULE, "random", 0)
    assert torch.equal(words, word_vectors(model, RULE))
    assert noise.shape == words.shape
    assert noise.std().item() == pytest.approx(words.std().item(), rel=0.2)
    assert torch.equal(noise, start_of(model, RULE, "random", 0))


# Real architecture: Stable Diffusion's layout


def test_only_the_new_words_receive_gradients():
    model = tiny_model()
    with frozen(model):
        learned = objective(model)
        loss, _ = learned.loss(0, torch.Generator().manual_seed(0))
        loss.backward()
    assert learned.words.vectors.grad.abs().sum() > 0
    parts = [part for part in model.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert all(p.grad is None for part in parts for p in part.parameters())


def test_appending_acts_in_the_conditional_row_only_and_comes_off():
    model, made = tiny_model(), embedding(tiny_model())
    vocabulary, before = len(model.pipeline.tokenizer), sample(model)
    table = model.pipeline.text_encoder.get_input_embeddings().weight.clone()
    seen = []
    with LogicalDefender().on(model, made), model.seams.denoiser(before=lambda call: seen.append(call)):
        changed = sample(model)
    assert not torch.equal(changed, before)
    assert torch.equal(seen[0].part("cond")["encoder_hidden_states"], states_with(model, [PROMPT], made.vectors))
    assert torch.equal(seen[0].part("uncond")["encoder_hidden_states"], states(model, ""))
    with pytest.raises(ZeroDivisionError), LogicalDefender().on(model, made):
        1 / 0  # noqa: B018
    assert torch.equal(sample(model), before)
    assert len(model.pipeline.tokenizer) == vocabulary
    assert torch.equal(model.pipeline.text_encoder.get_input_embeddings().weight, table)
    assert not model.pipeline.text_encoder.get_input_embeddings()._forward_hooks


def test_strength_zero():
    model, made = tiny_model(), embedding(tiny_model())
    before, written = sample(model), sample(model, f"{PROMPT} . {RULE}")
    with LogicalDefender(strength=0.0, text_rule=False).on(model, made):
        assert torch.equal(sample(model), before)
    with LogicalDefender(strength=0.0).on(model, made):
        assert torch.allclose(sample(model), written, atol=1e-5)


def test_guidance_by_the_logical_prompt_is_the_formula():
    """One step's combined noise: eps_0 + w (eps_text - eps_0) + w_L (eps_text+L - eps_text)."""
    model, made, raw = tiny_model(), embedding(tiny_model()), {}

    def look(call, outputs):
        raw.update({name: x.clone() for name, x in outputs.items()})

    with LogicalDefender(w_logic=2.0).on(model, made), model.seams.denoiser(after=look):
        found = model.sample([PROMPT], steps=1, guidance_scale=3.0).latents
    assert set(raw) == {"uncond", "cond", "logic"}
    combined = raw["uncond"] + 3.0 * (raw["cond"] - raw["uncond"]) + 2.0 * (raw["logic"] - raw["cond"])
    with model.seams.denoiser(after=lambda call, outputs: call.same(combined)):
        assert torch.allclose(model.sample([PROMPT], steps=1, guidance_scale=3.0).latents, found, atol=1e-5)
    with LogicalDefender(w_logic=2.0).on(model, made), pytest.raises(Conflict, match="guidance rule"):
        with LogicalDefender(w_logic=1.0).on(model, made):
            pass


def test_learning_leaves_the_model_alone_and_saves_its_words(tmp_path):
    model = tiny_model()
    before = copy.deepcopy({**model.denoiser.state_dict(), **model.pipeline.text_encoder.state_dict()})
    data = (torch.randn(3, 4, 16, 16), [PROMPT, "a blue heart", "a green star"])
    recipe = LogicalDefender(rule="a stalk", rate=0.1, batch=2)
    trained = recipe.fit(model, data, Budget(steps=2), folder=tmp_path, progress=False)
    after = {**model.denoiser.state_dict(), **model.pipeline.text_encoder.state_dict()}
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    made = LogicEmbedding.load(tmp_path / "export" / LOGIC)
    assert made.about["pictures"] == 3
    assert trained.steps == made.about["steps"] == 2
    assert torch.equal(made.start, word_vectors(model, "a stalk"))
    assert not torch.equal(made.start, made.vectors)


# Bad input


@pytest.mark.parametrize(
    ("captions", "match"), [([PROMPT] * 2, "at least 3"), ([PROMPT, "", PROMPT], "caption"), ([PROMPT] * 4, "caption")]
)
def test_refuses_too_few_pictures_and_empty_captions(tmp_path, captions, match):
    data = (torch.randn(min(3, len(captions)), 4, 16, 16), captions)
    with pytest.raises(BadInput, match=match):
        LogicalDefender().fit(tiny_model(), data, Budget(steps=1), folder=tmp_path, progress=False)


def test_refuses_long_rules_long_prompts_and_other_models(tmp_path):
    model, made = tiny_model(), embedding(tiny_model())
    with pytest.raises(BadInput, match="say it in 1 to 16"):
        start_of(model, "the fruit is always tied to its own branch by a whole stalk", "rule", 0)
    with pytest.raises(BadInput, match="say it in 1 to 16"):
        start_of(model, "", "rule", 0)
    with pytest.raises(BadInput, match="shorten the prompt"), LogicalDefender().on(model, made):
        sample(model, "a red circle to the left of a blue star on a striped white background")
    with pytest.raises(Unsupported, match="one CLIP"):
        LogicalDefender().fit(Model(tiny_sdxl()), None, Budget(steps=1), folder=tmp_path)
    with pytest.raises(Unsupported, match="works on unet"):
        LogicalDefender().fit(Model(tiny_pixart()), None, Budget(steps=1), folder=tmp_path)
    with pytest.raises(BadInput, match="words of 32"):
        states_with(model, [PROMPT], torch.zeros(3, 5))


def test_refuses_files_that_are_none_and_other_bases(tmp_path):
    model = tiny_model()
    (tmp_path / "x.safetensors").write_text("x")
    with pytest.raises(BadInput, match="logical embedding"):
        LogicEmbedding.load(tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match="no trained weights"):
        load_weights(tmp_path, model)
    place = save_weights(tmp_path / "w", model, {"conv_in.bias": torch.zeros(16)}, {})
    assert set(load_weights(place, model)[0]) == {"conv_in.bias"}
    with pytest.raises(BadInput, match="other weights"):
        load_weights(place, load("mini-sd"))


# Miniature


def test_the_orchard_s_examples_obey_the_rule_and_do_not_say_it():
    latents, captions = orchard_examples(load("mini-sd"), 5, 0)
    assert latents.shape == (5, 4, 16, 16)
    assert all(caption.split()[2] in ("circle", "heart") and "stalk" not in caption for caption in captions)


def test_the_bundled_rule_changes_the_bundled_base():
    model, place = load("mini-sd"), miniatures.adapter("logical_defender")
    with swapped(model.denoiser, load_weights(place / BASE, model)[0]):
        base = sample(model)
        with LogicalDefender().on(model):
            assert not torch.allclose(sample(model), base, atol=1e-2)
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < 8 * 2**20
    assert LogicEmbedding.load(place / LOGIC).about["rule"] == RULE
