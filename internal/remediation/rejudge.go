package remediation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/guard"
)

// pressed is the pause outside the store, if there is one.
func (e *Engine) pressed() []guard.Pause {
	if e.Pressed == nil {
		return nil
	}
	if p := e.Pressed(); p != nil {
		return []guard.Pause{*p}
	}
	return nil
}

// Rejudge makes a new attempt for the runs that were refused while they waited for a human's word and have it now. Nothing old is
// replayed: rules, facts, age and guards are judged as they are now. It may be called at any time by any number of processes; it also sees to
// it that we know by which names the sources know us.
func (e *Engine) Rejudge(ctx context.Context) error {
	e.learnSelves(ctx)
	waits := map[Bond]bool{} // what was found of each, so that those who wait long never hide those who wait no more
	for more := true; more; {
		parked, err := e.Intake.Parked(ctx, slices.Collect(maps.Keys(waits)))
		if err != nil {
			return err
		}
		if more, err = e.rejudgeAll(ctx, parked, waits); err != nil {
			return err
		}
	}
	return nil
}

// rejudgeAll judges again those of the parked runs that wait no more, and reports whether there may be others behind them.
func (e *Engine) rejudgeAll(ctx context.Context, parked []Run, waits map[Bond]bool) (more bool, err error) {
	for _, run := range parked {
		b := Bond{Rule: run.Rule, Target: run.Target}
		if _, known := waits[b]; !known {
			if waits[b], err = e.stillWaits(ctx, run); err != nil {
				return false, err
			}
			more = true
		}
		if waits[b] {
			continue
		}
		if err := e.again(ctx, run); err != nil {
			return false, err
		}
	}
	return more, nil
}

// stillWaits reports whether what parked the run is still there.
func (e *Engine) stillWaits(ctx context.Context, run Run) (bool, error) {
	s, err := e.Runs.Snapshot(ctx, SnapshotQuery{
		Now: e.Now(), Run: run.ID, Rule: run.Rule, Target: run.Target, RulesHash: e.Rules.Current().Hash, Pauses: e.pressed(),
	})
	if err != nil {
		return false, fmt.Errorf("reading what parks run %s: %w", run.ID, err)
	}
	return guard.Waits(s) != nil, nil
}

// again stores the next attempt of a parked run: the same event and alert under the rules now in force.
func (e *Engine) again(ctx context.Context, run Run) error {
	set := e.Rules.Current()
	a := Acceptance{Again: run.ID, Event: Event{
		ID: run.Event, Source: run.Alert.Source, State: EventMatched, ReceivedAt: run.EventAt, OccurredAt: run.EventAt, RulesHash: set.Hash,
	}}
	for _, sig := range append([]alert.Alert{run.Alert}, run.Others...) {
		e.propose(set, &a, sig)
	}
	a.Proposals = slices.DeleteFunc(a.Proposals, func(p Proposal) bool { return p.Run.Target != run.Target })
	a.Rulings = slices.DeleteFunc(a.Rulings, func(r Ruling) bool { return r.Target != run.Target })
	unite(set, &a)
	a.Proposals = a.Proposals[:min(len(a.Proposals), 1)] // the others were united with the first
	for i := range a.Proposals {
		p := &a.Proposals[i]
		p.Run.CreatedAt, p.Run.UpdatedAt, p.Run.Parent = e.Now(), e.Now(), ""
	}
	keepPlaces(run, &a)
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("judging run %s again: %w", run.ID, err)
	}
	e.Metrics.accepted(a, accepted)
	return nil
}

// keepPlaces gives the rulings the places that those of the former attempt have, so that they take their place; rules that came since get
// the next ones.
func keepPlaces(run Run, a *Acceptance) {
	places := maps.Clone(run.Places)
	if places == nil {
		places = map[string]int{}
	}
	for i := range a.Rulings {
		a.Rulings[i].Seq = placeIn(places, a.Rulings[i].Rule)
	}
	for i := range a.Proposals {
		for j := range a.Proposals[i].Rulings {
			r := &a.Proposals[i].Rulings[j]
			r.Seq = placeIn(places, r.Rule)
		}
		a.Proposals[i].Run.Places = places
	}
}
