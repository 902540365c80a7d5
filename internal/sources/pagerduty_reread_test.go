package sources

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sandbox"
)

var _ incidentReader = (*connect.PagerDuty)(nil)

// account is a PagerDuty in the sandbox with the real client for it, acting as the bot.
type account struct {
	*sandbox.World
	set connect.Set
}

func newAccount(t *testing.T) account {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	client, err := connect.NewPagerDuty(connect.PagerDutyConfig{
		Endpoint: w.PagerDutyURL(), Insecure: true, From: "remediator-bot@example.com",
		Token: secretFile(t, sandbox.PagerDutyToken), RoutingKey: secretFile(t, sandbox.PagerDutyRoutingKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return account{World: w, set: connect.Set{"pagerduty": client}}
}

func (a account) acknowledge(t *testing.T, id string) {
	t.Helper()
	client, err := connect.Get[*connect.PagerDuty](a.set, "pagerduty")
	if err != nil {
		t.Fatal(err)
	}
	succeed(t, client.Acknowledge(t.Context(), id))
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stands asks by every road: the source by the incident's id, and the connection by id and by key.
func (a account) stands(t *testing.T, id, key string, want Standing) {
	t.Helper()
	byID := alert.Alert{IncidentID: id, IncidentKey: key}
	got, err := pagerDuty(t).Reread(t.Context(), a.set, byID)
	a.compare(t, "the source", want, got, err)
	got, err = PagerDutyStanding(t.Context(), a.set, "pagerduty", byID)
	a.compare(t, "the connection, by id", want, got, err)
	if a.Incident(id).Status == "resolved" {
		want = Standing{Detail: "PagerDuty has no open incident for it"}
	}
	got, err = PagerDutyStanding(t.Context(), a.set, "pagerduty", alert.Alert{IncidentKey: key})
	a.compare(t, "the connection, by key", want, got, err)
}

func (a account) compare(t *testing.T, who string, want, got Standing, err error) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(2*time.Second)); diff != "" || err != nil {
		t.Errorf("%s: %v (-want +got):\n%s", who, err, diff)
	}
}

func TestRereadAsksPagerDuty(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	id := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	a.stands(t, id, "k", Standing{Known: true, Firing: true})
	a.acknowledge(t, id) // by us: no person has it in hand
	a.stands(t, id, "k", Standing{Known: true, Firing: true})
	succeed(t, a.HumanAcknowledges(id))
	a.stands(t, id, "k", Standing{Known: true, Firing: true, AcknowledgedBy: "Ann"})
	succeed(t, a.HumanUnacknowledges(id))
	a.stands(t, id, "k", Standing{Known: true, Firing: true})
	succeed(t, a.HumanAcknowledges(id))
	succeed(t, a.AcknowledgementEnds(id))
	a.stands(t, id, "k", Standing{Known: true, Firing: true})
	succeed(t, a.HumanAcknowledges(id))
	succeed(t, a.HumanResolves(id))
	a.stands(t, id, "k", Standing{Known: true, EndedAt: time.Now(), Detail: "its incident in PagerDuty is resolved"})
}

func TestRereadGoesByTheAlertWhereAnIncidentHoldsSeveral(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	id := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	succeed(t, a.AddAlert(id, sandbox.Alert{Key: "other", Summary: "slow"}))
	a.stands(t, id, "k", Standing{Known: true, Firing: true})
	a.stands(t, id, "other", Standing{Known: true, Firing: true})
	succeed(t, a.ResolveAlert(id, "k"))
	a.stands(t, id, "k", Standing{Known: true, Detail: "it is resolved in PagerDuty, and its incident goes on"})
	a.stands(t, id, "other", Standing{Known: true, Firing: true})
	for key, want := range map[string]Standing{
		"elsewhere": {Known: true, Detail: "its incident in PagerDuty does not hold it any more"},
		"":          {Known: true, Firing: true},
	} {
		got, err := pagerDuty(t).Reread(t.Context(), a.set, alert.Alert{IncidentID: id, IncidentKey: key})
		a.compare(t, "the alert with the key "+key, want, got, err)
	}
}

// A key recurs: the incident that was resolved under it says nothing of the one that is open.
func TestRereadByAKeyThatRecurs(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	first := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	succeed(t, a.HumanAcknowledges(first))
	succeed(t, a.HumanResolves(first))
	second := a.TriggerIncident(sandbox.Incident{Title: "down again", Key: "k"})
	a.stands(t, second, "k", Standing{Known: true, Firing: true})
	got, err := pagerDuty(t).Reread(t.Context(), a.set, alert.Alert{IncidentID: first, IncidentKey: "k"})
	a.compare(t, "the first", Standing{Known: true, EndedAt: time.Now(), Detail: "its incident in PagerDuty is resolved"}, got, err)
}

func TestRereadOfWhatPagerDutyDoesNotKnow(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	for name, of := range map[string]alert.Alert{"neither id nor key": {}, "an unknown key": {IncidentKey: "never seen"}} {
		got, err := pagerDuty(t).Reread(t.Context(), a.set, of)
		a.compare(t, name, Standing{Detail: "PagerDuty has no open incident for it"}, got, err)
	}
	if got, err := pagerDuty(t).Reread(t.Context(), a.set, alert.Alert{IncidentID: "QNONE"}); err == nil {
		t.Errorf("an unknown id: %+v", got)
	}
	if _, err := PagerDutyStanding(t.Context(), a.set, "elsewhere", alert.Alert{IncidentID: "Q1"}); err == nil {
		t.Error("a connection that is not declared was asked")
	}
}

// An acknowledgement may be ours or a person's: while we do not know who we are, it must be neither.
func TestRereadNeedsToKnowUsWhereSomebodyAcknowledged(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	id := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	a.SetPagerDuty(sandbox.Fault{Method: "GET", Path: "/users", Status: 500}) // not spent while nobody has acknowledged
	a.stands(t, id, "k", Standing{Known: true, Firing: true})
	a.acknowledge(t, id)
	p := pagerDuty(t)
	if got, err := p.Reread(t.Context(), a.set, alert.Alert{IncidentID: id}); err == nil || got != (Standing{}) {
		t.Errorf("not knowing who we are: %+v", got)
	}
	got, err := p.Reread(t.Context(), a.set, alert.Alert{IncidentID: id})
	a.compare(t, "once it is known", Standing{Known: true, Firing: true}, got, err)
}

func TestHoldersNamesPeopleOnce(t *testing.T) {
	t.Parallel()
	in := connect.Incident{Acknowledgements: []connect.Acknowledgement{
		{UserID: "PBOT", User: "Ann"}, {UserID: "PANN", User: "Ann"}, {UserID: "PBO", User: "Bo"}, {UserID: "PANN", User: "Ann"},
	}}
	got, err := holders(in, func() (string, error) { return "PBOT", nil })
	if got != "Ann, Bo" || err != nil {
		t.Errorf("held by %q: %v", got, err)
	}
	broken := errors.New("no answer")
	if _, err := holders(in, func() (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// merged is a PagerDuty whose incidents were merged in a chain: Q1 into Q2, and so on up to the last, which holds the alert.
type merged struct {
	last   int
	status string
}

func (m merged) Incident(_ context.Context, id string) (connect.Incident, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(id, "Q"))
	if err != nil || n > m.last {
		return connect.Incident{}, errors.New("there is no incident " + id)
	}
	if n < m.last {
		return connect.Incident{ID: id, Status: connect.StatusResolved, MergedInto: "Q" + strconv.Itoa(n+1)}, nil
	}
	return connect.Incident{ID: id, Status: m.status}, nil
}

func (merged) Close() error { return nil }

func (merged) Me(context.Context) (connect.User, error) { return connect.User{ID: "us"}, nil }

func (merged) FindOpen(context.Context, string) (connect.Incident, bool, error) {
	return connect.Incident{}, false, nil
}

func (m merged) Alerts(_ context.Context, id string) ([]connect.IncidentAlert, error) {
	if id != "Q"+strconv.Itoa(m.last) {
		return nil, nil
	}
	return []connect.IncidentAlert{{AlertKey: "k", Status: connect.StatusTriggered}}, nil
}

// A merge is no recovery: the alert is asked for where it has gone to.
func TestRereadFollowsAMerge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   merged
		want Standing
	}{
		"not merged":         {merged{1, connect.StatusTriggered}, Standing{Known: true, Firing: true}},
		"merged once":        {merged{2, connect.StatusTriggered}, Standing{Known: true, Firing: true}},
		"merged twice":       {merged{3, connect.StatusTriggered}, Standing{Known: true, Firing: true}},
		"and resolved there": {merged{2, connect.StatusResolved}, Standing{Known: true, Detail: "its incident in PagerDuty is resolved"}},
	} {
		got, err := readStanding(t.Context(), c.in, alert.Alert{IncidentID: "Q1", IncidentKey: "k"}, func() (string, error) { return "us", nil })
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	endless := merged{90, connect.StatusTriggered}
	_, err := readStanding(t.Context(), endless, alert.Alert{IncidentID: "Q1"}, func() (string, error) { return "us", nil })
	wantError(t, err, "following the merges of incident Q1")
}
