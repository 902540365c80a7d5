package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"

	"github.com/mixillo/remediator/internal/remediation"
)

// partSize is up to which size, in bytes, a body stands in its event's row. A larger one is stored packed and in parts of this size, each in
// a transaction of its own before the event's, which makes them durable with it, so that small deliveries never wait for more than one part of a
// large one.
const partSize = 64 << 10

// inParts reports whether the body of what is to be stored takes parts.
func inParts(a remediation.Acceptance) bool {
	return len(a.Event.Body) > partSize && !a.Looked && a.Again == ""
}

// storeParts stores the body of an event that is not stored yet. Errors wrap remediation.ErrUnavailable; what is left of a body then, or by
// a crash, goes with retention.
func (s *Store) storeParts(ctx context.Context, event string, body []byte) error {
	packed, err := pack(body)
	for seq := 0; err == nil && len(packed) > 0; seq++ {
		part := packed[:min(len(packed), partSize)]
		packed = packed[len(part):]
		err = s.write(ctx, writeBody, func(ctx context.Context, t *transaction) error {
			_, err := t.Exec(ctx, `INSERT INTO bodies (event, seq, part) VALUES ($1, $2, $3)`, event, seq, part)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("%w: storing a part of a body: %w", remediation.ErrUnavailable, err)
	}
	return nil
}

// forgetParts drops the body of a delivery that turned out to be known. An error is left to retention.
func (s *Store) forgetParts(ctx context.Context, event string) {
	_ = s.write(ctx, writeBody, func(ctx context.Context, t *transaction) error {
		_, err := t.Exec(ctx, `DELETE FROM bodies WHERE event = $1`, event)
		return err
	})
}

// wholeBody puts the parts of a body together; nil if there are none.
func (s *Store) wholeBody(ctx context.Context, event string) ([]byte, error) {
	scan := func(r row) (part []byte, err error) { err = r.Scan(&part); return part, err }
	parts, err := list(ctx, s.db.reader(), scan, `SELECT part FROM bodies WHERE event = $1 ORDER BY seq`, event)
	if err != nil {
		return nil, fmt.Errorf("reading the body of event %s: %w", event, err)
	}
	if len(parts) == 0 {
		return nil, nil
	}
	body, err := unpack(bytes.Join(parts, nil))
	if err != nil {
		return nil, fmt.Errorf("unpacking the body of event %s: %w", event, err)
	}
	return body, nil
}

func pack(body []byte) ([]byte, error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	err = z.Close()
	return packed.Bytes(), err
}

func unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
