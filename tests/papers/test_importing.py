from __future__ import annotations

import codecs
import os
import random
import time
import tracemalloc
from pathlib import Path

import pytest

from diffolio.errors import BadInput, LibraryError
from diffolio.papers import formats
from diffolio.papers.decoding import decode
from diffolio.papers.importing import import_files, kind_of, original_bytes, read_issue, records_of
from diffolio.papers.store import Library

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ("topic_list_page", "topic_list_api", "topic_list_front", "overview", "blog", "blog_variants")
BIB = b"@misc{x, title={Bells}, author={Example, Ada and Sample, Bo}, eprint={2403.90071}, archivePrefix={arXiv}}\n"
LINES = b'{"id": "2403.90072", "title": "Whistles", "abstract": "We blow.", "authors": ["Ada Example"]}\n'
ATOM = b"""<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>x</title><id>http://arxiv.org/api/x</id><updated>2024-03-21T00:00:00Z</updated>
<entry><id>http://arxiv.org/abs/2403.90073v1</id><title>Drums</title><summary>We beat.</summary><published>2024-03-20T10:00:00Z</published>
<updated>2024-03-20T10:00:00Z</updated><author><name>Ada Example</name></author><category term="cs.SD"/></entry></feed>"""
RSS = b"""<?xml version="1.0" encoding="UTF-8"?>
<rss xmlns:arxiv="http://arxiv.org/schemas/atom" xmlns:dc="http://purl.org/dc/elements/1.1/" version="2.0"><channel><title>cs.SD</title>
<lastBuildDate>Thu, 21 Mar 2024 00:00:00 -0400</lastBuildDate><item><title>Flutes</title><link>https://arxiv.org/abs/2403.90074</link>
<description>arXiv:2403.90074v1 Announce Type: new \nAbstract: We play.</description><guid>oai:arXiv.org:2403.90074v1</guid>
<category>cs.SD</category><arxiv:announce_type>new</arxiv:announce_type><dc:creator>Ada Example</dc:creator></item></channel></rss>"""
OAI = b"""<?xml version="1.0" encoding="UTF-8"?>
<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><responseDate>2024-03-21T00:00:00Z</responseDate><ListRecords><record><header>
<identifier>oai:arXiv.org:2403.90075</identifier><datestamp>2024-03-20</datestamp></header><metadata>
<arXiv xmlns="http://arxiv.org/OAI/arXiv/"><id>2403.90075</id><created>2024-03-19</created><authors><author><keyname>Example</keyname>
<forenames>Ada</forenames></author></authors><title>Horns</title><categories>cs.SD</categories><abstract>We blow too.</abstract></arXiv>
</metadata></record></ListRecords></OAI-PMH>"""
RECORDS = {"bibtex": BIB, "jsonl": LINES, "atom": ATOM, "rss": RSS, "oai": OAI}


@pytest.fixture
def library(tmp_path):
    with Library.open(tmp_path / "library.sqlite") as opened:
        yield opened


def fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.md").read_bytes()


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def ids(issue) -> list[str]:
    return [entry.id for entry in issue.entries]


# What is read


@pytest.mark.parametrize("kind", RECORDS)
def test_records_are_told_apart_by_content_not_by_name(library, tmp_path, kind):
    assert kind_of(RECORDS[kind]) == kind
    report = import_files(library, [put(tmp_path, "anything.txt", RECORDS[kind])])
    assert [(file.kind, file.new) for file in report.files] == [(kind, 1)]
    assert len(library) == 1


@pytest.mark.parametrize("name", NAMES)
def test_digests_reach_the_library(library, name):
    report = import_files(library, [FIXTURES / f"{name}.md"])
    (file,) = report.files
    issue = read_issue(fixture(name), path=name)
    assert (file.kind, file.entries, file.new) == (issue.format, len(issue.entries), len(issue.entries))
    for entry in issue.entries:
        paper = library.paper(entry.id)
        assert (paper.title, paper.abstract) == (entry.title, entry.abstract)
    again = import_files(library, [FIXTURES / f"{name}.md"])
    assert (again.new, again.changed) == (0, 0)
    assert library.raw(library.issues()[0]["sha256"]) == fixture(name)


