package torture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// The checker must bite: each of these forges one thing in evidence that is otherwise without fault.

var forgedAt = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// second is a time of the forged night.
func second(n float64) time.Time { return forgedAt.Add(time.Duration(n * float64(time.Second))) }

// forged is a night with two rollbacks, one after the other on one service, and a delivery of no concern.
func forged() *evidence {
	e := &evidence{
		Outages: map[string]outage{
			"o-1": {ID: "o-1", Service: "svc", Story: "bad deploy", Heals: true, Touches: true},
			"o-2": {ID: "o-2", Service: "svc", Story: "bad deploy", Heals: true, Touches: true, Incident: "Q2"},
		},
		Events: map[string]remediation.EventState{"e-1": remediation.EventMatched, "e-2": remediation.EventMatched, "e-noise": remediation.EventMatched},
		Runs:   map[string]remediation.Run{}, Steps: map[string][]remediation.Step{}, Journal: map[string][]remediation.Entry{},
	}
	alerts := []about{{Name: alertDeploy, Target: "svc", Outage: "o-1", Firing: true}}
	e.Sent = []receipt{
		{delivery: delivery{Kind: kindNoise}, Status: 202, Event: "e-noise"},
		{delivery: delivery{Kind: kindOutage, Alerts: alerts}, Status: 202, Event: "e-1", Runs: []string{"r1"}},
	}
	e.ledger(sandbox.Entry{System: "pagerduty", Verb: "webhook_delivered", Resource: "Q2", Detail: map[string]any{"event_type": "incident.triggered"}}, 0)
	e.night("r1", "e-1", "o-1", 10)
	e.night("r2", "e-2", "o-2", 20)
	return e
}

// ledger appends an entry.
func (e *evidence) ledger(entry sandbox.Entry, at float64) {
	entry.Seq, entry.Time = len(e.Ledger)+1, second(at)
	e.Ledger = append(e.Ledger, entry)
}

// night is one rollback that helped: decided, recorded, made, read back, verified and told.
func (e *evidence) night(run, event, name string, at float64) {
	e.Rulings = append(e.Rulings,
		remediation.Ruling{Event: event, Seq: 0, Run: run, Rule: "roll-back", Target: "svc", Verdict: remediation.Chosen},
		remediation.Ruling{Event: event, Seq: 1, Run: run, Rule: "call-a-human", Target: "svc", Verdict: remediation.Shadowed})
	operation := run + "-0-1"
	e.Steps[run] = []remediation.Step{{Run: run, Kind: "cloud_run.rollback", Operation: operation, State: remediation.StepApplied, StartedAt: second(at), EndedAt: second(at + 2)}}
	e.record(run, at, remediation.EntryIntent, "route all traffic")
	e.mutate(operation, "svc-old", at+1)
	e.record(run, at+2, remediation.EntryObserved, "read back as done")
	e.record(run, at+4, remediation.EntryOutcome, "fixed: verify held")
	head := e.Journal[run][2].Hash
	r := remediation.Run{
		ID: run, Origin: remediation.ByAlert, Event: event, Target: "svc", State: remediation.Done, Phase: remediation.PhaseDone,
		Outcome: remediation.Fixed, Head: head, Entries: 3, DoneAt: second(at + 4),
	}
	r.Alert.Labels = map[string]string{"outage": name}
	e.Runs[run] = r
	e.message(run, remediation.Acknowledge, run+"-0")
	e.message(run, remediation.Note, run+"-1")
	e.message(run, remediation.Post, run+"-2")
	e.ledger(sandbox.Entry{System: "pagerduty", Verb: "incident_acknowledged", Resource: "Q-" + run, By: bot}, at+1)
	e.ledger(sandbox.Entry{System: "pagerduty", Verb: "note_added", Resource: "Q-" + run, By: bot, Detail: map[string]any{"content": forgedNote(run, head)}}, at+5)
	e.ledger(sandbox.Entry{System: "slack", Verb: "message_posted", Resource: "CINCIDENTS", By: "U", Detail: map[string]any{
		"metadata": fmt.Sprintf(`{"event_payload":{"marker":%q}}`, run+"-2"),
	}}, at+5)
}

func (e *evidence) mutate(operation, to string, at float64) {
	e.ledger(sandbox.Entry{System: "cloud_run", Verb: "update_service", Resource: "svc", By: "remediator@mixillo", Detail: map[string]any{
		"changed": []any{"traffic", "annotations"}, "traffic_after": []any{to + "=100"},
		"annotations_after": map[string]any{operationMark: operation},
	}}, at)
}

func (e *evidence) record(run string, at float64, kind, text string) {
	entry := remediation.Entry{Run: run, Seq: len(e.Journal[run]), At: second(at), Kind: kind, Text: text}
	if entry.Seq > 0 {
		entry.Prev = e.Journal[run][entry.Seq-1].Hash
	}
	entry.Hash = entry.Digest()
	e.Journal[run] = append(e.Journal[run], entry)
}

