package notify

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// chain opens so many incidents and merges each into the next; the keys of their alerts are k1, k2 and so on.
func chain(t *testing.T, w *sandbox.World, keys ...string) (ids []string) {
	t.Helper()
	for _, key := range keys {
		ids = append(ids, w.TriggerIncident(sandbox.Incident{Title: key + " is down", Key: key}))
	}
	for i := 1; i < len(ids); i++ {
		if err := w.MergeIncident(ids[i-1], ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

func untouched(t *testing.T, w *sandbox.World, dead ...string) {
	t.Helper()
	for _, id := range dead {
		in := w.Incident(id)
		if last := in.Log[len(in.Log)-1]; len(in.Notes)+len(in.StatusUpdates)+len(in.Requests) > 0 || last.Did != "incident_merged" {
			t.Errorf("the merged incident was touched: notes %+v, log %+v", in.Notes, in.Log)
		}
	}
}

// Whatever is told of an incident that was merged, once or twice, is told on the one that has its alerts now, and nothing on the dead ones.
func TestMergedIncidentsAreLeftAlone(t *testing.T) {
	t.Parallel()
	all := []remediation.Message{
		{ID: "m1", Kind: remediation.Acknowledge}, {ID: "m2", Kind: remediation.Note, Text: "rolled back"},
		{ID: "m3", Kind: remediation.StatusUpdate, Text: "we are at it"}, {ID: "m4", Kind: remediation.Prioritise, Priority: "P1"},
		{ID: "m5", Kind: remediation.AskResponders, Text: "help", People: connect.People{Users: []string{"PUSR002"}}},
		{ID: "m6", Kind: remediation.Escalate},
	}
	for name, keys := range map[string][]string{"once": {"k1", "k2"}, "twice": {"k1", "k2", "k3"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, set := world(t)
			ids := chain(t, w, keys...)
			messages := slices.Clone(all)
			for i := range messages {
				messages[i].IncidentID = ids[0]
			}
			s := newStand(set, messages...)
			s.finish(t, lane, 5)
			dead, last := ids[:len(ids)-1], ids[len(ids)-1]
			untouched(t, w, dead...)
			in := w.Incident(last)
			did := func(what string) bool {
				return slices.ContainsFunc(in.Log, func(s sandbox.IncidentStep) bool { return s.Did == what })
			}
			if marked(in.Notes, "m2") != 1 || marked(in.StatusUpdates, "m3") != 1 || in.Priority != "P1" || len(in.Requests) != 1 ||
				!did("incident_acknowledged") || !did("incident_delegated") { // to its policy again: the robot that has it is on no level
				t.Errorf("the surviving incident is %+v", in)
			}
			for _, m := range s.all {
				if m.State != remediation.MessageSent || m.RemoteID != last {
					t.Errorf("%s is %s on %q: %s", m.ID, m.State, m.RemoteID, m.Error)
				}
			}
		})
	}
}

// mergedByHand merges an incident into one that a person has opened, which has no alert of its own.
func mergedByHand(t *testing.T, w *sandbox.World) (ids []string) {
	t.Helper()
	ids = append(chain(t, w, "k1"), w.HumanOpens("people are at it"))
	if err := w.MergeIncident(ids[0], ids[1]); err != nil {
		t.Fatal(err)
	}
	return ids
}

// A surviving incident is resolved when all that was merged into it is well, and no sooner.
func TestMergedIncidentIsResolvedWhole(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		recovers bool
		others   int
		byPerson bool
		want     string
	}{
		"opened by a person":       {byPerson: true, want: "triggered"},
		"all is well":              {recovers: true, want: "resolved"},
		"its own alert still open": {want: "triggered"},
		"another run is not well":  {recovers: true, others: 1, want: "triggered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, set := world(t)
			var ids []string
			if c.byPerson {
				ids = mergedByHand(t, w)
			} else {
				ids = chain(t, w, "k1", "k2")
			}
			if c.recovers {
				if err := w.ResolveAlert(ids[1], "k2"); err != nil {
					t.Fatal(err)
				}
			}
			s := newStand(set, remediation.Message{ID: "m1", Kind: remediation.Resolve, IncidentID: ids[0], IncidentKey: "k1", Text: "fixed"})
			s.others = c.others
			s.finish(t, lane, 3)
			untouched(t, w, ids[0])
			in := w.Incident(ids[1])
			if in.Status != c.want || (in.Status == "resolved") == (marked(in.Notes, "m1-why") == 1) {
				t.Errorf("the surviving incident is %s with notes %+v", in.Status, in.Notes)
			}
			if !slices.Equal(s.asked, ids[:len(s.asked)]) || len(s.asked) == 0 {
				t.Errorf("other runs were asked for of %v, of %v there are some", s.asked, ids)
			}
		})
	}
}

// A note whose answer was lost, on an incident that is merged before the next attempt, is not written twice.
func TestMergedWhileInDoubt(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	first := w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k1"})
	second := w.TriggerIncident(sandbox.Incident{Title: "db down", Key: "k2"})
	w.SetPagerDuty(sandbox.Fault{Path: "/incidents/", Method: "POST", Status: 500, ApplyThenFail: true, Count: 1})
	s := newStand(set, remediation.Message{ID: "m1", Kind: remediation.Note, IncidentID: first, Text: "rolled back"})
	s.deliver(t, lane)
	if err := w.MergeIncident(first, second); err != nil {
		t.Fatal(err)
	}
	s.wake()
	s.finish(t, lane, 3)
	if n := marked(w.Incident(first).Notes, "m1") + marked(w.Incident(second).Notes, "m1"); n != 1 {
		t.Errorf("the note was written %d times", n)
	}
	if m := s.message("m1"); m.State != remediation.MessageSent || m.RemoteID != second {
		t.Errorf("the message is %+v", m)
	}
}

// merging merges the incident just before a call for a human reaches it.
type merging struct {
	*connect.PagerDuty
	merge func()
}

func (m *merging) Escalate(ctx context.Context, id string) error {
	if m.merge != nil {
		m.merge()
		m.merge = nil
	}
	return m.PagerDuty.Escalate(ctx, id)
}

// A merge in the middle of a call for a human calls them all the same.
func TestMergedInTheMiddleOfACall(t *testing.T) {
	t.Parallel()
	w, set := world(t)
	first := w.TriggerIncident(sandbox.Incident{Title: "api down", Key: "k1"})
	second := w.TriggerIncident(sandbox.Incident{Title: "db down", Key: "k2"})
	pd, err := connect.Get[*connect.PagerDuty](set, "pagerduty")
	if err != nil {
		t.Fatal(err)
	}
	set["pagerduty"] = &merging{PagerDuty: pd, merge: func() { _ = w.MergeIncident(first, second) }}
	s := newStand(set, remediation.Message{ID: "m1", Kind: remediation.Escalate, IncidentID: first})
	s.all[0].CreatedAt = time.Now()
	s.finish(t, lane, 3)
	untouched(t, w, first)
	if in, m := w.Incident(second), s.message("m1"); in.Level != 2 || m.State != remediation.MessageSent || m.RemoteID != second {
		t.Errorf("the surviving incident is on level %d, the message %+v", in.Level, m)
	}
}
