package remediation

import (
	"fmt"
	"time"
)

// Finding is one place where the stored records do not hold.
type Finding struct {
	Place string `json:"place"` // "run ID", "run ID, entry N", "link N"
	What  string `json:"what"`
}

// Audit is what a part of the records was found to be. Parts are read one after the other, so that no audit holds more than one of them.
type Audit struct {
	Runs     int       `json:"runs"`     // whose journals were verified
	Open     int       `json:"open"`     // of these, the runs that go on
	Unlinked int       `json:"unlinked"` // of these, the runs that have ended and are about to be linked
	Entries  int       `json:"entries"`
	Links    int       `json:"links"`
	Pruned   int       `json:"pruned"` // of the links, those whose run retention has dropped
	Findings []Finding `json:"findings"`
	Next     string    `json:"next"` // where the next part begins; empty at the end
}

// Records are what is stored of one run, all of one moment.
type Records struct {
	ID      string
	Run     *Run  // nil when there is no such row
	Link    *Link // nil when no link names the run
	Entries []Entry
	Steps   []Step
}

// LinkWithin is how long a finished run may wait for its link before that is a finding.
const LinkWithin = 10 * time.Minute

// Judge compares a run's records with each other: its row, its journal, its acts and its link. asOf is until when the records reach.
func (r Records) Judge(asOf time.Time) []Finding {
	if r.Run == nil {
		return r.judgeGone()
	}
	out := r.judgeJournal()
	out = append(out, r.judgeLink(asOf)...)
	return append(out, r.judgeActs()...)
}

func (r Records) find(what string, args ...any) []Finding {
	return []Finding{{Place: "run " + r.ID, What: fmt.Sprintf(what, args...)}}
}

// judgeGone judges what is left of a run that has no row: its link alone, if it was kept for long enough.
func (r Records) judgeGone() []Finding {
	switch {
	case len(r.Entries)+len(r.Steps) > 0:
		return r.find("%d journal entries and %d acts belong to no run", len(r.Entries), len(r.Steps))
	case r.Link.PrunedAt.IsZero():
		return r.find("it was linked and is gone, and retention did not drop it")
	case r.Link.PrunedAt.Sub(r.Link.At) < LeastKept:
		return r.find("it is said to have been dropped after %s, and retention keeps a run for %s at least", r.Link.PrunedAt.Sub(r.Link.At), LeastKept)
	default:
		return nil
	}
}

func (r Records) judgeJournal() []Finding {
	if i := VerifyJournal(r.Entries); i >= 0 {
		return []Finding{{Place: fmt.Sprintf("run %s, entry %d", r.ID, i), What: "the entry does not fit the chain of its run"}}
	}
	head := ""
	if n := len(r.Entries); n > 0 {
		head = r.Entries[n-1].Hash
	}
	if len(r.Entries) != r.Run.Entries || head != r.Run.Head {
		return r.find("the journal has %d entries and the head %.12q, the run says %d and %.12q", len(r.Entries), head, r.Run.Entries, r.Run.Head)
	}
	return nil
}

func (r Records) judgeLink(asOf time.Time) []Finding {
	run, link := r.Run, r.Link
	switch {
	case link == nil && run.State == Done && asOf.Sub(run.DoneAt) > LinkWithin:
		return r.find("it ended at %s and is in no link", run.DoneAt.UTC().Format(time.RFC3339))
	case link == nil:
		return nil
	case run.State != Done:
		return r.find("it goes on, and link %d says that it has ended", link.Seq)
	case !link.PrunedAt.IsZero():
		return r.find("link %d says that retention has dropped it, and it is there", link.Seq)
	case link.Entries != run.Entries || link.Head != run.Head:
		return r.find("link %d says %d entries and the head %.12q, the run says %d and %.12q", link.Seq, link.Entries, link.Head, run.Entries, run.Head)
	default:
		return nil
	}
}

// judgeActs: no record, no act. The n-th act of a run was recorded by its n-th intent, before the call.
func (r Records) judgeActs() []Finding {
	var intents []Entry
	for _, e := range r.Entries {
		switch {
		case e.Kind == EntryIntent:
			intents = append(intents, e)
		case e.Kind == EntryApplied && len(intents) == 0:
			return []Finding{{Place: fmt.Sprintf("run %s, entry %d", r.ID, e.Seq), What: "a call is recorded, and no intent before it"}}
		}
	}
	for i, s := range r.Steps {
		if i >= len(intents) || intents[i].At.UnixMicro() > s.StartedAt.UnixMicro() {
			return r.find("act %d (%s) has no intent that was recorded before it", s.Seq, s.Kind)
		}
	}
	if r.Run.Acted && len(intents) == 0 {
		return r.find("it says that it acted, and no intent was recorded")
	}
	return nil
}
