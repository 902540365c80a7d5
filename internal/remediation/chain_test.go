package remediation_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/remediation"
)

// chainOf links so many runs.
func chainOf(n int) []remediation.Link {
	var (
		links []remediation.Link
		last  remediation.Link
	)
	for i := range n {
		run := remediation.Run{ID: string(rune('a' + i)), Head: strings.Repeat("0", 63) + string(rune('a'+i)), Entries: i}
		last = last.Next(run, noon.Add(time.Duration(i)*time.Second+time.Nanosecond))
		links = append(links, last)
	}
	return links
}

func TestChain(t *testing.T) {
	t.Parallel()
	whole := chainOf(6)
	if at := remediation.VerifyChain(remediation.Link{}, whole); at != -1 {
		t.Fatalf("the chain breaks at %d", at)
	}
	if at := remediation.VerifyChain(whole[2], whole[3:]); at != -1 {
		t.Errorf("its second half breaks at %d", at)
	}
	for name, c := range map[string]struct {
		change func([]remediation.Link) []remediation.Link
		at     int
	}{
		"another run":      {func(l []remediation.Link) []remediation.Link { l[2].Run = "z"; return l }, 2},
		"another head":     {func(l []remediation.Link) []remediation.Link { l[2].Head = "z"; return l }, 2},
		"fewer entries":    {func(l []remediation.Link) []remediation.Link { l[2].Entries--; return l }, 2},
		"another time":     {func(l []remediation.Link) []remediation.Link { l[2].At = l[2].At.Add(time.Microsecond); return l }, 2},
		"dropped":          {func(l []remediation.Link) []remediation.Link { return slices.Delete(l, 2, 3) }, 2},
		"the first gone":   {func(l []remediation.Link) []remediation.Link { return l[1:] }, 0},
		"swapped":          {func(l []remediation.Link) []remediation.Link { l[2], l[3] = l[3], l[2]; return l }, 2},
		"twice":            {func(l []remediation.Link) []remediation.Link { return slices.Insert(l, 2, l[1]) }, 2},
		"no hash":          {func(l []remediation.Link) []remediation.Link { l[5].Hash = ""; return l }, 5},
		"no text, no hash": {func(l []remediation.Link) []remediation.Link { l[5].Run, l[5].Hash = "\xff", ""; return l }, 5},
		"hashed anew": {func(l []remediation.Link) []remediation.Link {
			l[2].Head = "z"
			l[2].Hash = l[2].Digest()
			return l
		}, 3},
		"marked as pruned": {func(l []remediation.Link) []remediation.Link { l[2].PrunedAt = noon; return l }, -1},
	} {
		if at := remediation.VerifyChain(remediation.Link{}, c.change(chainOf(6))); at != c.at {
			t.Errorf("%s: the chain breaks at %d, want %d", name, at, c.at)
		}
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("0123456789abcdef", 4)
	fleet, journal := remediation.Anchor{Seq: 17, Hash: hash}, remediation.Anchor{Hash: hash}
	for text, want := range map[string]remediation.Anchor{
		"17:" + hash: fleet, hash: journal, "": {}, "0:" + hash: {}, "-1:" + hash: {}, "017:" + hash: {}, hash[1:]: {}, hash + "0": {},
		"17:" + strings.ToUpper(hash): {}, hash + "\n": {}, "99999999999999999999:" + hash: {},
	} {
		got, ok := remediation.ParseAnchor(text)
		if got != want || ok != (want != remediation.Anchor{}) {
			t.Errorf("%q is read as %+v, %v", text, got, ok)
		}
		if ok && got.String() != text {
			t.Errorf("%q is written as %q", text, got)
		}
	}
	notes := "remediator: FIXED\n- the body had " + hash + " in it\n\nfleet head 17:" + hash + "\njournal head " + hash +
		`{"note":"…\njournal head ` + hash + `"}` + "\n17:" + hash + "  # kept by hand\n"
	if diff := cmp.Diff([]remediation.Anchor{fleet, journal, journal, fleet}, remediation.FindAnchors(notes)); diff != "" {
		t.Errorf("anchors in notes (-want +got):\n%s", diff)
	}
}

func TestJournalOfBrokenTextHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("r"))
	w.scene(api).hooks.plan = func() error { return errBroken }
	v := w.play(down(api))
	if at := remediation.VerifyJournal(v.Entries); at != -1 {
		t.Errorf("the journal breaks at %d: %+v", at, v.Entries[at])
	}
	said := false
	for _, e := range v.Entries {
		said = said || strings.Contains(e.Text, "no\x00text\uFFFD")
	}
	if !said {
		t.Errorf("the journal does not tell what was said: %+v", v.Entries)
	}
	v.Entries[0].Text, v.Entries[0].Hash = "\xff", ""
	if at := remediation.VerifyJournal(v.Entries[:1]); at != 0 {
		t.Error("an entry that is no text and has no hash fits")
	}
}

type brokenText struct{}

func (brokenText) Error() string { return "no\x00text\xff" }

var errBroken = brokenText{}
