package torture

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// bot is who the program's acts on incidents are by.
const bot = "remediator-bot@example.com"

var (
	noteMark   = regexp.MustCompile(`(?m)^remediator: run (\S+) · message (\S+)$`)
	noteWord   = regexp.MustCompile(`^remediator: (FIXED|NOT FIXED|INCONCLUSIVE|REFUSED|UNDONE|NEEDS A HUMAN|OBSERVED|RESOLVED BY ITSELF|NO RULE CHOSEN)`)
	noteRule   = regexp.MustCompile(`(?m)^rule (\S+|\(none chosen\)), target (\S+), mode (\S+)$`)
	noteDeed   = regexp.MustCompile(`^- \d\d:\d\d:\d\dZ (.+): (done, read back at|failed|not done|unclear|begun)`)
	noteChange = regexp.MustCompile(`^    (\w+): .* -> (.*)$`)
	noteHead   = regexp.MustCompile(`(?m)^journal head ([0-9a-f]+)`)
)

// outcomeWord is how a note names an outcome.
var outcomeWord = map[remediation.Outcome]string{
	remediation.Fixed: "FIXED", remediation.NotFixed: "NOT FIXED", remediation.Inconclusive: "INCONCLUSIVE", remediation.RefusedRun: "REFUSED",
	remediation.Undone: "UNDONE", remediation.NeedsHuman: "NEEDS A HUMAN", remediation.Observed: "OBSERVED",
	remediation.ResolvedItself: "RESOLVED BY ITSELF",
}

// tellings: every message that counts as told was told once, and none twice.
func (c *checker) tellings() {
	notes, posts := map[string]int{}, map[string]int{}
	acks := map[string]int{} // by incident
	for _, e := range c.Ledger {
		switch {
		case e.By == bot && e.Verb == "note_added":
			mark := noteMark.FindStringSubmatch(detail(e, "content"))
			if mark == nil {
				c.find(faultOther, e.Resource, "a note without a mark")
				continue
			}
			notes[mark[2]]++
		case e.By == bot && e.Verb == "incident_acknowledged":
			acks[e.Resource]++
		case e.System == "slack" && e.Verb == "message_posted":
			posts[postMark(e)]++
		}
	}
	due := map[string]int{}
	for _, m := range c.Outbox {
		c.told(m, notes, posts)
		if m.Kind == remediation.Acknowledge {
			due[m.RemoteID]++
		}
	}
	for mark, n := range notes {
		c.once("note", mark, n)
	}
	for mark, n := range posts {
		c.once("post", mark, n)
	}
	for incident, n := range acks {
		if n > due[incident] {
			c.find(faultTwice, incident, "was acknowledged %d times, %d are known of", n, due[incident])
		}
	}
}

func (c *checker) once(what, mark string, n int) {
	if n > 1 {
		c.find(faultTwice, mark, "the %s was left %d times", what, n)
	}
}

// told judges one message of the outbox. One that may open no incident has nobody to tell where there is none: what has passed by itself
// before anybody was called.
func (c *checker) told(m remediation.Message, notes, posts map[string]int) {
	left := map[remediation.MessageKind]map[string]int{remediation.Note: notes, remediation.Post: posts}[m.Kind]
	switch {
	case m.State == remediation.MessageQueued && c.justSaid(m):
	case m.State == remediation.MessageQueued:
		c.find(faultLost, m.ID, "the %s was never told: %s", m.Kind, m.Error)
	case m.State == remediation.MessageSent && left != nil && left[m.ID] == 0:
		c.find(faultLost, m.ID, "the %s counts as told and is not there", m.Kind)
	case m.State == remediation.MessageDead && (m.Open || !strings.HasSuffix(m.Error, "no open incident for the key")):
		c.find(faultOther, m.ID, "the %s was given up: %s", m.Kind, m.Error)
	}
}

func postMark(e sandbox.Entry) string {
	var data struct {
		Payload struct{ Marker string } `json:"event_payload"`
	}
	_ = json.Unmarshal([]byte(detail(e, "metadata")), &data)
	return data.Payload.Marker
}

