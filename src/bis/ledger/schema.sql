-- The ledger: facts about runs, kept for asking. Everything but a run under way can be rebuilt from the records in
-- the store (`bis reindex`). This file is the reference; the numbered files in migrations/ lead to it.
--
-- Text compares by bytes. Times are microseconds since 1970 UTC. Flags stand for what numbers cannot hold.

CREATE TABLE runs (
    seq             INTEGER PRIMARY KEY,            -- in the order in which the ledger heard of them
    id              TEXT    NOT NULL UNIQUE,        -- 12 hexadecimal digits
    name            TEXT    NOT NULL,               -- chosen ones need not be unique: the newest is meant
    status          TEXT    NOT NULL,               -- running, finished, failed, interrupted, lost
    exit            INTEGER,                        -- of the command; NULL when a signal ended it, or while it runs
    signal          INTEGER,
    started         INTEGER NOT NULL,
    ended           INTEGER,                        -- NULL while it runs
    username        TEXT    NOT NULL,
    host            TEXT    NOT NULL,
    command         TEXT    NOT NULL,               -- the words, quoted as a shell would read them
    command_key     TEXT    NOT NULL,               -- equal for runs of the same script with other values
    folder          TEXT    NOT NULL,
    project         TEXT    NOT NULL,
    code            TEXT    NOT NULL,               -- digests of the parts; empty where there is none
    data            TEXT    NOT NULL,
    params          TEXT    NOT NULL,
    environment     TEXT    NOT NULL,
    infrastructure  TEXT    NOT NULL,
    machine         TEXT    NOT NULL,
    repeats         TEXT    NOT NULL,               -- id of the run that this one repeats, or empty
    parent          TEXT    NOT NULL,               -- id of the run around this one, or empty
    verdict         TEXT    NOT NULL DEFAULT '',    -- the newest word on it: identical, equivalent, different, …
    record          TEXT    NOT NULL DEFAULT '',    -- digest of the sealed record; empty while it runs
    brief           BLOB    NOT NULL,               -- JSON: what one line of a list of runs needs
    content         BLOB    NOT NULL,               -- the whole record: canonical JSON, compressed with zstd
    note            TEXT    NOT NULL DEFAULT '',    -- the newest: of an annotation, else of the record
    removed         TEXT    NOT NULL DEFAULT ''     -- when it was removed, RFC 3339; its content may be gone
);

CREATE INDEX runs_by_start   ON runs (started, seq);
CREATE INDEX runs_by_name    ON runs (name, started);
CREATE INDEX runs_by_command ON runs (command_key, started) WHERE record <> '';
CREATE INDEX runs_under_way  ON runs (started) WHERE record = '';

CREATE TABLE params (
    run     INTEGER NOT NULL,                       -- runs.seq
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    number  REAL,                                   -- the value as a number, where it is one
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX params_by_key ON params (key, value);

CREATE TABLE metrics (
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   REAL,                                   -- NULL for NaN; the largest double stands for infinity
    flag    TEXT    NOT NULL DEFAULT '',            -- NaN, Infinity or -Infinity, as canonical JSON spells them
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX metrics_by_key ON metrics (key, value);

CREATE TABLE tags (                                 -- as the annotations left them
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    number  REAL,                                   -- the value as a number, where it is one
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX tags_by_key ON tags (key, value);

CREATE TABLE verdicts (
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,               -- digest of the record in the store
    run      TEXT    NOT NULL,                      -- id of the run that was repeated
    again    TEXT    NOT NULL,                      -- id of the run that the repeat made
    sameness TEXT    NOT NULL,
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL                       -- the whole record: canonical JSON, compressed with zstd
);

CREATE INDEX verdicts_by_run ON verdicts (run, made);

CREATE TABLE annotations (
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,               -- digest of the record in the store
    run      TEXT    NOT NULL,                      -- id of the run that it is about
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL                       -- the whole record: canonical JSON, compressed with zstd
);

CREATE INDEX annotations_by_run ON annotations (run, made);

CREATE TABLE names (
    name    TEXT    PRIMARY KEY,                    -- given to a run that has not begun yet
    given   INTEGER NOT NULL                        -- when; one that was never used is forgotten after a day
) WITHOUT ROWID;

CREATE TABLE data_versions (                        -- of data sets
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,               -- digest of the record in the store
    name     TEXT    NOT NULL,                      -- of the data set
    number   INTEGER NOT NULL,                      -- another ledger may have given the same
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL                       -- the whole record: canonical JSON
);

CREATE INDEX data_versions_by_name ON data_versions (name, made);

CREATE TABLE data_annotations (                     -- tags, remarks and removals of versions
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,               -- digest of the record in the store
    name     TEXT    NOT NULL,                      -- of the data set
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL                       -- the whole record: canonical JSON
);

CREATE INDEX data_annotations_by_name ON data_annotations (name, made);

CREATE TABLE data_used (                            -- files that the data part of a run holds
    digest  TEXT    NOT NULL,                       -- its first 24 hexadecimal digits
    run     INTEGER NOT NULL,                       -- runs.seq; of each run the smallest 4,096 digests
    PRIMARY KEY (digest, run)
) WITHOUT ROWID;

CREATE INDEX data_used_by_run ON data_used (run);
