package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// Sizes of one part of an audit, and how many findings it tells.
const (
	auditLinks  = 2000
	auditRuns   = 200
	maxFindings = 100
)

// The parts of an audit, in this order; a place is written PART:POSITION.
const (
	linkPart = "link"
	runPart  = "run"
	actPart  = "act"
)

// auditor reads records to judge them. It holds one part in memory at most, and of that one run at a time.
type auditor struct {
	tx
	asOf time.Time // until when the records reach
	out  remediation.Audit
}

// Audit verifies the part of the records that begins at a place, which is where the part before it said, or "" for the first.
// remediation.ErrNotFound when there is no such place. Work that goes on does not disturb it.
func (s *Store) Audit(ctx context.Context, place string) (remediation.Audit, error) {
	return audit(ctx, s.db.reader(), s.Now(), place)
}

// Head is the newest link of the fleet's chain; remediation.ErrNotFound when nothing was linked yet.
func (s *Store) Head(ctx context.Context) (remediation.Link, error) { return head(ctx, s.db.reader()) }

// Anchored tells where a head that was written elsewhere is found in the records; remediation.ErrNotFound when it is not.
func (s *Store) Anchored(ctx context.Context, a remediation.Anchor) (string, error) {
	return anchored(ctx, s.db.reader(), a)
}

func head(ctx context.Context, t tx) (remediation.Link, error) {
	l, err := newestLink(ctx, t)
	if err == nil && l.Seq == 0 {
		err = fmt.Errorf("%w: no run has been linked yet", remediation.ErrNotFound)
	}
	return l, err
}

func anchored(ctx context.Context, t tx, a remediation.Anchor) (string, error) {
	query, args := `SELECT seq FROM chain WHERE seq = $1 AND hash = $2`, []any{a.Seq, a.Hash}
	if a.Seq == 0 {
		query, args = `SELECT seq FROM chain WHERE head = $1 LIMIT 1`, []any{a.Hash}
	}
	var (
		link int64
		run  string
	)
	err := t.QueryRow(ctx, []any{&link}, query, args...)
	if err == nil {
		return fmt.Sprintf("link %d", link), nil
	}
	if errors.Is(err, errNoRow) && a.Seq == 0 {
		err = t.QueryRow(ctx, []any{&run}, `SELECT run FROM journal WHERE hash = $1 LIMIT 1`, a.Hash)
	}
	if err != nil {
		return "", fmt.Errorf("looking for the anchor %s: %w", a, absent(err))
	}
	return "run " + run, nil
}

func audit(ctx context.Context, t tx, asOf time.Time, place string) (remediation.Audit, error) {
	a := &auditor{tx: t, asOf: asOf, out: remediation.Audit{Findings: []remediation.Finding{}}}
	part, position, _ := strings.Cut(place, ":")
	err := fmt.Errorf("%w: the records have no place %.40q", remediation.ErrNotFound, place)
	switch part {
	case "":
		err = a.links(ctx, math.MinInt64)
	case linkPart:
		if seq, bad := strconv.ParseInt(position, 10, 64); bad == nil {
			err = a.links(ctx, seq)
		}
	case runPart:
		err = a.runs(ctx, position)
	case actPart:
		err = a.acts(ctx)
	}
	if err != nil {
		return remediation.Audit{}, fmt.Errorf("auditing from %q: %w", place, err)
	}
	return a.out, nil
}

func (a *auditor) found(all ...remediation.Finding) {
	if room := maxFindings - len(a.out.Findings); len(all) > room {
		all = all[:room]
	}
	a.out.Findings = append(a.out.Findings, all...)
}

// links verifies the chain after a link, which the part before has verified.
func (a *auditor) links(ctx context.Context, after int64) error {
	befores, err := list(ctx, a, scanLink, selectLinks+` WHERE seq = $1`, after)
	if err != nil {
		return fmt.Errorf("reading link %d: %w", after, err)
	}
	var before remediation.Link
	if len(befores) == 1 {
		before = befores[0]
	}
	err = a.Query(ctx, func(r row) error {
		l, err := scanLink(r)
		if err != nil {
			return err
		}
		a.link(before, l)
		before = l
		return nil
	}, selectLinks+` WHERE seq > $1 ORDER BY seq LIMIT $2`, after, auditLinks)
	if err != nil {
		return fmt.Errorf("reading the fleet's chain: %w", err)
	}
	a.out.Next = runPart + ":"
	if a.out.Links == auditLinks {
		a.out.Next = fmt.Sprintf("%s:%d", linkPart, before.Seq)
	}
	return nil
}

func (a *auditor) link(before, l remediation.Link) {
	a.out.Links++
	if !l.PrunedAt.IsZero() {
		a.out.Pruned++
	}
	if remediation.VerifyChain(before, []remediation.Link{l}) >= 0 {
		a.found(remediation.Finding{Place: fmt.Sprintf("link %d", l.Seq), What: "the link does not fit the fleet's chain"})
	}
}

// Kinds of the rows of recordsSQL.
const (
	runRow = iota
	linkRow
	entryRow
	stepRow
)

