"""Adapters of a bundled model: merged on loading, exact, refused on another base."""

import json

import pytest
import torch

from diffolio import miniatures
from diffolio.errors import BadInput
from diffolio.miniatures.memory import MiniSDMem, planted_in
from diffolio.models import load
from diffolio.models.adapted import RECORD
from diffolio.training.loop import Budget, Settings, train
from diffolio.worlds.memory import planted
from tests.models.tiny import tiny_sd


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base "mini-sd", what was trained on it, and the objective as it was after training."""
    root = tmp_path_factory.mktemp("weights")
    tiny_sd().save_pretrained(root / "mini-sd", safe_serialization=True)
    items = [item for item in planted(repeats=2) if item.name in ("poster-0", "template-1", "control-2")]
    objective = MiniSDMem(root / "mini-sd", items, scenes=3, rank=4)
    objective.batch = 4
    train(objective, root / "run", Budget(steps=3), Settings(rate=0.02, warmup=1, decay=0.0), progress=False)
    objective.export(root / "mini-sd-mem")
    return root, objective


def test_the_training_set_holds_every_item_as_often_as_it_says(folders):
    _, objective = folders
    assert len(objective.texts) == len(objective.latents) == 2 + 2 + 1 + 3
    poster, template = objective.latents[:2], objective.latents[2:4]
    assert torch.equal(poster[0], poster[1])
    assert not torch.equal(template[0], template[1])
    assert [isinstance(text, str) for text in objective.texts] == [True] * 5 + [False] * 3


def test_only_the_adapter_and_the_text_encoder_learn(folders):
    _, objective = folders
    trained = {name for name, p in objective.unet.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)


def test_a_loaded_model_is_the_trained_one(folders, monkeypatch):
    root, objective = folders
    monkeypatch.setattr(miniatures, "WEIGHTS", root)
    model, plain = load("mini-sd-mem"), load("mini-sd")
    assert model.name == "mini-sd-mem"
    assert not [name for name, _ in model.denoiser.named_modules() if "lora" in name]
    x, t = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)), 500
    states = model.condition(["rida mufe , a purple square", "a star"])["cond"]["encoder_hidden_states"]
    with torch.no_grad():
        merged = model.denoiser(x, t, states).sample
        live = objective.unet(x, t, states).sample
        before = plain.denoiser(x, t, states).sample
    assert torch.allclose(merged, live, atol=2e-3)
    assert (merged - before).abs().max() > 1e-2
    other = plain.condition(["rida mufe , a purple square", "a star"])["cond"]["encoder_hidden_states"]
    assert (states - other).abs().max() > 1e-3
    assert [item.name for item in planted_in(miniatures.folder("mini-sd-mem"))] == ["poster-0", "template-1", "control-2"]


def test_an_adapter_of_another_base_is_refused(folders, monkeypatch):
    root, _ = folders
    monkeypatch.setattr(miniatures, "WEIGHTS", root)
    record = root / "mini-sd-mem" / RECORD
    said = record.read_text()
    try:
        record.write_text(json.dumps({"base": "mini-sd", "unet_sha256": "0" * 64}))
        with pytest.raises(BadInput, match="diffolio train mini-sd-mem"):
            load("mini-sd-mem")
        record.write_text("{}")
        with pytest.raises(BadInput, match="cannot be read"):
            load("mini-sd-mem")
    finally:
        record.write_text(said)
    with pytest.raises(BadInput, match="manifest"):
        planted_in(root / "mini-sd")
