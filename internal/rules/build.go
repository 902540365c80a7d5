package rules

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/breaker"
	"github.com/mixillo/remediator/internal/guard"
)

// What rules get that say nothing else, and whose file says nothing under defaults.
const (
	perHour, perDay           = 2, 4
	fleetPerHour, fleetPerDay = 6, 20
	breakerFailures           = 3
	cooldown                  = 30 * time.Minute
	maxAge                    = 10 * time.Minute
	settle                    = 5 * time.Minute
	inverseWithin             = 6 * time.Hour
	stormTargets              = 3
	stormWithin               = 10 * time.Minute
	approvalWithin            = 15 * time.Minute
	probeAfter                = time.Hour
	escalateAfter             = 30 * time.Minute
	verifyEvery               = 10 * time.Second
	calmHold                  = 30 * time.Minute
	calmWithin                = 24 * time.Hour
	calmEvery                 = time.Minute
	remindEvery               = 24 * time.Hour
)

// draft is a rule under construction.
type draft struct {
	*Rule
	text     ruleText
	node     *yaml.Node
	decoder  *decoder
	gathered []gathered
	rungs    []rung
}

// rule builds one rule. Whatever is wrong is reported; the rule is then incomplete and never used.
func (b *builder) rule(n *yaml.Node) *Rule {
	dr := &draft{Rule: &Rule{}, node: n, decoder: b.decoder()}
	dr.decoder.into(n, &dr.text)
	if n.Kind != yaml.MappingNode {
		return dr.Rule
	}
	b.name(dr)
	dr.Description = dr.text.Description
	dr.Mode = firstText(dr.text.Mode, b.defaults.Mode, Observe)
	dr.matchers = b.parseMatchers(n, dr.text.Match)
	b.limits(dr)
	b.tell(dr)
	dr.Escalate = Escalate{After: b.pick(escalateAfter, dr.text.Escalate.After, b.defaults.Escalate.After)}
	dr.gathered = b.gather(dr.text.Gather)
	dr.rungs = b.ladder(dr.text.Do)
	for _, r := range dr.rungs {
		dr.Rungs = append(dr.Rungs, Rung{Kind: r.kind.Name})
	}
	b.choose(dr)
	b.bind(dr)
	if dr.decoder.wrote(&dr.text.If) && dr.decoder.okText(&dr.text.If) {
		dr.expr = b.compile(dr.decoder.node(&dr.text.If, n), dr.text.If, dr.gathered)
	}
	b.verify(dr)
	b.afterwards(dr)
	return dr.Rule
}

// okText reports whether a text was written as one: what is wrong with its node is then reported already.
func (d *decoder) okText(text *string) bool {
	n := d.node(text, nil)
	return n != nil && n.Kind == yaml.ScalarNode && isText(n)
}

func (b *builder) name(dr *draft) {
	dr.Name = dr.text.Name
	where := dr.decoder.node(&dr.text.Name, dr.node)
	if !dr.decoder.okText(&dr.text.Name) {
		return
	}
	if !isName(dr.Name, "-") || strings.Contains(dr.Name, "--") || strings.HasSuffix(dr.Name, "-") {
		b.at(where, mistake{id: "bad-name", message: fmt.Sprintf("%s is no name of a rule", show(dr.Name)),
			hint: "a name is small letters and digits joined by -, such as roll-back-a-bad-deploy"})
		return
	}
	if line, twice := b.lines[dr.Name]; twice {
		b.at(where, mistake{id: "duplicate-rule", message: fmt.Sprintf("a rule called %s exists already", dr.Name),
			hint: fmt.Sprintf("the first is on line %d", line)})
		return
	}
	b.lines[dr.Name] = where.Line
}

// firstText is the first that is not empty.
func firstText[T ~string](texts ...T) T {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// pick is the first written duration, else the built-in one at the world's speed.
func (b *builder) pick(builtin time.Duration, written ...*time.Duration) time.Duration {
	return firstWritten(scale(builtin, b.speed), written...)
}

// firstWritten is the first value that was written, else the built-in one.
func firstWritten[T any](builtin T, written ...*T) T {
	for _, w := range written {
		if w != nil {
			return *w
		}
	}
	return builtin
}

func (b *builder) limits(dr *draft) {
	g, common := dr.text.Guard, b.defaults.Guard
	b.checkGuard(dr.decoder, g)
	hour, day := scale(time.Hour, b.speed), scale(24*time.Hour, b.speed)
	windows := func(hourly, daily int) []guard.Window {
		return []guard.Window{{Most: hourly, Per: hour}, {Most: daily, Per: day}}
	}
	dr.Limits = guard.Limits{
		Rule:     windows(firstWritten(perHour, g.PerHour, common.PerHour), firstWritten(perDay, g.PerDay, common.PerDay)),
		Target:   windows(firstWritten(perHour, g.TargetPerHour, common.TargetPerHour), firstWritten(perDay, g.TargetPerDay, common.TargetPerDay)),
		Fleet:    windows(firstWritten(fleetPerHour, g.FleetPerHour, common.FleetPerHour), firstWritten(fleetPerDay, g.FleetPerDay, common.FleetPerDay)),
		Cooldown: b.pick(cooldown, g.Cooldown, common.Cooldown),
		Settle:   b.pick(settle),
		Inverse:  b.pick(inverseWithin),
		Storm:    guard.StormLimit{Targets: stormTargets, Within: b.pick(stormWithin)},
	}
	dr.Approval = b.pick(approvalWithin)
	dr.Breaker = breaker.Policy{
		Failures:   firstWritten(breakerFailures, g.Failures, common.Failures),
		ProbeAfter: b.pick(probeAfter, g.ProbeAfter, common.ProbeAfter),
	}
	dr.MaxAge = b.pick(maxAge, g.MaxAge, common.MaxAge)
}

// checkGuard reports numbers that would allow nothing.
func (b *builder) checkGuard(d *decoder, g guardText) {
	for name, number := range map[string]*int{
		"per_hour": g.PerHour, "per_day": g.PerDay, "target_per_hour": g.TargetPerHour, "target_per_day": g.TargetPerDay,
		"fleet_per_hour": g.FleetPerHour, "fleet_per_day": g.FleetPerDay, "failures": g.Failures,
	} {
		if number != nil {
			d.atLeast(d.node(number, nil), name, number, 1)
		}
	}
	if g.MaxAge != nil && *g.MaxAge <= 0 {
		b.at(d.node(g.MaxAge, nil), mistake{id: "bad-value", message: "max_age must be longer than 0s: every event would be stale"})
	}
}
