package guard_test

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

// state is what a target is like, key by key.
type state = map[string]string

// changing is another run's act on the target.
func changing(ago time.Duration, before, after state) guard.Act {
	a := act("soothe", "api", ago)
	a.From, a.To = guard.Changed(before, after)
	return a
}

func TestOscillation(t *testing.T) {
	t.Parallel()
	l := guard.Limits{Inverse: 6 * time.Hour}
	wants := func(before, after state, past ...guard.Act) func(*guard.Snapshot) {
		return func(s *guard.Snapshot) {
			s.Acts = past
			s.Act.From, s.Act.To = guard.Changed(before, after)
		}
	}
	six, seven := state{"serving": "api-6", "min": "1"}, state{"serving": "api-7", "min": "1"}
	none, five := state{}, state{"min": "5"}
	back := changing(time.Hour, seven, six)
	judge(t, guard.Oscillation, map[string]example{
		"nothing before it":                  {limits: l, snapshot: wants(six, seven)},
		"the inverse":                        {limits: l, snapshot: wants(six, seven, back), refuses: true},
		"the same again":                     {limits: l, snapshot: wants(seven, six, back)},
		"just within the time":               {limits: l, snapshot: wants(six, seven, changing(6*time.Hour-1, seven, six)), refuses: true},
		"the time is over":                   {limits: l, snapshot: wants(six, seven, changing(6*time.Hour, seven, six))},
		"in the future":                      {limits: l, snapshot: wants(six, seven, changing(-time.Hour, seven, six)), refuses: true},
		"further on":                         {limits: l, snapshot: wants(six, state{"serving": "api-8", "min": "1"}, back)},
		"of another key":                     {limits: l, snapshot: wants(six, state{"serving": "api-6", "min": "2"}, back)},
		"one key of two":                     {limits: l, snapshot: wants(six, state{"serving": "api-7", "min": "9"}, back), refuses: true},
		"what was set is removed":            {limits: l, snapshot: wants(five, none, changing(time.Hour, none, five)), refuses: true},
		"what was removed is set":            {limits: l, snapshot: wants(none, five, changing(time.Hour, five, none)), refuses: true},
		"what was removed is set to another": {limits: l, snapshot: wants(none, state{"min": "3"}, changing(time.Hour, five, none))},
		"an older act than the last":         {limits: l, snapshot: wants(six, seven, back, changing(time.Minute, state{"min": "1"}, five)), refuses: true},
		"before it is planned":               {limits: l, snapshot: wants(nil, nil, back)},
		"an act that nothing is known of":    {limits: l, snapshot: wants(six, seven, act("soothe", "api", 1))},
		"no time":                            {snapshot: wants(six, seven, back)},
		"the end of what was made for a time": {limits: l, snapshot: func(s *guard.Snapshot) {
			wants(six, seven, back)(s)
			s.Acts[0].Ends = true
		}},
		"another target": {limits: l, snapshot: func(s *guard.Snapshot) {
			wants(six, seven, back)(s)
			s.Acts[0].Target = "web"
		}},
		"its own act": {limits: l, snapshot: func(s *guard.Snapshot) {
			wants(six, seven, back)(s)
			s.Acts[0].Run = "r1"
		}},
		"a later rung": {limits: l, snapshot: func(s *guard.Snapshot) {
			wants(six, seven, back)(s)
			s.FirstAct = false
		}},
	})
}

