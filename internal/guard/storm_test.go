package guard_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

func TestStorm(t *testing.T) {
	t.Parallel()
	l := guard.Limits{Storm: guard.StormLimit{Targets: 3, Within: 10 * time.Minute}}
	want := func(target string, ago time.Duration) guard.Want {
		return guard.Want{Target: target, At: noon.Add(-ago)}
	}
	wants := func(w ...guard.Want) func(*guard.Snapshot) { return func(s *guard.Snapshot) { s.Wants = w } }
	two := []guard.Want{want("web", 1), want("db", 10*time.Minute-1)}
	judge(t, guard.Storm, map[string]example{
		"alone":                     {limits: l},
		"with one other":            {limits: l, snapshot: wants(two[0])},
		"with two others":           {limits: l, snapshot: wants(two...), refuses: true},
		"the second was long ago":   {limits: l, snapshot: wants(two[0], want("db", 10*time.Minute))},
		"the same twice":            {limits: l, snapshot: wants(two[0], two[0], want("web", 2))},
		"itself is counted once":    {limits: l, snapshot: wants(two[0], want("api", 1))},
		"in the future":             {limits: l, snapshot: wants(want("web", -time.Hour), want("db", -time.Hour)), refuses: true},
		"no limit":                  {snapshot: wants(two...)},
		"a later rung":              {limits: l, snapshot: func(s *guard.Snapshot) { s.Wants, s.FirstAct = two, false }},
		"released":                  {limits: l, snapshot: func(s *guard.Snapshot) { s.Wants, s.Released = two, noon }},
		"released before":           {limits: l, snapshot: func(s *guard.Snapshot) { s.Wants, s.Released = two, minute(-20) }, refuses: true},
		"released between":          {limits: l, snapshot: func(s *guard.Snapshot) { s.Wants, s.Released = two, minute(-5) }},
		"what people approved, too": {limits: l, snapshot: func(s *guard.Snapshot) { s.Wants, s.Auto = two, false }, refuses: true},
		"released at a time that the clock has not come back to": {limits: l, snapshot: func(s *guard.Snapshot) {
			s.Wants, s.Released = []guard.Want{want("web", -time.Minute), want("db", -time.Minute)}, minute(60)
		}, refuses: true},
	})
}

// modelStorm keeps the newest want of each target, and counts those that neither time nor a release has made pointless.
func modelStorm(l guard.Limits, s guard.Snapshot) bool {
	newest := map[string]int{}
	for _, w := range s.Wants {
		at := since(w.At)
		if known, ok := newest[w.Target]; !ok || at > known {
			newest[w.Target] = at
		}
	}
	now, released := since(s.Now), since(s.Released)
	others := 0
	for target, at := range newest {
		over := now-at >= int(l.Storm.Within/time.Minute) || !s.Released.IsZero() && at <= min(released, now)
		if target != s.Target && !over {
			others++
		}
	}
	return l.Storm.Targets > 0 && s.FirstAct && others >= l.Storm.Targets-1
}

func someStorm(t *rapid.T) guard.StormLimit {
	return guard.StormLimit{Targets: rapid.IntRange(0, 4).Draw(t, "targets"), Within: minutes(rapid.IntRange(0, 60).Draw(t, "within"))}
}

func (s *scene) release(*rapid.T) { s.released = s.now }

// releasedAt is the zero time before the first release.
func (s *scene) releasedAt() time.Time {
	if s.released == 0 {
		return time.Time{}
	}
	return minute(s.released)
}

func TestStormProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, l := &scene{}, guard.Limits{Storm: someStorm(t)}
		t.Repeat(map[string]func(*rapid.T){
			"want": w.want, "release": w.release, "clock": w.clock,
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.Wants, s.Released = w.wants, w.releasedAt()
				agrees(t, guard.Shared(l, s), modelStorm(l, s), guard.Storm)
				if n := guard.Wanting(s.Wants, s.Target, minute(-1<<20), time.Time{}); n < 1 || n > len(targetNames) {
					t.Fatalf("%d of %d targets want action", n, len(targetNames))
				}
			},
		})
	})
}
