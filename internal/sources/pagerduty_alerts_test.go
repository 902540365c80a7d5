package sources

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

var _ alertReader = (*connect.PagerDuty)(nil)

// fakePagerDuty stands in for the client.
type fakePagerDuty struct {
	alerts []connect.IncidentAlert
	me     string
	err    error
	asked  []string
	into   string // the incident that Q1 was merged into, which has the alerts then
}

func (f *fakePagerDuty) Close() error { return nil }

func (f *fakePagerDuty) Me(context.Context) (connect.User, error) {
	f.asked = append(f.asked, "me")
	return connect.User{ID: f.me}, f.err
}

func (f *fakePagerDuty) Alerts(_ context.Context, id string) ([]connect.IncidentAlert, error) {
	f.asked = append(f.asked, id)
	if f.into != "" && id != f.into {
		return nil, f.err
	}
	return f.alerts, f.err
}

func (f *fakePagerDuty) Incident(_ context.Context, id string) (connect.Incident, error) {
	if id == f.into {
		return connect.Incident{ID: id, Status: connect.StatusTriggered}, f.err
	}
	return connect.Incident{ID: id, MergedInto: f.into}, f.err
}

// The webhook of an incident may be looked up after its alerts have gone to another one, of which nothing more will be told.
func TestLookUpFollowsAMerge(t *testing.T) {
	t.Parallel()
	f := &fakePagerDuty{into: "Q2", alerts: []connect.IncidentAlert{listedAlert(nil)}}
	got, err := lookUp(t, pagerDuty(t), f)
	if err != nil {
		t.Fatal(err)
	}
	old := listedAlert(map[string]any{"x": "an alert that the other incident had for days"})
	old.ID, old.AlertKey, old.Summary, old.CreatedAt = "PA0", "old", "something else", old.CreatedAt.Add(-48*time.Hour)
	f.alerts = append(f.alerts, old)
	if got, err = lookUp(t, pagerDuty(t), f); err != nil {
		t.Fatal(err)
	}
	if len(got.Alerts) != 1 || got.Alerts[0].IncidentID != "Q2" || !strings.HasPrefix(got.Alerts[0].Episode, "Q2/") || got.Alerts[0].IncidentKey != "key-1" {
		t.Errorf("got %+v", got.Alerts)
	}
}

// A merge says where the alerts went; a person's resolve says who ended it, and a sender's own end neither.
func TestHowAnIncidentEnded(t *testing.T) {
	t.Parallel()
	merge := func(into string) string {
		return strings.Replace(acknowledgedBody(userAgent, "resolved"), `"type":"incident"`,
			`"resolve_reason":{"type":"merge_resolve_reason","incident":{"id":"`+into+`"}},"type":"incident"`, 1)
	}
	for name, c := range map[string]struct {
		body   string
		merged bool
		into   string
		by     string
	}{
		"merged":                   {merge("Q2"), true, "Q2", ""},
		"merged into what is none": {merge("../users/me"), true, "", ""},
		"merged into itself":       {merge("Q1"), true, "", ""},
		"by a person":              {acknowledgedBody(userAgent, "resolved"), false, "", "Ann"},
		"by its integration":       {acknowledgedBody(robotAgent, "resolved"), false, "", ""},
		"by nobody":                {acknowledgedBody("null", "resolved"), false, "", ""},
	} {
		d, err := pagerDuty(t).Parse([]byte(c.body), received)
		if err != nil {
			t.Fatal(err)
		}
		if a := d.Alerts[0]; a.Merged != c.merged || a.MergedInto != c.into || a.EndedBy != c.by {
			t.Errorf("%s: merged %t into %q, ended by %q", name, a.Merged, a.MergedInto, a.EndedBy)
		}
	}
}

var began = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

func listedAlert(details map[string]any) connect.IncidentAlert {
	return connect.IncidentAlert{
		ID: "PA1", AlertKey: "key-1", Status: connect.StatusTriggered, Severity: "error", Summary: "it is down",
		CreatedAt: began.Add(time.Second), Details: details,
	}
}

func lookUp(t *testing.T, p *PagerDuty, f *fakePagerDuty) (Delivery, error) {
	t.Helper()
	d, err := p.Parse([]byte(triggeredBody), received)
	if err != nil {
		t.Fatal(err)
	}
	return p.LookUp(t.Context(), connect.Set{"pagerduty": f}, d)
}

