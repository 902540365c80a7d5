package status

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/sandbox"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T) *sandbox.World {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: 1000, Seed: 3})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	return w
}

// ask validates and asks, without the world's speed: ages are real.
func ask[F any](t *testing.T, p executors.Probe) (*F, executors.Answer) {
	t.Helper()
	v, ok := p.(interface {
		Validate(executors.Target) error
	})
	if !ok {
		t.Fatal("cannot be validated")
	}
	must(t, v.Validate(executors.Target{}))
	answer, err := p.Ask(t.Context(), executors.Env{Now: time.Now()})
	must(t, err)
	fact, ok := answer.Fact.(*F)
	if !ok {
		t.Fatalf("the fact is a %T", answer.Fact)
	}
	return fact, answer
}

// pageCase is a page, how it is asked, and what is to be found: incidents and age are judged apart.
type pageCase struct {
	page       sandbox.StatusPage
	components []string
	maxAge     time.Duration
	want       Statuspage // without incidents and age
	incidents  int
	unknown    []string
	says       string
}

func pageCases() map[string]pageCase {
	ours := sandbox.StatusComponent{Name: "GCP europe-west1", Group: "Atlas clusters"}
	others := sandbox.StatusComponent{Name: "Charts", Status: "major_outage"}
	return map[string]pageCase{
		"calm": {page: sandbox.StatusPage{Components: []sandbox.StatusComponent{ours}}, want: Statuspage{Indicator: "none"}, says: "says none (updated"},
		"another's trouble": {
			page:       sandbox.StatusPage{Indicator: "major", Components: []sandbox.StatusComponent{ours, others}, Incidents: []sandbox.StatusIncident{{Name: "x", Impact: "major", Components: []string{"Charts"}}}},
			components: []string{"EUROPE-WEST1"}, want: Statuspage{Indicator: "major"}, says: "says major (updated",
		},
		"ours": {
			page: sandbox.StatusPage{Indicator: "minor", Components: []sandbox.StatusComponent{{Name: "GCP europe-west1", Group: "Atlas clusters", Status: "degraded_performance"}, others},
				Incidents: []sandbox.StatusIncident{{Name: "slow\nelections", Impact: "minor", Components: []string{"GCP europe-west1"}}, {Name: "y", Impact: "critical", Components: []string{"Charts"}}}},
			components: []string{"atlas clusters"}, incidents: 1,
			want: Statuspage{Indicator: "minor", Degraded: []string{"GCP europe-west1: degraded_performance"}, Open: 1, Worst: "minor", Trouble: true},
			says: "impaired: GCP europe-west1: degraded_performance, 1 incidents open, the worst minor",
		},
		"an incident of nobody in particular": {
			page:       sandbox.StatusPage{Components: []sandbox.StatusComponent{ours}, Incidents: []sandbox.StatusIncident{{Name: "x", Impact: "critical"}, {Name: "over", Impact: "critical", Status: "resolved"}}},
			components: []string{"europe-west1"}, incidents: 1, want: Statuspage{Indicator: "none", Open: 1, Worst: "critical", Trouble: true}, says: "the worst critical",
		},
		"an impact nobody knows": {
			page:      sandbox.StatusPage{Components: []sandbox.StatusComponent{ours}, Incidents: []sandbox.StatusIncident{{Name: "x", Impact: "critical"}, {Name: "y", Impact: "apocalyptic"}}},
			incidents: 2, want: Statuspage{Indicator: "none", Open: 2, Worst: "apocalyptic", Trouble: true}, says: "apocalyptic",
		},
		"maintenance": {
			page: sandbox.StatusPage{Components: []sandbox.StatusComponent{ours}, Maintenance: []sandbox.StatusMaintenance{{Name: "now", Status: "in_progress"}, {Name: "later", Status: "scheduled"}}},
			want: Statuspage{Indicator: "none", Maintenance: []string{"now"}}, says: "1 maintenances under way",
		},
		"a notice is no trouble": {
			page:      sandbox.StatusPage{Components: []sandbox.StatusComponent{ours}, Incidents: []sandbox.StatusIncident{{Name: "x", Impact: "none"}}},
			incidents: 1, want: Statuspage{Indicator: "none", Open: 1, Worst: "none"}, says: "the worst none",
		},
		"a name that is not there": {
			page: sandbox.StatusPage{Components: []sandbox.StatusComponent{ours}}, components: []string{"eruope"}, want: Statuspage{Indicator: "none"},
			unknown: []string{"degraded", "open", "worst", "incidents", "maintenance", "trouble"}, says: "no component is called anything like eruope",
		},
		"too old": {
			page: sandbox.StatusPage{UpdatedAgo: 2 * time.Hour, Components: []sandbox.StatusComponent{ours}}, maxAge: time.Hour, want: Statuspage{Indicator: "none"},
			unknown: []string{"indicator", "degraded", "open", "worst", "incidents", "maintenance", "trouble"}, says: "too old to say anything",
		},
		"from the future": {
			page: sandbox.StatusPage{UpdatedAgo: -2 * time.Hour, Components: []sandbox.StatusComponent{ours}}, maxAge: time.Hour, want: Statuspage{Indicator: "none"},
			unknown: []string{"indicator", "degraded", "open", "worst", "incidents", "maintenance", "trouble"}, says: "too old to say anything",
		},
		"old, and nobody minds": {page: sandbox.StatusPage{UpdatedAgo: 200 * time.Hour, Components: []sandbox.StatusComponent{ours}}, want: Statuspage{Indicator: "none"}, says: "updated 200h"},
	}
}

