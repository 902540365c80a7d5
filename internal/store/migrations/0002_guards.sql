-- What the guards know beyond budgets, locks and breakers.

-- +goose Up
-- The rule of a run that was refused while it waited for a human's word; it is judged again after that. '' for every other run.
ALTER TABLE runs ADD COLUMN parked TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_parked ON runs (created_at) WHERE parked <> '';

-- What an act was and changed, as JSON.
ALTER TABLE acts ADD COLUMN data TEXT NOT NULL DEFAULT '{}';

-- What has no effect because of the debt, such as a deploy that serves nothing.
ALTER TABLE debts ADD COLUMN idle TEXT NOT NULL DEFAULT '';

-- When a run last wanted to act on a target.
CREATE TABLE wants (
    target TEXT   NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL
);

-- One row: when a run was last refused for a storm, and when a human last ended one.
CREATE TABLE storms (
    id       BIGINT NOT NULL PRIMARY KEY,
    seen_at  BIGINT NOT NULL,
    released BIGINT NOT NULL
);

-- Acts after which no other of the kind is made on the target before a release.
CREATE TABLE latches (
    target TEXT   NOT NULL,
    kind   TEXT   NOT NULL,
    run    TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (target, kind)
);

-- Incidents that a person is at.
CREATE TABLE holds (
    incident_id  TEXT   NOT NULL,
    incident_key TEXT   NOT NULL,
    held_by      TEXT   NOT NULL,
    at           BIGINT NOT NULL,
    PRIMARY KEY (incident_id, incident_key)
);
CREATE INDEX holds_key ON holds (incident_key) WHERE incident_key <> '';

-- Revisions that cannot be gone back past, as people said.
CREATE TABLE marks (
    target   TEXT   NOT NULL,
    revision TEXT   NOT NULL,
    reason   TEXT   NOT NULL,
    actor    TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (target, revision)
);

-- Answers to plans.
CREATE TABLE approvals (
    run  TEXT NOT NULL PRIMARY KEY,
    data TEXT NOT NULL
);

-- +goose Down
DROP TABLE approvals;
DROP TABLE marks;
DROP TABLE holds;
DROP TABLE latches;
DROP TABLE storms;
DROP TABLE wants;
ALTER TABLE debts DROP COLUMN idle;
ALTER TABLE acts DROP COLUMN data;
DROP INDEX runs_parked;
ALTER TABLE runs DROP COLUMN parked;
