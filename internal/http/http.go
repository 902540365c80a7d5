// Package http is the edge in: webhooks with their limits, the API of the verbs, health, readiness and metrics. It decides nothing
// about an alert. What it cannot keep it refuses with 503, so that the sender keeps it: PagerDuty drops a delivery for good on any 4xx
// but 429 and turns a subscription off after three, and Alertmanager retries nothing but 5xx.
package http

import (
	"context"
	"crypto/tls"
	"log/slog"
	nethttp "net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
)

// Intake takes deliveries.
type Intake interface {
	// Accept authenticates and keeps a delivery; it has it durably when it returns without an error. A body that is merely not
	// understood is kept, and no error.
	Accept(ctx context.Context, in remediation.Inbound) (remediation.Accepted, error)
	// Expects judges a delivery by what comes before its body, with the errors of Accept: after one the body is not read.
	Expects(in remediation.Inbound) error
}

// Reader answers the API's questions. An unknown id is remediation.ErrNotFound.
type Reader interface {
	Run(ctx context.Context, id string) (RunView, error)
	Runs(ctx context.Context, f RunFilter) ([]remediation.Run, error)
	Event(ctx context.Context, id string) (EventView, error)
	Status(ctx context.Context) (Status, error)
}

// Control carries the verbs out. An unknown target or rule is remediation.ErrNotFound; a *guard.Refusal and remediation.ErrStaleHint
// (somebody else is at it) are answered as conflicts.
type Control interface {
	Pause(ctx context.Context, p guard.Pause) error
	// Resume lifts the pauses of a scope and tells how many there were.
	Resume(ctx context.Context, scope guard.Scope, name, actor string) (int, error)
	// Release closes the breakers of a rule, a target, or a rule on a target, and tells how many there were.
	Release(ctx context.Context, r Release) (int, error)
}

// Hand starts runs for people and gives their ids. Errors are those of Control.
type Hand interface {
	// Start begins a rule on a target, under the guards of every run.
	Start(ctx context.Context, p remediation.ByPerson) (string, error)
	// Unpin lets the latest deploy of a target serve again after a rollback.
	Unpin(ctx context.Context, u Unpin) (string, error)
}

// Consent carries out the words of people about plans and revisions. Errors are those of Control.
type Consent interface {
	// Answer gives a run the answer to the plan whose digest begins as given.
	Answer(ctx context.Context, a remediation.Approval) error
	// Mark says that a revision of a target cannot be gone back past; Unmark takes it back, and tells whether there was such a mark.
	Mark(ctx context.Context, m remediation.Mark) error
	Unmark(ctx context.Context, target, revision string) (bool, error)
	// Declare says that the rules in force in this process count where replicas go by different ones, and gives their hash.
	Declare(ctx context.Context, actor string) (string, error)
}

// Clicks takes the clicks of people on buttons in Slack.
type Clicks interface {
	// Click authenticates a request of a Slack connection and carries it out. ErrUnsigned when it is not Slack's, remediation.ErrNotFound when
	// there is no such connection. What the person has to know they are told in Slack.
	Click(ctx context.Context, connection string, header nethttp.Header, body []byte) error
}

// Config is what the edge needs. Every field without a default is required.
type Config struct {
	Intake     Intake
	Reader     Reader
	Control    Control
	Hand       Hand
	Consent    Consent
	Clicks     Clicks
	Auditor    Auditor
	Ready      func() error                    // nil while deliveries can be accepted; its text is public
	Reload     func(ctx context.Context) error // reads the rules again
	Gatherer   prometheus.Gatherer
	Registerer prometheus.Registerer // nil: metrics are kept but not shown
	Log        *slog.Logger          // nil: slog.Default
	Now        func() time.Time      // nil: time.Now
	Version    string
	Roles      []string // what this process does; nil: everything. See IngestRole and UIRole
	// Token opens the API over TCP; unset, the API answers on the unix socket alone.
	Token connect.Secret
	// TLS is what TCP is served with, see Certificates; nil: plain HTTP.
	TLS *tls.Config

	// Limits gives the bounds of the rules in force; nil: the defaults. Timeouts are those of the moment when New is called.
	Limits func() rules.Intake
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Limits == nil {
		c.Limits = rules.DefaultIntake
	}
	return c
}

// edge is what the handlers share.
type edge struct {
	cfg     Config
	metrics *metrics
	held    allowance
	places  places
	large   *semaphore.Weighted // the one place of large bodies
}

func newEdge(c Config) *edge {
	e := &edge{cfg: c.withDefaults(), large: semaphore.NewWeighted(1)}
	e.metrics = newMetrics(c.Registerer, e.routes())
	return e
}

// Handler serves what TCP clients may reach. It registers metrics: make one per Registerer.
func Handler(c Config) nethttp.Handler { return newEdge(c).router(byTCP) }
