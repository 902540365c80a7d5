package rules

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

// scaleKind is the action that scale_back takes back.
const scaleKind = "cloud_run.scale"

func (b *builder) verify(dr *draft) {
	t := dr.text.Verify
	if t == nil {
		if len(dr.text.Do) > 0 && dr.Mode != Observe {
			b.at(dr.node, mistake{id: "missing-verify", message: fmt.Sprintf("a rule that acts in mode %s needs verify: nothing else makes a run fixed", dr.Mode),
				hint: `write verify: {if: "…", hold: 2m, within: 10m}, or mode: observe`})
		}
		return
	}
	where := dr.decoder.node(t, dr.node)
	if dr.decoder.okText(&t.If) {
		dr.verified = b.proof(dr.decoder.node(&t.If, where), t.If, dr.gathered)
	}
	dr.Verify = &Verify{Hold: t.Hold, Settle: t.Settle}
	if t.Within == nil {
		return
	}
	dr.Verify.Within, dr.Verify.Every = *t.Within, b.pause(verifyEvery, t.Every, *t.Within)
	within := written{dr.decoder.node(t.Within, where), *t.Within}
	if b.looks(written{dr.decoder.node(t.Every, where), dr.Verify.Every}, within) && dr.verified != nil {
		b.enoughTime(dr, within.node)
	}
}

// pause is the time between two looks: as written, else the built-in one, or all the time there is where that is shorter.
func (b *builder) pause(builtin time.Duration, every *time.Duration, within time.Duration) time.Duration {
	if every == nil && within > 0 {
		return min(b.pick(builtin), within)
	}
	return b.pick(builtin, every)
}

// proof compiles a condition that has to tell the world after an act from the one before it: it names a gathered fact.
func (b *builder) proof(n *yaml.Node, text string, gathered []gathered) *expression {
	e := b.compile(n, text, gathered)
	if e != nil && len(e.needs) == 0 {
		b.at(n, mistake{id: "proves-nothing", message: "this names no gathered fact, so that it proves nothing",
			hint: "name a fact that is asked for under gather"})
	}
	return e
}

// written is a duration and where it stands.
type written struct {
	node   *yaml.Node
	length time.Duration
}

// looks reports, and gives false for, a deadline and pauses between looks that leave no time for one.
func (b *builder) looks(every, within written) bool {
	before := b.count
	if within.length <= 0 {
		b.at(within.node, mistake{id: "bad-value", message: "within must be longer than 0s"})
	}
	switch {
	case every.length <= 0:
		b.at(every.node, mistake{id: "bad-value", message: "every must be longer than 0s"})
	case within.length > 0 && every.length > within.length:
		b.at(every.node, mistake{id: "bad-value", message: fmt.Sprintf("every %s is longer than within %s", every.length, within.length)})
	}
	return b.count == before
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
			b.remind(dr, key, value)
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
		calm = b.proof(d.node(&t.If, value), t.If, dr.gathered)
	}
	a := Afterward{Kind: ScaleBack, Hold: b.pick(calmHold, t.Hold), Within: b.pick(calmWithin, t.Within)}
	a.Every = b.pause(calmEvery, t.Every, a.Within)
	within := written{d.node(t.Within, key), a.Within}
	if b.looks(written{d.node(t.Every, key), a.Every}, within) && a.Within < a.Hold {
		b.at(within.node, mistake{id: "verify-too-short", message: fmt.Sprintf("within %s is shorter than hold %s: it could never hold", a.Within, a.Hold)})
	}
	dr.follow(a, calm)
}

func (b *builder) remind(dr *draft, key, value *yaml.Node) {
	var t remindText
	d := b.decoder()
	d.into(value, &t)
	a := Afterward{Kind: Remind, Of: string(t.Of), Every: b.pick(remindEvery, t.Every)}
	if a.Every <= 0 {
		b.at(d.node(t.Every, key), mistake{id: "bad-value", message: "every must be longer than 0s"})
	}
	dr.follow(a, nil)
}

func (dr *draft) follow(a Afterward, calm *expression) {
	dr.Afterwards = append(dr.Afterwards, a)
	dr.calm = append(dr.calm, calm)
}
