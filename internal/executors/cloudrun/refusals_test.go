package cloudrun

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// refused checks the typed reason and a part of the sentence; no reason means that it must be allowed.
func refused(t *testing.T, err error, reason guard.Reason, part string) {
	t.Helper()
	var r *guard.Refusal
	switch {
	case reason == "" && err != nil:
		t.Errorf("refused what it should allow: %v", err)
	case reason == "":
	case !errors.As(err, &r) || r.Reason != reason || !strings.Contains(r.Detail, part):
		t.Errorf("got %v, want %s: …%s…", err, reason, part)
	}
}

func pinned(name string) []*runpb.TrafficTarget {
	return []*runpb.TrafficTarget{{Type: toRevision, Revision: name, Percent: 100}}
}

// routed sets desired and observed traffic to one revision.
func routed(name string) func(*runpb.Service) {
	return func(s *runpb.Service) {
		s.Traffic = pinned(name)
		s.TrafficStatuses = []*runpb.TrafficTargetStatus{{Type: toRevision, Revision: name, Percent: 100}}
	}
}

func marked(bad, good, former string) func(*runpb.Service) {
	return func(s *runpb.Service) {
		s.Annotations = map[string]string{markRolledBack: rolledBack{bad, good, "2026-03-04T11:00:00Z", former}.String(), markKnownBad: bad}
	}
}

func TestMayRollBack(t *testing.T) {
	t.Parallel()
	shared := func(s *runpb.Service) {
		s.Traffic = []*runpb.TrafficTarget{{Type: toLatest, Percent: 90}, {Type: toRevision, Revision: "api-6", Percent: 10}}
		s.TrafficStatuses = []*runpb.TrafficTargetStatus{{Type: toLatest, Percent: 90}, {Type: toRevision, Revision: "api-6", Percent: 10}}
	}
	for name, tc := range map[string]struct {
		migrations string
		service    []func(*runpb.Service)
		reason     guard.Reason
		part       string
	}{
		"allowed":                       {migrations: "none"},
		"allowed with marks":            {migrations: "marked"},
		"no promise on migrations":      {reason: guard.Migrations, part: "does not say `migrations: marked` or `none`"},
		"reconciling":                   {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) { s.Reconciling = true }}, reason: guard.Reconciling, part: "under way"},
		"not observed yet":              {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) { s.Generation = 5 }}, reason: guard.Reconciling, part: "under way"},
		"shows other traffic than told": {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) { s.Traffic = pinned("api-6") }}, reason: guard.Conflicting, part: "was told api-6 100 %, but shows api-7 100 %"},
		"held by a label":               {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) { s.Labels = map[string]string{hold: ""} }}, reason: guard.Held, part: `api carries the label remediator-hold: ""`},
		"held by an annotation":         {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) { s.Annotations = map[string]string{hold: "no"} }}, reason: guard.Held, part: "the annotation remediator-hold"},
		"canary":                        {migrations: "none", service: []func(*runpb.Service){shared}, reason: guard.SplitTraffic, part: "api-7 90 %, api-6 10 %"},
		"nobody serves":                 {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) { s.TrafficStatuses = nil }}, reason: guard.UnknownFacts, part: "no revision"},
		"pinned by us":                  {migrations: "none", service: []func(*runpb.Service){routed("api-6"), marked("api-7", "api-6", "latest")}, reason: guard.AlreadyPinned, part: "since the rollback from api-7"},
		"pinned by a human":             {migrations: "none", service: []func(*runpb.Service){routed("api-6")}, reason: guard.AlreadyPinned, part: "somebody pinned the traffic to api-6"},
		"pinned by the pipeline":        {migrations: "none", service: []func(*runpb.Service){routed("api-7")}},
		"our pin is long gone":          {migrations: "none", service: []func(*runpb.Service){routed("api-7"), marked("api-5", "api-4", "pinned")}},
		"tags carry no traffic": {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) {
			s.Traffic = append(s.Traffic, &runpb.TrafficTarget{Type: toRevision, Revision: "api-6", Tag: "old"})
		}}},
		"a broken mark is no pin":    {migrations: "none", service: []func(*runpb.Service){func(s *runpb.Service) { s.Annotations = map[string]string{markRolledBack: "x"} }}},
		"an unknown word is no oath": {migrations: "maybe", reason: guard.Migrations},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serves("api-7")
			for _, o := range tc.service {
				o(s)
			}
			serving, err := mayRollBack(executors.Env{Target: executors.Target{Migrations: tc.migrations}}, s)
			refused(t, err, tc.reason, tc.part)
			if err == nil && serving != "api-7" {
				t.Errorf("serving is %q", serving)
			}
		})
	}
}

