"""The tables of sessions and their messages. Times are seconds since the epoch."""

from __future__ import annotations

SESSIONS = """
    CREATE TABLE session (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        metadata BLOB NOT NULL,        -- JSON, an object
        context BLOB NOT NULL,         -- JSON, what the caller gave as initial_context
        message_count INTEGER NOT NULL DEFAULT 0,
        version INTEGER NOT NULL DEFAULT 0  -- one more with each change of its messages
    ) WITHOUT ROWID;
    CREATE INDEX session_by_update ON session (updated_at);
    CREATE TABLE message (
        id INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL REFERENCES session (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,          -- within its session, from 1
        at REAL NOT NULL,
        state TEXT NOT NULL,           -- whole, incomplete (a broken answer and its question), open (asked, and not answered yet)
        pinned INTEGER NOT NULL,       -- always told, however far back; so are system prompts
        private INTEGER NOT NULL,      -- 1 stays at home, 2 goes out with placeholders only
        role TEXT NOT NULL,
        tokens INTEGER NOT NULL,       -- by estimate
        model_id TEXT NOT NULL,        -- who said it; empty for a person
        request_id TEXT NOT NULL,
        owner TEXT NOT NULL DEFAULT '', -- of one that is open: the process that waits for its answer
        body BLOB NOT NULL,            -- JSON, the message whole
        UNIQUE (session_id, seq)
    );
    CREATE INDEX message_pinned ON message (session_id) WHERE pinned;
    CREATE INDEX message_open ON message (session_id) WHERE state = 'open';
    CREATE VIRTUAL TABLE message_text USING fts5 (text, content = '', tokenize = 'unicode61 remove_diacritics 2');
"""
