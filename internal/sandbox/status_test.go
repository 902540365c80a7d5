package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/PagerDuty/go-pagerduty"
	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/sandbox"
)

// fetch asks a stand-in and decodes its answer.
func (f *fixture) fetch(url, authorization string, into any) (int, http.Header) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, url, nil)
	must(f.T, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	must(f.T, err)
	defer func() { _ = resp.Body.Close() }()
	must(f.T, json.NewDecoder(resp.Body).Decode(into))
	return resp.StatusCode, resp.Header
}

type sentryIssues []struct {
	ID, Title, Count, FirstSeen string
	Lifetime                    struct{ Count, FirstSeen string }
}

// TestSentryCountsWithinTheTimeAskedAbout, as the real one does, and keeps the issue's own beginning apart.
func TestSentryCountsWithinTheTimeAskedAbout(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{Speed: 1})
	for _, ago := range []string{"2h", "10m", "5m"} {
		args := fmt.Sprintf(`{"project":"backend","title":"x","count":4,"ago":%q,"first_seen_ago":"72h"}`, ago)
		if code, out := f.control("report-errors", args); code != 200 {
			t.Fatalf("report-errors: %d %v", code, out)
		}
	}
	f.ReportErrors(sandbox.SentryErrors{Project: "backend", Title: "y", Count: 9, Ago: time.Minute})
	base := f.URL("sentry") + "/api/0/organizations/mixillo/issues/?project=backend&query=is:unresolved&sort=freq"
	var got sentryIssues
	code, header := f.fetch(base+"&statsPeriod=30m&limit=1", "Bearer "+sandbox.SentryToken, &got)
	if code != 200 || len(got) != 1 || got[0].Title != "y" || !strings.Contains(header.Get("Link"), `rel="next"; results="true"; cursor="0:1:0"`) {
		t.Errorf("first page: %d %+v, %s", code, got, header.Get("Link"))
	}
	_, header = f.fetch(base+"&statsPeriod=30m&limit=1&cursor=0:1:0", "Bearer "+sandbox.SentryToken, &got)
	if len(got) != 1 || got[0].Count != "8" || got[0].Lifetime.Count != "12" || got[0].FirstSeen <= got[0].Lifetime.FirstSeen {
		t.Errorf("second page: %+v", got)
	}
	if !strings.Contains(header.Get("Link"), `rel="next"; results="false"`) || header.Get("X-Hits") != "2" {
		t.Errorf("headers %v", header)
	}
	if code, _ := f.control("resolve-issue", `{"project":"backend","title":"y"}`); code != 200 {
		t.Error("resolve-issue")
	}
	if f.fetch(base, "Bearer "+sandbox.SentryToken, &got); len(got) != 1 || got[0].Title != "x" {
		t.Errorf("a resolved issue is listed: %+v", got)
	}
	var refusal struct{ Detail string }
	for url, want := range map[string]int{
		base + "&project=nope": 400, base + "&limit=101": 400, base + "&statsPeriod=soon": 400, base + "&start=yesterday": 400, base + "&cursor=x": 400,
		f.URL("sentry") + "/api/0/organizations/other/issues/": 404, f.URL("sentry") + "/api/0/organizations/mixillo/issues/77/": 404, f.URL("sentry") + "/x": 404,
	} {
		if code, _ := f.fetch(url, "Bearer "+sandbox.SentryToken, &refusal); code != want || refusal.Detail == "" {
			t.Errorf("%s: %d %q", url, code, refusal.Detail)
		}
	}
	for _, authorization := range []string{"", "Bearer wrong"} {
		if code, _ := f.fetch(base, authorization, &refusal); code != 401 {
			t.Errorf("%q: %d", authorization, code)
		}
	}
}

type stripeList struct {
	Object  string
	HasMore bool `json:"has_more"`
	Data    []struct {
		ID, Status, Type string
		Pending          int64 `json:"pending_webhooks"`
	}
	Error struct{ Type, Message string }
}

