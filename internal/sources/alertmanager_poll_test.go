package sources

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
)

func (am realAlertmanager) polled() *Alertmanager {
	a := am.source()
	a.Poll = &AlertmanagerPoll{Receiver: "nobody", Route: "{}"}
	return a
}

func missed(t *testing.T, a *Alertmanager, now time.Time, known ...Sighting) []Found {
	t.Helper()
	found, err := a.Missed(t.Context(), nil, Question{Now: now, Known: known})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The real Alertmanager tells at its API what it tells in its webhook, but for the key of the group.
func TestAPollOfAlertmanagerFindsWhatTheWebhookTells(t *testing.T) {
	t.Parallel()
	am := startAlertmanager(t)
	a := am.polled()
	posted := time.Now().Add(-time.Minute)
	began := posted.Truncate(time.Millisecond).UTC()
	labels := map[string]string{"alertname": "Down", "service": "api"}
	am.fires(t, labels, posted)
	var found []Found
	until(t, "the alert is in a group", func() bool { found = missed(t, a, began.Add(3*time.Minute)); return len(found) == 1 })
	d := found[0].Delivery
	want := alert.Alert{
		Source: "am", Status: alert.Firing, Labels: labels, Annotations: map[string]string{}, StartsAt: began,
		Episode: alert.Episode(alert.Fingerprint(labels), began), IncidentKey: alert.GroupIncidentKey("{}:{}"), SelfResolving: true,
	}
	if diff := cmp.Diff([]alert.Alert{want}, d.Alerts); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	if !d.OccurredAt.Equal(began) || d.Type != PolledType || d.DedupKey == "" {
		t.Errorf("the delivery is %+v", d)
	}
	if again := missed(t, a, began.Add(4*time.Minute)); !cmp.Equal(found, again) {
		t.Errorf("the second reading differs:\n%s", cmp.Diff(found, again))
	}
	a.Poll.Route = ""
	if own := missed(t, a, began.Add(3*time.Minute))[0].Delivery.Alerts[0].IncidentKey; own == want.IncidentKey || own == "" {
		t.Errorf("without its route the incident key is %q", own)
	}
	s := Sighting{Subject: alert.Fingerprint(labels), Began: began, Pushed: began}
	for name, left := range map[string][]Found{
		"one whose webhook may come":  missed(t, a, began.Add(time.Minute)),
		"one of long ago":             missed(t, a, began.Add(2*time.Hour)),
		"one that is known":           missed(t, a, began.Add(3*time.Minute), s),
		"what another receiver takes": missed(t, am.receiving("else"), began.Add(3*time.Minute)),
	} {
		if len(left) != 0 {
			t.Errorf("%s was taken: %+v", name, left)
		}
	}
	am.silence(t, "service", "api", "ann")
	until(t, "a silenced alert is left alone", func() bool { return len(missed(t, a, began.Add(3*time.Minute))) == 0 })
	am.noEnds(t, began, s)
}

func (am realAlertmanager) receiving(name string) *Alertmanager {
	a := am.polled()
	a.Poll.Receiver = name
	return a
}

// noEnds: a silenced alert goes on; one that is not listed has ended, if it is missing twice and Alertmanager has run for long enough to know.
func (am realAlertmanager) noEnds(t *testing.T, began time.Time, listed Sighting) {
	t.Helper()
	a := am.polled()
	gone := Sighting{Subject: alert.Fingerprint(map[string]string{"alertname": "Gone"}), Began: began, Pushed: began}
	for range 3 {
		if found := missed(t, a, time.Now(), gone, listed); len(found) != 0 {
			t.Errorf("an Alertmanager that has just started knows no ends: %+v", found)
		}
	}
	now := time.Now().Add(settled + time.Minute)
	if found := missed(t, a, now, gone, listed); len(found) != 0 {
		t.Errorf("it was missing once: %+v", found)
	}
	found := missed(t, a, now.Add(time.Minute), gone, listed)
	if len(found) != 1 || len(found[0].Delivery.Alerts) != 1 {
		t.Fatalf("the end is %+v", found)
	}
	got := found[0].Delivery.Alerts[0]
	if got.Status != alert.Resolved || got.Episode != alert.Episode(gone.Subject, began) || !got.EndsAt.Equal(now.Add(time.Minute).UTC()) {
		t.Errorf("the end is %+v", got)
	}
	if again := missed(t, a, now.Add(2*time.Minute), listed); len(again) != 0 {
		t.Errorf("it ended twice: %+v", again)
	}
	moved := am.receiving("else") // as if the configuration sent the alert there once, and does no more
	for i := range 3 {
		if found := missed(t, moved, now.Add(time.Duration(i)*time.Minute), listed); len(found) != 0 {
			t.Errorf("an alert that another receiver has now was taken for one that ended: %+v", found)
		}
	}
}

func TestAlertmanagerChecksItsPoll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(a *Alertmanager)
		want   string // "" for a good one
	}{
		"good":       {func(*Alertmanager) {}, ""},
		"no url":     {func(a *Alertmanager) { a.URL = "" }, "poll: needs url"},
		"everything": {func(a *Alertmanager) { a.Poll.Receiver = "" }, "must name the receiver"},
		"no route":   {func(a *Alertmanager) { a.Poll.Route = "payments" }, "poll.route: "},
	} {
		a, _ := newAlertmanager("am").(*Alertmanager)
		a.BearerToken, a.URL = pagerDuty(t, testKey).SigningSecret, "https://am.example.com"
		a.Poll = &AlertmanagerPoll{Receiver: "remediator", Route: `{}/{team="a"}`}
		c.change(a)
		if err := a.Check(); c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != "" {
			wantError(t, err, c.want)
		}
	}
}
