"""The parts of the page without a browser: what is asked for, uploads, the queue, what it refuses to start with, what it shows."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from diffolio import registry
from diffolio.cli import running
from diffolio.errors import BadInput, DiffolioError
from diffolio.papers.record import Author, Link
from diffolio.papers.view import Listing, Paper
from diffolio.web import about, asked, chooser, digest, evidence, hints, history, markup, recorded, shown, stack, uploads, widgets
from diffolio.web.jobs import Job, Jobs
from diffolio.web.settings import Settings, check_port, check_runs, read_auth
from diffolio.web.source import Source

FIELDS = {"model": "mini-sd", "prompt": "a red circle", "seed": 0, "steps": 2, "guidance": "", "size": ""}


def test_torch_is_not_imported_before_the_first_run(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    code = (
        "import sys; from pathlib import Path; from diffolio.web import server, settings; from diffolio.web.jobs import Jobs;"
        "server.quiet();"
        f"s = settings.Settings(runs=Path({str(tmp_path)!r})); app = server.application(s, Jobs(s.runs));"
        "from diffolio.web import evidence; assert evidence.page(); assert 'gradio' in sys.modules;"
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert told.stdout.strip() == "[]", told.stderr[-2000:]


@pytest.mark.parametrize("card", registry.cards().values(), ids=lambda card: card.name)
def test_every_method_has_its_widgets_words_and_a_model(card) -> None:  # type: ignore[no-untyped-def]
    told, wrong = asked.read((card.name,), {**FIELDS, "model": chooser.default_model(card)}, {}, Settings())
    assert not [place for place in wrong if place.startswith("knob")] and not told.knobs[card.name]
    for knob in card.knobs:
        assert widgets.kind_of(knob) in ("checkbox", "choices", "slider", "number", "text")
        assert knob.range.means in widgets.told(knob)
    assert card.name in about.about(card) or card.headline in about.about(card).replace("&#x27;", "'").replace(
        "&quot;", '"'
    ).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")


def test_kinds_of_models_are_those_of_the_architectures() -> None:
    from diffolio.models.architectures import architecture_of

    for pipeline, kinds in chooser._architectures().items():
        assert kinds <= architecture_of([pipeline]).kinds


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prompt", " \n", "say what"), ("seed", "-1", "whole number"), ("seed", 1.5, "whole number"), ("steps", 0, "1 to 1000"),
        ("steps", None, "nothing"), ("guidance", "much", "from 0 to 100"), ("size", "big", "WIDTHxHEIGHT"), ("size", "4x4", "WIDTHxHEIGHT"),
        ("model", "mini-sdd", "mini-sd"), ("model", "", "choose"), ("model", "/nowhere/at/all", "no folder"),
        ("prompt", "x\n" * 20, "at most 8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_field(field: str, value: object, says: str) -> None:
    _, wrong = asked.read(("fouriscale",), {**FIELDS, field: value}, {}, Settings())
    assert list(wrong) == [field] and says in wrong[field]


def test_knobs_are_checked_without_importing_the_method() -> None:
    given = {"fouriscale": {"base": "many", "start": 2.0, "stop": 0.7, "weak_dilation": None}}
    told, wrong = asked.read(("fouriscale",), FIELDS, given, Settings())
    assert set(wrong) == {f"knob:fouriscale.{name}" for name in ("base", "start", "weak_dilation")}
    assert told.knobs == {"fouriscale": {"stop": "0.7"}}


def test_visitors_from_elsewhere_choose_only_what_is_offered(tmp_path: Path) -> None:
    open_to_all = Settings(host="0.0.0.0", models=("a/b",))
    assert "may choose" in chooser.model_problem(str(tmp_path), open_to_all)
    assert chooser.model_problem("a/b", open_to_all) == "" == chooser.model_problem("mini-sd", open_to_all)


def test_the_command_and_the_python_lines_say_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both are read back: the command by the command line's own reader, the lines by running them with a method that only listens."""
    knobs = {"fouriscale": {"stop": 0.7, "base": "8"}, "importance_tome": {"max_downsample": 2}}
    told, wrong = asked.read(
        ("fouriscale", "importance_tome"),
        {**FIELDS, "prompt": "it's a 'star'\na tree", "guidance": "3", "size": "128x64"},
        knobs,
        Settings(),
    )
    assert not wrong
    heard: list[running.Request] = []
    monkeypatch.setattr(running, "run", lambda request: heard.append(request) or {})
    monkeypatch.setattr(running, "tell", lambda done: None)
    from typer.testing import CliRunner

    from diffolio.cli.app import app

    assert CliRunner().invoke(app, shlex.split(told.command())[1:]).exit_code == 0
    request = heard[0]
    assert (request.names, request.prompts, request.guidance, request.size, request.steps) == (
        told.name,
        list(told.prompts),
        3.0,
        "128x64",
        2,
    )
    assert running.make(request.names, request.settings).knobs()["fouriscale"]["stop"] == 0.7
    saved: list[object] = []
    import diffolio.models
    from diffolio.registry import Stack

    class Quiet:
        def save(self, folder: str) -> None:
            saved.append(folder)

    monkeypatch.setattr(diffolio.models, "load", lambda name: name)
    monkeypatch.setattr(Stack, "run", lambda self, job: saved.extend([self, job]) or Quiet())
    exec(told.python(), {})
    method, job, folder = saved
    assert method.knobs() == running.make(request.names, request.settings).knobs() and folder == "out/fouriscale+importance_tome"
    assert (job.model, job.prompts, job.seed, job.steps, job.guidance_scale, job.height, job.width) == (
        "mini-sd",
        list(told.prompts),
        0,
        2,
        3.0,
        64,
        128,
    )


