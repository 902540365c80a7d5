package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/notify"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/store"
)

// appConfig is what the parts of a server are made from.
type appConfig struct {
	Rules   string // path of the rules file
	Options rules.Options
	DSN     string
	Stop    stopFile
	Roles   []string // nil: all
	Lease   time.Duration
	Log     *slog.Logger
}

func (c appConfig) plays(role string) bool { return c.Roles == nil || slices.Contains(c.Roles, role) }

// app is a server without its listeners: store, engine, notifier and the rules in force.
type app struct {
	config   appConfig
	registry *prometheus.Registry
	store    *store.Store
	book     *book
	engine   *remediation.Engine
	notifier *notify.Notifier
	metrics  *remediation.Metrics
	timeouts rules.Timeouts // of the rules that it was started with
	open     atomic.Pointer[connect.Set]
	loading  sync.Mutex // one reload at a time
	feeds    feedLoops
}

// newApp loads the rules, refuses sources that could not protect anything, and opens the database.
func newApp(ctx context.Context, c appConfig) (*app, error) {
	set, err := loadRules(c.Rules, c.Options)
	if err != nil {
		return nil, err
	}
	if err := c.validateSources(set); err != nil {
		return nil, err
	}
	a := &app{config: c, registry: newRegistry(), timeouts: set.Intake.Timeouts}
	owner := uuid.NewString()
	a.store, err = store.Open(ctx, store.Config{
		DSN: c.DSN, Registerer: a.registry, Log: c.Log, Owner: owner, Roles: c.Roles, Lease: c.Lease,
		Retention: a.retention,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	if err := a.wire(ctx, set, owner); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	return a, nil
}

func (a *app) wire(ctx context.Context, set *rules.Set, owner string) error {
	a.book = newBook(a.store, a.config.Options)
	if err := a.use(ctx, set); err != nil {
		return err
	}
	a.metrics = remediation.NewMetrics(a.registry)
	a.metrics.Init(set)
	a.registry.MustRegister(remediation.NewGauges(ledger{Store: a.store, pauses: a.pauses}, a.book))
	a.engine = remediation.New(remediation.Config{
		Rules: a.book, Intake: a.store, Runs: a.store, Feeds: a.store, Connections: a.connections, Metrics: a.metrics, Log: a.config.Log,
		Systems: remediation.NewSystems(a.metrics, a.config.Options.Speed),
		Pressed: a.config.Stop.pressed, Protected: ownIdentity(),
		Owner: owner, Lease: a.config.Lease, Speed: a.config.Options.Speed, Now: a.store.Now, NewID: newID,
	})
	a.notifier = notify.New(notify.Config{
		Outbox: a.store, Connections: a.connections, Log: a.config.Log, Registerer: a.registry, Speed: a.config.Options.Speed,
		Now: a.store.Now, Report: a.report,
	})
	return nil
}

// report is a run's as the store has it now.
func (a *app) report(ctx context.Context, run string) (remediation.Report, error) {
	v, err := a.store.Run(ctx, run)
	if err != nil {
		return remediation.Report{}, err
	}
	return remediation.NewReport(remediation.Told{Run: v.Run, Steps: v.Steps, Rulings: v.Rulings, Entries: v.Entries}), nil
}

// pauses are those that are stored and the file's.
func (a *app) pauses(ctx context.Context) ([]guard.Pause, error) {
	all, err := a.store.Pauses(ctx)
	if p := a.config.Stop.pressed(); p != nil {
		all = append(all, *p)
	}
	return all, err
}

// ledger is the store as the gauges read it.
type ledger struct {
	*store.Store
	pauses func(context.Context) ([]guard.Pause, error)
}

// Pauses implements remediation.Ledger.
func (l ledger) Pauses(ctx context.Context) ([]guard.Pause, error) { return l.pauses(ctx) }

// ownIdentity is the Cloud Run service that this process runs in, so that it is never acted on: the platform names it in K_SERVICE
// (cloud.google.com/run/docs/container-contract). Project and region are not told there, so the name alone counts.
func ownIdentity() []string {
	if service := os.Getenv("K_SERVICE"); service != "" {
		return []string{"cloud_run/*/*/" + service}
	}
	return nil
}

// retention is what the rules in force say; before there are any, the defaults.
func (a *app) retention() remediation.Retention {
	if a.book == nil || a.book.Current() == nil {
		return remediation.Retention{}
	}
	kept := a.book.Current().Retention
	return remediation.Retention{Bodies: kept.Bodies, Runs: kept.Runs}
}

func (a *app) connections() connect.Set { return *a.open.Load() }

// use puts rules in force with their own clients, or changes nothing. Calls may be under way on the former clients: they are closed when
// the longest of them must be over.
func (a *app) use(ctx context.Context, set *rules.Set) error {
	open := connect.Set{}
	if a.config.plays(store.WorkerRole) { // nobody else calls out: a public intake needs no credentials
		var err error
		if open, err = connect.OpenAll(ctx, set.Connections); err != nil {
			return err
		}
	}
	if err := a.book.keep(ctx, set); err != nil {
		return errors.Join(err, open.Close())
	}
	if err := a.store.SetRulesHash(ctx, set.Hash); err != nil {
		return errors.Join(err, open.Close())
	}
	former := a.open.Swap(&open)
	a.book.current.Store(set)
	if former != nil {
		time.AfterFunc(time.Minute, func() { _ = former.Close() })
	}
	return nil
}

// reload puts the rules file in force again. A bad file changes nothing.
func (a *app) reload(ctx context.Context) error {
	a.loading.Lock()
	defer a.loading.Unlock()
	set, err := loadRules(a.config.Rules, a.config.Options)
	if err == nil {
		err = a.config.validateSources(set)
	}
	if err == nil {
		err = a.use(ctx, set)
	}
	if err != nil {
		return fmt.Errorf("the rules in force stay: %w", err)
	}
	a.metrics.Init(set)
	if set.Intake.Timeouts != a.timeouts {
		a.config.Log.Warn("the timeouts of connections under intake changed: they hold from the next start on; all other limits hold now")
	}
	a.config.Log.Info("rules reloaded", "file", a.config.Rules, "hash", set.Hash, "rules", len(set.Rules))
	return nil
}

// close ends the visits under way, for which it has some patience, then the store.
func (a *app) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	a.feeds.stop()
	return errors.Join(a.store.Stop(ctx), a.store.Close(), a.connections().Close())
}

// worker is what the queue calls: the engine for runs and events, the notifier for messages.
type worker struct {
	*remediation.Engine
	*notify.Notifier
}

func (a *app) start(ctx context.Context) error {
	if err := a.store.Start(ctx, worker{Engine: a.engine, Notifier: a.notifier}); err != nil {
		return err
	}
	if a.config.plays(store.WorkerRole) {
		a.startFeeds(ctx)
	}
	return nil
}

// validateSources refuses sources that could not protect anything. Their secrets are the intake's alone.
func (c appConfig) validateSources(set *rules.Set) error {
	if !c.plays(http.IngestRole) {
		return nil
	}
	var all []error
	for _, name := range slices.Sorted(maps.Keys(set.Sources)) {
		if err := set.Sources[name].Validate(); err != nil {
			all = append(all, fmt.Errorf("source %s: %w", name, err))
		}
	}
	return errors.Join(all...)
}

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "remediator_build_info", Help: "Always 1; the labels tell the build.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	r.MustRegister(build)
	return r
}

// newID makes ids that sort by the time they were made.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

func newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError{fmt.Errorf("--log.level: %w", err)}
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	default:
		return nil, usageError{fmt.Errorf("--log.format: %q is neither text nor json", format)}
	}
}