func TestChanged(t *testing.T) {
	t.Parallel()
	from, to := guard.Changed(state{"same": "a", "other": "a", "gone": "a", "empty": ""}, state{"same": "a", "other": "b", "new": "b"})
	if diff := cmp.Diff([2]state{{"other": "a", "gone": "a", "new": ""}, {"other": "b", "gone": "", "new": "b"}}, [2]state{from, to}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if from, to := guard.Changed(nil, nil); len(from)+len(to) > 0 {
		t.Errorf("nothing differs from nothing in %v, %v", from, to)
	}
}

// modelOscillation writes every recent act down as what would take it back, and looks the wish up.
func modelOscillation(l guard.Limits, s guard.Snapshot) bool {
	inverses := map[[3]string]bool{}
	for _, a := range s.Acts {
		if a.Target != s.Target || a.Run == s.Run || since(a.At)+int(l.Inverse/time.Minute) <= since(s.Now) {
			continue
		}
		for key, from := range a.From {
			inverses[[3]string{key, a.To[key], from}] = true
		}
	}
	found := false
	for key, to := range s.Act.To {
		found = found || inverses[[3]string{key, s.Act.From[key], to}]
	}
	return found && s.FirstAct
}

func TestOscillationProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, l := &scene{}, guard.Limits{Inverse: minutes(rapid.IntRange(0, 90).Draw(t, "inverse"))}
		t.Repeat(map[string]func(*rapid.T){
			"act": w.act, "clock": w.clock,
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.Acts = w.acts
				s.Act.From, s.Act.To = someChange(t)
				agrees(t, guard.Shared(l, s), modelOscillation(l, s), guard.Oscillation)
			},
		})
	})
}

// Whoever sets values only as the guard lets them never sees one go to and fro: what another run has just left it does not go back to.
func TestNothingGoesToAndFroProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := guard.Limits{Inverse: time.Hour}
		now, value, past := 0, "a", []guard.Act(nil)
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) { now += rapid.IntRange(0, 90).Draw(t, "minutes") },
			"set": func(t *rapid.T) {
				a := guard.Act{Run: of(runNames).Draw(t, "run"), Target: "api", At: minute(now)}
				a.From, a.To = guard.Changed(state{"x": value}, state{"x": of([]string{"a", "b", "c"}).Draw(t, "value")})
				s := guard.Snapshot{Now: minute(now), Run: a.Run, Target: "api", FirstAct: true, Acts: past, Act: a}
				if len(a.To) == 0 || guard.Shared(l, s) != nil {
					return
				}
				for _, old := range past {
					if old.Run != a.Run && now-since(old.At) < 60 && old.From["x"] == a.To["x"] && old.To["x"] == value {
						t.Fatalf("%s went from %s to %s, and %s takes it back %d minutes later", old.Run, old.From["x"], value, a.Run, now-since(old.At))
					}
				}
				past, value = append(past, a), a.To["x"]
			},
		})
	})
}

// One act takes another back exactly when the other takes back the one, whatever is known of them; a change and its inverse always do.
func TestInversesAreMutualProperty(t *testing.T) {
	t.Parallel()
	anyState := rapid.MapOfN(of([]string{"x", "y"}), of([]string{"", "a", "b"}), 0, 2)
	refused := func(of, after guard.Act) bool {
		s := guard.Snapshot{Now: noon, Run: of.Run, Target: "api", FirstAct: true, Acts: []guard.Act{after}, Act: of}
		return guard.Shared(guard.Limits{Inverse: time.Hour}, s) != nil
	}
	rapid.Check(t, func(t *rapid.T) {
		one := guard.Act{Run: "r0", Target: "api", At: noon, From: anyState.Draw(t, "from"), To: anyState.Draw(t, "to")}
		other := guard.Act{Run: "r1", Target: "api", At: noon, From: anyState.Draw(t, "other from"), To: anyState.Draw(t, "other to")}
		if refused(one, other) != refused(other, one) {
			t.Fatalf("one of %v and %v takes the other back, and not the other way", one, other)
		}
		before, after := anyState.Draw(t, "before"), anyState.Draw(t, "after")
		one.From, one.To = guard.Changed(before, after)
		other.From, other.To = guard.Changed(after, before)
		if refused(one, other) != (len(one.To) > 0) {
			t.Fatalf("the way from %v to %v and back: %v, %v", before, after, one, other)
		}
		if diff := cmp.Diff([2]state{one.From, one.To}, [2]state{other.To, other.From}); diff != "" {
			t.Fatalf("there and back (-there +back):\n%s", diff)
		}
		arrived := maps.Clone(before)
		if arrived == nil {
			arrived = state{}
		}
		maps.Copy(arrived, one.To)
		for k := range arrived {
			if arrived[k] != after[k] {
				t.Fatalf("%v and the change %v make %v, want %v", before, one.To, arrived, after)
			}
		}
	})
}
