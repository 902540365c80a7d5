package simulation

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store/memory"
)

func (s *sim) records() []memory.Record {
	all, err := s.store.Records(context.Background())
	if err != nil {
		s.violate("store", "%v", err)
	}
	return all
}

// judgeEnd is asked when the world has come to rest.
func (s *sim) judgeEnd() {
	all := s.records()
	for _, rec := range all {
		s.judgeRun(rec)
	}
	s.judgeReceipts()
	s.judgeLocks()
	s.judgeChain()
	s.judgeStormPages(all)
	s.expect(all)
	s.count(all)
}

func (s *sim) judgeRun(rec memory.Record) {
	r := rec.Run
	s.holds(r.State == remediation.Done || s.awaitsInVain(r) || s.lacksBudget(r), "G3", "run %s has not ended: %s %s", r.ID, r.State, r.Phase)
	if at := remediation.VerifyJournal(rec.Entries); at >= 0 || r.Entries != len(rec.Entries) {
		s.violate("G20", "the journal of run %s is broken at %d of %d", r.ID, at, r.Entries)
	}
	acted := slices.ContainsFunc(s.calls, func(c *call) bool { return c.run == r.ID })
	s.holds(!acted || r.Outcome != remediation.NoOutcome, "G3", "run %s acted and has no outcome", r.ID)
	s.judgeOutcome(r)
	s.judgeWhy(rec)
	s.judgeThread(r, rec.Messages)
	s.judgeMessages(rec)
}

// lacksBudget tells a follow-up that may take its change back when a budget allows it, within a day.
func (s *sim) lacksBudget(r remediation.Run) bool {
	c := &call{run: r.ID, target: r.Target, rule: r.Rule, debit: &debit{at: s.clock(), store: s.now()}}
	l, ok := s.codeByHash(r.RulesHash).law(r.Rule)
	if r.Phase != remediation.PhaseCalm || !ok {
		return false
	}
	short := false
	for i, per := range []time.Duration{time.Hour, 24 * time.Hour} {
		short = short || s.spent(c, "rule", per) >= l.limits.rule[i] || s.spent(c, "target", per) >= l.limits.target[i] ||
			s.spent(c, "fleet", per) >= l.limits.fleet[i]
	}
	return short
}

// judgeMessages: nothing is left untold, and whoever silenced the pager and did not mend it has called somebody.
func (s *sim) judgeMessages(rec memory.Record) {
	r := rec.Run
	escalated, acked := false, false
	for _, m := range rec.Messages {
		s.holds(m.State != remediation.MessageQueued, "G3", "message %s of run %s is not told", m.ID, r.ID)
		escalated = escalated || m.Kind == remediation.Escalate
		acked = acked || m.Kind == remediation.Acknowledge
	}
	if acked {
		well := r.Outcome == remediation.Fixed || r.Outcome == remediation.ResolvedItself
		s.holds(well || escalated, "G14", "run %s silenced the pager, ended as %s and called nobody", r.ID, r.Outcome)
	}
}

// judgeReceipts: every delivery that was taken in ends, for each rule that it concerns, in exactly one verdict.
func (s *sim) judgeReceipts() {
	for _, got := range s.received {
		if got.duplicate {
			continue
		}
		e, err := s.store.As("jury").Event(context.Background(), got.event)
		if err != nil {
			s.violate("G3", "a delivery was taken in as %s and is not stored: %v", got.event, err)
			continue
		}
		s.holds(e.State != remediation.EventPending, "G3", "event %s still waits to be looked up", e.ID)
		rulings, err := s.store.EventRulings(context.Background(), e.ID)
		if err != nil {
			s.violate("G3", "%v", err)
		}
		s.judgeVerdicts(e, rulings)
	}
}

func (s *sim) judgeVerdicts(e remediation.Event, rulings []remediation.Ruling) {
	type about struct{ rule, target string }
	seen := map[about]int{}
	for _, r := range rulings {
		s.reached.verdicts[string(r.Verdict)] = true
		s.holds(r.Verdict != remediation.Candidate, "G3", "the verdict of rule %s on event %s was left open", r.Rule, e.ID)
		seen[about{r.Rule, r.Target}]++
	}
	if e.State != remediation.EventMatched {
		return
	}
	alerts := e.Delivery.Alerts
	if at := slices.IndexFunc(s.received, func(got receipt) bool { return got.event == e.ID && got.letter.source == "am" }); at >= 0 {
		alerts = s.received[at].letter.delivery.Alerts
	}
	for _, a := range alerts {
		for _, l := range s.codeByHash(e.RulesHash).laws {
			if target, concerns := l.concerns(a); concerns {
				s.holds(seen[about{l.name, target}] > 0, "G3", "rule %s has no verdict on event %s for %q", l.name, e.ID, target)
			}
		}
	}
}

