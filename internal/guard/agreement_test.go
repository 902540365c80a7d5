package guard_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

func TestAgreement(t *testing.T) {
	t.Parallel()
	say := func(own, current string, live ...string) func(*guard.Snapshot) {
		return func(s *guard.Snapshot) { s.Rules = guard.Agreement{Own: own, Current: current, Live: live} }
	}
	judge(t, guard.RulesDiffer, map[string]example{
		"one process alone":                    {},
		"all alike":                            {snapshot: say("a", "", "a", "a")},
		"one differs":                          {snapshot: say("a", "", "a", "b"), refuses: true},
		"one says nothing":                     {snapshot: say("a", "", "a", ""), refuses: true},
		"the run's rules are not known":        {snapshot: say("", "", "a"), refuses: true},
		"the run goes by former rules":         {snapshot: say("a", "", "b", "b"), refuses: true},
		"ours are declared current":            {snapshot: say("a", "a", "a", "b")},
		"theirs are declared current":          {snapshot: say("a", "b", "a", "b"), refuses: true},
		"all alike, and others were declared":  {snapshot: say("a", "b", "a", "a")},
		"others were declared, and none lives": {snapshot: say("a", "b")},
		"nothing is known":                     {snapshot: say("", "", ""), refuses: true},
		"a later rung": {snapshot: func(s *guard.Snapshot) {
			say("a", "", "b")(s)
			s.FirstAct = false
		}, refuses: true},
	})
}

// modelAgreement counts the different rules that are gone by, each that is not known for one more.
func modelAgreement(_ guard.Limits, s guard.Snapshot) bool {
	hashes := map[string]bool{s.Rules.Own: true}
	for i, hash := range s.Rules.Live {
		if hash == "" {
			hash = fmt.Sprint("unknown ", i)
		}
		hashes[hash] = true
	}
	declared := s.Rules.Current != "" && s.Rules.Current == s.Rules.Own
	return len(hashes) > 1 && !declared
}

func someHash(t *rapid.T, what string) string { return of([]string{"", "a", "b", "c"}).Draw(t, what) }

func (s *scene) join(t *rapid.T) { s.rules.Live = append(s.rules.Live, someHash(t, "hash")) }

func (s *scene) leave(*rapid.T) {
	if n := len(s.rules.Live); n > 0 {
		s.rules.Live = s.rules.Live[:n-1]
	}
}

func (s *scene) declare(t *rapid.T) { s.rules.Current = someHash(t, "current") }

func TestAgreementProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &scene{}
		t.Repeat(map[string]func(*rapid.T){
			"join": w.join, "leave": w.leave, "declare": w.declare,
			"": func(t *rapid.T) {
				s := w.ask(t)
				s.Rules = w.rules
				s.Rules.Own = someHash(t, "own")
				agrees(t, guard.Shared(guard.Limits{}, s), modelAgreement(guard.Limits{}, s), guard.RulesDiffer)
			},
		})
	})
}

// However replicas come and go, those that may act go by one set of rules.
func TestOneSetOfRulesActsProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &scene{}
		t.Repeat(map[string]func(*rapid.T){
			"join": w.join, "leave": w.leave, "declare": w.declare,
			"": func(t *rapid.T) {
				may := map[string]bool{}
				for _, own := range w.rules.Live {
					s := snapshot()
					s.Rules = guard.Agreement{Own: own, Current: w.rules.Current, Live: w.rules.Live}
					if guard.Shared(guard.Limits{}, s) == nil {
						may[own] = true
					}
				}
				if len(may) > 1 {
					t.Fatalf("replicas with the rules %v act at once", may)
				}
			},
		})
	})
}
