-- An alert that flaps has thousands of runs of one key behind it: what is asked of a key is found without reading them all.

-- +goose Up
DROP INDEX runs_incident_key;
CREATE INDEX runs_incident_key ON runs (incident_key, target, id);
CREATE INDEX runs_incident_end ON runs (incident_key, ended_at);
CREATE INDEX runs_incident_open ON runs (incident_key) WHERE state <> 'done' OR ended_by <> '';

-- +goose Down
DROP INDEX runs_incident_open;
DROP INDEX runs_incident_end;
DROP INDEX runs_incident_key;
CREATE INDEX runs_incident_key ON runs (incident_key, target);