def test_a_record_is_read_back(tmp_path: Path) -> None:
    told, _ = asked.read(("fouriscale",), FIELDS, {"fouriscale": {"stop": 0.7}}, Settings())
    knobs = {"base": None, "start": 0.2, "stop": 0.7, "value": None, "weak_dilation": 1.0}
    record = {"method": "fouriscale", "knobs": knobs, "model": "mini-sd", "prompts": ["a red circle"], "seed": 0, "steps": 2}
    record |= {"guidance_scale": None, "size": None, "inputs": {}, "target": ""}
    assert asked.from_record(record, tmp_path) == told
    with pytest.raises(DiffolioError, match="was not kept"):
        asked.from_record({**record, "inputs": {"image": "../../secret.png"}}, tmp_path)
    with pytest.raises(DiffolioError):
        asked.from_record({**record, "method": "nothing_like_it"}, tmp_path)


def test_uploads_are_looked_at_before_they_are_decoded(tmp_path: Path) -> None:
    settings = Settings(max_bytes=10_000, max_pixels=1000)
    (tmp_path / "text.png").write_text("no picture")
    Image.new("1", (100, 100)).save(tmp_path / "large.png")
    (tmp_path / "heavy.png").write_bytes(b"x" * 10_001)
    Image.effect_noise((30, 30), 50).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:400])
    for name, says in {"text": "no picture", "large": "100x100", "heavy": "MB", "cut": "cannot be read"}.items():
        with pytest.raises(BadInput, match=says):
            uploads.preview(tmp_path / f"{name}.png", settings)
    assert uploads.preview(tmp_path / "good.png", settings).size == (30, 30)


