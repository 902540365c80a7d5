package store_test

import (
	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
)

// Drills are related to drills alone, and end no others: whatever keys they are given.
func drillsApart(w *world) {
	a := firing("e")
	a.IncidentKey, a.IncidentID = "key", "Q1"
	drill := func(a alert.Alert) remediation.Accepted {
		w.t.Helper()
		p := proposal(a, "api")
		p.Run.Origin, p.Run.Drill = remediation.ByDrill, "d"
		got, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Proposals: []remediation.Proposal{p}})
		must(w.t, err)
		return got
	}
	pretended := drill(a)
	earnest := w.propose(a, "api")
	if len(pretended.Runs) != 1 || len(earnest.Runs) != 1 {
		w.t.Fatalf("a drill and an alert of the same keys: %+v, %+v", pretended, earnest)
	}
	if again := drill(a); len(again.Runs) != 0 || again.Rulings[0].Run != pretended.Runs[0].Run {
		w.t.Errorf("a drill's repeat does not join it: %+v", again)
	}
	if again := w.propose(a, "api"); len(again.Runs) != 0 || again.Rulings[0].Run != earnest.Runs[0].Run {
		w.t.Errorf("an alert's repeat does not join its run: %+v", again)
	}
	if n, err := w.OtherRuns(w.t.Context(), remediation.Message{Run: earnest.Runs[0].Run}); err != nil || n != 0 {
		w.t.Errorf("a drill is another run of the incident: %d, %v", n, err)
	}
	ended := func(id string) bool {
		w.t.Helper()
		w.clock.advance(2 * lease)
		c, err := w.claim(remediation.Hint{Run: id})
		must(w.t, err)
		return !c.Episode.EndedAt.IsZero()
	}
	end := remediation.Resolution{Source: a.Source, Episode: "e", IncidentKey: "key", IncidentID: "Q1", At: noon.Add(1), Drill: true}
	for _, isDrill := range []bool{true, false} {
		end.Drill = isDrill
		_, err := w.Accept(w.t.Context(), remediation.Acceptance{Event: newEvent(), Resolved: []remediation.Resolution{end}})
		must(w.t, err)
		if !ended(pretended.Runs[0].Run) || ended(earnest.Runs[0].Run) == isDrill {
			w.t.Errorf("after the end of a drill (%t): the drill has ended %t, the alert %t", isDrill, ended(pretended.Runs[0].Run), ended(earnest.Runs[0].Run))
		}
	}
}
