package main

import (
	"context"
	"fmt"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// unpinAction is the action behind the verb unpin where neither a debt nor the target's systems name another.
const unpinAction = "cloud_run.unpin"

// api lets the HTTP edge read and control the app: it joins what the two sides of floor four call the same things.
type api struct{ app *app }

// Run implements http.Reader.
func (a *api) Run(ctx context.Context, id string) (http.RunView, error) {
	v, err := a.app.store.Run(ctx, id)
	return http.RunView{Run: v.Run, Steps: v.Steps, Rulings: v.Rulings, Journal: v.Entries, Messages: v.Messages}, err
}

// Runs implements http.Reader.
func (a *api) Runs(ctx context.Context, f http.RunFilter) ([]remediation.Run, error) {
	return a.app.store.ListRuns(ctx, store.Filter{State: f.State, Target: f.Target, Before: f.Before, Limit: f.Limit})
}

// Event implements http.Reader.
func (a *api) Event(ctx context.Context, id string) (http.EventView, error) {
	event, err := a.app.store.Event(ctx, id)
	if err != nil {
		return http.EventView{}, err
	}
	rulings, err := a.app.store.EventRulings(ctx, id)
	return http.EventView{Event: event, Rulings: rulings}, err
}

// Status implements http.Reader.
func (a *api) Status(ctx context.Context) (http.Status, error) {
	status := http.Status{RulesHash: a.app.book.Current().Hash}
	var err error
	if status.Pauses, err = a.app.pauses(ctx); err != nil {
		return status, err
	}
	if status.Debts, err = a.app.store.Debts(ctx); err != nil {
		return status, err
	}
	if status.Breakers, err = a.app.store.Breakers(ctx); err != nil {
		return status, err
	}
	if status.Latches, err = a.app.store.Latches(ctx); err != nil {
		return status, err
	}
	if status.Marks, err = a.app.store.Marks(ctx); err != nil {
		return status, err
	}
	if seen, released, err := a.app.store.Storm(ctx); err != nil {
		return status, err
	} else if seen.After(released) {
		status.StormAt = seen
	}
	counts, err := a.app.store.Counts(ctx)
	status.Counts = http.Counts{Events: named(counts.Events), Runs: named(counts.Runs), Messages: counts.Queued}
	return status, err
}

func named[K ~string](counts map[K]int) map[string]int {
	out := make(map[string]int, len(counts))
	for name, n := range counts {
		out[string(name)] = n
	}
	return out
}

// Pause implements http.Control. A pause of a rule or target that the rules do not know is refused: it would stop nothing.
func (a *api) Pause(ctx context.Context, p guard.Pause) error {
	if err := a.known(p.Scope, p.Name); err != nil {
		return err
	}
	return a.app.store.Pause(ctx, p)
}

func (a *api) known(scope guard.Scope, name string) error {
	set := a.app.book.Current()
	_, target := set.Targets[name]
	_, rule := set.Rule(name)
	if scope == guard.Target && !target || scope == guard.Rule && !rule {
		return fmt.Errorf("%w: the rules file declares no %s %q", remediation.ErrNotFound, scope, name)
	}
	return nil
}

// Resume implements http.Control.
func (a *api) Resume(ctx context.Context, scope guard.Scope, name, _ string) (int, error) {
	return a.app.store.Resume(ctx, scope, name)
}

// Release implements http.Control.
func (a *api) Release(ctx context.Context, r http.Release) (int, error) {
	if r.Storm {
		return 1, a.app.store.ReleaseStorm(ctx)
	}
	for scope, name := range map[guard.Scope]string{guard.Rule: r.Rule, guard.Target: r.Target} {
		if name == "" {
			continue
		}
		if err := a.known(scope, name); err != nil {
			return 0, err
		}
	}
	return a.app.store.Release(ctx, r.Rule, r.Target)
}

// Start implements http.Hand.
func (a *api) Start(ctx context.Context, p remediation.ByPerson) (string, error) {
	accepted, err := a.app.engine.Start(ctx, p)
	return started(accepted, p.Target, err)
}

// Unpin implements http.Hand.
func (a *api) Unpin(ctx context.Context, u http.Unpin) (string, error) {
	if err := a.known(guard.Target, u.Target); err != nil {
		return "", err
	}
	debts, err := a.app.store.Debts(ctx)
	if err != nil {
		return "", err
	}
	action := settling(debts, a.app.book.Current().Targets[u.Target], u.Target)
	accepted, err := a.app.engine.Settle(ctx, action, u.Target, u.Actor, u.Reason)
	return started(accepted, u.Target, err)
}

// settling names the action by which a person settles what a rollback has left: that of the target's debt, else of a system it has.
func settling(debts []remediation.Debt, target executors.Target, name string) string {
	for _, d := range debts {
		if kind, ok := executors.Settling(d.Kind); ok && d.Target == name {
			return kind.Name
		}
	}
	for _, action := range executors.Actions() {
		kind, _ := executors.LookupAction(action)
		if _, has := target.Systems[executors.System(action)]; has && kind.Settles != "" {
			return action
		}
	}
	return unpinAction
}

// started is the id of the run that was begun.
func started(accepted remediation.Accepted, target string, err error) (string, error) {
	switch {
	case err != nil:
		return "", err
	case len(accepted.Runs) == 0:
		return "", fmt.Errorf("%w: a run on %s is at work", remediation.ErrStaleHint, target)
	default:
		return accepted.Runs[0].Run, nil
	}
}
