package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"
	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/alert"
)

// matcher is one condition on one label, in Alertmanager's meaning: anchored, and a label that is not there is "".
type matcher struct {
	*labels.Matcher
	literals []string // all values it accepts, where these are few and known; nil for anything else
}

func newMatcher(m *labels.Matcher) matcher {
	switch m.Type {
	case labels.MatchEqual:
		return matcher{Matcher: m, literals: []string{m.Value}}
	case labels.MatchRegexp:
		return matcher{Matcher: m, literals: alternatives(m.Value)}
	default:
		return matcher{Matcher: m}
	}
}

// alternatives are the literals of a pattern such as critical|P0, nil if it is more than that: the replacement character fits bytes that
// are no text, too.
func alternatives(pattern string) []string {
	parts := strings.Split(pattern, "|")
	seen := make(map[string]bool, len(parts))
	literals := parts[:0]
	for _, part := range parts {
		if part != regexp.QuoteMeta(part) || strings.ContainsRune(part, utf8.RuneError) {
			return nil
		}
		if !seen[part] {
			seen[part] = true
			literals = append(literals, part)
		}
	}
	return literals
}

// narrow reports whether an alert has to carry one of few known, non-empty values to match.
func (m matcher) narrow() bool {
	for _, literal := range m.literals {
		if literal == "" {
			return false
		}
	}
	return len(m.literals) > 0
}

func matchesAll(matchers []matcher, labels map[string]string) bool {
	for _, m := range matchers {
		if !m.Matches(labels[m.Name]) {
			return false
		}
	}
	return true
}

// choice is how a rule finds its target.
type choice struct {
	fixed   string            // the target's name; empty: the label decides
	label   string            // whose value names the target
	targets map[string]string // by the label's value; nil: the value is the target's name
}

// noLabel stands for the value of a label that an alert does not carry.
const noLabel = "(none)"

// resolve gives the name the alert asks for, or the label value that gives none.
func (c choice) resolve(a alert.Alert) (target, undeclared string) {
	if c.fixed != "" {
		return c.fixed, ""
	}
	value := a.Labels[c.label]
	if value == "" {
		return "", noLabel
	}
	if c.targets == nil {
		return value, ""
	}
	if target, ok := c.targets[value]; ok {
		return target, ""
	}
	return "", value
}

// Candidate is a rule whose matchers hold for an alert, and the target it asks for.
type Candidate struct {
	Rule   *Rule
	Target string // empty when Undeclared is set
	// Undeclared is the label's value that names no target the rule can act on, "(none)" when the label is missing.
	Undeclared string
}

// Match finds the rules whose matchers hold for the alert, in file order. Labels alone decide, not the alert's status.
func (s *Set) Match(a alert.Alert) []Candidate { return s.AppendMatch(nil, a) }

// AppendMatch is Match into a slice of the caller's; it allocates only to grow it.
func (s *Set) AppendMatch(dst []Candidate, a alert.Alert) []Candidate {
	var buffer [16]int32
	for _, i := range s.index.match(buffer[:0], a.Labels) {
		dst = append(dst, s.Rules[i].candidate(a))
	}
	return dst
}

func (r *Rule) candidate(a alert.Alert) Candidate {
	target, undeclared := r.choice.resolve(a)
	if undeclared == "" {
		if _, ok := r.bound[target]; !ok {
			target, undeclared = "", target
		}
	}
	return Candidate{Rule: r, Target: target, Undeclared: undeclared}
}

