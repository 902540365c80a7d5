package cloudrun_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/cloudrun"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sandbox"
)

// TestTheDestinationReallyCarriedTheService: a revision that a tag alone reaches leads in quiet hours, and so does one that was given up.
func TestTheDestinationReallyCarriedTheService(t *testing.T) {
	t.Parallel()
	beta := func(age time.Duration) sandbox.Revision {
		return sandbox.Revision{Name: "api-00009-bta", CreatedAgo: age, NoTraffic: true, Tag: "beta", TagRequestsPerMinute: 2}
	}
	for name, tc := range map[string]struct {
		alter  func(*sandbox.Service)
		params string
		want   string
		reason guard.Reason
		part   string
	}{
		"asked by its tag in a quiet night": {
			alter: func(s *sandbox.Service) {
				s.Revisions[1].ServedUntil = 6 * time.Hour
				s.Revisions = slices.Insert(s.Revisions, 1, beta(30*time.Hour))
			}, want: good,
		},
		"asked by its tag alone": {
			alter: func(s *sandbox.Service) {
				s.Revisions[1].ServedUntil = 6 * time.Hour
				s.Revisions = slices.Insert(s.Revisions, 1, beta(30*time.Hour))
			}, params: "{to: api-00009-bta}", reason: guard.NoDestination, part: "never carried 90 %",
		},
		"a tag that also carried the service": {
			alter: func(s *sandbox.Service) { s.Revisions[1].Tag, s.Revisions[1].TagRequestsPerMinute = "v2", 2 }, want: good,
		},
		"given up for an older one": {
			alter: func(s *sandbox.Service) {
				s.Revisions[0].ServedFrom, s.Revisions[0].ServedUntil = 10*time.Hour, 5*time.Minute
				s.Revisions[1].ServedUntil = 10 * time.Hour
			}, want: first,
		},
		"given up for an older one, named": {
			alter: func(s *sandbox.Service) {
				s.Revisions[0].ServedFrom, s.Revisions[0].ServedUntil = 10*time.Hour, 5*time.Minute
				s.Revisions[1].ServedUntil = 10 * time.Hour
			}, params: "{to: " + good + "}", reason: guard.NoDestination, part: "was left for the older " + first,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t, tc.alter)
			if tc.reason != "" {
				f.refused(f.plan("cloud_run.rollback", tc.params), tc.reason, tc.part)
				return
			}
			f.do("cloud_run.rollback", tc.params, "r1-0-1")
			if f.serving() != tc.want {
				t.Errorf("%s serves, want %s", f.serving(), tc.want)
			}
		})
	}
}

func TestMarksThatPeopleSet(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		marks map[string]string
		part  string
	}{
		"what serves":         {map[string]string{bad: "drops a column"}, bad + " is marked no-rollback-past (drops a column)"},
		"no such revision":    {map[string]string{"api-7": "x"}, "is no revision now"},
		"the destination":     {map[string]string{good: "x"}, ""},
		"one before":          {map[string]string{first: "x"}, ""},
		"none of this target": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t)
			f.env.Marks = tc.marks
			if tc.part == "" {
				f.do("cloud_run.rollback", "", "r1-0-1")
				return
			}
			f.refused(f.plan("cloud_run.rollback", ""), guard.Migrations, tc.part)
		})
	}
}

func TestALabelStandsWhateverTheTargetPromises(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.Revisions[2].Labels = map[string]string{"no-rollback-past": "42"} })
	for _, promise := range []string{"none", "marked"} {
		f.env.Target.Migrations = promise
		f.refused(f.plan("cloud_run.rollback", ""), guard.Migrations, bad+" carries the label no-rollback-past (42)")
	}
}

// contradictions are answers of Cloud Run that speak against themselves.
func contradictions() map[string]func(*fixture) {
	return map[string]func(*fixture){
		"shows other traffic than it was told": func(f *fixture) { must(f.T, f.ShowTraffic(service, sandbox.Share{Revision: good, Percent: 100})) },
		"shows a share that nobody asked for": func(f *fixture) {
			must(f.T, f.ShowTraffic(service, sandbox.Share{Percent: 90}, sandbox.Share{Revision: good, Percent: 10}))
		},
		"has not seen its generation": func(f *fixture) { must(f.T, f.ShowGeneration(service, 1)) },
	}
}

func TestAContradictionIsUnknown(t *testing.T) {
	t.Parallel()
	for name, happens := range contradictions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t)
			happens(f)
			revisions, answer := f.revisions()
			if revisions.Serving != "" || len(answer.Unknown) != 11 || !slices.Contains(answer.Unknown, "age") || !strings.Contains(answer.Summary, "it is settled") {
				t.Errorf("revisions: %+v, unknown %v: %s", revisions, answer.Unknown, answer.Summary)
			}
			fact, answer := f.service()
			for _, field := range []string{"serving", "split", "ready", "pinned"} {
				if !slices.Contains(answer.Unknown, field) {
					t.Errorf("service: %s is known: %+v: %s", field, fact, answer.Summary)
				}
			}
			for kind, params := range kinds {
				err := f.plan(kind, params)
				if name == "has not seen its generation" {
					f.refused(err, guard.Reconciling, "")
					continue
				}
				f.refused(err, guard.Conflicting, "contradicts itself")
			}
			must(t, f.SetLabels(service, nil)) // whatever is written next ends it
			if fact, answer := f.revisions(); fact.Serving != bad || len(answer.Unknown) > 0 {
				t.Errorf("afterwards: %+v, unknown %v", fact, answer.Unknown)
			}
		})
	}
}

