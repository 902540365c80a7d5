package main

import (
	"encoding/json"
	nethttp "net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// hostileGroup is a group of Alertmanager's about a service, with all texts among its labels and annotations: names and values.
func hostileGroup(t *testing.T, texts []hostileText, turn int, services ...string) []byte {
	t.Helper()
	var alerts []any
	for _, service := range services {
		labels := map[string]any{"alertname": healthFailed, "service": service, "severity": "critical"}
		notes := map[string]any{"summary": window(texts, turn)}
		for i := range labelsOfAnAlert / 2 / len(services) {
			h := texts[(turn*labelsOfAnAlert+i)%len(texts)]
			labels[h.text], labels["label_"+h.mark] = "x", h.text
		}
		for _, h := range texts {
			if len(services) == 1 {
				notes[h.mark] = h.text
			}
		}
		alerts = append(alerts, map[string]any{
			"status": "firing", "labels": labels, "annotations": notes, "startsAt": time.Now(), "endsAt": time.Time{}, "generatorURL": texts[turn].text,
		})
	}
	body, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": window(texts, turn), "status": "firing", "receiver": window(texts, turn), "alerts": alerts,
		"externalURL": texts[turn].text,
	})
	succeed(t, err)
	return body
}

// newHostileHouse is a house whose calls are overheard.
func newHostileHouse(t *testing.T) (*house, *hostilePlay) {
	t.Helper()
	h := newHouse(t, houseConfig{services: []sandbox.Service{{
		Name: backend, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}},
	}}})
	p := &hostilePlay{stage: h.stage, log: h.log, heard: map[string]string{}}
	h.world.Overhear(p.overhear)
	return h, p
}

// delivers sends a group and gives what became of it.
func (h *house) delivers(t *testing.T, body []byte) (event string, runs []string) {
	t.Helper()
	status, _, said := wire{"alertmanager", bearer(), body}.send(t, h.url)
	want(t, "status", status, nethttp.StatusAccepted)
	var kept struct {
		Event string
		Runs  []string
	}
	succeed(t, json.Unmarshal([]byte(said), &kept))
	return kept.Event, kept.Runs
}

// over is the run once it is done and told.
func (h *house) over(t *testing.T, id string) (run remediation.Run) {
	t.Helper()
	h.await(t, "run "+id+" is done and told", func() bool {
		v, err := (&api{app: h.app}).Run(t.Context(), id)
		run = v.Run
		return err == nil && run.State == remediation.Done && allTold(v.Messages)
	})
	return run
}

// TestHostileGroups: labels and annotations of Alertmanager's, names and values, do not stand in the way of the rollback that the alert
// asks for, and are nothing but text in it.
func TestHostileGroups(t *testing.T) {
	t.Parallel()
	tr := newTrap(t)
	texts := hostile500(tr.Addr().String())
	h, p := newHostileHouse(t)
	deploysSick(t, h)
	succeed(t, h.untilHealth(t.Context(), backend, false))
	_, runs := h.delivers(t, hostileGroup(t, texts, 0, backend))
	want(t, "runs", len(runs), 1)
	want(t, "outcome", h.over(t, runs[0]).Outcome, remediation.Fixed)
	p.judge(t)
	want(t, "calls of the trap", tr.calls.Load(), 0)
}

// TestHostileServices: a text that stands where a target is named names none.
func TestHostileServices(t *testing.T) {
	t.Parallel()
	tr := newTrap(t)
	texts := hostile500(tr.Addr().String())
	h, p := newHostileHouse(t)
	for part := range slices.Chunk(texts, 100) {
		var services []string
		for _, text := range part {
			services = append(services, text.text)
		}
		id, runs := h.delivers(t, hostileGroup(t, texts, 0, services...))
		want(t, "runs", len(runs), 0)
		event, err := (&api{app: h.app}).Event(t.Context(), id)
		succeed(t, err)
		want(t, "state", event.Event.State, remediation.EventMatched)
		isLine(t, "the event's note", event.Event.Note)
		for _, r := range event.Rulings {
			isLine(t, "a verdict", r.Detail)
		}
	}
	p.judge(t)
	want(t, "calls of the trap", tr.calls.Load(), 0)
}

// reasonOf is a window that is short enough for a reason.
func reasonOf(texts []hostileText, turn int) string {
	all := window(texts, turn)
	return strings.ToValidUTF8(all[:min(len(all), 500)], "")
}

// TestHostileReasons: what people give as reason, over the API, is one line of text wherever it is shown.
func TestHostileReasons(t *testing.T) {
	t.Parallel()
	tr := newTrap(t)
	texts := hostile500(tr.Addr().String())
	h, p := newHostileHouse(t)
	for turn := range 3 {
		id, err := (&api{app: h.app}).Start(t.Context(), remediation.ByPerson{
			Rule: "use-the-new-database-connection", Target: backend, Actor: "bob", Reason: window(texts, turn),
		})
		succeed(t, err)
		var asked string
		h.await(t, "a human is asked", func() bool {
			v, err := (&api{app: h.app}).Run(t.Context(), id)
			asked = v.Run.Asked
			return err == nil && asked != ""
		})
		_, err = h.call(t, "deny", id, "--digest", asked[:12], "--reason", reasonOf(texts, 10+turn))
		succeed(t, err)
		want(t, "reason", h.over(t, id).Reason, guard.Denied)
	}
	_, err := h.call(t, "pause", "--target", backend, "--reason", reasonOf(texts, 20))
	succeed(t, err)
	out, err := h.call(t, "run", "restart-the-service", "--target", backend, "--reason", reasonOf(texts, 21))
	succeed(t, err)
	var started struct{ Run string }
	succeed(t, json.Unmarshal([]byte(out), &started))
	want(t, "reason", h.over(t, started.Run).Reason, guard.Paused)
	p.judge(t)
	want(t, "calls of the trap", tr.calls.Load(), 0)
}

// TestEveryHostileTextIsToldAsText: as an alert's summary, each text by itself is one line, nothing but text in the report, and in Slack.
func TestEveryHostileTextIsToldAsText(t *testing.T) {
	t.Parallel()
	world, err := sandbox.Start(sandbox.Config{})
	succeed(t, err)
	t.Cleanup(func() { _ = world.Close() })
	p := &hostilePlay{stage: &stage{world: world, dir: shortDir(t)}}
	files, err := p.secrets()
	succeed(t, err)
	slack, err := connect.NewSlack(connect.SlackConfig{
		Endpoint: world.SlackURL(), Token: connect.Secret{File: files["slack"]}, Channel: "#incidents", Insecure: true,
	})
	succeed(t, err)
	for _, h := range hostile500("127.0.0.1:9") {
		run := remediation.Run{Target: backend, Actor: "bob", Note: h.text}
		run.Alert.Annotations = map[string]string{"summary": h.text}
		r := remediation.NewReport(remediation.Told{Run: run})
		if isLine(t, "a title", r.Title); !strings.Contains(r.Title, h.mark) {
			t.Errorf("%q is not told: %q", h.text, r.Title)
		}
		isPlainMarkdown(t, r.Markdown())
		_, err := slack.Post(t.Context(), connect.Post{Text: r.Title, Mentions: []string{"here"}})
		succeed(t, err)
	}
	want(t, "posts", len(world.SlackMessages()), hostileTexts)
	p.judgeSlack(t)
}
