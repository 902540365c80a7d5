package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// actsKept is how far back a snapshot's acts reach: longer than any budget's window is meant to be.
const actsKept = 31 * 24 * time.Hour

// Snapshot reads what the shared guards judge, outside any lock.
func (v *View) Snapshot(ctx context.Context, q remediation.SnapshotQuery) (guard.Snapshot, error) {
	var s guard.Snapshot
	err := v.read(ctx, func(r *rows) error {
		if _, err := find(r.runs, "run", q.Run); q.MustFire && err != nil {
			return fmt.Errorf("reading whether the alert still fires: %w", err)
		}
		s, _ = r.snapshot(q, v.owner)
		return nil
	})
	return s, err
}

// snapshot also gives the breaker's row that the snapshot's reason was judged by.
func (r *rows) snapshot(q remediation.SnapshotQuery, owner string) (guard.Snapshot, breaker.Row) {
	row := r.breakers[bond{q.Rule, q.Target}]
	s := guard.Snapshot{
		Now: q.Now, Run: q.Run, Rule: q.Rule, Target: q.Target, FirstAct: q.First, Auto: q.Auto, Act: q.Act,
		Breaker: row.Judge(q.Breaker, q.Run, q.Now), LockedBy: r.locks[q.Target], Acts: r.actsSince(q.Now.Add(-actsKept)),
		Pauses: append(r.allPauses(), q.Pauses...), HeldBy: r.heldBy(q.Run), Released: r.storm.released,
		Rules: r.agreement(q, owner),
		Wants: sorted(r.wants, func(a, b guard.Want) int { return cmp.Compare(a.Target, b.Target) }),
	}
	if q.MustFire {
		s.EndedAt = r.runs[q.Run].ended
	}
	if latch, closed := r.latches[owed{q.Target, q.Act.Kind}]; q.Once && closed {
		s.Latch = &latch
	}
	return s, row
}

func (r *rows) actsSince(since time.Time) []guard.Act {
	var acts []guard.Act
	for _, a := range r.acts {
		if !a.At.Before(since) {
			acts = append(acts, clone(a))
		}
	}
	slices.SortStableFunc(acts, func(a, b guard.Act) int { return a.At.Compare(b.At) })
	return acts
}

// Acts reads the debits since a time, oldest first.
func (v *View) Acts(ctx context.Context, since time.Time) (acts []guard.Act, err error) {
	err = v.read(ctx, func(r *rows) error { acts = r.actsSince(since); return nil })
	return acts, err
}

func (r *rows) allPauses() []guard.Pause {
	return sorted(r.pauses, func(a, b guard.Pause) int { return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name)) })
}

// Pauses reads all that are stored, including those whose time is over.
func (v *View) Pauses(ctx context.Context) (pauses []guard.Pause, err error) {
	err = v.read(ctx, func(r *rows) error { pauses = r.allPauses(); return nil })
	return pauses, err
}

// Pause stores a pause; a former one of the same scope and name is replaced. It holds when Pause returns.
func (v *View) Pause(ctx context.Context, p guard.Pause) error {
	return v.write(ctx, func(t *transaction) error {
		put(t, t.pauses, stop{p.Scope, p.Name}, clone(p))
		return nil
	})
}

// Resume drops the pause of a scope and name and reports how many there were.
func (v *View) Resume(ctx context.Context, scope guard.Scope, name string) (n int, err error) {
	err = v.write(ctx, func(t *transaction) error {
		n = drop(t, t.pauses, func(s stop) bool { return s == stop{scope, name} })
		return nil
	})
	return n, err
}

// Release closes the breakers of a rule on a target, either of which may be "" for any, opens the latches of the target where one is
// named, and reports how many of both there were.
func (v *View) Release(ctx context.Context, rule, target string) (n int, err error) {
	err = v.write(ctx, func(t *transaction) error {
		n = drop(t, t.breakers, func(b bond) bool { return (rule == "" || b.rule == rule) && (target == "" || b.target == target) })
		n += drop(t, t.latches, func(at owed) bool { return at.target == target })
		return nil
	})
	return n, err
}

// Breakers reads every row, open or not.
func (v *View) Breakers(ctx context.Context) (all []remediation.BreakerRow, err error) {
	err = v.read(ctx, func(r *rows) error {
		for at, row := range r.breakers {
			all = append(all, remediation.BreakerRow{
				Rule: at.rule, Target: at.target, Open: row.Open(), Failures: row.Failures, Reason: row.Reason, OpenedAt: row.OpenedAt,
			})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b remediation.BreakerRow) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Target, b.Target))
	})
	return all, err
}

// Debts reads what is not settled yet, oldest first.
func (v *View) Debts(ctx context.Context) (open []remediation.Debt, err error) {
	err = v.read(ctx, func(r *rows) error {
		open = sorted(r.debts, func(a, b remediation.Debt) int {
			return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Target, b.Target))
		})
		open = slices.DeleteFunc(open, func(d remediation.Debt) bool { return !d.SettledAt.IsZero() })
		return nil
	})
	return open, err
}

// KeepRules stores a rules text under its hash, once.
func (v *View) KeepRules(ctx context.Context, hash string, text []byte, _ time.Time) error {
	return v.write(ctx, func(t *transaction) error {
		if _, kept := t.texts[hash]; !kept {
			put(t, t.texts, hash, clone(text))
		}
		return nil
	})
}

// Rules reads a rules text by its hash; remediation.ErrNotFound if it was never kept.
func (v *View) Rules(ctx context.Context, hash string) (text []byte, err error) {
	err = v.read(ctx, func(r *rows) (err error) {
		text, err = find(r.texts, "rules", hash)
		text = clone(text)
		return err
	})
	return text, err
}

// sorted copies a table's rows in an order.
func sorted[K comparable, V any](table map[K]V, order func(a, b V) int) []V {
	if len(table) == 0 {
		return nil
	}
	all := make([]V, 0, len(table))
	for _, v := range table {
		all = append(all, clone(v))
	}
	slices.SortFunc(all, order)
	return all
}
