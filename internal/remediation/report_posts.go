package remediation

import (
	"fmt"
	"strings"
)

// longestPost bounds a post in characters: Slack cuts a text off at 40,000, and escaping what it reads as mark-up makes one character five.
const longestPost = 7500

// reportPosts is how many posts a report is.
const reportPosts = 2

// reported tells the runs whose report people are given unasked: those that have acted, or called a human.
func (v *visit) reported() bool { return v.run.ByRule() && (v.run.Acted || v.run.Escalated) }

// tellReport posts the report behind the outcome. What it says is read when it is told, so that it holds the end of the run too.
func (v *visit) tellReport() {
	if to := v.telling().Slack; to == nil || !to.Report || !v.reported() {
		return
	}
	for part := range reportPosts {
		v.send(Message{Channel: Slack, Kind: ReportRun, Text: "Report: remediator report " + v.run.ID, Part: part})
	}
}

// Posts writes the report for a room of people: what it says, then its timeline. Each says how to get the whole where it is cut.
func (r Report) Posts() []string {
	var said, when strings.Builder
	fmt.Fprintf(&said, "Report of %s\n%s\n", oneLine(r.Title), oneLine(r.Summary))
	if r.Severity != "" {
		fmt.Fprintf(&said, "Severity %s. ", r.Severity)
	}
	fmt.Fprintf(&said, "Alert since %s, run %s over at %s.\n", at(r.Began), r.Run, at(r.Ended))
	section(&said, "Post-mortem", r.Review)
	section(&said, "Action items", r.Actions)
	section(&said, "Changes", r.changes())
	section(&said, "Evidence at the decision", r.Evidence)
	section(&said, "Verification", lines(r.Samples))
	section(&said, "What people did", r.People)
	section(&said, "Guards", []string{r.Guards})
	section(&said, "Verdicts", r.Verdicts)
	fmt.Fprintf(&when, "Timeline of run %s\n", r.Run)
	section(&when, "", lines(r.Timeline))
	return []string{r.fit(said.String()), r.fit(when.String())}
}

// section lists items under a title, one line each whatever is in them.
func section(b *strings.Builder, title string, items []string) {
	if title != "" && len(items) > 0 {
		fmt.Fprintf(b, "\n%s\n", title)
	}
	for _, item := range items {
		fmt.Fprintf(b, "• %s\n", strings.Join(strings.Fields(item), " "))
	}
}

// fit keeps as many whole lines as a post holds.
func (r Report) fit(text string) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	size, kept := 0, 0
	for _, line := range all {
		if size += len([]rune(line)) + 1; size > longestPost {
			break
		}
		kept++
	}
	end := "All of it: remediator report " + r.Run
	if left := len(all) - kept; left > 0 {
		end = fmt.Sprintf("… and %d more lines: remediator report %s", left, r.Run)
	}
	return strings.Join(all[:kept], "\n") + "\n" + end
}