func TestStatuspage(t *testing.T) {
	t.Parallel()
	for name, tc := range pageCases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.page.Name = "mongodb"
			w.SetStatusPage(tc.page)
			fact, answer := ask[Statuspage](t, &statuspage{URL: w.URL("status") + "/pages/mongodb/", Components: tc.components, MaxAge: tc.maxAge})
			if (fact.Age-tc.page.UpdatedAgo).Abs() > time.Minute || len(fact.Incidents) != tc.incidents {
				t.Errorf("%+v", fact)
			}
			fact.Age, fact.Incidents = 0, nil
			tc.want.Degraded, tc.want.Maintenance = append([]string{}, tc.want.Degraded...), append([]string{}, tc.want.Maintenance...)
			if diff := cmp.Diff(tc.want, *fact); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.unknown, answer.Unknown); diff != "" || !strings.Contains(answer.Summary, tc.says) || strings.ContainsAny(answer.Summary, "\n\x1b") {
				t.Errorf("%s, said %q", diff, answer.Summary)
			}
		})
	}
}

// serve answers every path with the same body.
func serve(t *testing.T, status int, body string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestNoPage: JSON that is not what was expected says nothing, least of all that all is well.
func TestNoPage(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"{}", `{"status":{"indicator":"none"}}`, `{"status":{"indicator":"none"},"components":[]}`, `{"components":[],"incidents":[]}`, "[]", "null", `{"message":"blocked"}`, `[{}]`} {
		url := serve(t, http.StatusOK, body)
		for _, p := range []executors.Probe{&statuspage{URL: url}, &googleCloud{URL: url}} {
			if answer, err := p.Ask(t.Context(), executors.Env{Now: time.Now()}); err == nil {
				t.Errorf("%T makes %+v of %s", p, answer.Fact, body)
			}
		}
	}
	url := serve(t, http.StatusOK, `{"page":{},"status":{"indicator":"none"},"components":[],"incidents":[]}`)
	_, answer := ask[Statuspage](t, &statuspage{URL: url})
	if !slices.Equal(answer.Unknown, []string{"age"}) || strings.Contains(answer.Summary, "ago") {
		t.Errorf("%v, %s", answer.Unknown, answer.Summary)
	}
	_, answer = ask[Statuspage](t, &statuspage{URL: url, MaxAge: time.Hour})
	if !slices.Contains(answer.Unknown, "trouble") {
		t.Errorf("%v, %s", answer.Unknown, answer.Summary)
	}
}

func TestGoogleCloud(t *testing.T) {
	t.Parallel()
	run := func(id string, change func(*sandbox.GoogleIncident)) sandbox.GoogleIncident {
		i := sandbox.GoogleIncident{ID: id, Text: "trouble " + id, Products: []string{"Google Cloud Run"}, Locations: []string{"europe-west1"}, BegunAgo: time.Hour}
		if change != nil {
			change(&i)
		}
		return i
	}
	for name, tc := range map[string]struct {
		incident sandbox.GoogleIncident
		counts   bool
	}{
		"ours":                {incident: run("a", nil), counts: true},
		"over":                {incident: run("a", func(i *sandbox.GoogleIncident) { i.Ended = true })},
		"another product":     {incident: run("a", func(i *sandbox.GoogleIncident) { i.Products = []string{"BigQuery"} })},
		"one of its products": {incident: run("a", func(i *sandbox.GoogleIncident) { i.Products = []string{"BigQuery", "CLOUD RUN"} }), counts: true},
		"no product":          {incident: run("a", func(i *sandbox.GoogleIncident) { i.Products = nil }), counts: true},
		"another place":       {incident: run("a", func(i *sandbox.GoogleIncident) { i.Locations = []string{"europe-west10", "us-east1"} })},
		"a zone of it":        {incident: run("a", func(i *sandbox.GoogleIncident) { i.Locations = []string{"europe-west1-b"} }), counts: true},
		"everywhere":          {incident: run("a", func(i *sandbox.GoogleIncident) { i.Locations = []string{"global"} }), counts: true},
		"nowhere":             {incident: run("a", func(i *sandbox.GoogleIncident) { i.Locations = nil }), counts: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.SetGoogleIncidents(tc.incident)
			fact, answer := ask[GoogleCloud](t, &googleCloud{URL: w.URL("status") + "/google", Products: []string{"Cloud Run"}, Locations: []string{"Europe-West1"}})
			if (fact.Open == 1) != tc.counts || fact.Trouble != tc.counts || slices.Contains(answer.Unknown, "begin") == tc.counts {
				t.Errorf("%+v, unknown %v", fact, answer.Unknown)
			}
			if !tc.counts && answer.Summary != "Google Cloud tells of no open incident of Cloud Run in Europe-West1" {
				t.Errorf("said %q", answer.Summary)
			}
		})
	}
}