// recordsSQL reads all that is stored of a range of runs in one statement, so that all of it is of one moment, beside any writer. What
// belongs to no run is in it too.
const recordsSQL = `SELECT id, part, n, at, m, o, a, b, c, d FROM (
	SELECT id, 0 AS part, 0 AS n, 0 AS at, 0 AS m, 0 AS o, data AS a, state AS b, '' AS c, '' AS d FROM runs WHERE id > $1 AND id <= $2
	UNION ALL SELECT run, 1, seq, at, pruned_at, entries, head, prev, hash, '' FROM chain WHERE run > $1 AND run <= $2
	UNION ALL SELECT run, 2, seq, at, 0, 0, kind, text, prev, hash FROM journal WHERE run > $1 AND run <= $2
	UNION ALL SELECT run, 3, seq, 0, 0, 0, data, '', '', '' FROM steps WHERE run > $1 AND run <= $2
	) AS records ORDER BY id, part, n`

// record is one row of recordsSQL.
type record struct {
	id          string
	part        int
	n, at, m, o int64
	a, b, c, d  string
}

func scanRecord(r row) (e record, err error) {
	err = r.Scan(&e.id, &e.part, &e.n, &e.at, &e.m, &e.o, &e.a, &e.b, &e.c, &e.d)
	return e, err
}

// runs judges the runs after one, each by all that is stored of it.
func (a *auditor) runs(ctx context.Context, after string) error {
	ids, err := list(ctx, a, scanText, `SELECT id FROM runs WHERE id > $1 ORDER BY id LIMIT $2`, after, auditRuns)
	if err != nil {
		return fmt.Errorf("reading the next runs: %w", err)
	}
	query, args := recordsSQL, []any{after}
	if after == "" {
		query = strings.ReplaceAll(query, "> $1", ">= $1")
	}
	if len(ids) == auditRuns {
		a.out.Next = runPart + ":" + ids[len(ids)-1]
		args = append(args, ids[len(ids)-1])
	} else { // to the end, whatever is there
		a.out.Next = actPart + ":"
		query = strings.NewReplacer(" AND id <= $2", "", " AND run <= $2", "").Replace(query)
	}
	one := dossier{}
	err = a.Query(ctx, func(r row) error {
		e, err := scanRecord(r)
		if err != nil {
			return err
		}
		if e.id != one.ID {
			a.judge(one)
			one = dossier{Records: remediation.Records{ID: e.id}}
		}
		one.add(e)
		return nil
	}, query, args...)
	if err != nil {
		return fmt.Errorf("reading the records of the runs after %q: %w", after, err)
	}
	a.judge(one)
	return nil
}

// dossier gathers the records of one run.
type dossier struct {
	remediation.Records
	rows       int
	unreadable error
}

func (d *dossier) add(e record) {
	d.rows++
	var err error
	switch e.part {
	case runRow:
		d.Run = &remediation.Run{}
		err = decode(e.a, d.Run)
		d.Run.State = remediation.State(e.b)
	case linkRow:
		d.Link = &remediation.Link{
			Seq: e.n, Run: e.id, Head: e.a, Entries: int(e.o), At: fromMicros(e.at), Prev: e.b, Hash: e.c, PrunedAt: fromMicros(e.m),
		}
	case entryRow:
		d.Entries = append(d.Entries, remediation.Entry{
			Run: e.id, Seq: int(e.n), At: fromMicros(e.at), Kind: e.a, Text: e.b, Prev: e.c, Hash: e.d,
		})
	case stepRow:
		var step remediation.Step
		err = decode(e.a, &step)
		d.Steps = append(d.Steps, step)
	}
	if err != nil {
		d.unreadable = err
	}
}

func (a *auditor) judge(d dossier) {
	if d.rows == 0 {
		return
	}
	a.out.Entries += len(d.Entries)
	if d.Run != nil {
		a.count(d)
	}
	if d.unreadable != nil {
		a.found(remediation.Finding{Place: "run " + d.ID, What: "a row of it cannot be read: " + d.unreadable.Error()})
		return
	}
	a.found(d.Judge(a.asOf)...)
}

func (a *auditor) count(d dossier) {
	a.out.Runs++
	switch {
	case d.Run.State != remediation.Done:
		a.out.Open++
	case d.Link == nil:
		a.out.Unlinked++
	}
}

// unrecordedSQL finds debits of acts that the journal knows nothing of.
const unrecordedSQL = `SELECT a.run FROM (SELECT run, count(*) AS n FROM acts GROUP BY run) AS a
	WHERE a.n > (SELECT count(*) FROM journal AS j WHERE j.run = a.run AND j.kind = 'intent') ORDER BY a.run LIMIT $1`

func (a *auditor) acts(ctx context.Context) error {
	runs, err := list(ctx, a, scanText, unrecordedSQL, maxFindings)
	if err != nil {
		return fmt.Errorf("reading the acts: %w", err)
	}
	for _, run := range runs {
		a.found(remediation.Finding{Place: "run " + run, What: "more acts were debited than intents recorded"})
	}
	return nil
}
