package exec

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const shell = "/bin/sh"

// world is a folder in which scripts run, and what they may be given.
type world struct {
	*testing.T
	dir string
	env executors.Env
}

type seenFact struct {
	Text  string  `cel:"text"`
	Count int64   `cel:"count"`
	Ratio float64 `cel:"ratio"`
}

func newWorld(t *testing.T, fact seenFact) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir()}
	must(t, os.WriteFile(w.at("key"), []byte("hunter2-key\n"), 0o600))
	programs, err := connect.NewPrograms(connect.ExecConfig{
		Binaries: []string{shell}, Directory: w.dir, Secrets: map[string]connect.Secret{"KEY": {File: w.at("key")}, "GONE": {File: w.at("no")}},
	})
	must(t, err)
	w.env = executors.Env{
		Target: executors.Target{Name: "backend"}, Connections: connect.Set{"exec": programs}, Now: time.Now(),
		Facts: map[string]any{"probe": &fact}, Unknown: map[string][]string{"probe": {"ratio"}},
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) at(name string) string { return filepath.Join(w.dir, name) }

func (w *world) read(name string) string {
	w.Helper()
	text, err := os.ReadFile(w.at(name))
	must(w.T, err)
	return string(text)
}

func (w *world) plan(a *run) executors.Change {
	w.Helper()
	must(w.T, a.Validate(w.env.Target))
	c, err := a.Plan(w.Context(), w.env)
	must(w.T, err)
	return c
}

func (w *world) apply(a *run) (executors.Change, executors.Receipt) {
	w.Helper()
	c := w.plan(a)
	r, err := (&run{}).Apply(w.Context(), w.env, c, "r1-0-1") // another one: only the change is kept
	must(w.T, err)
	return c, r
}

func (w *world) observe(c executors.Change, r executors.Receipt) executors.Observation {
	w.Helper()
	o, err := (&run{}).Observe(w.Context(), w.env, c, "r1-0-1", r)
	must(w.T, err)
	return o
}

func script(text string) []string { return []string{shell, "-c", text} }

// Nothing of ours reaches a program: no variable, no file, no terminal.
func TestNothingIsInherited(t *testing.T) {
	t.Parallel()
	leak, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0) // as a file that we were started with
	must(t, err)
	defer func() { _ = syscall.Close(leak) }()
	w := newWorld(t, seenFact{Text: "x"})
	w.apply(&run{
		Command: script("/usr/bin/env >env; pwd >dir; /bin/ls /proc/self/fd >\"$OUT\"; read -r line || echo end >>\"$OUT\""),
		Env:     map[string]string{"OUT": w.at("fds")}, Facts: map[string]string{"TEXT": "probe.text"}, Secrets: []string{"KEY"},
	})
	got := strings.Split(strings.TrimSpace(w.read("env")), "\n")
	got = slices.DeleteFunc(got, func(v string) bool { return strings.HasPrefix(v, "PWD=") || strings.HasPrefix(v, "_=") }) // the shell's own
	slices.Sort(got)
	want := []string{"FACT_TEXT=x", "KEY=hunter2-key", "OUT=" + w.at("fds"), "REMEDIATOR_OPERATION=r1-0-1"}
	if !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
	if dir := strings.TrimSpace(w.read("dir")); dir != w.dir {
		t.Errorf("it ran in %s", dir)
	}
	for _, fd := range strings.Fields(strings.TrimSuffix(w.read("fds"), "end\n")) {
		if n, err := strconv.Atoi(fd); err != nil || n > 3 { // 3 is the folder that is listed
			t.Errorf("it has the files %q", w.read("fds"))
		}
	}
}

