package remediation

import (
	"context"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// Sighting says that an episode of a source was told of.
type Sighting struct {
	Source string
	sources.Sighting
}

// Push says that a source has sent something by itself.
type Push struct {
	Source string
	At     time.Time
	Beat   bool // its watchdog was in it
}

// Feed is what is known of the road by which a source's words come.
type Feed struct {
	Source   string
	HeardAt  time.Time // when something last came, give or take heardEvery; zero for never
	BeatAt   time.Time // when its watchdog last came; zero for never
	PolledAt time.Time // when a poll last got a whole answer; zero for never
	// ListenedAt is when a process last said that it listens; Listening since when there has always been one.
	ListenedAt time.Time
	Listening  time.Time
}

// AlarmKind says what is wrong with a feed.
type AlarmKind string

// Silent: the watchdog stays away. Unsent: polls find what no delivery brings.
const (
	Silent AlarmKind = "silent"
	Unsent AlarmKind = "unsent"
)

// Alarm is what people were told of a feed and is not over.
type Alarm struct {
	Source      string
	Kind        AlarmKind
	IncidentKey string // of the incident that was opened for it
	RaisedAt    time.Time
}

// Feeds keeps what is known of the feeds, so that it is the same on every replica and after a restart.
type Feeds interface {
	// Turn gives the right to poll the source now, once within the time between two polls, to one process of all; a process that dies with it loses it by
	// then. next is when the following turn is due.
	Turn(ctx context.Context, source string, now time.Time, every time.Duration) (mine bool, next time.Time, err error)
	// Polled records that a poll got a whole answer.
	Polled(ctx context.Context, source string, at time.Time) error
	// Sightings gives the source's episodes that have not ended, and those that began since.
	Sightings(ctx context.Context, source string, since time.Time) ([]sources.Sighting, error)
	// Feeds lists what is known of each source.
	Feeds(ctx context.Context) ([]Feed, error)
	// Listen says that a process listens to the source. After a gap without such a word listening begins anew.
	Listen(ctx context.Context, source string, now time.Time, gap time.Duration) error
	// Alarms lists those that are raised.
	Alarms(ctx context.Context) ([]Alarm, error)
	// Raise keeps an alarm with what is told of it, and reports false when it is raised already or the feed was heard since it was judged.
	Raise(ctx context.Context, a Alarm, judged Feed, told []Message) (bool, error)
	// Clear ends an alarm with what is told of that, and reports false when it is over already.
	Clear(ctx context.Context, a Alarm, told []Message) (bool, error)
}

// Times of the watch over feeds, in real time.
const (
	heardEvery  = 10 * time.Second // between two records of a feed that is heard all the time
	listenEvery = 15 * time.Second
	listenGap   = 45 * time.Second // of a restart, in which a sender's retry is still heard
	unaskedFor  = 15 * time.Minute // by which replicas go by the same rules again
)

func polling(s sources.Source) (sources.Poll, sources.Polling) {
	p, ok := s.(sources.Poll)
	if !ok {
		return nil, sources.Polling{}
	}
	return p, p.Polling()
}

func watchdog(s sources.Source) *sources.Watchdog {
	if w, ok := s.(sources.Watched); ok {
		return w.Watch()
	}
	return nil
}

// noteFeed adds to the acceptance what it says of its feed. Sources that are neither polled nor watched cost nothing.
func (e *Engine) noteFeed(set *rules.Set, a *Acceptance, pushed bool) {
	source := set.Sources[a.Event.Source]
	_, how := polling(source)
	dog := watchdog(source)
	now := a.Event.ReceivedAt
	if how.Every > 0 {
		a.Sightings = sightings(a.Event, pushed)
	}
	if !pushed || how.Every == 0 && dog == nil {
		return
	}
	beat := dog != nil && dog.In(a.Event.Delivery.Alerts)
	kept, _ := e.heard.Load(a.Event.Source)
	last, known := kept.(time.Time)
	if beat || !known || now.Sub(last) >= e.scale(heardEvery) {
		e.heard.Store(a.Event.Source, now)
		a.Push = &Push{Source: a.Event.Source, At: now, Beat: beat}
	}
}

func sightings(event Event, pushed bool) []Sighting {
	all := make([]Sighting, 0, len(event.Delivery.Alerts))
	for _, a := range event.Delivery.Alerts {
		s := Sighting{Source: event.Source, Sighting: sources.Sighting{Subject: alert.Subject(a.Episode), Began: a.StartsAt}}
		switch {
		case a.Status == alert.Resolved:
			s.Ended = endOf(a, event)
		case pushed:
			s.Pushed = event.ReceivedAt
		default:
			s.Polled = event.ReceivedAt
		}
		all = append(all, s)
	}
	return all
}
