-- The fleet's chain: every finished run is linked once, in the order the sweep finds them. Links are never dropped.

-- +goose Up
CREATE TABLE chain (
    seq       BIGINT NOT NULL PRIMARY KEY,
    run       TEXT   NOT NULL UNIQUE,
    head      TEXT   NOT NULL,
    entries   BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    prev      TEXT   NOT NULL,
    hash      TEXT   NOT NULL,
    pruned_at BIGINT NOT NULL DEFAULT 0
);
-- What retention may still drop: the oldest first.
CREATE INDEX chain_kept ON chain (at, seq) WHERE pruned_at = 0;

ALTER TABLE runs ADD COLUMN linked BIGINT NOT NULL DEFAULT 0;
-- Nearly always empty, so that the sweep's question costs nothing.
CREATE INDEX runs_unlinked ON runs (id) WHERE state = 'done' AND linked = 0;

-- How far retention has come, by id: ids sort by age.
CREATE TABLE retention (
    what TEXT NOT NULL PRIMARY KEY,
    upto TEXT NOT NULL
);

-- +goose Down
DROP TABLE retention;
DROP INDEX runs_unlinked;
ALTER TABLE runs DROP COLUMN linked;
DROP TABLE chain;
