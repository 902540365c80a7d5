package sources

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

const (
	triggeredBody = `{"event":{"id":"01E","event_type":"incident.triggered","occurred_at":"2026-11-20T10:00:01Z","agent":null,` +
		`"data":{"id":"Q1","type":"incident","created_at":"2026-11-20T10:00:00Z","incident_key":"k","title":"down"}}}`
	pingBody = `{"event":{"id":"01P","event_type":"pagey.ping","occurred_at":"2026-11-20T10:00:01Z","data":{"type":"ping"}}}`
)

func init() {
	fixtures["pagerduty"] = fixture{
		configure: func(s Source, secret connect.Secret) { s.(*PagerDuty).SigningSecret = []connect.Secret{secret} },
		sign: func(content string, body []byte) Request {
			return signed(body, "v1="+signature(connect.Value(content), body))
		},
		bodies: []string{
			triggeredBody, pingBody, strings.Replace(triggeredBody, "triggered", "resolved", 1), acknowledgedBody(userAgent, "acknowledged"),
		},
		ask: func(t *testing.T, _ Source, endpoint string, secret connect.Secret) (connect.Set, alert.Alert) {
			client, err := connect.NewPagerDuty(connect.PagerDutyConfig{Endpoint: endpoint, Token: secret, Insecure: true})
			succeed(t, err)
			return connect.Set{"pagerduty": client}, alert.Alert{IncidentID: "Q1", IncidentKey: "k"}
		},
	}
}

func signed(body []byte, values ...string) Request {
	r := Request{Header: http.Header{}, Body: body}
	for _, v := range values {
		r.Header.Add("X-PagerDuty-Signature", v)
	}
	return r
}

func pagerDuty(t testing.TB, secrets ...string) *PagerDuty {
	t.Helper()
	p, _ := newPagerDuty("pd").(*PagerDuty)
	for _, content := range secrets {
		p.SigningSecret = append(p.SigningSecret, secretFile(t, content))
	}
	return p
}

func TestPagerDutyGolden(t *testing.T) {
	t.Parallel()
	for _, name := range captured(t, "pagerduty") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := pagerDuty(t).Parse(readTestdata(t, name), received)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, d)
		})
	}
}

