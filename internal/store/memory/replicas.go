package memory

import (
	"context"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// deadAfter is how long a replica may be silent.
const deadAfter = 15 * time.Second

// replica is a process that works on these rows.
type replica struct {
	hash string
	seen time.Time
}

// SetRulesHash tells the other owners by which rules this one works, and that it lives. No intent after it misses that.
func (v *View) SetRulesHash(ctx context.Context, hash string) error {
	return v.write(ctx, func(t *transaction) error {
		put(t, t.replicas, v.owner, replica{hash: hash, seen: v.now()})
		return nil
	})
}

// Beat shows that the owner lives. One that has told no rules stays unknown.
func (v *View) Beat(ctx context.Context) error {
	return v.write(ctx, func(t *transaction) error {
		if r, known := t.replicas[v.owner]; known {
			r.seen = v.now()
			put(t, t.replicas, v.owner, r)
		}
		return nil
	})
}

// DeclareRules says which rules hold where replicas differ; "" takes it back.
func (v *View) DeclareRules(ctx context.Context, hash string) error {
	return v.write(ctx, func(t *transaction) error {
		old := t.declared
		t.undo = append(t.undo, func() { t.declared = old })
		t.declared = hash
		return nil
	})
}

// agreement tells whether the owners that live go by the same rules; where none has told any, there is nobody to disagree.
func (r *rows) agreement(q remediation.SnapshotQuery, owner string) guard.Agreement {
	a := guard.Agreement{Own: q.RulesHash}
	if q.RulesHash == "" || len(r.replicas) == 0 {
		return a
	}
	a.Current = r.declared
	for name, one := range r.replicas {
		if one.hash != "" && (name == owner || q.Now.Sub(one.seen) < deadAfter) {
			a.Live = append(a.Live, one.hash)
		}
	}
	slices.Sort(a.Live)
	a.Live = slices.Compact(a.Live)
	return a
}
