-- A list of runs leaves few of them out: the others are counted without being looked at.
CREATE INDEX runs_removed    ON runs (removed) WHERE removed <> '';
CREATE INDEX runs_of_repeats ON runs (repeats) WHERE repeats <> '';
