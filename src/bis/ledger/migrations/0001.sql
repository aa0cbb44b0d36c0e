-- Runs, what they were told and what came out, and the verdicts on them.
CREATE TABLE runs (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    name            TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    exit            INTEGER,
    signal          INTEGER,
    started         INTEGER NOT NULL,
    ended           INTEGER,
    username        TEXT    NOT NULL,
    host            TEXT    NOT NULL,
    command         TEXT    NOT NULL,
    command_key     TEXT    NOT NULL,
    folder          TEXT    NOT NULL,
    project         TEXT    NOT NULL,
    code            TEXT    NOT NULL,
    data            TEXT    NOT NULL,
    params          TEXT    NOT NULL,
    environment     TEXT    NOT NULL,
    infrastructure  TEXT    NOT NULL,
    machine         TEXT    NOT NULL,
    repeats         TEXT    NOT NULL,
    parent          TEXT    NOT NULL,
    verdict         TEXT    NOT NULL DEFAULT '',
    record          TEXT    NOT NULL DEFAULT '',
    brief           BLOB    NOT NULL,
    content         BLOB    NOT NULL
);

CREATE INDEX runs_by_start   ON runs (started, seq);
CREATE INDEX runs_by_name    ON runs (name, started);
CREATE INDEX runs_by_command ON runs (command_key, started) WHERE record <> '';

CREATE TABLE params (
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    number  REAL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX params_by_key ON params (key, value);

CREATE TABLE metrics (
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   REAL,
    flag    TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX metrics_by_key ON metrics (key, value);

CREATE TABLE tags (
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE TABLE verdicts (
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,
    run      TEXT    NOT NULL,
    again    TEXT    NOT NULL,
    sameness TEXT    NOT NULL,
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL
);

CREATE INDEX verdicts_by_run ON verdicts (run, made);
