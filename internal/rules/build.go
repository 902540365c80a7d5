package rules

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// What rules get that say nothing else, and whose file says nothing under defaults; what the guards get stands with them.
const (
	escalateAfter = 30 * time.Minute
	verifyEvery   = 10 * time.Second
	calmHold      = 30 * time.Minute
	calmWithin    = 24 * time.Hour
	calmEvery     = time.Minute
	remindEvery   = 24 * time.Hour
)

// draft is a rule under construction.
type draft struct {
	*Rule
	text     ruleText
	node     *yaml.Node
	decoder  *decoder
	gathered []gathered
	rungs    []rung
	farthest lookBack // of what is gathered
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
	dr.Skips = dr.text.Unknown == unknownSkips
	dr.Mode = firstText(dr.text.Mode, b.defaults.Mode, Observe)
	dr.matchers = b.parseMatchers(dr)
	b.limits(dr)
	b.tell(dr)
	b.escalate(dr)
	dr.gathered = b.gather(dr.text.Gather)
	dr.rungs = b.ladder(dr.text.Do)
	for _, r := range dr.rungs {
		dr.Rungs = append(dr.Rungs, Rung{Kind: r.kind.Name})
	}
	b.hold(dr)
	b.choose(dr)
	b.permit(dr)
	b.bind(dr)
	b.settles(dr)
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

// hold reads for how long the rule stops the automation on its target.
func (b *builder) hold(dr *draft) {
	if dr.text.Hold == nil {
		return
	}
	n := dr.decoder.node(dr.text.Hold, dr.node)
	switch {
	case len(dr.text.Do) > 0:
		b.at(n, mistake{id: "bad-value", message: "a rule that holds the automation on its target cannot act on it", hint: "remove do, or hold"})
	case *dr.text.Hold <= 0:
		b.at(n, mistake{id: "bad-value", message: "hold must be longer than 0s"})
	}
	dr.Hold = *dr.text.Hold
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
