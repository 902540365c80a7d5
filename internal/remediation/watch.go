package remediation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// Watch tells people once when a feed falls silent, and again when it is back. It goes by the store's clock and rows alone, so that it may be
// called at any time by any number of processes.
func (e *Engine) Watch(ctx context.Context) error {
	set := e.Rules.Current()
	w := watch{e: e, set: set, now: e.Now(), feeds: map[string]Feed{}, raised: map[alarmAt]Alarm{}}
	if err := w.read(ctx); err != nil {
		return err
	}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(set.Sources)) {
		wrong = append(wrong, w.source(ctx, name))
	}
	for _, a := range w.raised {
		if !w.asked(a) && w.unheeded(a) {
			wrong = append(wrong, w.clear(ctx, a, "The rules file does not ask for this watch any more."))
		}
	}
	return errors.Join(wrong...)
}

type alarmAt struct {
	source string
	kind   AlarmKind
}

// watch is one look at all feeds.
type watch struct {
	e      *Engine
	set    *rules.Set
	now    time.Time
	feeds  map[string]Feed
	raised map[alarmAt]Alarm
}

// asked reports whether the rules in force ask for the watch that raised the alarm.
func (w *watch) asked(a Alarm) bool {
	if a.Kind == Silent {
		return watchdog(w.set.Sources[a.Source]) != nil
	}
	_, how := polling(w.set.Sources[a.Source])
	return how.Every > 0
}

// unheeded reports whether no other process, by other rules, can still go by the alarm: it would raise it again at once, with a page each time.
func (w *watch) unheeded(a Alarm) bool {
	if _, how := polling(w.set.Sources[a.Source]); how.Every > 0 || watchdog(w.set.Sources[a.Source]) != nil {
		return w.now.Sub(a.RaisedAt) >= w.e.scale(unaskedFor) // that somebody listens says nothing here: this process does
	}
	return w.now.Sub(w.feeds[a.Source].ListenedAt) >= w.e.scale(listenGap)
}

func (w *watch) read(ctx context.Context) error {
	feeds, err := w.e.Feeds.Feeds(ctx)
	if err != nil {
		return fmt.Errorf("reading how the feeds stand: %w", err)
	}
	alarms, err := w.e.Feeds.Alarms(ctx)
	if err != nil {
		return fmt.Errorf("reading which feeds are silent: %w", err)
	}
	for _, f := range feeds {
		w.feeds[f.Source] = f
	}
	for _, a := range alarms {
		w.raised[alarmAt{a.Source, a.Kind}] = a
	}
	return nil
}

func (w *watch) source(ctx context.Context, name string) error {
	dog := watchdog(w.set.Sources[name])
	_, how := polling(w.set.Sources[name])
	if dog == nil && how.Every <= 0 {
		return nil
	}
	f := w.feeds[name]
	f.Source = name
	if w.now.Sub(f.ListenedAt) >= w.e.scale(listenEvery) {
		if err := w.e.Feeds.Listen(ctx, name, w.now, w.e.scale(listenGap)); err != nil {
			return fmt.Errorf("saying that source %s is listened to: %w", name, err)
		}
	}
	if w.now.Sub(f.ListenedAt) >= w.e.scale(listenGap) { // nobody has listened until now: what was not heard says nothing
		f.Listening = w.now
	}
	var wrong []error
	if dog != nil {
		wrong = append(wrong, w.beat(ctx, f, dog, how))
	}
	if how.Every > 0 {
		wrong = append(wrong, w.sent(ctx, f, how))
	}
	return errors.Join(wrong...)
}

// beat judges the watchdog. Only what the sender sends by itself is heard: a poll that works says nothing of that.
func (w *watch) beat(ctx context.Context, f Feed, dog *sources.Watchdog, how sources.Polling) error {
	last := later(f.BeatAt, f.Listening)
	silent := w.now.Sub(last) > dog.Silence()
	a, raised := w.alarm(f, Silent)
	switch {
	case silent && !raised:
		return w.raise(ctx, a, f, page{
			summary: fmt.Sprintf("the feed of %s is silent: its watchdog does not come", f.Source),
			text:    w.silentText(f, dog, how),
		})
	case !silent && raised && f.BeatAt.After(a.RaisedAt):
		return w.clear(ctx, a, fmt.Sprintf("The watchdog of source %s is heard again since %s.", f.Source, clockTime(f.BeatAt)))
	}
	return nil
}

// sent judges whether what a poll found is brought by its own delivery too. That one of many was lost is no alarm.
func (w *watch) sent(ctx context.Context, f Feed, how sources.Polling) error {
	a, raised := w.alarm(f, Unsent)
	if raised {
		if f.HeardAt.After(a.RaisedAt) {
			return w.clear(ctx, a, fmt.Sprintf("Deliveries of source %s arrive again since %s.", f.Source, clockTime(f.HeardAt)))
		}
		return nil
	}
	if f.HeardAt.Add(how.Missing).After(w.now) || f.Listening.Add(how.Missing).After(w.now) || f.PolledAt.IsZero() {
		return nil
	}
	known, err := w.e.Feeds.Sightings(ctx, f.Source, w.now)
	if err != nil {
		return fmt.Errorf("reading what source %s has not sent: %w", f.Source, err)
	}
	unsent := slices.DeleteFunc(known, func(s sources.Sighting) bool {
		return !s.Ended.IsZero() || !s.Pushed.IsZero() || w.now.Sub(s.Polled) < how.Missing || f.HeardAt.After(s.Polled)
	})
	if len(unsent) == 0 {
		return nil
	}
	return w.raise(ctx, a, f, page{
		summary: fmt.Sprintf("webhooks of %s do not arrive", f.Source), text: w.unsentText(f, unsent, how),
	})
}

