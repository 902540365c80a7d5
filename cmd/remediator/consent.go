package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// Answer implements http.Consent. A digest may be cut short, as it is shown in the question.
func (a *api) Answer(ctx context.Context, answer remediation.Approval) error {
	v, err := a.app.store.Run(ctx, answer.Run)
	if err != nil {
		return err
	}
	if asked := v.Run.Asked; asked != "" && strings.HasPrefix(asked, answer.Digest) {
		answer.Digest = asked
	}
	if refusal := a.permits(ctx, v.Run, answer); refusal != nil {
		return refusal
	}
	err = a.app.store.Answer(ctx, answer)
	if errors.Is(err, remediation.ErrStaleHint) {
		return fmt.Errorf("run %s asks nothing, asks something else, or has its answer: %w", answer.Run, err)
	}
	return err
}

// permits judges by the rule that asks whether somebody may answer.
func (a *api) permits(ctx context.Context, run remediation.Run, answer remediation.Approval) error {
	set, err := a.app.book.ByHash(ctx, run.RulesHash)
	if err != nil {
		return fmt.Errorf("reading the rules of run %s: %w", run.ID, err)
	}
	rule, ok := set.Rule(run.Rule)
	if !ok {
		return nil // the run finds out when it decides anew
	}
	if refusal := run.Permit(rule.Approval, answer); refusal != nil {
		return refusal
	}
	return nil
}

// Mark implements http.Consent.
func (a *api) Mark(ctx context.Context, m remediation.Mark) error {
	if err := a.known(guard.Target, m.Target); err != nil {
		return err
	}
	return a.app.store.Mark(ctx, m)
}

// Unmark implements http.Consent.
func (a *api) Unmark(ctx context.Context, target, revision string) (bool, error) {
	if err := a.known(guard.Target, target); err != nil {
		return false, err
	}
	return a.app.store.Unmark(ctx, target, revision)
}

// Declare implements http.Consent.
func (a *api) Declare(ctx context.Context, actor string) (string, error) {
	hash := a.app.book.Current().Hash
	return hash, a.app.store.DeclareRules(ctx, hash, actor)
}

func newReload() *cobra.Command {
	var (
		c       client
		current bool
	)
	cmd := &cobra.Command{
		Use: "reload", Short: "Read the rules file again; a bad one changes nothing", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var got map[string]any
			if err := c.call(cmd.Context(), http.MethodPost, "/-/reload", nil, &got); err != nil {
				return err
			}
			if current {
				if err := c.call(cmd.Context(), http.MethodPost, "/v1/declare", nil, &got); err != nil {
					return err
				}
			}
			return printJSON(cmd.OutOrStdout(), got)
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&current, "current", false, "also say that these rules count while replicas go by different ones")
	return cmd
}

func newApprove() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{Use: "approve RUN", Short: "Let a run carry out the plan it has asked about", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&s.Digest, "digest", "", "digest of the plan as it was shown, at least 12 characters (required)")
	cmd.Flags().StringVar(&s.Reason, "reason", "", "why")
	return verb(cmd, "/v1/approve", &s, &s.Run, "run", "digest", "reason")
}

func newDeny() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{Use: "deny RUN", Short: "Keep a run from the plan it has asked about", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&s.Digest, "digest", "", "digest of the plan as it was shown, at least 12 characters (required)")
	cmd.Flags().StringVar(&s.Reason, "reason", "", "why (required)")
	return verb(cmd, "/v1/deny", &s, &s.Run, "run", "digest", "reason")
}

func newMark() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{
		Use: "mark TARGET", Short: "Say that a revision cannot be gone back past, such as after a change of the schema", Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&s.Revision, "no-rollback-past", "", "short name of the revision (required)")
	cmd.Flags().StringVar(&s.Reason, "reason", "", "why; shown where a rollback is refused by it (required)")
	return verb(cmd, "/v1/mark", &s, &s.Target, "target", "revision", "reason")
}

func newUnmark() *cobra.Command {
	var s scoped
	cmd := &cobra.Command{Use: "unmark TARGET", Short: "Take such a mark back", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&s.Revision, "no-rollback-past", "", "short name of the revision (required)")
	return verb(cmd, "/v1/unmark", &s, &s.Target, "target", "revision")
}
