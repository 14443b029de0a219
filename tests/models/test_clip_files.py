"""Clips from files, with their speed."""

import pytest
import torch
from PIL import Image

from diffolio.errors import BadInput
from diffolio.models.clip_files import load_clip
from diffolio.models.clips import save_clip


def test_clips_keep_their_speed_as_files(tmp_path):
    clip = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(2))
    read, fps = load_clip(save_clip(tmp_path / "a.webp", clip, fps=20))
    assert fps == pytest.approx(20)
    assert (read - clip).abs().max() < 1 / 255
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(BadInput, match="one picture"):
        load_clip(tmp_path / "one.png")
    (tmp_path / "no.webp").write_text("no")
    with pytest.raises(BadInput, match="cannot be read"):
        load_clip(tmp_path / "no.webp")
