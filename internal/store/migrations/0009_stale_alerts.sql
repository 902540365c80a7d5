-- Alerts that fire on a target and came too late for each of its rules, so that no run looks after them.

-- +goose Up
CREATE TABLE stale_alerts (
    source         TEXT   NOT NULL,
    episode        TEXT   NOT NULL,
    target         TEXT   NOT NULL,
    incident_key   TEXT   NOT NULL,
    incident_id    TEXT   NOT NULL,
    fingerprint    TEXT   NOT NULL,
    self_resolving BIGINT NOT NULL,
    starts_at      BIGINT NOT NULL,
    at             BIGINT NOT NULL,
    PRIMARY KEY (source, episode, target)
);
CREATE INDEX stale_alerts_incident_key ON stale_alerts (incident_key);
CREATE INDEX stale_alerts_incident_id ON stale_alerts (incident_id);

-- +goose Down
DROP TABLE stale_alerts;