def test_a_painted_mask_gets_the_size_of_its_picture(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    layer.paste((255, 0, 0, 255), (0, 0, 30, 40))
    assert uploads.painted({"layers": [Image.new("RGBA", (60, 40))]}) is None and uploads.painted(None) is None
    mask = uploads.painted({"layers": [layer]})
    assert mask is not None
    kept = Image.open(uploads.keep_mask(mask, (120, 80), tmp_path))
    assert kept.size == (120, 80) and kept.getpixel((59, 40)) == 255 and kept.getpixel((60, 40)) == 0


WORKER = """
import json, os, sys, time, pathlib
for line in sys.stdin:
    told = json.loads(line)
    if "cancel" in told: continue
    def tell(event, **more): print(json.dumps({"id": told["id"], "event": event, **more}), flush=True)
    tell("loading")
    what = told["request"]["what"]
    if what == "die": os._exit(7)
    if what == "refuse": tell("failed", error="no such colour", kind="BadInput"); continue
    if what == "hang": tell("step", done=1); time.sleep(60)
    pathlib.Path(told["request"]["out"], "result.json").write_text("{}")
    tell("step", done=2)
    tell("done")
"""


@pytest.fixture
def jobs(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Jobs(tmp_path / "runs", most_waiting=2, command=("-c", WORKER))
    yield made
    made.close()


def submit(jobs: Jobs, what: str) -> Job:
    id, part, folder = jobs.room("thing")
    return jobs.submit(Job(id, what, {"what": what, "out": str(part)}, part, folder))


def ended(job: Job, seconds: float = 20) -> Job:
    ends = time.monotonic() + seconds
    while not job.over:
        assert time.monotonic() < ends, job.state
        time.sleep(0.02)
    return job


def test_one_run_after_the_other_and_a_crash_takes_nothing_down(jobs: Jobs) -> None:
    died = ended(submit(jobs, "die"))
    assert died.state == "failed" and "code 7" in died.error
    refused, good = submit(jobs, "refuse"), submit(jobs, "good")
    assert ended(refused).error == "no such colour" and refused.kind == "BadInput"
    assert ended(good).state == "done" and (good.folder / "result.json").is_file()
    assert sorted(path.name for path in jobs.runs.iterdir()) == [good.folder.name]


def test_cancelling_what_waits_and_what_runs(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffolio.web.jobs.PATIENCE", 0.2)
    hanging = submit(jobs, "hang")
    while hanging.state != "running":
        time.sleep(0.02)
    first, second = submit(jobs, "good"), submit(jobs, "good")
    assert [job.title for job in jobs.ahead(second)] == ["hang", "good"]
    with pytest.raises(BadInput, match="2 runs are waiting"):
        submit(jobs, "good")
    jobs.cancel(second)
    assert second.state == "cancelled" and not second.part.exists()
    jobs.cancel(hanging)
    assert ended(hanging).state == "cancelled" and ended(first).state == "done"


def test_what_the_page_refuses_to_start_with(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port} is in use.*--port"):
            check_port("127.0.0.1", port)
    with pytest.raises(BadInput, match="--auth"):
        read_auth(None, "0.0.0.0")
    with pytest.raises(BadInput, match="user:password"):
        read_auth("me", "127.0.0.1")
    assert read_auth(None, "127.0.0.1") is None and read_auth("me:longenough", "0.0.0.0") == ("me", "longenough")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="runs folder"):
        check_runs(tmp_path / "file" / "runs")
    assert check_runs(tmp_path / "new" / "runs").is_dir()


def test_the_guards_of_the_server(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    from fastapi.testclient import TestClient

    from diffolio.web import server

    server.quiet()
    settings = Settings(runs=tmp_path, max_bytes=1000, auth=("me", "secret-word"))
    client = TestClient(server.application(settings, Jobs(tmp_path)), base_url="http://127.0.0.1")
    answer = client.get("/login")
    assert (
        "default-src 'self'" in answer.headers["content-security-policy"]
        and answer.headers["x-content-type-options"] == "nosniff"
    )
    assert client.get("/config").status_code == 401
    assert client.post("/gradio_api/upload", content=b"x" * 3001).status_code == 413
    assert client.get("/evidence/fouriscale").headers["content-type"] == "image/webp"
    assert client.get("/evidence/small/..%2f..%2fpyproject").status_code == 404 == client.get("/evidence/passwd").status_code
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def paper(**told: object) -> Paper:
    return Paper("2403.12963", 1, title="<b>Bold</b> & wide", authors=(Author("A. <i>"),), categories=("cs.CV",), **told)  # type: ignore[arg-type]


def test_an_entry_escapes_what_records_say() -> None:
    links = (Link("https://github.com/x/y?a=1&b=<", "code", "abstract"), Link("javascript:alert(1)", "project", "comments"))
    listed = (Listing("Weekly <x>", "blog", "2024-03-18", "2024-03-24", 4, 1, None, (1, 2), "0" * 64),)
    told = digest.entry(paper(abstract="<script>alert(1)</script>", links=links, listings=listed))
    assert "<script" not in told and "<i>" not in told and 'href="javascript' not in told
    assert "code: github.com/x/y" in told and "Weekly &lt;x&gt;, 2024-03-18 to 2024-03-24, place 4" in told


def test_the_fields_become_one_query(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIFFOLIO_LIBRARY", str(tmp_path / "none.sqlite"))
    wanted = digest.Wanted("gan OR token", category="cs.CV", first="2024", runs=True, order="newest")
    assert digest.query_of(wanted) == "(gan OR token) cat:cs.CV date:2024.. runnable:yes sort:newest"
    source = Source(None)
    found, wrong, more = digest.find(source, digest.Wanted(family="resolution"))
    assert 'data-run="fouriscale"' in found and not wrong and not more and "bundled catalogue" in found
    assert digest.find(source, digest.Wanted("nosuchfield: AND"))[1]["text"]
    assert set(digest.find(source, digest.Wanted(first="2025", last="2024"))[1]) == {"last"}


def test_the_stack_says_why_not() -> None:
    cards = {card.name: card for card in stack.techniques()}
    assert stack.reason(cards["prss"], ["fouriscale"], "mini-sd") == "not with fouriscale: both change the guidance rows"
    assert stack.reason(cards["importance_tome"], ["fouriscale"], "mini-sd") == ""


def test_every_claim_is_in_the_table_and_the_matrix_is_drawn(tmp_path: Path) -> None:
    told = evidence.page()
    found = [name for name in recorded.names() if recorded.evidence(name)]
    assert len(found) >= 8 and all(f"<b>{name}</b>" in told for name in found)
    assert told.count("✗ fails") == sum(not recorded.evidence(name)["holds"] for name in found)  # type: ignore[index]
    place = tmp_path / "combinations.json"
    assert evidence.matrix(place) == ""
    place.write_text(json.dumps({"pairs": [{"first": "a", "second": "b", "outcome": "conflict", "reason": "both <x>"}]}))
    assert "conflict: both" in evidence.matrix(place) and "both &lt;x&gt;" in evidence.matrix(place)
    place.write_text("{")
    assert "cannot be read" in evidence.matrix(place)


def test_history_keeps_to_its_folder(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "one").mkdir(parents=True)
    (runs / "one" / "result.json").write_text(
        json.dumps({"method": "fouriscale", "model": "mini-sd", "pictures": ["../../x-0.png", "baseline-0.png"]})
    )
    (runs / "broken").mkdir()
    (runs / "broken" / "result.json").write_text("[")
    Image.new("RGB", (4, 4)).save(runs / "one" / "baseline-0.png")
    assert [kept.folder.name for kept in history.runs(runs)] == ["one"]
    assert list(shown.load(runs / "one").pictures) == ["baseline"]
    for name in ("../outside", "..", "/etc"):
        with pytest.raises(DiffolioError):
            history.run_named(runs, name)
    assert "not there any more" in history.page(Settings(runs=tmp_path / "gone"), Jobs(tmp_path))


def test_tables_of_reports() -> None:
    told = markup.report_tables(
        {"samples": [{"w": 1.0, "say": "<b>"}], "tokens": {"a": {"before": 4, "kept": 2}}, "lone": 3, "notes": ["x"]}
    )
    assert told.count("<table") == 3 and "&lt;b&gt;" in told


def test_values_as_text_and_back() -> None:
    for card in registry.cards().values():
        for knob in card.knobs:
            text = hints.text_of(knob.default)
            assert text == hints.text_of(None) or hints.read(card, knob, text) == knob.default
