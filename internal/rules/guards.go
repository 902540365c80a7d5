package rules

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
)

// What rules get that say nothing else, and whose file says nothing under defaults.
const (
	breakerFailures = 3
	probeAfter      = time.Hour
	cooldown        = 30 * time.Minute
	settle          = 5 * time.Minute
	inverseWithin   = 6 * time.Hour
	stormTargets    = 3
	stormWithin     = 10 * time.Minute
	approvalWithin  = 15 * time.Minute
	maxAge          = 10 * time.Minute
)

// Bounds of what the guards are told. They cannot look back further than acts are kept (31 days), or than is remembered of a storm.
const (
	day         = 24 * time.Hour
	maxLookBack = 30 * day
	maxStorm    = day
	minStorm    = 2
	minWait     = time.Minute
)

// span is a duration of the file and what it may be, at real speed; written is nil where it is not written.
type span struct {
	key         string
	written     *time.Duration
	least, most time.Duration // most 0: no bound
}

func (g *guardText) spans() []span {
	return []span{
		{"cooldown", g.Cooldown, 0, maxLookBack},
		{"settle", g.Settle, 0, maxLookBack},
		{"inverse_within", g.InverseWithin, 0, maxLookBack},
		{"storm_within", g.StormWithin, minWait, maxStorm},
		{"approval", g.Approval, minWait, 0},
	}
}

// limits merges what a rule says of its guards with the defaults, field by field.
func (b *builder) limits(dr *draft) {
	g, common := &dr.text.Guard, &b.defaults.Guard
	b.checkGuard(dr.decoder, g)
	budgets := g.over(b.budgets)
	dr.Limits = guard.Limits{
		Rule: b.atSpeed(budgets[0]), Target: b.atSpeed(budgets[1]), Fleet: b.atSpeed(budgets[2]),
		Cooldown: b.pick(cooldown, g.Cooldown, common.Cooldown),
		Settle:   b.pick(settle, g.Settle, common.Settle),
		Inverse:  b.pick(inverseWithin, g.InverseWithin, common.InverseWithin),
		Storm: guard.StormLimit{
			Targets: firstWritten(stormTargets, g.StormTargets, common.StormTargets),
			Within:  b.pick(stormWithin, g.StormWithin, common.StormWithin),
		},
		Freezes: b.freezes,
	}
	dr.Approval = Approval{
		Within: b.pick(approvalWithin, g.Approval, common.Approval), By: either(g.Approvers, common.Approvers),
		People: firstWritten(1, g.Approvals, common.Approvals), Self: firstWritten(false, g.SelfApproval, common.SelfApproval),
	}
	if by := dr.Approval.By; len(by) > 0 && dr.Approval.People > len(by) {
		b.at(dr.node, mistake{id: "bad-value", message: fmt.Sprintf("%d people have to approve, and %d may", dr.Approval.People, len(by))})
	}
	dr.Breaker = breaker.Policy{
		Failures:   firstWritten(breakerFailures, g.Failures, common.Failures),
		ProbeAfter: b.pick(probeAfter, g.ProbeAfter, common.ProbeAfter),
	}
	dr.MaxAge = b.pick(maxAge, g.MaxAge, common.MaxAge)
}

// checkGuard reports what would allow nothing, guard nothing, or ask for more than is kept.
func (b *builder) checkGuard(d *decoder, g *guardText) {
	for name, number := range map[string]*int{
		"per_hour": g.PerHour, "per_day": g.PerDay, "target_per_hour": g.TargetPerHour, "target_per_day": g.TargetPerDay,
		"fleet_per_hour": g.FleetPerHour, "fleet_per_day": g.FleetPerDay, "failures": g.Failures, "approvals": g.Approvals,
	} {
		d.atLeast(d.node(number, nil), name, number, 1)
	}
	d.atLeast(d.node(g.StormTargets, nil), "storm_targets", g.StormTargets, minStorm)
	for _, s := range g.spans() {
		if s.written != nil {
			b.checkSpan(d.node(s.written, nil), s)
		}
	}
	if g.MaxAge != nil && *g.MaxAge <= 0 {
		b.at(d.node(g.MaxAge, nil), mistake{id: "bad-value", message: "max_age must be longer than 0s: every event would be stale"})
	}
	b.checkBudgets(d, g)
}

func (b *builder) checkSpan(n *yaml.Node, s span) {
	switch length := *s.written; {
	case length < scale(s.least, b.speed):
		b.at(n, mistake{id: "bad-value", message: fmt.Sprintf("%s must be at least %s", s.key, words(s.least))})
	case s.most > 0 && length > scale(s.most, b.speed):
		b.at(n, mistake{id: "bad-value", message: fmt.Sprintf("%s must be at most %s", s.key, words(s.most)), hint: "nothing older is kept for it"})
	}
}

// words writes whole days as the file does.
func words(length time.Duration) string {
	if length > 0 && length%day == 0 {
		return fmt.Sprintf("%dd", length/day)
	}
	return length.String()
}

// lookBack is how far a gathered fact reaches into the past.
type lookBack struct {
	fact        string
	window, lag time.Duration
}

func (l lookBack) length() time.Duration { return l.window + l.lag }

// looksBack notes the farthest that the rule's facts reach. The parameters are as written, at real speed.
func (b *builder) looksBack(dr *draft, g gathered, written any) {
	probe, ok := written.(interface{ LookBack() time.Duration })
	if !ok {
		return
	}
	l := lookBack{fact: g.name, window: scale(probe.LookBack(), b.speed), lag: scale(g.kind.Lag, b.speed)}
	if l.length() > dr.farthest.length() {
		dr.farthest = l
	}
}

// settles lets the rule wait, after an act on the target, until its own facts tell of the time after it.
func (b *builder) settles(dr *draft) {
	own, least := dr.text.Guard.Settle, dr.farthest.length()
	if own != nil && *own < least {
		b.at(dr.decoder.node(own, dr.node), mistake{
			id: "settle-too-short",
			message: fmt.Sprintf("settle %s is shorter than the %s that %s looks back + its lag %s: it would still tell of the time before an act",
				*own, dr.farthest.window, dr.farthest.fact, dr.farthest.lag),
			hint: fmt.Sprintf("write at least %s", least),
		})
	}
	dr.Limits.Settle = max(dr.Limits.Settle, least)
}