func TestRecent(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		onset, since time.Duration // ago; no onset: by hand
		speed        float64
		reason       guard.Reason
		part         string
	}{
		"deployed before the alert":          {onset: 5 * time.Minute, since: 8 * time.Minute},
		"by hand, young":                     {since: 29 * time.Minute},
		"by hand, too old":                   {since: 31 * time.Minute, reason: guard.NoCause, part: "too old"},
		"old now, young at the onset":        {onset: 20 * time.Minute, since: 45 * time.Minute},
		"too old at the onset":               {onset: 5 * time.Minute, since: 36 * time.Minute, reason: guard.NoCause, part: "had served for 31m"},
		"deployed after the onset":           {onset: 20 * time.Minute, since: 10 * time.Minute, reason: guard.NoCause, part: "after the alert began"},
		"within the slack of the onset":      {onset: 5 * time.Minute, since: 4 * time.Minute},
		"the slack is the world's, scaled":   {onset: 5 * time.Minute, since: 4 * time.Minute, speed: 120, reason: guard.NoCause},
		"exactly as old as is allowed":       {onset: 0, since: 30 * time.Minute},
		"the deploy follows by the slack":    {onset: 5 * time.Minute, since: 3 * time.Minute},
		"the deploy follows by more than it": {onset: 5 * time.Minute, since: 3*time.Minute - time.Second, reason: guard.NoCause},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := executors.Env{Now: noon, Speed: tc.speed}
			if tc.onset > 0 {
				env.Onset = ago(tc.onset)
			}
			refused(t, recent(env, "api-7", ago(tc.since), 30*time.Minute), tc.reason, tc.part)
		})
	}
}

func TestDestination(t *testing.T) {
	t.Parallel()
	rec := record{
		Service: serves("api-7"), Least: 20,
		Revisions: []*runpb.Revision{rev("api-5", 9*time.Hour), rev("api-6", 5*time.Hour, notReady), rev("api-7", 10*time.Minute)},
		History:   hours(map[string]count{"api-5": {Requests: 100}}),
	}
	for name, tc := range map[string]struct {
		to     string
		rec    record
		want   string
		reason guard.Reason
		part   string
	}{
		"looked for":         {rec: rec, want: "api-5"},
		"by its word":        {to: previousHealthy, rec: rec, want: "api-5"},
		"named":              {to: "api-5", rec: rec, want: "api-5"},
		"named, not legal":   {to: "api-6", rec: rec, reason: guard.NoDestination, part: "api-6 is not ready"},
		"named, not there":   {to: "api-1", rec: rec, reason: guard.NoDestination, part: "there is no revision api-1"},
		"named, serves":      {to: "api-7", rec: rec, reason: guard.NothingToDo, part: "already serves"},
		"none":               {rec: record{Service: rec.Service, Revisions: rec.Revisions, Least: 20}, reason: guard.NoDestination, part: "api-6 is not ready; api-5 carried no traffic"},
		"no other revisions": {rec: record{Service: rec.Service, Revisions: rec.Revisions[2:]}, reason: guard.NoDestination, part: "the only revision"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := (&rollback{To: tc.to}).destination(tc.rec, "api-7")
			refused(t, err, tc.reason, tc.part)
			if got.Name != tc.want {
				t.Errorf("got %q, want %q", got.Name, tc.want)
			}
		})
	}
}

