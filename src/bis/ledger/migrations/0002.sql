-- What is said of a run after it was sealed, and names that are given out before their run begins.
CREATE TABLE annotations (
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,
    run      TEXT    NOT NULL,
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL
);

CREATE INDEX annotations_by_run ON annotations (run, made);

CREATE TABLE names (
    name    TEXT    PRIMARY KEY,
    given   INTEGER NOT NULL
) WITHOUT ROWID;

-- No command could set a tag before.
DROP TABLE tags;

CREATE TABLE tags (
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    number  REAL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX tags_by_key ON tags (key, value);

ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';

UPDATE runs SET note = coalesce(json_extract(CAST(brief AS TEXT), '$.note'), '');
