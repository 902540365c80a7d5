package main

import (
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	nethttp "net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/mixillo/remediator/internal/remediation"
)

var learn = flag.Bool("learn-calls", false, "write the calls that the scenarios make without hostile texts into testdata/calls.txt")

// callsFile lists the calls that the playbook makes: no alert may lead to another.
const callsFile = "testdata/calls.txt"

// callable are the systems that are called at all, and the services of Google among them.
var callable = regexp.MustCompile(`^(backend|pagerduty|slack|atlas|status|compute|vercel|sentry|stripe|flags|api|redis|mongodb) |` +
	`^google /google\.(cloud\.run\.v2|monitoring\.v3|logging\.v2|longrunning)\.`)

// tellsPeople are the calls whose text is for people: there, and only there, a text of an alert may stand.
var tellsPeople = []string{
	"pagerduty POST /incidents/N/notes", "pagerduty POST /v2/enqueue",
	"slack POST /api/chat.postMessage", "slack POST /api/chat.update",
}

// inDoubt are the calls that are made only where an answer was lost or late, or an alert's incident is not known: reads of what was done, and
// the opening of an incident.
var inDoubt = []string{
	"pagerduty GET /incidents/N/notes", "pagerduty GET /incidents?date_range&incident_key&limit&sort_by", "pagerduty GET /incidents?date_range&incident_key&limit&sort_by&statuses[]", "pagerduty POST /v2/enqueue",
	"slack POST /api/conversations.history", "slack POST /api/conversations.list", "slack POST /api/conversations.replies",
	"mongodb getMore mixillo", "mongodb killCursors mixillo", "mongodb hello admin", "mongodb endSessions admin",
}

// findsByKey are the calls that ask whether an incident is open for a key: the key is the sender's.
const findsByKey = "pagerduty GET /incidents?"

func allowedCalls(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(callsFile)
	succeed(t, err)
	return append(strings.Split(strings.TrimSpace(string(text)), "\n"), inDoubt...)
}

// benignCalls checks that the list knows all calls of a scenario that was played without hostile texts, or adds them to it.
func benignCalls(t *testing.T, seen *nameSet, calls map[string]int) {
	t.Helper()
	names := slices.Sorted(maps.Keys(calls))
	seen.add(names...)
	if *learn {
		return
	}
	for _, name := range names {
		if !slices.Contains(allowedCalls(t), name) {
			t.Errorf("%s is not in %s: go test -run TestScenarios -learn-calls writes it", name, callsFile)
		}
	}
}

// write replaces the list by what was seen.
func (s *nameSet) write(t *testing.T) {
	t.Helper()
	slices.Sort(s.names)
	succeed(t, os.WriteFile(callsFile, []byte(strings.Join(slices.Compact(s.names), "\n")+"\n"), 0o600))
}

// judgeCalls: no call that the playbook does not make without the texts, to no other system, and a text only in what people are told.
func (p *hostilePlay) judgeCalls(t *testing.T) {
	t.Helper()
	allowed, calls, total := allowedCalls(t), p.world.Calls(), 0
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if total += calls[name]; !callable.MatchString(name) || !slices.Contains(allowed, name) {
			t.Errorf("%s was called %d time(s): it is not one of the playbook's calls", name, calls[name])
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, mark := range p.heard {
		if !slices.Contains(tellsPeople, name) && !strings.HasPrefix(name, findsByKey) {
			t.Errorf("%s carries %s", name, mark)
		}
	}
	t.Logf("%d calls of %d kinds, %d of which told people of the texts", total, len(calls), len(p.heard))
}

// judgeLedger: nothing that was changed bears a text.
func (p *hostilePlay) judgeLedger(t *testing.T) {
	t.Helper()
	for _, e := range p.world.Ledger() {
		if e.System == "pagerduty" || e.System == "slack" {
			continue
		}
		line, err := json.Marshal(e)
		succeed(t, err)
		if mark := markOf.Find(line); mark != nil {
			t.Errorf("the ledger bears %s: %s", mark, line)
		}
	}
}

// called is what may call people in Slack: what the rules configure.
var called = regexp.MustCompile(`^(<!here> )?`)

// judgeSlack: what people see is plain text but for those whom the rules call, and what it falls back to is escaped.
func (p *hostilePlay) judgeSlack(t *testing.T) {
	t.Helper()
	for _, m := range p.world.SlackMessages() {
		text := called.ReplaceAllString(m.Text, "")
		if strings.ContainsAny(text, "<>") || unescaped.MatchString(text) {
			t.Errorf("the text holds mark-up: %q", m.Text)
		}
		isClean(t, "a post", m.Text)
		var blocks []slackBlock
		if err := json.Unmarshal(m.Blocks, &blocks); err != nil || len(blocks) == 0 {
			t.Errorf("the post %q has no blocks: %v", m.Text, err)
		}
		for i, b := range blocks {
			b.judge(t, i)
		}
	}
}

var unescaped = regexp.MustCompile(`&(?:[^agl]|a[^m]|g[^t]|l[^t]|$)`)

type slackBlock struct {
	Type string `json:"type"`
	Text struct {
		Type  string `json:"type"`
		Text  string `json:"text"`
		Emoji bool   `json:"emoji"`
	} `json:"text"`
}

func (b slackBlock) judge(t *testing.T, i int) {
	t.Helper()
	switch {
	case b.Type == "actions":
	case b.Type == "section" && b.Text.Type == "mrkdwn" && i == 0 && called.ReplaceAllString(b.Text.Text, "") == "":
	case b.Type == "section" && b.Text.Type == "plain_text" && !b.Text.Emoji:
		isClean(t, "a block", b.Text.Text)
	default:
		t.Errorf("block %d is not plain text: %+v", i, b)
	}
}

// judgePagerDuty: notes are ours, and no text begins a line of its own in them.
func (p *hostilePlay) judgePagerDuty(t *testing.T) {
	t.Helper()
	for _, in := range p.world.Incidents() {
		for _, n := range in.Notes {
			isClean(t, "a note", n.Content)
		}
		for _, n := range in.StatusUpdates {
			isClean(t, "a status update", n.Content)
		}
		isClean(t, "a resolution", in.ResolutionNote)
	}
}

// judgeLog: each line is the logger's, and none holds what a terminal would obey.
func (p *hostilePlay) judgeLog(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		line = strings.TrimSuffix(line, "\n")
		ours := strings.HasPrefix(line, "time=") || json.Valid([]byte(line)) && strings.HasPrefix(line, `{"time":`)
		if !ours || strings.ContainsFunc(line, unseen) {
			t.Errorf("the log has a line that is not its own: %q", line)
		}
	}
	_, _, metrics := send(t, newRequest(t, nethttp.MethodGet, p.url+"/metrics", nil))
	if mark := markOf.FindString(metrics); mark != "" {
		t.Errorf("/metrics bears %s", mark)
	}
}

