package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	fixtures["sentry"] = fixture{
		configure: func(s Source, secret connect.Secret) { s.(*Sentry).ClientSecret = []connect.Secret{secret} },
		sign: func(content string, body []byte) Request {
			return headed(body, "Sentry-Hook-Signature", signature(connect.Value(content), body))
		},
		bodies: []string{
			sentryHook("triggered", `"event":{"event_id":"e1","issue_id":"7","received":1795399578.6,"tags":[["a","b"]]},"triggered_rule":"Checkout fails"`),
			sentryHook("created", `"issue":{"id":"7","firstSeen":"2026-11-23T02:00:00Z","lastSeen":"2026-11-23T02:00:00Z"}`),
			sentryHook("resolved", `"issue":{"id":"7","firstSeen":"2026-11-23T02:00:00Z","lastSeen":"2026-11-23T02:00:00Z"}`),
			sentryHook("critical", `"metric_alert":{"id":"4","date_started":"2026-11-23T02:00:00Z","alert_rule":{"name":"Too many errors"}}`),
			sentryHook("created", `"installation":{"uuid":"x"}`), sentryHook("created", `"comment":"x"`),
		},
	}
}

func sentryHook(action, data string) string {
	return fmt.Sprintf(`{"action":%q,"data":{%s},"installation":{"uuid":"u"}}`, action, data)
}

func TestSentryGolden(t *testing.T) {
	t.Parallel()
	for _, name := range captured(t, "sentry") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, parseHook(t, string(readTestdata(t, name))))
		})
	}
}

