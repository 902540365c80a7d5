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
	fixtures["generic"] = fixture{
		configure: func(s Source, secret connect.Secret) {
			g := s.(*Generic)
			g.HMAC = HMAC{Header: "X-Signature", Secret: []connect.Secret{secret}, Prefix: "sha256="}
			g.Labels = map[string]string{"alertname": "payload.name", "service": "payload.?service", "severity": "payload.severity"}
			g.Firing = `payload.state == "open"`
		},
		sign: func(content string, body []byte) Request {
			r := Request{Body: body}
			header(&r).Set("X-Signature", "sha256="+HMAC{}.signature(connect.Value(content), body))
			return r
		},
		bodies: []string{
			`{"name":"X","service":"api","severity":"critical","state":"open"}`,
			` {"state":"closed","severity":"info","service":"api","name":"X","more":[{"a":null}]} `,
		},
	}
}

// monitor is the source whose bodies are under testdata/generic.
func monitor() *Generic {
	g := newGeneric("the-name").(*Generic)
	g.Labels = map[string]string{
		"alertname": "payload.check.name", "service": "payload.host.name", "severity": "payload.check.severity", "region": `payload.host[?"region"]`,
		"attempt": "payload.check.attempt", "zone": "payload.?zone",
	}
	g.Annotations = map[string]string{"value": `payload.check[?"value"]`, "muted": "payload.check.muted"}
	g.Firing, g.Ignore = `payload.state == "open"`, "payload.check.muted"
	g.StartsAt, g.OccurredAt, g.DedupKey = "payload.check.since", "timestamp(payload.sent_at)", "payload.event_id"
	g.Link, g.IncidentKey = `payload.?url`, `"monitor/" + payload.host.name`
	return g
}

func TestGenericGolden(t *testing.T) {
	t.Parallel()
	for _, name := range captured(t, "generic") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := monitor().Parse(readTestdata(t, name), received)
			if err != nil {
				t.Fatal(err)
			}
			checkDelivery(t, monitor(), d)
			golden(t, name, d)
		})
	}
}

// generic makes a source of one label and whatever else is set.
func generic(set func(g *Generic)) *Generic {
	g := newGeneric("the-name").(*Generic)
	g.Labels = map[string]string{"alertname": "payload.name"}
	set(g)
	return g
}

func TestGenericEach(t *testing.T) {
	t.Parallel()
	g := generic(func(g *Generic) {
		g.Each, g.Labels, g.Firing, g.Resolved = "payload.alerts", map[string]string{"alertname": "item.name", "group": "payload.group"}, "item.state == 1", "item.state == 0"
		g.Episode = "item.id"
	})
	d := parsed(t, g, `{"group":"g","alerts":[{"name":"a","state":1,"id":7},{"name":"b","state":0,"id":8},{"name":"c","state":2,"id":9},{"state":1}]}`)
	var got []string
	for _, a := range d.Alerts {
		got = append(got, fmt.Sprint(a.Labels["alertname"], " ", a.Labels["group"], " ", a.Status, " ", a.Episode))
	}
	if diff := cmp.Diff([]string{"a g firing the-name/7", "b g resolved the-name/8"}, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(d.Warning, "1 of 4 alerts cannot be read: alert 4") {
		t.Errorf("the warning is %q", d.Warning)
	}
	if d := parsed(t, g, `{"group":"g","alerts":[]}`); d.Ignored != "the list that `each` gives is empty" {
		t.Errorf("no alerts: %+v", d)
	}
	many := `{"group":"g","alerts":[` + strings.Repeat(`{"name":"a","state":1,"id":7},`, maxItems) + `{"name":"a","state":1,"id":7}]}`
	_, err := g.Parse([]byte(many), received)
	wantError(t, err, "more than 1000 alerts")
}

// Each of the three states of an alert, and which of them the expressions can tell.
func TestGenericStatus(t *testing.T) {
	t.Parallel()
	const firing, resolved = `payload.s == "open"`, `payload.s == "closed"`
	for _, c := range []struct {
		firing, resolved, state string
		want                    alert.Status
	}{
		{"", "", "any", alert.Firing},
		{firing, "", "open", alert.Firing}, {firing, "", "other", alert.Resolved},
		{"", resolved, "closed", alert.Resolved}, {"", resolved, "other", alert.Firing},
		{firing, resolved, "open", alert.Firing}, {firing, resolved, "closed", alert.Resolved}, {firing, resolved, "other", ""},
	} {
		d := parsed(t, generic(func(g *Generic) { g.Firing, g.Resolved = c.firing, c.resolved }), `{"name":"x","s":"`+c.state+`"}`)
		var got alert.Status
		for _, a := range d.Alerts {
			got = a.Status
		}
		if got != c.want || (c.want == "") != (d.Ignored != "") {
			t.Errorf("firing %q, resolved %q, state %q: %q (%s), want %q", c.firing, c.resolved, c.state, got, d.Ignored, c.want)
		}
	}
	_, err := generic(func(g *Generic) { g.Firing, g.Resolved = "true", "true" }).Parse([]byte(`{"name":"x"}`), received)
	wantError(t, err, "it fires and has ended")
}

func TestGenericTimes(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 11, 23, 2, 42, 55, 0, time.UTC)
	for text, expression := range map[string]string{
		`"2026-11-23T02:42:55Z"`: "payload.at", `"2026-11-23T03:42:55+01:00"`: "timestamp(payload.at)", `1795401775`: "payload.at",
		`1795401775000`: "payload.at", `1795401775.0`: "payload.at", `"1795401775"`: "payload.at", `"1795401775000"`: "payload.?at",
	} {
		d := parsed(t, generic(func(g *Generic) { g.StartsAt = expression }), `{"name":"x","at":`+text+`}`)
		if a := d.Alerts[0]; !a.StartsAt.Equal(want) || a.Episode != alert.Episode(alert.Fingerprint(a.Labels), want) {
			t.Errorf("%s: begins at %s, episode %s", text, a.StartsAt, a.Episode)
		}
	}
	for _, text := range []string{`"yesterday"`, `0`, `-1`, `1e300`, `true`, `[]`, `17954017750000000`, `"99999999999999999999"`, `"0001-01-01T00:00:00Z"`, `null`} {
		if d, err := generic(func(g *Generic) { g.StartsAt = "payload.at" }).Parse([]byte(`{"name":"x","at":`+text+`}`), received); err == nil {
			t.Errorf("%s was taken for %s", text, d.Alerts[0].StartsAt)
		}
	}
	d := parsed(t, generic(func(g *Generic) { g.StartsAt = "payload.?at" }), `{"name":"x","at":null}`)
	if a := d.Alerts[0]; !a.StartsAt.Equal(received) || a.Episode != alert.Fingerprint(a.Labels) {
		t.Errorf("without a beginning: %+v", a)
	}
}