// notes: each says of its run what the ledger shows.
func (c *checker) notes() {
	for _, e := range c.Ledger {
		if e.By != bot || e.Verb != "note_added" {
			continue
		}
		text := detail(e, "content")
		mark, word := noteMark.FindStringSubmatch(text), noteWord.FindStringSubmatch(text)
		if mark == nil || word == nil {
			continue // a reminder, or without a mark, which is found elsewhere
		}
		run, there := c.Runs[mark[1]]
		if !there {
			c.find(faultNote, mark[1], "a note of a run that is not there")
			continue
		}
		c.note(run, parseNote(text, word[1]))
	}
}

// note is what a note says.
type note struct {
	outcome, target, head string
	nothing               bool // that nothing was changed
	deeds                 []deed
}

// deed is one act as a note tells it.
type deed struct {
	end     string
	changes map[string]string // what is said to be after the act
}

func parseNote(text, outcome string) note {
	n := note{outcome: outcome, nothing: strings.Contains(text, "(nothing was changed)")}
	if about := noteRule.FindStringSubmatch(text); about != nil {
		n.target = about[2]
	}
	if head := noteHead.FindStringSubmatch(text); head != nil {
		n.head = head[1]
	}
	_, done, _ := strings.Cut(text, "\nWhat was done\n")
	done, _, _ = strings.Cut(done, "\n\n")
	for line := range strings.SplitSeq(done, "\n") {
		if m := noteDeed.FindStringSubmatch(line); m != nil {
			n.deeds = append(n.deeds, deed{end: m[2], changes: map[string]string{}})
		} else if m := noteChange.FindStringSubmatch(line); m != nil && len(n.deeds) > 0 {
			n.deeds[len(n.deeds)-1].changes[m[1]] = m[2]
		}
	}
	return n
}

func (n note) count(ends ...string) int {
	k := 0
	for _, d := range n.deeds {
		if slices.Contains(ends, d.end) {
			k++
		}
	}
	return k
}

// note compares what a note says with what happened.
func (c *checker) note(run remediation.Run, n note) {
	made := c.byRun[run.ID]
	if want := outcomeWord[run.Outcome]; n.outcome != want {
		c.find(faultNote, run.ID, "says %s of a run that is %s", n.outcome, run.Outcome)
	}
	if n.target != run.Target {
		c.find(faultNote, run.ID, "says %q of a run on %q", n.target, run.Target)
	}
	if n.nothing && len(made) > 0 {
		c.find(faultNote, run.ID, "says that nothing was changed, and the ledger has %v", made)
	}
	sure, perhaps := n.count("done, read back at"), n.count("done, read back at", "failed", "unclear", "begun")
	if len(made) < sure || len(made) > perhaps {
		c.find(faultNote, run.ID, "says that %d to %d acts took effect, and the ledger has %v", sure, perhaps, made)
	}
	if run.Outcome == remediation.Fixed && len(made) == 0 {
		c.find(faultNote, run.ID, "is fixed, and nothing was done")
	}
	c.noteTraffic(run, n, made)
	if n.head != "" && !slices.ContainsFunc(c.Journal[run.ID], func(e remediation.Entry) bool { return e.Hash == n.head }) {
		c.find(faultNote, run.ID, "names the journal's head %.12s, which is none of its records", n.head)
	}
}

// noteTraffic: what a note says to serve was really given the traffic by the run.
func (c *checker) noteTraffic(run remediation.Run, n note, made []mutation) {
	for _, d := range n.deeds {
		said, moved := d.changes["serving"]
		if d.end != "done, read back at" || !moved || strings.HasPrefix(said, "a copy of ") || d.changes["allocation"] == "latest" {
			continue
		}
		revision, _, _ := strings.Cut(said, " ")
		found := slices.ContainsFunc(made, func(m mutation) bool {
			return slices.Contains(texts(m.Detail["traffic_after"]), revision+"=100")
		})
		if !found {
			c.find(faultNote, run.ID, "says that %s serves, and the ledger has %v", said, made)
		}
	}
}

// lastBreath is how long before the servers were stopped a follow-up may have said something that then waits for the next start.
const lastBreath = 5 * time.Second

// justSaid: nobody waits for the end of follow-ups, which have times of their own, so that one may end while the servers are being stopped.
func (c *checker) justSaid(m remediation.Message) bool {
	var last time.Time
	for _, r := range c.Runs {
		if r.UpdatedAt.After(last) {
			last = r.UpdatedAt
		}
	}
	return c.Runs[m.Run].Origin == remediation.ByFollowUp && last.Sub(m.CreatedAt) < lastBreath
}
