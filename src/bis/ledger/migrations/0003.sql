-- Each command asks which runs are under way.
CREATE INDEX runs_under_way ON runs (started) WHERE record = '';
