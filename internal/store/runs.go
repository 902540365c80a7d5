package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
)

const insertRunSQL = `INSERT INTO runs (id, origin, target, source, episode, incident_key, incident_id, fingerprint, starts_at, ended_at,
	state, outcome, reason, acted, version, epoch, lease_owner, lease_until, due_at, created_at, data, self_resolving)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`

// insertRun stores a new run that is due for a visit at a time.
func insertRun(ctx context.Context, t tx, run remediation.Run, due time.Time) error {
	data, err := encode(run)
	if err != nil {
		return err
	}
	a := run.Alert
	_, err = t.Exec(ctx, insertRunSQL, run.ID, string(run.Origin), run.Target, a.Source, a.Episode, a.IncidentKey, a.IncidentID,
		alert.Fingerprint(a.Labels), micros(a.StartsAt), string(run.State), string(run.Outcome), string(run.Reason), flag(run.Acted),
		run.Version, run.Epoch, run.LeaseOwner, micros(run.LeaseUntil), micros(due), micros(run.CreatedAt), data, flag(a.SelfResolving))
	if err != nil {
		return fmt.Errorf("inserting run %s: %w", run.ID, err)
	}
	return nil
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

const selectRelated = `SELECT id, source, episode, incident_key, incident_id, starts_at, ended_at, ended_by, state, outcome, reason, acted FROM runs`

func scanRelated(r row) (remediation.Related, error) {
	var (
		one                 remediation.Related
		starts, ends, acted int64
	)
	err := r.Scan(&one.ID, &one.Source, &one.Episode, &one.IncidentKey, &one.IncidentID, &starts, &ends, &one.EndedBy, &one.State,
		&one.Outcome, &one.Reason, &acted)
	one.StartsAt, one.EndedAt, one.Acted = fromMicros(starts), fromMicros(ends), acted != 0
	return one, err
}

// relatedSQL asks one index for each name: SQLite takes an OR of them for a reason to read all runs of the target. UNION ALL, because what
// comes twice does no harm here and a distinct one costs four times as much. Of a key, which an alert that flaps brings thousands of times, it
// reads the newest: ids sort by age.
const relatedSQL = selectRelated + ` WHERE id IN (
		SELECT id FROM runs WHERE target = $1 AND episode = $2
		UNION ALL SELECT id FROM runs WHERE id IN (SELECT id FROM runs WHERE target = $1 AND incident_key = $3
			AND origin <> 'follow_up' AND (origin = 'drill') = ($5 = 'drill') ORDER BY id DESC LIMIT 50)
		UNION ALL SELECT id FROM runs WHERE target = $1 AND incident_id = $4)
	AND origin <> 'follow_up' AND (origin = 'drill') = ($5 = 'drill') ORDER BY created_at DESC, id DESC LIMIT 50`

// relatedRuns are those Admit judges a proposal by. Follow-ups are none of them: a reminder that waits for a day must not swallow the
// next firing. Drills are related to drills alone, whatever their keys are.
func relatedRuns(ctx context.Context, t tx, run remediation.Run) ([]remediation.Related, error) {
	a := run.Alert
	all, err := list(ctx, t, scanRelated, relatedSQL, run.Target, a.Episode, orNull(a.IncidentKey), orNull(a.IncidentID), string(run.Origin))
	if err != nil {
		return nil, fmt.Errorf("reading the runs related to %s: %w", run.ID, err)
	}
	return all, nil
}

// endEpisodesSQL finds by the key what may be ended still, and not all that ever had it.
const endEpisodesSQL = `UPDATE runs SET ended_at = $1, ended_by = $7
	WHERE id IN (SELECT id FROM runs WHERE source = $2 AND episode = $3
		UNION ALL SELECT id FROM runs WHERE incident_id = $4
		UNION ALL SELECT id FROM runs WHERE incident_key = $5 AND ended_at = 0
		UNION ALL SELECT id FROM runs WHERE incident_key = $5 AND state <> 'done'
		UNION ALL SELECT id FROM runs WHERE incident_key = $5 AND ended_by <> '')
	AND (ended_at = 0 OR state <> 'done' AND ended_at < $1 AND $7 = '' OR ended_by <> '' AND $7 = '') AND joined_at <= $1 AND (origin = 'drill') = ($8 = 1)
	AND (source = $2 AND episode = $3 OR ($6 = '' OR fingerprint = $6) AND starts_at <= $1)`

// endEpisodes records that a firing ended, on the runs it made. By the key of an incident it ends only what began before: keys recur. An
// end that is told late does not end what has joined a run since; a person's word does not take the place of the sender's, but gives way to it.
func endEpisodes(ctx context.Context, t tx, r remediation.Resolution, now time.Time) error {
	at := r.At
	if at.IsZero() {
		at = now
	}
	_, err := t.Exec(ctx, endEpisodesSQL, micros(at), r.Source, orNull(r.Episode), orNull(r.IncidentID), orNull(r.IncidentKey), r.Fingerprint, r.By,
		flag(r.Drill))
	if err != nil {
		return fmt.Errorf("recording the end of episode %s: %w", r.Episode, err)
	}
	return endStale(ctx, t, r, at)
}

// moveRuns makes the runs of an incident that was merged into another one runs of that one, those that have ended too: what is left of them
// keeps it open.
func moveRuns(ctx context.Context, t tx, m remediation.Move) error {
	_, err := t.Exec(ctx, `UPDATE runs SET incident_id = $2 WHERE incident_id = $1
		OR incident_id = '' AND incident_key = $3 AND ended_at = 0 AND starts_at <= $4`, m.From, m.To, orNull(m.Key), micros(m.At))
	if err != nil {
		return fmt.Errorf("moving the runs of incident %s to %s: %w", m.From, m.To, err)
	}
	return moveStale(ctx, t, m)
}

// joins records that a firing has joined a run: of the run's own alert, if it is a later one, an earlier end is no end any more.
func joins(ctx context.Context, t tx, a remediation.Admission, of alert.Alert) error {
	var (
		err         error
		fingerprint = alert.Fingerprint(of.Labels)
	)
	if a.Anew {
		_, err = t.Exec(ctx, `UPDATE runs SET ended_at = 0, ended_by = '' WHERE id = $1 AND fingerprint = $2`, a.Joins, fingerprint)
	}
	if err == nil && !a.Since.IsZero() {
		_, err = t.Exec(ctx, `UPDATE runs SET joined_at = $1 WHERE id = $2 AND fingerprint = $3 AND joined_at < $1`, micros(a.Since), a.Joins, fingerprint)
	}
	if err != nil {
		return fmt.Errorf("joining a firing with run %s: %w", a.Joins, err)
	}
	return nil
}

const selectRun = `SELECT data, version, epoch, lease_owner, lease_until, state, incident_id FROM runs`

// scanRun reads a run. Its incident may have been merged into another one since it was last written.
func scanRun(r row) (remediation.Run, error) {
	var (
		run                        remediation.Run
		data, owner, incident      string
		version, epoch, leaseUntil int64
		state                      remediation.State
	)
	if err := r.Scan(&data, &version, &epoch, &owner, &leaseUntil, &state, &incident); err != nil {
		return run, err
	}
	err := decode(data, &run)
	run.Alert.IncidentID = incident
	run.Version, run.Epoch, run.State, run.LeaseOwner, run.LeaseUntil = version, epoch, state, owner, fromMicros(leaseUntil)
	return run, err
}

func readRun(ctx context.Context, t tx, id string) (remediation.Run, error) {
	runs, err := list(ctx, t, scanRun, selectRun+` WHERE id = $1`, id)
	if err == nil && len(runs) == 0 {
		err = remediation.ErrNotFound
	}
	if err != nil {
		return remediation.Run{}, fmt.Errorf("reading run %s: %w", id, err)
	}
	return runs[0], nil
}

func readSteps(ctx context.Context, t tx, run string) ([]remediation.Step, error) {
	steps, err := list(ctx, t, scanJSON[remediation.Step], `SELECT data FROM steps WHERE run = $1 ORDER BY seq`, run)
	if err != nil {
		return nil, fmt.Errorf("reading the steps of run %s: %w", run, err)
	}
	return steps, nil
}

// Claim grants the run until Now + Lease. The hint a run was born with is granted without a write while most of its lease is left.
func (s *Store) Claim(ctx context.Context, c remediation.Claim) (remediation.Claimed, error) {
	r := s.db.reader()
	run, err := readRun(ctx, r, c.Hint.Run)
	if err != nil {
		return remediation.Claimed{}, err
	}
	if run.Version != c.Hint.Version || run.State == remediation.Done {
		return remediation.Claimed{}, remediation.ErrStaleHint
	}
	mine := c.Hint.Epoch != 0 && run.Epoch == c.Hint.Epoch && run.LeaseOwner == c.Owner
	if mine && run.LeaseUntil.Sub(c.Now) > c.Lease/2 {
		return s.withFleet(claimed(ctx, r, run))
	}
	if !mine && run.LeaseUntil.After(c.Now) {
		return remediation.Claimed{}, remediation.ErrStaleHint
	}
	return s.claim(ctx, c, run.Epoch)
}

// claim takes the run as it was read: another claim in between has raised the epoch.
func (s *Store) claim(ctx context.Context, c remediation.Claim, epoch int64) (remediation.Claimed, error) {
	var got remediation.Claimed
	err := s.write(ctx, writeRun, func(ctx context.Context, t *transaction) error {
		n, err := t.Exec(ctx, `UPDATE runs SET epoch = epoch + 1, lease_owner = $1, lease_until = $2, due_at = $2, state = 'running'
			WHERE id = $3 AND version = $4 AND epoch = $5 AND state <> 'done'`,
			c.Owner, micros(c.Now.Add(c.Lease)), c.Hint.Run, c.Hint.Version, epoch)
		if err != nil {
			return fmt.Errorf("claiming run %s: %w", c.Hint.Run, err)
		}
		if n == 0 {
			return remediation.ErrStaleHint
		}
		run, err := readRun(ctx, t, c.Hint.Run)
		if err != nil {
			return err
		}
		got, err = claimed(ctx, t, run)
		return err
	})
	return s.withFleet(got, err)
}

func claimed(ctx context.Context, t tx, run remediation.Run) (remediation.Claimed, error) {
	var (
		c   = remediation.Claimed{Run: run}
		err error
	)
	if c.Steps, err = readSteps(ctx, t, run.ID); err != nil {
		return c, err
	}
	own, err := readOwn(ctx, t, run.ID)
	if err != nil {
		return c, err
	}
	c.Episode = own.Related
	if c.Incident, err = toldIncident(ctx, t, run); err != nil {
		return c, err
	}
	if c.Approval, err = readApproval(ctx, t, run); err != nil {
		return c, err
	}
	c.Marks, err = readMarks(ctx, t, run.Target)
	return c, err
}

// toldIncident is the incident that the run's first message to PagerDuty, or its parent's, was told on.
func toldIncident(ctx context.Context, t tx, run remediation.Run) (string, error) {
	ids, err := list(ctx, t, scanText, `SELECT remote_id FROM outbox WHERE channel = 'pagerduty' AND remote_id <> '' AND run IN ($1, $2)
		ORDER BY run, seq LIMIT 1`, run.ID, orNull(run.Parent))
	if err != nil {
		return "", fmt.Errorf("reading the incident of run %s: %w", run.ID, err)
	}
	return strings.Join(ids, ""), nil
}

// placed is a run as others see it, with its target.
type placed struct {
	remediation.Related
	target  string
	created int64
}

func readOwn(ctx context.Context, t tx, run string) (placed, error) {
	var own placed
	related, err := list(ctx, t, scanRelated, selectRelated+` WHERE id = $1`, run)
	if err == nil && len(related) == 0 {
		err = remediation.ErrNotFound
	}
	if err == nil {
		own.Related = related[0]
		err = t.QueryRow(ctx, []any{&own.target, &own.created}, `SELECT target, created_at FROM runs WHERE id = $1`, run)
	}
	if err != nil {
		return own, fmt.Errorf("reading the episode of run %s: %w", run, err)
	}
	return own, nil
}

// siblingsSQL finds by the key what fired with the run, and not all that ever had it.
const siblingsSQL = `SELECT count(*) FROM runs WHERE id IN (SELECT id FROM runs WHERE incident_id = $3
		UNION ALL SELECT id FROM runs WHERE incident_key = $4 AND ended_at = 0
		UNION ALL SELECT id FROM runs WHERE incident_key = $4 AND ended_at > $6
		UNION ALL SELECT id FROM runs WHERE incident_key = $4 AND ended_by <> '')
	AND id <> $1 AND origin NOT IN ('follow_up', 'drill')
	AND (state <> 'done' OR outcome NOT IN ('fixed', 'resolved_itself') OR self_resolving = 1 AND (ended_at = 0 AND outcome = 'fixed' OR ended_by <> ''))
	AND NOT (target = $2 AND state = 'done' AND outcome = 'refused' AND created_at <= $7)
	AND (incident_id = $3 OR ended_at = 0 OR ended_by <> '' AND self_resolving = 1 OR (incident_id = '' OR $5 = '') AND ended_at > $6)`

// countSiblings counts the other runs of the incident that are open, or done without being fixed or resolved by themselves, or fixed while
// their sender, which would open the incident again, still says that they fire, whatever a person has said. The same incident is one id, or one key while both fired
// and no ids say otherwise; of what still fires they cannot, because there is one open incident of a key. Follow-ups and drills do not count, nor what
// was refused earlier on the same target: the run itself is its next attempt. An alert that came too late for a run of its own counts.
func countSiblings(ctx context.Context, t tx, own placed) (int, error) {
	if own.IncidentID == "" && own.IncidentKey == "" {
		return 0, nil
	}
	var n int
	err := t.QueryRow(ctx, []any{&n}, siblingsSQL, own.ID, own.target, orNull(own.IncidentID), orNull(own.IncidentKey), own.IncidentID, micros(own.StartsAt), own.created)
	if err != nil {
		return 0, fmt.Errorf("counting the other runs of the incident of %s: %w", own.ID, err)
	}
	stale, err := countStale(ctx, t, own)
	return n + stale, err
}

// Renew prolongs the lease; remediation.ErrFenced when another claim came in between.
func (s *Store) Renew(ctx context.Context, run string, epoch int64, until time.Time) error {
	err := s.write(ctx, writeRun, func(ctx context.Context, t *transaction) error {
		n, err := t.Exec(ctx, `UPDATE runs SET lease_until = $1, due_at = $1 WHERE id = $2 AND epoch = $3 AND lease_owner = $4 AND state <> 'done'`,
			micros(until), run, epoch, s.owner)
		if err == nil && n == 0 {
			err = remediation.ErrFenced
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("renewing the lease of run %s: %w", run, err)
	}
	return nil
}
