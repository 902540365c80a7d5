package main

import (
	"fmt"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/guard"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// The rules of the shipped playbook.
const (
	rollBack     = "roll-back-a-bad-deploy"
	restartSick  = "restart-a-sick-service"
	mongoLost    = "mongodb-connection-lost"
	otherReason  = "health-failed-for-another-reason"
	scaleUp      = "scale-up-when-slow"
	healthFailed = "HealthCheckFailed"
	highLatency  = "HighLatency"
)

// outcome is one scripted world, and what has to become of it.
type outcome struct {
	name    string
	rules   func(t *testing.T, shipped string) string
	history []sandbox.Revision // of the service before; default one that was healthy for days
	happens func(t *testing.T, h *house)
	alert   string // default HealthCheckFailed

	rule    string
	outcome remediation.Outcome
	reason  guard.Reason
	updates int            // changes of the service that Cloud Run took
	told    map[string]int // of the incident, by the ledger's verb
	paged   bool           // a human was called
	also    func(t *testing.T, h *house, s story)
}

// story is what there is to judge when a run has been told.
type story struct {
	view     edge.RunView
	note     note
	incident sandbox.Incident
}

var healed = map[string]int{"incident_acknowledged": 1, "note_added": 1, "incident_resolved": 1}

// untouchedBy is what a refusal before any act tells.
var untouchedBy = map[string]int{"incident_acknowledged": 0, "note_added": 1, "incident_resolved": 0}

var unhealedBy = map[string]int{"incident_acknowledged": 1, "note_added": 1, "incident_resolved": 0}

func outcomes() []outcome {
	return slices.Concat(rollbacks(), refusals(), troubles(), others())
}

func rollbacks() []outcome {
	return []outcome{
		{
			name: "rolled back and healthy", happens: deploysSick,
			rule: rollBack, outcome: remediation.Fixed, updates: 1, told: healed, also: pinIsOwed,
		},
		{
			name: "rolled back and not healthy",
			happens: func(t *testing.T, h *house) {
				before := h.serving(backend)
				deploysSick(t, h)
				succeed(t, h.world.SetHealth(backend, before, sandbox.Sick503))
			},
			rule: rollBack, outcome: remediation.NotFixed, updates: 1, told: unhealedBy, paged: true,
		},
		{
			name: "tags are kept", happens: deploysSick,
			history: []sandbox.Revision{{CreatedAgo: 60 * time.Hour, Tag: "green"}, {CreatedAgo: 20 * time.Hour}},
			rule:    rollBack, outcome: remediation.Fixed, updates: 1, told: healed,
			also: func(t *testing.T, h *house, _ story) {
				traffic := fmt.Sprint(h.updates(backend)[0].Detail["traffic_after"])
				if !strings.Contains(traffic, "=0 tag=green") {
					t.Errorf("the tag was lost: %s", traffic)
				}
			},
		},
	}
}

func refusals() []outcome {
	return []outcome{
		{
			name: "two revisions split the traffic", rules: onlyHealthDecides, happens: splits,
			rule: rollBack, outcome: remediation.RefusedRun, reason: guard.SplitTraffic, told: untouchedBy,
		},
		{
			name: "two revisions split the traffic, shipped rules", happens: splits,
			rule: "", outcome: remediation.RefusedRun, reason: guard.UnknownFacts, told: untouchedBy,
			also: func(t *testing.T, _ *house, s story) { s.note.shows(t, "is split") },
		},
		{
			name:    "the former revision never became ready",
			history: []sandbox.Revision{{CreatedAgo: 20 * time.Hour, Health: sandbox.NeverReady}, {CreatedAgo: 2 * time.Second, Health: sandbox.Sick503}},
			rule:    rollBack, outcome: remediation.RefusedRun, reason: guard.NoDestination, told: untouchedBy,
			also: func(t *testing.T, _ *house, s story) { s.note.shows(t, "is not ready") },
		},
		{
			name:    "the deploy is too old to be the cause",
			history: []sandbox.Revision{{CreatedAgo: 20 * time.Hour}, {CreatedAgo: 5 * time.Minute, Health: sandbox.Sick503}},
			rule:    rollBack, outcome: remediation.RefusedRun, reason: guard.NoCause, told: untouchedBy,
		},
		{
			name: "the deploy migrated the database",
			happens: func(t *testing.T, h *house) {
				deploys(t, h, sandbox.Revision{Health: sandbox.Sick503, Labels: map[string]string{"no-rollback-past": "2026-11-23"}})
			},
			rule: rollBack, outcome: remediation.RefusedRun, reason: guard.Migrations, told: untouchedBy,
		},
		{
			name: "a human deploys in between",
			happens: func(t *testing.T, h *house) {
				deploysSick(t, h)
				succeed(t, h.world.DeployBeforeNextUpdate(backend, sandbox.Revision{}))
			},
			rule: rollBack, outcome: remediation.RefusedRun, reason: guard.HumanHand, told: unhealedBy, paged: true,
		},
	}
}

func troubles() []outcome {
	return []outcome{
		{
			name: "the platform bumps the etag by itself",
			happens: func(t *testing.T, h *house) {
				deploysSick(t, h)
				succeed(t, h.world.BumpEtagBeforeNextUpdate(backend))
			},
			rule: rollBack, outcome: remediation.Fixed, updates: 1, told: healed,
			also: func(t *testing.T, h *house, _ story) {
				want(t, "calls turned away", h.posts("cloud_run", "update_service_refused", backend), 1)
			},
		},
		{
			name: "the operation fails inside",
			happens: func(t *testing.T, h *house) {
				deploysSick(t, h)
				succeed(t, h.world.FailNextOperation(backend, "the platform gave up"))
			},
			rule: rollBack, outcome: remediation.NotFixed, updates: 1, told: unhealedBy, paged: true,
			also: func(t *testing.T, _ *house, s story) { s.note.shows(t, "the platform gave up") },
		},
		{
			name: "the answer of the call is lost",
			happens: func(t *testing.T, h *house) {
				deploysSick(t, h)
				succeed(t, h.world.ApplyThenFail(backend, codes.Unavailable))
			},
			rule: rollBack, outcome: remediation.Fixed, updates: 1, told: healed,
		},
		{
			name: "PagerDuty limits the rate of notes",
			happens: func(t *testing.T, h *house) {
				deploysSick(t, h)
				h.spoilNotes(sandbox.Fault{Status: nethttp.StatusTooManyRequests, RetryAfter: time.Second, Count: 2})
			},
			rule: rollBack, outcome: remediation.Fixed, updates: 1, told: healed,
		},
		{
			name: "PagerDuty takes the note and answers with an error",
			happens: func(t *testing.T, h *house) {
				deploysSick(t, h)
				h.spoilNotes(sandbox.Fault{ApplyThenFail: true})
			},
			rule: rollBack, outcome: remediation.Fixed, updates: 1, told: healed,
		},
	}
}

func others() []outcome {
	return []outcome{
		{
			name: "the database is gone",
			happens: func(t *testing.T, h *house) {
				deploys(t, h, sandbox.Revision{})
				succeed(t, h.world.SetDependency(backend, false))
			},
			rule: mongoLost, outcome: remediation.Observed, told: untouchedBy, paged: true,
		},
		{
			name: "sick without a deploy",
			happens: func(t *testing.T, h *house) {
				succeed(t, h.world.SetHealth(backend, h.serving(backend), sandbox.Sick503))
			},
			rule: restartSick, outcome: remediation.Fixed, updates: 1, told: healed, also: sameCode,
		},
		{
			name: "slow, and five instances are not enough", alert: highLatency, rules: calmSooner,
			happens: func(t *testing.T, h *house) {
				succeed(t, h.world.SetLoad(backend, 6000))
				succeed(t, h.untilSeen(t.Context(), scaleUp, backend))
			},
			rule: scaleUp, outcome: remediation.Fixed, updates: 2, told: healed, also: scaledBackWhenCalm,
		},
	}
}

func TestOutcomeOnTheIncidentEqualsTheLedger(t *testing.T) {
	t.Parallel()
	for _, c := range outcomes() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.play(t)
		})
	}
}

