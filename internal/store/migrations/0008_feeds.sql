-- By which road the words of a source come, and whether they do. Only sources that are polled or watched have rows here.

-- +goose Up
CREATE TABLE feeds (
    source      TEXT   NOT NULL PRIMARY KEY,
    heard_at    BIGINT NOT NULL DEFAULT 0,
    beat_at     BIGINT NOT NULL DEFAULT 0,
    polled_at   BIGINT NOT NULL DEFAULT 0,
    poll_due    BIGINT NOT NULL DEFAULT 0, -- whoever moves it has the turn to poll
    listened_at BIGINT NOT NULL DEFAULT 0,
    listening   BIGINT NOT NULL DEFAULT 0
);

-- Episodes that were told of, by a delivery (pushed_at) or found by a poll (polled_at). Begins with the time, so that its pages are written in order.
CREATE TABLE sightings (
    began     BIGINT NOT NULL,
    source    TEXT   NOT NULL,
    subject   TEXT   NOT NULL,
    pushed_at BIGINT NOT NULL,
    polled_at BIGINT NOT NULL,
    ended_at  BIGINT NOT NULL,
    PRIMARY KEY (began, source, subject)
);
CREATE INDEX sightings_open ON sightings (source, subject) WHERE ended_at = 0;

-- What people were told of a feed and is not over.
CREATE TABLE alarms (
    source       TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    incident_key TEXT   NOT NULL,
    raised_at    BIGINT NOT NULL,
    PRIMARY KEY (source, kind)
);

-- +goose Down
DROP TABLE alarms;
DROP TABLE sightings;
DROP TABLE feeds;
