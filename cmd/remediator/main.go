// Command remediator receives alert webhooks, matches them against rules, carries out guarded actions, verifies that they helped, and
// writes the outcome on the incident. This package is wiring: no decision about an alert lives here.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // the zones that freezes name: the binary runs where there is no file of them, such as in a distroless image

	"github.com/spf13/cobra"

	// The systems whose kinds rules can name; a new system is one more line.
	_ "github.com/mixillo/remediator/internal/executors/atlas"
	_ "github.com/mixillo/remediator/internal/executors/cloudarmor"
	_ "github.com/mixillo/remediator/internal/executors/cloudrun"
	_ "github.com/mixillo/remediator/internal/executors/exec"
	_ "github.com/mixillo/remediator/internal/executors/logging"
	_ "github.com/mixillo/remediator/internal/executors/mongodb"
	_ "github.com/mixillo/remediator/internal/executors/monitoring"
	_ "github.com/mixillo/remediator/internal/executors/pagerduty"
	_ "github.com/mixillo/remediator/internal/executors/redis"
	_ "github.com/mixillo/remediator/internal/executors/sentry"
	_ "github.com/mixillo/remediator/internal/executors/status"
	_ "github.com/mixillo/remediator/internal/executors/stripe"
	_ "github.com/mixillo/remediator/internal/executors/vercel"
	_ "github.com/mixillo/remediator/internal/executors/web"
)

// version is set by the build (-X main.version=…).
var version = "dev"

// Exit codes: fine, a problem was found, the command was used wrongly.
const (
	exitFine    = 0
	exitProblem = 1
	exitUsage   = 2
)

// errProblem ends a command with exitProblem when the problem has been shown already.
var errProblem = errors.New("a problem was found")

// usageError marks mistakes in how a command was called.
type usageError struct{ error }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "remediator:", err)
		fmt.Fprintln(os.Stderr, "See `remediator help`.")
		return exitUsage
	case errors.Is(err, errProblem):
		return exitProblem
	default:
		fmt.Fprintln(os.Stderr, "remediator:", err)
		return exitProblem
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "remediator",
		Short:         "Acts on alerts by rules, verifies that it helped, and says so on the incident",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(
		newServe(), newDemo(), newCheck(), newSandbox(), newHealth(), newVersion(), newSend(),
		newRun(), newRuns(), newReport(), newPause(), newResume(), newRelease(), newUnpin(), newReload(), newApprove(), newDeny(), newMark(), newUnmark(), newStatus(), newAudit(),
	)
	for _, c := range root.Commands() {
		c.Args = usageArgs(c.Args)
	}
	return root
}

// usageArgs turns cobra's argument errors into usage errors.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			check = cobra.NoArgs
		}
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
