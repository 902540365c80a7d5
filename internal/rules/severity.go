package rules

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

// severityLabel is the label by which an alert says how severe it is.
const severityLabel = "severity"

// Severity is how much is at stake, and what may be done about it by itself.
type Severity struct {
	Name   string        // such as P0
	Labels []string      // values of the alert's label `severity` that mean it
	Most   Mode          // a rule may go no further by itself, whatever its own mode is
	After  time.Duration // a run that has not ended calls for a person after this long; 0: as its rule says
	// Priority is what a call for a person gives the incident in PagerDuty, by its name, where the rule says nothing; empty: none.
	Priority string
}

type severityText struct {
	Name     string         `yaml:"name" rules:"required"`
	Labels   []string       `yaml:"labels" rules:"required"`
	Mode     Mode           `yaml:"mode"`
	Escalate *time.Duration `yaml:"escalate"`
	Priority string         `yaml:"priority"`
}

// Severity says how severe an alert is by its labels: the last severity where none is named, nothing where the file declares none. Worst
// tells the most severe one.
func (s *Set) Severity(labels map[string]string) (severity Severity, worst bool) {
	if len(s.Severities) == 0 {
		return Severity{Most: Auto}, false
	}
	at := slices.IndexFunc(s.Severities, func(v Severity) bool { return slices.Contains(v.Labels, labels[severityLabel]) })
	if at < 0 {
		at = len(s.Severities) - 1
	}
	return s.Severities[at], at == 0
}

// modes in the order of how far they go.
var modes = []Mode{Observe, Approve, Auto}

// Within gives the mode that goes less far.
func (m Mode) Within(most Mode) Mode {
	return modes[min(slices.Index(modes, m), slices.Index(modes, most))]
}

// severities reads the section, most severe first.
func (b *builder) severities(all []*yaml.Node) {
	seen := map[string]bool{}
	for _, n := range all {
		var text severityText
		d := b.decoder()
		d.into(n, &text)
		for _, word := range text.Labels {
			if seen[word] {
				b.at(d.node(&text.Labels, n), mistake{id: "bad-value", message: fmt.Sprintf("the label %s means a more severe one already", show(word))})
			}
			seen[word] = true
		}
		b.checkPriority(d, &text.Priority)
		s := Severity{Name: text.Name, Labels: text.Labels, Most: firstText(text.Mode, Auto), Priority: text.Priority}
		if text.Escalate != nil {
			s.After = *text.Escalate
		}
		b.set.Severities = append(b.set.Severities, s)
	}
}
