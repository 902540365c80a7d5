package guard_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

// beginnings is a schedule of minutes, sorted.
type beginnings []int

func (b beginnings) Next(after time.Time) time.Time {
	for _, n := range b {
		if at := minute(n); at.After(after) {
			return at
		}
	}
	return time.Time{}
}

func TestFreeze(t *testing.T) {
	t.Parallel()
	frozen := func(f guard.Freeze) guard.Limits { return guard.Limits{Freezes: []guard.Freeze{f}} }
	hour := time.Hour
	judge(t, guard.Frozen, map[string]example{
		"a window that begins now":    {limits: frozen(guard.Freeze{Schedule: beginnings{0}, For: hour}), refuses: true},
		"one that begins in a minute": {limits: frozen(guard.Freeze{Schedule: beginnings{1}, For: hour})},
		"one that has just ended":     {limits: frozen(guard.Freeze{Schedule: beginnings{-60}, For: hour})},
		"one that is about to end":    {limits: frozen(guard.Freeze{Schedule: beginnings{-60}, For: hour + 1}), refuses: true},
		"windows that overlap":        {limits: frozen(guard.Freeze{Schedule: beginnings{-90, -30, 30}, For: hour}), refuses: true},
		"between two":                 {limits: frozen(guard.Freeze{Schedule: beginnings{-90, 30}, For: hour})},
		"a schedule that is over":     {limits: frozen(guard.Freeze{Schedule: beginnings{}, For: hour})},
		"a span from now":             {limits: frozen(guard.Freeze{From: noon, Until: minute(1)}), refuses: true},
		"a span until now":            {limits: frozen(guard.Freeze{From: minute(-1), Until: noon})},
		"a span to come":              {limits: frozen(guard.Freeze{From: minute(1), Until: minute(2)})},
		"a span without an end":       {limits: frozen(guard.Freeze{From: minute(-1)}), refuses: true},
		"a span without a beginning":  {limits: frozen(guard.Freeze{Until: minute(1)}), refuses: true},
		"no time at all":              {limits: frozen(guard.Freeze{}), refuses: true},
		"of this target":              {limits: frozen(guard.Freeze{Until: minute(1), Targets: []string{"web", "api"}}), refuses: true},
		"of other targets":            {limits: frozen(guard.Freeze{Until: minute(1), Targets: []string{"web", "db"}})},
		"of no names, which is all":   {limits: frozen(guard.Freeze{Until: minute(1), Targets: []string{}}), refuses: true},
		"the second of two":           {limits: guard.Limits{Freezes: []guard.Freeze{{Until: noon}, {Until: minute(1)}}}, refuses: true},
		"a later rung":                {limits: frozen(guard.Freeze{}), snapshot: func(s *guard.Snapshot) { s.FirstAct = false }, refuses: true},
		"what people approved":        {limits: frozen(guard.Freeze{}), snapshot: func(s *guard.Snapshot) { s.Auto = false }, refuses: true},
	})
}

func TestFreezeSaysWhy(t *testing.T) {
	t.Parallel()
	no := guard.Shared(guard.Limits{Freezes: []guard.Freeze{{Name: "weekend", Reason: "nobody is here"}}}, snapshot())
	for _, word := range []string{"weekend", "nobody is here"} {
		if no == nil || !strings.Contains(no.Detail, word) {
			t.Errorf("%v does not say %q", no, word)
		}
	}
}

func someFreeze(t *rapid.T) guard.Freeze {
	f := guard.Freeze{Name: "f", Targets: rapid.SliceOfN(of(targetNames), 0, 2).Draw(t, "targets")}
	if rapid.Bool().Draw(t, "recurs") {
		begins := rapid.SliceOfN(rapid.IntRange(-120, 120), 0, 4).Draw(t, "begins")
		slices.Sort(begins)
		f.Schedule, f.For = beginnings(begins), minutes(rapid.IntRange(1, 90).Draw(t, "for"))
		return f
	}
	if rapid.Bool().Draw(t, "begins") {
		f.From = minute(rapid.IntRange(-120, 120).Draw(t, "from"))
	}
	if rapid.Bool().Draw(t, "ends") {
		f.Until = minute(rapid.IntRange(-120, 120).Draw(t, "until"))
	}
	return f
}

// modelFreeze walks through the freeze minute by minute, from when it begins to when it ends, and looks whether it comes by the moment.
func modelFreeze(l guard.Limits, s guard.Snapshot) bool {
	comesBy := func(from, length int) bool {
		for m := range length {
			if from+m == since(s.Now) {
				return true
			}
		}
		return false
	}
	for _, f := range l.Freezes {
		if len(f.Targets) > 0 && !strings.Contains(" "+strings.Join(f.Targets, " ")+" ", " "+s.Target+" ") {
			continue
		}
		begins, windows := f.Schedule.(beginnings)
		for _, from := range begins {
			if comesBy(from, int(f.For/time.Minute)) {
				return true
			}
		}
		from, until := -1000, 1000
		if !f.From.IsZero() {
			from = since(f.From)
		}
		if !f.Until.IsZero() {
			until = since(f.Until)
		}
		if !windows && comesBy(from, max(0, until-from)) {
			return true
		}
	}
	return false
}

func TestFreezeProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, l := &scene{}, guard.Limits{}
		t.Repeat(map[string]func(*rapid.T){
			"freeze": func(t *rapid.T) { l.Freezes = append(l.Freezes, someFreeze(t)) },
			"thaw":   func(*rapid.T) { l.Freezes = nil },
			"clock":  func(t *rapid.T) { w.now = rapid.IntRange(-240, 240).Draw(t, "now") },
			"": func(t *rapid.T) {
				s := w.ask(t)
				agrees(t, guard.Shared(l, s), modelFreeze(l, s), guard.Frozen)
			},
		})
	})
}
