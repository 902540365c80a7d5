package rules

import (
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// schedule says when windows begin, by the clocks of a time zone. Times of the clocks are kept as if they were UTC, where no hour is
// missing or comes twice: a window whose beginning the clocks skip then begins when they jump, and one that they show twice begins once.
type schedule struct {
	clock cron.Schedule // in times of the clocks
	zone  *time.Location
}

var fiveFields = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// parseCron reads the five fields; problem says what is wrong with them.
func parseCron(text string) (clock cron.Schedule, problem string) {
	if strings.Contains(text, "=") {
		return nil, "the time zone is written as time_zone, not within cron"
	}
	clock, err := fiveFields.Parse(text)
	if err != nil {
		return nil, "cannot read the schedule: " + plainWords(err.Error())
	}
	if clock.Next(time.Unix(0, 0).UTC()).IsZero() {
		return nil, "no such day exists: the freeze would never begin"
	}
	return clock, ""
}

// Next gives the first moment after a time at which a window begins, zero if there is none. It is safe for concurrent use.
func (s *schedule) Next(after time.Time) time.Time {
	begins := s.clock.Next(s.shown(after))
	if begins.IsZero() {
		return begins
	}
	return s.reaches(begins).In(after.Location())
}

// shown is the latest time that the zone's clocks have shown by a moment: after they were set back that is the time of the setting,
// which itself was not shown any more.
func (s *schedule) shown(at time.Time) time.Time {
	at = at.In(s.zone)
	shown := ofClock(at)
	change, _ := at.ZoneBounds()
	if change.IsZero() {
		return shown
	}
	if before := ofClock(change.Add(-time.Second)); before.After(shown) {
		return before
	}
	return shown
}

// reaches is the first moment at which the zone's clocks show a time or a later one.
func (s *schedule) reaches(shown time.Time) time.Time {
	at := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), shown.Second(), 0, s.zone)
	start, end := at.ZoneBounds()
	switch clock := ofClock(at); {
	case clock.After(shown): // skipped: the standard library gives a moment on either side
		return start
	case clock.Before(shown):
		return end
	case start.IsZero():
		return at
	}
	_, was := start.Add(-time.Second).Zone()
	_, is := at.Zone()
	if first := at.Add(time.Duration(is-was) * time.Second); first.Before(start) {
		return first
	}
	return at
}

// ofClock is what the clocks show at a time, as if it were UTC.
func ofClock(at time.Time) time.Time {
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
}
