package remediation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// beat is the alert that always fires.
func beat() sources.Delivery {
	return sources.Delivery{Type: "firing", Alerts: []alert.Alert{{
		Source: "am", Status: alert.Firing, Labels: map[string]string{"alertname": "Watchdog"}, StartsAt: noon.Add(-24 * time.Hour), Episode: "dog@1", IncidentKey: "dog",
	}}}
}

// watched is a world whose sender has a watchdog that may stay away for 7m30s.
func watched(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, rule("mend"))
	dogs.Store(w.name+"/am", &sources.Watchdog{Match: []string{`alertname="Watchdog"`}, Every: 5 * time.Minute})
	return w
}

// listens lets time pass on a server that is up.
func (w *world) listens(d time.Duration) {
	w.t.Helper()
	for ; d > 0; d -= 15 * time.Second {
		must(w.t, w.engine.Watch(w.t.Context()))
		w.advance(min(d, 15*time.Second))
	}
	must(w.t, w.engine.Watch(w.t.Context()))
}

// down lets time pass while no process is up.
func (w *world) isDownFor(d time.Duration) {
	w.t.Helper()
	w.advance(d)
	w.restart()
}

func (w *world) alarms(want ...remediation.AlarmKind) []remediation.Alarm {
	w.t.Helper()
	all, err := w.store.Alarms(w.t.Context())
	must(w.t, err)
	if len(all) != len(want) {
		w.t.Fatalf("at %s the alarms are %+v, want %v", w.now().Format(time.TimeOnly), all, want)
	}
	for i := range all {
		if all[i].Kind != want[i] {
			w.t.Fatalf("the alarms are %+v, want %v", all, want)
		}
	}
	return all
}

// said are the messages about an alarm, in order.
func (w *world) said(a remediation.Alarm) []remediation.Message {
	w.t.Helper()
	var all []remediation.Message
	for {
		m, _, ok, err := w.store.Next(w.t.Context(), remediation.Lane{Run: a.IncidentKey, Channel: remediation.PagerDuty}, w.now(), time.Minute)
		must(w.t, err)
		if !ok {
			return all
		}
		must(w.t, w.store.End(w.t.Context(), remediation.Sent{ID: m.ID, State: remediation.MessageSent, RemoteID: "Q", At: w.now()}))
		all = append(all, m)
	}
}

// A feed that falls silent is told of once, over a restart, and once more when it is back.
func TestASilentFeedIsToldOnce(t *testing.T) {
	t.Parallel()
	w := watched(t)
	w.listens(time.Minute)
	w.deliver("am", beat())
	w.listens(7 * time.Minute)
	w.alarms()
	w.listens(time.Minute)
	raised := w.alarms(remediation.Silent)[0]
	w.listens(10 * time.Minute)
	w.isDownFor(time.Hour)
	w.listens(10 * time.Minute)
	if again := w.alarms(remediation.Silent)[0]; again != raised {
		t.Errorf("it was raised again: %+v after %+v", again, raised)
	}
	first := w.said(raised)
	if len(first) != 1 || !first[0].Own || !first[0].Open || first[0].Kind != remediation.Note || first[0].Severity != "critical" ||
		first[0].Summary != "the feed of am is silent: its watchdog does not come" {
		t.Fatalf("it was told as %+v", first)
	}
	for _, part := range []string{`alertname="Watchdog"`, "last came at 2026-03-01T12:01:00Z", "every 5m0s", "The source is not polled", "Check:"} {
		if !strings.Contains(first[0].Text, part) {
			t.Errorf("people are not told %q:\n%s", part, first[0].Text)
		}
	}
	w.deliver("am", beat())
	w.listens(time.Minute)
	w.alarms()
	last := w.said(raised)
	if len(last) != 1 || last[0].Kind != remediation.Resolve || !strings.Contains(last[0].Text, "is heard again") {
		t.Errorf("its end was told as %+v", last)
	}
	w.listens(9 * time.Minute)
	if next := w.alarms(remediation.Silent)[0]; next.IncidentKey == raised.IncidentKey {
		t.Error("the next silence has the incident of the last one")
	}
	if len(w.byAlert()) != 0 {
		t.Error("a watchdog that no rule matches has started a run")
	}
}

