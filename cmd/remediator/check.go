package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mixillo/remediator/internal/rules"
)

const defaultRules = "rules.yaml"

func newCheck() *cobra.Command {
	var form output
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a rules file and report every mistake with its place",
		Long: "Check a rules file and report every mistake in one run, each with file:line:col.\n" +
			"Secrets are not read: a rules repository can be checked where there are none.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := defaultRules
			if len(args) == 1 {
				path = args[0]
			}
			return check(cmd.OutOrStdout(), path, form)
		},
	}
	form.flag(cmd)
	return cmd
}

func check(out io.Writer, path string, form output) error {
	set, err := loadRules(path, rules.Options{})
	var mistakes rules.Diagnostics
	if err != nil && !errors.As(err, &mistakes) {
		return err
	}
	switch {
	case form == asJSON:
		if err := printJSON(out, map[string]any{"file": path, "ok": len(mistakes) == 0, "mistakes": orEmpty(mistakes)}); err != nil {
			return err
		}
	case len(mistakes) > 0:
		fmt.Fprintf(out, "%s\n\n%s: %d mistake(s)\n", mistakes.Error(), path, len(mistakes))
	default:
		fmt.Fprintf(out, "%s is fine: %d rule(s), %d target(s), %d source(s)\n", path, len(set.Rules), len(set.Targets), len(set.Sources))
	}
	if len(mistakes) > 0 {
		return errProblem
	}
	return nil
}

func orEmpty(mistakes rules.Diagnostics) rules.Diagnostics {
	if mistakes == nil {
		return rules.Diagnostics{}
	}
	return mistakes
}

func loadRules(path string, o rules.Options) (*rules.Set, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the rules: %w", err)
	}
	return rules.Load(path, text, o)
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