def test_a_folder_gives_its_files_and_says_what_it_skipped(library, tmp_path):
    (tmp_path / "in" / "below").mkdir(parents=True)
    put(tmp_path / "in", "a.md", fixture("overview"))
    put(tmp_path / "in", "b.bib", BIB)
    put(tmp_path / "in" / "below", "c.jsonl", LINES)
    put(tmp_path / "in", ".hidden.md", fixture("blog"))
    put(tmp_path / "in", "letter.txt", b"Dear all,\n")
    put(tmp_path / "in", "paper.pdf", b"%PDF-1.7 ...")
    put(tmp_path / "in", "empty.md", b"")
    report = import_files(library, [tmp_path / "in"])
    assert [Path(file.path).name for file in report.files] == ["a.md", "b.bib", "c.jsonl"]
    assert sorted((Path(path).name, reason[:12]) for path, reason in report.skipped) == [
        ("empty.md", "the file is "), ("letter.txt", "no known dig"), ("paper.pdf", "this is a PD"),
    ]  # fmt: skip
    assert (report.entries, report.new, len(library)) == (5, 5, 5)


def test_all_files_of_one_call_or_none(library, tmp_path):
    bad = put(tmp_path, "bad.md", fixture("overview").replace(b"2024-03-20", b"2024-03-35", 1))
    with pytest.raises(BadInput, match=r"bad\.md: line 1: the date 2024-03-35 does not exist"):
        import_files(library, [FIXTURES / "blog.md", put(tmp_path, "x.bib", BIB), bad])
    assert len(library) == 0 and library.issues() == []
    half = put(tmp_path, "half.jsonl", LINES * 3 + b'{"id": "2403.900')
    with pytest.raises(BadInput, match=r"half\.jsonl: line 4"):
        import_files(library, [half])
    assert len(library) == 0


# Repairs


def test_headings_in_a_wrong_charset_are_repaired_and_can_be_put_back():
    issue = read_issue(fixture("topic_list_page"))
    assert issue.topic == "Diffusion"
    assert formats.write(issue).startswith("# 🔍 Diffusion Papers · 2024-03-20\n")
    assert [(r.field, r.kind, r.before[:4], r.after[:4]) for r in issue.repairs] == [
        ("line 1", "charset", "# \uf8ffü", "# 🔍 "),
        ("line 8", "charset", "## \uf8ff", "## 📌"),
        ("line 14", "charset", "## \uf8ff", "## 📚"),
    ]
    assert original_bytes(issue) == fixture("topic_list_page")
    assert formats.write(read_issue(fixture("topic_list_page"), repair=False)).encode() == fixture("topic_list_page")


def test_a_field_in_a_wrong_charset_is_repaired_as_a_field():
    name = "José Ünal-Sørensen"
    data = fixture("overview").decode().replace("We measure it.", f"Thanks to {name}, we measure it — twice.")
    broken = data.replace("José Ünal-Sørensen", name.encode().decode("cp1252")).replace("—", "—".encode().decode("cp1252"))
    issue = read_issue(broken)
    assert name in issue.entries[0].abstract
    repair = next(r for r in issue.entries[0].repairs if r.kind == "charset")
    assert repair.field == "abstract" and repair.before != repair.after and repair.after == issue.entries[0].raw["abstract"]
    assert original_bytes(issue).decode() == broken


