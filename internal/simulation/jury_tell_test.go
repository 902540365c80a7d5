package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// judgeAck: a robot silences the pager only when it is about to act.
func (s *sim) judgeAck(in *incident) {
	acts := false
	for _, rec := range s.records() {
		a := rec.Run.Alert
		acts = acts || rec.Run.Acted && (a.IncidentID == in.id || a.IncidentKey == in.key)
	}
	s.holds(acts, "G14", "%s is acknowledged, and no run of it has acted", in.id)
}

// judgeResolve: an incident is ended only when its rule says so and its senders have.
func (s *sim) judgeResolve(in *incident) {
	if in.status == connect.StatusResolved {
		return // it was over already
	}
	asked, fixed := false, false
	for _, rec := range s.records() {
		a := rec.Run.Alert
		l, ok := s.codeByHash(rec.Run.RulesHash).law(rec.Run.Rule)
		if ok && l.resolve && rec.Run.Outcome == remediation.Fixed && (a.IncidentID == in.id || a.IncidentKey == in.key) {
			asked, fixed = true, l.target != "" // a rule of one target speaks for all alerts that it matches
		}
	}
	s.holds(asked, "G14", "%s is resolved by us, and no run of a rule that may has fixed it", in.id)
	s.holds(in.stranger == "", "G14", "%s is resolved by us while %s of it is open", in.id, in.stranger)
	for _, sig := range in.signals {
		recent := sig.episode != nil && s.clock()-sig.episode.began < 30*time.Second
		unheard := sig.episode != nil && len(sig.episode.accepted) == 0       // nobody was told of this firing
		untold := in.outage.leaves && !slices.Contains(in.outage.roads, "am") // its sender will not say the end
		s.holds(!sig.open || recent || fixed || unheard || untold, "G14", "%s is resolved by us while %s still fires", in.id, sig.place.name)
	}
}

// nothingChanged are the outcomes whose words claim it.
var nothingChanged = map[remediation.Outcome]bool{remediation.RefusedRun: true, remediation.Observed: true, remediation.ResolvedItself: true}

// judgeNote holds what is told against what happened.
func (s *sim) judgeNote(in *incident, n note) {
	lines := strings.Split(strings.TrimRight(n.text, "\n"), "\n")
	marker := lines[len(lines)-1]
	for _, former := range in.notes {
		s.holds(!strings.HasSuffix(former.text, marker), "G2", "a note is on %s twice: %s", in.id, marker)
	}
	run, _, _ := strings.Cut(strings.TrimPrefix(marker, "remediator: run "), " ")
	rec, ok := s.record(run)
	if !ok || !strings.Contains(n.text, "\nWhat was done\n") {
		return // a reminder, or an event that could not be read
	}
	s.reached.checks["G14"] = true
	s.judgeHeadline(lines[0], rec.Run)
	s.judgeDone(n.text, rec.Run)
	if !strings.Contains(n.text, "journal head "+rec.Run.Head) && rec.Run.State == remediation.Done {
		s.violate("G20", "the note of run %s does not name the head of its journal", run)
	}
}

func (s *sim) judgeHeadline(line string, r remediation.Run) {
	words := map[remediation.Outcome]string{
		remediation.Fixed: "FIXED", remediation.NotFixed: "NOT FIXED", remediation.Inconclusive: "INCONCLUSIVE", remediation.RefusedRun: "REFUSED",
		remediation.Undone: "UNDONE", remediation.NeedsHuman: "NEEDS A HUMAN", remediation.Observed: "OBSERVED",
		remediation.ResolvedItself: "RESOLVED BY ITSELF",
	}[r.Outcome]
	s.holds(strings.HasPrefix(line, "remediator: "+words), "G14", "run %s ended as %s, and the note says %q", r.ID, r.Outcome, line)
}

