-- Whether events.body is packed (gzip).

-- +goose Up
ALTER TABLE events ADD COLUMN packed BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE events DROP COLUMN packed;
