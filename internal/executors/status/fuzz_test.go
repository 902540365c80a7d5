package status

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

var fuzzed = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// harmless holds for whatever a page's words become: one line each, few and short.
func harmless(t *testing.T, a executors.Answer, texts ...string) {
	t.Helper()
	if len(texts) > 20*tellMost {
		t.Fatalf("%d texts are kept", len(texts))
	}
	for _, text := range texts {
		if len([]rune(text)) > wordsMost || connect.Line(text, wordsMost) != text {
			t.Fatalf("%q is kept", text)
		}
	}
	if strings.ContainsAny(a.Summary, "\r\n\x00\u202e") || len([]rune(a.Summary)) > 1000 {
		t.Fatalf("the summary is %q", a.Summary)
	}
}

// texts are all those of a fact's part.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case map[string]any:
		for name, inside := range v {
			all = append(append(all, name), texts(inside)...)
		}
	}
	return all
}

// Whatever a status page says becomes a bounded fact, and no incident or component that is not plainly calm counts as calm.
func FuzzStatuspage(f *testing.F) {
	f.Add([]byte(`{"page":{"updated_at":"2026-03-01T11:00:00Z"},"status":{"indicator":"minor"},"components":[{"id":"1","name":"API","status":"degraded"}],
		"incidents":[{"id":"i","name":"x","impact":"major","status":"investigating","components":[{"id":"1"}]}],"scheduled_maintenances":[{"status":"in_progress","name":"m"}]}`), "")
	f.Add([]byte(`{"status":{"indicator":"none"},"components":[],"incidents":[{"impact":"no\u200bne","status":"open"}]}`), "")
	f.Add([]byte(`{"status":{"indicator":"\u202e"},"components":[{"id":"g","group":true,"name":"api"},{"group_id":"g","status":""}],"incidents":[]}`), "API")
	f.Fuzz(func(t *testing.T, body []byte, word string) {
		var got summary
		if json.Unmarshal(body, &got) != nil {
			return
		}
		p := &statuspage{}
		if word != "" && connect.Line(word, 100) == word { // the rules file is no stranger's
			p.Components = []string{word}
		}
		a, err := p.answer("status.example", got, fuzzed)
		if err != nil {
			return
		}
		fact, _ := a.Fact.(*Statuspage)
		harmless(t, a, slices.Concat(fact.Degraded, fact.Maintenance, texts(fact.Incidents), []string{fact.Indicator, fact.Worst})...)
		calm := true
		for _, c := range *got.Components {
			calm = calm && (c.IsGroup || c.Status == "operational")
		}
		for _, i := range *got.Incidents {
			over := i.Status == "resolved" || i.Status == "postmortem" || i.Status == "completed"
			calm = calm && (over || i.Impact == "none" || i.Impact == "maintenance" || i.Impact == "")
		}
		if len(p.Components) == 0 && everywhere(got) && fact.Trouble == calm || fact.Trouble && calm {
			t.Fatalf("trouble is %t: %+v", fact.Trouble, fact)
		}
		if fact.Open > int64(len(*got.Incidents)) || len(p.Components) == 0 && len(a.Unknown) > 1 {
			t.Fatalf("%d are open of %d; unknown: %v", fact.Open, len(*got.Incidents), a.Unknown)
		}
	})
}

// everywhere: no incident is about certain components, which the page may not list.
func everywhere(got summary) bool {
	return !slices.ContainsFunc(*got.Incidents, func(i incident) bool { return len(i.Components) > 0 })
}

// Whatever the feed says becomes a bounded fact; an open incident that says no known harmless impact is trouble.
func FuzzGoogleCloud(f *testing.F) {
	f.Add([]byte(`[{"id":"i","begin":"2026-03-01T11:00:00Z","modified":"2026-03-01T11:30:00Z","status_impact":"SERVICE_OUTAGE","severity":"high",
		"affected_products":[{"title":"Cloud Run"}],"most_recent_update":{"affected_locations":[{"id":"europe-west1"}]}}]`))
	f.Add([]byte(`[{"id":"\u200b","begin":"2026-03-01T11:00:00Z","status_impact":"AVAIL\u200bABLE"},{"id":"x","begin":"0001-01-02T00:00:00Z","end":"2026-03-01T11:00:00Z"}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var all []outage
		if json.Unmarshal(body, &all) != nil {
			return
		}
		p := &googleCloud{}
		a, err := p.answer(all, fuzzed)
		if err != nil {
			return
		}
		fact, _ := a.Fact.(*GoogleCloud)
		var open int64
		trouble := false
		for _, o := range all {
			if o.End == nil {
				open++
				trouble = trouble || o.Impact != "" && o.Impact != "AVAILABLE" && o.Impact != "SERVICE_INFORMATION"
			}
		}
		if fact.Open != open || fact.Trouble != trouble || len(fact.Incidents) > tellMost {
			t.Fatalf("%d open, trouble %t; want %d, %t", fact.Open, fact.Trouble, open, trouble)
		}
		for _, shown := range fact.Incidents {
			inside, _ := shown.(map[string]any)
			harmless(t, a, texts(inside)...)
		}
		harmless(t, a, fact.Severity, fact.Impact)
	})
}

// Only an answer that looks like Stripe's own shows that it answers, and only an error of the server that it fails.
func FuzzStripe(f *testing.F) {
	f.Add([]byte(`{"object":"balance"}`), uint16(200), true, "2026-03-01T11:00:00Z")
	f.Add([]byte(`{"error":{"type":"x"}}`), uint16(401), false, "March 1, 2026 @ 11:00AM UTC")
	f.Add([]byte(`{"object":"","error":null}`), uint16(403), false, "March 1 @ 11:00AM")
	f.Add([]byte(`<html>`), uint16(502), true, "")
	f.Fuzz(func(t *testing.T, body []byte, status uint16, withKey bool, when string) {
		var plain map[string]any
		object := json.Unmarshal(body, &plain) == nil
		switch got := judge(int(status), body, withKey); {
		case status >= http.StatusInternalServerError:
			if got != fails {
				t.Fatalf("%d: %v", status, got)
			}
		case got == fails:
			t.Fatalf("%d is a failure", status)
		case got == answers && (!object || status != 200 && status != 401 && status != 403 || status == 200 && !withKey):
			t.Fatalf("%d with %q is an answer", status, body)
		}
		if at, ok := pageTime(when); ok && (at.IsZero() || at.Year() < 1 || !strings.ContainsAny(when, "Z+-U")) {
			t.Fatalf("%q is %s", when, at)
		}
	})
}
