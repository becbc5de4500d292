"""The tables of the device's database, and how a database of an earlier version becomes one of this.

A script is never edited once it was released: homes out there went through it. What is new is one more at the end.
"""

from __future__ import annotations

_SCHEMA = """
CREATE TABLE blobs (
  blake3 TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, checked_at TEXT NOT NULL
) STRICT;
CREATE TABLE models (
  name TEXT PRIMARY KEY, blake3 TEXT NOT NULL REFERENCES blobs(blake3), source TEXT NOT NULL, added_at TEXT NOT NULL
) STRICT;
CREATE TABLE numerics (
  model TEXT NOT NULL, setting TEXT NOT NULL, fingerprint TEXT NOT NULL, exact INTEGER NOT NULL,
  declared INTEGER NOT NULL, measured_at TEXT NOT NULL, PRIMARY KEY (model, setting)
) STRICT;
CREATE TABLE log_entries (
  position INTEGER PRIMARY KEY, entry BLOB NOT NULL, salt BLOB NOT NULL, envelope BLOB NOT NULL
) STRICT;
CREATE TABLE log_nodes (
  level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_head (
  id INTEGER PRIMARY KEY CHECK (id = 1), origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL,
  checkpoint TEXT NOT NULL
) STRICT;
CREATE TABLE receipts (
  id TEXT PRIMARY KEY, started_at TEXT NOT NULL, secret BLOB NOT NULL,
  intent_position INTEGER NOT NULL, result_position INTEGER, disclosure BLOB NOT NULL
) STRICT;
"""

_EPOCHS = """
CREATE TABLE entries_2 (
  epoch INTEGER NOT NULL, position INTEGER NOT NULL, entry BLOB NOT NULL, salt BLOB, envelope BLOB,
  PRIMARY KEY (epoch, position)
) STRICT;
INSERT INTO entries_2 SELECT 0, position, entry, salt, envelope FROM log_entries;
DROP TABLE log_entries;
ALTER TABLE entries_2 RENAME TO log_entries;
CREATE TABLE nodes_2 (
  epoch INTEGER NOT NULL, level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY (epoch, level, position)
) STRICT, WITHOUT ROWID;
INSERT INTO nodes_2 SELECT 0, level, position, hash FROM log_nodes;
DROP TABLE log_nodes;
ALTER TABLE nodes_2 RENAME TO log_nodes;
CREATE TABLE log_heads (
  epoch INTEGER PRIMARY KEY, origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, checkpoint TEXT NOT NULL
) STRICT;
INSERT INTO log_heads SELECT 0, origin, size, root, checkpoint FROM log_head;
DROP TABLE log_head;
CREATE TABLE receipts_2 (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('open', 'promised', 'done')),
  started_at TEXT NOT NULL, epoch INTEGER NOT NULL, intent_position INTEGER NOT NULL, result_position INTEGER,
  secret BLOB, disclosure BLOB, forgotten_at TEXT
) STRICT;
INSERT INTO receipts_2
  SELECT id,
    iif(json_extract(CAST(disclosure AS TEXT), '$.intent.prompt_tokens') IS NULL, 'numerics', 'generation'),
    iif(result_position IS NULL AND json_extract(CAST(disclosure AS TEXT), '$.intent.prompt_tokens') IS NOT NULL,
      'open', 'done'),
    started_at, 0, intent_position, result_position, secret, disclosure, NULL
  FROM receipts;
DROP TABLE receipts;
ALTER TABLE receipts_2 RENAME TO receipts;
CREATE INDEX receipts_by_state ON receipts (state);
CREATE TABLE requests (
  id TEXT PRIMARY KEY, issued_at TEXT NOT NULL, intent TEXT, revealed BLOB
) STRICT;
"""

_ADAPTERS = """
CREATE TABLE adapters (
  name TEXT PRIMARY KEY, blake3 TEXT NOT NULL REFERENCES blobs(blake3), base TEXT NOT NULL, source TEXT NOT NULL,
  added_at TEXT NOT NULL
) STRICT;
"""

_PUBLISHED = """
CREATE TABLE published (
  epoch INTEGER NOT NULL, size INTEGER NOT NULL, checkpoint TEXT NOT NULL, published_at TEXT NOT NULL, hardware BLOB,
  PRIMARY KEY (epoch, size)
) STRICT;
"""