func TestGoogleCloudWorst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.SetGoogleIncidents(
		sandbox.GoogleIncident{ID: "b", Text: "a notice\x07", Severity: "low", Impact: "SERVICE_INFORMATION", BegunAgo: 3 * time.Hour, UpdatedAgo: time.Hour},
		sandbox.GoogleIncident{ID: "c", Text: "an outage", Severity: "high", Impact: "SERVICE_OUTAGE", BegunAgo: time.Hour, UpdatedAgo: time.Minute},
	)
	fact, answer := ask[GoogleCloud](t, &googleCloud{URL: w.URL("status") + "/google"})
	if fact.Open != 2 || fact.Severity != "high" || fact.Impact != "SERVICE_OUTAGE" || !fact.Trouble || time.Since(fact.Begin) < 3*time.Hour-time.Minute || fact.Age > 2*time.Minute {
		t.Errorf("%+v", fact)
	}
	if ids := slices.Sorted(maps.Keys(fact.Incidents)); !slices.Equal(ids, []string{"b", "c"}) || !strings.HasSuffix(answer.Summary, "the worst high (SERVICE_OUTAGE): a notice") {
		t.Errorf("%v, said %q", ids, answer.Summary)
	}
	w.SetGoogleIncidents(sandbox.GoogleIncident{ID: "b", Impact: "SERVICE_INFORMATION"})
	if fact, _ := ask[GoogleCloud](t, &googleCloud{URL: w.URL("status") + "/google"}); fact.Open != 1 || fact.Trouble {
		t.Errorf("a notice is trouble: %+v", fact)
	}
}

