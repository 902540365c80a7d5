package connect

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// act is one way of changing an incident, beside those of TestPagerDutyActs.
type act struct {
	do   func(context.Context, *PagerDuty) error
	call string // "METHOD /path" of the call that has the effect
	body string
}

func acts() map[string]act {
	change := func(field string) string { return `{"incidents":[{"id":"P1","type":"incident",` + field + `}]}` }
	return map[string]act{
		"reassign to users": {
			func(ctx context.Context, p *PagerDuty) error {
				return p.Reassign(ctx, "P1", People{Users: []string{"U2", "U3"}})
			},
			"PUT /incidents", change(`"assignments":[{"assignee":{"id":"U2","type":"user_reference"}},{"assignee":{"id":"U3","type":"user_reference"}}]`),
		},
		"reassign to a policy": {
			func(ctx context.Context, p *PagerDuty) error {
				return p.Reassign(ctx, "P1", People{Policies: []string{"E2"}})
			},
			"PUT /incidents", change(`"escalation_policy":{"id":"E2","type":"escalation_policy_reference"}`),
		},
		"ask responders": {
			func(ctx context.Context, p *PagerDuty) error {
				return p.RequestResponders(ctx, "P1", People{Users: []string{"U2"}, Policies: []string{"E2"}}, "please help")
			},
			"POST /incidents/P1/responder_requests",
			`{"message":"please help","requester_id":"U9","responder_request_targets":[{"responder_request_target":{"id":"U2","type":"user_reference"}},` +
				`{"responder_request_target":{"id":"E2","type":"escalation_policy_reference"}}]}`,
		},
		"set the priority": {
			func(ctx context.Context, p *PagerDuty) error { return p.SetPriority(ctx, "P1", "p2") },
			"PUT /incidents", change(`"priority":{"id":"PR2","type":"priority_reference"}`),
		},
		"snooze": {
			func(ctx context.Context, p *PagerDuty) error {
				return p.Snooze(ctx, "P1", 90*time.Minute+time.Millisecond)
			},
			"POST /incidents/P1/snooze", `{"duration":5400}`,
		},
	}
}

// around is what may be read on the way to a change.
func around(status string) map[string][]answer {
	return map[string][]answer{
		"GET /incidents/P1": {one(status)},
		"GET /users/me":     {{body: `{"user":{"id":"U9","email":"bot@example.com"}}`}},
		"GET /priorities":   {{body: `{"priorities":[{"id":"PR1","type":"priority","name":"P1"},{"id":"PR2","type":"priority","name":"P2"}],"more":false}`}},
	}
}

func TestPagerDutyPeopleAreCalledOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range acts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := around(StatusTriggered)
			answers[tt.call] = []answer{{status: http.StatusCreated, body: `{"incidents":[],"incident":` + incidentJSON(StatusTriggered) + `,"responder_request":{}}`}}
			a := newAccount(t, answers)
			if err := tt.do(t.Context(), a.PagerDuty); err != nil {
				t.Fatal(err)
			}
			var changed []string
			for _, sent := range a.sent() {
				if !strings.HasPrefix(sent, "GET ") {
					changed = append(changed, sent)
				}
			}
			if diff := cmp.Diff([]string{tt.call + " " + tt.body}, changed); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPagerDutyPeopleInTrouble: whether anybody was called is told truly, and a resolved incident is left alone.
func TestPagerDutyPeopleInTrouble(t *testing.T) {
	t.Parallel()
	for name, tt := range acts() {
		for trouble, c := range map[string]struct {
			answer                                 answer
			ambiguous, permanent, resolved, limits bool
		}{
			"refused":      {answer: fault(400, 2001, "no"), permanent: true},
			"forbidden":    {answer: fault(403, 2010, "no")},
			"no ability":   {answer: fault(402, 2012, "pay"), permanent: true},
			"resolved":     {answer: fault(400, 1001, "already"), permanent: true, resolved: true},
			"rate limited": {answer: answer{status: 429, body: `{"error":{"message":"Rate Limit Exceeded","code":2020}}`}, limits: true},
			"broken":       {answer: answer{status: 502, body: "<html>"}, ambiguous: true},
			"cut off":      {answer: answer{drop: true}, ambiguous: true},
			"garbage":      {answer: answer{body: "<html>"}, ambiguous: true},
		} {
			t.Run(name+"/"+trouble, func(t *testing.T) {
				t.Parallel()
				answers := around(StatusTriggered)
				answers[tt.call] = []answer{c.answer}
				err := tt.do(t.Context(), newAccount(t, answers).PagerDuty)
				if err == nil || IsAmbiguous(err) != c.ambiguous || IsPermanent(err) != c.permanent || errors.Is(err, ErrIncidentResolved) != c.resolved || IsThrottled(err) != c.limits {
					t.Errorf("ambiguous %t, permanent %t, throttled %t: %v", IsAmbiguous(err), IsPermanent(err), IsThrottled(err), err)
				}
			})
		}
		t.Run(name+"/resolved before", func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, around(StatusResolved))
			if err := tt.do(t.Context(), a.PagerDuty); !errors.Is(err, ErrIncidentResolved) || !IsPermanent(err) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff([]string{"GET /incidents/P1"}, a.sent()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPagerDutyLeavesAloneWhatIsSo: a repeat of what has been done calls nobody.
func TestPagerDutyLeavesAloneWhatIsSo(t *testing.T) {
	t.Parallel()
	set := strings.Replace(incidentJSON(StatusTriggered), `"priority":null`, `"priority":{"id":"PR2","type":"priority"}`, 1)
	answers := around(StatusTriggered)
	answers["GET /incidents/P1"] = []answer{{body: `{"incident":` + set + `}`}}
	a := newAccount(t, answers)
	for what, err := range map[string]error{
		"priority": a.SetPriority(t.Context(), "P1", "P2"), "users": a.Reassign(t.Context(), "P1", People{Users: []string{"U1", "U1"}}),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, sent := range a.sent() {
		if !strings.HasPrefix(sent, "GET ") {
			t.Errorf("sent %s", sent)
		}
	}
}

// TestPagerDutyRefusesWhatCannotBeMeant without a change.
func TestPagerDutyRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	a := newAccount(t, around(StatusTriggered))
	both := People{Users: []string{"U1"}, Policies: []string{"E1"}}
	for what, err := range map[string]error{
		"nobody":            a.Reassign(t.Context(), "P1", People{}),
		"users and policy":  a.Reassign(t.Context(), "P1", both),
		"two policies":      a.Reassign(t.Context(), "P1", People{Policies: []string{"E1", "E2"}}),
		"no responder":      a.RequestResponders(t.Context(), "P1", People{}, "help"),
		"no message":        a.RequestResponders(t.Context(), "P1", both, " "),
		"an empty update":   a.StatusUpdate(t.Context(), "P1", "\n"),
		"an empty priority": a.SetPriority(t.Context(), "P1", ""),
		"unknown priority":  a.SetPriority(t.Context(), "P1", "P9"),
		"no time":           a.Snooze(t.Context(), "P1", 999*time.Millisecond),
		"too long":          a.Snooze(t.Context(), "P1", 8*24*time.Hour),
	} {
		if !IsPermanent(err) || IsAmbiguous(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := a.SetPriority(t.Context(), "P1", "P9"); !strings.Contains(err.Error(), `["P1" "P2"]`) {
		t.Errorf("the known priorities are not told: %v", err)
	}
	for _, sent := range a.sent() {
		if !strings.HasPrefix(sent, "GET ") {
			t.Errorf("sent %s", sent)
		}
	}
}
