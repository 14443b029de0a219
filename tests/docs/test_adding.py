"""The page on adding a paper: its three files, put into a copy of the package, are a paper that runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.docs.markdown import ROOT, blocks

CHECK = """
import sys
import pytest
from diffolio import registry
from diffolio.claims import evidence
from diffolio.cli import listing
import diffolio.claims.control.guidance_interval as claim

assert pytest.main(["-q", "-p", "no:cacheprovider", "tests/methods/control"]) == 0
card = registry.card("guidance_interval")
assert (card.paper, card.kind, [knob.name for knob in card.knobs]) == ("2404.07724", "technique", ["low", "high"])
assert listing.details("guidance_interval")["family"] == "control"
claim.PROMPTS, claim.SEEDS, claim.STEPS = 1, 2, 2
found = evidence.measure("guidance_interval")
assert len(found["rows"]) == 2 and found["rows"][0]["n"] == 1 and found["rows"][0]["value"] > 0
print("; ".join(str(path) for path in evidence.record("guidance_interval", found)))
"""


def test_the_example_is_a_paper_that_runs(tmp_path: Path) -> None:
    def ignored(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if name == "__pycache__" or (name == "weights" and Path(folder).name == "miniatures")]

    shutil.copytree(ROOT / "diffolio", tmp_path / "diffolio", ignore=ignored)
    (tmp_path / "diffolio" / "miniatures" / "weights").symlink_to(ROOT / "diffolio" / "miniatures" / "weights")
    (tmp_path / "pyproject.toml").touch()  # a checkout: evidence stands beside the package
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").touch()
    (tmp_path / "tests" / "models").symlink_to(ROOT / "tests" / "models")
    files = [block for block in blocks(ROOT / "docs" / "adding-a-paper.md") if "title=" in block.mark]
    assert len(files) == 3
    for block in files:
        (title,) = re.findall(r'title="([^"]+)"', block.mark)
        place = tmp_path / title
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(block.code, encoding="utf-8")
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path), "DIFFOLIO_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (tmp_path / "evidence" / "control" / "guidance_interval.webp").exists()
