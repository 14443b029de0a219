"""The loop: what it learns, what it writes, and that a kill costs at most one checkpoint interval."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from diffolio.errors import BadInput, NotFinite, TrainingStopped
from diffolio.training.loop import Budget, Settings, train


class Line:
    """Fit y = 3x + 1."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = nn.Linear(1, 1)
        self.modules = {"net": self.net}
        self.seen = []

    def loss(self, step, generator):
        x = torch.randn(32, 1, generator=generator)
        self.seen.append((step, float(x[0])))
        return (self.net(x) - 3 * x - 1).square().mean(), {}


FAST = Settings(rate=0.05, warmup=1, every=10, decay=0.9)


def test_it_learns_and_logs(tmp_path):
    line = Line()
    trained = train(line, tmp_path, Budget(steps=200), FAST, progress=False)
    assert line.net.weight.item() == pytest.approx(3, abs=0.05)
    assert line.net.bias.item() == pytest.approx(1, abs=0.05)
    assert trained.steps == 200
    rows = trained.log.read_text().splitlines()
    assert rows[0] == "step,loss"
    assert len(rows) == 12  # the first step and every twentieth


def test_precision_is_chosen_anew_for_every_training(tmp_path):
    for number, bfloat16 in enumerate((True, False, True)):
        line, kinds = Line(), set()
        line.net.register_forward_hook(lambda module, args, out, kinds=kinds: kinds.add(out.dtype))
        train(line, tmp_path / str(number), Budget(steps=2), Settings(bfloat16=bfloat16), progress=False)
        assert kinds == {torch.bfloat16 if bfloat16 else torch.float32} and line.net.weight.dtype == torch.float32


def test_resuming_gives_the_same_weights_as_never_stopping(tmp_path):
    """With the same schedule, data and averages; the rate depends on the budget, so the break is made by hand."""
    whole, broken, rest = Line(), Line(), Line()
    train(whole, tmp_path / "whole", Budget(steps=60), FAST, progress=False)

    original = broken.loss

    def dies(step, generator):
        if step == 37:
            raise KeyboardInterrupt
        return original(step, generator)

    broken.loss = dies
    with pytest.raises(KeyboardInterrupt):
        train(broken, tmp_path / "broken", Budget(steps=60), FAST, progress=False, start="mini-flow")
    trained = train(rest, tmp_path / "broken", Budget(steps=60), FAST, progress=False)
    assert rest.seen[0][0] == 30, "resumes from the last checkpoint"
    assert rest.seen == whole.seen[30:], "and sees the same data"
    assert trained.steps == 60 and trained.start == "mini-flow"
    assert torch.equal(rest.net.weight, whole.net.weight)


SCRIPT = """
import sys, time
sys.path[:0] = [{root!r}]
from tests.training.test_loop import Line, FAST
from diffolio.training.loop import Budget, train
line = Line()
slow = line.loss
line.loss = lambda step, generator: (time.sleep(0.01), print(step, flush=True), slow(step, generator))[-1]
train(line, sys.argv[1], Budget(steps=100000), FAST, progress=False)
"""


def test_kill_dash_nine_loses_at_most_one_interval(tmp_path):
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT.format(root=root), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    last = 0
    for text in process.stdout:
        last = int(text)
        if last >= 45:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    line = Line()
    train(line, tmp_path, Budget(steps=last + 20), FAST, progress=False)
    assert last - 2 * FAST.every < line.seen[0][0] <= last + 2
    assert json.loads((tmp_path / "checkpoint" / "progress.json").read_text())["step"] == last + 20


def test_bad_budgets_and_folders(tmp_path):
    for text in ("", "soon", "-5", "0s"):
        with pytest.raises(BadInput):
            Budget.parse(text)
    assert Budget.parse("300s") == Budget(seconds=300)
    assert Budget.parse("2h") == Budget(seconds=7200)
    assert Budget.parse("2000") == Budget(steps=2000)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        train(Line(), file, Budget(steps=1), progress=False)


def test_a_found_checkpoint_is_not_overwritten_by_mistake(tmp_path):
    train(Line(), tmp_path, Budget(steps=10), FAST, progress=False)
    with pytest.raises(TrainingStopped, match="--resume"):
        train(Line(), tmp_path, Budget(steps=10), FAST, resume=False, progress=False)


def test_a_checkpoint_of_another_architecture_is_refused_and_kept(tmp_path):
    train(Line(), tmp_path, Budget(steps=10), FAST, progress=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()}
    wider = Line()
    wider.net = wider.modules["net"] = nn.Linear(1, 2)
    with pytest.raises(BadInput, match="another model"):
        train(wider, tmp_path, Budget(steps=20), FAST, progress=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoint").iterdir()} == before


@pytest.mark.parametrize("place", ["accelerate.Accelerator.save_state", "torch.save"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch, place):
    train(Line(), tmp_path, Budget(steps=10), FAST, progress=False)

    def full(*args, **kwargs):
        for path in (tmp_path / "checkpoint.new").glob("*"):
            path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, full)
        with pytest.raises(TrainingStopped, match="No space left.*before it is whole.*--resume"):
            train(Line(), tmp_path, Budget(steps=30), FAST, progress=False)
    assert not (tmp_path / "checkpoint.new").exists()
    rest = Line()
    train(rest, tmp_path, Budget(steps=30), FAST, progress=False)
    assert rest.seen[0][0] == 10


def test_a_loss_that_is_not_finite_stops_training(tmp_path):
    line = Line()
    line.loss = lambda step, generator: (line.net.weight.sum() * float("nan"), {})
    with pytest.raises(NotFinite, match="step 0"):
        train(line, tmp_path, Budget(steps=10), FAST, progress=False)


def test_nothing_to_train_is_said(tmp_path):
    line = Line()
    line.net.requires_grad_(False)
    with pytest.raises(TrainingStopped, match="nothing to train"):
        train(line, tmp_path, Budget(steps=1), FAST, progress=False)