// alarm gives the one that is raised, or one to raise, and shows which it is.
func (w *watch) alarm(f Feed, kind AlarmKind) (Alarm, bool) {
	a, raised := w.raised[alarmAt{f.Source, kind}]
	w.e.Metrics.feedAlarm(f.Source, kind, raised)
	if !raised {
		a = Alarm{Source: f.Source, Kind: kind, IncidentKey: "remediator-feed-" + w.e.NewID(), RaisedAt: w.now}
	}
	return a, raised
}

// page is what is told when an alarm is raised.
type page struct{ summary, text string }

// raise opens an incident of its own: its key names this silence alone, and its opening is the page. PagerDuty reminds people of it.
func (w *watch) raise(ctx context.Context, a Alarm, judged Feed, p page) error {
	m := w.message(a, Note, p.text)
	m.Open, m.Summary, m.Severity = true, p.summary, "critical"
	done, err := w.e.Feeds.Raise(ctx, a, judged, []Message{m})
	if err != nil {
		return fmt.Errorf("telling that %s: %w", p.summary, err)
	}
	if done {
		w.e.Log.Error(p.summary, "source", a.Source, "incident_key", a.IncidentKey)
		w.e.Metrics.feedAlarm(a.Source, a.Kind, true)
	}
	return nil
}

func (w *watch) clear(ctx context.Context, a Alarm, why string) error {
	m := w.message(a, Resolve, why)
	m.Seq = 1
	done, err := w.e.Feeds.Clear(ctx, a, []Message{m})
	if err != nil {
		return fmt.Errorf("ending the alarm over source %s: %w", a.Source, err)
	}
	if done {
		w.e.Log.Info("an alarm over a feed is over", "source", a.Source, "alarm", a.Kind, "why", why)
		w.e.Metrics.feedAlarm(a.Source, a.Kind, false)
	}
	return nil
}

func (w *watch) message(a Alarm, kind MessageKind, text string) Message {
	return Message{
		ID: a.IncidentKey + "-" + string(kind), Run: a.IncidentKey, Channel: PagerDuty, Kind: kind, IncidentKey: a.IncidentKey, Own: true,
		Connection: pagerDutyConnection(w.set), Text: text, State: MessageQueued, CreatedAt: w.now,
	}
}

func (w *watch) silentText(f Feed, dog *sources.Watchdog, how sources.Polling) string {
	since := "has not come since remediator listens, " + clockTime(f.Listening)
	if !f.BeatAt.IsZero() {
		since = "last came at " + clockTime(f.BeatAt)
	}
	return fmt.Sprintf("The watchdog of source %s (%s) %s; it should come every %s and was waited for %s.\n"+
		"Alerts of this source may not reach remediator: nothing is mended for them then.\n%s\n\n"+
		"Check: does the monitoring evaluate its watchdog rule; does Alertmanager run, and route it to the receiver that leads here; does its log tell of "+
		"failed notifications (alertmanager_notifications_failed_total); is the address right, and the secret "+
		"(remediator_events_total{source=%q,verdict=\"unauthenticated\"}). This incident is resolved when the watchdog comes again.",
		f.Source, strings.Join(dog.Match, ", "), since, dog.Every, dog.Silence(), w.pollText(f, how), f.Source)
}

func (w *watch) unsentText(f Feed, unsent []sources.Sighting, how sources.Polling) string {
	var subjects []string
	for _, s := range unsent[:min(len(unsent), 5)] {
		subjects = append(subjects, oneLine(s.Subject))
	}
	heard := "none has come"
	if !f.HeardAt.IsZero() {
		heard = "the last one came at " + clockTime(f.HeardAt)
	}
	return fmt.Sprintf("%d episode(s) of source %s that go on were found by a poll at least %s ago, and no webhook has brought them (%s): %s.\n"+
		"Until webhooks come again, alerts are found up to a minute or two late.\n%s\n\n"+
		"Check: is the webhook subscription enabled (PagerDuty disables one for a day after it could not be delivered; Integrations, Generic Webhooks (v3)), "+
		"for the services and events that remediator needs; can the sender reach remediator; are webhooks refused "+
		"(remediator_events_total{source=%q,verdict=\"unauthenticated\"}). This incident is resolved when a webhook comes.",
		len(unsent), f.Source, how.Missing, heard, strings.Join(subjects, ", "), w.pollText(f, how), f.Source)
}

// pollText says whether the other road works.
func (w *watch) pollText(f Feed, how sources.Polling) string {
	switch {
	case how.Every <= 0:
		return "The source is not polled, so that nothing else brings its alerts."
	case f.PolledAt.IsZero():
		return "Polls of the source have never worked."
	case w.now.Sub(f.PolledAt) > 3*how.Every:
		return "Polls of the source do not work either: the last whole answer was at " + clockTime(f.PolledAt) + "."
	default:
		return "Polls of the source work and find what fires; the last one was at " + clockTime(f.PolledAt) + "."
	}
}

func clockTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
