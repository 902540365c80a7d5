package sources

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// plays holds for every source that can play its sender: what it makes up and signs is taken for that sender's word.
func plays(t *testing.T, kind Kind, fix fixture) {
	s := configured(t, kind, fix, secretFile(t, testKey))
	sender, can := s.(Sender)
	if !can {
		t.Fatal("it does not play its sender: implement Sender")
	}
	for _, status := range []alert.Status{alert.Firing, alert.Resolved} {
		sample := Sample{
			ID: "SAMPLE01", Status: status, At: received, Began: received.Add(-time.Minute), Summary: `it's "down" <ü>`,
			Labels: map[string]string{"alertname": "HealthCheckFailed", "severity": "critical"},
		}
		body, err := sender.Sample(sample)
		if err != nil {
			t.Fatalf("%s: %v", status, err)
		}
		playsSample(t, s, sample, body)
	}
	if eventful, has := s.(Eventful); has {
		playsEvents(t, s, eventful)
	}
	hidesSecrets(t, kind, fix)
}

func playsSample(t *testing.T, s Source, sample Sample, body []byte) {
	t.Helper()
	if _, looks := s.(LookUp); looks { // the labels are not the body's: a drill brings its own
		var err error
		if body, err = (Drill{ID: "d", Labels: sample.Labels}).Marked(body); err != nil {
			t.Fatal(err)
		}
	}
	authenticatesSigned(t, s, body)
	d, err := s.Parse(body, received)
	if err != nil {
		t.Fatalf("%s: %v in\n%s", sample.Status, err, body)
	}
	checkDelivery(t, s, d)
	if d, err = Apart(body, d); err != nil {
		t.Fatal(err)
	}
	if len(d.Alerts) != 1 || d.Alerts[0].Status != sample.Status || d.Ignored != "" || d.Incomplete {
		t.Fatalf("a sample of a %s alert was taken for %+v", sample.Status, d)
	}
	got := d.Alerts[0]
	for name, value := range sample.Labels {
		if got.Labels[name] == "" && got.Status == alert.Resolved {
			continue // its sender ends an alert by another name than its labels
		}
		if got.Labels[name] != value {
			t.Errorf("a sample of a %s alert has the label %s=%q, want %q", sample.Status, name, got.Labels[name], value)
		}
	}
}

func authenticatesSigned(t *testing.T, s Source, body []byte) {
	t.Helper()
	r := Request{Body: body}
	if sender, _ := s.(Sender); sender.Sign(&r) != nil {
		t.Fatal("a sample cannot be signed")
	}
	if err := s.Authenticate(r); err != nil {
		t.Errorf("a sample that was signed is not authentic: %v", err)
	}
	if err := s.Authenticate(Request{Body: body}); err == nil {
		t.Error("a sample is authentic without being signed")
	}
}

func playsEvents(t *testing.T, s Source, e Eventful) {
	for i, name := range e.Events() {
		body, err := e.Event(name, Sample{ID: "SAMPLE01", At: received, Began: received.Add(-time.Minute)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d, err := s.Parse(body, received)
		if err != nil || d.Type != name {
			t.Errorf("the event %s is taken for %q: %v", name, d.Type, err)
		}
		if i == 0 && (d.Ignored == "" || len(d.Alerts)+len(d.Holds) > 0) {
			t.Errorf("the first event, %s, is not harmless: %+v", name, d)
		}
		short, err := e.Event(name[strings.LastIndex(name, ".")+1:], Sample{ID: "SAMPLE01", At: received, Began: received.Add(-time.Minute)})
		if err != nil || string(short) != string(body) {
			t.Errorf("the event %s by its short name: %v\n%s", name, err, short)
		}
	}
	if _, err := e.Event("no.such", Sample{}); err == nil {
		t.Error("an event that is none was made")
	}
}

// hidesSecrets: what cannot be signed is told without the secret.
func hidesSecrets(t *testing.T, kind Kind, fix fixture) {
	for content, secret := range map[string]connect.Secret{"hunter2": secretFile(t, "hunter2"), "gone": {File: t.TempDir() + "/none"}} {
		s := kind.New("x")
		fix.configure(s, secret)
		sender, _ := s.(Sender)
		err := sender.Sign(&Request{Body: []byte("{}")})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("signing with a secret that is %s: %v", content, err)
		}
	}
}

func TestSignBySeveralProofs(t *testing.T) {
	t.Parallel()
	am := &Alertmanager{BasicAuth: BasicAuth{Username: "am", Password: secretFile(t, testPassword)}}
	authenticatesSigned(t, am, []byte("{}"))
	am.BearerToken = []connect.Secret{secretFile(t, testKey), secretFile(t, testOtherKey)}
	r := Request{}
	if err := am.Sign(&r); err != nil || r.Header.Get("Authorization") != "Bearer "+testKey {
		t.Errorf("with two tokens and a password: %v", err)
	}
	for _, s := range []Sender{&Alertmanager{}, pagerDuty(t)} {
		wantError(t, s.Sign(&Request{}), "no proof")
	}
}

func TestSampleHasTheLabelsAsGiven(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"alertname": `"; DROP`, "ü": "✓ \n"}
	am := &Alertmanager{name: "am"}
	body, err := am.Sample(Sample{ID: "a", Status: alert.Firing, At: received, Began: received, Labels: labels})
	if err != nil {
		t.Fatal(err)
	}
	d, err := am.Parse(body, received)
	if err != nil || !maps.Equal(d.Alerts[0].Labels, labels) {
		t.Errorf("%v: %+v", err, d)
	}
}
