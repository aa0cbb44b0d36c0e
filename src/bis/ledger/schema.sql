-- The ledger: facts about runs, kept for asking. Everything but a run under way can be rebuilt from the records in
-- the store (`bis reindex`). This file is the reference; the numbered files in migrations/ lead to it.
--
-- Text compares by bytes. Times are microseconds since 1970 UTC; those of metric points, milliseconds, as a client gave
-- them. Flags stand for what numbers cannot hold. `removed` is when; NULL for what is there.

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
    removed         TEXT    NOT NULL DEFAULT '',    -- when it was removed, RFC 3339; its content may be gone
    experiment      INTEGER NOT NULL DEFAULT 0,     -- experiments.id
    tracked         INTEGER NOT NULL DEFAULT 0,     -- 1: by a client that logs: its facts are here
    artifacts       TEXT    NOT NULL DEFAULT '',    -- where they lie, as clients are told; or empty
    kept            TEXT    NOT NULL DEFAULT ''     -- tracked: digest of its newest record; empty: it has changed since
);

-- What lists are counted, filtered and ordered by without reading the runs themselves, but for what may be long.
CREATE INDEX runs_by_start ON runs (started, seq, name, status, username, host, ended, exit, repeats, parent, tracked,
    experiment, removed);
CREATE INDEX runs_by_name    ON runs (name, started);
CREATE INDEX runs_by_command ON runs (command_key, started) WHERE record <> '';
CREATE INDEX runs_by_experiment ON runs (experiment, started, seq);
CREATE INDEX runs_not_kept   ON runs (seq) WHERE tracked = 1 AND kept < 'b' AND status <> 'running';
CREATE INDEX runs_under_way  ON runs (started) WHERE record = '' AND tracked = 0;
CREATE INDEX runs_removed    ON runs (removed, started, experiment, repeats) WHERE removed <> '';
CREATE INDEX runs_of_repeats ON runs (repeats, started, experiment, removed) WHERE repeats <> '';

-- Runs of clients have no parts and no host, and cost nothing here.
CREATE INDEX runs_by_code           ON runs (code, started, seq, repeats, experiment, removed) WHERE code <> '';
CREATE INDEX runs_by_data           ON runs (data, started, seq, repeats, experiment, removed) WHERE data <> '';
CREATE INDEX runs_by_environment    ON runs (environment, started, seq, repeats, experiment, removed)
    WHERE environment <> '';
CREATE INDEX runs_by_infrastructure ON runs (infrastructure, started, seq, repeats, experiment, removed)
    WHERE infrastructure <> '';
CREATE INDEX runs_by_machine        ON runs (machine, started, seq, repeats, experiment, removed) WHERE machine <> '';
CREATE INDEX runs_by_verdict        ON runs (verdict, started, seq, repeats, experiment, removed) WHERE verdict <> '';
CREATE INDEX runs_noted             ON runs (started, seq, repeats, experiment, removed) WHERE note <> '';
CREATE INDEX runs_by_host           ON runs (host, infrastructure, machine, started, removed) WHERE host <> '';

