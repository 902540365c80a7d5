package sources

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	byToken := func(set func(s Source, t TokenHeader)) fixture {
		return fixture{
			configure: func(s Source, secret connect.Secret) {
				set(s, TokenHeader{Name: "X-Remediator-Token", Secret: []connect.Secret{secret}})
			},
			sign: func(content string, body []byte) Request {
				r := Request{Body: body}
				header(&r).Set("X-Remediator-Token", content)
				return r
			},
		}
	}
	datadog := byToken(func(s Source, t TokenHeader) { s.(*Datadog).TokenHeader = t })
	datadog.bodies = []string{`{"id":"1","alert_id":"2","cycle_key":"3","transition":"Triggered","title":"[Triggered on {host:a}] X"}`}
	fixtures["datadog"] = datadog
	opsgenie := byToken(func(s Source, t TokenHeader) { s.(*Opsgenie).TokenHeader = t })
	opsgenie.bodies = []string{
		`{"action":"Create","alert":{"alertId":"a-1","message":"X","createdAt":1795402975104}}`,
		`{"action":"Acknowledge","alert":{"alertId":"a-1","message":"X","createdAt":1795402975104,"username":"ann","userId":"u-1"}}`,
		`{"action":"Close","alert":{"alertId":"a-1","message":"X","createdAt":1795402975104}}`,
	}
	fixtures["opsgenie"] = opsgenie
	onCall := byToken(func(s Source, t TokenHeader) { s.(*OnCall).TokenHeader = t })
	onCall.bodies = []string{
		`{"event":{"type":"alert group created"},"user":null,"alert_group":{"id":"I1","state":"new","created_at":"2026-11-23T02:42:55Z","title":"X"}}`,
		`{"event":{"type":"silence"},"user":{"id":"U1"},"alert_group":{"id":"I1","state":"silenced","created_at":"2026-11-23T02:42:55Z","title":"X"}}`,
	}
	fixtures["oncall"] = onCall
}

// newest are the kinds whose bodies are told by goldens alone.
func newest() map[string]Source {
	return map[string]Source{"datadog": &Datadog{name: "the-name"}, "opsgenie": &Opsgenie{name: "the-name"}, "oncall": &OnCall{name: "the-name"}}
}

func TestGoldensOfSenders(t *testing.T) {
	t.Parallel()
	for sender, s := range newest() {
		for _, name := range captured(t, sender) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d, err := s.Parse(readTestdata(t, name), received)
				if err != nil {
					t.Fatal(err)
				}
				checkDelivery(t, s, d)
				golden(t, name, d)
			})
		}
	}
}

func parsed(t *testing.T, s Source, body string) Delivery {
	t.Helper()
	d, err := s.Parse([]byte(body), received)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The template in the documentation, with every variable filled in, is what the source reads.
func TestDatadogPayloadIsRead(t *testing.T) {
	t.Parallel()
	filled := strings.NewReplacer("$ALERT_TRANSITION", "Triggered", "$ALERT_ID", "42", "$ALERT_CYCLE_KEY", "99", "$ID", "7", "$ALERT_TITLE", "[Triggered] X",
		"$DATE", "1795402975000", "$ALERT_PRIORITY", "P3").Replace(DatadogPayload)
	d := parsed(t, &Datadog{name: "dd"}, filled)
	want := alert.Alert{
		Source: "dd", Status: alert.Firing, Episode: "dd/42/99", StartsAt: time.UnixMilli(1795402975000).UTC(),
		Labels:      map[string]string{"alertname": "X", "severity": "warning", "priority": "P3", "monitor": "42", "transition": "triggered"},
		Annotations: map[string]string{"summary": "[Triggered] X"},
	}
	if diff := cmp.Diff([]alert.Alert{want}, d.Alerts); diff != "" || d.DedupKey != "7" {
		t.Errorf("the id is %q\n%s", d.DedupKey, diff)
	}
}

// What the README tells people to paste is what the source reads.
func TestDatadogPayloadIsTheDocumentedOne(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var written, read map[string]string
	for _, block := range strings.Split(string(readme), "```json\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if strings.Contains(text, "$ALERT_CYCLE_KEY") && json.Unmarshal([]byte(text), &written) != nil {
			t.Errorf("the README's payload is no JSON: %s", text)
		}
	}
	if err := json.Unmarshal([]byte(DatadogPayload), &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read, written); diff != "" {
		t.Errorf("the README's payload differs (-read +written):\n%s", diff)
	}
}

