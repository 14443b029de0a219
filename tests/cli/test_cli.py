"""The command line as users, the page and checks meet it: exit status, JSON rows, one-line errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from diffolio.claims.evidence import MINIATURES, subjects
from diffolio.cli import main

ROOT = Path(__file__).parents[2]
FIRST = {"fouriscale", "importance_tome", "feynman_path", "rg_lcd", "ovam", "spdinv", "prss"}


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run a command in this process: (exit status, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["diffolio", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_list_json_has_the_first_seven_with_their_rows(cli):
    status, out, _ = cli("list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert status == 0
    assert set(rows) >= FIRST
    for row in rows.values():
        assert set(row) == {"name", "paper", "title", "family", "kind", "works_on", "knobs", "evidence"}
        assert row["kind"] in ("technique", "tool", "recipe")
        if row["evidence"] is not None:
            assert set(row["evidence"]) == {"holds", "ratio", "bar", "recorded", "bars_met", "bars"}


def test_list_filters(cli):
    assert {r["family"] for r in json.loads(cli("list", "--family", "acceleration", "--json")[1])} == {"acceleration"}
    assert {r["kind"] for r in json.loads(cli("list", "--kind", "technique", "--json")[1])} == {"technique"}
    rows = json.loads(cli("list", "--all", "--json")[1])
    assert len(rows) == 125
    assert {r["name"] for r in rows if r["state"] == "runs"} >= FIRST
    assert cli("list")[0] == cli("list", "--all")[0] == 0


def test_show_tells_the_paper_the_knobs_and_the_claim(cli):
    status, out, _ = cli("show", "fouriscale")
    assert status == 0
    for words in ("2403.12963", "low-pass", "start", "unet"):
        assert words in out
    assert json.loads(cli("show", "prss", "--json")[1])["paper"] == "2504.18032"


def test_claims_json_rows(cli):
    rows = json.loads(cli("claims", "--json")[1])
    wanted = {"method", "metric", "paper_says", "baseline", "value", "ratio", "interval", "bar", "holds", "n", "seconds", "model",
              "world", "stale"}  # fmt: skip
    methods = {row["name"] for row in json.loads(cli("list", "--json")[1]) if row["evidence"]}
    models = {name.replace("_", "-") for name, subject in subjects().items() if subject.family == MINIATURES}
    assert {row["method"] for row in rows} - models == methods
    assert rows
    for row in rows:
        assert wanted <= set(row)
        assert not row["stale"], f"{row['method']}: its code or weights changed since it was recorded"


def test_run_writes_baseline_method_and_record(cli, tmp_path):
    out = tmp_path / "out"
    status, text, _ = cli("run", "importance_tome", "--prompt", "a red circle", "--steps", 2, "--seed", 3, "--set", "ratio=0.3",
                          "--out", out, "--json")  # fmt: skip
    assert status == 0
    record = json.loads((out / "result.json").read_text())
    assert record["knobs"]["ratio"] == 0.3
    assert record["seed"] == 3
    assert record["versions"]["torch"]
    assert json.loads(text)["out"] == str(out)
    for name in ("baseline-0.png", "importance-tome-0.png", "sheet.png"):
        with Image.open(out / name) as picture:
            assert picture.size[0] >= 64


def test_the_same_seed_gives_the_same_bytes(cli, tmp_path):
    for folder in ("a", "b"):
        cli("run", "ovam", "--prompt", "a red circle", "--steps", 2, "--out", tmp_path / folder)
    assert (tmp_path / "a" / "picture-0.png").read_bytes() == (tmp_path / "b" / "picture-0.png").read_bytes()


def test_techniques_stack(cli, tmp_path):
    status, _, _ = cli("run", "fouriscale+importance_tome", "--prompt", "a red circle", "--steps", 2, "--size", "128x96",
                       "--set", "fouriscale.start=0.5", "--out", tmp_path)  # fmt: skip
    record = json.loads((tmp_path / "result.json").read_text())
    assert status == 0
    assert record["knobs"]["fouriscale"]["start"] == 0.5
    with Image.open(tmp_path / "baseline-0.png") as picture:
        assert picture.size == (128, 96)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "fouriscle"], "Did you mean fouriscale"),
        (["run", "nothing_like_it"], "unknown method"),
        (["run", "fouriscale", "--model", "mini-sdd"], "Did you mean mini-sd"),
        (["run", "fouriscale", "--set", "strat=0.1"], "Did you mean start"),
        (["run", "fouriscale", "--set", "start"], "knob=value"),
        (["run", "fouriscale", "--set", "start=2"], "out of range"),
        (["run", "fouriscale", "--set", "start=early"], "cannot be read as float"),
        (["run", "fouriscale+ovam", "--set", "start=0.1"], "whose knob"),
        (["run", "fouriscale+spdinv"], "only techniques"),
        (["run", "fouriscale", "--size", "big"], "WIDTHxHEIGHT"),
        (["run", "fouriscale", "--size", "66x64", "--prompt", "a red circle"], "66"),
        (["run", "fouriscale+fouriscale", "--prompt", "a red circle", "--steps", "1"], "convolutions"),
        (["list", "--family", "acceleratoin"], "acceleration"),
        (["list", "--kind", "tol"], "tool"),
        (["claim", "fouriscal"], "Did you mean fouriscale"),
        (["train", "mini-sdd"], "mini-sd"),
        (["train", "mini-sd", "--budget", "soon"], "300s"),
        (["train", "mini-sd", "--data", "somewhere"], "does not apply"),
        (["train", "mini-sd", "--set", "bach=64"], "batch"),
        (["train", "mini-sd", "--set", "batch=many"], "cannot be read as int"),
        (["train", "mini-sd", "--set", "batch=0"], "at least 1"),
        (["train", "mini-sd", "--set", "batch"], "batch=64"),
        (["run", "spdinv", "--image", "nowhere.png"], "nowhere.png"),
    ],
)
def test_bad_input_is_one_clear_line(cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, _, err = cli(*arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in err
    assert not any(tmp_path.rglob("*.json")), "nothing half-written"


def test_an_output_folder_that_cannot_be_written(cli, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    status, _, err = cli("run", "ovam", "--prompt", "a red circle", "--steps", 1, "--out", blocked / "below")
    assert status == 2
    assert "--out" in err


def test_doctor_is_well(cli):
    status, out, _ = cli("doctor", "--json")
    found = json.loads(out)
    assert found["problems"] == []
    assert status == 0
    assert {"mini-sd", "mini-vae", "mini-clip-a", "mini-clip-b"} <= set(found["models"])


@pytest.mark.parametrize("arguments", [["list", "--json"], ["show", "ovam", "--json"], ["--help"]])
def test_listing_imports_nothing_heavy(arguments):
    code = (
        f"import sys; sys.argv = ['diffolio', *{arguments!r}]\n"
        "from diffolio.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'sklearn', 'scipy', 'matplotlib', 'kornia'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0, done.stderr[-400:]


def test_show_fits_paragraphs_to_the_screen_and_leaves_equations():
    from diffolio.cli.listing import reflowed

    told = reflowed("One line\n    that goes on.\n\n        x =\n        y\n\n    End.")
    assert told == "One line that goes on.\n\n    x =\n    y\n\nEnd."
