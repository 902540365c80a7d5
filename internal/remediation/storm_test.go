package remediation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

func TestStorm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", unhindered, "tell: {pagerduty: {resolve_when: fixed, open_incident: true}}"))
	w.expect(w.play(down(api)), fixed)
	w.expect(w.play(down(web)), fixed)
	known := down(mail)
	known.IncidentID = "Q1"
	v := w.play(known) // the third target within ten minutes
	w.expect(v, refused(guard.Storm))
	if v.Messages[0].Open {
		t.Error("a run that a storm refused pages by itself")
	}
	unheard := refused(guard.Storm) // nobody looks for the incidents of thousands
	unheard.Messages = nil
	w.expect(w.play(other(mail)), unheard)
	page := w.told("remediator-storm-" + v.Run.ID)
	if !slices.Equal(page, []remediation.MessageKind{remediation.Note}) {
		t.Errorf("the storm was paged by %v", page)
	}
	for _, id := range w.runs() {
		if id != v.Run.ID && len(w.told("remediator-storm-"+id)) > 0 {
			t.Errorf("run %s paged for the same storm", id)
		}
	}
	w.advance(time.Second)
	must(t, w.store.ReleaseStorm(t.Context()))
	w.expect(w.play(down(mail)), fixed)
}

// In Slack a storm is one call for people; the thousands of runs that it refuses post nothing.
func TestAStormIsCalledOnceInSlack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", unhindered, "tell: {pagerduty: {}, slack: {connection: chat, mention: [here]}}"))
	for _, target := range []string{api, web} {
		w.play(down(target))
	}
	first := w.play(down(mail))
	for _, v := range []store.RunView{first, w.play(other(mail))} {
		if v.Run.Reason != guard.Storm || slices.ContainsFunc(v.Messages, func(m remediation.Message) bool { return m.Channel == remediation.Slack }) {
			t.Errorf("run %s ended %s and posted %v", v.Run.ID, v.Run.Reason, v.Messages)
		}
	}
	lane := remediation.Lane{Run: "remediator-storm-" + first.Run.ID, Channel: remediation.Slack}
	m, _, ok, err := w.store.Next(t.Context(), lane, w.now(), time.Minute)
	must(t, err)
	if !ok || m.Kind != remediation.Escalate || m.Connection != "chat" || !slices.Equal(m.Mentions, []string{"here"}) || !strings.Contains(m.Text, "starts nothing") {
		t.Errorf("the storm's call is %t: %+v", ok, m)
	}
}

func TestAStormPasses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("cure", unhindered))
	for round := range 2 {
		for i, target := range []string{api, web, mail} {
			a := down(target)
			a.Episode, a.IncidentKey, a.StartsAt = fmt.Sprint(target, round), fmt.Sprint("key", target, round), w.now()
			w.scene(target).set("bad")
			v := w.play(a)
			if stormy := v.Run.Reason == guard.Storm; stormy != (i == 2) {
				t.Errorf("round %d, %s: ended %s %s", round, target, v.Run.Outcome, v.Run.Detail)
			}
			if i == 2 && len(w.told("remediator-storm-"+v.Run.ID)) != 1 {
				t.Errorf("round %d was not paged", round)
			}
		}
		w.advance(11 * time.Minute)
	}
}
