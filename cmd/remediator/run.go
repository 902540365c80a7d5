package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
)

func newRun() *cobra.Command {
	var (
		c    client
		s    scoped
		wait bool
	)
	cmd := &cobra.Command{
		Use:   "run RULE",
		Short: "Start a rule by hand: the same guards as for an alert, in your name",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s.Rule = args[0]
			var got struct {
				Run string `json:"run"`
			}
			if err := c.call(cmd.Context(), http.MethodPost, "/v1/run", s.body("rule", "target", "reason"), &got); err != nil {
				return err
			}
			if !wait {
				return printJSON(cmd.OutOrStdout(), got)
			}
			return c.follow(cmd.Context(), cmd.OutOrStdout(), got.Run)
		},
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&s.Target, "target", "", "what to act on (required)")
	f.StringVar(&s.Reason, "reason", "", "why; kept with your name on the run (required)")
	f.BoolVar(&wait, "wait", false, "tell what is done until the run is over; exit 1 unless it is fixed or only observes")
	return cmd
}

// followEvery is how often a run is looked at that somebody waits for.
const followEvery = 500 * time.Millisecond

// follow tells a run's records as they come, until it is done.
func (c *client) follow(ctx context.Context, out io.Writer, id string) error {
	fmt.Fprintf(out, "run %s\n", id)
	for told := 0; ; {
		var v edge.RunView
		if err := c.call(ctx, http.MethodGet, "/v1/runs/"+url.PathEscape(id), nil, &v); err != nil {
			return err
		}
		for ; told < len(v.Journal); told++ {
			e := v.Journal[told]
			fmt.Fprintf(out, "  %s %-9s %s\n", e.At.Format("15:04:05"), e.Kind, e.Text)
		}
		if v.Run.State == remediation.Done {
			return verdictOn(out, v.Run)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followEvery):
		}
	}
}

func verdictOn(out io.Writer, r remediation.Run) error {
	fmt.Fprintf(out, "%s: %s\n", orNone(r.Outcome), r.Detail)
	if r.Outcome == remediation.Fixed || r.Outcome == remediation.Observed {
		return nil
	}
	return errProblem
}

func orNone(o remediation.Outcome) string {
	if o == remediation.NoOutcome {
		return "nothing to do"
	}
	return string(o)
}
