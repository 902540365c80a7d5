package remediation_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	compare "github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store"
)

// The same history, with drills in it and without, has the same acts, budgets, locks, messages and runs.
func TestDrillsChangeNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			without, with := newWorld(t, drillRules()...), newWorld(t, drillRules()...)
			script := drillScript(seed)
			drills := 0
			for _, op := range script {
				if !op.drill {
					op.do(without)
				} else {
					drills++
				}
				op.do(with)
				if diff := compare.Diff(without.earnest(), with.earnest()); diff != "" {
					t.Fatalf("after %s (-without +with drills):\n%s", op.name, diff)
				}
			}
			if drills < 5 {
				t.Errorf("only %d drills in %d steps", drills, len(script))
			}
		})
	}
}

func drillRules() []string {
	return []string{
		rule("cure", everybody), rule("ask", everybody, `match: [alertname="Ask"]`, "mode: approve"),
		rule("stop", everybody, `match: [alertname="Breach"]`, "-do", "-verify", "hold: 1h"),
	}
}

// moment is one step of a history.
type moment struct {
	name  string
	drill bool
	do    func(w *world)
}

func drillScript(seed uint64) (script []moment) {
	dice := rand.New(rand.NewPCG(seed, 1))
	for n := range 24 {
		target := []string{api, web, mail}[dice.IntN(3)]
		name := []string{"Down", "Down", "Ask", "Breach"}[dice.IntN(4)]
		episode := fmt.Sprint(target, dice.IntN(3))
		made := func(w *world) sources.Delivery {
			a := down(target)
			a.Labels["alertname"], a.Episode, a.StartsAt, a.IncidentID = name, episode, w.now(), "Q"+target
			return sources.Delivery{DedupKey: fmt.Sprint("event-", n/2), Alerts: []alert.Alert{a}, OccurredAt: w.now()}
		}
		over := func(w *world) sources.Delivery {
			d := made(w)
			d.DedupKey, d.Alerts[0].Status, d.Alerts[0].EndsAt = "", alert.Resolved, w.now()
			return d
		}
		drill := fmt.Sprint("drill-", dice.IntN(4))
		wait := time.Duration(dice.IntN(40)) * time.Minute
		script = append(script, []moment{
			{"a drill of " + name, true, func(w *world) { w.visitAll(w.drilled(drill, made(w))) }},
			{name + " fires on " + target, false, func(w *world) { w.finishAll(w.deliver("am", made(w))) }},
			{"a drill of what just fired", true, func(w *world) { w.visitAll(w.drilled(drill, made(w))) }},
			{"a drill ends", true, func(w *world) { w.drilled(drill, over(w)) }},
			{"the end of " + episode, false, func(w *world) { w.deliver("am", over(w)) }},
			{target + " is ill", false, func(w *world) { w.scene(target).set("bad") }},
			{"time passes", false, func(w *world) { w.advance(wait) }},
		}[dice.IntN(7)])
	}
	return script
}

// visitAll makes the first visit of each run, at which the clock stands still.
func (w *world) visitAll(a remediation.Accepted) {
	w.t.Helper()
	for _, h := range a.Runs {
		must(w.t, w.visit(h.Run))
	}
}

func (w *world) finishAll(a remediation.Accepted) {
	w.t.Helper()
	for _, h := range a.Runs {
		w.finish(h.Run)
	}
}

// earnest is all that there is but for drills, without what differs by its id.
func (w *world) earnest() (all []string) {
	w.t.Helper()
	runs, err := w.store.ListRuns(context.Background(), store.Filter{Limit: 1000})
	must(w.t, err)
	for _, r := range runs {
		if r.Origin == remediation.ByDrill {
			continue
		}
		v := w.view(r.ID)
		line := fmt.Sprintf("%s %s %s %s %s %s %s", r.Origin, r.Target, r.Rule, r.State, r.Outcome, r.Reason, r.Detail)
		for _, s := range v.Steps {
			line += fmt.Sprintf("\n  %s %s %s", s.Kind, s.State, s.Change.Summary)
		}
		for _, m := range v.Messages {
			line += fmt.Sprintf("\n  %s %s %s %s", m.Channel, m.Kind, m.State, m.Summary)
		}
		all = append(all, ids.ReplaceAllString(line, "a run"))
	}
	for _, target := range []string{api, web, mail} {
		state, version := w.scene(target).now()
		all = append(all, fmt.Sprintf("%s is %s at %d after %d calls", target, state, version, w.scene(target).made("apply")))
	}
	return append(all, w.effects(), w.now().String())
}
