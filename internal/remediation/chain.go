package remediation

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"
)

// Link is one finished run in the fleet's chain. It carries the head of the run's journal and the hash of the link before it, so that no
// finished run can be changed, dropped or moved without every later link giving it away.
type Link struct {
	Seq     int64     `json:"seq"` // from 1, without a gap
	Run     string    `json:"run"`
	Head    string    `json:"head"`    // hash of the last record of the run's journal; empty when it has none
	Entries int       `json:"entries"` // how many records that journal has
	At      time.Time `json:"at"`      // when the run was linked, by the store's clock
	Prev    string    `json:"prev"`
	Hash    string    `json:"hash"`
	// PrunedAt is when retention dropped the run with its journal; zero while they are there. The digest leaves it out.
	PrunedAt time.Time `json:"pruned_at,omitzero"`
}

// Digest is the hash a link must have: over its fields and the hash before it; empty where a field is not text.
func (l Link) Digest() string {
	if !utf8.ValidString(l.Run + l.Head + l.Prev) {
		return ""
	}
	l.Hash, l.PrunedAt = "", time.Time{}
	l.At = l.At.UTC().Truncate(time.Microsecond)
	return digest(l)
}

// Next is the link of a finished run after l; the chain begins after the zero Link.
func (l Link) Next(run Run, at time.Time) Link {
	next := Link{
		Seq: l.Seq + 1, Run: run.ID, Head: run.Head, Entries: run.Entries, At: at.UTC().Truncate(time.Microsecond), Prev: l.Hash,
	}
	next.Hash = next.Digest()
	return next
}

// Anchor is what is written elsewhere to hold the chain up to this link.
func (l Link) Anchor() Anchor { return Anchor{Seq: l.Seq, Hash: l.Hash} }

// VerifyChain reports the place of the first link that does not follow the one before it, or -1 when all do. before is the link ahead of
// the first; zero where the chain begins.
func VerifyChain(before Link, links []Link) int {
	for i, l := range links {
		if l.Seq != before.Seq+1 || l.Prev != before.Hash || l.Hash == "" || l.Hash != l.Digest() {
			return i
		}
		before = l
	}
	return -1
}

// Anchor is a head that was written outside the database, in a note or by hand: of the fleet's chain, or of one run's journal.
type Anchor struct {
	Seq  int64 // of the link whose hash it is; 0 for the head of a journal
	Hash string
}

// String writes the anchor as ParseAnchor reads it: N:HASH of the fleet's chain, HASH of a journal.
func (a Anchor) String() string {
	if a.Seq == 0 {
		return a.Hash
	}
	return fmt.Sprintf("%d:%s", a.Seq, a.Hash)
}

var (
	anchorText = regexp.MustCompile(`^(?:([1-9][0-9]{0,17}):)?([0-9a-f]{64})$`)
	anchorNote = regexp.MustCompile(`(?m)(?:fleet head |journal head |^)((?:[1-9][0-9]{0,17}:)?[0-9a-f]{64})\b`)
)

// ParseAnchor reads N:HASH or HASH; false for anything else.
func ParseAnchor(text string) (Anchor, bool) {
	m := anchorText.FindStringSubmatch(text)
	if m == nil {
		return Anchor{}, false
	}
	seq, _ := strconv.ParseInt("0"+m[1], 10, 64) // the pattern leaves nothing that could fail
	return Anchor{Seq: seq, Hash: m[2]}, true
}

// FindAnchors reads the heads out of notes: those after the words "fleet head" and "journal head", and those that begin a line.
func FindAnchors(notes string) []Anchor {
	var all []Anchor
	for _, m := range anchorNote.FindAllStringSubmatch(notes, -1) {
		if a, ok := ParseAnchor(m[1]); ok {
			all = append(all, a)
		}
	}
	return all
}
