package executors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/notify"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sandbox"
	"github.com/mixillo/remediator/internal/sources"
	"github.com/mixillo/remediator/internal/store/memory"
)

// pager is the PagerDuty that people read. All plays share it, each with an incident of its own.
type pager struct {
	*sandbox.World
	client *connect.PagerDuty
}

func newPager(t *testing.T) *pager {
	t.Helper()
	w, err := sandbox.Start(sandbox.Config{Speed: speed, Seed: 7})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	client, err := connect.NewPagerDuty(connect.PagerDutyConfig{
		Endpoint: w.PagerDutyURL(), Token: tokenFile(t, sandbox.PagerDutyToken), From: "remediator-bot@example.com", Insecure: true,
	})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	return &pager{World: w, client: client}
}

// play is a rule that the real engine plays on a stand, from the webhook to the note on the incident.
type play struct {
	*testing.T
	*struck
	pager    *pager
	engine   *remediation.Engine
	notifier *notify.Notifier
	set      *rules.Set
	clients  connect.Set
	run      string
	incident string
}

// struck is the store of a play, which knows when the first call is due and when a change is looked at.
type struck struct {
	*memory.View
	calling func() // once, when all is planned and before the call
	looking func() // before each look at what became of the call
	asking  func() // before each visit
}

// Commit implements remediation.Runs.
func (s *struck) Commit(ctx context.Context, c remediation.Commit) error {
	if calling := s.calling; calling != nil && c.Intent != nil {
		s.calling = nil
		calling()
	}
	err := s.View.Commit(ctx, c)
	if err == nil && s.looking != nil && c.Run.Phase == remediation.PhaseObserve {
		s.looking()
	}
	return err
}

var (
	quiet   = slog.New(slog.DiscardHandler)
	metrics = remediation.NewMetrics(prometheus.NewRegistry())
)

// playedWithin is the patience of a play: on a busy machine the conditions that are waited for come late.
const playedWithin = 3 * time.Minute

// newPlay makes an engine that goes by one rule, for as long a claim as no call of it may outlast.
func newPlay(t *testing.T, p *pager, s script, lease time.Duration) *play {
	t.Helper()
	set := s.load(t)
	view := memory.New(memory.Config{}).As("us")
	must(t, view.SetRulesHash(t.Context(), set.Hash))
	out := &play{T: t, struck: &struck{View: view}, pager: p, set: set, clients: connect.Set{"pager": p.client}}
	maps.Copy(out.clients, s.clients)
	out.engine = remediation.New(remediation.Config{
		Rules: out, Intake: view, Runs: out.struck, Connections: func() connect.Set { return out.clients }, Metrics: metrics,
		Systems: remediation.NewSystems(metrics, speed), Log: quiet, Owner: "us", Lease: lease, Speed: speed, Now: time.Now,
		NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
	})
	out.notifier = notify.New(notify.Config{
		Outbox: view, Connections: func() connect.Set { return out.clients }, Log: quiet, Speed: speed,
	})
	return out
}

// Current implements remediation.RuleBook.
func (p *play) Current() *rules.Set { return p.set }

// ByHash implements remediation.RuleBook.
func (p *play) ByHash(context.Context, string) (*rules.Set, error) { return p.set, nil }

// fire delivers the alert of the play, whose incident people know already, and plays its run to the end.
func (p *play) fire(in stand) memory.Record {
	p.Helper()
	group := "{}:{play=" + uuid.NewString() + "}"
	incident := sandbox.Incident{Title: "it is down", Key: alert.GroupIncidentKey(group)}
	p.incident = p.pager.TriggerIncident(incident)
	if own, ok := in.(interface{ TriggerIncident(sandbox.Incident) string }); ok { // what probes ask about it
		own.TriggerIncident(incident)
	}
	body, err := json.Marshal(map[string]any{"version": "4", "groupKey": group, "status": "firing", "alerts": []map[string]any{{
		"status": "firing", "labels": map[string]string{"alertname": "Trouble", "severity": "critical"}, "startsAt": time.Now(),
	}}})
	must(p.T, err)
	header := http.Header{"Authorization": {"Bearer " + playToken}}
	got, err := p.engine.Accept(p.Context(), remediation.Inbound{Source: "alertmanager", Request: sources.Request{Header: header, Body: body}, ReceivedAt: time.Now()})
	must(p.T, err)
	if len(got.Runs) != 1 {
		p.Fatalf("want one run of the alert, got %+v", got)
	}
	p.run = got.Runs[0].Run
	return p.finish(got.Runs[0])
}

