package torture

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// account is what one campaign came to.
type account struct {
	Name      string         `json:"name"`
	Seed      uint64         `json:"seed"`
	Seconds   float64        `json:"seconds"`
	Stats     *stats         `json:"trouble"`
	Restart   spread         `json:"restart_to_listening"`
	Sent      tally          `json:"sender"`
	PerSecond float64        `json:"accepted_per_second"`
	Receipts  int            `json:"receipts"`
	Outages   int            `json:"outages"`
	Runs      int            `json:"runs"`
	Mutations int            `json:"mutations"`
	Refused   int            `json:"mutations_refused"` // by their precondition
	Notes     int            `json:"notes"`
	Records   int            `json:"journal_records"`
	Outcomes  map[string]int `json:"outcomes"`
	Verdicts  map[string]int `json:"verdicts"`
	AsLikely  string         `json:"outages_as_likely"` // ended as they do when nothing comes in between
	Faults    map[string]int `json:"findings"`
	Findings  []finding      `json:"first_findings,omitempty"`
	Blames    []string       `json:"blames,omitempty"`
}

// account joins the evidence and counts.
func (c *campaign) account(e evidence) account {
	found := verdictOf(e)
	a := account{
		Name: c.name, Seed: *seed, Seconds: time.Since(c.began).Seconds(), Stats: c.stats, Restart: spreadOf(c.stats.restarts),
		Sent: c.sender.tally(), Receipts: len(e.Sent), Outages: len(e.Outages), Runs: len(e.Runs),
		Outcomes: map[string]int{}, Verdicts: map[string]int{}, Faults: map[string]int{}, Blames: c.stats.blames,
	}
	a.PerSecond = float64(a.Sent.Accepted) / a.Seconds
	for _, f := range allFaults {
		a.Faults[string(f)] = 0
	}
	for _, f := range found {
		a.Faults[string(f.Fault)]++
	}
	a.Findings = found[:min(len(found), 50)]
	a.tell(e)
	return a
}

func (a *account) tell(e evidence) {
	for _, entry := range e.Ledger {
		if _, ok := asMutation(entry); ok {
			a.Mutations++
		}
		switch {
		case entry.Verb == "update_service_refused":
			a.Refused++
		case entry.Verb == "note_added" && entry.By == bot:
			a.Notes++
		}
	}
	for _, run := range e.Runs {
		if run.State == remediation.Done {
			a.Outcomes[string(run.Outcome)]++
		}
	}
	for _, r := range e.Rulings {
		a.Verdicts[string(r.Verdict)]++
	}
	for _, entries := range e.Journal {
		a.Records += len(entries)
	}
	likely, ended := 0, 0
	for _, o := range e.Outages {
		if len(o.Ended) == 0 {
			continue
		}
		ended++
		if slices.Contains(o.Ended, o.Likely) {
			likely++
		}
	}
	a.AsLikely = fmt.Sprintf("%d of %d", likely, ended)
}

// clean reports whether nothing is held against the servers.
func (a *account) clean() bool { return len(a.Findings)+len(a.Blames) == 0 }

// String is the closing table.
func (a *account) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(w, "%s, %.0f s, seed %d\n", a.Name, a.Seconds, a.Seed)
	s := a.Stats
	marks := 0
	for _, n := range s.Marks {
		marks += n
	}
	row("kills", "%d, of them %d at %d failpoints", s.Kills, marks, len(s.Marks))
	row("pauses", "%d", s.Pauses)
	row("other trouble", "%d stops of the database, %d full disks, %d ends by a failed fsync (%d not reached), %d exits, %d sandbox faults",
		s.Stops, s.Full, s.Syncs, s.Missed, s.Exits, s.Faults)
	row("dead to listening", "%v", a.Restart)
	row("deliveries", "%d accepted (%.0f/s), %d tries again, %d turned away, %d not made up", a.Sent.Accepted, a.PerSecond, a.Sent.Retried,
		a.Sent.Turned, a.Sent.Stalled)
	row("outages", "%d; %s ended as if nothing had come in between", a.Outages, a.AsLikely)
	row("runs", "%d; %s", a.Runs, told(a.Outcomes))
	row("verdicts", "%s", told(a.Verdicts))
	row("mutations", "%d applied, %d turned away by their precondition", a.Mutations, a.Refused)
	row("notes, records", "%d, %d", a.Notes, a.Records)
	row("found", "%s", told(a.Faults))
	_ = w.Flush()
	for _, f := range a.Findings {
		fmt.Fprintf(&b, "  FOUND %v\n", f)
	}
	for _, text := range a.Blames {
		fmt.Fprintf(&b, "  BLAME %s\n", text)
	}
	return b.String()
}

// progress is the line that is told now and then.
func (c *campaign) progress() string {
	mutations := 0
	all, _ := c.world.ledger.entries()
	for _, e := range all {
		if _, ok := asMutation(e); ok {
			mutations++
		}
	}
	t, s := c.sender.tally(), c.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%s %3.0fs: kills %d, pauses %d, stops %d, full %d, fsync %d; accepted %d, waiting %d; mutations %d; %s",
		c.name, time.Since(c.began).Seconds(), s.Kills, s.Pauses, s.Stops, s.Full, s.Syncs, t.Accepted, t.Waiting, mutations, told(c.director.ends()))
}

// accounts are those of this test binary, for the report.
var accounts struct {
	sync.Mutex
	all []any
}

// publish adds a result to the report's file, where one is asked for.
func publish(one any) error {
	if *report == "" {
		return nil
	}
	accounts.Lock()
	defer accounts.Unlock()
	accounts.all = append(accounts.all, one)
	text, err := json.MarshalIndent(accounts.all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(*report, append(text, '\n'), 0o600)
}