func (e *evidence) message(run string, kind remediation.MessageKind, id string) {
	e.Outbox = append(e.Outbox, remediation.Message{ID: id, Run: run, Kind: kind, State: remediation.MessageSent, RemoteID: "Q-" + run})
}

func forgedNote(run, head string) string {
	return "remediator: FIXED (verified): verify held.\nrule roll-back, target svc, mode auto\n\nWhat was done\n" +
		"- 03:00:10Z route all traffic: done, read back at 03:00:12Z\n    allocation: latest -> pinned\n    serving: svc-bad 100 % -> svc-old 100 %\n" +
		"\nHow it was verified\n- verify held\n\njournal head " + head + "\n\nremediator: run " + run + " · message " + run + "-1"
}

// alter changes the ledger's entries of a verb.
func (e *evidence) alter(verb string, f func(*sandbox.Entry)) {
	for i := range e.Ledger {
		if e.Ledger[i].Verb == verb {
			f(&e.Ledger[i])
			return
		}
	}
}

func (e *evidence) renote(from, to string) {
	e.alter("note_added", func(n *sandbox.Entry) {
		n.Detail = map[string]any{"content": strings.Replace(detail(*n, "content"), from, to, 1)}
	})
}

func (e *evidence) rerun(id string, f func(*remediation.Run)) {
	run := e.Runs[id]
	f(&run)
	e.Runs[id] = run
}

type forgery struct {
	name  string
	forge func(e *evidence)
	want  fault
}

func forgeries() []forgery {
	return slices.Concat(lostForgeries(), twiceForgeries(), otherForgeries())
}

func lostForgeries() []forgery {
	return []forgery{
		{"an event that was answered with 2xx is gone", func(e *evidence) { delete(e.Events, "e-noise") }, faultLost},
		{"an answer without an event", func(e *evidence) { e.Sent[0].Event = "" }, faultLost},
		{"an event still waits", func(e *evidence) { e.Events["e-noise"] = remediation.EventPending }, faultLost},
		{"a promised run is gone", func(e *evidence) { delete(e.Runs, "r1") }, faultLost},
		{"a good delivery was turned away", func(e *evidence) { e.Sent[0].Status = 400 }, faultLost},
		{"a rule has no verdict", func(e *evidence) { e.Rulings = e.Rulings[1:] }, faultLost},
		{"a rule has two verdicts", func(e *evidence) { e.Rulings = append(e.Rulings, e.Rulings[0]) }, faultLost},
		{"a verdict for a delivery of no concern", func(e *evidence) {
			e.Rulings = append(e.Rulings, remediation.Ruling{Event: "e-noise", Rule: "restart", Target: "svc", Verdict: remediation.IfFalse})
		}, faultLost},
		{"a verdict is none yet", func(e *evidence) { e.Rulings[1].Verdict = remediation.Candidate }, faultLost},
		{"a chosen rule came to nothing", func(e *evidence) { e.rerun("r1", func(r *remediation.Run) { r.Outcome = "" }) }, faultLost},
		{"a run never ended", func(e *evidence) {
			e.rerun("r2", func(r *remediation.Run) { r.State, r.Phase = remediation.Waiting, remediation.PhaseVerify })
		}, faultLost},
		{"an incident that was taken has no run", func(e *evidence) { delete(e.Runs, "r2") }, faultLost},
		{"a message was never told", func(e *evidence) { e.Outbox[1].State = remediation.MessageQueued }, faultLost},
		{"a note counts as told and is not there", func(e *evidence) {
			e.Ledger = slices.DeleteFunc(e.Ledger, func(n sandbox.Entry) bool { return strings.Contains(detail(n, "content"), "message r1-1") })
		}, faultLost},
	}
}

func twiceForgeries() []forgery {
	return []forgery{
		{"an operation was made twice", func(e *evidence) { e.mutate("r1-0-1", "svc-old", 11.5) }, faultTwice},
		{"the same was done under a second id", func(e *evidence) {
			step := e.Steps["r1"][0]
			step.Seq, step.Operation, step.StartedAt = 1, "r1-1-2", second(11.2)
			e.Steps["r1"] = append(e.Steps["r1"], step)
			e.mutate("r1-1-2", "svc-old", 11.5)
		}, faultTwice},
		{"a call was made again that had taken effect", func(e *evidence) {
			e.ledger(sandbox.Entry{System: "cloud_run", Verb: "update_service_refused", Resource: "svc"}, 12)
		}, faultTwice},
		{"a run ended twice", func(e *evidence) {
			e.record("r1", 15, remediation.EntryOutcome, "fixed: again")
			e.rerun("r1", func(r *remediation.Run) { r.Entries, r.Head = 4, e.Journal["r1"][3].Hash })
		}, faultTwice},
		{"an outage has two incidents", func(e *evidence) {
			for _, id := range []string{"Q8", "Q9"} {
				e.ledger(sandbox.Entry{System: "pagerduty", Verb: "incident_created", Resource: id, Detail: map[string]any{"incident_key": "k"}}, 1)
			}
		}, faultTwice},
		{"a note was left twice", func(e *evidence) { e.again("note_added") }, faultTwice},
		{"a post was left twice", func(e *evidence) { e.again("message_posted") }, faultTwice},
		{"an incident was acknowledged twice", func(e *evidence) { e.again("incident_acknowledged") }, faultTwice},
	}
}

