package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// night is one outage: a service of its own, a bad deploy, an incident, and a server with a fresh database.
type night struct {
	*outside
	home, service, incident string
	began                   int       // entries of the ledger before it: a worker plays one night at a time
	died                    time.Time // when a server was last seen dead; zero before
}

// newNight breaks a service and opens the incident. Its signed webhook is sent again and again until a server takes it.
func (o *outside) newNight(ctx context.Context, service string) (*night, error) {
	n := &night{outside: o, home: filepath.Join(o.dir, service), service: service}
	if err := os.Mkdir(n.home, 0o700); err != nil {
		return nil, err
	}
	text := strings.NewReplacer("{{dir}}", o.dir, "{{google}}", o.google, "{{pagerduty}}", o.pagerduty, "{{slack}}", o.slack,
		"{{backend}}", o.backend, "{{service}}", service).Replace(crashRules)
	if err := os.WriteFile(filepath.Join(n.home, "rules.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	before, err := o.entries()
	if err != nil {
		return nil, err
	}
	n.began = len(before)
	return n, n.fall(ctx)
}

func (n *night) fall(ctx context.Context) error {
	var opened struct{ ID string }
	for _, step := range []struct {
		verb string
		args any
		out  any
	}{
		{"set-webhook", map[string]string{"url": "http://127.0.0.1:9", "secret": signingSecret}, &struct{}{}},
		{"add-service", map[string]any{"name": n.service, "revisions": []any{map[string]string{"name": n.good(), "created_ago": "20h"}}}, &struct{}{}},
		{"deploy", map[string]any{"service": n.service, "deploy": map[string]string{"name": n.service + "-bad", "health": "sick"}}, &struct{}{}},
		{"trigger-incident", map[string]any{"title": "health of " + n.service, "key": n.service, "severity": "critical", "details": map[string]string{
			"alertname": "HealthCheckFailed", "service": n.service, "severity": "critical",
		}}, &opened},
	} {
		if err := n.does(ctx, step.verb, step.args, step.out); err != nil {
			return err
		}
	}
	n.incident = opened.ID
	return nil
}

func (n *night) good() string     { return n.service + "-good" }
func (n *night) socket() string   { return filepath.Join(n.home, "s") }
func (n *night) database() string { return filepath.Join(n.home, "db") }

// until plays the night with a server until it is over or the server is gone, and ends the server.
func (n *night) until(ctx context.Context, env ...string) (*process, []edge.RunView, error) {
	p, err := n.serve(ctx, env...)
	if err != nil {
		return nil, nil, err
	}
	var views []edge.RunView
	quiet := 0
	if up, err := n.subscribe(ctx, p); err != nil || !up {
		n.died = time.Now()
		return p, nil, err
	}
	if err := n.endLeases(ctx); err != nil {
		return p, nil, errors.Join(err, p.stop())
	}
	err = eventually(ctx, "the night is over", func() (done bool, err error) {
		if p.isGone() {
			return true, nil
		}
		if views, done, err = n.settled(ctx); !done {
			quiet = 0
			return false, err
		}
		quiet++
		return quiet == 2, nil // one look sees the run, its end and its followers at different moments
	})
	if stop := p.stop(); err == nil && !p.killed() {
		err = stop
	}
	n.died = time.Now()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, p.said())
	}
	return p, views, err
}

// outboxLease is how long internal/notify keeps a message for the one who tells it. It is real time: the speed does not shorten it.
const outboxLease = 20 * time.Second

// endLeases lets the leases on messages run out that the dead server held, as if it had been down for so long. Those of the server
// that lives end later than any it changes.
func (n *night) endLeases(ctx context.Context) error {
	if n.died.IsZero() {
		return nil
	}
	db, err := sql.Open("sqlite", "file:"+n.database()+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `UPDATE outbox SET not_before = 0 WHERE state = 'queued' AND not_before <= $1`,
		n.died.Add(outboxLease).UnixMicro())
	return errors.Join(err, db.Close())
}

