package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
)

func newRuns() *cobra.Command {
	var c client
	var state, target string
	cmd := &cobra.Command{
		Use:   "runs [RUN]",
		Short: "List runs, or show one with its facts, acts, verdicts, journal and messages",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return c.showRun(cmd, args[0])
			}
			return c.listRuns(cmd, url.Values{"state": {state}, "target": {target}})
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&state, "state", "", "queued, running, waiting or done")
	cmd.Flags().StringVar(&target, "target", "", "only runs on this target")
	return cmd
}

func (c *client) listRuns(cmd *cobra.Command, q url.Values) error {
	var got struct {
		Runs []remediation.Run `json:"runs"`
	}
	if err := c.call(cmd.Context(), http.MethodGet, "/v1/runs?"+q.Encode(), nil, &got); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if c.output == asJSON {
		return printJSON(out, got)
	}
	for _, r := range got.Runs {
		fmt.Fprintf(out, "%s  %s  %-8s %-14s %-24s %s%s\n", r.CreatedAt.Format(time.DateTime), r.ID, r.State, r.Outcome, r.Rule, r.Target, drillMark(r))
	}
	return nil
}

func (c *client) showRun(cmd *cobra.Command, id string) error {
	var v edge.RunView
	if err := c.call(cmd.Context(), http.MethodGet, "/v1/runs/"+url.PathEscape(id), nil, &v); err != nil {
		return err
	}
	if c.output == asJSON {
		return printJSON(cmd.OutOrStdout(), v)
	}
	writeRun(cmd.OutOrStdout(), v)
	return nil
}

func writeRun(out io.Writer, v edge.RunView) {
	fmt.Fprintf(out, "run %s%s\n%s %s, rule %s, target %s\n%s\n", v.Run.ID, drillMark(v.Run), v.Run.State, v.Run.Outcome, v.Run.Rule, v.Run.Target, v.Run.Detail)
	fmt.Fprintln(out, "\nverdicts")
	for _, r := range v.Rulings {
		fmt.Fprintf(out, "  %-12s %s: %s\n", r.Verdict, r.Rule, r.Detail)
	}
	fmt.Fprintln(out, "\njournal")
	for _, e := range v.Journal {
		fmt.Fprintf(out, "  %s %-9s %s\n", e.At.Format("15:04:05.000"), e.Kind, e.Text)
	}
	fmt.Fprintln(out, "\nmessages")
	for _, m := range v.Messages {
		fmt.Fprintf(out, "  %-9s %-11s %s %s\n", m.Channel, m.Kind, m.State, m.Error)
	}
}

// drillMark tells a drill from what is real.
func drillMark(r remediation.Run) string {
	if r.Drill == "" {
		return ""
	}
	return "  (drill " + r.Drill + ")"
}

func newStatus() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what holds the automation back now: pauses, open breakers, debts",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var got json.RawMessage
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/status", nil, &got); err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), got)
		},
	}
	c.flags(cmd)
	return cmd
}

// scoped are the flags of the verbs that name a rule or a target.
type scoped struct {
	Rule, Target, Reason, For string
	Run, Digest, Revision     string
	Storm                     bool
}

func (s scoped) body(fields ...string) map[string]string {
	all := map[string]string{
		"rule": s.Rule, "target": s.Target, "reason": s.Reason, "for": s.For, "run": s.Run, "digest": s.Digest, "revision": s.Revision,
	}
	if s.Storm {
		all["storm"] = "true"
	}
	out := map[string]string{}
	for _, f := range fields {
		if all[f] != "" {
			out[f] = all[f]
		}
	}
	return out
}

// verb makes a command that posts the flags and prints the answer; subject takes its one argument, if it has one.
func verb(cmd *cobra.Command, path string, s *scoped, subject *string, fields ...string) *cobra.Command {
	var c client
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			*subject = args[0]
		}
		var got json.RawMessage
		if err := c.call(cmd.Context(), http.MethodPost, path, s.body(fields...), &got); err != nil {
			return err
		}
		return printJSON(cmd.OutOrStdout(), got)
	}
	return cmd
}

func newPause() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{Use: "pause", Short: "Stop automation: for the fleet, or for one target or rule"}
	cmd.Flags().StringVar(&s.Target, "target", "", "only this target")
	cmd.Flags().StringVar(&s.Rule, "rule", "", "only this rule")
	cmd.Flags().StringVar(&s.Reason, "reason", "", "why; shown on every run that is refused by it (required)")
	cmd.Flags().StringVar(&s.For, "for", "", "how long, e.g. 30m; until `resume` by default")
	return verb(cmd, "/v1/pause", &s, nil, "rule", "target", "reason", "for")
}

func newResume() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{Use: "resume", Short: "Lift a pause"}
	cmd.Flags().StringVar(&s.Target, "target", "", "the pause of this target")
	cmd.Flags().StringVar(&s.Rule, "rule", "", "the pause of this rule")
	return verb(cmd, "/v1/resume", &s, nil, "rule", "target")
}

func newRelease() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{Use: "release", Short: "Close the breakers of a rule, or breakers and latches of a target, after a human has looked"}
	cmd.Flags().StringVar(&s.Target, "target", "", "breakers and latches of this target")
	cmd.Flags().StringVar(&s.Rule, "rule", "", "breakers of this rule")
	cmd.Flags().BoolVar(&s.Storm, "storm", false, "end a storm: let runs act again although many targets want it")
	return verb(cmd, "/v1/release", &s, nil, "rule", "target", "storm")
}

func newUnpin() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{
		Use: "unpin TARGET", Short: "Let the latest deploy serve again after a rollback", Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&s.Reason, "reason", "", "why (required)")
	return verb(cmd, "/v1/unpin", &s, &s.Target, "target", "reason")
}