func TestMigrationMarks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		label int // index of the revision that carries CI's label, -1: none
		marks map[string]string
		part  string // of the refusal; "": allowed
	}{
		"none":                         {label: -1},
		"the serving one is labelled":  {label: 3, part: "api-7 carries the label no-rollback-past (true): api-5 is older"},
		"one between is labelled":      {label: 2, part: "api-6 carries the label"},
		"the destination is labelled":  {label: 1},
		"an older one is labelled":     {label: 0},
		"the serving one is marked":    {label: -1, marks: map[string]string{"api-7": "adds a column"}, part: "api-7 is marked no-rollback-past (adds a column): api-5 is older"},
		"one between is marked":        {label: -1, marks: map[string]string{"api-6": ""}, part: "api-6 is marked no-rollback-past (no reason given)"},
		"the destination is marked":    {label: -1, marks: map[string]string{"api-5": "x"}},
		"an older one is marked":       {label: -1, marks: map[string]string{"api-4": "x"}},
		"a mark that cannot be placed": {label: -1, marks: map[string]string{"api-9": "x"}, part: "api-9 is marked no-rollback-past (x) and is no revision now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := record{Revisions: []*runpb.Revision{
				rev("api-4", 9*time.Hour), rev("api-5", 8*time.Hour), rev("api-6", 7*time.Hour, notReady), rev("api-7", time.Hour),
			}}
			if tc.label >= 0 {
				labelled(rec.Revisions[tc.label])
			}
			reason := guard.Migrations
			if tc.part == "" {
				reason = ""
			}
			refused(t, mayGoBack(tc.marks, rec, "api-7", "api-5"), reason, tc.part)
		})
	}
}

// TestMigrationMarksOfCopies: the age of code counts, not that of the copy which a restart made of it.
func TestMigrationMarksOfCopies(t *testing.T) {
	t.Parallel()
	rec := record{Revisions: []*runpb.Revision{
		rev("api-5", 9*time.Hour), rev("api-6", 8*time.Hour), rev("api-7", 7*time.Hour, copyOf("api-5")), rev("api-8", time.Hour),
	}}
	refused(t, mayGoBack(map[string]string{"api-6": "x"}, rec, "api-8", "api-7"), guard.Migrations, "api-6 is marked")
	refused(t, mayGoBack(map[string]string{"api-5": "x"}, rec, "api-8", "api-7"), "", "")
}

func TestScaleBounds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		scale  scale
		was    levels
		limit  int32
		want   levels
		reason guard.Reason
		part   string
	}{
		"service level":                {scale: scale{AtLeast: 5}, was: levels{Service: bounds{1, 10}}, want: levels{Service: bounds{5, 10}}},
		"nothing set":                  {scale: scale{AtLeast: 5}, want: levels{Service: bounds{5, 0}}},
		"revision level in use":        {scale: scale{AtLeast: 5}, was: levels{Revision: bounds{2, 10}}, want: levels{Revision: bounds{5, 10}}},
		"both set, the service's wins": {scale: scale{AtLeast: 5}, was: levels{Service: bounds{1, 0}, Revision: bounds{2, 10}}, want: levels{Service: bounds{5, 0}, Revision: bounds{2, 10}}},
		"never lowers":                 {scale: scale{AtLeast: 5}, was: levels{Service: bounds{8, 0}}, want: levels{Service: bounds{8, 0}}, reason: guard.NothingToDo, part: "already are 8 to unset"},
		"never lowers the upper one":   {scale: scale{AtLeast: 5, AtMost: 20}, was: levels{Service: bounds{1, 100}}, want: levels{Service: bounds{5, 100}}},
		"raises both":                  {scale: scale{AtLeast: 5, AtMost: 20}, was: levels{Service: bounds{1, 4}}, want: levels{Service: bounds{5, 20}}},
		"an upper bound on two levels": {scale: scale{AtMost: 20}, was: levels{Service: bounds{1, 4}, Revision: bounds{0, 8}}, want: levels{Service: bounds{1, 20}, Revision: bounds{0, 20}}},
		"no upper bound to raise":      {scale: scale{AtMost: 20}, reason: guard.NothingToDo},
		"above the upper bound":        {scale: scale{AtLeast: 11}, was: levels{Service: bounds{1, 10}}, want: levels{Service: bounds{11, 10}}, reason: guard.OutOfBounds, part: "upper bound of 10"},
		"above the revision's":         {scale: scale{AtLeast: 11}, was: levels{Revision: bounds{0, 10}}, want: levels{Service: bounds{11, 0}, Revision: bounds{0, 10}}, reason: guard.OutOfBounds, part: "upper bound of 10"},
		"above the target's limit":     {scale: scale{AtLeast: 11}, limit: 10, want: levels{Service: bounds{11, 0}}, reason: guard.OutOfBounds, part: "max_instances_limit of 10"},
		"at the limit":                 {scale: scale{AtLeast: 10}, limit: 10, want: levels{Service: bounds{10, 0}}},
		"upper bound above the limit":  {scale: scale{AtMost: 11}, was: levels{Service: bounds{0, 5}}, limit: 10, want: levels{Service: bounds{0, 11}}, reason: guard.OutOfBounds},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tc.was.raise(&tc.scale)
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			refused(t, tc.scale.judge(tc.was, got, tc.limit), tc.reason, tc.part)
		})
	}
	manual := serves("api-7")
	manual.Scaling = &runpb.ServiceScaling{ScalingMode: runpb.ServiceScaling_MANUAL}
	refused(t, mayScale(manual), guard.OutOfBounds, "scaled by hand")
	moving := serves("api-7")
	moving.Reconciling = true
	refused(t, mayScale(moving), guard.Reconciling, "under way")
}