func parseEvent(t *testing.T, name string) Delivery {
	t.Helper()
	d, err := pagerDuty(t).Parse(readTestdata(t, "pagerduty/"+name+".json"), received)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Only what begins or ends an alert, or what says in whose hand it is, is used; above all not our own notes.
func TestPagerDutyUsesEventTypes(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, name := range captured(t, "pagerduty") {
		d, err := pagerDuty(t).Parse(readTestdata(t, name), received)
		if err != nil {
			t.Fatal(err)
		}
		if d.Ignored == "" {
			used[d.Type] = d.Incomplete
		}
		if d.DedupKey == "" || d.OccurredAt.IsZero() {
			t.Errorf("%s: no dedup key or time: %+v", name, d)
		}
	}
	want := map[string]bool{
		incidentTriggered: true, incidentReopened: true, incidentResolved: false, incidentAcknowledged: false, incidentUnacknowledged: false,
		incidentEscalated: false, incidentReassigned: false, incidentDelegated: false,
	}
	if diff := cmp.Diff(want, used); diff != "" {
		t.Errorf("event types used, and whether a look-up is needed (-want +got):\n%s", diff)
	}
}

func TestPagerDutyEpisodes(t *testing.T) {
	t.Parallel()
	triggered, reopened, resolved := parseEvent(t, "incident.triggered"), parseEvent(t, "incident.reopened"), parseEvent(t, "incident.resolved")
	if got := triggered.Alerts[0].Episode; got != "Q1ABC" || resolved.Alerts[0].Episode != got {
		t.Errorf("the episodes are %q and %q, want the incident's id", got, resolved.Alerts[0].Episode)
	}
	if got := reopened.Alerts[0]; got.Episode == "Q1ABC" || !got.StartsAt.Equal(reopened.OccurredAt) {
		t.Errorf("a reopened incident goes on as %q from %s", got.Episode, got.StartsAt)
	}
	if got := resolved.Alerts[0]; got.Status != alert.Resolved || got.Annotations[noteResolveReason] != "merge_resolve_reason" {
		t.Errorf("the resolved incident is %+v", got)
	}
}

// An incident that says when it was reopened keeps that episode until it is resolved.
func TestPagerDutyReopenedAt(t *testing.T) {
	t.Parallel()
	reopened := strings.Replace(triggeredBody, `"title"`, `"reopened_at":"2026-11-20T11:00:00Z","title"`, 1)
	first := parseBody(t, strings.Replace(reopened, "triggered", "reopened", 1))
	last := parseBody(t, strings.Replace(reopened, "triggered", "resolved", 1))
	want := time.Date(2026, 11, 20, 11, 0, 0, 0, time.UTC)
	if !first.StartsAt.Equal(want) || first.Episode != alert.Episode("Q1", want) || last.Episode != first.Episode {
		t.Errorf("reopened: %+v\nresolved: %+v", first, last)
	}
}

func parseBody(t *testing.T, body string) alert.Alert {
	t.Helper()
	d, err := pagerDuty(t).Parse([]byte(body), received)
	if err != nil {
		t.Fatal(err)
	}
	return d.Alerts[0]
}

func TestPagerDutyAgent(t *testing.T) {
	t.Parallel()
	if got := parseEvent(t, "incident.resolved").Agent; got != "PUSR1" {
		t.Errorf("the agent is %q", got)
	}
	if got := parseEvent(t, "incident.triggered").Agent; got != "" {
		t.Errorf("an event without an agent has %q", got)
	}
}

func TestPagerDutyRefusesBodies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"no id":             {`"id":"01E",`, ``, "no id"},
		"long id":           {`"01E"`, `"` + strings.Repeat("x", 300) + `"`, "very long one"},
		"no type":           {`"event_type":"incident.triggered",`, ``, "no event_type"},
		"no time":           {`"occurred_at":"2026-11-20T10:00:01Z",`, ``, "no occurred_at"},
		"data null":         {`"data":{`, `"data":null,"x":{`, `its type is ""`},
		"data of a note":    {`"type":"incident"`, `"type":"incident_note"`, `"incident_note"`},
		"incident id path":  {`"id":"Q1"`, `"id":"../users"`, `"../users" is not one`},
		"incident id empty": {`"id":"Q1",`, ``, `"" is not one`},
		"no creation":       {`"created_at":"2026-11-20T10:00:00Z",`, ``, "no created_at"},
		"id twice":          {`"id":"Q1"`, `"id":"Q1","id":"Q2"`, `"id" is given twice`},
		"event id twice":    {`"id":"01E"`, `"id":"01E","id":"01F"`, `"id" is given twice`},
		"event in capitals": {`"event":{`, `"Event":{`, `"event" is written "Event"`},
		"data in capitals":  {`"data":{`, `"DATA":{`, `"data" is written "DATA"`},
		"incident Kelvin":   {`"incident_key"`, "\"incident_\u212aey\"", `"incident_key" is written`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(triggeredBody, c.old) {
				t.Fatalf("the case changes nothing: %q", c.old)
			}
			_, err := pagerDuty(t).Parse([]byte(strings.Replace(triggeredBody, c.old, c.new, 1)), received)
			wantError(t, err, c.want)
		})
	}
}

