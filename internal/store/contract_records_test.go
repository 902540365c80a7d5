package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// records is what the contract asks of a store about its own records.
type records interface {
	LinkDone(ctx context.Context, now time.Time) (int, error)
	Retain(ctx context.Context, r remediation.Retention, now time.Time) (bool, error)
	Audit(ctx context.Context, place string) (remediation.Audit, error)
	Head(ctx context.Context) (remediation.Link, error)
	Anchored(ctx context.Context, a remediation.Anchor) (string, error)
}

// recordsContract is the part of the contract that is about journal, chain and retention.
func recordsContract() map[string]func(*world) {
	return map[string]func(*world){
		"finished runs are linked":       runsAreLinked,
		"two link at once":               twoLinkAtOnce,
		"anchors are found":              anchorsAreFound,
		"no record, no act":              noRecordNoAct,
		"an audit tells what is wrong":   auditTells,
		"bodies are dropped first":       bodiesAreDropped,
		"old runs are dropped":           oldRunsAreDropped,
		"what is needed is never old":    neededIsKept,
		"acts outlive the budgets":       actsOutliveBudgets,
		"young runs are kept in any way": youngRunsAreKept,
	}
}

// write appends a record to the journal of the commit's run, as the engine does.
func write(c *remediation.Commit, kind, text string) {
	e := remediation.Entry{Run: c.Run.ID, Seq: c.Run.Entries, At: c.Now, Kind: kind, Text: text, Prev: c.Run.Head}
	e.Hash = e.Digest()
	c.Entries = append(c.Entries, e)
	c.Run.Entries, c.Run.Head = c.Run.Entries+1, e.Hash
}

// told is a run that acted on the target, with its records, and has ended.
func (w *world) told(target string) remediation.Run {
	w.t.Helper()
	run := w.born(firing("e-"+newID()), target)
	must(w.t, w.intend(&run, target))
	w.conclude(&run)
	return run
}

// intend records an act.
func (w *world) intend(run *remediation.Run, target string) error {
	return w.commit(run, func(c *remediation.Commit) {
		c.Intent = w.intent(*run, "restart", plenty)
		c.Run.Rule, c.Run.Acted, c.Run.Phase = "restart", true, remediation.PhaseApply
		c.Steps = []remediation.Step{{Run: run.ID, Seq: run.Step, Kind: "restart", State: remediation.StepIntent, StartedAt: c.Now}}
		write(c, remediation.EntryIntent, "restart "+target)
	})
}

func (w *world) conclude(run *remediation.Run) {
	w.t.Helper()
	must(w.t, w.commit(run, func(c *remediation.Commit) {
		c.Run.State, c.Run.Phase, c.Run.Outcome, c.Run.DoneAt, c.Unlock = remediation.Done, remediation.PhaseDone, remediation.Fixed, c.Now, true
		if c.Run.Acted {
			write(c, remediation.EntryApplied, "the system accepted")
		}
		write(c, remediation.EntryOutcome, "fixed: it was seen to help")
	}))
}

func (w *world) link(want int) {
	w.t.Helper()
	n, err := w.LinkDone(w.t.Context(), w.clock.now())
	must(w.t, err)
	if n != want {
		w.t.Errorf("%d runs were linked, want %d", n, want)
	}
}

// audited is the whole audit in one.
func (w *world) audited() remediation.Audit { return auditOf(w.t, w) }

func auditOf(t *testing.T, a interface {
	Audit(ctx context.Context, place string) (remediation.Audit, error)
}) remediation.Audit {
	t.Helper()
	var sum remediation.Audit
	for place := ""; ; {
		part, err := a.Audit(t.Context(), place)
		must(t, err)
		sum.Runs, sum.Open, sum.Unlinked = sum.Runs+part.Runs, sum.Open+part.Open, sum.Unlinked+part.Unlinked
		sum.Entries, sum.Links, sum.Pruned = sum.Entries+part.Entries, sum.Links+part.Links, sum.Pruned+part.Pruned
		sum.Findings = append(sum.Findings, part.Findings...)
		if place = part.Next; place == "" {
			return sum
		}
	}
}

// holds fails the test unless the records hold and there are as many of them as said.
func (w *world) recordsHold(want remediation.Audit) {
	w.t.Helper()
	got := w.audited()
	if len(got.Findings) > 0 {
		w.t.Errorf("the records do not hold: %+v", got.Findings)
	}
	got.Findings = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("audited %+v, want %+v", got, want)
	}
}