// finish visits what is due until the run is done and everything about it is told.
func (p *play) finish(first remediation.Hint) memory.Record {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), playedWithin)
	defer cancel()
	p.advance(ctx, first)
	for {
		rec, err := p.View.Run(ctx, p.run)
		must(p.T, err)
		if rec.Run.State == remediation.Done && !slices.ContainsFunc(rec.Messages, queued) {
			return rec
		}
		p.sayYes(ctx, rec.Run)
		if !p.visit(ctx) {
			p.wait(ctx, rec)
		}
	}
}

func queued(m remediation.Message) bool { return m.State == remediation.MessageQueued }

// visit does what is due, and reports whether anything was.
func (p *play) visit(ctx context.Context) bool {
	p.Helper()
	due, err := p.Due(ctx, time.Now())
	must(p.T, err)
	for _, hint := range due.Runs {
		p.advance(ctx, hint)
	}
	for _, lane := range due.Lanes {
		must(p.T, p.notifier.Deliver(ctx, lane))
	}
	return len(due.Runs)+len(due.Lanes) > 0
}

func (p *play) advance(ctx context.Context, h remediation.Hint) {
	p.Helper()
	if p.asking != nil {
		p.asking()
	}
	err := p.engine.Advance(ctx, h)
	if errors.Is(err, remediation.ErrFenced) || errors.Is(err, remediation.ErrStaleHint) { // a busy machine was slower than the claim
		return
	}
	must(p.T, err)
}

// sayYes is the human who is asked for an approval.
func (p *play) sayYes(ctx context.Context, r remediation.Run) {
	p.Helper()
	if r.Phase != remediation.PhaseAsk || r.State != remediation.Waiting || r.Asked == "" {
		return
	}
	err := p.Answer(ctx, remediation.Approval{Run: r.ID, Digest: r.Asked, Actor: "ann", Approved: true, At: time.Now()})
	if !errors.Is(err, remediation.ErrStaleHint) {
		must(p.T, err)
	}
}

// wait is for the time at which something is due next.
func (p *play) wait(ctx context.Context, rec memory.Record) {
	p.Helper()
	next, waits := p.Wake()
	if !waits {
		p.Fatalf("nothing is due any more, and the run is %s in %s: %+v", rec.Run.State, rec.Run.Phase, rec.Messages)
	}
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		p.Fatalf("after %s the run is %s in %s", playedWithin, rec.Run.State, rec.Run.Phase)
	}
}

// notes are what people read of the run when it is over; what asks them is left out.
func (p *play) notes() (all []string) {
	for _, n := range p.pager.Incident(p.incident).Notes {
		if strings.HasPrefix(n.Content, "remediator: ") {
			all = append(all, n.Content)
		}
	}
	return all
}

// called counts how often a human was paged after the incident began.
func (p *play) called() (n int) {
	for _, e := range p.pager.Ledger() {
		if e.Resource == p.incident && slices.Contains([]string{"incident_escalated", "incident_delegated", "incident_reassigned"}, e.Verb) {
			n++
		}
	}
	return n
}

// newPulse is a health check that is well once the stand's system has made a change for us: what it says is the ledger's word.
func newPulse(t *testing.T, s stand) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if s.Writes() == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return fmt.Sprintf("{http.get: {url: '%s/health', tries: 1}}", server.URL)
}
