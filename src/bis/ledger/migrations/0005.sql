-- Runs can be removed: they are not listed any more, and their content may go.
ALTER TABLE runs ADD COLUMN removed TEXT NOT NULL DEFAULT '';
