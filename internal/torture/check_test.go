package torture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// fault is a kind of finding.
type fault string

// What the evidence can be found guilty of.
const (
	faultLost    fault = "lost"    // answered with 2xx, and not all of it came to an end
	faultTwice   fault = "twice"   // done or told more often than decided
	faultOverlap fault = "overlap" // two hands on one target
	faultIntent  fault = "intent"  // done without a record before it
	faultNote    fault = "note"    // a note that says what is not so
	faultChain   fault = "chain"   // a journal that does not hold together
	faultOther   fault = "other"
)

var allFaults = []fault{faultLost, faultTwice, faultOverlap, faultIntent, faultNote, faultChain, faultOther}

// finding is one thing that must not be.
type finding struct {
	Fault fault  `json:"fault"`
	About string `json:"about"` // id of the run, event or incident
	Text  string `json:"text"`
}

func (f finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Fault, f.About, f.Text) }

// verdictOf joins the evidence of all sides and says what is wrong with it.
func verdictOf(e evidence) []finding {
	c := checker{evidence: e}
	c.index()
	c.deliveries()
	c.incidents()
	c.rulings()
	c.runs()
	c.mutations()
	c.blind()
	c.hands()
	c.chains()
	c.tellings()
	c.notes()
	return c.found
}

type checker struct {
	evidence
	found     []finding
	byEvent   map[string][]remediation.Ruling
	made      []mutation
	byRun     map[string][]mutation
	byOutage  map[string][]string // runs
	operation map[string]remediation.Step
}