func TestNoTagPassesForWhatTheSenderSays(t *testing.T) {
	t.Parallel()
	d := parsed(t, &Datadog{}, `{"alert_id":"1","cycle_key":"2","transition":"Warn","title":"Disk","priority":"P4",
		"tags":"alertname:Down,severity:critical,transition:triggered,hostname:db,metric:m,priority:P1,monitor:9","scope":"severity:critical,alertname:Down"}`)
	want := map[string]string{"alertname": "Disk", "severity": "info", "priority": "P4", "monitor": "1", "transition": "warn"}
	if diff := cmp.Diff(want, d.Alerts[0].Labels); diff != "" {
		t.Errorf("Datadog (-want +got):\n%s", diff)
	}
	d = parsed(t, &Opsgenie{}, `{"action":"Create","alert":{"alertId":"1","createdAt":1795402975104,"message":"Disk","priority":"P4",
		"tags":["alertname:Down","severity:critical","env:prod"]}}`)
	want = map[string]string{"alertname": "Disk", "severity": "info", "env": "prod"}
	if diff := cmp.Diff(want, d.Alerts[0].Labels); diff != "" {
		t.Errorf("Opsgenie (-want +got):\n%s", diff)
	}
}

// A repeat and the end belong to the same firing; the next firing is another.
func TestEpisodesOfSenders(t *testing.T) {
	t.Parallel()
	for sender, c := range map[string]struct{ same, other []string }{
		"datadog":  {[]string{"triggered", "re-triggered", "warn", "no-data", "recovered"}, nil},
		"opsgenie": {[]string{"create", "create-plain", "close", "delete"}, nil},
		"oncall":   {[]string{"created", "escalation", "resolve"}, []string{"unresolve"}},
	} {
		episodes := map[string]bool{}
		for _, name := range c.same {
			episodes[parsed(t, newest()[sender], string(readTestdata(t, sender+"/"+name+".json"))).Alerts[0].Episode] = true
		}
		if len(episodes) != 1 {
			t.Errorf("%s: one firing has the episodes %v", sender, episodes)
		}
		for _, name := range c.other {
			if e := parsed(t, newest()[sender], string(readTestdata(t, sender+"/"+name+".json"))).Alerts[0].Episode; episodes[e] {
				t.Errorf("%s: %s has the episode of the firing before", sender, name)
			}
		}
	}
}