def test_joined_words_of_lists_made_from_the_api_are_parted_and_raw_kept():
    kites, spoons = read_issue(fixture("topic_list_api")).entries
    assert kites.abstract == (
        "We study kites that fly on long strings in the wind of a wide and open field. The strings are modelled as chains of short "
        "and stiff parts, and the wind is a field of arrows that we sample from a generative model of the weather. In our "
        "experiments the kites stay in the air for longer than those of earlier work, and the model needs less time for training "
        "and no labels at all."
    )
    (repair,) = [r for r in kites.repairs if r.kind == "joined-words"]
    assert repair.before == kites.raw["abstract"] and "afield" in repair.before and 0.5 <= repair.confidence <= 1
    assert spoons.repairs == ()


def test_glued_placeholders_and_sentences_only_in_lists_made_from_pages():
    boats, pond, _ = read_issue(fixture("topic_list_page")).entries
    assert boats.abstract.endswith("Results are shown on this https URL.")
    assert [r.kind for r in boats.repairs] == ["lost-link"]
    assert "fewer schemes. Our map" in pond.abstract
    assert "untapped.This" in read_issue(fixture("overview")).entries[1].abstract


def test_triple_spaces_are_collapsed_and_raw_kept():
    first, *_ = read_issue(fixture("overview")).entries
    assert first.title == "Windmills: A Frequency View of Sails"
    assert first.raw["title"] == "Windmills: A   Frequency View of Sails"
    assert [(r.field, r.kind, r.confidence) for r in first.repairs] == [("title", "spaces", 1.0), ("abstract", "spaces", 1.0)]
    assert read_issue(fixture("blog")).entries[0].comments == "CVPR 2024, project page: https://example.org/puppets/"


def test_a_repair_can_be_undone_in_the_library(library):
    report = import_files(library, [FIXTURES / "topic_list_page.md"])
    assert sorted({repair.kind for _, repair in report.files[0].repairs}) == ["charset", "joined-sentences", "lost-link"]
    stored = next(repair for repair in library.repairs("2403.90011") if repair.kind == "lost-link")
    library.undo(stored)
    assert library.paper("2403.90011").abstract.endswith("onthis https URL.")


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_copy_says_the_same(name):
    issue = read_issue(fixture(name), path=name)
    again = read_issue(formats.write(issue, mode="clean"))
    fields = ("id", "title", "abstract", "version", "url", "authors", "authors_cut", "categories", "date", "comments")
    for old, new in zip(issue.entries, again.entries, strict=True):
        assert [getattr(new, field) for field in fields] == [getattr(old, field) for field in fields]
        assert new.repairs == ()


def test_a_clean_issue_is_not_repaired():
    text = formats.write(read_issue(fixture("topic_list_page")), mode="clean").replace(
        "the counts are", "one.Then onthis https URL   we"
    )
    assert text != formats.write(read_issue(fixture("topic_list_page")), mode="clean")
    issue = read_issue(text)
    assert issue.entries[2].repairs == () and "one.Then onthis https URL   we" in issue.entries[2].abstract


# Bad inputs


@pytest.mark.parametrize(
    ("data", "told"), [(b"", "the file is empty"), (b" \n\n", "nothing but blank"), (b"\xef\xbb\xbf", "nothing but blank")]
)
def test_empty_file(library, tmp_path, data, told):
    with pytest.raises(BadInput, match=told):
        import_files(library, [put(tmp_path, "empty.md", data)])


def test_nothing_to_import(library, tmp_path):
    with pytest.raises(BadInput, match="no files to import"):
        import_files(library, [])
    with pytest.raises(BadInput, match="there is no file or folder"):
        import_files(library, [tmp_path / "nowhere.md"])


@pytest.mark.parametrize(
    "head",
    [fixture("topic_list_api"), LINES, ATOM.replace(b"</feed>", b"<entry>"), BIB],
    ids=["digest", "jsonl", "atom", "bibtex"],
)
def test_file_of_one_gigabyte_is_bounded(library, tmp_path, head):
    path = put(tmp_path, "huge", head)
    os.truncate(path, 1 << 30)
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(BadInput, match="huge"):
            import_files(library, [path])
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
        assert time.process_time() - start < 20
    finally:
        tracemalloc.stop()
    assert len(library) == 0


