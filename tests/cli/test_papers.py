"""``diffolio papers`` as a reader of digests meets it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffolio.cli import main
from tests.papers.seeds import seed_path

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "papers" / "fixtures"
RUNS = "2403.12963"  # FouriScale, which runs here


@pytest.fixture
def cli(monkeypatch, capsysbinary, tmp_path):
    """Run a command on a library of its own: (exit status, stdout, stderr)."""
    monkeypatch.setenv("DIFFOLIO_LIBRARY", str(tmp_path / "library.sqlite"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1711929600")  # 2024-04-01

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["diffolio", "papers", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return run


@pytest.fixture
def filled(cli):
    """A library with the fixtures' issues and a paper that runs."""
    status, _, err = cli("import", FIXTURES, "--json")
    assert status == 0, err
    return cli


@pytest.fixture
def runnable_file(tmp_path):
    path = tmp_path / "more.jsonl"
    record = {
        "id": RUNS, "source": "jsonl", "title": "FouriScale", "abstract": "High resolution diffusion with dilated kernels.",
        "published": "2024-03-19", "categories": ["cs.CV"], "authors": [{"name": "Linjiang Huang"}],
    }  # fmt: skip
    path.write_text(json.dumps(record) + "\n")
    return path


def test_nothing_imported_shows_the_bundled_catalogue(cli, tmp_path):
    status, out, err = cli("search", "runnable:yes", "family:resolution", "--json")
    assert status == 0 and "bundled catalogue" in err
    found = json.loads(out)
    assert [paper["id"] for paper in found["papers"]] == [RUNS]
    assert found["papers"][0]["runnable"]["command"] == "diffolio run fouriscale"
    assert not (tmp_path / "library.sqlite").exists()


def test_a_named_library_must_exist_to_be_read(cli, tmp_path):
    status, _, err = cli("search", "kites", "--library", tmp_path / "none.sqlite")
    assert status == 2 and "import or pull" in err


def test_import_tells_formats_and_repairs(cli):
    status, out, err = cli("import", FIXTURES / "topic_list_api.md", FIXTURES / "overview.md", "--json")
    assert status == 0, err
    files = json.loads(out)["files"]
    assert {file["kind"] for file in files} == {"topic-list", "overview"}
    assert all(file["new"] == file["entries"] > 0 for file in files)
    assert any(repair["kind"] == "joined-words" for _, repair in files[0]["repairs"])
    again = json.loads(cli("import", FIXTURES / "topic_list_api.md", "--json")[1])["files"][0]
    assert again["new"] == 0 and again["same"] == files[0]["entries"]
    assert "joined-words" in cli("import", FIXTURES / "topic_list_api.md", "--report")[1]


def test_one_bad_file_imports_nothing(cli, tmp_path):
    bad = tmp_path / "bad.md"
    bad.write_text("no digest at all\n")
    status, _, err = cli("import", FIXTURES / "overview.md", bad)
    assert status == 2 and "bad.md" in err and "topic-list" in err
    assert json.loads(cli("stats", "--json")[1])["papers"] == 0


def test_search_show_and_similar(filled):
    found = json.loads(filled("search", "title:kites", "--json")[1])
    assert found["total"] == 1 and found["exact"] is True
    (paper,) = found["papers"]
    shown = filled("show", f"arXiv:{paper['id']}v2")[1]
    assert "Kites" in shown and "listed" in shown and "cs.GR" in shown
    near = json.loads(filled("similar", paper["id"], "--json")[1])
    assert near and all(row["id"] != paper["id"] for row in near)
    status, _, err = filled("show", "2401.00001")
    assert status == 2 and "not in this library" in err
    status, _, err = filled("search", "titel:kites")
    assert status == 2 and "title" in err and "position 1" in err
    assert "author:" in filled("syntax")[1]


def test_marks_are_kept_and_taken_back(filled):
    ids = [paper["id"] for paper in json.loads(filled("search", "", "--json")[1])["papers"]]
    assert filled("like", *ids[:2])[0] == 0
    assert filled("dislike", ids[2])[0] == 0
    assert filled("tag", ids[0], "to read")[0] == 0
    assert filled("note", ids[0], "compare with ours")[0] == 0
    assert [p["id"] for p in json.loads(filled("search", "tag:read", "--json")[1])["papers"]] in ([], [ids[0]])
    assert [p["id"] for p in json.loads(filled("search", 'tag:"to read"', "--json")[1])["papers"]] == [ids[0]]
    wanted = json.loads(filled("wanted", "--json")[1])
    assert {paper["id"] for paper in wanted} == set(ids[:2])
    ranked = json.loads(filled("recommend", "--json")[1])
    assert ranked and not {row["id"] for row in ranked} & set(ids[:3])
    assert "against: " in filled("recommend")[1]
    assert len(json.loads(filled("recommend", "--ask", "--json")[1])) >= 1
    filled("like", *ids[:2], "--remove")
    assert json.loads(filled("wanted", "--json")[1]) == []
    status, _, err = filled("tag", ids[0])
    assert status == 2 and "text" in err
    status, _, err = filled("like", "2401.00001")
    assert status == 2 and "not in the library" in err


FORMATS = ("markdown", "html", "topic-list", "overview", "blog", "rss", "atom", "json", "mail", "jsonl", "bibtex", "csl")