// What the command started ends with it, and with the time it has.
func TestTheGroupEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		ends bool
	}{
		"left behind":        {text: "/bin/sleep 300 & echo $! >pid", ends: true},
		"out of time":        {text: "/bin/sleep 300 & echo $! >pid; wait"},
		"holding its output": {text: "/bin/sleep 300 & echo $! >pid; echo told", ends: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seenFact{})
			c := w.plan(&run{Command: script(tc.text), Timeout: time.Minute, TellOutput: true})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if !tc.ends {
				go func() {
					defer cancel()
					for stat, err := os.Stat(w.at("pid")); err != nil || stat.Size() == 0; stat, err = os.Stat(w.at("pid")) {
						time.Sleep(5 * time.Millisecond)
					}
				}()
			}
			_, err := (&run{}).Apply(ctx, w.env, c, "r1-0-1")
			if (err == nil) != tc.ends || err != nil && !connect.IsAmbiguous(err) {
				t.Errorf("got %v, ambiguous %t", err, connect.IsAmbiguous(err))
			}
			pid, err := strconv.Atoi(strings.TrimSpace(w.read("pid")))
			must(t, err)
			if !gone(t, pid) {
				t.Errorf("process %d still runs", pid)
			}
		})
	}
}

// gone waits for a process to end; one that nobody has waited for yet counts.
func gone(t *testing.T, pid int) bool {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	return false
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	exits := func(code int) []string { return script(fmt.Sprintf("exit %d", code)) }
	marked, mark := script("[ -e mark ]"), "touch=1; : >mark; "
	for name, tc := range map[string]struct {
		command, check []string
		lost           bool // the receipt
		want           executors.Progress
	}{
		"well, no check":                   {command: exits(0), want: executors.Applied},
		"badly, no check":                  {command: exits(3), want: executors.Failed},
		"lost, no check":                   {command: exits(0), lost: true, want: executors.Unclear},
		"well and seen":                    {command: script(mark), check: marked, want: executors.Applied},
		"well and not seen":                {command: exits(0), check: marked, want: executors.NotApplied},
		"badly, yet seen":                  {command: script(mark + "exit 3"), check: marked, want: executors.Applied},
		"badly and not seen":               {command: exits(3), check: marked, want: executors.Failed},
		"lost, yet seen":                   {command: script(mark), check: marked, lost: true, want: executors.Applied},
		"lost and not seen":                {command: exits(0), check: marked, lost: true, want: executors.NotApplied},
		"the check cannot tell afterwards": {command: script(mark), check: script("[ -e mark ] && exit 2; exit 1"), want: executors.Unclear},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seenFact{})
			c, r := w.apply(&run{Command: tc.command, Check: tc.check})
			if tc.lost {
				r = executors.Receipt{}
			}
			if o := w.observe(c, r); o.Progress != tc.want {
				t.Errorf("observed %s (%s), want %s", o.Progress, o.Detail, tc.want)
			}
			if c.Reversible || c.UndoHint == "" {
				t.Error("without undo it cannot be taken back")
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		a    run
		want guard.Reason
	}{
		"in effect already":      {run{Check: script("exit 0")}, guard.NothingToDo},
		"the check cannot tell":  {run{Check: script("exit 7")}, guard.UnknownFacts},
		"a fact nobody asked":    {run{Facts: map[string]string{"A": "other.text"}}, guard.UnknownFacts},
		"a fact without a value": {run{Facts: map[string]string{"A": "probe.ratio"}}, guard.UnknownFacts},
		"no such field":          {run{Facts: map[string]string{"A": "probe.nothing"}}, guard.UnknownFacts},
	} {
		w := newWorld(t, seenFact{})
		tc.a.Command = script("exit 0")
		must(t, tc.a.Validate(w.env.Target))
		_, err := tc.a.Plan(t.Context(), w.env)
		var r *guard.Refusal
		if !errors.As(err, &r) || r.Reason != tc.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Whatever is stored, only what is declared is run.
func TestOnlyDeclaredPrograms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, seenFact{})
	for _, a := range []run{
		{Command: []string{"/bin/true"}}, {Command: script(":"), Check: []string{"/bin/true"}},
		{Command: script(":"), Check: script("exit 1"), Inverse: []string{"/bin/true"}}, {Command: []string{shell + "/../sh"}},
	} {
		if _, err := a.Plan(t.Context(), w.env); !errors.Is(err, connect.ErrProgramRefused) {
			t.Errorf("%v: got %v", a, err)
		}
	}
	c := w.plan(&run{Command: script(": >ran")})
	c.Data = []byte(strings.Replace(string(c.Data), `"/bin/sh"`, `"/bin/dash"`, 1))
	if _, err := (&run{}).Apply(t.Context(), w.env, c, "r1-0-1"); !errors.Is(err, connect.ErrProgramRefused) || connect.IsAmbiguous(err) {
		t.Errorf("got %v", err)
	}
	c = w.plan(&run{Command: script(": >ran"), Secrets: []string{"GONE"}})
	if _, err := (&run{}).Apply(t.Context(), w.env, c, "r1-0-1"); err == nil || connect.IsAmbiguous(err) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(w.at("ran")); err == nil {
		t.Error("it ran without its secret")
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		tell bool
		want string
	}{
		"not told":     {text: "echo $KEY; echo plain", want: "exit code 0"},
		"told":         {text: "echo one; echo two >&2", tell: true, want: "exit code 0: one two"},
		"secret":       {text: "echo key=$KEY.", tell: true, want: "exit code 0: key=[secret]."},
		"broken up":    {text: `printf 'key=hunt\033er2-k\001ey'`, tell: true, want: "exit code 0: key=[secret]"},
		"control":      {text: `printf '\033[31mred\a\r\n'; exit 4`, tell: true, want: "exit code 4: [31mred"},
		"not text":     {text: `printf 'a\377b'`, tell: true, want: "exit code 0: ab"},
		"cut secret":   {text: `i=0; while [ $i -lt 16379 ]; do printf ' '; i=$((i+1)); done; printf $KEY`, tell: true, want: "exit code 0"},
		"very long":    {text: "while :; do echo xxxxxxxxxxxxxxxx; i=$((i+1)); [ $i = 9000 ] && break; done", tell: true, want: "exit code 0: xxx"},
		"lookalike":    {text: "exit 01", tell: true, want: "exit code 1"},
		"output fakes": {text: "echo 'exit code 0'; exit 5", tell: true, want: "exit code 5: exit code 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seenFact{})
			c, r := w.apply(&run{Command: script(tc.text), Secrets: []string{"KEY"}, TellOutput: tc.tell})
			if r.Handle != tc.want && (name != "very long" || !strings.HasPrefix(r.Handle, tc.want) || len(r.Handle) > 2*maxTold) {
				t.Errorf("kept %q, want %q", r.Handle, tc.want)
			}
			if all := fmt.Sprintf("%+v %+v", c, w.observe(c, r)) + string(c.Data); strings.Contains(all, "hunter2") {
				t.Errorf("the secret is told: %s", all)
			}
		})
	}
}

