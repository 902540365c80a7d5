package remediation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

// Told is what there is to report of a run: its row and what was recorded with it.
type Told struct {
	Run     Run
	Steps   []Step
	Rulings []Ruling
	Entries []Entry
}

// Report is what people read of an incident afterwards. Every line of it stands in the records.
type Report struct {
	Run      string         `json:"run"`
	Title    string         `json:"title"`
	Severity string         `json:"severity,omitempty"`
	Outcome  Outcome        `json:"outcome"`
	Summary  string         `json:"summary"`
	Began    time.Time      `json:"began,omitzero"` // of the alert
	Ended    time.Time      `json:"ended,omitzero"` // of the run
	Timeline []ReportLine   `json:"timeline"`
	Evidence []string       `json:"evidence"` // at the moment of the decision
	Verdicts []string       `json:"verdicts"`
	Guards   string         `json:"guards"`
	Changes  []ReportChange `json:"changes"`
	Samples  []ReportLine   `json:"samples"` // what was seen after the act
	People   []string       `json:"people"`
	Actions  []string       `json:"action_items"`
	Review   []string       `json:"post_mortem,omitempty"` // what a post-mortem has to answer; of the most severe only
	Head     string         `json:"journal_head"`
}

// ReportLine is one moment, or several in a row that were alike.
type ReportLine struct {
	At    time.Time `json:"at"`
	Text  string    `json:"text"`
	Until time.Time `json:"until,omitzero"` // of the last of several
	Times int       `json:"times,omitempty"`
}

// ReportChange is one act: what it was to do, what became of it, and what it altered.
type ReportChange struct {
	Summary string          `json:"summary"`
	Result  string          `json:"result"`
	Before  executors.State `json:"before,omitempty"`
	After   executors.State `json:"after,omitempty"`
	Because []string        `json:"because,omitempty"`
	Undo    string          `json:"undo,omitempty"`
	Until   string          `json:"until,omitempty"` // for how long it stands, if it was made for a time and still does
}

// NewReport gathers the report of a run, over or not.
func NewReport(t Told) Report {
	r := Report{
		Run: t.Run.ID, Title: t.Run.Target + ": " + t.Run.subject(), Severity: t.Run.Severity, Outcome: t.Run.Outcome, Summary: outcomeWords(t.Run.Outcome) + ": " + t.Run.Detail,
		Began: t.Run.Alert.StartsAt, Ended: t.Run.DoneAt, Guards: t.guards(), Head: t.Run.Head,
	}
	if t.Run.Drill != "" {
		r.Title = "drill " + t.Run.Drill + ": " + r.Title
	}
	for _, e := range t.Entries {
		r.Timeline = append(r.Timeline, ReportLine{At: e.At, Text: e.Kind + ": " + e.Text})
		if e.Kind == EntryApproved {
			r.People = append(r.People, clock(e.At)+" "+e.Text)
		}
	}
	for _, s := range t.Run.decisive() {
		r.Evidence = append(r.Evidence, fmt.Sprintf("%s %s: %s", clock(s.At), s.Probe, first(s.Summary, "could not be had: "+s.Err)))
	}
	for _, s := range t.Run.Seen {
		if !t.Run.AppliedAt.IsZero() && s.At.After(t.Run.AppliedAt) {
			r.Samples = repeated(r.Samples, ReportLine{At: s.At, Text: s.Probe + ": " + first(s.Summary, s.Err)})
		}
	}
	for _, v := range t.Rulings {
		r.Verdicts = append(r.Verdicts, fmt.Sprintf("%s: %s %s", v.Rule, v.Verdict, v.Detail))
	}
	until := map[int]string{}
	for _, s := range expiring(t.Steps) {
		until[s.Seq] = untilWords(s)
	}
	for _, s := range t.Steps {
		r.Changes = append(r.Changes, ReportChange{
			Summary: s.Change.Summary, Result: stepWords(s), Before: s.Change.Before, After: s.Change.After, Because: s.Change.Evidence,
			Undo: s.Change.UndoHint, Until: until[s.Seq],
		})
	}
	if t.Run.Actor != "" {
		r.People = append([]string{fmt.Sprintf("%s started it: %s", t.Run.Actor, oneLine(t.Run.Note))}, r.People...)
	}
	r.Actions = t.actions()
	if t.Run.Gravest {
		r.Review = review
	}
	return r
}

