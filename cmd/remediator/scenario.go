package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// scenario is one page of the playbook, played from its alert to its ending on a world of its own. It fails unless run, ledger, incident and
// thread say that it ended as it should.
type scenario struct {
	name, title, moral string
	redis              bool // it needs a redis-server
	play               func(ctx context.Context, s *stage) error
}

// scenarios are all pages, in the playbook's order.
func scenarios() []scenario {
	return slices.Concat(serviceScenarios(), databaseScenarios(), errorScenarios(), attackScenarios(), paymentScenarios(), slowScenarios(),
		cacheScenarios(), frontEndScenarios(), securityScenarios(), handScenarios(), outageScenarios())
}

func listScenarios(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, sc := range scenarios() {
		if _, err := fmt.Fprintf(w, "%s\t%s\n", sc.name, sc.title); err != nil {
			return err
		}
	}
	return w.Flush()
}

func demoScenario(ctx context.Context, out io.Writer, o demoOptions) error {
	all := scenarios()
	i := slices.IndexFunc(all, func(sc scenario) bool { return sc.name == o.scenario })
	if i < 0 {
		return usageError{fmt.Errorf("there is no scenario %q: demo --list names them", o.scenario)}
	}
	return onStage(ctx, out, o, func(s *stage) bool {
		s.say("%s, %gx faster than real. All systems are stand-ins on loopback; the server and its clients are real.", all[i].title, s.speed)
		err := s.perform(ctx, all[i])
		if o.told {
			s.showTold(ctx)
		}
		if err != nil {
			s.say("  FAILED  %s", err)
			return false
		}
		s.say("  PASSED  %s", all[i].moral)
		return true
	})
}

// showTold shows what people were told, as PagerDuty and Slack have it, and the report of every run.
func (s *stage) showTold(ctx context.Context) {
	s.section("PagerDuty")
	for _, i := range s.world.Incidents() {
		s.lines(fmt.Sprintf("incident %s %q: %s", i.ID, i.Title, i.Status))
		for _, step := range i.Log {
			s.lines(fmt.Sprintf("%s %s: %s", step.At.Format(time.TimeOnly), step.By, step.Did))
		}
		for _, n := range i.Notes {
			s.lines("", n.Content)
		}
	}
	s.section("Slack")
	for _, m := range s.world.SlackMessages() {
		s.lines(fmt.Sprintf("%s in thread %s", m.TS, cmp.Or(m.ThreadTS, "(new)")), m.Text, "")
	}
	runs, err := (&api{app: s.app}).Runs(ctx, edge.RunFilter{Limit: 20})
	if err != nil {
		return
	}
	for _, r := range slices.Backward(runs) {
		if v, err := (&api{app: s.app}).Run(ctx, r.ID); err == nil && v.Run.Outcome != remediation.NoOutcome {
			s.section("remediator report " + r.ID)
			s.lines(reportOf(v).Markdown())
		}
	}
}

func (s *stage) section(title string) { s.lines("", "--- "+title+" ---") }

func (s *stage) lines(texts ...string) {
	for _, text := range texts {
		_, _ = fmt.Fprintln(s.out, text)
	}
}

// perform plays a scenario; what it set going ends with it.
func (s *stage) perform(ctx context.Context, sc scenario) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.isBusy(); err != nil {
		return err
	}
	if sc.redis {
		if err := s.world.StartRedis("--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"); err != nil {
			return fmt.Errorf("starting Redis: %w", err)
		}
	}
	return sc.play(ctx, s)
}

// isBusy gives the backend so much traffic that even a short window of its metrics rests on enough requests.
func (s *stage) isBusy() error {
	err := s.world.AddService(sandbox.Service{
		Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}},
		RequestsPerMinute: busy, Capacity: busy, MaxInstances: 40,
	})
	if err != nil {
		return fmt.Errorf("making %s busy: %w", backend, err)
	}
	return nil
}

// busy is how many requests reach the backend in a minute of the wall clock.
const busy = 6000

// meanwhile does something again and again until the scenario is over.
func (s *stage) meanwhile(ctx context.Context, do func()) {
	go func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			do()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
}

// passes lets time of the world pass.
func (s *stage) passes(ctx context.Context, d time.Duration) error {
	over := time.Now().Add(time.Duration(float64(d) / s.speed))
	return s.until(ctx, fmt.Sprintf("%s have passed", d), func() bool { return time.Now().After(over) })
}

// once does something as soon as a condition of the world holds.
func (s *stage) once(ctx context.Context, holds func() bool, do func()) {
	go func() {
		if s.until(ctx, "", holds) == nil {
			do()
		}
	}()
}

// ending is how a scenario must end.
type ending struct {
	rule    string
	outcome remediation.Outcome
	reason  guard.Reason
	changes []string       // what was asked of the systems by us and took effect, as "system verb resource", in this order
	told    map[string]int // of the incident
	called  int            // how often a human was called
	says    string         // part of what the thread was told
}