func TestLookUpCompletesAnIncident(t *testing.T) {
	t.Parallel()
	text := alertmanagerText(t,
		listed{Labels: kv{"alertname": "Down", "service": "api", "severity": "critical"}},
		listed{Labels: kv{"alertname": "Down", "service": "web"}})
	f := &fakePagerDuty{alerts: []connect.IncidentAlert{listedAlert(map[string]any{"firing": text, "num_firing": "2"})}}
	got, err := lookUp(t, pagerDuty(t), f)
	if err != nil {
		t.Fatal(err)
	}
	completed := func(labels map[string]string) alert.Alert {
		return alert.Alert{
			Source: "pd", Status: alert.Firing, Labels: labels, StartsAt: began.Add(time.Second),
			Annotations: map[string]string{"incident_number": "0", "incident_title": "down", "summary": "it is down"},
			Episode:     "Q1/" + alert.Fingerprint(labels), IncidentKey: "key-1", IncidentID: "Q1", SelfResolving: true,
		}
	}
	want := Delivery{
		DedupKey: "01E", Type: incidentTriggered, OccurredAt: began.Add(time.Second),
		Alerts: []alert.Alert{
			completed(map[string]string{"alertname": "Down", "service": "api", "severity": "critical"}),
			completed(map[string]string{"alertname": "Down", "service": "web", "severity": "error"}),
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	checkDelivery(t, pagerDuty(t), Delivery{Type: got.Type, Ignored: "", Alerts: named(got.Alerts)})
	if diff := cmp.Diff([]string{"Q1"}, f.asked); diff != "" {
		t.Errorf("asked for:\n%s", diff)
	}
}

func named(alerts []alert.Alert) []alert.Alert {
	var out []alert.Alert
	for _, a := range alerts {
		a.Source = "the-name"
		out = append(out, a)
	}
	return out
}

func TestLookUpDefaultLabels(t *testing.T) {
	t.Parallel()
	text := alertmanagerText(t, listed{Labels: kv{"alertname": "A"}})
	list := []any{map[string]any{"labels": map[string]any{"alertname": "A"}}}
	summary := map[string]string{"alertname": "it is down", "severity": "error"}
	a := map[string]string{"alertname": "A", "severity": "error"}
	for name, c := range map[string]struct {
		details map[string]any
		status  string
		want    map[string]string
	}{
		"no details":         {nil, "triggered", summary},
		"text":               {map[string]any{"firing": text}, "triggered", a},
		"text after a break": {map[string]any{"firing": "\n" + text}, "triggered", a},
		"list":               {map[string]any{"firing": list, "num_firing": 1.0}, "triggered", a},
		"resolved":           {map[string]any{"firing": "", "num_firing": "0", "resolved": text, "num_resolved": "1"}, "resolved", a},
		"resolved list":      {map[string]any{"firing": []any{}, "num_firing": 0.0, "resolved": list, "num_resolved": 1.0}, "resolved", a},
		"resolved, nothing":  {map[string]any{"firing": "", "num_firing": "0"}, "resolved", summary},
		"another firing":     {map[string]any{"firing": true}, "triggered", summary},
		"another list":       {map[string]any{"firing": []any{"x"}}, "triggered", summary},
		"another error":      {map[string]any{"error": "boom"}, "triggered", summary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := listedAlert(c.details)
			one.Status = c.status
			got, err := lookUp(t, pagerDuty(t), &fakePagerDuty{alerts: []connect.IncidentAlert{one}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Alerts[0].Labels); diff != "" || len(got.Alerts) != 1 {
				t.Errorf("%d alerts, labels:\n%s", len(got.Alerts), diff)
			}
			if want := map[string]alert.Status{"triggered": alert.Firing, "resolved": alert.Resolved}[c.status]; got.Alerts[0].Status != want {
				t.Errorf("the status is %s", got.Alerts[0].Status)
			}
		})
	}
}

// Whatever goes wrong is an error: no half delivery, and never one without alerts.
// TestLookUpKnowsItsOwnIncidents: the webhook of an incident that we opened must not start a run, nor a look-up that never ends because
// its details are not a sender's.
func TestLookUpKnowsItsOwnIncidents(t *testing.T) {
	t.Parallel()
	ours := listedAlert(map[string]any{"run": "r", "opened_by": "remediator"})
	theirs := listedAlert(map[string]any{"x": "1"})
	p := pagerDuty(t)
	p.Labels = `{"a": details.x}`
	got, err := lookUp(t, p, &fakePagerDuty{alerts: []connect.IncidentAlert{ours}})
	if err != nil || got.Ignored == "" || got.Incomplete || len(got.Alerts) != 0 {
		t.Errorf("our own incident gave %+v, %v", got, err)
	}
	got, err = lookUp(t, p, &fakePagerDuty{alerts: []connect.IncidentAlert{ours, theirs}})
	if err != nil || got.Ignored != "" || len(got.Alerts) != 1 || got.Alerts[0].Labels["a"] != "1" {
		t.Errorf("an incident that somebody's alert joined gave %+v, %v", got, err)
	}
}

func TestLookUpFails(t *testing.T) {
	t.Parallel()
	down := errors.New("PagerDuty is down")
	alerts := func(details map[string]any) []connect.IncidentAlert {
		return []connect.IncidentAlert{listedAlert(details)}
	}
	text := alertmanagerText(t, listed{Labels: kv{"alertname": "A"}})
	for name, c := range map[string]struct {
		fake   fakePagerDuty
		labels string
		want   string
	}{
		"down":               {fakePagerDuty{err: down}, "", "looking up the alerts of incident Q1: PagerDuty is down"},
		"not listable yet":   {fakePagerDuty{}, "", "lists none yet"},
		"another number":     {fakePagerDuty{alerts: alerts(map[string]any{"firing": text, "num_firing": "2"})}, "", "alert PA1: reading Alertmanager's"},
		"details removed":    {fakePagerDuty{alerts: alerts(map[string]any{"error": removedDetails + " because"})}, "", "too large"},
		"changed template":   {fakePagerDuty{alerts: alerts(map[string]any{"firing": "A, B", "num_firing": "2"})}, "", "needs a labels expression"},
		"no summary":         {fakePagerDuty{alerts: []connect.IncidentAlert{{ID: "PA1"}}}, "", "neither"},
		"expression fails":   {fakePagerDuty{alerts: alerts(nil)}, `{"a": details.x}`, "no such key"},
		"no label sets":      {fakePagerDuty{alerts: alerts(nil)}, `[]`, "there are none"},
		"an empty label set": {fakePagerDuty{alerts: alerts(nil)}, `{"a": ""}`, "no labels"},
		"a long value": {
			fakePagerDuty{alerts: alerts(map[string]any{"x": strings.Repeat("x", maxLabelText+1)})}, `{"a": details.x}`, "a label of it is longer",
		},
		"one of two alerts": {
			fakePagerDuty{alerts: append(alerts(map[string]any{"x": "1"}), alerts(nil)...)}, `{"a": details.x}`, "no such key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pagerDuty(t)
			p.Labels = c.labels
			got, err := lookUp(t, p, &c.fake)
			wantError(t, err, c.want)
			if diff := cmp.Diff(Delivery{}, got); diff != "" {
				t.Errorf("a delivery was given all the same:\n%s", diff)
			}
		})
	}
	_, err := lookUp(t, pagerDuty(t), &fakePagerDuty{err: down})
	if !errors.Is(err, down) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestLookUpWithoutItsConnection(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	p.Connection = "other"
	_, err := lookUp(t, p, &fakePagerDuty{})
	wantError(t, err, `no connection "other"`)
	_, err = p.Self(t.Context(), connect.Set{})
	wantError(t, err, `no connection "other"`)
}

func TestLookUpLeavesACompleteDelivery(t *testing.T) {
	t.Parallel()
	d := parseEvent(t, "incident.resolved")
	got, err := pagerDuty(t).LookUp(t.Context(), nil, d)
	if diff := cmp.Diff(d, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestLookUpOncePerEpisode(t *testing.T) {
	t.Parallel()
	resolved, firing, other := listedAlert(nil), listedAlert(nil), listedAlert(nil)
	resolved.Status, resolved.AlertKey = connect.StatusResolved, "key-0"
	other.Summary = "another"
	for name, order := range map[string][]connect.IncidentAlert{
		"resolved first": {resolved, firing, other}, "firing first": {firing, resolved, other},
	} {
		got, err := lookUp(t, pagerDuty(t), &fakePagerDuty{alerts: order})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Alerts) != 2 || got.Alerts[0].Status != alert.Firing || got.Alerts[0].IncidentKey != "key-1" {
			t.Errorf("%s: %+v", name, got.Alerts)
		}
	}
}

// The look-up of a reopened incident begins a new episode of the same alert, and not before the reopening.
func TestLookUpOfAReopenedIncident(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	d := parseEvent(t, "incident.reopened")
	old := listedAlert(nil)
	old.CreatedAt = d.OccurredAt.Add(-time.Hour)
	got, err := p.LookUp(t.Context(), connect.Set{"pagerduty": &fakePagerDuty{alerts: []connect.IncidentAlert{old}}}, d)
	if err != nil {
		t.Fatal(err)
	}
	a := got.Alerts[0]
	if !strings.HasPrefix(a.Episode, d.Alerts[0].Episode+"/") || !a.StartsAt.Equal(d.OccurredAt) {
		t.Errorf("episode %s from %s", a.Episode, a.StartsAt)
	}
	if diff := cmp.Diff(parseEvent(t, "incident.reopened"), d); diff != "" {
		t.Errorf("the look-up changed what it was given:\n%s", diff)
	}
}

func TestLookUpSeesTheIncident(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	p.Labels = `{"service": incident.service, "title": incident.title, "id": incident.id, "n": incident.number, "k": alert.alert_key}`
	d := parseEvent(t, "incident.triggered")
	got, err := p.LookUp(t.Context(), connect.Set{"pagerduty": &fakePagerDuty{alerts: []connect.IncidentAlert{listedAlert(nil)}}}, d)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"service": "api", "title": "api 5xx above 5%", "id": "Q1ABC", "n": "42", "k": "key-1", "severity": "error"}
	if diff := cmp.Diff(want, got.Alerts[0].Labels); diff != "" {
		t.Error(diff)
	}
}

func TestSelfIsAskedOnce(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	f := &fakePagerDuty{err: errors.New("down")}
	set := connect.Set{"pagerduty": f}
	if _, err := p.Self(t.Context(), set); !errors.Is(err, f.err) {
		t.Errorf("got %v", err)
	}
	f.err, f.me = nil, "PUS"
	for range 3 {
		if id, err := p.Self(t.Context(), set); id != "PUS" || err != nil {
			t.Errorf("got %q, %v", id, err)
		}
	}
	if got := fmt.Sprint(f.asked); got != "[me me]" {
		t.Errorf("asked for %s", got)
	}
}
