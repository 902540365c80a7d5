package store

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/mixillo/remediator/internal/remediation"
)

const (
	// packFrom is from which size, in bytes, a body is packed: below it there is nothing to win, each takes a page of its own at most.
	packFrom = 4 << 10
	// partSize is up to which size, in bytes, a body stands in its event's row. A larger one is stored in parts of this size, each in a transaction
	// of its own before the event's, which makes them durable with it, so that small deliveries never wait for more than one part of a large one.
	partSize = 64 << 10
)

// storedBody is a body as it is stored: in the row of its event, or in parts.
type storedBody struct {
	row    []byte
	packed bool   // the row's
	parts  []byte // packed always
}

// newStoredBody packs a body where that makes it smaller.
func (s *Store) newStoredBody(body []byte) (storedBody, error) {
	if len(body) < packFrom {
		return storedBody{row: body}, nil
	}
	packed, err := s.packers.pack(body)
	switch {
	case err != nil:
		return storedBody{}, fmt.Errorf("packing a body: %w", err)
	case min(len(body), len(packed)) > partSize:
		return storedBody{parts: packed}, nil
	case len(packed) >= len(body):
		return storedBody{row: body}, nil
	default:
		return storedBody{row: packed, packed: true}, nil
	}
}

// storeParts stores a packed body of an event that is not stored yet. Errors wrap remediation.ErrUnavailable; what is left of a body then, or by
// a crash, goes with retention.
func (s *Store) storeParts(ctx context.Context, event string, packed []byte) error {
	seq := 0
	for part := range slices.Chunk(packed, partSize) {
		err := s.write(ctx, writeBody, func(ctx context.Context, t *transaction) error {
			_, err := t.Exec(ctx, `INSERT INTO bodies (event, seq, part) VALUES ($1, $2, $3)`, event, seq, part)
			return err
		})
		if err != nil {
			return fmt.Errorf("%w: storing a part of a body: %w", remediation.ErrUnavailable, err)
		}
		seq++
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

// bodyOf is the body of an event whose row was read; nil if there is none any more.
func (s *Store) bodyOf(ctx context.Context, e remediation.Event, packed bool) ([]byte, error) {
	if len(e.Body) > 0 {
		if packed {
			return unpack(e.Body)
		}
		return e.Body, nil
	}
	scan := func(r row) (part []byte, err error) { err = r.Scan(&part); return part, err }
	parts, err := list(ctx, s.db.reader(), scan, `SELECT part FROM bodies WHERE event = $1 ORDER BY seq`, e.ID)
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	return unpack(bytes.Join(parts, nil))
}

// packers are the writers that pack, one for each processor: each holds nearly a megabyte. Nil is one that nobody has needed yet.
type packers chan *gzip.Writer

func newPackers() packers {
	p := make(packers, runtime.GOMAXPROCS(0))
	for range cap(p) {
		p <- nil
	}
	return p
}

// pack waits for a writer.
func (p packers) pack(body []byte) ([]byte, error) {
	z := <-p
	defer func() { p <- z }()
	var packed bytes.Buffer
	if z == nil {
		var err error
		if z, err = gzip.NewWriterLevel(&packed, gzip.BestSpeed); err != nil {
			return nil, err
		}
	} else {
		z.Reset(&packed)
	}
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	err := z.Close()
	return packed.Bytes(), err
}

func unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
