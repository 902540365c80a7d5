-- When the newest firing began that has joined the run: an end of one before it, told late, is no end. 0: none has.

-- +goose Up
ALTER TABLE runs ADD COLUMN joined_at BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE runs DROP COLUMN joined_at;
