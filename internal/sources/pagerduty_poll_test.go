package sources

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sandbox"
)

var _ openLister = (*connect.PagerDuty)(nil)

const aService = "PSVC001"

func polledPagerDuty(t *testing.T) *PagerDuty {
	t.Helper()
	p := pagerDuty(t, testKey)
	p.Poll = &PagerDutyPoll{Services: []string{aService}}
	succeed(t, p.Validate())
	return p
}

// asked polls at a time and gives what was found.
func (a account) asked(t *testing.T, p *PagerDuty, now time.Time, known ...Sighting) []Found {
	t.Helper()
	found, err := p.Missed(t.Context(), a.set, Question{Now: now, Known: known})
	succeed(t, err)
	for _, f := range found {
		if len(f.Body) == 0 || f.Delivery.Type != PolledType || f.Delivery.DedupKey == "" || f.Delivery.OccurredAt.IsZero() {
			t.Errorf("a delivery has no body, type, key or time: %+v", f)
		}
	}
	return found
}

// The episode of an incident that was found is the one that its webhook tells of, and so is all else that decides.
func TestAPollFindsWhatTheWebhookTells(t *testing.T) {
	t.Parallel()
	a, p := newAccount(t), polledPagerDuty(t)
	id := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	began := a.Incident(id).CreatedAt.Truncate(time.Second)
	found := a.asked(t, p, began.Add(time.Minute))
	if len(found) != 1 {
		t.Fatalf("%d deliveries were found", len(found))
	}
	got := found[0].Delivery
	told, err := p.Parse([]byte(`{"event":{"id":"01E","event_type":"incident.triggered","occurred_at":"`+began.Format(time.RFC3339)+`","data":{"id":"`+id+
		`","type":"incident","html_url":"https://sandbox.pagerduty.com/incidents/`+id+`","number":1,"status":"triggered","incident_key":"k","created_at":"`+
		began.Format(time.RFC3339)+`","title":"down","service":{"id":"PSVC001","type":"service_reference","summary":"PSVC001"},"urgency":"high"}}}`), began)
	succeed(t, err)
	if diff := cmp.Diff(told.Alerts, got.Alerts); diff != "" {
		t.Errorf("the webhook and the poll tell of different alerts (-webhook +poll):\n%s", diff)
	}
	if !got.Incomplete || !got.OccurredAt.Equal(began) {
		t.Errorf("it is not looked up, or not as old as the incident: %+v", got)
	}
	again := a.asked(t, p, began.Add(2*time.Minute))
	if diff := cmp.Diff(found, again); diff != "" {
		t.Errorf("the second reading differs:\n%s", diff)
	}
	looked, err := p.LookUp(t.Context(), a.set, got)
	if err != nil || len(looked.Alerts) != 1 {
		t.Errorf("the look-up gives %+v: %v", looked, err)
	}
}

func TestAPollLeavesAlone(t *testing.T) {
	t.Parallel()
	a, p := newAccount(t), polledPagerDuty(t)
	id := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	a.TriggerIncident(sandbox.Incident{Title: "theirs", Key: "other", ServiceID: "PSVC999"})
	began := a.Incident(id).CreatedAt.Truncate(time.Second)
	for name, c := range map[string]struct {
		now   time.Time
		known []Sighting
	}{
		"one whose webhook is on its way": {now: began.Add(20 * time.Second)},
		"one of long ago":                 {now: began.Add(61 * time.Minute)},
		"one that is known":               {began.Add(time.Minute), []Sighting{{Subject: id, Began: began, Pushed: began}}},
		"one that is known by a poll":     {began.Add(time.Minute), []Sighting{{Subject: id, Began: began, Polled: began}}},
		"one that was reopened":           {began.Add(time.Minute), []Sighting{{Subject: id, Began: began, Ended: began.Add(time.Second)}}},
	} {
		if found := a.asked(t, p, c.now, c.known...); len(found) != 0 {
			t.Errorf("%s was taken: %+v", name, found)
		}
	}
}

func TestAPollHearsWhoHasItInHand(t *testing.T) {
	t.Parallel()
	a, p := newAccount(t), polledPagerDuty(t)
	id := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	began := a.Incident(id).CreatedAt.Truncate(time.Second)
	s := Sighting{Subject: id, Began: began, Pushed: began}
	now := began.Add(time.Minute)
	a.acknowledge(t, id) // by us: no person has it in hand
	if found := a.asked(t, p, now, s); len(found) != 0 {
		t.Errorf("our own acknowledgement was taken for a person's: %+v", found)
	}
	succeed(t, a.HumanAcknowledges(id))
	held := a.onlyHold(t, a.asked(t, p, now, s))
	if held.Lifted || held.By != "Ann" || held.IncidentID != id || held.IncidentKey != "k" {
		t.Errorf("the hold is %+v", held)
	}
	if fresh := a.asked(t, p, now); len(fresh) != 1 || len(fresh[0].Delivery.Holds) != 1 || len(fresh[0].Delivery.Alerts) != 1 {
		t.Errorf("of one that is new neither the alert nor the hold may be missing: %+v", fresh)
	}
	s.Held = held.At
	if found := a.asked(t, p, now, s); len(found) != 0 {
		t.Errorf("a known hold was told again: %+v", found)
	}
	succeed(t, a.HumanUnacknowledges(id))
	if lifted := a.onlyHold(t, a.asked(t, p, now, s)); !lifted.Lifted || lifted.At.Before(s.Held) {
		t.Errorf("the end of the hold is %+v", lifted)
	}
}

func (account) onlyHold(t *testing.T, found []Found) Hold {
	t.Helper()
	if len(found) != 1 || len(found[0].Delivery.Holds) != 1 || len(found[0].Delivery.Alerts) != 0 {
		t.Fatalf("not one hold alone: %+v", found)
	}
	return found[0].Delivery.Holds[0]
}