func TestPagerDutySignatures(t *testing.T) {
	t.Parallel()
	body := []byte(triggeredBody)
	p := pagerDuty(t, testKey, testOtherKey)
	good, other := signature(testKey, body), signature(testOtherKey, body)
	bad := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		r  Request
		ok bool
	}{
		"one":                       {signed(body, "v1="+good), true},
		"of the second secret":      {signed(body, "v1="+other), true},
		"second of two":             {signed(body, "v1="+bad+",v1="+good), true},
		"first of two":              {signed(body, "v1="+good+",v1="+bad), true},
		"with spaces":               {signed(body, " v1="+bad+" ,\tv1="+good+" "), true},
		"beside an unknown version": {signed(body, "v2="+bad+",v1="+good), true},
		"in two headers":            {signed(body, "v1="+bad, "v1="+good), true},
		"sixteenth":                 {signed(body, strings.Repeat("v1="+bad+",", 15)+"v1="+good), true},
		"seventeenth":               {signed(body, strings.Repeat("v1="+bad+",", 16)+"v1="+good), false},
		"none":                      {signed(body), false},
		"empty":                     {signed(body, ""), false},
		"commas":                    {signed(body, ",,,"), false},
		"no version":                {signed(body, good), false},
		"unknown version alone":     {signed(body, "v2="+good), false},
		"version in capitals":       {signed(body, "V1="+good), false},
		"hex in capitals":           {signed(body, "v1="+strings.ToUpper(good)), false},
		"cut":                       {signed(body, "v1="+good[:63]), false},
		"longer":                    {signed(body, "v1="+good+"0"), false},
		"empty signature":           {signed(body, "v1="), false},
		"of an empty body":          {signed(body, "v1="+signature(testKey, nil)), false},
		"of an empty secret":        {signed(body, "v1="+signature("", body)), false},
		"of a short secret":         {signed(body, "v1="+signature(connect.Value(testKey[:10]), body)), false},
	} {
		err := p.Authenticate(c.r)
		if c.ok != (err == nil) || (!c.ok && !errors.Is(err, ErrUnauthenticated)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestPagerDutySignatureKnown pins the algorithm with a value computed by `openssl dgst -sha256 -hmac`.
func TestPagerDutySignatureKnown(t *testing.T) {
	t.Parallel()
	const want = "e4ce6df0338c6e9077476e881053dc3856afae02ad3011f98fefd8368a4aa1fe"
	if got := signature(testKey, []byte(`{"event":{}}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPagerDutyFlippedBitsAreRefused(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	p := pagerDuty(t, testKey)
	body := readTestdata(t, "pagerduty/incident.triggered.json")
	header := "v1=" + signature(testKey, body)
	accepted := 0
	for range 10_000 {
		b, h := []byte(string(body)), []byte(header)
		if random.IntN(2) == 0 {
			flip(random, b)
		} else {
			flip(random, h)
		}
		if p.Authenticate(signed(b, string(h))) == nil {
			accepted++
			t.Errorf("accepted %q", h)
		}
	}
	if accepted != 0 || p.Authenticate(signed(body, header)) != nil {
		t.Errorf("%d of 10000 accepted; the unflipped one: %v", accepted, p.Authenticate(signed(body, header)))
	}
}

func flip(random *rand.Rand, b []byte) { b[random.IntN(len(b))] ^= 1 << random.IntN(8) }

func TestPagerDutyValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(p *PagerDuty)
		want   string
	}{
		"no secret":        {func(p *PagerDuty) { p.SigningSecret = nil }, "signing_secret is needed"},
		"weak beside good": {func(p *PagerDuty) { p.SigningSecret = append(p.SigningSecret, secretFile(t, "short")) }, "shorter than 24"},
		"no connection":    {func(p *PagerDuty) { p.Connection = "" }, "connection must name"},
		"labels":           {func(p *PagerDuty) { p.Labels = "alert.sumary" }, "undefined field 'sumary'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pagerDuty(t, testKey)
			c.change(p)
			wantError(t, p.Validate(), c.want)
		})
	}
}

// Check finds without any secret what does not depend on one.
func TestPagerDutyCheck(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	wantError(t, p.Check(), "signing_secret is needed")
	p.SigningSecret = []connect.Secret{{File: "not/there"}}
	if err := p.Check(); err != nil {
		t.Errorf("Check reads a secret: %v", err)
	}
	p.Connection, p.Labels = "", "alert"
	wantError(t, p.Check(), "connection must name")
	wantError(t, p.Check(), "labels: ")
}

func FuzzPagerDuty(f *testing.F) {
	for _, name := range captured(f, "pagerduty") {
		f.Add(readTestdata(f, name))
	}
	f.Add([]byte(triggeredBody))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, _ := newPagerDuty("the-name").(*PagerDuty)
		d, err := p.Parse(body, received)
		if err != nil {
			return
		}
		checkDelivery(t, p, d)
		var plain map[string]any
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("another parser refuses it: %v", err)
		}
		event := plain["event"].(map[string]any)
		if event["id"] != d.DedupKey || event["event_type"] != d.Type {
			t.Fatal("another parser reads another event")
		}
		for _, a := range d.Alerts {
			if event["data"].(map[string]any)["id"] != a.IncidentID || !incidentID.MatchString(a.IncidentID) {
				t.Fatalf("another parser reads another incident than %q", a.IncidentID)
			}
		}
	})
}

func FuzzSignature(f *testing.F) {
	body := []byte(triggeredBody)
	good := signature(testKey, body)
	f.Add("v1="+good, body)
	f.Add(" v1=00, v2=,v1="+good, body)
	f.Add("v1=,,=", []byte{})
	p := pagerDuty(f, testKey)
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		want := "v1=" + signature(testKey, body)
		err := p.Authenticate(signed(body, header))
		if err == nil && !strings.Contains(header, want) {
			t.Errorf("%q was accepted", header)
		}
		if err != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%q: %v", header, err)
		}
		if err := p.Authenticate(signed(body, header, want)); err != nil && strings.Count(header, ",") < maxSignatures-2 {
			t.Errorf("the right signature beside %q was refused: %v", header, err)
		}
	})
}
