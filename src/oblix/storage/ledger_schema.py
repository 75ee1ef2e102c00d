"""The books' tables. All amounts are whole micro-USD, all times seconds since the epoch."""

from __future__ import annotations

LEDGER = """
    CREATE TABLE budget (              -- what is watched; a limit here holds for every process on this file
        scope TEXT NOT NULL,           -- all, model, tag, key
        subject TEXT NOT NULL,         -- the model's id, the tag, the key's digest; empty for all
        period TEXT NOT NULL,          -- total, day, month
        micro INTEGER,                 -- NULL: only counted, because some client has a limit of its own
        origin TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (scope, subject, period)
    ) WITHOUT ROWID;
    INSERT INTO budget VALUES ('all', '', 'day', NULL, '', 0);  -- what a day costs is always counted
    CREATE TABLE account (             -- the counters of one budget in one window: of all that matches it, from its beginning
        id INTEGER PRIMARY KEY,
        scope TEXT NOT NULL,
        subject TEXT NOT NULL,
        period TEXT NOT NULL,
        span TEXT NOT NULL,            -- the window in the user's time zone: 2026-11-23, 2026-11, empty for total
        settled INTEGER NOT NULL DEFAULT 0 CHECK (settled >= 0),
        reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0),
        allowed INTEGER NOT NULL DEFAULT 0 CHECK (allowed >= 0),  -- what the user allowed beyond the limit in this window
        UNIQUE (scope, subject, span)
    );
    CREATE TABLE latest (              -- one row: the latest day that anything was counted to; windows do not go back
        one INTEGER PRIMARY KEY CHECK (one = 1),
        day TEXT NOT NULL
    );
    INSERT INTO latest VALUES (1, '');
    CREATE TABLE reservation (         -- open ones only
        id TEXT PRIMARY KEY,           -- of the attempt
        request_id TEXT NOT NULL,
        model_id TEXT NOT NULL,
        place TEXT NOT NULL,
        at REAL NOT NULL,
        day TEXT NOT NULL,             -- in the user's time zone, where it counts
        owner TEXT NOT NULL,           -- boot, process, its start
        lease_until REAL NOT NULL,
        micro INTEGER NOT NULL CHECK (micro >= 0),
        allowed INTEGER NOT NULL,      -- of that, what the user allowed beyond a limit
        tags TEXT NOT NULL,            -- JSON, texts
        key TEXT NOT NULL,
        price TEXT NOT NULL            -- where the price comes from, with its date
    ) WITHOUT ROWID;
    CREATE TABLE entry (               -- append-only; each row's hash covers the one before it
        seq INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        kind TEXT NOT NULL,            -- reserve, raise, settle, reap, correct; answer (tokens, savings); allow, limit, reset
        reservation TEXT NOT NULL,
        request_id TEXT NOT NULL,
        model_id TEXT NOT NULL,        -- of limit and reset: the scope, the subject and the period are in `tags`
        place TEXT NOT NULL,
        day TEXT NOT NULL,
        micro INTEGER NOT NULL,        -- settle, reap: what is charged; correct: what is added to that or taken off; else what it is about
        certain INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cached_tokens INTEGER,
        saved INTEGER,                 -- of an answer, by the formula of `saved_usd`
        tags TEXT NOT NULL,
        key TEXT NOT NULL,
        price TEXT NOT NULL,
        hash BLOB NOT NULL
    );
    -- A query finds this index where it repeats the condition word by word. Reservations, half of all entries, cost no second page so.
    CREATE INDEX entry_by_day ON entry (day, kind) WHERE kind IN ('settle', 'reap', 'correct', 'answer');
    CREATE INDEX entry_of ON entry (reservation) WHERE kind IN ('settle', 'reap', 'correct');
    CREATE TRIGGER entry_stays BEFORE UPDATE ON entry BEGIN SELECT raise(ABORT, 'entries are never changed'); END;
    CREATE TRIGGER entry_is_kept BEFORE DELETE ON entry BEGIN SELECT raise(ABORT, 'entries are never deleted'); END;
"""