// settled reports whether the runs are done, everything is told and PagerDuty has no webhook left to send.
func (n *night) settled(ctx context.Context) ([]edge.RunView, bool, error) {
	all, err := n.entries()
	if err != nil {
		return nil, false, err
	}
	sent, delivered := 0, 0
	for _, e := range all {
		switch {
		case e.System != "pagerduty" || e.Resource != n.incident:
		case e.Verb == "webhook_delivered":
			delivered++
		case e.Verb == "note_added" || strings.HasPrefix(e.Verb, "incident_"):
			sent++
		}
	}
	if delivered < sent {
		return nil, false, nil
	}
	views, err := n.runs(ctx)
	return views, err == nil && over(views), nil // a server that does not answer is coming up, or gone
}

// finding is what a ledger says against a night.
type finding struct {
	lost, twice, other []string
	story              []string // the journals, for whoever has to find out why
}

func (f *finding) count(what string, got, want int) {
	switch {
	case got < want:
		f.lost = append(f.lost, what)
	case got > want:
		f.twice = append(f.twice, fmt.Sprintf("%s (%d)", what, got))
	}
}

func (f *finding) expect(holds bool, format string, args ...any) {
	if !holds {
		f.other = append(f.other, fmt.Sprintf(format, args...))
	}
}

func (f *finding) clean() bool { return len(f.lost)+len(f.twice)+len(f.other) == 0 }

func (f *finding) String() string {
	return fmt.Sprintf("lost %q, twice %q, other %q\n%s", f.lost, f.twice, f.other, strings.Join(f.story, "\n"))
}

// judge says what of the night is missing from the ledger, or in it twice. Of the server's own word only the number of runs is taken.
func (n *night) judge(views []edge.RunView) (*finding, error) {
	all, err := n.entries()
	if err != nil {
		return nil, err
	}
	f := &finding{}
	updates := pickEntries(all, "cloud_run", "update_service", n.service)
	f.count("rollback", len(updates), 1)
	for _, e := range updates {
		f.expect(slices.Contains(texts(e.Detail["traffic_after"]), n.good()+"=100"), "traffic went to %v", e.Detail["traffic_after"])
	}
	// Nobody else changes the service: a call that the precondition turned away was made blindly.
	f.count("refused update", len(pickEntries(all, "cloud_run", "update_service_refused", n.service)), 0)
	for verb, want := range map[string]int{
		"incident_acknowledged": 1, "note_added": 1, "incident_resolved": 1, "incident_escalated": 0, "incident_reopened": 0,
	} {
		f.count(verb, len(pickEntries(all, "pagerduty", verb, n.incident)), want)
	}
	for _, e := range pickEntries(all, "pagerduty", "note_added", n.incident) {
		f.expect(strings.HasPrefix(fmt.Sprint(e.Detail["content"]), "remediator: FIXED"), "the note says %v", e.Detail["content"])
	}
	n.judgeSlack(all, f)
	runs := map[remediation.Origin]int{}
	for _, v := range views {
		runs[v.Run.Origin]++
		for _, e := range v.Journal {
			f.story = append(f.story, fmt.Sprintf("%s %s %s: %s", v.Run.Origin, e.At.Format("15:04:05.000"), e.Kind, e.Text))
		}
	}
	f.count("run", runs[remediation.ByAlert], 1)
	f.count("follow-up", runs[remediation.ByFollowUp], 1)
	return f, nil
}

// judgeSlack expects four posts, that the run is about to act, how it ended, and its report in two, each with a marker of its own.
func (n *night) judgeSlack(all []sandbox.Entry, f *finding) {
	posts := map[string]int{}
	for _, e := range pickEntries(all[n.began:], "slack", "message_posted", "CINCIDENTS") {
		var data struct {
			Payload struct{ Marker string } `json:"event_payload"`
		}
		err := json.Unmarshal([]byte(fmt.Sprint(e.Detail["metadata"])), &data)
		f.expect(err == nil && data.Payload.Marker != "", "a post has no marker: %v", e.Detail)
		posts[data.Payload.Marker]++
	}
	f.count("Slack messages", len(posts), 4)
	for marker, times := range posts {
		f.count("Slack post "+marker, times, 1)
	}
}

// pickEntries finds what was done, and not by a human.
func pickEntries(all []sandbox.Entry, system, verb, resource string) []sandbox.Entry {
	var out []sandbox.Entry
	for _, e := range all {
		if e.System == system && e.Verb == verb && e.Resource == resource && e.By != sandbox.Human {
			out = append(out, e)
		}
	}
	return out
}

func texts(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, e := range list {
		out = append(out, fmt.Sprint(e))
	}
	return out
}