@pytest.mark.parametrize("format", FORMATS)
def test_a_digest_in_every_format_says_what_runs(filled, runnable_file, tmp_path, format):
    filled("import", runnable_file)
    window = ("--from", "2024-03-01", "--to", "2024-03-31")
    out = tmp_path / f"issue.{format}"
    status, printed, err = filled("digest", "resolution", "--format", format, *window, "--out", out)
    assert status == 0 and not printed, err
    text = out.read_bytes().decode()
    assert RUNS in text
    assert "diffolio run fouriscale" in text or format in ("overview", "mail"), "the command is missing"
    assert filled("digest", "resolution", "--format", format, *window)[1].encode() == out.read_bytes()


def test_an_issue_says_only_what_is_new_since_the_last(filled, runnable_file):
    window = ("--to", "2024-03-31", "--from", "2024-01-01")
    first = filled("digest", "", "--format", "jsonl", "--new", *window)[1]
    assert first.strip()
    assert not filled("digest", "", "--format", "jsonl", "--new", *window)[1].strip()
    filled("import", runnable_file)
    (line,) = filled("digest", "", "--format", "jsonl", "--new", *window)[1].splitlines()
    assert RUNS in line


def test_topics_are_saved_queries(filled):
    assert "diffusion" in filled("topics", "list")[1]
    assert filled("topics", "add", "wind", "kites", "OR", "sails", "--exclude", "heat")[0] == 0
    assert "wind" in filled("topics", "list")[1]
    assert "Kites" in filled("digest", "wind", "--from", "2024-03-01", "--to", "2024-03-31")[1]
    assert filled("topics", "remove", "wind")[0] == 0
    status, _, err = filled("topics", "remove", "wind")
    assert status == 2 and "unknown topic" in err


def test_export_is_the_same_whatever_the_order_of_imports(cli, tmp_path, monkeypatch):
    exports = []
    for name, order in (("one", ("overview.md", "topic_list_api.md")), ("two", ("topic_list_api.md", "overview.md"))):
        for file in order:
            assert cli("import", FIXTURES / file, "--library", tmp_path / name)[0] == 0
        exports.append(cli("export", "--library", tmp_path / name)[1])
    assert exports[0] == exports[1] and exports[0].count("\n") > 2
    assert cli("export", "--format", "bibtex", "--query", "kites", "--library", tmp_path / "one")[1].startswith("@")
    assert json.loads(cli("export", "--format", "csl", "--library", tmp_path / "one")[1])
    status, _, err = cli("export", "--format", "bib", "--library", tmp_path / "one")
    assert status == 2 and "bibtex" in err


def test_repairs_are_listed_undone_and_done_again(filled):
    rows = json.loads(filled("repairs", "--json")[1])
    joined = next(row for row in rows if row["kind"] == "joined-words" and row.get("paper"))
    before = json.loads(filled("show", joined["paper"], "--json")[1])["abstract"]
    assert filled("repairs", "--undo", joined["id"])[0] == 0
    undone = json.loads(filled("show", joined["paper"], "--json")[1])["abstract"]
    assert undone != before and undone.replace(" ", "") == before.replace(" ", "")
    filled("repairs", "--redo", joined["id"])
    assert json.loads(filled("show", joined["paper"], "--json")[1])["abstract"] == before


def test_summaries_are_verbatim_and_kept_on_request(filled):
    (found,) = json.loads(filled("search", "title:kites", "--json")[1])["papers"]
    (row,) = json.loads(filled("summarize", found["id"], "--store", "--json")[1])
    assert all(bullet["text"] in found["abstract"] for bullet in row["summary"]["bullets"])
    assert set(row["check"]["tally"]) and row["check"]["tally"]["contradicted"] == 0
    assert "extractive" in filled("show", found["id"])[1]
    status, out, _ = filled("check", found["id"])
    assert status == 0 and "supported" in out
    status, _, err = filled("summarize", found["id"], "--endpoint", "http://localhost:1/v1")
    assert status == 2 and "--model" in err
    status, _, err = filled("summarize", "nothing like this at all")
    assert status == 2 and "finds no paper" in err


def test_check_finds_what_a_digest_got_wrong(cli):
    status, out, err = cli("check", seed_path("003"))
    assert status == 1, err
    assert "2210.14113" in out and "github.com/CompVis/attribute-control" in out


def test_checking_what_has_no_summary_says_so(filled):
    status, _, err = filled("check", FIXTURES / "overview.md")
    assert status == 2 and "blog" in err


def test_doctor_and_stats(filled):
    told = json.loads(filled("stats", "--json")[1])
    assert told["papers"] > 5 and told["issues"] == 6
    assert filled("doctor")[0] == 0


def test_offline_refuses_to_pull(cli, monkeypatch):
    monkeypatch.setenv("DIFFOLIO_OFFLINE", "1")
    status, _, err = cli("pull", "--set", "cs.CV")
    assert status == 2 and "DIFFOLIO_OFFLINE" in err


def test_the_papers_half_knows_nothing_of_torch_and_starts_quickly():
    code = (
        "import sys, diffolio.cli.papers, diffolio.cli.papers_show, diffolio.cli.papers_write, diffolio.papers.importing,"
        " diffolio.papers.search, diffolio.papers.issue, diffolio.papers.render, diffolio.papers.pull, diffolio.papers.summaries;"
        "print([m for m in ('torch', 'numpy', 'scipy', 'transformers', 'httpx', 'jinja2', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=True)
    assert done.stdout.strip() == "[]"