func TestGenericValues(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`"text"`: "text", `9007199254740993`: "9007199254740993", `18446744073709551615`: "18446744073709551615", `-1`: "-1", `1.5`: "1.5", `true`: "true",
	} {
		d := parsed(t, generic(func(g *Generic) { g.Labels["v"] = "payload.v" }), `{"name":"x","v":`+value+`}`)
		if got := d.Alerts[0].Labels["v"]; got != want {
			t.Errorf("%s is the label %q, want %q", value, got, want)
		}
	}
	for value, want := range map[string]string{
		`null`: "labels.v gives a null_type", `{}`: "labels.v gives a map", `[1]`: "labels.v gives a list", `1e999`: "too large",
		`"` + strings.Repeat("x", maxLabelText+1) + `"`: "more than 8192 bytes",
	} {
		_, err := generic(func(g *Generic) { g.Labels["v"] = "payload.v" }).Parse([]byte(`{"name":"x","v":`+value+`}`), received)
		wantError(t, err, want)
	}
}

func TestGenericRefusesAtLoad(t *testing.T) {
	t.Parallel()
	for want, set := range map[string]func(g *Generic){
		"labels.b: 1:1: undeclared reference to 'item'":                             func(g *Generic) { g.Labels["b"] = "item.x" },
		"labels.b: 1:1: the expression gives list(int), not a text or a number":     func(g *Generic) { g.Labels["b"] = "[1]" },
		"annotations.n: 1:10: Syntax error":                                         func(g *Generic) { g.Annotations = map[string]string{"n": "payload. =="} },
		"labels.e: 1:0: Syntax error":                                               func(g *Generic) { g.Labels["e"] = "" },
		"firing: 1:1: the expression gives string, not true or false":               func(g *Generic) { g.Firing = `"yes"` },
		"resolved: 1:1: the expression gives optional_type(dyn), not true or false": func(g *Generic) { g.Resolved = `payload.?closed` },
		"each: 1:1: the expression gives string, not a list":                        func(g *Generic) { g.Each = `"x"` },
		"dedup_key: 1:1: undeclared reference to 'item'":                            func(g *Generic) { g.Each, g.DedupKey = "payload.a", "item.id" },
		"starts_at: 1:1: the expression gives bool, not a time":                     func(g *Generic) { g.StartsAt = "true" },
		"labels: a label has no name":                                               func(g *Generic) { g.Labels[""] = "payload.x" },
		"at least one label":                                                        func(g *Generic) { g.Labels = nil },
	} {
		wantError(t, generic(set).Check(), want)
	}
	var wrong *ExpressionError
	if err := generic(func(g *Generic) { g.Labels["b"] = "itm" }).Check(); !errors.As(err, &wrong) || wrong.Field != "labels" || wrong.Key != "b" {
		t.Errorf("the place is %+v", wrong)
	}
}

