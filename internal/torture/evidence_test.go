package torture

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// evidence is everything that was written down, by whom it was written.
type evidence struct {
	Sent    []receipt                         // by the sender
	Ledger  []sandbox.Entry                   // by the sandbox
	Outages map[string]outage                 // by the director
	Events  map[string]remediation.EventState // the rest by the servers
	Rulings []remediation.Ruling
	Runs    map[string]remediation.Run
	Steps   map[string][]remediation.Step
	Journal map[string][]remediation.Entry
	Outbox  []remediation.Message
}

// database is where the servers' rows are read from once the servers are gone.
type database struct{ driver, source string }

func (d database) open() (*sql.DB, error) { return sql.Open(d.driver, d.source) }

// gather reads the rows. The servers must be gone.
func (d database) gather(ctx context.Context, e *evidence) (err error) {
	db, err := d.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	e.Events, e.Runs = map[string]remediation.EventState{}, map[string]remediation.Run{}
	e.Steps, e.Journal = map[string][]remediation.Step{}, map[string][]remediation.Entry{}
	for _, part := range []struct {
		query string
		read  func(scan func(...any) error) error
	}{
		{`SELECT id, state FROM events`, e.readEvent},
		{`SELECT event, seq, run, rule, target, verdict, detail FROM rulings ORDER BY event, seq`, e.readRuling},
		{`SELECT data, state, outcome, version, epoch FROM runs`, e.readRun},
		{`SELECT data FROM steps ORDER BY run, seq`, e.readStep},
		{`SELECT run, seq, at, kind, text, prev, hash FROM journal ORDER BY run, seq`, e.readEntry},
		{`SELECT data, state, remote_id, attempts, error FROM outbox ORDER BY run, seq`, e.readMessage},
	} {
		if err := each(ctx, db, part.query, part.read); err != nil {
			return fmt.Errorf("%s: %w", part.query, err)
		}
	}
	return nil
}

func each(ctx context.Context, db *sql.DB, query string, read func(scan func(...any) error) error) (err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (e *evidence) readEvent(scan func(...any) error) error {
	var id, state string
	err := scan(&id, &state)
	e.Events[id] = remediation.EventState(state)
	return err
}

func (e *evidence) readRuling(scan func(...any) error) error {
	var r remediation.Ruling
	err := scan(&r.Event, &r.Seq, &r.Run, &r.Rule, &r.Target, &r.Verdict, &r.Detail)
	e.Rulings = append(e.Rulings, r)
	return err
}

func (e *evidence) readRun(scan func(...any) error) error {
	var (
		text           string
		run            remediation.Run
		state, outcome string
		version, epoch int64
	)
	if err := scan(&text, &state, &outcome, &version, &epoch); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), &run); err != nil {
		return err
	}
	run.State, run.Outcome, run.Version, run.Epoch = remediation.State(state), remediation.Outcome(outcome), version, epoch
	e.Runs[run.ID] = run
	return nil
}

func (e *evidence) readStep(scan func(...any) error) error {
	var text string
	var step remediation.Step
	if err := scan(&text); err != nil {
		return err
	}
	err := json.Unmarshal([]byte(text), &step)
	e.Steps[step.Run] = append(e.Steps[step.Run], step)
	return err
}

func (e *evidence) readEntry(scan func(...any) error) error {
	var one remediation.Entry
	var at int64
	err := scan(&one.Run, &one.Seq, &at, &one.Kind, &one.Text, &one.Prev, &one.Hash)
	one.At = time.UnixMicro(at).UTC()
	e.Journal[one.Run] = append(e.Journal[one.Run], one)
	return err
}

func (e *evidence) readMessage(scan func(...any) error) error {
	var (
		text, state, remote, failure string
		attempts                     int
		m                            remediation.Message
	)
	if err := scan(&text, &state, &remote, &attempts, &failure); err != nil {
		return err
	}
	err := json.Unmarshal([]byte(text), &m)
	m.State, m.RemoteID, m.Attempts, m.Error = remediation.MessageState(state), remote, attempts, failure
	e.Outbox = append(e.Outbox, m)
	return err
}