// parseMatchers reads the items of `match`.
func (b *builder) parseMatchers(dr *draft) []matcher {
	list := dr.text.Match
	if dr.text.ByHand {
		if list != nil && !absent(list) {
			b.at(list, mistake{id: "by-hand", message: "a rule that only people start matches no alert", hint: "remove match, or by_hand"})
		}
		return nil
	}
	if list == nil || absent(list) {
		b.at(dr.node, mistake{id: "empty-match", message: "match is missing: a rule without matchers would match every alert",
			hint: `write match: [alertname="…"], or by_hand: true where only people start it`})
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		b.at(list, mistake{id: "wrong-type", message: "must be a list of matchers", hint: `write match: [alertname="…", severity=~"critical|page"]`})
		return nil
	}
	var matchers []matcher
	for _, item := range list.Content {
		matchers = append(matchers, b.parseItem(item)...)
	}
	if len(list.Content) == 0 {
		b.at(list, mistake{id: "empty-match", message: "match is empty: the rule would match every alert", hint: `write match: [alertname="…"]`})
	}
	b.refuseWidest(list, matchers, dr.acts())
	return matchers
}

func (b *builder) parseItem(item *yaml.Node) []matcher {
	if item.Kind != yaml.ScalarNode || !isText(item) {
		b.at(item, mistake{id: "wrong-type", message: `a matcher must be text such as alertname="HealthCheckFailed"`})
		return nil
	}
	parsed, err := parse.Matchers(item.Value)
	if err != nil {
		offset, message := matcherError(item.Value, err.Error())
		b.within(item, offset, mistake{id: "bad-matcher", message: message, hint: `a matcher is name="value", !=, =~ or !~`})
		return nil
	}
	if len(parsed) == 0 {
		b.at(item, mistake{id: "bad-matcher", message: "the matcher is empty", hint: `a matcher is name="value", !=, =~ or !~`})
	}
	matchers := make([]matcher, 0, len(parsed))
	for _, m := range parsed {
		matchers = append(matchers, newMatcher(m))
	}
	return matchers
}

// matcherError splits the place from the parser's message: "FROM:TO: message", in characters.
func matcherError(text, message string) (int, string) {
	message = plainWords(message)
	parts := strings.SplitN(message, ":", 3)
	if len(parts) == 3 {
		if from, err := strconv.Atoi(parts[0]); err == nil {
			return min(from, max(len([]rune(text))-1, 0)), "cannot read the matcher: " + strings.TrimSpace(parts[2])
		}
	}
	message, isPattern := strings.CutPrefix(message, "failed to create matcher: error parsing regexp: ")
	if !isPattern {
		return 0, "cannot read the matcher: " + message
	}
	message, pattern, _ := strings.Cut(message, ": `")
	pattern = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(pattern, "`"), "^(?:"), ")$")
	if at := strings.Index(text, pattern); at >= 0 {
		return len([]rune(text[:at])), "cannot read the pattern: " + message
	}
	return 0, "cannot read the pattern: " + message
}

// refuseWidest reports matchers that together exclude no alert at all, and in a rule that acts also those that name no alert.
func (b *builder) refuseWidest(list *yaml.Node, matchers []matcher, acts bool) {
	if len(matchers) == 0 {
		return
	}
	hint := fmt.Sprintf("name at least one value, such as %s=\"…\"", show(matchers[0].Name))
	switch {
	case !slices.ContainsFunc(matchers, func(m matcher) bool { return !m.everything() }):
		b.at(list, mistake{id: "empty-match", message: "these matchers hold for every alert", hint: hint})
	case acts && !slices.ContainsFunc(matchers, matcher.selects):
		b.at(list, mistake{id: "matches-everything", message: "a rule that acts must name its alerts: these matchers hold for values that nobody thought of", hint: hint})
	}
}

// everything reports whether the matcher is a pattern that any text fits.
func (m matcher) everything() bool {
	return m.Type == labels.MatchRegexp && slices.Contains([]string{".*", "(.*)", "(?s).*", "(?s:.*)"}, m.Value)
}

// selects reports whether the matcher holds for something in particular: not without the label, and not for values that nobody would name.
func (m matcher) selects() bool {
	return !slices.ContainsFunc([]string{"", "unheard-of", "UnheardOf", "un/heard.0f"}, m.Matches)
}