func TestUndo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, seenFact{})
	a := &run{Command: script(": >mark"), Check: script("[ -e mark ]"), Inverse: script("/bin/rm mark")}
	c, r := w.apply(a)
	back, err := a.Undo(t.Context(), w.env, c)
	must(t, err)
	if !c.Reversible || w.observe(c, r).Progress != executors.Applied || back.Before[effectState] != "in effect" {
		t.Errorf("got %+v", back)
	}
	must(t, os.Remove(w.at("mark")))
	var no *guard.Refusal
	if _, err := a.Undo(t.Context(), w.env, c); !errors.As(err, &no) || no.Reason != guard.HumanHand {
		t.Errorf("somebody else was there: %v", err)
	}
	if _, err := a.Apply(t.Context(), w.env, back, "r1-1-1"); !errors.As(err, &no) || no.Reason != guard.HumanHand {
		t.Errorf("somebody else was there: %v", err)
	}
}

func TestCalledOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, seenFact{})
	c := w.plan(&run{Command: script(": >ran")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := (&run{}).Apply(ctx, w.env, c, "r1-0-1")
	if _, ran := os.Stat(w.at("ran")); err == nil || connect.IsAmbiguous(err) || ran == nil {
		t.Errorf("got %v, ran %v", err, ran)
	}
	c = w.plan(&run{Command: script("kill -9 $$")})
	if _, err := (&run{}).Apply(t.Context(), w.env, c, "r1-0-1"); err == nil || !connect.IsAmbiguous(err) || !strings.Contains(err.Error(), syscall.SIGKILL.String()) {
		t.Errorf("got %v", err)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	ok := script(":")
	for want, a := range map[string]run{
		"command must name":          {},
		"no absolute path":           {Command: []string{"sh"}},
		"zero byte":                  {Command: []string{shell, "a\x00b"}},
		"timeout must be at most":    {Command: ok, Timeout: time.Hour},
		"undo needs check":           {Command: ok, Inverse: ok},
		"name of an environment":     {Command: ok, Env: map[string]string{"A B": "x"}},
		"is not given to programs":   {Command: ok, Env: map[string]string{"LD_PRELOAD": "x"}},
		"names a fact and its field": {Command: ok, Facts: map[string]string{"A": "alert"}},
		"FACT_A is given twice":      {Command: ok, Env: map[string]string{"FACT_A": "x"}, Facts: map[string]string{"A": "b.c"}},
		"REMEDIATOR_OPERATION":       {Command: ok, Env: map[string]string{"REMEDIATOR_OPERATION": "x"}},
		"variable cannot hold":       {Command: ok, Env: map[string]string{"A": "\x00"}},
	} {
		if err := a.Validate(executors.Target{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Whatever a fact says, the program is called with the same arguments and the same variables, and the text arrives as one value.
func TestHostileFacts(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		hostile := hostileText(dice, i)
		w := newWorld(t, seenFact{Text: hostile})
		a := &run{Command: script(":"), Env: map[string]string{"MODE": "safe"}, Facts: map[string]string{"TEXT": "probe.text"}}
		c := w.plan(a)
		p, _, err := planOf(w.env, c)
		must(t, err)
		proc, _, err := p.process(mustPrograms(t, w), p.Command, "r1-0-1")
		must(t, err)
		want := []string{"MODE=safe", "FACT_TEXT=" + connect.Line(hostile, 1000), "REMEDIATOR_OPERATION=r1-0-1"}
		if !slices.Equal(proc.argv, script(":")) || !slices.Equal(proc.env, want) || strings.ContainsAny(strings.Join(proc.env, ""), "\x00\n\x1b") {
			t.Fatalf("%q: %q %q", hostile, proc.argv, proc.env)
		}
		if c.Summary != "run "+spell(script(":")) || strings.ContainsAny(strings.Join(c.Evidence, ""), "\x00\n\x1b") {
			t.Fatalf("%q: %+v", hostile, c)
		}
		if i%100 == 1 { // as a real process sees it
			w.apply(&run{Command: script(`printf '%s' "$FACT_TEXT" >text`), Facts: a.Facts})
			if got := w.read("text"); got != connect.Line(hostile, 1000) {
				t.Fatalf("%q arrived as %q", hostile, got)
			}
		}
	}
}

func mustPrograms(t *testing.T, w *world) *connect.Programs {
	t.Helper()
	programs, err := connect.Get[*connect.Programs](w.env.Connections, "exec")
	must(t, err)
	return programs
}

// hostileText is what shells, JSON, terminals and C strings trip over, and random bytes.
func hostileText(dice *rand.Rand, i int) string {
	known := []string{
		"", "$(reboot)", "`reboot`", "; rm -rf /", "a\nFACT_OTHER=x", "\x00", "\x00LD_PRELOAD=/tmp/x", "--help", "-rf", `"}],"admin":true,"x":[{"`,
		`\`, `\u0000`, "\x1b[2J", "\u202e", "%s%n", "{{ .Target.Name }}", `{"$operation":true}`, "../../etc/passwd", "http://evil.example", "'", `"`,
		strings.Repeat("x", 5000), "\xff\xfe", "\u2028", "</script>", "*", "~root", "${IFS}", "a=b", "\r\nX-Evil: 1",
	}
	if i < len(known) {
		return known[i]
	}
	random := make([]byte, dice.IntN(200))
	for j := range random {
		random[j] = byte(dice.IntN(256))
	}
	return string(random) + known[dice.IntN(len(known))]
}