func TestAPollFindsTheEnd(t *testing.T) {
	t.Parallel()
	a, p := newAccount(t), polledPagerDuty(t)
	id := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	elsewhere := a.TriggerIncident(sandbox.Incident{Title: "theirs", Key: "other", ServiceID: "PSVC999"})
	began := a.Incident(id).CreatedAt.Truncate(time.Second)
	known := []Sighting{
		{Subject: id, Began: began, Pushed: began}, {Subject: elsewhere, Began: began, Pushed: began},
		{Subject: "QGONE", Began: began, Pushed: began}, {Subject: "QOLD", Began: began, Ended: began},
	}
	now := time.Now().Add(time.Minute)
	if found := a.asked(t, p, now, known...); len(found) != 0 {
		t.Errorf("what is open, gone or over has ended: %+v", found)
	}
	succeed(t, a.HumanResolves(id))
	if found := a.asked(t, p, time.Now(), known...); len(found) != 0 {
		t.Errorf("an end whose webhook is on its way was taken: %+v", found)
	}
	found := a.asked(t, p, now, known...)
	if len(found) != 1 || len(found[0].Delivery.Alerts) != 1 || found[0].Delivery.Incomplete {
		t.Fatalf("the end is %+v", found)
	}
	got := found[0].Delivery.Alerts[0]
	if got.Status != alert.Resolved || got.IncidentID != id || got.EndsAt.Before(began) || got.Merged || !found[0].Delivery.Holds[0].Lifted || got.EndedBy == "" {
		t.Errorf("the end is %+v", got)
	}
}

// How an incident ended is told by a poll as by the webhook: by its sender, by a person, or by a merge that says where its alerts are now.
func TestAPollTellsHowItEnded(t *testing.T) {
	t.Parallel()
	a, p := newAccount(t), polledPagerDuty(t)
	merged := a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k1"})
	survivor := a.TriggerIncident(sandbox.Incident{Title: "down too", Key: "k2"})
	well := a.TriggerIncident(sandbox.Incident{Title: "well again", Key: "k3"})
	succeed(t, a.MergeIncident(merged, survivor))
	succeed(t, a.ResolveAlert(well, "k3"))
	began := a.Incident(well).CreatedAt.Truncate(time.Second)
	got := map[string]alert.Alert{}
	for _, f := range a.asked(t, p, time.Now().Add(time.Minute), Sighting{Subject: merged, Began: began}, Sighting{Subject: well, Began: began}) {
		for _, one := range f.Delivery.Alerts {
			if one.Status == alert.Resolved {
				got[one.IncidentID] = one
			}
		}
	}
	if one := got[merged]; !one.Merged || one.MergedInto != survivor || one.EndedBy != "" {
		t.Errorf("merged: %+v", one)
	}
	if one := got[well]; one.IncidentID == "" || one.Merged || one.EndedBy != "" {
		t.Errorf("its own sender ended it: %+v", one)
	}
}

// What is not answered whole is an error, and nothing is made up.
func TestAPollThatFails(t *testing.T) {
	t.Parallel()
	a, p := newAccount(t), polledPagerDuty(t)
	a.TriggerIncident(sandbox.Incident{Title: "down", Key: "k"})
	a.SetPagerDuty(sandbox.Fault{Method: "GET", Path: "/incidents", Status: 500})
	found, err := p.Missed(t.Context(), a.set, Question{Now: time.Now().Add(time.Minute)})
	if err == nil || len(found) != 0 {
		t.Errorf("found %+v, %v", found, err)
	}
	if found := a.asked(t, p, time.Now().Add(time.Minute)); len(found) != 1 {
		t.Errorf("after the failure: %+v", found)
	}
}

func TestPagerDutyPollsManyIncidents(t *testing.T) {
	t.Parallel()
	a, p := newAccount(t), polledPagerDuty(t)
	const many = 230 // more than two pages
	for range many {
		a.TriggerIncident(sandbox.Incident{Title: "down"})
	}
	if found := a.asked(t, p, time.Now().Add(time.Minute)); len(found) != many {
		t.Errorf("%d of %d were found", len(found), many)
	}
	if calls := a.Calls()["pagerduty GET /incidents?date_range&limit&offset&service_ids[]&sort_by&statuses[]"]; calls != 2 {
		t.Errorf("%d further pages were read", calls)
	}
}

func TestPagerDutyChecksItsPoll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		poll PagerDutyPoll
		want string // "" for a good one
	}{
		"services":    {PagerDutyPoll{Services: []string{"PIJ90N7"}}, ""},
		"teams":       {PagerDutyPoll{Teams: []string{"PT4KHLK"}}, ""},
		"everything":  {PagerDutyPoll{}, "must name the services or teams"},
		"no id":       {PagerDutyPoll{Services: []string{"../x"}}, "poll.services.0: "},
		"flood":       {PagerDutyPoll{Services: []string{"P1"}, PollTimes: PollTimes{Every: time.Millisecond}}, "poll.every: must be at least 1s"},
		"backwards":   {PagerDutyPoll{Services: []string{"P1"}, PollTimes: PollTimes{Missing: -1}}, "poll.missing: must not be negative"},
		"after it is": {PagerDutyPoll{Services: []string{"P1"}, PollTimes: PollTimes{After: time.Hour}}, "must be shorter than look_back"},
	} {
		p := pagerDuty(t, testKey)
		p.Poll = &c.poll
		err := p.Check()
		var parameter *ParameterError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && !errors.As(err, &parameter):
			t.Errorf("%s: %v has no place", name, err)
		case c.want != "":
			wantError(t, err, c.want)
		}
	}
}
