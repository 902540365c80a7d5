package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// run is a run's row: the run, and what is known of it that its own visits do not write.
type run struct {
	remediation.Run
	ended  time.Time // when its episode resolved; zero while it fires
	by     string    // the person who said so; "" for its sender
	joined time.Time // when the newest firing of its alert began that has joined it; zero: none has
	due    time.Time // when it needs a visit if nothing else happens; zero: never
	linked bool      // it is in the fleet's chain
	parked bool      // it was refused while it waited for a human's word, and is judged again after that
}

// relatedMost is how many runs Admit is shown at most.
const relatedMost = 50

func (r run) related() remediation.Related {
	a := r.Alert
	return remediation.Related{
		ID: r.ID, Source: a.Source, Episode: a.Episode, IncidentKey: a.IncidentKey, IncidentID: a.IncidentID, StartsAt: a.StartsAt,
		EndedAt: r.ended, EndedBy: r.by, State: r.State, Outcome: r.Outcome, Reason: r.Reason, Acted: r.Acted,
	}
}

// related are the runs Admit judges a proposal by, newest first. Follow-ups are none of them: a reminder that waits for a day must not
// swallow the next firing. Drills are related to drills alone.
func (r *rows) related(of remediation.Run) []remediation.Related {
	a := of.Alert
	var found []run
	for _, one := range r.runs {
		same := one.Alert.Episode == a.Episode || a.IncidentKey != "" && one.Alert.IncidentKey == a.IncidentKey ||
			a.IncidentID != "" && one.Alert.IncidentID == a.IncidentID
		apart := (one.Origin == remediation.ByDrill) != (of.Origin == remediation.ByDrill)
		if one.Target == of.Target && same && !apart && one.Origin != remediation.ByFollowUp {
			found = append(found, one)
		}
	}
	slices.SortFunc(found, func(x, y run) int {
		return cmp.Or(y.CreatedAt.Compare(x.CreatedAt), cmp.Compare(y.ID, x.ID))
	})
	out := make([]remediation.Related, 0, len(found))
	for _, one := range found[:min(len(found), relatedMost)] {
		out = append(out, one.related())
	}
	return out
}

// Claim grants the run until Now + Lease. The hint a run was born with is granted without a new epoch while most of its lease is left.
func (v *View) Claim(ctx context.Context, c remediation.Claim) (remediation.Claimed, error) {
	var got remediation.Claimed
	err := v.write(ctx, func(t *transaction) error {
		r, err := find(t.runs, "run", c.Hint.Run)
		if err != nil {
			return err
		}
		if r.Version != c.Hint.Version || r.State == remediation.Done {
			return remediation.ErrStaleHint
		}
		mine := c.Hint.Epoch != 0 && r.Epoch == c.Hint.Epoch && r.LeaseOwner == c.Owner
		switch {
		case mine && r.LeaseUntil.Sub(c.Now) > c.Lease/2:
		case !mine && r.LeaseUntil.After(c.Now):
			return remediation.ErrStaleHint
		default:
			r.Epoch, r.LeaseOwner, r.LeaseUntil, r.State = r.Epoch+1, c.Owner, c.Now.Add(c.Lease), remediation.Running
			r.due = r.LeaseUntil
			put(t, t.runs, r.ID, r)
		}
		got = clone(t.claimed(r))
		return nil
	})
	return got, err
}

func (r *rows) claimed(one run) remediation.Claimed {
	return remediation.Claimed{
		Run: one.Run, Steps: r.steps[one.ID], Episode: one.related(), Incident: r.toldIncident(one.Run), Approval: r.approval(one.Run),
		Marks: r.marksOf(one.Target), Fleet: r.newest().Anchor(),
	}
}

// toldIncident is the incident that the run's first message to PagerDuty, or its parent's, was told on.
func (r *rows) toldIncident(of remediation.Run) string {
	for _, m := range r.messages(func(m remediation.Message) bool {
		return m.Channel == remediation.PagerDuty && m.RemoteID != "" && (m.Run == of.ID || m.Run == of.Parent && of.Parent != "")
	}) {
		return m.RemoteID
	}
	return ""
}

// Renew prolongs the lease; remediation.ErrFenced when another claim came in between.
func (v *View) Renew(ctx context.Context, id string, epoch int64, until time.Time) error {
	return v.write(ctx, func(t *transaction) error {
		r, ok := t.runs[id]
		if !ok || !v.holds(r, epoch) || r.State == remediation.Done {
			return fmt.Errorf("renewing the lease of run %s: %w", id, remediation.ErrFenced)
		}
		r.LeaseUntil, r.due = until, until
		put(t, t.runs, id, r)
		return nil
	})
}

// holds is the fence: only the newest claim may write.
func (v *View) holds(r run, epoch int64) bool { return r.Epoch == epoch && r.LeaseOwner == v.owner }

// siblings counts the other runs of the incident that are open, or done without being fixed or resolved by themselves. The same
// incident is one id, or one key while both fired and no ids say otherwise; of what still fires they cannot, because there is one open
// incident of a key. Follow-ups and drills do not count, nor what was refused earlier on the same target: the run itself is its next attempt.
func (r *rows) siblings(own run) int {
	n := 0
	for _, one := range r.runs {
		if one.ID == own.ID || one.Origin == remediation.ByFollowUp || one.Origin == remediation.ByDrill || one.endedWell() {
			continue
		}
		former := one.Target == own.Target && one.State == remediation.Done && one.Outcome == remediation.RefusedRun && !one.CreatedAt.After(own.CreatedAt)
		if !former && one.sharesIncident(own.related()) {
			n++
		}
	}
	return n
}

func (r run) endedWell() bool {
	over := !r.Alert.SelfResolving || !r.ended.IsZero()
	return r.State == remediation.Done && !r.firesOn() && (r.Outcome == remediation.Fixed && over || r.Outcome == remediation.ResolvedItself)
}

func (r run) sharesIncident(own remediation.Related) bool {
	sameKey := own.IncidentKey != "" && r.Alert.IncidentKey == own.IncidentKey
	return r.isOf(own) || sameKey && (r.ended.IsZero() || r.firesOn())
}

// firesOn: a person has said that it is over, and the sender, which will tell the end, has not.
func (r run) firesOn() bool { return r.Alert.SelfResolving && !r.ended.IsZero() && r.by != "" }
