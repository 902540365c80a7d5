// Package torture crashes real servers under load and judges by what others have written down: the sender's list of what was answered
// with 2xx, the sandbox's ledger of what was changed and told, and the rows of the database. Four kinds of process take part: servers
// (the program with its crash marks), the sandbox, the sender (this test binary started again) and the checker (the test itself).
package torture

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// How the torture is asked for. Without flags a short one is made of each database that is there.
var (
	minutes = flag.Float64("minutes", 0, "how long each database is tortured; 0: not at all")
	dbs     = flag.String("db", "both", "sqlite, postgres or both")
	rate    = flag.Int("rate", 200, "deliveries a second")
	seed    = flag.Uint64("seed", 0, "seed of what is up to chance; 0 takes one from the clock")
	report  = flag.String("report", "", "file that the closing tables are written to, as JSON")
	figures = flag.Bool("figures", false, "measure the figures that take long: takeover, restart, stop button, storm, attack, series, replays")
	share   = flag.Float64("share", 1, "how much of a figure is measured: 0.05 for a first look")
	keep    = flag.Bool("keep", false, "keep the databases, ledgers and logs of a torture, and say where they are")
)

// roleName is the variable that makes this binary another process of the torture.
const roleName = "TORTURE_ROLE"

// TestMain plays another process where one is asked for.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleName); role != "" {
		if err := play(role); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

func play(role string) error {
	switch role {
	case "sender":
		return sendAlways(os.Stdin, os.Stdout)
	case "attacker":
		return attackAlways(os.Stdin, os.Stdout)
	default:
		return fmt.Errorf("there is no such role")
	}
}
