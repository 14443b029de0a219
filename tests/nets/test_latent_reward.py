"""The latent reward: what it starts as, that it learns to tell latents by caption, and what it refuses."""

import pytest
import torch
from transformers import CLIPTextModel

from diffolio.errors import BadInput
from diffolio.miniatures.text import text_config, tokenizer
from diffolio.nets.latent_reward import ContrastiveLatents, LatentReward, load_reward, save_reward

CAPTIONS = ["a red circle", "a blue star", "a green tree", "a yellow fish"]


def reward(**shape):
    torch.manual_seed(0)
    tokens = tokenizer()
    text = CLIPTextModel(text_config(tokens, width=16, layers=2))
    return LatentReward(tokens, text, **{"size": 8, "patch": 4, "width": 16, "layers": 2, "embedding": 8, **shape}), text


class Four:
    """Four latents that are told apart by their channel."""

    latents = torch.eye(4)[:, :, None, None].expand(4, 4, 8, 8)

    def draw(self, batch, generator):
        index = torch.randperm(4, generator=generator)[:batch]
        return self.latents[index], [CAPTIONS[i] for i in index.tolist()]


def test_the_text_tower_starts_as_the_one_given_and_scores_are_cosines():
    made, text = reward()
    ours, theirs = made.clip.text_model.state_dict(), text.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    latents = torch.randn(4, 4, 8, 8, requires_grad=True)
    scores = made(latents, CAPTIONS)
    assert scores.shape == (4,)
    assert (scores.abs() <= 1 + 1e-6).all()
    assert torch.autograd.grad(scores.sum(), latents)[0].abs().sum() > 0


def test_contrastive_pretraining_tells_latents_by_caption(tmp_path):
    made, _ = reward()
    objective = ContrastiveLatents(made, Four(), batch=4)
    optimizer = torch.optim.AdamW(made.parameters(), 3e-3)
    for step in range(40):
        loss, told = objective.loss(step, torch.Generator().manual_seed(step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert told["retrieval"] == 1.0
    with torch.no_grad():
        own = made(Four.latents, CAPTIONS)
        other = made(Four.latents, CAPTIONS[1:] + CAPTIONS[:1])
    assert (own > other).all()
    save_reward(made, tmp_path / "proxy.safetensors")
    again = load_reward(reward()[0], tmp_path / "proxy.safetensors")
    with torch.no_grad():
        assert torch.equal(again(Four.latents, CAPTIONS), own)
    assert [path.name for path in tmp_path.iterdir()] == ["proxy.safetensors"]


def test_the_tail_is_the_last_blocks_norms_and_projections():
    made, _ = reward()
    tail = {id(p) for p in made.tail(text_layers=1)}
    names = {name for name, p in made.clip.named_parameters() if id(p) in tail}
    starts = {
        "vision_model.encoder.layers.1.", "vision_model.post_layernorm.", "visual_projection.", "text_model.encoder.layers.1.",
        "text_model.final_layer_norm.", "text_projection.", "logit_scale",
    }  # fmt: skip
    assert {next(start for start in starts if name.startswith(start)) for name in names} == starts


def test_latents_that_do_not_divide_into_patches():
    with pytest.raises(BadInput, match="patch"):
        reward(patch=3)
