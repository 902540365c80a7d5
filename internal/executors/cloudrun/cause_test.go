package cloudrun

import (
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/guard"
)

func TestClearlyWorse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		now, then count
		want      bool
	}{
		"one of twenty proves nothing": {count{20, 1}, count{5000, 0}, false},
		"four of twenty do":            {count{20, 4}, count{5000, 0}, true},
		"one in a hundred of many":     {count{100_000, 1100}, count{100_000, 0}, true},
		"half a point is noise":        {count{100_000, 500}, count{100_000, 0}, false},
		"twice as many":                {count{100_000, 9000}, count{100_000, 4000}, true},
		"not twice as many":            {count{100_000, 7000}, count{100_000, 4000}, false},
		"more than half failed before": {count{5000, 5000}, count{5000, 2600}, false},
		"as much":                      {count{5000, 250}, count{5000, 250}, false},
		"less":                         {count{5000, 50}, count{5000, 250}, false},
		"no requests":                  {count{}, count{5000, 0}, false},
		"everything, of few":           {count{20, 20}, count{20, 0}, true},
	} {
		if got := clearlyWorse(tc.now, tc.then); got != tc.want {
			t.Errorf("%s: %v after %v: got %t", name, tc.now, tc.then, got)
		}
	}
}

func TestTrial(t *testing.T) {
	t.Parallel()
	well, sick := count{5000, 5}, count{3000, 900}
	base := trial{New: "api-7", Old: "api-6", Since: noon, Least: 20, Now: sick, While: well}
	for name, tc := range map[string]struct {
		alter  func(*trial)
		reason guard.Reason
		part   string
	}{
		"worse":                          {alter: func(*trial) {}},
		"too few requests":               {alter: func(t *trial) { t.Now = count{19, 19} }, reason: guard.NoCause, part: "only 19 requests since 2026-03-04 12:00, 20 are needed"},
		"too few as yet":                 {alter: func(t *trial) { t.Now, t.Lagging = count{19, 19}, true }, reason: guard.UnknownFacts, part: "only 19 requests"},
		"nothing to compare with":        {alter: func(t *trial) { t.While = count{} }, reason: guard.NoCause, part: "api-6 is seen with only 0 requests"},
		"the former one fails too":       {alter: func(t *trial) { t.Beside = count{200, 80} }, reason: guard.NoCause, part: "40 % of 200 that api-6 had since then too"},
		"the former one is well beside":  {alter: func(t *trial) { t.Beside = count{200, 1} }},
		"too few beside to tell":         {alter: func(t *trial) { t.Beside = count{19, 19} }},
		"failed just before":             {alter: func(t *trial) { t.Before = count{200, 80} }, reason: guard.NoCause, part: "just before it"},
		"failed in the half hour before": {alter: func(t *trial) { t.Lately = count{200, 80} }, reason: guard.NoCause, part: "in the half hour before it"},
		"fails as it always did":         {alter: func(t *trial) { t.While = count{5000, 1400} }, reason: guard.NoCause, part: "while it served"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial := base
			tc.alter(&trial)
			evidence, err := trial.judge()
			refused(t, err, tc.reason, tc.part)
			if want := "api-7 fails 30 % of 3 000 requests since 2026-03-04 12:00; api-6 failed 0.1 % of 5 000"; err == nil && evidence != want {
				t.Errorf("evidence %q", evidence)
			}
		})
	}
}

// TestSum: who is asked when decides which side of the trial a request is on.
func TestSum(t *testing.T) {
	t.Parallel()
	rec := record{Revisions: []*runpb.Revision{rev("api-5", 9*time.Hour), rev("api-6", 5*time.Hour), rev("api-7", time.Hour), rev("api-8", 30*time.Minute, copyOf("api-7"))}}
	n := func(requests int64) count { return count{Requests: requests} }
	minute := func(ago int, who map[string]count) bucket {
		end := noon.Add(-time.Duration(ago) * time.Minute)
		return bucket{Start: end.Add(-time.Minute), End: end, Revisions: who}
	}
	detail := history{Buckets: []bucket{
		minute(20, map[string]count{"api-6": n(1), "api-7": n(2)}), // a try by its tag is not the release
		minute(12, map[string]count{"api-6": n(4)}),
		minute(10, map[string]count{"api-6": n(8), "api-7": n(16)}), // the takeover, half a minute before
		minute(9, map[string]count{"api-6": n(32), "api-7": n(64)}),
		minute(1, map[string]count{"api-5": n(128), "api-8": n(256), "gone": n(512)}),
	}}
	got := trial{New: "api-8", Old: "api-6", Since: noon.Add(-10*time.Minute - 30*time.Second)}
	got.sum(rec, detail, noon.Add(-15*time.Minute))
	want := trial{New: "api-8", Old: "api-6", Since: got.Since, Now: n(16 + 64 + 256), Lately: n(1 + 4 + 8), Before: n(4 + 8), Beside: n(32)}
	if got != want {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
