package main

import (
	"fmt"
	nethttp "net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// note is what a note on an incident says.
type note struct {
	text                 string
	outcome              string
	rule, target, mode   string
	deeds                []deed
	verified, head, mark string
}

// deed is one act as a note tells it.
type deed struct {
	summary, end string
	changes      map[string]string // what is said to be after the act, by key
}

var (
	noteHead   = regexp.MustCompile(`^remediator: ([A-Z ]+)`)
	noteRule   = regexp.MustCompile(`(?m)^rule (\S+|\(none chosen\)), target (\S+), mode (\S+)$`)
	noteDeed   = regexp.MustCompile(`^- \d\d:\d\d:\d\dZ (.+): (done, read back at|failed|not done|unclear|begun)`)
	noteChange = regexp.MustCompile(`^    (\w+): .* -> (.*)$`)
	noteJoint  = regexp.MustCompile(`(?m)^journal head (\S+)$`)
	noteMark   = regexp.MustCompile(`(?m)^remediator: run (\S+) · message \S+$`)
)

func parseNote(t *testing.T, text string) note {
	t.Helper()
	n := note{text: text}
	head, about, joint, mark := noteHead.FindStringSubmatch(text), noteRule.FindStringSubmatch(text), noteJoint.FindStringSubmatch(text), noteMark.FindStringSubmatch(text)
	if head == nil || about == nil || joint == nil || mark == nil {
		t.Fatalf("this is no outcome note:\n%s", text)
	}
	n.outcome, n.head, n.mark = strings.TrimSpace(head[1]), joint[1], mark[1]
	n.rule, n.target, n.mode = strings.TrimSuffix(about[1], "(none chosen)"), about[2], about[3]
	_, done, _ := strings.Cut(text, "\nWhat was done\n")
	done, _, _ = strings.Cut(done, "\n\n")
	for line := range strings.Lines(done) {
		line = strings.TrimSuffix(line, "\n")
		if m := noteDeed.FindStringSubmatch(line); m != nil {
			n.deeds = append(n.deeds, deed{summary: m[1], end: m[2], changes: map[string]string{}})
		} else if m := noteChange.FindStringSubmatch(line); m != nil && len(n.deeds) > 0 {
			n.deeds[len(n.deeds)-1].changes[m[1]] = m[2]
		}
	}
	if _, rest, ok := strings.Cut(text, "\nHow it was verified\n"); ok {
		n.verified, _, _ = strings.Cut(rest, "\n")
	}
	return n
}

func (n note) shows(t *testing.T, words string) {
	t.Helper()
	if !strings.Contains(n.text, words) {
		t.Errorf("the note does not say %q:\n%s", words, n.text)
	}
}

// count of the deeds that ended so.
func (n note) count(ends ...string) int {
	k := 0
	for _, d := range n.deeds {
		if slices.Contains(ends, d.end) {
			k++
		}
	}
	return k
}

// tale waits until the incident's run is done and told, and reads the one note it left.
func (h *house) tale(t *testing.T, target, incident string) story {
	t.Helper()
	s := story{view: h.run(t, target, incident), incident: h.world.Incident(incident)}
	if len(s.incident.Notes) != 1 {
		t.Fatalf("the incident has %d notes, not one: %+v", len(s.incident.Notes), s.incident.Notes)
	}
	s.note = parseNote(t, s.incident.Notes[0].Content)
	return s
}

// words of the note for each outcome.
var outcomeHead = map[remediation.Outcome]string{
	remediation.Fixed: "FIXED", remediation.NotFixed: "NOT FIXED", remediation.RefusedRun: "REFUSED", remediation.Observed: "OBSERVED",
	remediation.Inconclusive: "INCONCLUSIVE", remediation.NeedsHuman: "NEEDS A HUMAN",
}

// honest compares what the note says with the ledger and with the traffic that flows.
func (h *house) honest(t *testing.T, service string, s story) {
	t.Helper()
	n, run, updates := s.note, s.view.Run, h.updates(service)
	want(t, "the note's outcome", n.outcome, outcomeHead[run.Outcome])
	want(t, "the note's rule", n.rule, run.Rule)
	want(t, "the note's target", n.target, service)
	want(t, "the note's run", n.mark, run.ID)
	want(t, "the note's journal head", n.head, run.Head)
	want(t, "acts the note says were taken", n.count("done, read back at", "failed"), len(updates))
	want(t, "acts the note says were turned away", n.count("not done"), h.posts("cloud_run", "update_service_refused", service))
	want(t, "the note says that nothing was changed", strings.Contains(n.text, "(nothing was changed)"), len(updates) == 0)
	want(t, "the note says how it was verified", n.verified != "", run.Outcome == remediation.Fixed)
	want(t, "the incident is resolved", s.incident.Status == "resolved", run.Outcome == remediation.Fixed)
	if run.Outcome == remediation.Fixed {
		want(t, "health", statusOf(t.Context(), h.world.BackendURL(service)+"/health"), nethttp.StatusOK)
	}
	taken := slices.DeleteFunc(slices.Clone(n.deeds), func(d deed) bool { return d.end == "not done" })
	for i := range min(len(taken), len(updates)) {
		taken[i].agrees(t, updates[i])
	}
	h.serves(t, service, taken)
}

// agrees compares a deed with the ledger's entry of it.
func (d deed) agrees(t *testing.T, e sandbox.Entry) {
	t.Helper()
	if traffic, ok := e.Detail["traffic_after"].([]string); ok && d.end == "done, read back at" {
		revision, _, _ := strings.Cut(traffic[0], "=100")
		want(t, "where the note says the traffic went", d.changes["serving"], revision+" 100 %")
	}
	if scaling, ok := e.Detail["scaling_after"].(string); ok {
		want(t, "the bounds the note says", fmt.Sprintf("min=%s max=%s", d.changes["min_instances"], orNow(d.changes["max_instances"], "40")), scaling)
	}
}

func orNow(said, now string) string {
	if said == "" {
		return now
	}
	return said
}

// serves compares the last deed with the traffic that flows.
func (h *house) serves(t *testing.T, service string, taken []deed) {
	t.Helper()
	if len(taken) == 0 || taken[len(taken)-1].end != "done, read back at" {
		return
	}
	said := taken[len(taken)-1].changes["serving"]
	if base, copied := strings.CutPrefix(said, "a copy of "); copied {
		want(t, "what the new revision is said to be a copy of", strings.TrimSuffix(base, " 100 %"), previousOf(h, h.serving(service)))
		return
	}
	if said != "" {
		want(t, "what is said to serve", said, h.serving(service)+" 100 %")
	}
}
