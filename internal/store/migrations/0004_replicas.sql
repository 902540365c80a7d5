-- Who works on these rows, and by which rules. A replica that has not been seen for a while is dead.

-- +goose Up
CREATE TABLE replicas (
    owner      TEXT   NOT NULL PRIMARY KEY,
    roles      TEXT   NOT NULL,
    rules_hash TEXT   NOT NULL,
    seen_at    BIGINT NOT NULL
);

-- At most one row: the rules that were declared to hold where replicas differ.
CREATE TABLE current_rules (
    id    BIGINT NOT NULL PRIMARY KEY,
    hash  TEXT   NOT NULL,
    actor TEXT   NOT NULL,
    at    BIGINT NOT NULL
);

-- +goose Down
DROP TABLE current_rules;
DROP TABLE replicas;