@pytest.mark.parametrize("kind", RECORDS)
def test_records_are_streamed(kind, tmp_path):
    """The first record comes before the file is read: what stands between the records is repeated."""
    entry = {"atom": (b"<entry>", b"</entry>"), "rss": (b"<item>", b"</item>"), "oai": (b"<record>", b"</record>")}.get(kind)
    data = RECORDS[kind]
    if entry:
        head, rest = data.split(entry[0], 1)
        body, tail = rest.split(entry[1], 1)
        data = head + (entry[0] + body + entry[1]) * 1500 + tail
    else:
        data *= 2500
    with put(tmp_path, "many", data).open("rb", buffering=0) as stream:
        records = records_of(kind, stream, [])
        next(records)
        assert stream.tell() < len(data) / 2
        assert sum(1 for _ in records) > 1000


ENCODINGS = {
    "utf-8 with mark": codecs.BOM_UTF8 + fixture("overview"),
    "utf-16 with mark": fixture("overview").decode().encode("utf-16"),
    "utf-16 big endian": fixture("overview").decode().encode("utf-16-be"),
    "utf-16 little endian": fixture("topic_list_api").decode().encode("utf-16-le"),
    "utf-32": fixture("blog").decode().encode("utf-32"),
    "gb18030": fixture("blog").decode().encode("gb18030"),
    "gbk": fixture("overview").decode().encode("gbk"),
    "cp1252": fixture("overview").decode().replace("生成式论文概览", "Aperçu généré").replace("Owls", "Hiboux — été").encode("cp1252"),
    "latin-1": fixture("overview").decode().replace("生成式论文概览", "Überblick über Modelle\x81").encode("latin-1"),
    "crlf": fixture("topic_list_page").replace(b"\n", b"\r\n"),
    "crlf blog": fixture("blog").replace(b"\n", b"\r\n"),
    "old mac": fixture("topic_list_front").replace(b"\n", b"\r"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODINGS)
def test_encodings_and_line_ends(name):
    data = ENCODINGS[name]
    issue = read_issue(data)
    assert issue.entries and not any("\ufffd" in (entry.abstract or "") for entry in issue.entries)
    assert original_bytes(issue) == data
    told = decode(data)
    assert told.encode(told.text) == data


def test_gbk_and_latin_words_are_the_right_ones():
    assert read_issue(ENCODINGS["gbk"]).series == "生成式论文概览"
    assert read_issue(ENCODINGS["gb18030"]).entries[0].summary.summary == "木偶由线牵动。"
    assert read_issue(ENCODINGS["cp1252"]).series == "Aperçu généré"
    assert read_issue(ENCODINGS["cp1252"]).entries[2].title == "## Hiboux — été"


def test_nul_is_refused_with_its_line():
    with pytest.raises(BadInput, match="line 3 holds a NUL"):
        read_issue(fixture("overview").replace(b"2024-03-19", b"2024\x00-03-19", 1))


def test_bytes_that_are_no_text_are_replaced_and_told():
    issue = read_issue(fixture("blog").replace("弹珠".encode(), b"x").replace("木偶很".encode(), b"\xe6\x9c", 1))
    assert len(issue.entries) == 2 and "not UTF-8" in issue.warnings[0]


def test_mixed_line_ends_are_told():
    assert "mixes kinds of line ends" in read_issue(fixture("overview").replace(b"\n", b"\r\n", 3)).warnings[0]


@pytest.mark.parametrize("name", NAMES)
def test_truncated_at_every_line(name, tmp_path):
    whole = ids(read_issue(fixture(name), path=name))
    lines = fixture(name).split(b"\n")
    reached = 0
    for end in range(len(lines)):
        try:
            issue = read_issue(b"\n".join(lines[:end]), path=name)
        except BadInput:
            continue
        assert ids(issue) == whole[: len(issue.entries)]
        assert original_bytes(issue) == b"\n".join(lines[:end])
        reached = max(reached, len(issue.entries))
    assert reached == len(whole)


def test_unknown_format_says_what_was_tried_and_where_it_failed(library, tmp_path):
    with pytest.raises(BadInput) as told:
        import_files(library, [put(tmp_path, "letter.md", b"\nDear all,\n")])
    for name in ("letter.md", "topic-list, line 2", "overview, line 2", "blog, line 2"):
        assert name in str(told.value)


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"%PDF-1.4", "a PDF"), (b"PK\x03\x04x", "a ZIP"), (b"\x1f\x8b\x08", "gzip"), (b"<!DOCTYPE html><html>log in</html>", "HTML"),
     (b"<?xml version='1.0'?><opml><x/></opml>", "<opml>"), (b"SQLite format 3\x00", "a database")],
)  # fmt: skip
def test_other_kinds_of_file_are_named(library, tmp_path, data, told):
    with pytest.raises(BadInput, match=told):
        import_files(library, [put(tmp_path, "x.md", data)])


