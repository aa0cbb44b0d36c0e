-- Lists of runs are counted, ordered and grouped within indexes: no run is read that is not shown.
DROP INDEX runs_by_start;
CREATE INDEX runs_by_start ON runs (started, seq, name, status, username, host, ended, exit, repeats, parent, tracked,
    experiment, removed);

DROP INDEX runs_removed;
CREATE INDEX runs_removed    ON runs (removed, started, experiment, repeats) WHERE removed <> '';
DROP INDEX runs_of_repeats;
CREATE INDEX runs_of_repeats ON runs (repeats, started, experiment, removed) WHERE repeats <> '';

DROP INDEX runs_by_environment;
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

-- A param is compared with a number, and runs are ordered by its numbers.
CREATE INDEX params_by_number ON params (key, number, value) WHERE number IS NOT NULL;
CREATE INDEX tags_by_number   ON tags (key, number, value) WHERE number IS NOT NULL;

CREATE INDEX verdicts_by_made ON verdicts (made);
