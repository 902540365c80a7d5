package rules

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/guard"
)

// maxFreezes is how many a file may have: each is asked about before every act.
const maxFreezes = 100

// icing is a freeze under construction.
type icing struct {
	guard.Freeze
	text    freezeText
	node    *yaml.Node
	decoder *decoder
}

// freezing reads the freezes, which then hold for all rules.
func (b *builder) freezing(entries []*yaml.Node) {
	for i, n := range entries {
		if i == maxFreezes {
			b.at(n, mistake{id: "bad-freeze", message: fmt.Sprintf("at most %d freezes are read", maxFreezes)})
			return
		}
		b.freeze(n)
	}
}

func (b *builder) freeze(n *yaml.Node) {
	f := &icing{node: n, decoder: b.decoder()}
	before := b.count
	f.decoder.into(n, &f.text)
	if n.Kind != yaml.MappingNode {
		return
	}
	f.Name, f.Reason, f.Targets = f.text.Name, f.text.Reason, f.text.Targets
	b.frozenTexts(f)
	b.frozenTargets(f)
	cron, span := f.wrote(&f.text.Cron), f.wrote(&f.text.From) || f.wrote(&f.text.Until)
	switch {
	case cron == span:
		b.at(n, mistake{id: "bad-freeze", message: "a freeze has either cron, for and time_zone, or from and until",
			hint: `write cron: "0 18 * * 5", for: 62h, time_zone: Europe/Berlin, or from: 2026-12-24T00:00:00+01:00, until: 2026-12-27T00:00:00+01:00`})
	case cron:
		b.recurring(f)
	default:
		b.once(f)
	}
	if b.count == before {
		b.freezes = append(b.freezes, f.Freeze)
	}
}

func (f *icing) wrote(pointer any) bool { return f.decoder.wrote(pointer) }

// at is where a value was written, the freeze where it was not.
func (f *icing) at(pointer any) *yaml.Node { return f.decoder.node(pointer, f.node) }

func (b *builder) frozenTexts(f *icing) {
	if f.decoder.okText(&f.text.Reason) && strings.TrimSpace(f.Reason) == "" {
		b.at(f.at(&f.text.Reason), mistake{id: "bad-value", message: "must not be empty"})
	}
	switch {
	case !f.decoder.okText(&f.text.Name):
	case !isName(f.Name, "_-"):
		b.at(f.at(&f.text.Name), mistake{id: "bad-name", message: show(f.Name) + " is no name",
			hint: "a name is made of small letters, digits, - and _, at most 63 of them, and begins with a letter or digit"})
	case b.freezeLines[f.Name] > 0:
		b.at(f.at(&f.text.Name), mistake{id: "duplicate-freeze", message: fmt.Sprintf("a freeze called %s exists already", f.Name),
			hint: fmt.Sprintf("the first is on line %d", b.freezeLines[f.Name])})
	default:
		b.freezeLines[f.Name] = f.at(&f.text.Name).Line
	}
}

// frozenTargets reports targets that are not declared. A list without any may be meant as all or as none.
func (b *builder) frozenTargets(f *icing) {
	for i := range f.text.Targets {
		if name := &f.text.Targets[i]; f.decoder.okText(name) {
			b.declared(f.at(name))
		}
	}
	if f.Targets != nil && len(f.Targets) == 0 {
		b.at(f.at(&f.text.Targets), mistake{id: "bad-freeze", message: "targets is empty", hint: "name some, or leave it out to mean all"})
	}
}

// recurring reads a window that begins again and again by the clocks of a time zone.
func (b *builder) recurring(f *icing) {
	t := &f.text
	switch {
	case t.For == nil && !f.wrote(&t.For):
		b.at(f.node, mistake{id: "missing-key", message: "for is missing: cron says when the freeze begins, for how long it lasts"})
	case t.For != nil && *t.For < scale(minWait, b.speed):
		b.at(f.at(t.For), mistake{id: "bad-value", message: fmt.Sprintf("for must be at least %s", words(minWait))})
	case t.For != nil:
		f.For = *t.For
	}
	zone := b.zone(f)
	if !f.decoder.okText(&t.Cron) {
		return
	}
	clock, problem := parseCron(t.Cron)
	if problem != "" {
		b.at(f.at(&t.Cron), mistake{id: "bad-cron", message: problem, hint: "the fields are minute, hour, day of the month, month and day of the week: 0 18 * * 5"})
	}
	f.Schedule = &schedule{clock: clock, zone: zone}
}

func (b *builder) zone(f *icing) *time.Location {
	name := &f.text.TimeZone
	switch {
	case !f.wrote(name):
		b.at(f.node, mistake{id: "missing-key", message: "time_zone is missing: the hours of cron are those of a place", hint: "write time_zone: Europe/Berlin, or UTC"})
		return nil
	case !f.decoder.okText(name):
		return nil
	}
	zone, err := time.LoadLocation(*name)
	if err != nil || zone == time.Local || *name == "" {
		b.at(f.at(name), mistake{id: "unknown-time-zone", message: fmt.Sprintf("there is no time zone called %s", show(*name)),
			hint: "write a name of the IANA database, such as Europe/Berlin, or UTC"})
		return nil
	}
	return zone
}

// once reads a single span.
func (b *builder) once(f *icing) {
	t := &f.text
	for key, pointer := range map[string]any{"for": &t.For, "time_zone": &t.TimeZone} {
		if f.wrote(pointer) {
			b.at(f.at(pointer), mistake{id: "bad-freeze", message: key + " belongs to cron", hint: "remove it: from and until say it all"})
		}
	}
	for key, pointer := range map[string]any{"from": &t.From, "until": &t.Until} {
		if !f.wrote(pointer) {
			b.at(f.node, mistake{id: "missing-key", message: key + " is missing"})
		}
	}
	if t.From == nil || t.Until == nil {
		return
	}
	f.From, f.Until = *t.From, *t.Until
	if !f.From.IsZero() && !f.Until.IsZero() && !f.Until.After(f.From) {
		b.at(f.at(&t.Until), mistake{id: "bad-value", message: "until is not after from"})
	}
}