func parseHook(t *testing.T, body string) Delivery {
	t.Helper()
	d, err := (&Sentry{name: "sentry"}).Parse([]byte(body), received)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The header that says what a hook is about is not signed, and neither is its time: nothing changes with them.
func TestSentryBelievesNoHeader(t *testing.T) {
	t.Parallel()
	body := readTestdata(t, "sentry/event_alert.json")
	s := &Sentry{ClientSecret: []connect.Secret{secretFile(t, testKey)}}
	for _, resource := range []string{"installation", "event_alert", "metric_alert", ""} {
		r := headed(body, "Sentry-Hook-Resource", resource, "Sentry-Hook-Timestamp", "1", "Request-ID", "x")
		if err := s.Authenticate(r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s without a signature: %v", resource, err)
		}
		r.Header.Set("Sentry-Hook-Signature", signature(testKey, body))
		if err := s.Authenticate(r); err != nil {
			t.Errorf("%s: %v", resource, err)
		}
	}
}

func TestSentrySignatures(t *testing.T) {
	t.Parallel()
	body := []byte(sentryHook("created", `"comment":"x"`))
	s := &Sentry{ClientSecret: []connect.Secret{secretFile(t, testKey), secretFile(t, testOtherKey)}}
	good := signature(testKey, body)
	for name, c := range map[string]struct {
		r  Request
		ok bool
	}{
		"first secret":  {headed(body, "Sentry-Hook-Signature", good), true},
		"second secret": {headed(body, "Sentry-Hook-Signature", signature(testOtherKey, body)), true},
		"another body":  {headed(append([]byte(" "), body...), "Sentry-Hook-Signature", good), false},
		"in capitals":   {headed(body, "Sentry-Hook-Signature", strings.ToUpper(good)), false},
		"cut":           {headed(body, "Sentry-Hook-Signature", good[1:]), false},
		"two":           {headed(body, "Sentry-Hook-Signature", good, "Sentry-Hook-Signature", good), false},
		"in one header": {headed(body, "Sentry-Hook-Signature", good+","+good), false},
		"another name":  {headed(body, "Sentry-App-Signature", good), false},
	} {
		err := s.Authenticate(c.r)
		if c.ok != (err == nil) || (!c.ok && !errors.Is(err, ErrUnauthenticated)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantError(t, (&Sentry{}).Validate(), "client_secret is needed")
}

// An application's tags say what they like about themselves, and nothing else.
func TestSentryTagsOverrideNothing(t *testing.T) {
	t.Parallel()
	labels := parseHook(t, string(readTestdata(t, "sentry/event_alert.json"))).Alerts[0].Labels
	for name, want := range map[string]string{
		"alertname": "Checkout fails", "project": "front-end", "severity": "error", "environment": "production", "release": "shop@1.4.2",
		"tag_alertname": "HealthCheckFailed", "tag_project": "payments", "tag_severity": "fatal", "tag_os.name": "Mac OS X",
	} {
		if labels[name] != want {
			t.Errorf("label %s is %q, want %q", name, labels[name], want)
		}
	}
	for name := range labels {
		if _, known := map[string]bool{"alertname": true, "project": true, "project_id": true, "severity": true, "environment": true, "release": true}[name]; !known && !strings.HasPrefix(name, "tag_") {
			t.Errorf("there is a label %s", name)
		}
	}
}

// What the application says of the time counts only where Sentry says nothing: it may be any.
func TestSentryGoesByItsOwnClock(t *testing.T) {
	t.Parallel()
	const event = `"event":{"event_id":"e1","issue_id":"7","datetime":"2026-10-24T00:00:00Z","timestamp":1%s},"triggered_rule":"r"`
	d := parseHook(t, sentryHook("triggered", fmt.Sprintf(event, `,"received":1795399578.5`)))
	want := time.Unix(1795399578, 5e8).UTC()
	if !d.OccurredAt.Equal(want) || !d.Alerts[0].StartsAt.Equal(want) {
		t.Errorf("%+v", d)
	}
	d = parseHook(t, sentryHook("triggered", fmt.Sprintf(event, ``)))
	if want := time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC); !d.OccurredAt.Equal(want) {
		t.Errorf("%+v", d)
	}
}

func TestSentryEpisodes(t *testing.T) {
	t.Parallel()
	event := func(id, rule, at string) alert.Alert {
		const text = `"event":{"event_id":%q,"issue_id":"7","datetime":%q},"triggered_rule":%q`
		return parseHook(t, sentryHook("triggered", fmt.Sprintf(text, id, at, rule))).Alerts[0]
	}
	issue := func(action string) alert.Alert {
		return parseHook(t, sentryHook(action, `"issue":{"id":"7","firstSeen":"2026-11-20T02:00:00Z","lastSeen":"2026-11-23T02:00:00Z"}`)).Alerts[0]
	}
	first := event("e1", "r", "2026-11-23T01:00:00Z")
	if again := event("e2", "r", "2026-11-23T23:59:00Z"); again.Episode != first.Episode {
		t.Errorf("the same issue on the same day: %s and %s", first.Episode, again.Episode)
	}
	reopened, resolved := issue("unresolved"), issue("resolved")
	for name, other := range map[string]alert.Alert{"a later day": event("e3", "r", "2026-11-24T00:00:00Z"), "reopened": reopened} {
		if other.Episode == first.Episode || other.IncidentKey != first.IncidentKey {
			t.Errorf("%s: %+v", name, other)
		}
	}
	if resolved.Episode != first.Episode || resolved.IncidentKey != first.IncidentKey || resolved.Status != alert.Resolved || len(resolved.Labels) > 0 {
		t.Errorf("resolved: %+v", resolved)
	}
	if first.SelfResolving || reopened.SelfResolving {
		t.Error("Sentry does not say by itself that an issue has ended")
	}
}

func TestSentryMetricAlertEndsItself(t *testing.T) {
	t.Parallel()
	var got []alert.Alert
	for _, action := range []string{"warning", "critical", "resolved"} {
		got = append(got, parseHook(t, string(readTestdata(t, "sentry/metric_alert."+action+".json"))).Alerts[0])
	}
	for i, a := range got {
		if a.Episode != got[0].Episode || a.IncidentKey != "incident_5_1" || !a.SelfResolving || (a.Status == alert.Resolved) != (i == 2) || a.EndsAt.IsZero() != (i != 2) {
			t.Errorf("alert %d: %+v", i, a)
		}
	}
	if diff := cmp.Diff([]string{"warning", "critical", ""}, []string{got[0].Labels["severity"], got[1].Labels["severity"], got[2].Labels["severity"]}); diff != "" {
		t.Error(diff)
	}
}

func TestSentryRefusesBodies(t *testing.T) {
	t.Parallel()
	many, _ := json.Marshal(manyTags(maxLabels))
	const event = `"event":{"event_id":"e1","issue_id":"7","received":1,"tags":%s},"triggered_rule":"r"`
	for name, c := range map[string]struct{ body, want string }{
		"no action":           {sentryHook("", `"comment":"x"`), "no action"},
		"no data":             {`{"action":"created"}`, "no data"},
		"data null":           {`{"action":"created","data":null}`, "no data"},
		"two at once":         {sentryHook("created", `"issue":{},"event":{}`), "several things at once"},
		"no rule":             {sentryHook("triggered", `"event":{"event_id":"e1","issue_id":"7","received":1}`), "names no rule"},
		"no issue":            {sentryHook("triggered", `"event":{"event_id":"e1","received":1},"triggered_rule":"r"`), "no issue_id"},
		"a path for an issue": {sentryHook("triggered", `"event":{"event_id":"e1","issue_id":"../7","received":1},"triggered_rule":"r"`), "none of Sentry's"},
		"no event":            {sentryHook("triggered", `"event":{"issue_id":"7","received":1},"triggered_rule":"r"`), "no event_id"},
		"no time":             {sentryHook("triggered", `"event":{"event_id":"e1","issue_id":"7"},"triggered_rule":"r"`), "no time"},
		"half a tag":          {sentryHook("triggered", fmt.Sprintf(event, `[["a"]]`)), "no pair"},
		"tag twice":           {sentryHook("triggered", fmt.Sprintf(event, `[["a","b"],["a","c"]]`)), `"a" is given twice`},
		"tags an object":      {sentryHook("triggered", fmt.Sprintf(event, `{"a":"b"}`)), "JSON object"},
		"too many tags":       {sentryHook("triggered", fmt.Sprintf(event, many)), "labels, more than"},
		"tag too long":        {sentryHook("triggered", fmt.Sprintf(event, `[["a","`+strings.Repeat("x", maxLabelText+1)+`"]]`)), "longer than"},
		"metric action":       {sentryHook("open", `"metric_alert":{"id":"4","date_started":"2026-11-23T02:00:00Z","alert_rule":{"name":"x"}}`), `action is "open"`},
		"metric without id":   {sentryHook("critical", `"metric_alert":{"date_started":"2026-11-23T02:00:00Z","alert_rule":{"name":"x"}}`), "no id"},
		"metric beginning":    {sentryHook("critical", `"metric_alert":{"id":"4","alert_rule":{"name":"x"}}`), "no date_started"},
		"metric without name": {sentryHook("critical", `"metric_alert":{"id":"4","date_started":"2026-11-23T02:00:00Z"}`), "no name"},
		"issue without id":    {sentryHook("created", `"issue":{}`), "no id"},
		"issue without time":  {sentryHook("created", `"issue":{"id":"7"}`), "no firstSeen"},
		"data in capitals":    {strings.Replace(sentryHook("created", `"issue":{}`), `"data"`, `"DATA"`, 1), "is written"},
		"issue twice":         {sentryHook("created", `"issue":{},"issue":{}`), `"issue" is given twice`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := (&Sentry{}).Parse([]byte(c.body), received)
			wantError(t, err, c.want)
		})
	}
}

func manyTags(n int) [][2]string {
	var tags [][2]string
	for i := range n {
		tags = append(tags, [2]string{fmt.Sprint("t", i), "v"})
	}
	return tags
}

// A rule that watches labels of an event is tried with an issue alert, any other with a metric alert, which has an end.
func TestSentrySamples(t *testing.T) {
	t.Parallel()
	s := &Sentry{name: "the-name"}
	of := Sample{ID: "S1", Status: alert.Firing, At: received, Began: received, Labels: map[string]string{
		"alertname": "X", "project": "shop", "environment": "production", "release": "1.2", "severity": "fatal", "tag_a": "b",
	}}
	body, err := s.Sample(of)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(of.Labels, parseHook(t, string(body)).Alerts[0].Labels); diff != "" {
		t.Error(diff)
	}
	of.Status = alert.Resolved
	_, err = s.Sample(of)
	wantError(t, err, "does not tell the end")
	of.Labels = map[string]string{"alertname": "X", "service": "api"}
	_, err = s.Sample(of)
	wantError(t, err, `no place for the label service="api"`)
	of.Labels = map[string]string{"alertname": "X", "project": "shop", "severity": "warning", "environment": "production"}
	if _, err := s.Sample(of); err != nil {
		t.Error(err)
	}
}

func FuzzSentry(f *testing.F) {
	for _, name := range captured(f, "sentry") {
		f.Add(readTestdata(f, name))
	}
	f.Add([]byte(sentryHook("triggered", `"event":{"event_id":1,"issue_id":2,"received":"3.5","tags":[[1,true]],"environment":"x"},"triggered_rule":"r"`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &Sentry{name: "the-name"}
		d, err := s.Parse(body, received)
		if err != nil {
			return
		}
		checkDelivery(t, s, d)
		var plain struct {
			Data map[string]map[string]any
		}
		if len(d.Alerts) == 0 || json.Unmarshal(body, &plain) != nil {
			return
		}
		about, _, _ := strings.Cut(d.Type, ".")
		seen := plain.Data[strings.TrimSuffix(about, "_alert")]
		if about == "metric_alert" {
			seen = plain.Data[about]
		}
		key, known := map[string]string{"event_alert": "issue_id", "error": "issue_id", "issue": "id"}[about]
		id, isText := seen[key].(string)
		if known && isText && d.Alerts[0].IncidentKey != s.name+"_issue_"+id {
			t.Fatal("another parser reads another issue")
		}
		if name := d.Alerts[0].Labels["alertname"]; about == "error" && name != sentryErrorName {
			t.Fatalf("an event named the alert %q", name)
		}
	})
}

func FuzzSentrySignature(f *testing.F) {
	body := []byte(sentryHook("created", `"comment":"x"`))
	f.Add(signature(testKey, body), body)
	f.Add("sha256="+signature(testKey, body), body)
	f.Add("", []byte{})
	s := &Sentry{ClientSecret: []connect.Secret{secretFile(f, testKey)}}
	f.Fuzz(func(t *testing.T, mac string, body []byte) {
		err := s.Authenticate(headed(body, "Sentry-Hook-Signature", mac))
		if (err == nil) != (mac == signature(testKey, body)) || err != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%q: %v", mac, err)
		}
	})
}

// Sentry gives up on who answers in more than a second: both together take a small part of it.
func BenchmarkSentry(b *testing.B) {
	body := readTestdata(b, "sentry/event_alert.json")
	s := &Sentry{ClientSecret: []connect.Secret{secretFile(b, testKey)}}
	r := headed(body, "Sentry-Hook-Signature", signature(testKey, body))
	for b.Loop() {
		if err := s.Authenticate(r); err != nil {
			b.Fatal(err)
		}
		if d, err := s.Parse(body, received); err != nil || len(d.Alerts) != 1 {
			b.Fatal(err)
		}
	}
}