func (f *fixture) service() (*cloudrun.ServiceFact, executors.Answer) {
	f.Helper()
	kind, _ := executors.LookupProbe("cloud_run.service")
	answer, err := kind.New().Ask(f.Context(), f.now())
	must(f.T, err)
	fact, ok := answer.Fact.(*cloudrun.ServiceFact)
	if !ok {
		f.Fatalf("fact is a %T", answer.Fact)
	}
	return fact, answer
}

func TestFactsOfOneServiceClaimTheSame(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	before, _ := f.service()
	revisions, _ := f.revisions()
	if diff := cmp.Diff(before.Claims(), revisions.Claims()); diff != "" || before.Claims()["cloud_run/serving/api"] != bad {
		t.Errorf("one moment, two claims (-service +revisions):\n%s", diff)
	}
	if no := guard.Agree([]guard.Claims{{By: "a", Says: before.Claims()}, {By: "b", Says: revisions.Claims()}}); no != nil {
		t.Error(no)
	}
	_, err := f.Deploy(service, sandbox.Revision{})
	must(t, err)
	after, _ := f.service()
	if no := guard.Agree([]guard.Claims{{By: "a", Says: revisions.Claims()}, {By: "b", Says: after.Claims()}}); no == nil {
		t.Errorf("before and after a deploy agree: %v, %v", revisions.Claims(), after.Claims())
	}
	must(t, f.Split(service, sandbox.Share{Percent: 60}, sandbox.Share{Revision: good, Percent: 40}))
	if shared, _ := f.service(); len(shared.Claims()) != 1 {
		t.Errorf("a share is no sole serving: %v", shared.Claims())
	}
}

// TestInverses: a change that takes another back is known by the keys and values that it sets.
func TestInverses(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, func(s *sandbox.Service) { s.MaxInstances = 8 })
	_, back := f.do("cloud_run.rollback", "", "r1-0-1")
	fixed, err := f.Deploy(service, sandbox.Revision{})
	must(t, err)
	_, forth := f.do("cloud_run.unpin", "", "r2-0-1")
	if a, b := changed(back), changed(forth); !slices.Equal(a, b) || !slices.Equal(a, []string{"allocation", "image", "serving"}) {
		t.Errorf("rollback changes %v, unpin %v", a, b)
	}
	if forth.Before["serving"] != back.After["serving"] || forth.After["serving"] != fixed+" 100 %" || forth.Before["image"] != back.After["image"] {
		t.Errorf("rollback %v -> %v, unpin %v -> %v", back.Before, back.After, forth.Before, forth.After)
	}
	if back.Before["allocation"] != forth.After["allocation"] || back.After["allocation"] != forth.Before["allocation"] {
		t.Errorf("allocation: rollback %v -> %v, unpin %v -> %v", back.Before, back.After, forth.Before, forth.After)
	}
	a, up := f.do("cloud_run.scale", "{at_least: 5, at_most: 20}", "r3-0-1")
	down, err := a.Undo(t.Context(), f.now(), up)
	must(t, err)
	if diff := cmp.Diff(up.Before, down.After); diff != "" || !cmp.Equal(up.After, down.Before) || !slices.Equal(changed(up), []string{"max_instances", "min_instances"}) {
		t.Errorf("scale up changes %v; its inverse leads elsewhere:\n%s", changed(up), diff)
	}
}

// changed are the keys that a change sets, in order.
func changed(c executors.Change) []string {
	from, _ := guard.Changed(c.Before, c.After)
	return slices.Sorted(maps.Keys(from))
}

func TestUnpinRefusesACopyOfTheBadRevision(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	f.do("cloud_run.restart", "", "r1-0-1") // a copy of bad serves
	must(t, f.Split(service, sandbox.Share{Revision: bad, Percent: 100}))
	must(t, f.Split(service, sandbox.Share{Percent: 100}))
	f.do("cloud_run.rollback", "", "r1-1-1")
	f.refused(f.plan("cloud_run.unpin", ""), guard.NoDestination, "which was rolled back from")
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	f := badDeploy(t)
	for want, s := range map[string]*cloudrun.Service{
		"cloud_run/mixillo/europe-west1/api": {Service: "api"},
		"cloud_run/other/europe-west1/api":   {Service: "api", Project: "other"},
		"cloud_run/mixillo/us-east1/api":     {Service: "api", Region: "us-east1"},
	} {
		if got := s.Identity(f.env.Connections); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := (&cloudrun.Service{Service: "api", Project: "p"}).Identity(nil); got != "cloud_run/p//api" {
		t.Errorf("without a connection: %s", got)
	}
}
