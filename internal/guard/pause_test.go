package guard_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

func TestPause(t *testing.T) {
	t.Parallel()
	pressed := func(pauses ...guard.Pause) func(*guard.Snapshot) {
		return func(s *guard.Snapshot) { s.Pauses = pauses }
	}
	judge(t, guard.Paused, map[string]example{
		"nothing is pressed":      {},
		"the fleet":               {snapshot: pressed(guard.Pause{Scope: guard.Fleet}), refuses: true},
		"the target":              {snapshot: pressed(guard.Pause{Scope: guard.Target, Name: "api"}), refuses: true},
		"the rule":                {snapshot: pressed(guard.Pause{Scope: guard.Rule, Name: "cure"}), refuses: true},
		"another target":          {snapshot: pressed(guard.Pause{Scope: guard.Target, Name: "web"})},
		"another rule":            {snapshot: pressed(guard.Pause{Scope: guard.Rule, Name: "soothe"})},
		"a target called cure":    {snapshot: pressed(guard.Pause{Scope: guard.Target, Name: "cure"})},
		"an unknown scope":        {snapshot: pressed(guard.Pause{Scope: "galaxy", Name: "x"}), refuses: true},
		"a target without a name": {snapshot: pressed(guard.Pause{Scope: guard.Target}), refuses: true},
		"a rule without a name":   {snapshot: pressed(guard.Pause{Scope: guard.Rule}), refuses: true},
		"until now is over":       {snapshot: pressed(guard.Pause{Scope: guard.Fleet, Until: noon})},
		"until a moment from now": {snapshot: pressed(guard.Pause{Scope: guard.Fleet, Until: noon.Add(1)}), refuses: true},
		"one is over, one is not": {snapshot: pressed(guard.Pause{Scope: guard.Fleet, Until: noon}, guard.Pause{Scope: guard.Rule, Name: "cure"}), refuses: true},
		"pressed in the future":   {snapshot: pressed(guard.Pause{Scope: guard.Fleet, Since: minute(9)}), refuses: true}, // the clock went back
	})
}

func TestPauseSaysWho(t *testing.T) {
	t.Parallel()
	for subject, p := range map[string]guard.Pause{
		"the target api": {Scope: guard.Target, Name: "api"}, "the rule cure": {Scope: guard.Rule, Name: "cure"}, "the fleet": {Scope: guard.Fleet},
	} {
		p.Actor, p.Reason, p.Since = "ann", "a migration runs", noon
		no := guard.Interrupts(guard.Limits{}, guard.Snapshot{Pauses: []guard.Pause{p}, Rule: "cure", Target: "api", Now: minute(5)})
		for _, word := range []string{"ann", subject, "a migration runs", "2026-03-01T12:00:00Z"} {
			if no == nil || !strings.Contains(no.Detail, word) {
				t.Errorf("%v does not say %q", no, word)
			}
		}
	}
}

func somePause(t *rapid.T, now int) guard.Pause {
	p := guard.Pause{
		Scope: guard.Scope(of([]string{"fleet", "target", "rule", "?"}).Draw(t, "scope")), Name: of(append([]string{""}, append(ruleNames, targetNames...)...)).Draw(t, "name"),
		Since: minute(now),
	}
	if rapid.Bool().Draw(t, "ends") {
		p.Until = minute(now + rapid.IntRange(-5, 60).Draw(t, "for"))
	}
	return p
}

func (s *scene) press(t *rapid.T) { s.pauses = append(s.pauses, somePause(t, s.now)) }

func (s *scene) resume(t *rapid.T) {
	if len(s.pauses) == 0 {
		t.Skip("nothing is pressed")
	}
	i := rapid.IntRange(0, len(s.pauses)-1).Draw(t, "which")
	s.pauses = append(s.pauses[:i:i], s.pauses[i+1:]...)
}

// modelPause draws up all pairs of a rule and a target that may act, and lets every pause take some away.
func modelPause(_ guard.Limits, s guard.Snapshot) bool {
	free := map[[2]string]bool{}
	for _, rule := range ruleNames {
		for _, target := range targetNames {
			free[[2]string{rule, target}] = true
		}
	}
	for _, p := range s.Pauses {
		if ends := !p.Until.IsZero(); ends && since(p.Until) <= since(s.Now) {
			continue
		}
		for pair := range free {
			named := map[guard.Scope]string{guard.Rule: pair[0], guard.Target: pair[1]}
			if name, narrow := named[p.Scope]; !narrow || p.Name == "" || p.Name == name {
				delete(free, pair)
			}
		}
	}
	return !free[[2]string{s.Rule, s.Target}]
}

func TestPauseProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &scene{}
		t.Repeat(map[string]func(*rapid.T){
			"press": w.press, "resume": w.resume, "clock": w.clock,
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.Pauses = w.pauses
				agrees(t, guard.Shared(guard.Limits{}, s), modelPause(guard.Limits{}, s), guard.Paused)
				agrees(t, guard.Interrupts(guard.Limits{}, guard.Snapshot{Pauses: s.Pauses, Rule: s.Rule, Target: s.Target, Now: s.Now}), modelPause(guard.Limits{}, s), guard.Paused)
			},
		})
	})
}
