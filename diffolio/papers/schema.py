"""The tables of a library, how it is opened, and how an older one is brought up to date.

``paper`` holds the merged record; its row number is the key of the arXiv id, so that rows lie in the order of submission
months whatever the order of arrival. ``facet`` repeats in a few bytes what filters ask, so that no filter reads abstracts.
``fact`` says for each paper which source supplied which fields (a bit per field, see merge.FIELDS). ``month`` counts the
papers of each month, bounds their dates and keeps the month's share of the fingerprint (NULL after a change).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from diffolio.errors import LibraryError

APPLICATION = 0x44666F6C  # marks the file as a library of Diffolio
WAIT = 30.0  # seconds to wait for another process that is writing
TOKENIZER = "porter unicode61 remove_diacritics 2"  # of titles and abstracts

TABLES = """
CREATE TABLE paper (
  key INTEGER PRIMARY KEY, title TEXT, authors TEXT, author_parts TEXT, authors_cut INTEGER NOT NULL DEFAULT 0,
  abstract TEXT, categories TEXT, comments TEXT, journal_ref TEXT, doi TEXT, licence TEXT, published TEXT, updated TEXT,
  withdrawn INTEGER, extra TEXT, version INTEGER
);
CREATE TABLE facet (
  key INTEGER PRIMARY KEY, published INTEGER, updated INTEGER, version INTEGER, flags INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE month (
  month INTEGER PRIMARY KEY, papers INTEGER NOT NULL, first INTEGER, last INTEGER, digest BLOB
);
CREATE TABLE fact (
  paper INTEGER, source INTEGER, version INTEGER, retrieved TEXT, fields INTEGER NOT NULL,
  PRIMARY KEY (paper, source, version, retrieved)
) WITHOUT ROWID;
CREATE TABLE term (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE category (term INTEGER, paper INTEGER, PRIMARY KEY (term, paper)) WITHOUT ROWID;
CREATE TABLE link (
  paper INTEGER, position INTEGER, url TEXT NOT NULL, kind TEXT NOT NULL, found_in TEXT NOT NULL,
  PRIMARY KEY (paper, position)
) WITHOUT ROWID;
CREATE TABLE version (
  paper INTEGER, n INTEGER, submitted TEXT, source_type TEXT, size TEXT, said TEXT NOT NULL, PRIMARY KEY (paper, n)
) WITHOUT ROWID;
CREATE TABLE version_text (
  paper INTEGER, n INTEGER, field TEXT, value TEXT NOT NULL, source INTEGER NOT NULL, retrieved TEXT NOT NULL,
  PRIMARY KEY (paper, n, field)
) WITHOUT ROWID;
CREATE TABLE announcement (
  paper INTEGER, day TEXT, type TEXT, version INTEGER, PRIMARY KEY (paper, day, type, version)
) WITHOUT ROWID;
CREATE INDEX announcement_day ON announcement(day);
CREATE TABLE issue (
  id INTEGER PRIMARY KEY, series TEXT NOT NULL, format TEXT NOT NULL, topic TEXT, first TEXT NOT NULL, last TEXT NOT NULL,
  sha256 TEXT NOT NULL UNIQUE, raw BLOB NOT NULL, warnings TEXT NOT NULL
);
CREATE TABLE listing (
  paper INTEGER, issue INTEGER, position INTEGER, version INTEGER, announced TEXT, first_line INTEGER, last_line INTEGER,
  PRIMARY KEY (paper, issue, position)
) WITHOUT ROWID;
CREATE INDEX listing_issue ON listing(issue);
CREATE TABLE repair (
  id INTEGER PRIMARY KEY, paper INTEGER, issue INTEGER, field TEXT NOT NULL, kind TEXT NOT NULL, before TEXT NOT NULL,
  after TEXT NOT NULL, confidence REAL NOT NULL, undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX repair_paper ON repair(paper);
CREATE TABLE summary (
  id INTEGER PRIMARY KEY, paper INTEGER NOT NULL, version INTEGER, language TEXT NOT NULL, kind TEXT NOT NULL,
  model TEXT NOT NULL DEFAULT '', prompt TEXT NOT NULL DEFAULT '', schema INTEGER NOT NULL DEFAULT 0,
  edition TEXT NOT NULL DEFAULT '', body TEXT NOT NULL, text TEXT NOT NULL, raw TEXT, checked TEXT, verdict TEXT, at TEXT
);
CREATE INDEX summary_paper ON summary(paper);
CREATE TABLE work (
  id INTEGER PRIMARY KEY, status TEXT NOT NULL, kind TEXT NOT NULL, confidence REAL NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE work_paper (work INTEGER, paper INTEGER, PRIMARY KEY (work, paper)) WITHOUT ROWID;
CREATE INDEX work_of_paper ON work_paper(paper);
CREATE TABLE mark (
  paper INTEGER, kind TEXT, value TEXT, at TEXT, PRIMARY KEY (paper, kind, value)
) WITHOUT ROWID;
CREATE INDEX mark_kind ON mark(kind, value);
CREATE TABLE query (name TEXT PRIMARY KEY, text TEXT NOT NULL, options TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE cache (name TEXT PRIMARY KEY, day TEXT NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE text USING fts5(
  title, abstract, content='paper', content_rowid='key', tokenize='%TOKENIZER%'
);
CREATE VIRTUAL TABLE names USING fts5(
  authors, comments, content='paper', content_rowid='key', tokenize='unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE summaries USING fts5(text, content='summary', content_rowid='id', tokenize='trigram');
INSERT INTO text(text, rank) VALUES ('hashsize', 33554432);
INSERT INTO names(names, rank) VALUES ('hashsize', 8388608);
""".replace("%TOKENIZER%", TOKENIZER)

# Statements that bring a library from version i to i + 1; the position is the version and must never change.
MIGRATIONS: list[str] = [TABLES]


def connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    """Open ``path``, create or migrate it unless read-only. Raises LibraryError when that cannot be done."""
    if readonly and not path.is_file():
        raise LibraryError(f"there is no library at {path}: import or pull papers first")
    try:
        if not readonly:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _prepared(sqlite3.connect(path, timeout=WAIT, isolation_level=None), path, readonly)
        uri = path.absolute().as_uri() + "?mode=ro"
        try:
            return _prepared(sqlite3.connect(uri, uri=True, timeout=WAIT, isolation_level=None), path, readonly)
        except sqlite3.OperationalError:
            # Where nothing can be written SQLite cannot create its log; a library at rest needs none.
            log = Path(f"{path}-wal")
            if log.exists() and log.stat().st_size:
                raise
            return _prepared(sqlite3.connect(uri + "&immutable=1", uri=True, isolation_level=None), path, readonly)
    except (sqlite3.Error, OSError) as error:
        why = f"cannot {'read' if readonly else 'write'} the library {path}: {explain(error)}"
        raise LibraryError(why) from error


def _prepared(connection: sqlite3.Connection, path: Path, readonly: bool) -> sqlite3.Connection:
    try:
        _prepare(connection, path, readonly)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, readonly: bool) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and application != APPLICATION:
        raise LibraryError(f"{path} is a database of another program, not a library of papers: name another file")
    if version > len(MIGRATIONS):
        raise LibraryError(
            f"{path} was written by a newer Diffolio (library version {version}, this one reads up to {len(MIGRATIONS)}): "
            "update Diffolio or name another library"
        )
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA mmap_size = 1073741824")
    if readonly:
        if version < len(MIGRATIONS):
            raise LibraryError(f"{path} was written by an older Diffolio: open it once for writing to bring it up to date")
        connection.execute("PRAGMA query_only = ON")
        return
    if not version:
        connection.execute("PRAGMA page_size = 16384")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = OFF")
    if version < len(MIGRATIONS):
        migrate(connection)


def migrate(connection: sqlite3.Connection) -> None:
    """Run every missing migration, all or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated while this one waited.
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for statements in MIGRATIONS[version:]:
            for statement in statements.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def explain(error: Exception) -> str:
    """What a database error means for the user and what to do."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return f"another process has been writing to it for {WAIT:.0f} s; wait for it to end"
    if "full" in text:
        return "the disk is full; nothing of this write was kept, free some space and repeat it"
    if "not a database" in text:
        return "the file is not a library of papers"
    if "malformed" in text:
        return "the file is damaged; restore it or import its papers again"
    if "readonly" in text or "read-only" in text or "unable to open" in text or isinstance(error, PermissionError):
        return f"{text}; the file or its folder cannot be written, open it read-only or name another with DIFFOLIO_LIBRARY"
    if "fts5" in text:
        return "this Python's SQLite was built without FTS5"
    return text