func (c outcome) play(t *testing.T) {
	h, incident := c.begin(t)
	s := h.tale(t, backend, incident)
	want(t, "rule", s.view.Run.Rule, c.rule)
	want(t, "outcome", s.view.Run.Outcome, c.outcome)
	want(t, "reason", s.view.Run.Reason, c.reason)
	want(t, "changes in the ledger", len(h.updates(backend)), c.updates)
	succeed(t, h.expectTold(incident, c.told))
	want(t, "humans called", h.called(incident), map[bool]int{true: 1}[c.paged])
	h.honest(t, backend, s)
	if c.also != nil {
		c.also(t, h, s)
	}
	if t.Failed() {
		t.Logf("%s\n\nthe note:\n%s", s.view.Run.Detail, s.note.text)
	}
}

// begin sets the world up and lets the alert fire.
func (c outcome) begin(t *testing.T) (*house, string) {
	t.Helper()
	history := c.history
	if history == nil {
		history = []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}}
	}
	text := string(playbook.Playbook)
	if c.rules != nil {
		text = c.rules(t, text)
	}
	h := newHouse(t, houseConfig{rules: text, services: []sandbox.Service{{Name: backend, Revisions: history, MaxInstances: 40}}})
	if c.happens != nil {
		c.happens(t, h)
	}
	name := c.alert
	if name == "" {
		name = healthFailed
	}
	if name == healthFailed {
		succeed(t, h.untilHealth(t.Context(), backend, false))
	}
	incident := h.alert(name, backend)
	return h, incident
}

