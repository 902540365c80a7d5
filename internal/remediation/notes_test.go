package remediation_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

var update = flag.Bool("update", false, "write the golden files anew")

// hashes differ with every world's name.
var hashes = regexp.MustCompile(`[0-9a-f]{64}`)

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		must(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rules   string
		prepare func(*world)
		outcome remediation.Outcome
	}{
		"fixed":  {rule("cure"), func(*world) {}, remediation.Fixed},
		"pinned": {rule("cure", "do: [{fake.pin: {to: good}}]"), func(*world) {}, remediation.Fixed},
		"not_fixed": {rule("cure", "do: [{fake.act: {to: other}}, {fake.act: {to: worse}}]"), func(w *world) {
			w.scene(api).hooks.apply = func(n int) (bool, error) {
				if n == 2 {
					return false, status.Error(codes.PermissionDenied, "the service account may not do this")
				}
				return true, nil
			}
		}, remediation.NotFixed},
		"undone": {rule("cure", "do: [{fake.back: {to: other}}]"), func(*world) {}, remediation.Undone},
		"refused": {rule("cure"), func(w *world) {
			w.scene(api).hooks.plan = func() error {
				return guard.Refuse(guard.SplitTraffic, "two revisions serve: api-7 (60%%), api-8 (40%%)")
			}
		}, remediation.RefusedRun},
		"refused_after_the_call": {rule("cure"), func(w *world) { w.scene(api).hooks.apply = moving(w, 1, "theirs") }, remediation.RefusedRun},
		"unknown_facts": {rule("cure"), func(w *world) {
			w.scene(api).hooks.ask = func(int, *fact) ([]string, error) { return nil, errors.New("reading api: no answer within 10s") }
		}, remediation.RefusedRun},
		"needs_human": {rule("cure"), func(w *world) {
			w.scene(api).hooks.apply = failing(1, true, errTimeout)
			w.scene(api).hooks.observe = always(executors.Unclear, "the service cannot be read")
		}, remediation.NeedsHuman},
		"observed":       {rule("cure", "mode: observe"), func(*world) {}, remediation.Observed},
		"diagnosed":      {rule("cure", "-do", "-verify"), func(*world) {}, remediation.Observed},
		"needs_approval": {rule("cure", "mode: approve"), func(*world) {}, remediation.RefusedRun},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.rules)
			c.prepare(w)
			v := w.play(down(api))
			if v.Run.Outcome != c.outcome {
				t.Fatalf("ended %s: %s\n%s", v.Run.Outcome, v.Run.Detail, story(v))
			}
			var b strings.Builder
			for _, m := range v.Messages {
				b.WriteString("--- " + string(m.Kind) + "\n" + m.Text + "\n")
			}
			golden(t, name, hashes.ReplaceAllString(b.String(), "HASH"))
		})
	}
}

// A note anchors the journal: the head it shows is that of a chain that ends with the outcome.
func TestTheNoteNamesTheJournalsHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	v := w.play(down(api))
	for _, m := range v.Messages {
		if m.Kind == remediation.Note && !strings.HasSuffix(m.Text, "journal head "+v.Run.Head) {
			t.Errorf("the note ends otherwise than with head %s:\n%s", v.Run.Head, m.Text)
		}
	}
}

func TestVerifyJournal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure"))
	entries := w.play(down(api)).Entries
	for name, c := range map[string]struct {
		forge func([]remediation.Entry) []remediation.Entry
		at    int
	}{
		"whole":          {func(e []remediation.Entry) []remediation.Entry { return e }, -1},
		"empty":          {func([]remediation.Entry) []remediation.Entry { return nil }, -1},
		"a word changed": {func(e []remediation.Entry) []remediation.Entry { e[2].Text += "!"; return e }, 2},
		"a kind changed": {func(e []remediation.Entry) []remediation.Entry { e[1].Kind = remediation.EntryApplied; return e }, 1},
		"a time changed": {func(e []remediation.Entry) []remediation.Entry { e[1].At = e[1].At.Add(1000); return e }, 1},
		"one dropped":    {func(e []remediation.Entry) []remediation.Entry { return append(e[:2:2], e[3:]...) }, 2},
		"two exchanged":  {func(e []remediation.Entry) []remediation.Entry { e[1], e[2] = e[2], e[1]; return e }, 1},
		"rehashed alone": {func(e []remediation.Entry) []remediation.Entry { e[1].Text += "!"; e[1].Hash = e[1].Digest(); return e }, 2},
		"another run's":  {func(e []remediation.Entry) []remediation.Entry { e[0].Run = "other"; return e }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := remediation.VerifyJournal(c.forge(append([]remediation.Entry(nil), entries...))); got != c.at {
				t.Errorf("the break is found at %d, want %d", got, c.at)
			}
		})
	}
}