// ended judges a run that is done.
func (s *stage) ended(run remediation.Run, incident string, e ending) error {
	all := []error{
		s.expectOutcome(run, e.outcome),
		expect(run.Rule == e.rule, "rule %q decided, not %q: %s", run.Rule, e.rule, run.Detail),
		expect(run.Reason == e.reason, "it ended for %q, not %q: %s", run.Reason, e.reason, run.Detail),
		expect(slices.Equal(s.changes(), e.changes), "the ledger holds %q, not %q", s.changes(), e.changes),
		expect(e.says == "" || strings.Contains(s.thread(), e.says), "the thread does not say %q:\n%s", e.says, s.thread()),
	}
	if incident != "" {
		called := s.called(incident)
		all = append(all, expect(called == e.called, "a human was called %d time(s), not %d", called, e.called), s.expectTold(incident, e.told))
	}
	return errors.Join(all...)
}

// Endings that many scenarios share.
var (
	toldFixed      = map[string]int{"incident_acknowledged": 1, "note_added": 1, "incident_resolved": 1}
	toldLeft       = map[string]int{"incident_acknowledged": 0, "note_added": 1, "incident_resolved": 0} // the pager is left alone
	toldFixedAsked = map[string]int{"incident_acknowledged": 1, "note_added": 2, "incident_resolved": 1} // one note asks
	toldLeftAsked  = map[string]int{"incident_acknowledged": 0, "note_added": 2, "incident_resolved": 0}
	toldNotFixed   = map[string]int{"incident_acknowledged": 1, "note_added": 1, "incident_resolved": 0}
)

// acted are the systems that are changed; people are told elsewhere.
var acted = []string{"cloud_run", "cloud_armor", "atlas", "redis", "vercel", "flags"}

// changes are those in the ledger that were ours.
func (s *stage) changes() (all []string) {
	for _, e := range s.world.Ledger() {
		ours := slices.Contains(acted, e.System) && !slices.Contains([]string{sandbox.Human, "platform", "script"}, e.By)
		if ours && !strings.HasSuffix(e.Verb, "_refused") {
			all = append(all, fmt.Sprintf("%s %s %s", e.System, e.Verb, e.Resource))
		}
	}
	return all
}

// thread is all that was posted, oldest first.
func (s *stage) thread() string {
	var b strings.Builder
	for _, m := range s.world.SlackMessages() {
		fmt.Fprintln(&b, m.Text)
	}
	return b.String()
}

// goes fires an alert for a target and judges how its run ends.
func (s *stage) goes(ctx context.Context, alert, target string, e ending) error {
	incident := s.alert(alert, target)
	run, err := s.follow(ctx, target, incident)
	if err != nil {
		return err
	}
	return s.ended(run, incident, e)
}

// goesAsked is goes for the backend with a plan that a human answers by a button.
func (s *stage) goesAsked(ctx context.Context, alert, button string, e ending) error {
	incident := s.alert(alert, backend)
	if err := s.click(ctx, button, "U0ANN"); err != nil {
		return err
	}
	run, err := s.follow(ctx, backend, incident)
	if err != nil {
		return err
	}
	return s.ended(run, incident, e)
}

// click answers, as somebody in Slack, the run that asks.
func (s *stage) click(ctx context.Context, button, user string) error {
	var ts string
	err := s.until(ctx, "a human is asked", func() bool {
		runs, err := (&api{app: s.app}).Runs(ctx, edge.RunFilter{Limit: 20})
		if err != nil {
			return false
		}
		i := slices.IndexFunc(runs, func(r remediation.Run) bool { return r.Phase == remediation.PhaseAsk && r.Asked != "" })
		if i < 0 {
			return false
		}
		for _, m := range s.world.SlackMessages() {
			if strings.Contains(string(m.Blocks), runs[i].Asked) {
				ts = m.TS
			}
		}
		return ts != ""
	})
	if err != nil {
		return fmt.Errorf("%w; the runs: %s", err, s.runs(ctx))
	}
	s.say("  slack    %s clicks %s", user, button)
	if _, err := s.world.ClickSlack(ts, button, user); err != nil {
		return fmt.Errorf("clicking %s: %w", button, err)
	}
	return nil
}

// runs tells how all runs stand.
func (s *stage) runs(ctx context.Context) string {
	runs, err := (&api{app: s.app}).Runs(ctx, edge.RunFilter{Limit: 20})
	if err != nil {
		return err.Error()
	}
	var words []string
	for _, r := range runs {
		words = append(words, fmt.Sprintf("%s of %s is %s %s: %s", r.ID, cmp.Or(r.Rule, "no rule"), r.State, r.Outcome, r.Detail))
	}
	return strings.Join(words, "; ")
}

// byHand starts a rule as a person and judges how its run ends; answered is the button that somebody else clicks, if any.
func (s *stage) byHand(ctx context.Context, rule, answered string, e ending) error {
	reason := cmp.Or(s.dressed.reason, "as agreed")
	s.say("  hand     remediator run %s --target %s --reason %q", rule, backend, reason)
	id, err := (&api{app: s.app}).Start(ctx, remediation.ByPerson{Rule: rule, Target: backend, Actor: "bob", Reason: reason})
	if err != nil {
		return fmt.Errorf("starting %s: %w", rule, err)
	}
	if answered != "" {
		if err := s.click(ctx, answered, "U0ANN"); err != nil {
			return err
		}
	}
	run, err := s.followView(ctx, "run "+id, func() (edge.RunView, bool) {
		view, err := (&api{app: s.app}).Run(ctx, id)
		return view, err == nil
	})
	if err != nil {
		return err
	}
	e.rule = cmp.Or(e.rule, rule)
	return s.ended(run, "", e)
}

const approved, denied = connect.ButtonApprove, connect.ButtonDeny