func (c *checker) find(f fault, about, format string, args ...any) {
	c.found = append(c.found, finding{Fault: f, About: about, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) index() {
	c.byEvent, c.byRun, c.byOutage = map[string][]remediation.Ruling{}, map[string][]mutation{}, map[string][]string{}
	c.operation = map[string]remediation.Step{}
	for _, r := range c.Rulings {
		c.byEvent[r.Event] = append(c.byEvent[r.Event], r)
	}
	for _, entry := range c.Ledger {
		if m, ok := asMutation(entry); ok {
			c.made = append(c.made, m)
			c.byRun[m.Run] = append(c.byRun[m.Run], m)
		}
	}
	for id, run := range c.Runs {
		if name := run.Alert.Labels["outage"]; name != "" && run.Origin == remediation.ByAlert {
			c.byOutage[name] = append(c.byOutage[name], id)
		}
	}
	for _, steps := range c.Steps {
		for _, s := range steps {
			c.operation[s.Operation] = s
		}
	}
}

// rulesOf are the rules an alert concerns, read off the rules file by a human.
var rulesOf = map[string][]string{
	alertDeploy: {"call-a-human", "roll-back"},
	alertSick:   {"call-a-human", "look-on", "restart"},
	alertMode:   {"look-on", "set-the-mode"},
	alertSlow:   {"scale-up"},
}

// deliveries: what was answered with 2xx is kept, was read to its end, and came to exactly one verdict for each rule it concerns.
func (c *checker) deliveries() {
	for _, r := range c.Sent {
		if r.Status >= 300 {
			c.find(faultLost, r.Kind, "a good delivery was turned away with %d", r.Status)
			continue
		}
		state, kept := c.Events[r.Event]
		switch {
		case !kept:
			c.find(faultLost, r.Event, "answered with %d at %s and not kept (%s)", r.Status, r.At.Format("15:04:05.000"), r.Kind)
			continue
		case state == remediation.EventPending:
			c.find(faultLost, r.Event, "still waits to be looked up (%s)", r.Kind)
		case state != wantedState(r.Kind):
			c.find(faultOther, r.Event, "was kept as %s (%s)", state, r.Kind)
		}
		for _, run := range r.Runs {
			if _, there := c.Runs[run]; !there {
				c.find(faultLost, r.Event, "run %s was promised and is not there", run)
			}
		}
		c.judged(r)
	}
}

func wantedState(kind string) remediation.EventState {
	if kind == kindIgnored {
		return remediation.EventIgnored
	}
	return remediation.EventMatched
}

// judged compares an event's verdicts with the rules its alerts concern.
func (c *checker) judged(r receipt) {
	var want, got []string
	for _, a := range r.Alerts {
		for _, rule := range rulesOf[a.Name] {
			if a.Firing {
				want = append(want, rule+" on "+a.Target)
			}
		}
	}
	for _, ruling := range c.byEvent[r.Event] {
		got = append(got, ruling.Rule+" on "+ruling.Target)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		c.find(faultLost, r.Event, "verdicts are given for %q, not for %q (%s)", got, want, r.Kind)
	}
}

// soonOver is how short after it was told of an incident can have ended for a look-up to find nothing that fires any more.
const soonOver = 20 * time.Second

// incidents: what PagerDuty's own webhook was answered with 2xx for came to a run, unless it was over when it was looked up. No outage has
// two incidents: the second would page a human for nothing.
func (c *checker) incidents() {
	delivered, resolved, opened := map[string]time.Time{}, map[string]time.Time{}, map[string]string{}
	for _, e := range c.Ledger {
		switch {
		case e.Verb == "incident_created":
			key := detail(e, "incident_key")
			if first, again := opened[key]; again {
				c.find(faultTwice, e.Resource, "is a second incident of one outage, after %s: %s", first, detail(e, "title"))
			}
			opened[key] = e.Resource
		case e.Verb == "incident_resolved":
			resolved[e.Resource] = e.Time
		case e.Verb == "webhook_delivered" && detail(e, "event_type") == "incident.triggered":
			delivered[e.Resource] = e.Time
		}
	}
	for id, o := range c.Outages {
		at, told := delivered[o.Incident]
		end, over := resolved[o.Incident]
		if told && len(c.byOutage[id]) == 0 && (!over || end.Sub(at) > soonOver) {
			c.find(faultLost, o.Incident, "PagerDuty's webhook was taken, and no run was made for %s", id)
		}
	}
}

// final are the verdicts that an event can end with.
var final = []remediation.Verdict{
	remediation.IfFalse, remediation.Shadowed, remediation.Refused, remediation.Duplicate, remediation.StaleEvent, remediation.Chosen,
	remediation.Undecided,
}

// rulings: every verdict is a final one, and what was chosen has a run that ended.
func (c *checker) rulings() {
	for _, r := range c.Rulings {
		run, there := c.Runs[r.Run]
		switch {
		case !slices.Contains(final, r.Verdict):
			c.find(faultLost, r.Event, "rule %s is still %q", r.Rule, r.Verdict)
		case r.Run != "" && !there:
			c.find(faultLost, r.Event, "rule %s was %s by run %s, which is not there", r.Rule, r.Verdict, r.Run)
		case r.Verdict == remediation.Chosen && run.Outcome == remediation.NoOutcome:
			c.find(faultLost, r.Event, "rule %s was chosen, and run %s ended without an outcome", r.Rule, r.Run)
		}
	}
}

// runs: each has ended, once, and its journal says so. A follow-up may wait.
func (c *checker) runs() {
	for id, run := range c.Runs {
		if run.State != remediation.Done {
			if run.Origin != remediation.ByFollowUp || !slices.Contains(patient, run.Phase) {
				c.find(faultLost, id, "is still %s in %s on %s", run.State, run.Phase, run.Target)
			}
			continue
		}
		c.ending(run)
		if o, ok := c.Outages[run.Alert.Labels["outage"]]; ok && run.Origin == remediation.ByAlert && run.Outcome == remediation.Fixed && !o.Heals {
			c.find(faultNote, id, "is fixed, and nothing can heal %q", o.Story)
		}
	}
}

// ending: the journal of a run that is done ends it, and only once. That a human was called is recorded after it.
func (c *checker) ending(run remediation.Run) {
	entries := slices.DeleteFunc(slices.Clone(c.Journal[run.ID]), func(e remediation.Entry) bool { return e.Kind == remediation.EntryEscalated })
	if len(entries) == 0 || entries[len(entries)-1].Kind != remediation.EntryOutcome {
		c.find(faultOther, run.ID, "its journal does not end with an outcome")
	}
	ends := 0
	for _, e := range entries {
		if run.Outcome != "" && e.Kind == remediation.EntryOutcome && strings.HasPrefix(e.Text, string(run.Outcome)+": ") {
			ends++
		}
	}
	if ends > 1 {
		c.find(faultTwice, run.ID, "its journal ends it %d times with %s", ends, run.Outcome)
	}
}

// chains: every journal holds together, and its head is the run's.
func (c *checker) chains() {
	for id, entries := range c.Journal {
		if at := remediation.VerifyJournal(entries); at >= 0 {
			c.find(faultChain, id, "record %d does not fit the one before it", at)
			continue
		}
		run, there := c.Runs[id]
		if !there {
			c.find(faultChain, id, "a journal without a run")
			continue
		}
		if last := entries[len(entries)-1].Hash; run.Head != last || run.Entries != len(entries) {
			c.find(faultChain, id, "the run says %d records with head %.12s, there are %d with %.12s", run.Entries, run.Head, len(entries), last)
		}
	}
	for id, run := range c.Runs {
		if run.Entries > 0 && len(c.Journal[id]) == 0 {
			c.find(faultChain, id, "%d records are gone", run.Entries)
		}
	}
}
