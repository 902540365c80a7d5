package executors_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	examples["exec.run"] = example{stand: newExecStand, configure: execParameters, patience: 2 * time.Second} // a busy machine starts programs slowly
}

// switchScript is a program with a state and a ledger, beside which lies what is to go wrong with its next run.
const switchScript = `cd "${0%/*}"
[ -e trouble ] && read -r trouble <trouble && /bin/rm trouble
[ "$trouble" = timeout ] && exec /bin/sleep 60
echo "$1 $REMEDIATOR_OPERATION" >>ledger
echo "$1" >state
[ "$trouble" = "applied, then timeout" ] && exec /bin/sleep 60
exit 0
`

const probeScript = `read -r state <"${0%/*}/state"; [ "$state" = on ]`

// execStand is a folder with a program that is switched on and off. The program is the shell under two names, so that one can be taken away.
type execStand struct {
	t   *testing.T
	dir string
	set connect.Set
}

func newExecStand(t *testing.T) stand {
	s := &execStand{t: t, dir: t.TempDir()}
	for name, text := range map[string]string{"switch.sh": switchScript, "probe.sh": probeScript, "state": "off\n", "ledger": ""} {
		must(t, os.WriteFile(s.at(name), []byte(text), 0o600))
	}
	must(t, os.Symlink("/bin/sh", s.at("switch")))
	programs, err := connect.NewPrograms(connect.ExecConfig{Binaries: []string{s.at("switch"), "/bin/sh"}})
	must(t, err)
	s.set = connect.Set{"exec": programs}
	return s
}

func (s *execStand) at(name string) string { return filepath.Join(s.dir, name) }

func execParameters(s stand) string {
	e, ok := s.(*execStand)
	if !ok {
		return ""
	}
	return fmt.Sprintf("{command: [%[1]q, %[2]q, on], check: [/bin/sh, %[3]q], undo: [%[1]q, %[2]q, off]}", e.at("switch"), e.at("switch.sh"), e.at("probe.sh"))
}

func (s *execStand) Env() executors.Env {
	return executors.Env{Target: executors.Target{Name: "backend"}, Connections: s.set, Now: time.Now(), Speed: speed}
}

func (s *execStand) Writes() int {
	text, err := os.ReadFile(s.at("ledger"))
	must(s.t, err)
	return strings.Count(string(text), "\n")
}

// Befall: a program answers with an exit code alone, so that it knows no quota, no precondition and no garbage.
func (s *execStand) Befall(t trouble, reads bool) bool {
	if reads { // the program that tells is gone
		return os.Remove(s.at("probe.sh")) == nil
	}
	switch t {
	case denied:
		must(s.t, os.Remove(s.at("switch")))
		must(s.t, os.Symlink(s.at("switch.sh"), s.at("switch"))) // which nobody may run
	case notFound:
		must(s.t, os.Remove(s.at("switch")))
	case hangs, lateAnswer:
		must(s.t, os.WriteFile(s.at("trouble"), []byte(t+"\n"), 0o600))
	default:
		return false
	}
	return true
}