def test_a_pipe_is_refused_at_once(library, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="no regular file"):
        import_files(library, [tmp_path / "pipe"])


def test_a_file_that_must_not_be_read(library, tmp_path):
    path = put(tmp_path, "secret.md", fixture("overview"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(BadInput, match="cannot be read"):
        import_files(library, [path])


def test_read_only_library_refuses_and_stays_as_it_was(library, tmp_path):
    with Library.open(library.path, readonly=True) as closed, pytest.raises(LibraryError, match="read-only"):
        import_files(closed, [FIXTURES / "overview.md"])
    assert len(library) == 0


def test_html_in_a_title_is_kept_as_text(library, tmp_path):
    bad = "<script>alert(1)</script>"
    data = fixture("topic_list_api").decode().replace("[Spoons]", f"[{bad}]")
    import_files(library, [put(tmp_path, "x.md", data.encode())])
    assert library.paper("2403.90020").title == bad
    assert "<script" not in formats.write(read_issue(data), mode="clean").replace("\\u003cscript", "")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """``data`` with a few bytes, lines or stretches changed, moved, doubled or lost."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at, span = rng.randrange(len(out) + 1), rng.randint(1, 200)
        match rng.randrange(7):
            case 0:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del out[at : at + span]
            case 2:
                out[at:at] = out[at : at + span] * rng.randint(1, 3)
            case 3:
                out[at:at] = rng.choice(
                    (
                        b"\n",
                        b"](",
                        b"<",
                        b"</details>\n",
                        b"- **[",
                        b"## ",
                        b"---\n",
                        b"&a ",
                        b"\x00",
                        b"\xff\xfe",
                        b"\r",
                        b"{",
                        b"<a>",
                    )
                )
            case 4:
                lines = out.split(b"\n")
                rng.shuffle(lines) if rng.random() < 0.2 else lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                out = bytearray(b"\n".join(lines))
            case 5:
                del out[at:]
            case 6:
                out += out[at : at + span]
    return bytes(out)


def test_mutated_files_give_an_answer_or_a_clear_error(library, tmp_path):
    originals = [fixture(name) for name in NAMES] + list(RECORDS.values())
    read = 0
    for number in range(150):
        rng = random.Random(number)
        path = put(tmp_path, "mutated", mutated(rng.choice(originals), rng))
        before = library.fingerprint() if number % 10 == 0 else None
        start = time.process_time()
        try:
            import_files(library, [path])
            read += 1
        except BadInput as error:
            told = str(error)
            if "mutated" not in told or len(told) > 2000 or (before is not None and library.fingerprint() != before):
                pytest.fail(f"seed {number}: {told[:300]}")
        assert time.process_time() - start < 5
    assert 20 < read < 150
