-- A run has one sealed record: a second one is remembered and passed over.
CREATE TABLE other_seals (
    record  TEXT PRIMARY KEY,
    run     TEXT NOT NULL
) WITHOUT ROWID;