func TestStripe(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status       sandbox.StripeStatus
		api          string // instead of the sandbox's
		key          string
		up, conflict bool
		says         string
		unknown      []string
		summary      string
	}{
		"up":                        {up: true, says: "up", summary: "Stripe's API answers (401 in"},
		"up, with a key":            {key: sandbox.StripeKey, up: true, says: "up", summary: "Stripe's API answers (200 in"},
		"up, with a wrong key":      {key: "rk_wrong", up: true, says: "up", summary: "answers (401 in"},
		"frozen":                    {status: sandbox.StripeStatus{PageAgo: 20000 * time.Hour}, up: true, says: "up", unknown: []string{"page_says", "conflict"}, summary: "was updated 20000h"},
		"from the future":           {status: sandbox.StripeStatus{PageAgo: -48 * time.Hour}, up: true, says: "up", unknown: []string{"page_says", "conflict"}, summary: "says nothing any more"},
		"of no age":                 {status: sandbox.StripeStatus{NoTime: true}, up: true, says: "up", unknown: []string{"page_says", "page_age", "conflict"}, summary: "what its page says is not known"},
		"degraded":                  {status: sandbox.StripeStatus{Page: "degraded"}, up: true, says: "degraded", summary: "its page says degraded"},
		"a word nobody knows":       {status: sandbox.StripeStatus{Page: "wobbly"}, up: true, says: "wobbly", unknown: []string{"page_says", "conflict"}, summary: "says nothing any more"},
		"both down":                 {status: sandbox.StripeStatus{Page: "down", APIStatus: 503}, says: "down", summary: "Stripe's API fails with 503; its page says down"},
		"the page does not know":    {status: sandbox.StripeStatus{APIStatus: 500}, conflict: true, says: "up", unknown: []string{"up"}, summary: "contradict each other"},
		"the page alone is down":    {status: sandbox.StripeStatus{Page: "down"}, up: true, conflict: true, says: "down", unknown: []string{"up"}, summary: "contradict each other"},
		"frozen, and the API fails": {status: sandbox.StripeStatus{PageAgo: 20000 * time.Hour, APIStatus: 500}, says: "up", unknown: []string{"page_says", "conflict"}, summary: "fails with 500"},
		"we are limited":            {status: sandbox.StripeStatus{APIStatus: 429}, says: "up", unknown: []string{"api_answers", "conflict", "up"}, summary: "whether Stripe's API answers is not known"},
		"nobody listens":            {api: "http://127.0.0.1:1", conflict: true, says: "up", unknown: []string{"up"}, summary: "Stripe's API does not answer"},
		"no such name":              {api: "http://stripe.invalid", says: "up", unknown: []string{"api_answers", "conflict", "up"}, summary: "is not known"},
		"a portal answers":          {api: "portal 200", says: "up", unknown: []string{"api_answers", "conflict", "up"}, summary: "is not known"},
		"a portal wants a password": {api: "portal 401", says: "up", unknown: []string{"api_answers", "conflict", "up"}, summary: "is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.SetStripeStatus(tc.status)
			p := &stripe{Page: w.URL("status") + "/stripe", API: w.URL("status") + "/stripe-api"}
			if code := 0; tc.api != "" {
				if p.API = tc.api; strings.HasPrefix(tc.api, "portal") {
					_, err := fmt.Sscanf(tc.api, "portal %d", &code)
					must(t, err)
					p.API = serve(t, code, "<html>Welcome to our network</html>")
				}
			}
			if tc.key != "" {
				p.Key = connect.Secret{File: filepath.Join(t.TempDir(), "key")}
				must(t, os.WriteFile(p.Key.File, []byte(tc.key), 0o600))
			}
			fact, answer := ask[Stripe](t, p)
			if fact.Up != tc.up || fact.APIAnswers != tc.up || fact.Conflict != tc.conflict || fact.PageSays != tc.says || !strings.Contains(answer.Summary, tc.summary) {
				t.Errorf("%+v: %s", fact, answer.Summary)
			}
			slices.Sort(answer.Unknown)
			slices.Sort(tc.unknown)
			if !slices.Equal(tc.unknown, answer.Unknown) {
				t.Errorf("unknown %v, want %v", answer.Unknown, tc.unknown)
			}
		})
	}
}

// TestStripeOnceMore: one failure in a row of two is no outage, and a key that cannot be read is no answer.
func TestStripeOnceMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &stripe{Page: w.URL("status") + "/stripe", API: w.URL("status") + "/stripe-api"}
	must(t, w.Spoil("status", sandbox.Fault{Path: "/stripe-api", Status: 500}))
	if fact, _ := ask[Stripe](t, p); !fact.Up {
		t.Errorf("%+v", fact)
	}
	p.Key = connect.Secret{File: filepath.Join(t.TempDir(), "none")}
	if _, err := p.Ask(t.Context(), executors.Env{Now: time.Now()}); err == nil {
		t.Error("asked without the key that is named")
	}
}

func TestPageTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"February 09, 2024 @ 03:04PM UTC": "2024-02-09T15:04:00Z", "July 4, 2026 @ 8:00AM -07:00": "2026-07-04T15:00:00Z", "2026-07-04T15:00:00Z": "2026-07-04T15:00:00Z",
		"July 21, 4:00 +0:00": "", "July 4, 2026 @ 8:00AM PDT": "", "": "", "now": "",
	} {
		got, ok := pageTime(text)
		if ok != (want != "") || ok && got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s, %t", text, got, ok)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	const page = "https://status.example.com"
	for says, p := range map[string]interface {
		Validate(executors.Target) error
	}{
		"must begin with https":         &statuspage{URL: "status.mongodb.com"},
		"url must hold no user":         &googleCloud{URL: "https://u:p@status.cloud.google.com"},
		"no user, query or fragment":    &statuspage{URL: page + "?x=1"},
		"metadata address":              &statuspage{URL: "http://169.254.169.254"},
		"components must not hold":      &statuspage{URL: page, Components: []string{" "}},
		"max_age must not be negative":  &statuspage{URL: page, MaxAge: -1},
		"products must not hold":        &googleCloud{URL: page, Products: []string{""}},
		"locations must not hold":       &googleCloud{URL: page, Locations: []string{""}},
		"api must begin":                &stripe{Page: page},
		"page must begin":               &stripe{API: page},
		"tries must be between 1 and 5": &stripe{Page: page, API: page, Tries: 6},
		"all tries together may take":   &stripe{Page: page, API: page, Tries: 3},
		"timeout must not be negative":  &stripe{Page: page, API: page, Timeout: -1},
	} {
		if err := p.Validate(executors.Target{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}
