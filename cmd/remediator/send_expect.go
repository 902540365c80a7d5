package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
)

// decision is what was decided about one rule on a delivery, and what became of it.
type decision struct {
	Rule    string `json:"rule,omitempty"`
	Target  string `json:"target,omitempty"`
	Mode    string `json:"mode,omitempty"`
	Verdict string `json:"verdict"`
	Reason  string `json:"reason,omitempty"`  // of a refusal
	Action  string `json:"action,omitempty"`  // what a drill would have done
	Outcome string `json:"outcome,omitempty"` // of the run
	Detail  string `json:"detail,omitempty"`
	Run     string `json:"run,omitempty"`
}

// fields are what can be expected of a decision.
func (d decision) fields() map[string]string {
	return map[string]string{
		"rule": d.Rule, "target": d.Target, "mode": d.Mode, "verdict": d.Verdict, "reason": d.Reason, "action": d.Action, "outcome": d.Outcome,
	}
}

func (d decision) String() string {
	var parts []string
	for _, key := range expectable {
		if value := d.fields()[key]; value != "" {
			parts = append(parts, key+"="+value)
		}
	}
	return strings.Join(parts, " ")
}

// expectable are the keys of an expectation, in the order in which they are shown.
var expectable = []string{"rule", "verdict", "target", "action", "mode", "reason", "outcome"}

// expectation is what one decision on a delivery has to be, field by field; empty where nothing is expected.
type expectation map[string]string

// parseExpectation reads KEY=VALUE, several in a text. What says no verdict expects the rule to be chosen, or refused where it names a reason.
func parseExpectation(texts []string) (expectation, error) {
	e := expectation{}
	for _, part := range strings.Fields(strings.Join(texts, " ")) {
		key, value, ok := strings.Cut(part, "=")
		_, twice := e[key]
		switch {
		case !ok || value == "" || !slices.Contains(expectable, key):
			return nil, fmt.Errorf("--expect: %q is not KEY=VALUE with one of %s", part, strings.Join(expectable, ", "))
		case twice:
			return nil, fmt.Errorf("--expect: %s is given twice", key)
		}
		e[key] = value
	}
	if len(e) > 0 && e["verdict"] == "" {
		e["verdict"] = string(remediation.Chosen)
		if e["reason"] != "" {
			e["verdict"] = string(remediation.Refused)
		}
	}
	return e, nil
}

func (e expectation) String() string {
	var parts []string
	for _, key := range expectable {
		if e[key] != "" {
			parts = append(parts, key+"="+e[key])
		}
	}
	return strings.Join(parts, " ")
}

// met reports whether one of the decisions is as expected.
func (e expectation) met(all []decision) bool {
	return slices.ContainsFunc(all, func(d decision) bool {
		got := d.fields()
		for key, value := range e {
			if got[key] != value {
				return false
			}
		}
		return true
	})
}

// after waits for the decision where that is asked for, tells it, and judges it.
func (s *sending) after(cmd *cobra.Command, a sentAnswer, expected expectation) error {
	if !s.wait && len(expected) == 0 {
		return a.show(cmd.OutOrStdout(), s.output)
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), s.within, fmt.Errorf("it was not over within %s", s.within))
	defer cancel()
	var err error
	if a.Decisions, err = s.decisions(ctx, a.Event); err != nil {
		return err
	}
	met := expected.met(a.Decisions)
	if len(expected) > 0 {
		a.Expected = &met
	}
	if err := a.show(cmd.OutOrStdout(), s.output); err != nil {
		return err
	}
	if len(expected) == 0 {
		return nil
	}
	if s.output != asJSON {
		judged(cmd.OutOrStdout(), expected, a.Decisions, met)
	}
	if !met {
		return errProblem
	}
	return nil
}

// show ends what was told with the decisions; as JSON it is all told here.
func (a *sentAnswer) show(out io.Writer, form output) error {
	if form == asJSON {
		return printJSON(out, a)
	}
	for _, d := range a.Decisions {
		fmt.Fprintf(out, "%s\n  %s\n", d, d.Detail)
	}
	return nil
}

func judged(out io.Writer, expected expectation, got []decision, met bool) {
	if met {
		fmt.Fprintf(out, "as expected: %s\n", expected)
		return
	}
	fmt.Fprintf(out, "NOT as expected\n  expected: %s\n", expected)
	for _, d := range got {
		fmt.Fprintf(out, "  got:      %s\n", d)
	}
}

// decisions waits until the event is matched and its runs are over, and gives what was decided.
func (s *sending) decisions(ctx context.Context, event string) ([]decision, error) {
	view, err := s.settled(ctx, event)
	if err != nil {
		return nil, err
	}
	runs := map[string]remediation.Run{}
	for _, r := range view.Rulings {
		if _, known := runs[r.Run]; known || r.Run == "" {
			continue
		}
		if runs[r.Run], err = s.over(ctx, r.Run); err != nil {
			return nil, err
		}
	}
	if view, err = s.settled(ctx, event); err != nil { // the runs have changed the verdicts
		return nil, err
	}
	return decided(view, runs), nil
}

func decided(view edge.EventView, runs map[string]remediation.Run) (all []decision) {
	for _, r := range view.Rulings {
		d := decision{Rule: r.Rule, Target: r.Target, Mode: r.Mode, Verdict: string(r.Verdict), Detail: r.Detail, Run: r.Run}
		run := runs[r.Run]
		if run.Rule == r.Rule || run.Rule == "" {
			d.Outcome, d.Reason = string(run.Outcome), string(run.Reason)
		}
		if run.Rule == r.Rule && run.Would != nil {
			d.Action = run.Would.Kind
		}
		if run.Rule == r.Rule && run.Detail != "" {
			d.Detail = run.Detail
		}
		all = append(all, d)
	}
	if len(all) == 0 {
		all = append(all, decision{Verdict: string(remediation.NotMatched), Detail: view.Event.Note})
	}
	return all
}

// settled waits until an event needs no look-up any more.
func (s *sending) settled(ctx context.Context, event string) (view edge.EventView, err error) {
	err = every(ctx, followEvery, func() (bool, error) {
		view = edge.EventView{}
		err := s.call(ctx, http.MethodGet, "/v1/events/"+url.PathEscape(event), nil, &view)
		return err == nil && view.Event.State != remediation.EventPending, err
	})
	return view, err
}

// over waits until a run is.
func (s *sending) over(ctx context.Context, run string) (remediation.Run, error) {
	var view edge.RunView
	err := every(ctx, followEvery, func() (bool, error) {
		view = edge.RunView{}
		err := s.call(ctx, http.MethodGet, "/v1/runs/"+url.PathEscape(run), nil, &view)
		return err == nil && view.Run.State == remediation.Done, err
	})
	return view.Run, err
}

// every looks until it is done or the context ends, whose cause is then the error.
func every(ctx context.Context, pause time.Duration, done func() (bool, error)) error {
	for {
		is, err := done()
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if is || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