func TestStripeListsNewestFirst(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{Speed: 1})
	for _, step := range [][2]string{
		{"add-webhook-endpoint", `{"url":"https://api.example.com/hook"}`}, {"happen", `{"type":"a","pending":1,"ago":"2h"}`},
		{"happen", `{"type":"c","pending":1}`}, {"happen", `{"type":"b","ago":"1h"}`}, {"pay", `{"count":2}`}, {"pay", `{"status":"requires_payment_method"}`},
	} {
		if code, out := f.control(step[0], step[1]); code != 200 {
			t.Fatalf("%s: %d %v", step[0], code, out)
		}
	}
	ask := func(path string) (got stripeList, types string) {
		t.Helper()
		if code, _ := f.fetch(f.URL("stripe")+"/v1/"+path, "Bearer "+sandbox.StripeKey, &got); code != 200 {
			t.Errorf("%s: %d %+v", path, code, got.Error)
		}
		for _, one := range got.Data {
			types += one.Type
		}
		return got, types
	}
	if _, types := ask("events"); types != "cba" {
		t.Errorf("events in the order %s", types)
	}
	page, types := ask("events?delivery_success=false&limit=1")
	if types != "c" || !page.HasMore {
		t.Errorf("first page %s, more %t", types, page.HasMore)
	}
	if page, types = ask("events?delivery_success=false&limit=1&starting_after=" + page.Data[0].ID); types != "a" || page.HasMore {
		t.Errorf("second page %s, more %t", types, page.HasMore)
	}
	if _, types = ask(fmt.Sprintf("events?created[gte]=%d", time.Now().Add(-90*time.Minute).Unix())); types != "cb" {
		t.Errorf("of 90 minutes: %s", types)
	}
	if code, _ := f.control("deliver-events", `{}`); code != 200 {
		t.Error("deliver-events")
	}
	if _, types = ask("events?delivery_success=false"); types != "" {
		t.Errorf("after delivery: %s", types)
	}
	intents, _ := ask("payment_intents")
	charges, _ := ask("charges")
	if len(intents.Data) != 3 || len(charges.Data) != 2 {
		t.Errorf("%d intents, %d charges: what was not tried has none", len(intents.Data), len(charges.Data))
	}
	var refusal stripeList
	for path, want := range map[string]int{"events?limit=101": 400, "events?starting_after=evt_none": 400, "refunds": 404} {
		if code, _ := f.fetch(f.URL("stripe")+"/v1/"+path, "Bearer "+sandbox.StripeKey, &refusal); code != want || refusal.Error.Message == "" {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code, _ := f.fetch(f.URL("stripe")+"/v1/events", "Bearer rk_test_somethingelse", &refusal); code != 401 || strings.Contains(refusal.Error.Message, "somethingelse") {
		t.Errorf("a wrong key: %d %s", code, refusal.Error.Message)
	}
}

func TestChangesShiftsAndSnooze(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{Speed: 1})
	for _, step := range [][2]string{{"report-change", `{"summary":"deploy 7","ago":"10m"}`}, {"set-shift", `{"user":"PUSR002","ends":"1h"}`}} {
		if code, out := f.control(step[0], step[1]); code != 200 {
			t.Fatalf("%s: %d %v", step[0], code, out)
		}
	}
	if code, _ := f.control("set-shift", `{"level":9}`); code != 400 {
		t.Error("a level that there is not")
	}
	id := trigger(f)
	shifts, err := pager(f).ListOnCallsWithContext(f.ctx, pagerduty.ListOnCallOptions{ScheduleIDs: []string{"PSCH001"}})
	must(t, err)
	if len(shifts.OnCalls) != 1 || shifts.OnCalls[0].User.ID != "PUSR002" || shifts.OnCalls[0].End == "" {
		t.Errorf("%+v", shifts.OnCalls)
	}
	var related struct {
		Changes []struct{ Summary string } `json:"change_events"`
	}
	f.fetch(f.PagerDutyURL()+"/incidents/"+id+"/related_change_events", "Token token="+sandbox.PagerDutyToken, &related)
	if len(related.Changes) != 1 || related.Changes[0].Summary != "deploy 7" {
		t.Errorf("%+v", related)
	}
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, Priority: &pagerduty.APIReference{ID: "PPRI002", Type: "priority_reference"}}); code != 0 || f.Incident(id).Priority != "P2" {
		t.Errorf("priority: %d, %q", code, f.Incident(id).Priority)
	}
	if code := f.manage(pagerduty.ManageIncidentsOptions{ID: id, Priority: &pagerduty.APIReference{ID: "nope", Type: "priority_reference"}}); code != 2001 {
		t.Errorf("an unknown priority: %d", code)
	}
	// The library's own call sends no From, which the vendor asks for.
	if _, err := pager(f).SnoozeIncidentWithContext(f.ctx, id, 3600); pagerCode(t, err) != 2001 {
		t.Errorf("snoozed by nobody: %v", err)
	}
	f.snooze(id, 3600, 201)
	if inc := f.Incident(id); inc.Status != "acknowledged" || time.Until(inc.SnoozedUntil) < 59*time.Minute {
		t.Errorf("%s until %s", inc.Status, inc.SnoozedUntil)
	}
	f.snooze(id, 604801, 400)
	must(t, f.SnoozeEnds(id))
	if f.Incident(id).Status != "triggered" {
		t.Error("still snoozed")
	}
	must(t, f.HumanResolves(id))
	f.snooze(id, 60, 400)
	want := []string{
		"change_reported", "shift_set", "incident_created", "priority_updated", "put_refused", "post_refused", "incident_snoozed", "post_refused",
		"incident_unacknowledged", "incident_resolved", "post_refused",
	}
	if diff := cmp.Diff(want, verbs(f.Ledger(), "pagerduty")); diff != "" {
		t.Error(diff)
	}
}

func (f *fixture) snooze(id string, seconds, want int) {
	f.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"duration":%d}`, seconds))
	req, err := http.NewRequestWithContext(f.ctx, http.MethodPost, f.PagerDutyURL()+"/incidents/"+id+"/snooze", body)
	must(f.T, err)
	req.Header.Set("Authorization", "Token token="+sandbox.PagerDutyToken)
	req.Header.Set("From", bot)
	resp, err := http.DefaultClient.Do(req)
	must(f.T, err)
	must(f.T, resp.Body.Close())
	if resp.StatusCode != want {
		f.Errorf("snoozing for %d s: %d, want %d", seconds, resp.StatusCode, want)
	}
}