// A server that was down has not heard, and does not cry before it could have; one that only restarted has.
func TestAServerThatWasDownWaits(t *testing.T) {
	t.Parallel()
	w := watched(t)
	w.listens(time.Minute)
	w.deliver("am", beat())
	w.isDownFor(time.Hour)
	w.listens(7 * time.Minute)
	w.alarms()
	w.deliver("am", beat())
	for range 9 { // for nine minutes it restarts each minute
		w.listens(45 * time.Second)
		w.isDownFor(15 * time.Second)
	}
	w.listens(0)
	w.alarms(remediation.Silent)
}

// A watchdog that was never heard, such as one that is misspelt, is told of after one full time.
func TestAWatchdogThatNeverComes(t *testing.T) {
	t.Parallel()
	w := watched(t)
	w.listens(7 * time.Minute)
	w.deliver("am", sources.Delivery{Type: "firing", Alerts: []alert.Alert{{Source: "am", Status: alert.Firing, Labels: map[string]string{"alertname": "Else"}, StartsAt: noon, Episode: "e@1"}}})
	w.alarms()
	w.listens(time.Minute)
	raised := w.alarms(remediation.Silent)[0]
	if said := w.said(raised); len(said) != 1 || !strings.Contains(said[0].Text, "has not come since remediator listens, 2026-03-01T12:00:00Z") {
		t.Errorf("people were told %+v", said)
	}
	dogs.Delete(w.name + "/am") // the rules ask for it no more
	w.listens(30 * time.Second)
	w.alarms(remediation.Silent) // another process, with the former rules, may still listen and would page anew
	w.listens(time.Minute)
	w.alarms()
}

// A poll that works is no delivery: the feed is silent all the same, and people are told that the poll works.
func TestAPollIsNotHearing(t *testing.T) {
	t.Parallel()
	w := watched(t)
	sender := w.polls("am")
	sender.fires = beat().Alerts
	for range 8 { // no longer: what the first poll has found would be late too
		w.listens(45 * time.Second)
		must(t, w.engine.Poll(t.Context()))
		w.advance(15 * time.Second)
	}
	w.listens(0)
	raised := w.alarms(remediation.Silent)[0]
	if said := w.said(raised); len(said) != 1 || !strings.Contains(said[0].Text, "Polls of the source work") {
		t.Errorf("people were told %+v", said)
	}
}

// Webhooks that do not come, such as those of a disabled subscription, are told of once the poll has found what they should have brought, and
// resolved when one comes.
func TestWebhooksThatDoNotArrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("mend"))
	sender := w.polls("pd")
	w.listens(20 * time.Minute)
	w.deliver("pd", sources.Delivery{Type: "pagey.ping", Ignored: "a ping"})
	w.listens(time.Minute)
	a := alert.Alert{Source: "pd", Status: alert.Firing, Labels: map[string]string{"alertname": "Else"}, StartsAt: w.now(), Episode: "Q1", IncidentID: "Q1"}
	sender.fires = []alert.Alert{a}
	w.poll()
	w.listens(9 * time.Minute)
	w.alarms()
	w.listens(2 * time.Minute)
	raised := w.alarms(remediation.Unsent)[0]
	w.listens(5 * time.Minute)
	said := w.said(raised)
	if len(said) != 1 || said[0].Summary != "webhooks of pd do not arrive" || !strings.Contains(said[0].Text, "Q1") || !strings.Contains(said[0].Text, "subscription") {
		t.Errorf("people were told %+v", said)
	}
	w.deliver("pd", sources.Delivery{Type: "pagey.ping", Ignored: "a ping"})
	w.listens(0)
	w.alarms()
	if said := w.said(raised); len(said) != 1 || said[0].Kind != remediation.Resolve {
		t.Errorf("its end was told as %+v", said)
	}
	w.listens(9 * time.Minute) // the same episode is still not brought, and the feed was heard since
	w.alarms()
}

// That one of many webhooks was lost, or came late, is no alarm.
func TestOneLostWebhookIsNoAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, rule("mend"))
	sender := w.polls("pd")
	w.listens(20 * time.Minute)
	lost := alert.Alert{Source: "pd", Status: alert.Firing, Labels: map[string]string{"alertname": "Else"}, StartsAt: w.now(), Episode: "Q1", IncidentID: "Q1"}
	sender.fires = []alert.Alert{lost}
	w.poll()
	w.listens(5 * time.Minute)
	w.deliver("pd", sources.Delivery{Type: "pagey.ping", Ignored: "a ping"})
	w.listens(30 * time.Minute)
	w.alarms()
}
