package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// PolledType is the type of every delivery that was not sent to us but found by a poll.
const PolledType = "poll"

// Poll is implemented by sources that can be asked what goes on at the sender, so that an episode is found whose delivery never came.
type Poll interface {
	// Polling says how; with an Every of zero the source is not polled.
	Polling() Polling
	// Missed asks the sender and gives what is news beside what is known. An error says that the answer is not whole; what was found by
	// then counts. It changes nothing, ends with ctx, and its errors hold no secret.
	Missed(ctx context.Context, connections connect.Set, q Question) ([]Found, error)
}

// Polling is how a source is polled.
type Polling struct {
	Every    time.Duration // between two polls
	LookBack time.Duration // how long ago an episode may have begun
	Missing  time.Duration // how long an episode waits for its own delivery before people are told that none arrive
}

// Question is what a poll begins with.
type Question struct {
	Now   time.Time
	Known []Sighting // those that have not ended, and those that began within LookBack
}

// Sighting is one episode that is known, however it became known.
type Sighting struct {
	// Subject is alert.Subject of the episode: PagerDuty's incident by its id, any other alert by its fingerprint.
	Subject string
	Began   time.Time // by the sender's clock
	Ended   time.Time // zero while it goes on
	Pushed  time.Time // when a delivery of the sender brought it; zero: none has yet
	Polled  time.Time // when a poll found it; zero: none had to
	Held    time.Time // by the sender's clock: since when a person has it in hand, as far as we know; zero: nobody has
}

// Found is a delivery that a poll makes of what it has read.
type Found struct {
	Delivery Delivery
	Body     []byte // what was read of it, as JSON that is the same each time
}

// knownSubjects files what is known by its subject, the newest episode of each.
func (q Question) knownSubjects() map[string]Sighting {
	known := make(map[string]Sighting, len(q.Known))
	for _, s := range q.Known {
		if old, ok := known[s.Subject]; !ok || s.Began.After(old.Began) {
			known[s.Subject] = s
		}
	}
	return known
}

// open lists the episodes that are known to go on, but for those whose subject is listed: the oldest first.
func (q Question) open(listed map[string]bool) []Sighting {
	var out []Sighting
	for _, s := range q.Known {
		if s.Ended.IsZero() && !listed[s.Subject] {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Sighting) int { return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.Subject, b.Subject)) })
	return out
}

// PollTimes are the parameters of every source's `poll`.
type PollTimes struct {
	// Every is how often the sender is asked. Default: 60s.
	Every time.Duration `yaml:"every"`
	// After is how old an episode has to be: until then its own delivery is on its way.
	After time.Duration `yaml:"after"`
	// LookBack is how old it may be: what is older is left to people. Default: 1h.
	LookBack time.Duration `yaml:"look_back"`
	// Missing is how long an episode that a poll has found waits for its own delivery before people are told that none arrive: longer than
	// Alertmanager's group_interval. Default: 10m.
	Missing time.Duration `yaml:"missing"`
}

// leastEvery keeps a poll from becoming a flood.
const leastEvery = time.Second

func (p PollTimes) polling() Polling {
	return Polling{Every: cmp.Or(p.Every, time.Minute), LookBack: cmp.Or(p.LookBack, time.Hour), Missing: cmp.Or(p.Missing, 10*time.Minute)}
}

// check names the key that is wrong, under `poll`.
func (p PollTimes) check() error {
	var wrong []error
	for _, one := range []struct {
		key   string
		value time.Duration
	}{{"every", p.Every}, {"after", p.After}, {"look_back", p.LookBack}, {"missing", p.Missing}} {
		if one.value < 0 {
			wrong = append(wrong, &ParameterError{Path: []string{"poll", one.key}, Err: errors.New("must not be negative")})
		}
	}
	if p.Every > 0 && p.Every < leastEvery {
		wrong = append(wrong, &ParameterError{Path: []string{"poll", "every"}, Err: fmt.Errorf("must be at least %s", leastEvery)})
	}
	if how := p.polling(); how.LookBack <= p.After {
		wrong = append(wrong, &ParameterError{Path: []string{"poll", "after"}, Err: errors.New("must be shorter than look_back: nothing would ever be taken")})
	}
	return errors.Join(wrong...)
}

// takes reports whether a poll may take an episode that began at a time and is not known.
func (p PollTimes) takes(began, now time.Time, after time.Duration) bool {
	return p.due(began, now, after) && now.Sub(began) <= p.polling().LookBack
}

// due reports whether what happened at a time has had the time to come by its own delivery.
func (p PollTimes) due(at, now time.Time, after time.Duration) bool {
	return now.Sub(at) >= cmp.Or(p.After, after)
}

// ParameterError is what is wrong with one parameter, with its place below the source's entry in the rules file: keys, and places in lists.
type ParameterError struct {
	Path   []string
	Offset int // of the character in a text
	Err    error
}

// Error names the parameter.
func (e *ParameterError) Error() string {
	name := ""
	for _, part := range e.Path {
		if name != "" {
			name += "."
		}
		name += part
	}
	return name + ": " + e.Err.Error()
}

// Unwrap gives the mistake itself.
func (e *ParameterError) Unwrap() error { return e.Err }
