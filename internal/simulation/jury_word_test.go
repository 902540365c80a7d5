package simulation

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// aChange is how a change is called.
var aChange = regexp.MustCompile(`set (\S+) from (\S+) to (\S+)`)

// written lets the jury look at what a commit is about to tell.
func (s *sim) written(c remediation.Commit) {
	for _, m := range c.Messages {
		s.wordAt[m.ID] = s.clock()
		s.holds(m.Kind != remediation.Escalate || c.Run.Outcome != remediation.Fixed, "G14", "run %s is fixed and calls a human in one breath", c.Run.ID)
		if m.Kind == remediation.Note && m.Channel == remediation.PagerDuty {
			s.judgeClaimed(m)
		}
	}
}

// judgeClaimed: a note that is neither a report nor a question speaks of no change that was not read back.
func (s *sim) judgeClaimed(m remediation.Message) {
	if strings.Contains(m.Text, "\nWhat was done\n") || strings.HasPrefix(m.Text, "remediator asks") {
		return
	}
	for _, said := range aChange.FindAllStringSubmatch(m.Text, -1) {
		done := slices.ContainsFunc(s.calls, func(c *call) bool {
			return c.run == m.Run && c.target == said[1] && c.from == said[2] && c.to == said[3] && s.wasShown(c.operation, "applied")
		})
		s.holds(done, "G14", "message %s speaks of %q, which nobody has read back", m.ID, said[0])
	}
}

// wasShown reports whether a call was read back as something.
func (s *sim) wasShown(operation string, as ...string) bool {
	return slices.ContainsFunc(s.shownAs, func(show showing) bool { return show.operation == operation && slices.Contains(as, show.progress) })
}

// judgeAttempt: a page is not held back: whenever it is taken up, PagerDuty is asked.
func (s *sim) judgeAttempt(v *stay, e remediation.Sent) {
	page := v.telling.ID == e.ID && v.telling.Kind == remediation.Escalate && v.telling.Channel == remediation.PagerDuty
	s.holds(!page || v.reached > 0 || e.State != remediation.MessageQueued, "G19", "the page %s is held back: %s", e.ID, e.Error)
}

// judgePage: one call of people is made once, for as long as its incident shows that they are called.
func (s *sim) judgePage(in *incident, m remediation.Message) {
	s.holds(in.pagedBy != m.ID, "G2", "%s calls people twice on %s", m.ID, in.id)
	in.pagedBy = m.ID
}

// oldWord is how much later than a word an incident may have been opened that the word still is about.
const oldWord = 4*time.Minute + 5*time.Second

// judgeOldWord: nothing old silences or ends an incident that was opened later.
func (s *sim) judgeOldWord(in *incident, m remediation.Message) {
	at, written := s.wordAt[m.ID]
	if !written || in.outage == nil || len(s.jumps) > 0 || len(s.stalls) > 0 || s.has(storeFails) || s.has(storeDown) {
		return // of a message that may have been told before nobody knows on what
	}
	opened := s.sinceBeginning(in.opened)
	s.holds(opened <= at+oldWord, "G14", "the word %s of %s is told to %s, which was opened at %s", m.ID, at, in.id, opened)
}

// judgeThread: a follow-up goes on with the incident that its run has told of.
func (s *sim) judgeThread(r remediation.Run, messages []remediation.Message) {
	if r.Origin != remediation.ByFollowUp {
		return
	}
	parent, _ := s.record(r.Parent)
	on := toldOn(parent.Messages)
	for _, id := range toldOn(messages) {
		s.holds(len(on) == 0 || slices.Contains(on, id), "G14", "follow-up %s tells %s, and its run %v", r.ID, id, on)
	}
}

// toldOn are the incidents that were told something.
func toldOn(messages []remediation.Message) []string {
	var all []string
	for _, m := range messages {
		if m.Channel == remediation.PagerDuty && m.State == remediation.MessageSent && m.RemoteID != "" {
			all = append(all, m.RemoteID)
		}
	}
	return all
}
