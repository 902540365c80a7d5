-- Large bodies, packed (gzip) and in parts; events.body is NULL then. Parts are stored before their event, so that some may have none.

-- +goose Up
CREATE TABLE bodies (
    event TEXT   NOT NULL,
    seq   BIGINT NOT NULL,
    part  BYTEA  NOT NULL,
    PRIMARY KEY (event, seq)
);

-- +goose Down
DROP TABLE bodies;