func TestImageWithoutDigest(t *testing.T) {
	t.Parallel()
	r := rev("api-7", time.Hour)
	r.Containers[0].Image = "repo/api:latest"
	_, err := newRebase(serves("api-7"), r)
	refused(t, err, guard.NoDestination, "names its image by a tag (repo/api:latest)")
}

func TestParameters(t *testing.T) {
	t.Parallel()
	target := executors.Target{Name: "backend", Systems: map[string]any{System: &Service{Service: "api", MaxInstancesLimit: 10}}}
	type validator interface{ Validate(executors.Target) error }
	for want, k := range map[string]validator{
		"at_least or at_most must be given":                     &scale{},
		"at_least must be at least 1":                           &scale{AtLeast: -1},
		"at_most must not be below at_least":                    &scale{AtLeast: 5, AtMost: 3},
		"the target's max_instances_limit is 10":                &scale{AtLeast: 11},
		"to must be previous_healthy or the short name of":      &rollback{To: "projects/x"},
		"lookback must be between 1h and 30d":                   &rollback{Lookback: time.Minute},
		"min_requests must not be negative":                     &rollback{MinRequests: -1},
		"within must not be negative":                           &rollback{Within: -1},
		"cause must be health or errors":                        &rollback{Cause: "hunch"},
		"env must name at least one variable":                   &setEnv{},
		"A must have either a value or a secret":                &setEnv{Env: map[string]EnvValue{"A": {Value: "x", Secret: "y"}}},
		"A has a version but no secret":                         &setEnv{Env: map[string]EnvValue{"A": {Version: "1"}}},
		"PORT cannot be set as an environment variable":         &setEnv{Env: map[string]EnvValue{"PORT": {Value: "1"}}},
		"the secret of A must be a name":                        &setEnv{Env: map[string]EnvValue{"A": {Secret: "a b"}}},
		"service must be the short name of a Cloud Run service": &Service{Service: "projects/p/services/x"},
		"max_instances_limit must not be negative":              &Service{Service: "api", MaxInstancesLimit: -1},
	} {
		if err := k.Validate(target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", k, err, want)
		}
	}
	for _, k := range []validator{&rollback{}, &unpin{}, &restart{}, &scale{AtLeast: 10}, &serviceProbe{}, &revisionsProbe{},
		&setEnv{Env: map[string]EnvValue{"A": {Secret: "projects/p/secrets/x"}, "B": {}}}} {
		if err := k.Validate(target); err != nil {
			t.Errorf("%T: %v", k, err)
		}
		if err := k.Validate(executors.Target{}); err == nil || !strings.Contains(err.Error(), "section cloud_run") {
			t.Errorf("%T without a section: %v", k, err)
		}
	}
}

// A second rollback on a service waits for a human's release: the first may have been of no help, or the deploy after it may be as bad.
func TestRollbackIsMadeOnce(t *testing.T) {
	t.Parallel()
	for name, once := range map[string]bool{
		"cloud_run.rollback": true, "cloud_run.scale": false, "cloud_run.restart": false, "cloud_run.set_env": false, "cloud_run.unpin": false,
	} {
		kind, known := executors.LookupAction(name)
		if !known || kind.Once != once {
			t.Errorf("%s is known: %t; made once: %t, want %t", name, known, kind.Once, once)
		}
	}
}
