-- Whether the run's sender tells by itself when the alert is over: until then its incident is not resolved.

-- +goose Up
ALTER TABLE runs ADD COLUMN self_resolving BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE runs DROP COLUMN self_resolving;
