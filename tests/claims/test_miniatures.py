"""Claims of the bundled models are found, run and recorded like those of methods."""

import importlib

import numpy as np
import pytest
import torch

from diffolio.claims.evidence import MINIATURES, fingerprint, subject, subjects
from diffolio.errors import UnknownName
from diffolio.metrics.compliance import compliance, held_out
from diffolio.metrics.contact import Drawn, contact_sheet, verdict
from diffolio.worlds.tabletop import render

NAMES = [name for name, about in subjects().items() if about.family == MINIATURES]


def test_bundled_models_are_subjects_beside_the_methods():
    assert {"mini_sd", "mini_vae", "mini_clip", "mini_perc"} <= set(NAMES)
    assert subject("mini-sd").claim.name == "mini_sd.py"
    assert subject("fouriscale").paper == "2403.12963"
    with pytest.raises(UnknownName, match="mini_sd"):
        subject("mini-sdd")


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_names_its_model_and_can_be_run(name):
    module = importlib.import_module(f"diffolio.claims.miniatures.{name}")
    assert module.CLAIM.method.replace("-", "_") == name
    assert callable(module.measure)
    assert len(fingerprint(name)) == 16


def test_a_contact_sheet_says_what_is_wrong():
    scenes = held_out(4, 2)
    images = render(scenes, 64).images
    images[1] = images[0]
    scores = compliance(images, scenes)
    assert verdict(scores, 0) == "right"
    assert verdict(scores, 1).startswith("wrong ")
    sheet = contact_sheet([Drawn(scenes, images, scores)], columns=4)
    assert sheet.width > 4 * 128
    assert np.asarray(sheet).std() > 10


def test_the_perceptual_claim_ranks_within_a_picture():
    from diffolio.claims.miniatures.mini_perc import correlations

    amounts = torch.tensor([[0.1, 0.5, 1.0], [2.0, 1.0, 0.3]])
    assert correlations(torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0, 3.0]), amounts) == pytest.approx([1.0, -1.0])
