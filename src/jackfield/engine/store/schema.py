"""The tables of the daemon's database, as they came to be: numbered migrations, forward only."""

from __future__ import annotations

__all__ = ["MIGRATIONS"]

MIGRATIONS = (
    """
    CREATE TABLE networks (
        uuid TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        autostart INTEGER NOT NULL DEFAULT 0,
        document BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE live (
        uuid TEXT PRIMARY KEY,
        step TEXT NOT NULL,
        document BLOB NOT NULL,
        previous BLOB
    ) WITHOUT ROWID;
    CREATE TABLE ports (
        uuid TEXT PRIMARY KEY,
        network TEXT NOT NULL,
        step TEXT NOT NULL,
        realiser TEXT NOT NULL,
        document BLOB NOT NULL,
        device TEXT
    ) WITHOUT ROWID;
    CREATE TABLE members (
        network TEXT NOT NULL,
        name TEXT NOT NULL,
        link INTEGER NOT NULL,
        flags TEXT NOT NULL,
        PRIMARY KEY (network, name)
    ) WITHOUT ROWID;
    CREATE TABLE settings (
        name TEXT PRIMARY KEY,
        previous TEXT NOT NULL,
        ours TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE setting_users (
        name TEXT NOT NULL,
        network TEXT NOT NULL,
        PRIMARY KEY (name, network)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        type TEXT NOT NULL,
        network TEXT NOT NULL,
        uuid TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    "ALTER TABLE ports ADD COLUMN holder TEXT;",
    """
    CREATE TABLE records (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    ALTER TABLE members ADD COLUMN bridge TEXT;
    """,
    "ALTER TABLE settings ADD COLUMN link INTEGER;",
    # Without an index of names, which the registry keeps apart, and a count of events, which their
    # numbers are: each was a page more to write and to wait for with every definition.
    """
    CREATE TABLE definitions (
        uuid TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        autostart INTEGER NOT NULL DEFAULT 0,
        document BLOB NOT NULL
    ) WITHOUT ROWID;
    INSERT INTO definitions SELECT uuid, name, autostart, document FROM networks;
    DROP TABLE networks;
    ALTER TABLE definitions RENAME TO networks;
    CREATE TABLE happened (
        number INTEGER PRIMARY KEY,
        time REAL NOT NULL,
        type TEXT NOT NULL,
        network TEXT NOT NULL,
        uuid TEXT NOT NULL,
        detail TEXT NOT NULL
    );
    INSERT INTO happened SELECT number, time, type, network, uuid, detail FROM events;
    DROP TABLE events;
    ALTER TABLE happened RENAME TO events;
    """,
)
