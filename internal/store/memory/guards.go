package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// heldBy tells who is at the run's incident, "" if nobody.
func (r *rows) heldBy(id string) string {
	own, known := r.runs[id]
	if !known {
		return ""
	}
	a := own.Alert
	var words []remediation.Hold
	for at, h := range r.holds {
		if at.id != "" && at.id == a.IncidentID || at.key != "" && at.key == a.IncidentKey && (at.id == "" || a.IncidentID == "") {
			words = append(words, h)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return slices.MinFunc(words, func(a, b remediation.Hold) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.By, b.By)) }).By
}

// holds keeps or lifts people's words about incidents; an older word never undoes a newer one, in whichever order they come.
func (in *admission) holds(holds []remediation.Hold) {
	for _, h := range holds {
		if !h.Lifted {
			at := incident{h.IncidentID, h.IncidentKey}
			if !in.t.holds[at].At.After(h.At) {
				put(in.t, in.t.holds, at, h)
			}
			continue
		}
		drop(in.t, in.t.holds, func(at incident) bool {
			return at.id == h.IncidentID && (at.id != "" || at.key == h.IncidentKey) && !in.t.holds[at].At.After(h.At)
		})
	}
}

// want notes that the run wants to act on its target, whatever became of it.
func (c *commit) want() {
	if c.Want != nil && c.t.wants[c.Want.Target].At.Before(c.Want.At) {
		put(c.t, c.t.wants, c.Want.Target, *c.Want)
	}
}

// storm pages when this is the first refusal of a storm.
func (c *commit) storm() {
	if c.Storm == nil {
		return
	}
	last := c.t.storm
	if last.seen.Before(c.Storm.Since) || !last.seen.After(last.released) {
		c.Messages = append(c.Messages, c.Storm.Pages...)
	}
	c.t.setStorm(storm{seen: c.Now, released: last.released})
}

func (t *transaction) setStorm(s storm) {
	old := t.storm
	t.undo = append(t.undo, func() { t.storm = old })
	t.storm = s
}

// ReleaseStorm lets runs act again after a storm: what targets wanted before does not count any more.
func (v *View) ReleaseStorm(ctx context.Context) error {
	return v.write(ctx, func(t *transaction) error {
		t.setStorm(storm{seen: t.storm.seen, released: v.now()})
		return nil
	})
}

// Storm tells when a run was last refused for a storm, and when a human last ended one; zero for never.
func (v *View) Storm(ctx context.Context) (seen, released time.Time, err error) {
	err = v.read(ctx, func(r *rows) error { seen, released = r.storm.seen, r.storm.released; return nil })
	return seen, released, err
}

// parkedMost bounds how many runs are judged again at once.
const parkedMost = 500

// Parked gives the runs that were refused while they waited for a human's word, and whose alert still fires, but for those of except.
func (v *View) Parked(ctx context.Context, except []remediation.Bond) (parked []remediation.Run, err error) {
	err = v.read(ctx, func(r *rows) error {
		for _, one := range r.runs {
			left := slices.Contains(except, remediation.Bond{Rule: one.Rule, Target: one.Target})
			if one.parked && one.ended.IsZero() && !left {
				parked = append(parked, clone(one.Run))
			}
		}
		return nil
	})
	slices.SortFunc(parked, func(a, b remediation.Run) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return parked[:min(len(parked), parkedMost)], err
}

// unpark reports false when the run is not parked any more.
func (in *admission) unpark(id string) bool {
	one, ok := in.t.runs[id]
	if !ok || !one.parked || !one.ended.IsZero() {
		return false
	}
	one.parked = false
	put(in.t, in.t.runs, id, one)
	return true
}

func (r *rows) marksOf(target string) map[string]string {
	var marks map[string]string
	for at, m := range r.marks {
		if at.target != target {
			continue
		}
		if marks == nil {
			marks = map[string]string{}
		}
		marks[at.name] = m.Reason
	}
	return marks
}

// Mark says that a revision of a target cannot be gone back past; a former reason is replaced.
func (v *View) Mark(ctx context.Context, m remediation.Mark) error {
	return v.write(ctx, func(t *transaction) error {
		put(t, t.marks, revision{m.Target, m.Revision}, m)
		return nil
	})
}

// Unmark takes a mark back and reports whether there was one.
func (v *View) Unmark(ctx context.Context, target, name string) (was bool, err error) {
	err = v.write(ctx, func(t *transaction) error {
		was = drop(t, t.marks, func(at revision) bool { return at == revision{target, name} }) > 0
		return nil
	})
	return was, err
}

// approval is the answer to what the run has asked.
func (r *rows) approval(of remediation.Run) *remediation.Approval {
	a, answered := r.approvals[of.ID]
	if of.Asked == "" || !answered || a.Digest != of.Asked || of.Heard(a) {
		return nil
	}
	return &a
}

// Answer keeps a human's answer to the plan that a run has asked about, and wakes the run. remediation.ErrNotFound when there is no such
// run, remediation.ErrStaleHint when it asks nothing, something else, or has its answer.
func (v *View) Answer(ctx context.Context, a remediation.Approval) error {
	return v.write(ctx, func(t *transaction) error {
		one, err := find(t.runs, "run", a.Run)
		if err != nil {
			return err
		}
		asks := one.State == remediation.Waiting && one.Phase == remediation.PhaseAsk && one.Asked == a.Digest
		if !asks || t.approval(one.Run) != nil {
			return fmt.Errorf("keeping the answer to run %s: %w", a.Run, remediation.ErrStaleHint)
		}
		put(t, t.approvals, a.Run, a)
		one.due = v.now()
		put(t, t.runs, one.ID, one)
		return nil
	})
}