# The tree's hashes go from a row each into blocks (log/blocks.py). SQLite concatenates text only, byte for byte.
_BLOCKS = """
CREATE TABLE log_blocks (
  epoch INTEGER NOT NULL, level INTEGER NOT NULL, position INTEGER NOT NULL, hashes BLOB NOT NULL,
  PRIMARY KEY (epoch, level, position)
) STRICT;
INSERT INTO log_blocks SELECT DISTINCT epoch, level / 4, position >> (4 - level % 4), CAST(
    group_concat(CAST(hash AS TEXT), '') OVER (
      PARTITION BY epoch, level / 4, position >> (4 - level % 4) ORDER BY (position + 1) << (level % 4), level
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) AS BLOB
  ) FROM log_nodes;
DROP TABLE log_nodes;
"""

_WITNESS = """
CREATE TABLE witness_self (
  id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL
) STRICT;
CREATE TABLE witness_logs (
  origin TEXT NOT NULL, vkey TEXT NOT NULL, added_at TEXT NOT NULL, PRIMARY KEY (origin, vkey)
) STRICT;
CREATE TABLE witness_heads (
  origin TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL,
  time_s INTEGER NOT NULL
) STRICT;
CREATE TABLE witness_forks (
  id TEXT PRIMARY KEY, origin TEXT NOT NULL, found_at TEXT NOT NULL, fork BLOB NOT NULL
) STRICT;
CREATE TABLE witnesses (
  vkey TEXT PRIMARY KEY, url TEXT NOT NULL, added_at TEXT NOT NULL
) STRICT;
CREATE TABLE witness_sizes (
  vkey TEXT NOT NULL, origin TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (vkey, origin)
) STRICT;
"""

_KEYS = """
CREATE TABLE key_events (
  digest TEXT PRIMARY KEY, key TEXT NOT NULL, signed BLOB NOT NULL, known_at TEXT NOT NULL,
  epoch INTEGER, position INTEGER
) STRICT;
"""

_RELEASES = """
CREATE TABLE publishers (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, key BLOB NOT NULL, added_at TEXT NOT NULL
) STRICT;
CREATE TABLE releases (
  root TEXT NOT NULL, publisher TEXT NOT NULL REFERENCES publishers(id), name TEXT NOT NULL, kind TEXT NOT NULL,
  version TEXT NOT NULL, base TEXT, metadata BLOB, signature BLOB NOT NULL, added_at TEXT NOT NULL,
  PRIMARY KEY (root, publisher)
) STRICT;
CREATE TABLE release_files (
  root TEXT NOT NULL, publisher TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
  blake3 TEXT NOT NULL, PRIMARY KEY (root, publisher, path),
  FOREIGN KEY (root, publisher) REFERENCES releases(root, publisher) ON DELETE CASCADE
) STRICT;
CREATE INDEX release_files_by_sha256 ON release_files (sha256);
CREATE INDEX release_files_by_blake3 ON release_files (blake3);
CREATE TABLE revocations (
  root TEXT NOT NULL, publisher TEXT NOT NULL REFERENCES publishers(id), reason TEXT NOT NULL, revoked_at TEXT NOT NULL,
  envelope BLOB NOT NULL, added_at TEXT NOT NULL, PRIMARY KEY (root, publisher)
) STRICT;
"""

_HARDWARE = """
CREATE TABLE hardware_challenges (
  id TEXT PRIMARY KEY, enrolment BLOB NOT NULL, secret BLOB NOT NULL, issued_at TEXT NOT NULL, used_at TEXT
) STRICT;
CREATE TABLE attestation_keys (
  name TEXT PRIMARY KEY, public BLOB NOT NULL, private BLOB NOT NULL, ek TEXT NOT NULL, made_at TEXT NOT NULL
) STRICT;
CREATE TABLE hardware_record (
  id INTEGER PRIMARY KEY CHECK (id = 1), ak TEXT NOT NULL REFERENCES attestation_keys(name), record BLOB NOT NULL,
  tcti TEXT NOT NULL, event_log TEXT, adopted_at TEXT NOT NULL
) STRICT;
"""

MIGRATIONS = (_SCHEMA, _EPOCHS, _ADAPTERS, _PUBLISHED, _BLOCKS, _WITNESS, _KEYS, _RELEASES, _HARDWARE)
"""Entry N takes a database from version N to N+1; ``PRAGMA user_version`` holds the version."""