// A person's word in OnCall or Opsgenie holds the alert; an automaton's, or none, does not, and the end lets go.
func TestHoldsOfSenders(t *testing.T) {
	t.Parallel()
	type hold struct {
		By     string
		Lifted bool
	}
	for name, want := range map[string][]hold{
		"oncall/acknowledge": {{By: "ann"}}, "oncall/acknowledge-automatic": nil, "oncall/unacknowledge": {{Lifted: true}}, "oncall/silence": {{By: "ann"}},
		"oncall/unsilence": {{Lifted: true}}, "oncall/unsilence-by-acknowledging": nil, "oncall/resolve": {{Lifted: true}}, "oncall/created": nil,
		"opsgenie/acknowledge": {{By: "ann@example.com"}}, "opsgenie/acknowledge-by-integration": nil, "opsgenie/unacknowledge": {{Lifted: true}},
		"opsgenie/close": {{Lifted: true}}, "opsgenie/create": nil, "opsgenie/addnote": nil,
	} {
		sender, _, _ := strings.Cut(name, "/")
		d := parsed(t, newest()[sender], string(readTestdata(t, name+".json")))
		var got []hold
		for _, h := range d.Holds {
			got = append(got, hold{h.By, h.Lifted})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What OnCall and Opsgenie tell of an Alertmanager's group has the key that Alertmanager's own webhook gives it: both roads are one outage.
func TestKeysOfAlertmanagersGroups(t *testing.T) {
	t.Parallel()
	key := alert.GroupIncidentKey(`{}:{alertname="HealthCheckFailed"}`)
	for _, name := range []string{"created-alertmanager", "acknowledge", "resolve"} {
		d := parsed(t, &OnCall{}, string(readTestdata(t, "oncall/"+name+".json")))
		for _, a := range d.Alerts {
			if a.IncidentKey != key {
				t.Errorf("%s: the alert's key is %q", name, a.IncidentKey)
			}
		}
		for _, h := range d.Holds {
			if h.IncidentKey != key {
				t.Errorf("%s: the hold's key is %q", name, h.IncidentKey)
			}
		}
	}
	d := parsed(t, &Opsgenie{}, `{"action":"Create","alert":{"alertId":"1","alias":"`+key+`","createdAt":1795402975104,"message":"x"}}`)
	if d.Alerts[0].IncidentKey != key {
		t.Errorf("Opsgenie: %q", d.Alerts[0].IncidentKey)
	}
}

func TestSendersRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sender, old, new, want string }{
		{"datadog/triggered", `"148275309"`, `"$ALERT_ID"`, "no alert_id, cycle_key or transition"},
		{"datadog/triggered", `"7716548234055550000"`, `""`, "no alert_id, cycle_key or transition"},
		{"datadog/triggered", `"Triggered"`, `"$ALERT_TRANSITION"`, "no alert_id, cycle_key or transition"},
		{"datadog/triggered", `"Triggered"`, `"Muted"`, `"Muted" is none`},
		{"datadog/triggered", `"1795402975000"`, `"yesterday"`, "the date"},
		{"datadog/triggered", `"1795402975000"`, `"99999999999999999999"`, "the date"},
		{"datadog/triggered", `"148275309"`, `148275309`, `"alert_id" holds the wrong kind`},
		{"datadog/triggered", `"7716548234011234567"`, `"` + strings.Repeat("7", 257) + `"`, "longer than 256"},
		{"opsgenie/create", `"Create"`, `""`, "no action"},
		{"opsgenie/create", `"052652ac-5d1c-464a-812a-7dd18bbfba8c"`, `""`, "no alertId"},
		{"opsgenie/create", `1795402975104,`, `0,`, "no createdAt"},
		{"opsgenie/create", `"createdAt": 1795402975104`, `"createdAt": 1e99`, "createdAt"},
		{"oncall/created", `"alert group created"`, `""`, "has no type"},
		{"oncall/created", `"id": "I6HNZGUFG4K11"`, `"id": ""`, "has no id"},
		{"oncall/created", `"2026-11-23T03:02:55.231148Z"`, `null`, "no created_at"},
		{"oncall/created-text", `"API is down"`, `""`, "neither a title nor"},
		{"opsgenie/create-plain", `"API is down"`, `" "`, "neither a message nor"},
	} {
		body := string(readTestdata(t, c.sender+".json"))
		if !strings.Contains(body, c.old) {
			t.Fatalf("%s: the case changes nothing: %s", c.sender, c.old)
		}
		sender, _, _ := strings.Cut(c.sender, "/")
		_, err := newest()[sender].Parse([]byte(strings.Replace(body, c.old, c.new, 1)), received)
		wantError(t, err, c.want)
	}
}

// What Sample makes is told as it was asked for, and Sign proves it.
func TestSendersPlayTheirPart(t *testing.T) {
	t.Parallel()
	for name := range newest() {
		kind, _ := Lookup(name)
		s := configured(t, kind, fixtures[name], secretFile(t, testKey))
		playsItsPart(t, s, map[string]string{"alertname": "Down", "service": "api", "severity": "critical"})
	}
}

func playsItsPart(t *testing.T, s Source, labels map[string]string) {
	t.Helper()
	sender, ok := s.(Sender)
	if !ok {
		t.Fatalf("%T plays no sender", s)
	}
	sample := Sample{ID: "Q123", Status: alert.Firing, At: received, Began: received.Add(-time.Minute), Labels: labels, Summary: "api is down"}
	var episodes []string
	for _, sample.Status = range []alert.Status{alert.Firing, alert.Resolved} {
		body, err := sender.Sample(sample)
		if err != nil {
			t.Fatalf("%T: %v", s, err)
		}
		r := Request{Body: body}
		if err := errors.Join(sender.Sign(&r), s.Authenticate(r)); err != nil {
			t.Errorf("%T: a signed sample is refused: %v", s, err)
		}
		d := parsed(t, s, string(body))
		if len(d.Alerts) != 1 || d.Alerts[0].Status != sample.Status {
			t.Fatalf("%T: the sample tells %+v", s, d)
		}
		episodes = append(episodes, d.Alerts[0].Episode)
		for name, value := range labels {
			if got := d.Alerts[0].Labels[name]; sample.Status == alert.Firing && got != value {
				t.Errorf("%T: the label %s is %q, want %q", s, name, got, value)
			}
		}
	}
	if episodes[0] != episodes[1] {
		t.Errorf("%T: the end is of another firing: %v", s, episodes)
	}
}

func TestDatadogSampleRefusesWhatATagCannotHold(t *testing.T) {
	t.Parallel()
	for _, labels := range []map[string]string{{"a": "b,c"}, {"a:b": "c"}, {" a": "b"}, {"a": ""}} {
		_, err := (&Datadog{}).Sample(Sample{ID: "1", Status: alert.Firing, At: received, Began: received, Labels: labels})
		wantError(t, err, "cannot be written as a tag")
	}
	_, err := (&Datadog{}).Sample(Sample{Labels: map[string]string{"severity": "P0"}})
	wantError(t, err, `no priority for the severity "P0"`)
}

func FuzzDatadog(f *testing.F)  { fuzzSender(f, "datadog") }
func FuzzOpsgenie(f *testing.F) { fuzzSender(f, "opsgenie") }
func FuzzOnCall(f *testing.F)   { fuzzSender(f, "oncall") }

// fuzzSender: whatever is taken is whole, and what a second parser cannot read is not taken.
func fuzzSender(f *testing.F, sender string) {
	for _, name := range captured(f, sender) {
		f.Add(readTestdata(f, name))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newest()[sender]
		d, err := s.Parse(body, received)
		if err != nil {
			return
		}
		checkDelivery(t, s, d)
		var plain map[string]any
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("another parser refuses it: %v", err)
		}
		for _, a := range d.Alerts {
			if name := a.Labels["alertname"]; a.Status == alert.Firing && name == "" {
				t.Fatalf("an alert without a name: %+v", a)
			}
		}
	})
}