func runsAreLinked(w *world) {
	if _, err := w.Head(w.t.Context()); !errors.Is(err, remediation.ErrNotFound) {
		w.t.Errorf("the head of no chain: %v", err)
	}
	w.link(0)
	var runs []remediation.Run
	for range 3 {
		runs = append(runs, w.told("api"))
	}
	open := w.born(firing("open"), "web")
	w.recordsHold(remediation.Audit{Runs: 4, Open: 1, Unlinked: 3, Entries: 9})
	w.clock.advance(time.Second)
	w.link(3)
	w.link(0)
	w.reopen()
	head, err := w.Head(w.t.Context())
	must(w.t, err)
	chain := []remediation.Link{}
	for _, run := range runs { // in the order of their ids
		var before remediation.Link
		if n := len(chain); n > 0 {
			before = chain[n-1]
		}
		chain = append(chain, before.Next(run, noon.Add(time.Second)))
	}
	if head != chain[2] || remediation.VerifyChain(remediation.Link{}, chain) != -1 {
		w.t.Errorf("the head is %+v, want %+v", head, chain[2])
	}
	w.clock.advance(lease)
	w.link(0)
	c, err := w.claim(remediation.Hint{Run: open.ID})
	must(w.t, err)
	if c.Fleet != head.Anchor() {
		w.t.Errorf("the claim carries the fleet's head %s, want %s", c.Fleet, head.Anchor())
	}
	w.conclude(&c.Run)
	w.link(1)
	next, err := w.Head(w.t.Context())
	must(w.t, err)
	if next.Seq != 4 || next.Prev != head.Hash || next.Run != open.ID {
		w.t.Errorf("the next link is %+v", next)
	}
}

func twoLinkAtOnce(w *world) {
	for range 5 {
		w.told("api")
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := w.LinkDone(w.t.Context(), w.clock.now()); err != nil {
				w.t.Errorf("linking beside others: %v", err)
			}
		})
	}
	all.Wait()
	_, err := w.LinkDone(w.t.Context(), w.clock.now()) // who was overtaken comes again with the next sweep
	must(w.t, err)
	w.recordsHold(remediation.Audit{Runs: 5, Entries: 15, Links: 5})
}

func anchorsAreFound(w *world) {
	linked := w.told("api")
	w.link(1)
	open := w.born(firing("open"), "web")
	must(w.t, w.intend(&open, "web"))
	head, err := w.Head(w.t.Context())
	must(w.t, err)
	none := head.Anchor()
	none.Seq = 2
	for name, c := range map[string]struct {
		anchor remediation.Anchor
		want   string
	}{
		"of the fleet":           {head.Anchor(), "link 1"},
		"of a linked run":        {remediation.Anchor{Hash: linked.Head}, "link 1"},
		"of a run that goes on":  {remediation.Anchor{Hash: open.Head}, "run " + open.ID},
		"of another link":        {none, ""},
		"of a link, as a run's":  {remediation.Anchor{Hash: head.Hash}, ""},
		"of a journal, as fleet": {remediation.Anchor{Seq: 1, Hash: linked.Head}, ""},
	} {
		where, err := w.Anchored(w.t.Context(), c.anchor)
		if where != c.want || errors.Is(err, remediation.ErrNotFound) != (c.want == "") {
			w.t.Errorf("the head %s: found at %q, %v; want %q", name, where, err, c.want)
		}
	}
}

// A record that cannot be written takes everything with it: lock, debit, step, message and what the run says of itself.
func noRecordNoAct(w *world) {
	run := w.born(firing("e"), "api")
	must(w.t, w.commit(&run, func(c *remediation.Commit) { write(c, remediation.EntryFacts, "first") }))
	before := w.snapshot("restart", "api")
	bad := run
	bad.Entries, bad.Head = 0, "" // its record will want the place of one that is there
	message := remediation.Message{ID: newID(), Run: run.ID, Channel: remediation.Slack, CreatedAt: noon}
	err := w.commit(&bad, func(c *remediation.Commit) {
		c.Intent, c.Run.Acted = w.intent(run, "restart", plenty), true
		c.Steps = []remediation.Step{{Run: run.ID, Kind: "restart", State: remediation.StepIntent, StartedAt: c.Now}}
		c.Messages = []remediation.Message{message}
		write(c, remediation.EntryIntent, "restart api")
	})
	var refusal *guard.Refusal
	if err == nil || errors.As(err, &refusal) || errors.Is(err, remediation.ErrFenced) {
		w.t.Fatalf("an intent whose record cannot be written: %v", err)
	}
	if after := w.snapshot("restart", "api"); len(after.Acts) != len(before.Acts) || after.LockedBy != "" {
		w.t.Errorf("the act without a record left %+v", after)
	}
	if _, _, ok, err := w.Next(w.t.Context(), remediation.Lane{Run: run.ID, Channel: remediation.Slack}, noon, time.Minute); ok || err != nil {
		w.t.Errorf("the act without a record left a message: %v", err)
	}
	must(w.t, w.intend(&run, "api")) // the run is as it was, and may act with a record
	w.recordsHold(remediation.Audit{Runs: 1, Open: 1, Entries: 2})
}

func auditTells(w *world) {
	if _, err := w.Audit(w.t.Context(), "elsewhere:1"); !errors.Is(err, remediation.ErrNotFound) {
		w.t.Errorf("an audit from nowhere: %v", err)
	}
	acted := w.born(firing("acted"), "api")
	must(w.t, w.act(&acted, "restart", plenty)) // and wrote nothing
	late := w.told("web")
	w.clock.advance(remediation.LinkWithin + time.Second)
	want := map[string]bool{"run " + acted.ID: true, "run " + late.ID: true}
	got := w.audited().Findings
	for _, f := range got {
		if !want[f.Place] {
			w.t.Errorf("found %+v", f)
		}
	}
	if len(got) != 3 { // the act, its debit, and the run that was not linked
		w.t.Errorf("found %+v", got)
	}
}
