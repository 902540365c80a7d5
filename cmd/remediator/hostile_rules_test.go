package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sandbox"
)

// trap is what the hostile texts name again and again, and nobody may ever call.
type trap struct {
	net.Listener
	calls atomic.Int64
}

func newTrap(t *testing.T) *trap {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	succeed(t, err)
	tr := &trap{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			tr.calls.Add(1)
			_ = conn.Close()
		}
	}()
	return tr
}

// TestHostileTextThroughEveryRule plays every page of the playbook with all hostile texts in its events and in what people give as reason:
// each ends as it does without, by calls that it makes without, and nothing of the texts is more than text anywhere.
func TestHostileTextThroughEveryRule(t *testing.T) {
	t.Parallel()
	if raced {
		t.Skip("under the race detector this takes minutes in which worlds grow stale: make test plays it once more without")
	}
	tr, decided := newTrap(t), &nameSet{}
	texts := hostile500(tr.Addr().String())
	t.Run("plays", func(t *testing.T) {
		for i, sc := range scenarios() {
			t.Run(sc.name, func(t *testing.T) {
				t.Parallel()
				p := newHostilePlay(t, texts, i)
				err := p.perform(t.Context(), sc)
				if sc.redis && errors.Is(err, sandbox.ErrNoRedis) && os.Getenv("REQUIRE_ALL") == "" {
					decided.add("empty-a-full-cache", "clear-the-cache")
					t.Skipf("left out: %v", err)
				}
				if err != nil {
					t.Errorf("it does not end as it does without: %v\n%s", err, &p.told)
				}
				decided.add(p.judge(t)...)
			})
		}
	})
	decided.holdsAll(t)
	want(t, "calls of the trap", tr.calls.Load(), 0)
}

// nameSet is safe for parallel tests.
type nameSet struct {
	mu    sync.Mutex
	names []string
}

func (s *nameSet) add(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, names...)
}

// holdsAll: each shipped rule has decided at least one of the runs.
func (s *nameSet) holdsAll(t *testing.T) {
	t.Helper()
	shipped, err := rules.Load(defaultRules, playbook.Playbook, rules.Options{})
	succeed(t, err)
	for _, rule := range shipped.Rules {
		if !slices.Contains(s.names, rule.Name) {
			t.Errorf("rule %s decided no run", rule.Name)
		}
	}
	t.Logf("%d texts through %d rules", hostileTexts, len(shipped.Rules))
}

// hostilePlay is a stage whose events are full of hostile texts.
type hostilePlay struct {
	*stage
	told strings.Builder
	log  *logBook

	mu    sync.Mutex
	heard map[string]string // the first mark that a call carried, by the call's name
}

// newHostilePlay raises a stage. Titles, keys and reasons are short, so that each play has other texts in them.
func newHostilePlay(t *testing.T, texts []hostileText, turn int) *hostilePlay {
	t.Helper()
	p := &hostilePlay{log: &logBook{}, heard: map[string]string{}}
	s, err := newStage(t.Context(), &p.told, demoOptions{
		speed: worldSpeed, log: slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		dressed: dressed{incident: dressIncident(texts, turn), labels: hostileLabels(texts), reason: window(texts, turn)},
	}, shortDir(t))
	succeed(t, err)
	t.Cleanup(s.close)
	s.patience = shiftPatience
	s.world.Overhear(p.overhear)
	p.stage = s
	return p
}

func (p *hostilePlay) overhear(c sandbox.Call) {
	mark := markOf.FindString(c.Raw)
	if mark == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard[c.Key()] = mark
}

// windowSize is how many of the texts a title holds: what is shown of it is short.
const windowSize = 12

// window are a few of the texts, others in each turn, in one text.
func window(texts []hostileText, turn int) string {
	var all []string
	for i := range windowSize {
		all = append(all, texts[(turn*windowSize+i)%len(texts)].text)
	}
	return strings.Join(all, " ")
}

// dressIncident puts all texts into an incident's details, and some into its title and its key.
func dressIncident(texts []hostileText, turn int) func(*sandbox.Incident) {
	return func(in *sandbox.Incident) {
		details := maps.Clone(in.Details.(map[string]any))
		for _, h := range texts {
			details[h.mark] = h.value()
		}
		details["essay"] = strings.Repeat(window(texts, turn), 20)
		in.Details = details
		in.Title = window(texts, turn)
		in.Key += texts[(turn*windowSize)%len(texts)].text
	}
}

// value is the text as JSON carries it: half a surrogate is the nearest that JSON comes to what is not UTF-8.
func (h hostileText) value() any {
	if h.class == "not UTF-8" {
		return json.RawMessage(`"\ud800` + h.mark + `\udfff"`)
	}
	return h.text
}

// labelsOfAnAlert is how many labels an alert may have.
const labelsOfAnAlert = 60

// hostileLabels is the source's expression: it makes an incident's alert stand for so many alerts that all texts are labels of them.
func hostileLabels(texts []hostileText) string {
	var sets []string
	for part := range slices.Chunk(texts, labelsOfAnAlert) {
		set := strings.TrimSuffix(demoLabels, "}")
		for _, h := range part {
			set += fmt.Sprintf(`, "%s": string(details.%s)`, h.mark, h.mark)
		}
		sets = append(sets, set+"}")
	}
	return "[" + strings.Join(sets, ",\n") + "]"
}

// judge looks at everything that the play has left, and gives the rules that have decided its runs.
func (p *hostilePlay) judge(t *testing.T) (decided []string) {
	t.Helper()
	p.judgeCalls(t)
	p.judgeLedger(t)
	p.judgeSlack(t)
	p.judgePagerDuty(t)
	p.judgeLog(t)
	p.judgeRows(t)
	for _, run := range p.allRuns(t) {
		p.judgeRun(t, run)
		if run.State == remediation.Done && run.Rule != "" {
			decided = append(decided, run.Rule)
		}
	}
	return decided
}