// again repeats the first entry of a verb.
func (e *evidence) again(verb string) {
	i := slices.IndexFunc(e.Ledger, func(n sandbox.Entry) bool { return n.Verb == verb })
	e.ledger(e.Ledger[i], 40)
}

func otherForgeries() []forgery {
	return []forgery{
		{"two runs acted at once", func(e *evidence) { e.rerun("r1", func(r *remediation.Run) { r.DoneAt = second(21) }) }, faultOverlap},
		{"a call landed after its run had ended", func(e *evidence) {
			e.alter("update_service", func(m *sandbox.Entry) { m.Time = second(18) })
		}, faultOverlap},
		{"no step was recorded", func(e *evidence) { delete(e.Steps, "r1") }, faultIntent},
		{"the step was recorded after the call", func(e *evidence) { e.Steps["r1"][0].StartedAt = second(13) }, faultIntent},
		{"the journal has no intent", func(e *evidence) { e.Journal["r1"][0].Kind = remediation.EntryPlanned }, faultIntent},
		{"the change bears no id", func(e *evidence) {
			e.alter("update_service", func(m *sandbox.Entry) { delete(m.Detail, "annotations_after") })
		}, faultIntent},
		{"the note says another outcome", func(e *evidence) { e.renote("FIXED (verified)", "NOT FIXED") }, faultNote},
		{"the note says that nothing was changed", func(e *evidence) { e.renote("(verified)", "(nothing was changed)") }, faultNote},
		{"the note tells an act that was not made", func(e *evidence) {
			e.renote("\n- 03:00:10Z", "\n- 03:00:09Z something else: done, read back at 03:00:09Z\n- 03:00:10Z")
		}, faultNote},
		{"the note keeps quiet about an act", func(e *evidence) { e.renote("done, read back at", "not done: ") }, faultNote},
		{"the note names another revision", func(e *evidence) { e.renote("svc-old 100", "svc-older 100") }, faultNote},
		{"the note names another head", func(e *evidence) { e.renote("journal head ", "journal head 00") }, faultNote},
		{"the note is of another target", func(e *evidence) { e.renote("target svc", "target web") }, faultNote},
		{"fixed, where nothing heals", func(e *evidence) {
			o := e.Outages["o-1"]
			o.Heals = false
			e.Outages["o-1"] = o
		}, faultNote},
		{"a record was altered", func(e *evidence) { e.Journal["r1"][1].Text = "all is well" }, faultChain},
		{"a record is gone from the middle", func(e *evidence) { e.Journal["r1"] = slices.Delete(e.Journal["r1"], 1, 2) }, faultChain},
		{"the last record is gone", func(e *evidence) { e.Journal["r1"] = e.Journal["r1"][:2] }, faultChain},
		{"the whole journal is gone", func(e *evidence) { delete(e.Journal, "r1") }, faultChain},
		{"it acted where no rule may", func(e *evidence) {
			o := e.Outages["o-1"]
			o.Touches = false
			e.Outages["o-1"] = o
		}, faultOther},
		{"it changed another service", func(e *evidence) { e.alter("update_service", func(m *sandbox.Entry) { m.Resource = "web" }) }, faultOther},
		{"a run without an end in its journal", func(e *evidence) {
			e.Journal["r1"] = e.Journal["r1"][:2]
			e.rerun("r1", func(r *remediation.Run) { r.Entries, r.Head = 2, e.Journal["r1"][1].Hash })
		}, faultOther},
		{"a message was given up", func(e *evidence) { e.Outbox[0].State = remediation.MessageDead }, faultOther},
	}
}

func TestTheCheckerBites(t *testing.T) {
	t.Parallel()
	for _, f := range forgeries() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			e := forged()
			f.forge(e)
			found := verdictOf(*e)
			if !slices.ContainsFunc(found, func(one finding) bool { return one.Fault == f.want }) {
				t.Errorf("not found; found was %v", found)
			}
		})
	}
}

func TestTheCheckerFindsNothingInAGoodNight(t *testing.T) {
	t.Parallel()
	for _, f := range verdictOf(*forged()) {
		t.Error(f)
	}
}
