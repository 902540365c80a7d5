package cloudrun

import (
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// rev makes a ready revision; options alter it.
func rev(name string, age time.Duration, options ...func(*runpb.Revision)) *runpb.Revision {
	r := &runpb.Revision{
		Name: "projects/p/locations/l/services/api/revisions/" + name, CreateTime: timestamppb.New(ago(age)),
		Conditions: []*runpb.Condition{
			{Type: "Active", State: runpb.Condition_CONDITION_FAILED},
			{Type: "Ready", State: runpb.Condition_CONDITION_SUCCEEDED},
		},
		Containers: []*runpb.Container{{Image: "repo/api@sha256:" + name}},
	}
	for _, o := range options {
		o(r)
	}
	return r
}

func notReady(r *runpb.Revision) { r.Conditions[1].State = runpb.Condition_CONDITION_FAILED }

func deleted(r *runpb.Revision) { r.DeleteTime = timestamppb.New(noon) }

func labelled(r *runpb.Revision) { r.Labels = map[string]string{noWayBack: "true"} }

// copyOf marks a revision as made here from a base.
func copyOf(base string) func(*runpb.Revision) {
	return func(r *runpb.Revision) {
		r.Containers = []*runpb.Container{{Image: "repo/api@sha256:" + base}}
		r.Annotations = map[string]string{markBase: base, markConfig: configDigest(r.Containers, "")}
	}
}

// inherits is a human's deploy that carries the marks of the template along.
func inherits(base string) func(*runpb.Revision) {
	return func(r *runpb.Revision) {
		copyOf(base)(r)
		r.Containers = []*runpb.Container{{Image: "repo/api@sha256:human"}}
	}
}

// serves makes a service whose traffic follows the latest revision, which carries everything.
func serves(name string) *runpb.Service {
	full := "projects/p/locations/l/services/api/revisions/" + name
	return &runpb.Service{
		Name: "projects/p/locations/l/services/api", Etag: "1", Generation: 4, ObservedGeneration: 4,
		Traffic:             []*runpb.TrafficTarget{{Type: toLatest, Percent: 100}},
		TrafficStatuses:     []*runpb.TrafficTargetStatus{{Type: toLatest, Percent: 100}},
		LatestReadyRevision: full, LatestCreatedRevision: full,
		TerminalCondition: &runpb.Condition{Type: "Ready", State: runpb.Condition_CONDITION_SUCCEEDED},
		LastModifier:      "ann@example.com",
	}
}

// hours makes a history of one-hour buckets that ends at noon: oldest first.
func hours(counts ...map[string]count) history {
	h := history{From: ago(time.Duration(len(counts)) * time.Hour), To: noon}
	for i, c := range counts {
		end := ago(time.Duration(len(counts)-1-i) * time.Hour)
		if len(c) > 0 {
			h.Buckets = append(h.Buckets, bucket{Start: end.Add(-time.Hour), End: end, Revisions: c})
		}
	}
	return h
}

func TestPrevious(t *testing.T) {
	t.Parallel()
	served := func(name string) map[string]count { return map[string]count{name: {Requests: 2406, Errors: 2}} }
	current := rev("api-7", 10*time.Minute)
	for name, tc := range map[string]struct {
		revisions []*runpb.Revision
		history   history
		known     string // known bad
		current   *runpb.Revision
		want      string
		evidence  string
		reasons   []string
	}{
		"the one that served": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)}, history: hours(served("api-6"), served("api-6"), served("api-7")),
			want: "api-6", evidence: "api-6 was ready and carried 100 % of 4 812 requests between 2026-03-04 09:00 and 2026-03-04 11:00 with under 0.1 % errors",
		},
		"newest that served, in any order of listing": {
			revisions: []*runpb.Revision{rev("api-4", 30*time.Hour), rev("api-6", 5*time.Hour), rev("api-5", 20*time.Hour)},
			history:   hours(served("api-4"), served("api-5"), served("api-6"), served("api-7")), want: "api-6",
		},
		"who served last counts, not who was created last": {
			revisions: []*runpb.Revision{rev("api-5", 9*time.Hour), rev("api-6", 5*time.Hour)},
			history:   hours(served("api-5"), served("api-6"), served("api-5")), want: "api-5",
		},
		"never ready": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour, notReady)}, history: hours(served("api-6")), reasons: []string{"api-6 is not ready"},
		},
		"deleted": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour, deleted)}, history: hours(served("api-6")), reasons: []string{"api-6 is being deleted"},
		},
		"no traffic seen": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)}, reasons: []string{"api-6 carried no traffic in the time looked back on"},
		},
		"tagged only": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)},
			history:   hours(map[string]count{"api-7": {Requests: 900}, "api-6": {Requests: 100}}),
			reasons:   []string{"api-6 never carried 90 % of the traffic"},
		},
		"at the share": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)},
			history:   hours(map[string]count{"api-7": {Requests: 90}, "api-6": {Requests: 910}}), want: "api-6",
		},
		"too few requests": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)}, history: hours(map[string]count{"api-6": {Requests: 19}}),
			reasons: []string{"api-6 carried only 19 requests, 20 are needed"},
		},
		"enough requests": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)}, history: hours(map[string]count{"api-6": {Requests: 20, Errors: 1}}), want: "api-6",
		},
		"errors while it served": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)}, history: hours(map[string]count{"api-6": {Requests: 100, Errors: 6}}),
			reasons: []string{"api-6 had 6 % errors while it served"},
		},
		"known bad": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour)}, history: hours(served("api-6")), known: "api-6",
			reasons: []string{"api-6 was rolled back from before"},
		},
		"a copy of a known bad one": {
			revisions: []*runpb.Revision{rev("api-5", 6*time.Hour), rev("api-6", 5*time.Hour, copyOf("api-5"))}, history: hours(served("api-6")),
			known: "api-5", reasons: []string{"api-6 was rolled back from before", "api-5 was rolled back from before"},
		},
		"a known bad copy of a good one": {
			revisions: []*runpb.Revision{rev("api-5", 9*time.Hour), rev("api-6", 5*time.Hour, copyOf("api-5"))}, history: hours(served("api-5"), served("api-6")),
			known: "api-6", want: "api-5",
		},
		"newer than what serves": {
			revisions: []*runpb.Revision{rev("api-8", time.Minute)}, history: hours(served("api-8")), reasons: []string{"api-8 is newer than what serves"},
		},
		"what the serving copy was made of": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour), rev("api-5", 9*time.Hour)}, history: hours(served("api-5"), served("api-6")),
			current: rev("api-7", 10*time.Minute, copyOf("api-6")), want: "api-5",
		},
		"a human's deploy that inherited our marks is no copy": {
			revisions: []*runpb.Revision{rev("api-6", 5*time.Hour), rev("api-5", 9*time.Hour)}, history: hours(served("api-5"), served("api-6")),
			current: rev("api-7", 10*time.Minute, inherits("api-6")), want: "api-6",
		},
		"a copy of a good one may be gone back to": {
			revisions: []*runpb.Revision{rev("api-5", 9*time.Hour), rev("api-6", 5*time.Hour, copyOf("api-5"))}, history: hours(served("api-5"), served("api-6")),
			want: "api-6",
		},
		"the only revision": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := current
			if tc.current != nil {
				now = tc.current
			}
			s := serves("api-7")
			if tc.known != "" {
				s.Annotations = map[string]string{markKnownBad: tc.known}
			}
			got, reasons := record{Service: s, Revisions: append(tc.revisions, now), History: tc.history, Least: 20}.previous("api-7")
			if got.Name != tc.want || tc.evidence != "" && got.Evidence != tc.evidence {
				t.Errorf("got %+v (%v), want %q: %s", got, reasons, tc.want, tc.evidence)
			}
			if tc.want == "" {
				if diff := cmp.Diff(tc.reasons, reasons); diff != "" {
					t.Errorf("reasons (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	other, mine := map[string]count{"api-6": {Requests: 100}}, map[string]count{"api-7": {Requests: 100}}
	both := func(n int64) map[string]count {
		return map[string]count{"api-6": {Requests: 100 - n}, "api-7": {Requests: n}}
	}
	for name, tc := range map[string]struct {
		history history
		created time.Duration // ago
		want    time.Duration // ago
		refined bool
	}{
		"no metrics at all":             {history: hours(), created: 5 * time.Minute, want: 5 * time.Minute},
		"metrics do not show it yet":    {history: hours(other, other), created: 2 * time.Minute, want: 2 * time.Minute},
		"deployed and routed at once":   {history: hours(other, other, both(60)), created: 40 * time.Minute, want: 40 * time.Minute},
		"routed later":                  {history: hours(other, other, mine), created: 20 * time.Hour, want: time.Hour, refined: true},
		"the hour before has a part":    {history: hours(other, both(20), mine), created: 20 * time.Hour, want: 2 * time.Hour, refined: true},
		"tag requests are no serving":   {history: hours(other, both(1), other, mine), created: 20 * time.Hour, want: time.Hour, refined: true},
		"canary that has just been let": {history: hours(other, both(10), both(10)), created: 20 * time.Hour, want: time.Hour, refined: true},
		"served before the lookback":    {history: hours(mine, mine), created: 20 * time.Hour, want: 20 * time.Hour},
		"started inside the lookback":   {history: hours(mine, mine), created: 90 * time.Minute, want: 90 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tc.history.takeover("api-7", ago(tc.created))
			if !got.At.Equal(ago(tc.want)) || got.To.After(got.From) != tc.refined {
				t.Errorf("got %+v, want %s (to be refined: %t)", got, ago(tc.want), tc.refined)
			}
		})
	}
}
