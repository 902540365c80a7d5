package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
)

func newReport() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Write the report of a run: what was seen, decided, done and verified, and what is left to do (Markdown, or -o json)",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var v edge.RunView
			if err := c.call(cmd.Context(), http.MethodGet, "/v1/runs/"+url.PathEscape(args[0]), nil, &v); err != nil {
				return err
			}
			r := reportOf(v)
			if c.output == asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), r.Markdown())
			return err
		},
	}
	c.flags(cmd)
	return cmd
}

// reportOf is the report of a run as the API shows it.
func reportOf(v edge.RunView) remediation.Report {
	return remediation.NewReport(remediation.Told{Run: v.Run, Steps: v.Steps, Rulings: v.Rulings, Entries: v.Journal})
}
