"""The cellar: one SQLite file, numbered migrations."""
