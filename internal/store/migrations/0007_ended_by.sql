-- Who said that the run's alert had ended, where that was a person and not its sender. '': the sender, or nobody.

-- +goose Up
ALTER TABLE runs ADD COLUMN ended_by TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE runs DROP COLUMN ended_by;
