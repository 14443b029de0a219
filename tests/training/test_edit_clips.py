"""Pairs of clips for an instructed editor: one transform for both, edits carried by the flow, and what is refused."""

from dataclasses import replace

import pytest
import torch

from diffolio.errors import BadInput
from diffolio.geometry.camera_paths import follow, random_path, still_path
from diffolio.methods.video.effived import stills_of
from diffolio.training.edit_clips import Filters, ImageEdit, Triples, build_triples, propagate, refused
from diffolio.training.edit_worlds import motion_edits, tabletop_edits, video_edit
from diffolio.worlds.motion import Motion, Script, render_clips
from diffolio.worlds.motion.edits import Change
from diffolio.worlds.tabletop import Scene, Thing


def script(motion="right", what=0.5):
    scene = Scene((Thing("circle", "red", 0.5, 0.5, 0.3),), "cream")
    return Script(scene, (Motion(motion, what),), length=4)


def test_source_and_target_go_through_one_transform():
    """A checkerboard through both: whatever the path, the difference of the clips is the difference's own clip."""
    board = ((torch.arange(96) // 8)[:, None] + (torch.arange(96) // 8)).remainder(2).float().expand(3, -1, -1)
    edits = [ImageEdit(board, 1 - board, "invert it"), ImageEdit(board, board, "leave it")]
    pairs = build_triples(edits * 4, frames=6, size=48, seed=3)
    inverted, same = pairs.sources[0::2].float() + pairs.targets[0::2].float(), pairs.sources[1::2]
    assert (inverted - 255).abs().max() <= 1
    assert torch.equal(same, pairs.targets[1::2])
    moving = [i for i, origin in enumerate(pairs.origins) if origin == "image"]
    assert moving
    assert all((pairs.sources[i, 0].int() - pairs.sources[i, -1].int()).abs().float().mean() > 5 for i in moving)
    assert not torch.equal(pairs.sources[moving[0]], pairs.sources[moving[-1]])  # every edit has a path of its own


def test_an_edited_key_is_carried_to_every_frame():
    """Against the exact twin, which the builder never draws: a recoloured thing, and a removed one's place."""
    one = script("right", 0.5)
    edit = video_edit(one, Change("colour", 0, "blue", "make the circle blue"))
    edited, unknown = propagate(edit)
    twin = render_clips([one.change(0, colour="blue")])[0]
    assert (edited - twin).square().mean() < 4e-4
    assert (edit.frames - twin).square().mean() > 1e-2
    assert unknown.float().mean() < 0.02
    assert refused(edit, edited, unknown, Filters()) == ""


def test_filters_refuse_what_flow_cannot_carry():
    one = script()
    star = video_edit(one.change(0, kind="circle"), Change("object", 0, "star", "turn the circle into a star"))
    square = replace(star, keys={k: torch.zeros_like(v) for k, v in star.keys.items()})
    assert refused(square, *propagate(square), Filters()) == "outside"
    same = replace(star, keys={k: star.frames[k] for k in star.keys})
    assert refused(same, *propagate(same), Filters()) == "nothing changes"
    night = video_edit(one, Change("style", None, "night", "make it night"))
    edited, unknown = propagate(night)
    assert refused(night, edited, torch.ones_like(unknown), Filters()) == "undone"
    noisy = edited + 0.3 * torch.rand(edited.shape, generator=torch.Generator().manual_seed(0))
    assert refused(night, noisy, unknown, Filters()) == "unsteady"

    class Contrary:
        def features(self, x):
            return torch.tensor([[1.0, 0], [0, 1.0]])

        def text(self, x):
            return torch.tensor([[0, 1.0], [1.0, 0]])

    assert refused(night, edited, unknown, Filters(), Contrary()) == "direction"


def test_training_data_never_holds_an_edited_clip_of_the_world():
    """Toy trap: pairs from clips differ from the exact twins, since they are propagated from edited key frames."""
    edits = motion_edits(6, 0, 64, 4)
    for edit in edits:
        assert set(edit.keys) == {0, 3}
    pairs = build_triples(tabletop_edits(3), edits, frames=4)
    assert set(pairs.origins) <= {"image", "still", "video"}
    assert len(pairs) + sum(pairs.dropped.values()) == 9


def test_refuses_pairs_and_paths_that_do_not_fit():
    clips = torch.zeros(2, 4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(BadInput, match="same number of frames"):
        Triples(clips, clips[:, :3], ["a", "b"], ["image"] * 2)
    with pytest.raises(BadInput, match="none of them empty"):
        Triples(clips, clips, ["a", ""], ["image"] * 2)
    with pytest.raises(BadInput, match="at least 2"):
        Triples(clips[:, :1], clips[:, :1], ["a", "b"], ["image"] * 2)
    with pytest.raises(BadInput, match="give one size"):
        build_triples([ImageEdit(torch.rand(3, 9, 9), torch.rand(3, 8, 8), "a")], frames=2, size=8)
    with pytest.raises(BadInput, match="no pair is left"):
        build_triples()
    beyond = still_path(3)
    beyond[2, 0, 2] = 0.1
    with pytest.raises(BadInput, match=r"leaves the picture in frames \[2\]"):
        follow(torch.rand(3, 16, 16), beyond, 8)
    with pytest.raises(BadInput, match="at least 2"):
        random_path(1, torch.Generator())
    with pytest.raises(BadInput, match="no pair is from"):
        stills_of(Triples(clips, clips, ["a", "b"], ["video"] * 2))