// unseen are characters that are obeyed and not shown.
func unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// ourWords begin every line of ours in which a text may stand.
var ourWords = regexp.MustCompile(`^(<!here> )?(remediator|rule|Acknowledged|Report of|Ended|Outcome|• |A human is needed|Issue|Update|Resolved|Summary|Cause|Fix|Verified|Tried|Need|Status|Next|- |    |` +
	`mixillo-[a-z]+: )`)

// isClean: lines are ours, and hold nothing that is obeyed instead of shown.
func isClean(t *testing.T, what, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.ContainsFunc(line, unseen) {
			t.Errorf("%s holds characters that are not shown: %q", what, line)
		}
		if at := markOf.FindStringIndex(line); at != nil && !ourWords.MatchString(line) {
			t.Errorf("%s has a line that is not ours: %q", what, line)
		}
	}
}

// judgeRun: journal, verdicts and report are lines of ours.
func (p *hostilePlay) judgeRun(t *testing.T, run remediation.Run) {
	t.Helper()
	v, err := (&api{app: p.app}).Run(t.Context(), run.ID)
	succeed(t, err)
	isLine(t, "the outcome", v.Run.Detail)
	for _, e := range v.Journal {
		isLine(t, "the journal", e.Text)
	}
	for _, r := range v.Rulings {
		isLine(t, "a verdict", r.Detail)
	}
	for _, m := range v.Messages {
		isLine(t, "a message's error", m.Error)
	}
	var shown strings.Builder
	writeRun(&shown, v)
	for line := range strings.Lines(shown.String()) {
		isLine(t, "the command line", strings.TrimSuffix(line, "\n"))
	}
	isPlainMarkdown(t, reportOf(v).Markdown())
}

func isLine(t *testing.T, what, text string) {
	t.Helper()
	if strings.ContainsFunc(text, unseen) {
		t.Errorf("%s is not one line to be shown: %q", what, text)
	}
}

// escapedMarkdown is what Markdown shows as it stands.
var escapedMarkdown = regexp.MustCompile(`\\[\\*_~\[\]|#:.]|&(?:lt|gt|amp);`)

// liveMarkdown is what Markdown, or GitHub's, makes more of.
var liveMarkdown = regexp.MustCompile("[*_~`\\[\\]<>|#&]|://|www\\.")

// isPlainMarkdown: a line in which a text stands has no mark-up but our own at its beginning.
func isPlainMarkdown(t *testing.T, text string) {
	t.Helper()
	for i, line := range strings.Split(text, "\n") {
		if strings.ContainsFunc(line, unseen) {
			t.Errorf("the report holds characters that are not shown: %q", line)
		}
		body, ours := strings.CutPrefix(line, "- ")
		if i == 0 {
			body, ours = strings.CutPrefix(line, "# ")
		}
		if !markOf.MatchString(line) {
			continue
		}
		if live := liveMarkdown.FindString(escapedMarkdown.ReplaceAllString(body, "")); !ours && i != 2 || live != "" {
			t.Errorf("the report has live mark-up %q: %q", live, line)
		}
	}
}

// rowsOfTexts are the columns that may hold a text: what came in, what is kept of its alerts, what people are told of it, and the reason that
// an answer or a pause bears: a person's, or the alert for which a rule holds its target.
var rowsOfTexts = []string{
	"events.body", "events.delivery", "runs.data", "runs.incident_key", "outbox.data", "pauses.data", "approvals.data", "rulings.detail", "journal.text",
}

// judgeRows: the store keeps the texts as data, in its places, and its queue none.
func (p *hostilePlay) judgeRows(t *testing.T) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+p.database(t)+"?mode=ro&_pragma=busy_timeout(10000)")
	succeed(t, err)
	defer func() { _ = db.Close() }()
	for _, column := range textColumns(t, db) {
		table, name, _ := strings.Cut(column, ".")
		var n int
		query := fmt.Sprintf(`SELECT count(*) FROM %q WHERE CAST(%q AS TEXT) GLOB '*zq[0-9][0-9][0-9]*'`, table, name)
		succeed(t, db.QueryRowContext(t.Context(), query).Scan(&n))
		if n > 0 && !slices.Contains(rowsOfTexts, column) {
			t.Errorf("%s holds texts in %d row(s)", column, n)
		}
	}
}

func (s *stage) database(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "*.db"))
	succeed(t, err)
	want(t, "databases", len(found), 1)
	return found[0]
}

func textColumns(t *testing.T, db *sql.DB) (all []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'`)
	succeed(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var column string
		succeed(t, rows.Scan(&column))
		all = append(all, column)
	}
	succeed(t, rows.Err())
	return all
}
