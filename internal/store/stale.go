package store

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
)

// stale enters an alert that came too late, unless its episode has a run on the target, which counts by itself.
func (in *admission) stale(ctx context.Context, s remediation.StaleAlert) error {
	run := remediation.Run{Origin: remediation.ByAlert, Alert: s.Alert, Target: s.Target}
	related, err := relatedRuns(ctx, in.t, run)
	if err != nil || !remediation.Admit(remediation.Proposal{Run: run}, related).New {
		return err
	}
	a := s.Alert
	_, err = in.lazy.Exec(ctx, `INSERT INTO stale_alerts (source, episode, target, incident_key, incident_id, fingerprint, self_resolving, starts_at, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (source, episode, target) DO NOTHING`,
		a.Source, a.Episode, s.Target, a.IncidentKey, a.IncidentID, alert.Fingerprint(a.Labels), flag(a.SelfResolving), micros(a.StartsAt), micros(in.now))
	if err != nil {
		return fmt.Errorf("storing the stale alert of episode %s: %w", a.Episode, err)
	}
	return nil
}

const endStaleSQL = `DELETE FROM stale_alerts WHERE ($7 = '' OR self_resolving = 0) AND (source = $2 AND episode = $3
	OR incident_id = $4 AND ($6 = '' OR fingerprint = $6) AND starts_at <= $1
	OR incident_key = $5 AND ($6 = '' OR fingerprint = $6) AND starts_at <= $1)`

// endStale forgets the stale alerts that a firing's end is about, as endEpisodes tells them. A person's word does not end what its sender will.
func endStale(ctx context.Context, t tx, r remediation.Resolution, at time.Time) error {
	if r.Drill {
		return nil
	}
	_, err := t.Exec(ctx, endStaleSQL,
		micros(at), r.Source, orNull(r.Episode), orNull(r.IncidentID), orNull(r.IncidentKey), r.Fingerprint, r.By)
	if err != nil {
		return fmt.Errorf("recording the end of the stale alerts of episode %s: %w", r.Episode, err)
	}
	return nil
}

func moveStale(ctx context.Context, t tx, m remediation.Move) error {
	_, err := t.Exec(ctx, `UPDATE stale_alerts SET incident_id = $2 WHERE incident_id = $1 OR incident_id = '' AND incident_key = $3 AND starts_at <= $4`,
		m.From, m.To, orNull(m.Key), micros(m.At))
	if err != nil {
		return fmt.Errorf("moving the stale alerts of incident %s to %s: %w", m.From, m.To, err)
	}
	return nil
}

const countStaleSQL = `SELECT count(*) FROM stale_alerts AS s WHERE target <> $1 AND (incident_id = $2 OR incident_key = $3)
	AND NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.episode = s.episode AND r.target = s.target AND r.source = s.source)`

// countStale counts the stale alerts that still fire on other targets of the incident. One that has a run since counts as that run does.
func countStale(ctx context.Context, t tx, own placed) (int, error) {
	var n int
	if err := t.QueryRow(ctx, []any{&n}, countStaleSQL, own.target, orNull(own.IncidentID), orNull(own.IncidentKey)); err != nil {
		return 0, fmt.Errorf("counting the stale alerts of the incident of %s: %w", own.ID, err)
	}
	return n, nil
}

// dropStale drops stale alerts whose end nobody has told.
func (s *Store) dropStale(ctx context.Context, before time.Time) (bool, error) {
	return s.dropSome(ctx, "stale alerts", `DELETE FROM stale_alerts WHERE (source, episode, target) IN (
		SELECT source, episode, target FROM stale_alerts WHERE at < $1 LIMIT $2)`, before)
}
