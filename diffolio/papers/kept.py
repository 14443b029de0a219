"""What a library keeps beside the records: the user's marks, repairs, summaries, works, saved queries, states, a cache."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from diffolio.errors import BadInput, choose
from diffolio.papers import rows, view
from diffolio.papers.identifiers import base_of
from diffolio.papers.merge import unfold
from diffolio.papers.room import Room, paper_key
from diffolio.papers.view import Mark, StoredRepair, Summary, Work

MARKS = ("like", "dislike", "tag", "note", "read", "hidden")


class Kept(Room):
    """Everything about papers that no record says."""

    # Marks

    def mark(self, id: str, kind: str, value: str = "", *, at: str | None = None) -> None:
        """Like, dislike, tag, note, read or hide a paper; a like takes back a dislike and the reverse."""
        choose("mark", kind, MARKS)
        if kind in ("tag", "note") and not value.strip():
            raise BadInput(f"a {kind} needs its text")
        key = self._known(id)
        stamp = at or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        opposite = {"like": "dislike", "dislike": "like"}.get(kind)
        with self.transaction():
            self.connection.execute("DELETE FROM mark WHERE paper = ? AND kind = ?", (key, opposite))
            self.connection.execute("INSERT OR IGNORE INTO mark VALUES (?, ?, ?, ?)", (key, kind, value.strip(), stamp))

    def unmark(self, id: str, kind: str, value: str | None = None) -> bool:
        """Take a mark back, or all of its kind without ``value``; False when there was none."""
        choose("mark", kind, MARKS)
        with self.transaction():
            sql = "DELETE FROM mark WHERE paper = ? AND kind = ? AND (? IS NULL OR value = ?)"
            return self.connection.execute(sql, (paper_key(id), kind, value, value)).rowcount > 0

    def marked(self, kind: str) -> list[tuple[str, Mark]]:
        """Every mark of one kind with the id of its paper, oldest first."""
        sql = "SELECT paper, kind, value, at FROM mark WHERE kind = ? ORDER BY at, paper, value"
        return [(base_of(key), Mark(*told)) for key, *told in self.connection.execute(sql, (choose("mark", kind, MARKS),))]

    # Repairs

    def add_repairs(self, id: str | None, repairs: Iterable[Any], *, issue: int | None = None) -> None:
        """Record repairs of a paper's fields (or of an issue's header); one known from another file is not repeated."""
        key = None if id is None else paper_key(id)
        same = "paper IS ? AND (paper IS NOT NULL OR issue IS ?) AND field = ? AND kind = ? AND before = ? AND after = ?"
        with self.transaction():
            for r in repairs:
                told = (key, issue, r.field, r.kind, r.before, r.after)
                if not self.connection.execute(f"SELECT 1 FROM repair WHERE {same}", told).fetchone():
                    self.connection.execute(
                        "INSERT INTO repair(paper, issue, field, kind, before, after, confidence) VALUES (?,?,?,?,?,?,?)",
                        (*told, r.confidence),
                    )

    def repairs(self, id: str | None = None) -> list[StoredRepair]:
        """The repairs of one paper, or all."""
        where, values = ("", ()) if id is None else ("WHERE paper = ?", (paper_key(id),))
        return list(view.stored_repairs(self.connection, where, values))

    def undo(self, repair: StoredRepair | int) -> bool:
        """Put back the text before a repair (and before those that were built on it); False when it was undone already."""
        return self._switch(repair, undone=True)

    def redo(self, repair: StoredRepair | int) -> bool:
        """Apply an undone repair again; False when it stands."""
        return self._switch(repair, undone=False)

    def _switch(self, repair: StoredRepair | int, *, undone: bool) -> bool:
        number = repair if isinstance(repair, int) else repair.id
        found = list(view.stored_repairs(self.connection, "WHERE id = ?", (number,)))
        if not found:
            raise BadInput(f"there is no repair {number}")
        told = found[0]
        if told.undone is undone:
            return False
        with self.transaction():
            self.connection.execute("UPDATE repair SET undone = ? WHERE id = ?", (undone, number))
            if told.paper is not None:
                old, new = (told.after, told.before) if undone else (told.before, told.after)
                self._replace_text(told, old, new)
        return True

    def _replace_text(self, repair: StoredRepair, old: str, new: str) -> None:
        key = paper_key(repair.paper or "")
        state = rows.load(self.connection, [key])[key]
        before = dict(state.values)
        unfold(state)
        if repair.field not in rows.PLAIN or state.values.get(repair.field) != old:
            return  # a more trusted source has replaced the repaired text
        state.values[repair.field] = new
        for place, text in state.texts.items():
            if place[1] == repair.field and text.value == old:
                state.texts[place] = text._replace(value=new)
        rows.save(self.connection, [state], {key: before})

    # Summaries, works, saved queries, states of pulls, cache

    def add_summary(self, id: str, summary: Summary) -> None:
        """Store a summary; one of the same paper, version, kind, language, model, prompt and schema is replaced."""
        key = self._known(id)
        text = summary.text or _plain(summary.body)
        body = json.dumps(summary.body, ensure_ascii=False, sort_keys=True)
        check = None if summary.check is None else json.dumps(summary.check, ensure_ascii=False, sort_keys=True)
        identity = (key, summary.kind, summary.language, summary.model, summary.prompt, summary.schema, summary.version or 0,
                    summary.at or "" if summary.kind == "imported" else "")  # fmt: skip
        same = (
            "paper = ? AND kind = ? AND language = ? AND model = ? AND prompt = ? AND schema = ? AND ifnull(version, 0) = ?"
            " AND edition = ?"
        )
        with self.transaction():
            for number, old in self.connection.execute(f"SELECT id, text FROM summary WHERE {same}", identity).fetchall():
                self.connection.execute("INSERT INTO summaries(summaries, rowid, text) VALUES ('delete', ?, ?)", (number, old))
                self.connection.execute("DELETE FROM summary WHERE id = ?", (number,))
            number = self.connection.execute(
                "INSERT INTO summary(paper, kind, language, model, prompt, schema, version, edition, body, text, raw, checked,"
                " verdict, at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (*identity[:6], summary.version, identity[7], body, text, summary.raw, check, summary.verdict, summary.at),
            ).lastrowid
            self.connection.execute("INSERT INTO summaries(rowid, text) VALUES (?, ?)", (number, text))

    def add_work(self, ids: Sequence[str], *, kind: str, confidence: float, reason: str = "", merged: bool = True) -> Work:
        """Say that several ids are one work, surely (``merged``) or as a proposal. A work that was undone stays undone."""
        keys = sorted({self._known(id) for id in ids})
        if len(keys) < 2:
            raise BadInput("a work needs at least two different ids")
        for work in self.works():
            if work.papers == tuple(map(base_of, keys)):
                if work.status == "proposed" and merged:
                    self.set_work(work.id, "merged")
                return view.stored_work(self.connection, work.id)
        with self.transaction():
            told = ("merged" if merged else "proposed", kind, confidence, reason)
            number = self.connection.execute(
                "INSERT INTO work(status, kind, confidence, reason) VALUES (?,?,?,?)", told
            ).lastrowid
            self.connection.executemany("INSERT INTO work_paper VALUES (?, ?)", ((number, key) for key in keys))
        return view.stored_work(self.connection, int(number or 0))

    def set_work(self, work: int, status: str) -> None:
        """``merged``, ``proposed`` or ``undone``: merging is reversible."""
        with self.transaction():
            told = (choose("status", status, ("merged", "proposed", "undone")), work)
            if not self.connection.execute("UPDATE work SET status = ? WHERE id = ?", told).rowcount:
                raise BadInput(f"there is no work {work}")

    def works(self, status: str | None = None) -> list[Work]:
        """All works, or those of one status, in the order they were found."""
        found = self.connection.execute("SELECT id FROM work WHERE ? IS NULL OR status = ? ORDER BY id", (status, status))
        return [view.stored_work(self.connection, number) for (number,) in found.fetchall()]

    def set_query(self, name: str, text: str, **options: Any) -> None:
        """Save a query under a name, with what else belongs to it."""
        with self.transaction():
            told = (name, text, json.dumps(options, ensure_ascii=False, sort_keys=True))
            self.connection.execute("REPLACE INTO query VALUES (?, ?, ?)", told)

    def queries(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Every saved query with its options, by name."""
        found = self.connection.execute("SELECT name, text, options FROM query ORDER BY name")
        return {name: (text, json.loads(options)) for name, text, options in found}

    def delete_query(self, name: str) -> bool:
        with self.transaction():
            return self.connection.execute("DELETE FROM query WHERE name = ?", (name,)).rowcount > 0

    def get_state(self, name: str, default: Any = None) -> Any:
        """What :meth:`set_state` stored under ``name``."""
        row = self.connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set_state(self, name: str, value: Any) -> None:
        """Store anything that JSON can hold; None deletes. Inside a transaction it stands or falls with its records."""
        with self.transaction():
            if value is None:
                self.connection.execute("DELETE FROM state WHERE name = ?", (name,))
            else:
                self.connection.execute("REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value, sort_keys=True)))

    def states(self, prefix: str = "") -> dict[str, Any]:
        """All states whose name begins with ``prefix``."""
        found = self.connection.execute("SELECT name, value FROM state WHERE substr(name, 1, ?) = ?", (len(prefix), prefix))
        return {name: json.loads(value) for name, value in sorted(found)}

    def cached(self, name: str, day: str) -> bytes | None:
        """A response stored under ``name`` (its URL) on that day."""
        row = self.connection.execute("SELECT body FROM cache WHERE name = ? AND day = ?", (name, day)).fetchone()
        return None if row is None else zlib.decompress(row[0])

    def cache(self, name: str, day: str, body: bytes) -> None:
        """Keep a response for the rest of the day; those of other days go."""
        with self.transaction():
            self.connection.execute("DELETE FROM cache WHERE day <> ?", (day,))
            self.connection.execute("REPLACE INTO cache VALUES (?, ?, ?)", (name, day, zlib.compress(body)))


def _plain(body: Any) -> str:
    """Every text in a summary's body, a line each."""
    if isinstance(body, str):
        return body
    if isinstance(body, Mapping):
        body = [body[name] for name in sorted(body)]
    if isinstance(body, list | tuple):
        return "\n".join(text for text in map(_plain, body) if text)
    return ""
