-- Tracking: experiments, runs that clients log to, the whole history of metrics, models and their registry.
CREATE TABLE experiments (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    artifacts  TEXT    NOT NULL,
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

ALTER TABLE runs ADD COLUMN experiment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN tracked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN artifacts TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN kept TEXT NOT NULL DEFAULT '';

CREATE INDEX runs_by_experiment ON runs (experiment, started, seq);

CREATE INDEX runs_not_kept ON runs (seq) WHERE tracked = 1 AND kept < 'b' AND status <> 'running';
DROP INDEX runs_under_way;
CREATE INDEX runs_under_way ON runs (started) WHERE record = '' AND tracked = 0;

ALTER TABLE metrics ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE metrics ADD COLUMN moment INTEGER NOT NULL DEFAULT 0;

CREATE TABLE series (
    id       INTEGER PRIMARY KEY,
    run      INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    model    TEXT    NOT NULL DEFAULT '',
    dataset  TEXT    NOT NULL DEFAULT '',
    digest   TEXT    NOT NULL DEFAULT '',
    UNIQUE (run, key, model, dataset, digest)
);

CREATE TABLE metric_tail (
    run      INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    points   INTEGER NOT NULL,
    content  BLOB    NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

CREATE TABLE metric_chunks (
    series    INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    points    INTEGER NOT NULL,
    first     INTEGER NOT NULL,
    last      INTEGER NOT NULL,
    earliest  INTEGER NOT NULL,
    latest    INTEGER NOT NULL,
    least     REAL    NOT NULL,
    greatest  REAL    NOT NULL,
    outline   BLOB    NOT NULL,
    content   BLOB    NOT NULL,
    PRIMARY KEY (series, number)
);

CREATE TABLE tracked_datasets (
    id           INTEGER PRIMARY KEY,
    experiment   INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    digest       TEXT    NOT NULL,
    source_type  TEXT    NOT NULL,
    source       TEXT    NOT NULL,
    schema       TEXT,
    profile      TEXT,
    UNIQUE (experiment, name, digest)
);

CREATE TABLE run_datasets (
    run      INTEGER NOT NULL,
    dataset  INTEGER NOT NULL,
    context  TEXT    NOT NULL,
    tags     TEXT    NOT NULL,
    PRIMARY KEY (run, dataset)
) WITHOUT ROWID;

CREATE INDEX run_datasets_by_dataset ON run_datasets (dataset);

CREATE TABLE logged_models (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    experiment      INTEGER NOT NULL,
    run             TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    type            TEXT    NOT NULL,
    status          INTEGER NOT NULL,
    status_message  TEXT    NOT NULL,
    artifacts       TEXT    NOT NULL,
    made            INTEGER NOT NULL,
    changed         INTEGER NOT NULL,
    removed         INTEGER
);

CREATE INDEX logged_models_by_experiment ON logged_models (experiment, made, seq);
CREATE INDEX logged_models_by_run        ON logged_models (run);

CREATE TABLE logged_model_params (
    model  INTEGER NOT NULL,
    key    TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    PRIMARY KEY (model, key)
) WITHOUT ROWID;

CREATE TABLE logged_model_tags (
    model  INTEGER NOT NULL,
    key    TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    PRIMARY KEY (model, key)
) WITHOUT ROWID;

CREATE TABLE logged_model_metrics (
    model    INTEGER NOT NULL,
    run      TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    dataset  TEXT    NOT NULL DEFAULT '',
    digest   TEXT    NOT NULL DEFAULT '',
    value    REAL,
    flag     TEXT    NOT NULL DEFAULT '',
    step     INTEGER NOT NULL,
    moment   INTEGER NOT NULL,
    PRIMARY KEY (model, key, moment, step, run, dataset, digest)
) WITHOUT ROWID;

CREATE INDEX logged_model_metrics_by_key ON logged_model_metrics (key, value);

CREATE TABLE run_models (
    run     INTEGER NOT NULL,
    model   TEXT    NOT NULL,
    role    TEXT    NOT NULL,
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
    model  INTEGER NOT NULL,
    key    TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    PRIMARY KEY (model, key)
) WITHOUT ROWID;

CREATE TABLE model_versions (
    record          TEXT    PRIMARY KEY,
    model           INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    description     TEXT    NOT NULL,
    username        TEXT    NOT NULL,
    stage           TEXT    NOT NULL,
    source          TEXT    NOT NULL,
    storage         TEXT    NOT NULL,
    run             TEXT    NOT NULL,
    run_link        TEXT    NOT NULL,
    logged_model    TEXT    NOT NULL,
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
    record  TEXT NOT NULL,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (record, key)
) WITHOUT ROWID;

CREATE TABLE model_aliases (
    model    INTEGER NOT NULL,
    alias    TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    record   TEXT    NOT NULL,
    PRIMARY KEY (model, alias)
) WITHOUT ROWID;

CREATE TABLE registry_events (
    seq       INTEGER PRIMARY KEY,
    record    TEXT    NOT NULL UNIQUE,
    made      INTEGER NOT NULL,
    username  TEXT    NOT NULL,
    line      INTEGER NOT NULL,
    model     INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    version   INTEGER,
    origin    TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    before    TEXT    NOT NULL,
    after     TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    newest    INTEGER NOT NULL,
    kept      INTEGER NOT NULL,
    content   BLOB    NOT NULL
);

CREATE INDEX registry_events_by_model   ON registry_events (model, seq);
CREATE INDEX registry_events_by_key     ON registry_events (model, key, seq);
CREATE INDEX registry_events_by_name    ON registry_events (name, seq);
CREATE INDEX registry_events_by_line    ON registry_events (line, seq);
CREATE INDEX registry_events_by_version ON registry_events (model, version);
CREATE INDEX registry_events_by_number  ON registry_events (name, version);
CREATE INDEX registry_events_newest     ON registry_events (seq) WHERE newest = 1;
CREATE INDEX registry_events_not_kept   ON registry_events (seq) WHERE kept = 0;

CREATE TABLE registry_lines (
    id      INTEGER PRIMARY KEY,
    record  TEXT    NOT NULL UNIQUE,
    model   INTEGER NOT NULL
);

CREATE TABLE artifacts (
    path    TEXT    PRIMARY KEY,
    digest  TEXT    NOT NULL,
    size    INTEGER NOT NULL,
    made    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tracked_records (
    record  TEXT    PRIMARY KEY,
    run     TEXT    NOT NULL,
    made    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX tracked_records_by_run ON tracked_records (run, made);

CREATE TABLE collected (
    kind  TEXT    NOT NULL,
    id    TEXT    NOT NULL,
    made  INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;

CREATE TABLE webhooks (
    id           TEXT    PRIMARY KEY,
    name         TEXT    NOT NULL,
    url          TEXT    NOT NULL,
    description  TEXT    NOT NULL,
    events       TEXT    NOT NULL,
    secret       TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    made         INTEGER NOT NULL,
    changed      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tokens (
    digest    TEXT    PRIMARY KEY,
    name      TEXT    NOT NULL UNIQUE,
    role      TEXT    NOT NULL,
    made      INTEGER NOT NULL,
    expires   INTEGER,
    removed   INTEGER
) WITHOUT ROWID;

CREATE INDEX runs_by_environment ON runs (environment) WHERE environment <> '';

CREATE TABLE run_outputs (
    digest  TEXT    NOT NULL,
    run     INTEGER NOT NULL,
    PRIMARY KEY (digest, run)
) WITHOUT ROWID;

CREATE INDEX run_outputs_by_run ON run_outputs (run);

CREATE TABLE run_commits (
    revision  TEXT    NOT NULL,
    run       INTEGER NOT NULL,
    PRIMARY KEY (revision, run)
) WITHOUT ROWID;

CREATE INDEX run_commits_by_run ON run_commits (run);

CREATE TABLE environment_packages (
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    environment  TEXT NOT NULL,
    PRIMARY KEY (name, version, environment)
) WITHOUT ROWID;

CREATE TABLE built (
    record   TEXT    PRIMARY KEY,
    digest   TEXT    NOT NULL,
    run      TEXT    NOT NULL,
    model    TEXT    NOT NULL,
    image    TEXT    NOT NULL,
    made     INTEGER NOT NULL,
    content  BLOB    NOT NULL
) WITHOUT ROWID;

CREATE INDEX built_by_digest ON built (digest);
CREATE INDEX built_by_run    ON built (run);
CREATE INDEX built_by_model  ON built (model);
CREATE INDEX built_by_image  ON built (image);
