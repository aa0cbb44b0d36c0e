-- Versions of data sets, what was said of them, and which files the runs used.
CREATE TABLE data_versions (
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,
    name     TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL
);

CREATE INDEX data_versions_by_name ON data_versions (name, made);

CREATE TABLE data_annotations (
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,
    name     TEXT    NOT NULL,
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL
);

CREATE INDEX data_annotations_by_name ON data_annotations (name, made);

CREATE TABLE data_used (
    digest  TEXT    NOT NULL,
    run     INTEGER NOT NULL,
    PRIMARY KEY (digest, run)
) WITHOUT ROWID;

CREATE INDEX data_used_by_run ON data_used (run);