// judgeDone compares the lines of a note that say what was done with the ledger.
func (s *sim) judgeDone(text string, r remediation.Run) {
	_, after, _ := strings.Cut(text, "\nWhat was done\n")
	did, _, _ := strings.Cut(after, "\n\n")
	told := map[string]int{}
	for _, line := range strings.Split(did, "\n") {
		if summary, done := strings.CutPrefix(line, "- "); done && strings.Contains(line, ": done, read back at") {
			_, summary, _ = strings.Cut(summary, " ")
			summary, _, _ = strings.Cut(summary, ": done")
			told[summary]++
		}
	}
	really := map[string]int{}
	for _, c := range s.calls {
		if c.run == r.ID && c.took() && !c.failed {
			really[fmt.Sprintf("set %s from %s to %s", c.target, c.from, c.to)]++
		}
	}
	for summary, n := range told {
		s.holds(really[summary] >= n, "G14", "the note of run %s says that it was done to %s, which did not happen", r.ID, summary)
	}
	if strings.Contains(did, "- nothing") {
		s.holds(len(really) == 0, "G14", "the note of run %s says that nothing was done, and it was %v", r.ID, really)
	}
}

// judgeOutcome holds how a run ended against the ledger.
func (s *sim) judgeOutcome(r remediation.Run) {
	var last *call
	landed := 0
	for _, c := range s.calls {
		if c.run == r.ID && c.took() {
			landed++
			last = c
		}
	}
	switch {
	case nothingChanged[r.Outcome]:
		s.holds(landed == 0, "G14", "run %s ended as %s, which says that nothing was changed, and %d of its calls took effect", r.ID, r.Outcome, landed)
	case r.Outcome == remediation.Fixed:
		s.holds(last != nil && !last.failed, "G14", "run %s is fixed, and none of its calls took effect", r.ID)
		if last != nil {
			s.judgeFixed(r, last)
		}
	}
}

// judgeFixed: what is called fixed was seen to be well for as long as the rule asks, and nobody else had a hand in it that we were shown.
func (s *sim) judgeFixed(r remediation.Run, last *call) {
	l, ok := s.codeByHash(r.RulesHash).law(r.Rule)
	if !ok {
		return
	}
	var well, since time.Duration = -1, -1
	for _, look := range s.looks {
		settled := max(look.at-last.done, s.storeTime(look.at).Sub(s.storeTime(last.done))) // by the clock that has gone on further
		if look.void || look.run != r.ID || look.target != r.Target || look.kind != "look.health" || look.at < last.done || settled < l.settle || look.at > s.ended[r.ID] {
			continue
		}
		switch {
		case !look.known || !look.ok:
			since = -1
		case since < 0:
			since = look.at
		}
		well = look.at
	}
	s.holds(since >= 0 && s.storeTime(well).Sub(s.storeTime(since)) >= l.hold-time.Second, "G14", "run %s is fixed, and %s was seen well only from %s to %s", r.ID, r.Target, since, well)
	s.judgeSeen(r, last)
	for _, show := range s.shownAs {
		if show.operation == last.operation && show.progress == "foreign" && show.at <= s.ended[r.ID] {
			s.violate("G10", "run %s is fixed although it was shown another hand", r.ID)
		}
	}
}

// judgeSeen: a hand that was there when the last sample was taken is looked for.
func (s *sim) judgeSeen(r remediation.Run, last *call) {
	e, _ := s.endingOf(r.ID)
	for _, h := range s.hands {
		if h.target == r.Target && !h.platform && h.at > last.landed && h.at < e.stay.began {
			s.holds(s.unread[e.stay], "G10", "run %s is fixed although somebody set %s to %s at %s", r.ID, r.Target, h.to, h.at)
		}
	}
}

// storeTime is what the store's clock showed at a moment.
func (s *sim) storeTime(at time.Duration) time.Time {
	var skew time.Duration
	for _, j := range s.jumps {
		if j.at <= at {
			skew += j.by
		}
	}
	return s.began.Add(at + skew).UTC()
}
