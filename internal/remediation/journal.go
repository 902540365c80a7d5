package remediation

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Entry is one record of a run's journal. Each carries the hash of the one before it, so that a record cannot be changed,
// dropped or moved without every later hash giving it away.
type Entry struct {
	Run  string    `json:"run"`
	Seq  int       `json:"seq"`
	At   time.Time `json:"at"`
	Kind string    `json:"kind"` // closed set: see the constants
	Text string    `json:"text"` // one sentence
	Prev string    `json:"prev"`
	Hash string    `json:"hash"`
}

// Kinds of journal records.
const (
	EntryCreated   = "created"
	EntryFacts     = "facts"
	EntryChosen    = "chosen"
	EntryPlanned   = "planned"
	EntryAsked     = "asked"
	EntryApproved  = "approved"
	EntryRefused   = "refused"
	EntryIntent    = "intent"
	EntryApplied   = "applied"
	EntryObserved  = "observed"
	EntrySample    = "sample"
	EntryEscalated = "escalated"
	EntryOutcome   = "outcome"
)

// Digest is the hash an entry must have: over its fields and the hash before it. It is empty, which no entry may have, where a field is
// not text: JSON would show two such texts alike.
func (e Entry) Digest() string {
	if !utf8.ValidString(e.Run + e.Kind + e.Text + e.Prev) {
		return ""
	}
	e.Hash = ""
	e.At = e.At.UTC().Truncate(time.Microsecond)
	return digest(e)
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// record appends an entry to the run's chain.
func (r *Run) record(at time.Time, kind, text string) Entry {
	e := Entry{Run: r.ID, Seq: r.Entries, At: at.UTC().Truncate(time.Microsecond), Kind: kind, Text: strings.ToValidUTF8(text, "\uFFFD"), Prev: r.Head}
	e.Hash = e.Digest()
	r.Entries, r.Head = r.Entries+1, e.Hash
	return e
}

// VerifyJournal reports the place of the first entry that does not fit its chain, or -1 when all do.
func VerifyJournal(entries []Entry) int {
	prev := ""
	for i, e := range entries {
		if e.Seq != i || e.Prev != prev || e.Hash == "" || e.Hash != e.Digest() {
			return i
		}
		prev = e.Hash
	}
	return -1
}