CREATE TABLE params (
    run     INTEGER NOT NULL,                       -- runs.seq
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    number  REAL,                                   -- the value as a number, where it is one
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX params_by_key    ON params (key, value);
CREATE INDEX params_by_number ON params (key, number, value) WHERE number IS NOT NULL;

CREATE TABLE metrics (
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   REAL,                                   -- NULL for NaN; the largest double stands for infinity
    flag    TEXT    NOT NULL DEFAULT '',            -- NaN, Infinity or -Infinity, as canonical JSON spells them
    step    INTEGER NOT NULL DEFAULT 0,             -- of the newest point: by step, then moment, then value
    moment  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX metrics_by_key ON metrics (key, value);

CREATE TABLE tags (                                 -- as the annotations left them, or as clients set them
    run     INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    number  REAL,                                   -- the value as a number, where it is one
    PRIMARY KEY (run, key)
) WITHOUT ROWID;

CREATE INDEX tags_by_key    ON tags (key, value);
CREATE INDEX tags_by_number ON tags (key, number, value) WHERE number IS NOT NULL;

CREATE TABLE verdicts (
    seq      INTEGER PRIMARY KEY,
    record   TEXT    NOT NULL UNIQUE,               -- digest of the record in the store
    run      TEXT    NOT NULL,                      -- id of the run that was repeated
    again    TEXT    NOT NULL,                      -- id of the run that the repeat made
    sameness TEXT    NOT NULL,
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL                       -- the whole record: canonical JSON, compressed with zstd
);

CREATE INDEX verdicts_by_run  ON verdicts (run, made);
CREATE INDEX verdicts_by_made ON verdicts (made);

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

CREATE TABLE run_outputs (                          -- files that a run made, for lineage
    digest  TEXT    NOT NULL,                       -- its first 24 hexadecimal digits
    run     INTEGER NOT NULL,                       -- runs.seq; of each run the smallest 4,096 digests
    PRIMARY KEY (digest, run)
) WITHOUT ROWID;

CREATE INDEX run_outputs_by_run ON run_outputs (run);

CREATE TABLE run_commits (                          -- of which commit the code of a run was
    revision  TEXT    NOT NULL,
    run       INTEGER NOT NULL,                     -- runs.seq
    PRIMARY KEY (revision, run)
) WITHOUT ROWID;

CREATE INDEX run_commits_by_run ON run_commits (run);

CREATE TABLE environment_packages (                 -- noted when they are first asked for
    name         TEXT NOT NULL,                     -- as indexes spell it; empty: this environment was read
    version      TEXT NOT NULL,
    environment  TEXT NOT NULL,                     -- runs.environment
    PRIMARY KEY (name, version, environment)
) WITHOUT ROWID;

CREATE TABLE built (                                -- what was built of models and runs, to ship
    record   TEXT    PRIMARY KEY,                   -- digest of the record in the store
    digest   TEXT    NOT NULL,                      -- of the thing: sha256:…
    run      TEXT    NOT NULL,                      -- runs.id, or empty
    model    TEXT    NOT NULL,                      -- models:/NAME/VERSION, or empty
    image    TEXT    NOT NULL,                      -- sha256:… of the image that it starts, or empty
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL                       -- canonical JSON
) WITHOUT ROWID;

CREATE INDEX built_by_digest ON built (digest);
CREATE INDEX built_by_run    ON built (run);
CREATE INDEX built_by_model  ON built (model);
CREATE INDEX built_by_image  ON built (image);

-- Tracking: what clients log, and the registry.

CREATE TABLE experiments (
    id         INTEGER PRIMARY KEY,                 -- 0 is Default, which is always there
    name       TEXT    NOT NULL UNIQUE,
    artifacts  TEXT    NOT NULL,                    -- where those of its runs lie; empty: the usual place
    made       INTEGER NOT NULL,
    changed    INTEGER NOT NULL,
    removed    INTEGER
);

INSERT INTO experiments (id, name, artifacts, made, changed) VALUES (0, 'Default', '', 0, 0);

CREATE TABLE experiment_tags (
    experiment  INTEGER NOT NULL,
    key         TEXT    NOT NULL,
    value       TEXT    NOT NULL,
    PRIMARY KEY (experiment, key)
) WITHOUT ROWID;

CREATE TABLE series (                               -- all points of a metric of a run
    id       INTEGER PRIMARY KEY,
    run      INTEGER NOT NULL,                      -- runs.seq
    key      TEXT    NOT NULL,
    model    TEXT    NOT NULL DEFAULT '',           -- logged_models.id, where the point is about a model
    dataset  TEXT    NOT NULL DEFAULT '',           -- name of the data set that it was measured on, if any
    digest   TEXT    NOT NULL DEFAULT '',           -- and its digest, as the client says
    UNIQUE (run, key, model, dataset, digest)
);

CREATE TABLE metric_tail (                          -- points as they came, until they are folded into chunks
    run      INTEGER NOT NULL,                      -- runs.seq
    seq      INTEGER NOT NULL,                      -- in the order in which they came to the run
    points   INTEGER NOT NULL,
    content  BLOB    NOT NULL,                      -- ledger/columns.py says how
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

CREATE TABLE metric_chunks (                        -- points of a series by moment, at most 4,096 in each
    series    INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    points    INTEGER NOT NULL,
    first     INTEGER NOT NULL,                     -- smallest and largest step
    last      INTEGER NOT NULL,
    earliest  INTEGER NOT NULL,                     -- smallest and largest moment
    latest    INTEGER NOT NULL,
    least     REAL    NOT NULL,                     -- smallest and largest value; NaN counts as 0 here
    greatest  REAL    NOT NULL,
    outline   BLOB    NOT NULL,                     -- what is told of all, and of each 64 points, for charts
    content   BLOB    NOT NULL,                     -- columns, compressed; ledger/columns.py says how
    PRIMARY KEY (series, number)
);

CREATE TABLE tracked_datasets (                     -- data sets as clients describe them
    id           INTEGER PRIMARY KEY,
    experiment   INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    digest       TEXT    NOT NULL,
    source_type  TEXT    NOT NULL,
    source       TEXT    NOT NULL,                  -- JSON, mostly; what the client says
    schema       TEXT,
    profile      TEXT,
    UNIQUE (experiment, name, digest)
);

CREATE TABLE run_datasets (                         -- inputs of runs
    run      INTEGER NOT NULL,                      -- runs.seq
    dataset  INTEGER NOT NULL,                      -- tracked_datasets.id
    context  TEXT    NOT NULL,                      -- what it was used for: training, …
    tags     TEXT    NOT NULL,                      -- JSON: key -> value
    PRIMARY KEY (run, dataset)
) WITHOUT ROWID;

CREATE INDEX run_datasets_by_dataset ON run_datasets (dataset);

CREATE TABLE logged_models (                        -- models that runs saved
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,        -- m- and 32 hexadecimal digits
    experiment      INTEGER NOT NULL,
    run             TEXT    NOT NULL,               -- runs.id of the run that made it, or empty
    name            TEXT    NOT NULL,
    type            TEXT    NOT NULL,
    status          INTEGER NOT NULL,               -- 0 unspecified, 1 pending, 2 ready, 3 failed
    status_message  TEXT    NOT NULL,
    artifacts       TEXT    NOT NULL,
    made            INTEGER NOT NULL,
    changed         INTEGER NOT NULL,
    removed         INTEGER
);

CREATE INDEX logged_models_by_experiment ON logged_models (experiment, made, seq);
CREATE INDEX logged_models_by_run        ON logged_models (run);

CREATE TABLE logged_model_params (
    model  INTEGER NOT NULL,                        -- logged_models.seq
    key    TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    PRIMARY KEY (model, key)
) WITHOUT ROWID;

CREATE TABLE logged_model_tags (
    model  INTEGER NOT NULL,                        -- logged_models.seq
    key    TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    PRIMARY KEY (model, key)
) WITHOUT ROWID;

CREATE TABLE logged_model_metrics (                 -- all points that are about them
    model    INTEGER NOT NULL,                      -- logged_models.seq
    run      TEXT    NOT NULL,                      -- runs.id of the run that measured
    key      TEXT    NOT NULL,
    dataset  TEXT    NOT NULL DEFAULT '',           -- name of the data set that it was measured on, if any
    digest   TEXT    NOT NULL DEFAULT '',           -- and its digest, as the client says
    value    REAL,
    flag     TEXT    NOT NULL DEFAULT '',
    step     INTEGER NOT NULL,
    moment   INTEGER NOT NULL,
    PRIMARY KEY (model, key, moment, step, run, dataset, digest)
) WITHOUT ROWID;

CREATE INDEX logged_model_metrics_by_key ON logged_model_metrics (key, value);

CREATE TABLE run_models (                           -- models that runs used or made
    run     INTEGER NOT NULL,                       -- runs.seq
    model   TEXT    NOT NULL,                       -- logged_models.id
    role    TEXT    NOT NULL,                       -- input or output
    step    INTEGER NOT NULL,
    PRIMARY KEY (run, role, model, step)
) WITHOUT ROWID;

CREATE INDEX run_models_by_model ON run_models (model);

CREATE TABLE registered_models (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    made         INTEGER NOT NULL,
    changed      INTEGER NOT NULL,
    removed      INTEGER
);

CREATE UNIQUE INDEX registered_models_by_name ON registered_models (name) WHERE removed IS NULL;
CREATE INDEX registered_models_removed        ON registered_models (name, removed) WHERE removed IS NOT NULL;

CREATE TABLE registered_model_tags (
    model  INTEGER NOT NULL,                        -- registered_models.id
    key    TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    PRIMARY KEY (model, key)
) WITHOUT ROWID;

CREATE TABLE model_versions (
    record          TEXT    PRIMARY KEY,            -- of the event that registered it
    model           INTEGER NOT NULL,               -- registered_models.id
    version         INTEGER NOT NULL,               -- 1, 2, …; another ledger may have given the same
    description     TEXT    NOT NULL,
    username        TEXT    NOT NULL,
    stage           TEXT    NOT NULL,
    source          TEXT    NOT NULL,               -- where it was registered from
    storage         TEXT    NOT NULL,               -- where its files lie, when elsewhere
    run             TEXT    NOT NULL,               -- runs.id, or empty
    run_link        TEXT    NOT NULL,
    logged_model    TEXT    NOT NULL,               -- logged_models.id, or empty
    status          TEXT    NOT NULL,
    status_message  TEXT    NOT NULL,
    made            INTEGER NOT NULL,
    changed         INTEGER NOT NULL,
    removed         INTEGER
) WITHOUT ROWID;

CREATE INDEX model_versions_by_number  ON model_versions (model, version);
CREATE INDEX model_versions_by_run     ON model_versions (run);
CREATE INDEX model_versions_by_changed ON model_versions (changed);

CREATE TABLE model_version_tags (
    record  TEXT NOT NULL,                          -- model_versions.record
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (record, key)
) WITHOUT ROWID;

CREATE TABLE model_aliases (
    model    INTEGER NOT NULL,                      -- registered_models.id
    alias    TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    record   TEXT    NOT NULL,                      -- model_versions.record
    PRIMARY KEY (model, alias)
) WITHOUT ROWID;

-- The history, of which all tables of the registry above follow: who changed what, and when. Each event is a record in
-- the store. Rows are only added; `seq` is their order, in which some may be put between others after a pull.

CREATE TABLE registry_events (
    seq       INTEGER PRIMARY KEY,
    record    TEXT    NOT NULL UNIQUE,              -- digest of the record
    made      INTEGER NOT NULL,
    username  TEXT    NOT NULL,
    line      INTEGER NOT NULL,                     -- registry_lines.id
    model     INTEGER NOT NULL,                     -- registered_models.id
    name      TEXT    NOT NULL,                     -- of the model at that time
    version   INTEGER,                              -- NULL: about the model as a whole
    origin    TEXT    NOT NULL,                     -- model_versions.record; empty: about the model as a whole
    action    TEXT    NOT NULL,                     -- created, renamed, alias, stage, …: nouns/model.py has them all
    key       TEXT    NOT NULL,                     -- of the alias or tag
    before    TEXT    NOT NULL,
    after     TEXT    NOT NULL,
    reason    TEXT    NOT NULL,                     -- as given by the person, or why it was refused
    newest    INTEGER NOT NULL,                     -- 1: no other event follows it
    kept      INTEGER NOT NULL,                     -- 0: the record may be in no store yet
    content   BLOB    NOT NULL                      -- the whole record: canonical JSON
);

CREATE INDEX registry_events_by_model   ON registry_events (model, seq);
CREATE INDEX registry_events_by_key     ON registry_events (model, key, seq);
CREATE INDEX registry_events_by_name    ON registry_events (name, seq);
CREATE INDEX registry_events_by_line    ON registry_events (line, seq);
CREATE INDEX registry_events_by_version ON registry_events (model, version);
CREATE INDEX registry_events_by_number  ON registry_events (name, version);
CREATE INDEX registry_events_newest     ON registry_events (seq) WHERE newest = 1;
CREATE INDEX registry_events_not_kept   ON registry_events (seq) WHERE kept = 0;

CREATE TABLE registry_lines (                       -- what began when somebody created a model
    id      INTEGER PRIMARY KEY,                    -- never given again
    record  TEXT    NOT NULL UNIQUE,                -- of the event that created it
    model   INTEGER NOT NULL                        -- registered_models.id: the smallest of those that have one name
);

CREATE TABLE artifacts (                            -- files that clients uploaded; the content is in the store
    path    TEXT    PRIMARY KEY,                    -- below the root of all artifacts
    digest  TEXT    NOT NULL,                       -- of the blob
    size    INTEGER NOT NULL,
    made    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tracked_records (                      -- records of runs that clients log: one each time that something changed
    record  TEXT    PRIMARY KEY,                    -- digest of the record in the store
    run     TEXT    NOT NULL,                       -- runs.id
    made    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX tracked_records_by_run ON tracked_records (run, made);

CREATE TABLE other_seals (                          -- records of runs that have another one, which was known first: passed over
    record  TEXT PRIMARY KEY,                       -- digest of the record in the store
    run     TEXT NOT NULL                           -- runs.id
) WITHOUT ROWID;

CREATE TABLE collected (                            -- what `bis gc` deleted for good, so that it is known to be gone
    kind  TEXT    NOT NULL,                         -- run, logged model, experiment, registered model
    id    TEXT    NOT NULL,
    made  INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

CREATE TABLE webhooks (
    id           TEXT    PRIMARY KEY,
    name         TEXT    NOT NULL,
    url          TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    events       TEXT    NOT NULL,                  -- JSON
    secret       TEXT    NOT NULL,                  -- that signs what is sent
    status       TEXT    NOT NULL,
    made         INTEGER NOT NULL,
    changed      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tokens (                               -- who may ask the server
    digest    TEXT    PRIMARY KEY,                  -- of the token, which is not kept
    name      TEXT    NOT NULL UNIQUE,
    role      TEXT    NOT NULL,                     -- reader, writer or admin
    made      INTEGER NOT NULL,
    expires   INTEGER,                              -- NULL: never
    removed   INTEGER
) WITHOUT ROWID;