// concerns tells whether a rule matches an alert, and on which target; "" when the label names none that is declared.
func (l law) concerns(a alert.Alert) (target string, matches bool) {
	if a.Status != alert.Firing || a.Labels["alertname"] != l.alert || l.severity != "" && a.Labels["severity"] != l.severity {
		return "", false
	}
	if l.target != "" {
		return l.target, true
	}
	if slices.Contains(names, a.Labels["service"]) {
		return a.Labels["service"], true
	}
	return "", true
}

// judgeChain: all runs that have ended are linked into one chain that holds.
func (s *sim) judgeChain() {
	jury := s.store.As("jury")
	_, err := jury.LinkDone(context.Background(), s.now())
	audit, fault := jury.Audit(context.Background(), "")
	s.holds(err == nil && fault == nil && len(audit.Findings) == 0, "G20", "the records do not hold: %v %v %+v", err, fault, audit.Findings)
}

// judgeLocks: a world at rest holds no target.
func (s *sim) judgeLocks() {
	for _, name := range names {
		shot, err := s.store.As("jury").Snapshot(context.Background(), remediation.SnapshotQuery{Now: s.now(), Target: name})
		if err != nil {
			s.violate("store", "%v", err)
		}
		s.holds(shot.LockedBy == "", "G1", "%s is still held by run %s", name, shot.LockedBy)
	}
}

// countDiscarded counts the guards that have kept a call from being made after which the run planned again.
func (s *sim) countDiscarded(entries []remediation.Entry) {
	for _, e := range entries {
		if _, why, discarded := strings.Cut(e.Text, "the call was not made, and is planned again: "); discarded {
			reason, _, _ := strings.Cut(why, ":")
			s.countRefusal(guard.Reason(reason))
		}
	}
}

func (s *sim) countRefusal(r guard.Reason) {
	s.reached.refusals[string(r)] = true
	if id, known := guardOf[r]; known {
		s.reached.guards[id] = true
	}
}

// guardOf tells which guard a refusal is by.
var guardOf = map[guard.Reason]string{
	guard.TargetBusy: "G1", guard.BudgetExhausted: "G4", guard.BreakerOpen: "G4", guard.AwaitsRelease: "G5", guard.AlreadyPinned: "G5", guard.NoDestination: "G5",
	guard.Migrations: "G5", guard.SplitTraffic: "G5", guard.NoCause: "G6", guard.UnknownFacts: "G7", guard.Conflicting: "G7", guard.StaleFacts: "G7",
	guard.PlanChanged: "G8", guard.RulesChanged: "G8", guard.TooWide: "G9", guard.HumanHand: "G10", guard.Held: "G10", guard.Frozen: "G10", guard.Reconciling: "G10",
	guard.Paused: "G11", guard.Storm: "G12", guard.GuardFailed: "G13", guard.NeedsApproval: "G15", guard.Denied: "G15", guard.ApprovalExpired: "G15",
	guard.Cooldown: "G16", guard.Settling: "G16", guard.Oscillation: "G16", guard.OutOfBounds: "G16", guard.NotFiring: "G17", guard.Stale: "G17", guard.Itself: "G18",
}

// count enters what the seed has reached into its tally.
func (s *sim) count(all []memory.Record) {
	for _, rec := range all {
		r := rec.Run
		s.reached.outcomes[string(r.Outcome)] = true
		if r.Reason != "" {
			s.countRefusal(r.Reason)
		}
		s.countDiscarded(rec.Entries)
		for _, m := range rec.Messages {
			s.reached.marks["told "+string(m.Channel)+" "+string(m.Kind)+" "+string(m.State)] = true
		}
		if strings.Contains(string(r.Origin), "follow") {
			s.reached.marks["follow-up"] = true
		}
	}
	s.reached.acts = len(s.calls) > 0
}
