-- The same text serves SQLite and PostgreSQL. Times are microseconds since 1970 in UTC; 0 means "none". Texts are '' when there is none.
-- What is only shown, never searched, is JSON in `data`.

-- +goose Up
CREATE TABLE events (
    id          TEXT   NOT NULL PRIMARY KEY,
    source      TEXT   NOT NULL,
    dedup_key   TEXT   NOT NULL,
    type        TEXT   NOT NULL,
    received_at BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    state       TEXT   NOT NULL,
    note        TEXT   NOT NULL,
    rules_hash  TEXT   NOT NULL,
    attempts    BIGINT NOT NULL,
    wake_at     BIGINT NOT NULL,
    delivery    TEXT   NOT NULL,
    body        BYTEA
);
-- Begins with the time, so that its pages are written in order: a randomly keyed index costs the intake a third of its rate.
CREATE UNIQUE INDEX events_dedup ON events (occurred_at, source, dedup_key) WHERE dedup_key <> '';
CREATE INDEX events_state ON events (state, wake_at);

CREATE TABLE rulings (
    event   TEXT   NOT NULL,
    seq     BIGINT NOT NULL,
    run     TEXT   NOT NULL,
    rule    TEXT   NOT NULL,
    target  TEXT   NOT NULL,
    mode    TEXT   NOT NULL,
    verdict TEXT   NOT NULL,
    detail  TEXT   NOT NULL,
    PRIMARY KEY (event, seq)
);
CREATE INDEX rulings_run ON rulings (run) WHERE run <> '';

CREATE TABLE runs (
    id           TEXT   NOT NULL PRIMARY KEY,
    origin       TEXT   NOT NULL,
    target       TEXT   NOT NULL,
    source       TEXT   NOT NULL,
    episode      TEXT   NOT NULL,
    incident_key TEXT   NOT NULL,
    incident_id  TEXT   NOT NULL,
    fingerprint  TEXT   NOT NULL,
    starts_at    BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL,
    state        TEXT   NOT NULL,
    outcome      TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    acted        BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    epoch        BIGINT NOT NULL,
    lease_owner  TEXT   NOT NULL,
    lease_until  BIGINT NOT NULL,
    due_at       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    data         TEXT   NOT NULL
);
CREATE INDEX runs_episode ON runs (episode, target);
CREATE INDEX runs_incident_key ON runs (incident_key, target);
CREATE INDEX runs_incident_id ON runs (incident_id, target);
CREATE INDEX runs_target ON runs (target, id);
CREATE INDEX runs_state ON runs (state);
-- When the run needs a visit if nothing else happens: the end of its lease, or its next wake.
CREATE INDEX runs_due ON runs (due_at) WHERE due_at > 0;

CREATE TABLE steps (
    run  TEXT   NOT NULL,
    seq  BIGINT NOT NULL,
    data TEXT   NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE journal (
    run  TEXT   NOT NULL,
    seq  BIGINT NOT NULL,
    at   BIGINT NOT NULL,
    kind TEXT   NOT NULL,
    text TEXT   NOT NULL,
    prev TEXT   NOT NULL,
    hash TEXT   NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE outbox (
    id         TEXT   NOT NULL PRIMARY KEY,
    run        TEXT   NOT NULL,
    channel    TEXT   NOT NULL,
    seq        BIGINT NOT NULL,
    state      TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    remote_id  TEXT   NOT NULL,
    error      TEXT   NOT NULL,
    ended_at   BIGINT NOT NULL,
    data       TEXT   NOT NULL
);
CREATE INDEX outbox_lane ON outbox (run, channel, seq);
CREATE INDEX outbox_due ON outbox (not_before) WHERE state = 'queued';

CREATE TABLE acts (
    run    TEXT   NOT NULL,
    rule   TEXT   NOT NULL,
    target TEXT   NOT NULL,
    at     BIGINT NOT NULL
);
CREATE INDEX acts_at ON acts (at);

CREATE TABLE locks (
    target TEXT   NOT NULL PRIMARY KEY,
    run    TEXT   NOT NULL,
    at     BIGINT NOT NULL
);

CREATE TABLE breakers (
    rule   TEXT NOT NULL,
    target TEXT NOT NULL,
    data   TEXT NOT NULL,
    PRIMARY KEY (rule, target)
);

CREATE TABLE pauses (
    scope TEXT NOT NULL,
    name  TEXT NOT NULL,
    data  TEXT NOT NULL,
    PRIMARY KEY (scope, name)
);

CREATE TABLE debts (
    target     TEXT   NOT NULL,
    kind       TEXT   NOT NULL,
    run        TEXT   NOT NULL,
    detail     TEXT   NOT NULL,
    since      BIGINT NOT NULL,
    settled_at BIGINT NOT NULL,
    PRIMARY KEY (target, kind)
);

CREATE TABLE rules (
    hash      TEXT   NOT NULL PRIMARY KEY,
    text      BYTEA  NOT NULL,
    loaded_at BIGINT NOT NULL
);

-- +goose Down
DROP TABLE rules;
DROP TABLE debts;
DROP TABLE pauses;
DROP TABLE breakers;
DROP TABLE locks;
DROP TABLE acts;
DROP TABLE outbox;
DROP TABLE journal;
DROP TABLE steps;
DROP TABLE runs;
DROP TABLE rulings;
DROP TABLE events;