// repeated adds a line; one that is like the last before it is counted there.
func repeated(all []ReportLine, next ReportLine) []ReportLine {
	if n := len(all); n > 0 && all[n-1].Text == next.Text {
		last := &all[n-1]
		last.Until, last.Times = next.At, max(last.Times, 1)+1
		return all
	}
	return append(all, next)
}

// guards says what the guards said.
func (t Told) guards() string {
	for _, e := range t.Entries {
		if e.Kind == EntryIntent {
			return "asked before the plan and again in the transaction of the intent at " + clock(e.At) + "; all allowed it"
		}
	}
	if t.Run.Reason != "" {
		return "refused: " + string(t.Run.Reason)
	}
	return "not asked: nothing was to be done"
}

// actions are what is left for people.
func (t Told) actions() (items []string) {
	for _, s := range t.Steps {
		if s.State == StepApplied && !s.Undo && t.Run.Outcome != Undone && s.Change.Debt != "" {
			items = append(items, fmt.Sprintf("release what is mended, then `remediator unpin %s`: until then %s", t.Run.Target, executors.LookupDebt(s.Change.Debt).Effect))
		}
	}
	switch t.Run.Outcome {
	case Fixed:
		items = append(items, "find out why it happened: what was done mended the effect")
	case NeedsHuman:
		items = append(items, "find out whether the change has taken effect, then `remediator release --target "+t.Run.Target+"`")
	case NotFixed, Inconclusive, Undone:
		items = append(items, "mend it by hand, then `remediator release --target "+t.Run.Target+"` if its breaker is open")
	case RefusedRun, Observed:
		items = append(items, "mend it by hand: nothing was changed")
	default:
	}
	return items
}

// review is what a post-mortem answers.
var review = []string{
	"Impact: who was affected, how, and for how long?", "Cause: what made it possible, and what set it off?",
	"Detection: what told of it, and could it have been told sooner?", "Response: what helped, and what stood in the way?",
	"Recurrence: what keeps it from happening again, who does it, until when?",
}

// Markdown writes the report for people. What comes from outside stands in it as text.
func (r Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", plain(r.Title), plain(r.Summary))
	if r.Severity != "" {
		fmt.Fprintf(&b, "Severity %s. ", plain(r.Severity))
	}
	fmt.Fprintf(&b, "Alert since %s, run %s over at %s.\n", at(r.Began), r.Run, at(r.Ended))
	list(&b, "Evidence at the decision", r.Evidence)
	list(&b, "Verdicts", r.Verdicts)
	list(&b, "Guards", []string{r.Guards})
	list(&b, "Changes", r.changes())
	list(&b, "Verification", lines(r.Samples))
	list(&b, "What people did", r.People)
	list(&b, "Action items", r.Actions)
	list(&b, "Timeline", lines(r.Timeline))
	list(&b, "Post-mortem", r.Review)
	fmt.Fprintf(&b, "\nJournal head `%s`\n", r.Head)
	return b.String()
}

func list(b *strings.Builder, title string, items []string) {
	if len(items) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, item := range items {
		fmt.Fprintf(b, "- %s\n", plain(item))
	}
}

func lines(all []ReportLine) (items []string) {
	for _, l := range all {
		when := clock(l.At)
		if l.Times > 1 {
			when += fmt.Sprintf(" to %s, %d times,", clock(l.Until), l.Times)
		}
		items = append(items, when+" "+l.Text)
	}
	return items
}

func (r Report) changes() (items []string) {
	for _, c := range r.Changes {
		text := c.Summary + ": " + c.Result
		for _, key := range slices.Sorted(maps.Keys(c.After)) {
			if c.Before[key] != c.After[key] {
				text += fmt.Sprintf("; %s from %s to %s", key, first(c.Before[key], "nothing"), c.After[key])
			}
		}
		for _, why := range c.Because {
			text += "; because " + why
		}
		if c.Until != "" {
			text += "; it stands " + c.Until
		}
		items = append(items, text)
	}
	return items
}

// markup is what Markdown would read as more than text.
var markup = strings.NewReplacer("\\", "\\\\", "`", "'", "*", "\\*", "_", "\\_", "~", "\\~", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;", "&", "&amp;",
	"|", "\\|", "#", "\\#", "://", "\\://", "www.", "www\\.") // the last two become links by themselves

// plain is one line in which nothing is mark-up.
func plain(text string) string { return markup.Replace(strings.Join(strings.Fields(text), " ")) }

func at(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format(time.DateTime) + "Z"
}
