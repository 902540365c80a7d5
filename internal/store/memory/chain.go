package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// newest is the head of the fleet's chain; the zero Link when nothing was linked yet.
func (r *rows) newest() remediation.Link {
	if len(r.chain) == 0 {
		return remediation.Link{}
	}
	return r.chain[len(r.chain)-1]
}

func (t *transaction) setChain(chain []remediation.Link) {
	old := t.chain
	t.undo = append(t.undo, func() { t.chain = old })
	t.chain = chain
}

// LinkDone links runs that have ended into the fleet's chain, in the order of their ids, and reports how many.
func (v *View) LinkDone(ctx context.Context, now time.Time) (n int, err error) {
	err = v.write(ctx, func(t *transaction) error {
		for _, id := range slices.Sorted(maps.Keys(t.runs)) {
			one := t.runs[id]
			if one.State != remediation.Done || one.linked {
				continue
			}
			one.linked = true
			put(t, t.runs, id, one)
			t.setChain(append(slices.Clip(t.chain), t.newest().Next(one.Run, now)))
			n++
		}
		return nil
	})
	return n, err
}

// Head is the newest link of the fleet's chain; remediation.ErrNotFound when nothing was linked yet.
func (v *View) Head(ctx context.Context) (head remediation.Link, err error) {
	err = v.read(ctx, func(r *rows) error {
		if head = r.newest(); head.Seq == 0 {
			return fmt.Errorf("%w: no run has been linked yet", remediation.ErrNotFound)
		}
		return nil
	})
	return head, err
}

// Anchored tells where a head that was written elsewhere is found in the records; remediation.ErrNotFound when it is not.
func (v *View) Anchored(ctx context.Context, a remediation.Anchor) (where string, err error) {
	err = v.read(ctx, func(r *rows) error {
		at := slices.IndexFunc(r.chain, func(l remediation.Link) bool {
			return a.Seq != 0 && l.Seq == a.Seq && l.Hash == a.Hash || a.Seq == 0 && l.Head == a.Hash
		})
		if at >= 0 {
			where = fmt.Sprintf("link %d", r.chain[at].Seq)
			return nil
		}
		for run, entries := range r.journal {
			if a.Seq == 0 && slices.ContainsFunc(entries, func(e remediation.Entry) bool { return e.Hash == a.Hash }) {
				where = "run " + run
				return nil
			}
		}
		return fmt.Errorf("looking for the anchor %s: %w", a, remediation.ErrNotFound)
	})
	return where, err
}

// Audit verifies the records. They are one part: it begins at "".
func (v *View) Audit(ctx context.Context, place string) (out remediation.Audit, err error) {
	err = v.read(ctx, func(r *rows) error {
		if place != "" {
			return fmt.Errorf("%w: the records have no place %.40q", remediation.ErrNotFound, place)
		}
		out = r.audit(v.now())
		return nil
	})
	return out, err
}

func (r *rows) audit(asOf time.Time) remediation.Audit {
	out := remediation.Audit{Findings: []remediation.Finding{}, Links: len(r.chain)}
	links := map[string]*remediation.Link{}
	for i := range r.chain {
		links[r.chain[i].Run] = &r.chain[i]
		if !r.chain[i].PrunedAt.IsZero() {
			out.Pruned++
		}
	}
	if at := remediation.VerifyChain(remediation.Link{}, r.chain); at >= 0 {
		place := fmt.Sprintf("link %d", r.chain[at].Seq)
		out.Findings = append(out.Findings, remediation.Finding{Place: place, What: "the link does not fit the fleet's chain"})
	}
	for _, id := range r.recorded() {
		rec := remediation.Records{ID: id, Link: links[id], Entries: r.journal[id], Steps: r.steps[id]}
		if one, there := r.runs[id]; there {
			rec.Run = &one.Run
			countRun(&out, rec)
		}
		out.Entries += len(rec.Entries)
		out.Findings = append(out.Findings, rec.Judge(asOf)...)
		out.Findings = append(out.Findings, r.judgeDebits(id)...)
	}
	return out
}

// recorded are the runs of which anything is stored.
func (r *rows) recorded() []string {
	ids := map[string]bool{}
	for _, l := range r.chain {
		ids[l.Run] = true
	}
	for _, all := range []func(func(string) bool){maps.Keys(r.runs), maps.Keys(r.journal), maps.Keys(r.steps)} {
		for id := range all {
			ids[id] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

func countRun(out *remediation.Audit, rec remediation.Records) {
	out.Runs++
	switch {
	case rec.Run.State != remediation.Done:
		out.Open++
	case rec.Link == nil:
		out.Unlinked++
	}
}

// judgeDebits finds debits of acts that the journal knows nothing of.
func (r *rows) judgeDebits(id string) []remediation.Finding {
	debits, intents := 0, 0
	for _, a := range r.acts {
		if a.Run == id {
			debits++
		}
	}
	for _, e := range r.journal[id] {
		if e.Kind == remediation.EntryIntent {
			intents++
		}
	}
	if debits <= intents {
		return nil
	}
	return []remediation.Finding{{Place: "run " + id, What: "more acts were debited than intents recorded"}}
}