// What one delivery may cost is bounded, however many alerts it is said to hold.
func TestGenericCostsAreBounded(t *testing.T) {
	t.Parallel()
	g := generic(func(g *Generic) {
		g.Each, g.Labels = "payload.l", map[string]string{"alertname": `string(payload.l.map(a, payload.l.map(b, b)).size())`}
	})
	began := time.Now()
	d, err := g.Parse([]byte(`{"l":[`+strings.Repeat("1,", 100)+`1]}`), received)
	if err != nil || !strings.Contains(d.Warning, "cost more than 1000000 together") || len(d.Alerts) == 0 || len(d.Alerts) > 50 {
		t.Fatalf("%v, %d alerts, the warning %q", err, len(d.Alerts), d.Warning)
	}
	_, err = g.Parse([]byte(`{"l":[`+strings.Repeat("1,", 900)+`1]}`), received)
	wantError(t, err, "cost limit exceeded")
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// What one item costs is not taken from lighter ones, wherever it stands.
func TestGenericHeavyItemComesLast(t *testing.T) {
	t.Parallel()
	g := generic(func(g *Generic) {
		g.Each, g.Labels = "payload.l", map[string]string{"alertname": "item.name"}
		g.Firing = `item.msg.matches("(?i)(down|failed|unreachable|lost|gone|dead|ill|late)+$")`
		g.Resolved = "false"
	})
	heavy := `{"name":"heavy","msg":"` + strings.Repeat("x", 300_000) + `"}`
	d, err := g.Parse([]byte(`{"l":[`+strings.Repeat(heavy+",", 5)+`{"name":"light","msg":"down"}]}`), received)
	if err != nil || len(d.Alerts) != 1 || d.Alerts[0].Labels["alertname"] != "light" {
		t.Errorf("%v, %+v", err, d)
	}
	if !strings.Contains(d.Warning, "cannot be read") {
		t.Errorf("the items cost too little to show anything: %q", d.Warning)
	}
}

// JSON that two parsers may read differently is refused also where nothing is known of its shape.
func TestGenericIsStrict(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"name":"x","a":{"b":1,"b":2}}`:                                             `"b" is given twice`,
		`{"name":"x","a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`: "nested deeper",
		`{"name":"x"}{}`: "goes on after",
	} {
		_, err := generic(func(*Generic) {}).Parse([]byte(body), received)
		wantError(t, err, want)
	}
}

func TestGenericPlaysItsPart(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"alertname": "Down", "service": "api"}
	for name, set := range map[string]func(g *Generic){
		"a body for one alert": func(g *Generic) { *g = *monitor() },
		"a list": func(g *Generic) {
			g.Each, g.Labels = `payload.data["alerts"]`, map[string]string{"alertname": "item.name", "service": "item.?service"}
			g.Firing, g.Resolved, g.Episode = `item.state in ["open", "new"]`, `item.state == "closed"`, "item.id"
		},
		"the body is a list": func(g *Generic) {
			g.Each, g.Labels = `payload`, map[string]string{"alertname": "item.name", "service": "item.service"}
			g.Resolved, g.StartsAt = `!item.firing`, "timestamp(item.since)"
		},
		"not equal": func(g *Generic) {
			g.Labels["service"], g.Firing, g.Episode = "payload.service", `payload.ok != 1`, "payload.id"
		},
	} {
		g := generic(set)
		g.compiled = g.compile
		g.BearerToken = []connect.Secret{secretFile(t, testKey)}
		t.Run(name, func(t *testing.T) { playsItsPart(t, g, labels) })
	}
	g := generic(func(g *Generic) { g.Labels["service"] = `payload.a + payload.b` })
	_, err := g.Sample(Sample{ID: "1", Status: alert.Firing, At: received, Began: received, Labels: labels})
	wantError(t, err, "write the body yourself")
}

func FuzzGeneric(f *testing.F) {
	for _, name := range captured(f, "generic") {
		f.Add(readTestdata(f, name))
	}
	s := monitor()
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := s.Parse(body, received)
		if err != nil {
			return
		}
		checkDelivery(t, s, d)
		var plain map[string]any
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("another parser refuses it: %v", err)
		}
		host, _ := plain["host"].(map[string]any)
		for _, a := range d.Alerts {
			if name, isText := host["name"].(string); isText && a.Labels["service"] != name {
				t.Fatalf("another parser reads the host %q, not %q", name, a.Labels["service"])
			}
		}
	})
}

// FuzzGenericExpression: no expression makes Check or Parse panic.
func FuzzGenericExpression(f *testing.F) {
	for _, text := range []string{"payload.a", `payload[?"a"].orValue("x")`, "payload.map(x, x)", "payload.l.map(a, payload.l.map(b, a))", "timestamp(payload)", "item", `"é`, "1/0", `"a".matches(payload.a)`} {
		f.Add(text, `{"a":"x","l":[1,2,3]}`)
	}
	f.Fuzz(func(t *testing.T, expression, body string) {
		g := generic(func(g *Generic) {
			g.Labels["b"], g.Firing, g.StartsAt = expression, expression, expression
			g.BearerToken = []connect.Secret{{Env: "NONE"}}
		})
		_ = g.Check()
		_, _ = g.Parse([]byte(body), received)
		g = generic(func(g *Generic) { g.Labels["b"] = expression })
		_, _ = g.Sample(Sample{ID: "1", Status: alert.Firing, At: received, Began: received, Labels: map[string]string{"b": "x"}})
	})
}