func deploys(t *testing.T, h *house, r sandbox.Revision) {
	t.Helper()
	_, err := h.world.Deploy(backend, r)
	succeed(t, err)
}

func deploysSick(t *testing.T, h *house) {
	t.Helper()
	deploys(t, h, sandbox.Revision{Health: sandbox.Sick503})
}

// splits lets two sick revisions share the traffic.
func splits(t *testing.T, h *house) {
	t.Helper()
	before := h.serving(backend)
	bad, err := h.world.Deploy(backend, sandbox.Revision{Health: sandbox.Sick503})
	succeed(t, err)
	succeed(t, h.world.SetHealth(backend, before, sandbox.Sick503))
	succeed(t, h.world.Split(backend, sandbox.Share{Revision: before, Percent: 50}, sandbox.Share{Revision: bad, Percent: 50}))
}

// onlyHealthDecides makes the rollback rule blind to what it could know before it plans.
func onlyHealthDecides(t *testing.T, shipped string) string {
	t.Helper()
	return swap(t, shipped, `if: health.sick && health.json[?"mongodb"].connected.orValue(true) && deploy.age < duration("30m")`, "if: health.sick")
}

// calmSooner scales back after five minutes of calm instead of thirty, with room in the budget for it.
func calmSooner(t *testing.T, shipped string) string {
	t.Helper()
	return swap(t, swap(t, shipped, "hold: 30m, within: 24h", "hold: 5m, within: 24h"), "target_per_hour: 2", "target_per_hour: 9")
}

// swap replaces the one place of a text in the shipped rules.
func swap(t *testing.T, text, old, now string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("the shipped rules have no place with %q", old)
	}
	return strings.ReplaceAll(text, old, now)
}

// spoilNotes spoils the next notes on any incident.
func (h *house) spoilNotes(f sandbox.Fault) {
	f.Method, f.Path = nethttp.MethodPost, "/incidents/"
	h.world.SetPagerDuty(f)
}

// pinIsOwed: a rollback leaves pinned traffic, and says so everywhere.
func pinIsOwed(t *testing.T, h *house, s story) {
	s.note.shows(t, "the traffic is pinned; new deploys serve nothing until `remediator unpin ")
	s.note.shows(t, "remediator unpin "+backend)
	want(t, "pinned targets in the metrics", h.metric(t, "remediator_pinned_targets"), "1")
	status, err := (&api{app: h.app}).Status(t.Context())
	succeed(t, err)
	if len(status.Debts) != 1 || status.Debts[0].Target != backend || status.Debts[0].Run != s.view.Run.ID {
		t.Errorf("the debt of %s is not recorded: %+v", s.view.Run.ID, status.Debts)
	}
}

// sameCode: a restart begins new instances of what served, by its digest.
func sameCode(t *testing.T, h *house, _ story) {
	images := map[string]string{}
	for _, service := range h.world.Services() {
		for _, r := range service.Revisions {
			images[r.Name] = r.Image
		}
	}
	entry := h.updates(backend)[0]
	made, image := entry.Detail["revision"].(string), entry.Detail["image"]
	want(t, "the revision that serves", h.serving(backend), made)
	if image != images[previousOf(h, made)] || !strings.Contains(fmt.Sprint(image), "@sha256:") {
		t.Errorf("the image is %v, the base had %s", image, images[previousOf(h, made)])
	}
}

// previousOf is the revision that was created before the named one.
func previousOf(h *house, name string) string {
	for _, service := range h.world.Services() {
		for i, r := range service.Revisions {
			if r.Name == name && i > 0 {
				return service.Revisions[i-1].Name
			}
		}
	}
	return ""
}

// scaledBackWhenCalm: the former bounds return, in as many steps as they were raised.
func scaledBackWhenCalm(t *testing.T, h *house, s story) {
	want(t, "instances kept ready", h.world.CloudRun(backend).GetScaling().GetMinInstanceCount(), 20)
	s.note.shows(t, "infrastructure code")
	succeed(t, h.world.SetLoad(backend, 1200))
	var back remediation.Run
	h.await(t, "one rung is taken back, and calm is waited for again", func() bool {
		back = h.child(t, s.view.Run.ID)
		return back.Acted && back.Phase == remediation.PhaseCalm
	})
	want(t, "time it has for that", back.Until.Sub(back.CreatedAt), 24*time.Hour/worldSpeed)
	h.await(t, "the bounds are as before", func() bool { return h.world.CloudRun(backend).GetScaling().GetMinInstanceCount() == 0 })
	want(t, "most instances", h.world.CloudRun(backend).GetScaling().GetMaxInstanceCount(), 40)
	want(t, "outcome of scaling back", h.followUp(t, s.view.Run.ID).Outcome, remediation.Undone)
}
