package rules

import (
	"fmt"
	"slices"
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
	for _, w := range written {
		if w != nil {
			return *w
		}
	}
	return scale(builtin, b.speed)
}

func pickNumber(builtin int, written ...*int) int {
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
		Rule:     windows(pickNumber(perHour, g.PerHour, common.PerHour), pickNumber(perDay, g.PerDay, common.PerDay)),
		Target:   windows(pickNumber(perHour, g.TargetPerHour, common.TargetPerHour), pickNumber(perDay, g.TargetPerDay, common.TargetPerDay)),
		Fleet:    windows(pickNumber(fleetPerHour, g.FleetPerHour, common.FleetPerHour), pickNumber(fleetPerDay, g.FleetPerDay, common.FleetPerDay)),
		Cooldown: b.pick(cooldown, g.Cooldown, common.Cooldown),
	}
	dr.Breaker = breaker.Policy{
		Failures:   pickNumber(breakerFailures, g.Failures, common.Failures),
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

// checkTell reports connections that are named and not declared.
func (b *builder) checkTell(d *decoder, t tellText) {
	if p := t.PagerDuty; p != nil {
		name := firstText(p.Connection, pagerDuty)
		b.needsConnection(d.node(&p.Connection, d.node(p, nil)), name, "tell names it")
	}
	if s := t.Slack; s != nil {
		name := firstText(s.Connection, slack)
		b.needsConnection(d.node(&s.Connection, d.node(s, nil)), name, "tell names it")
	}
}

func (b *builder) tell(dr *draft) {
	b.checkTell(dr.decoder, dr.text.Tell)
	p, s := dr.text.Tell.PagerDuty, dr.text.Tell.Slack
	if p == nil {
		p = b.defaults.Tell.PagerDuty
	}
	if s == nil {
		s = b.defaults.Tell.Slack
	}
	if _, declared := b.set.Connections[pagerDuty]; p == nil && declared {
		p = &tellPagerDutyText{}
	}
	if p != nil {
		dr.Tell.PagerDuty = &TellPagerDuty{
			Connection: firstText(p.Connection, pagerDuty), ResolveWhen: firstText(p.ResolveWhen, ResolveNever), OpenIncident: p.OpenIncident,
		}
	}
	if s != nil {
		dr.Tell.Slack = &TellSlack{Connection: firstText(s.Connection, slack), Channel: s.Channel, Every: s.Every}
	}
}

func (b *builder) verify(dr *draft) {
	t := dr.text.Verify
	if t == nil {
		if len(dr.text.Do) > 0 && dr.Mode != Observe {
			b.at(dr.node, mistake{id: "missing-verify", message: fmt.Sprintf("a rule that acts in mode %s needs verify: nothing else makes a run fixed", dr.Mode),
				hint: `write verify: {if: "…", hold: 2m, within: 10m}, or mode: observe`})
		}
		return
	}
	dr.Verify = &Verify{Hold: t.Hold, Within: t.Within, Every: b.pick(verifyEvery, t.Every), Settle: t.Settle}
	where := dr.decoder.node(t, dr.node)
	if dr.decoder.okText(&t.If) {
		dr.verified = b.compile(dr.decoder.node(&t.If, where), t.If, dr.gathered)
	}
	if t.Every != nil && *t.Every <= 0 {
		b.at(dr.decoder.node(t.Every, where), mistake{id: "bad-value", message: "every must be longer than 0s"})
	}
	if dr.verified != nil && dr.decoder.wrote(&t.Within) {
		b.enoughTime(dr, dr.decoder.node(&t.Within, where))
	}
}

// enoughTime reports a deadline before which verification cannot have held.
func (b *builder) enoughTime(dr *draft, where *yaml.Node) {
	var lag time.Duration
	for _, g := range dr.gathered {
		if slices.Contains(dr.verified.needs, g.name) {
			lag = max(lag, scale(g.kind.Lag, b.speed))
		}
	}
	v := dr.Verify
	if least := v.Settle + lag + v.Hold; v.Within < least {
		b.at(where, mistake{
			id:      "verify-too-short",
			message: fmt.Sprintf("within %s is shorter than settle %s + the facts' own lag %s + hold %s: verify could never hold", v.Within, v.Settle, lag, v.Hold),
			hint:    fmt.Sprintf("write at least %s", least),
		})
	}
}

func (b *builder) afterwards(dr *draft) {
	for _, n := range dr.text.Afterwards {
		key, value := b.oneKind(n, "a follow-up", nil)
		if key == nil {
			continue
		}
		switch key.Value {
		case ScaleBack:
			b.scaleBack(dr, key, value)
		case Remind:
			var t remindText
			d := b.decoder()
			d.into(value, &t)
			b.follow(dr, Afterward{Kind: Remind, Of: string(t.Of), Every: b.pick(remindEvery, t.Every)}, key, nil)
		default:
			b.at(key, mistake{id: "unknown-kind", message: "there is no follow-up called " + show(key.Value), hint: suggest(key.Value, []string{ScaleBack, Remind})})
		}
	}
}

func (b *builder) scaleBack(dr *draft, key, value *yaml.Node) {
	var t scaleBackText
	d := b.decoder()
	d.into(value, &t)
	if !slices.Contains(dr.Rungs, Rung{Kind: scaleKind}) {
		b.at(key, mistake{id: "nothing-to-scale-back", message: "scale_back needs a rung " + scaleKind + " in do"})
	}
	var calm *expression
	if d.okText(&t.If) {
		calm = b.compile(d.node(&t.If, value), t.If, dr.gathered)
	}
	b.follow(dr, Afterward{
		Kind: ScaleBack, Hold: b.pick(calmHold, t.Hold), Within: b.pick(calmWithin, t.Within), Every: b.pick(calmEvery, t.Every),
	}, key, calm)
}

// scaleKind is the action that scale_back takes back.
const scaleKind = "cloud_run.scale"

func (b *builder) follow(dr *draft, a Afterward, key *yaml.Node, calm *expression) {
	if a.Every <= 0 {
		b.at(key, mistake{id: "bad-value", message: "every must be longer than 0s"})
	}
	if a.Kind == ScaleBack && a.Within < a.Hold {
		b.at(key, mistake{id: "verify-too-short", message: fmt.Sprintf("within %s is shorter than hold %s: it could never hold", a.Within, a.Hold)})
	}
	dr.Afterwards = append(dr.Afterwards, a)
	dr.calm = append(dr.calm, calm)
}
