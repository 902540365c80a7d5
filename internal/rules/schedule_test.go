package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the machine that runs the tests may know no zones

	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/guard"
)

// window loads a file with one freeze of a schedule.
func window(t failing, cron, length, zone string) guard.Freeze {
	t.Helper()
	text := fmt.Sprintf("version: 1\ntargets: {a: {}}\nfreezes: [{name: f, reason: r, cron: %q, for: %s, time_zone: %s}]\nrules: [{name: r, match: [a=b], target: a}]\n", cron, length, zone)
	set, err := Load("r", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules[0].Limits.Freezes[0]
}

func at(t failing, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

// Windows begin by the clocks of their zone and last real time, whatever the clocks do meanwhile.
func TestWindowsOverClockChanges(t *testing.T) {
	t.Parallel()
	const berlin, newYork, lordHowe = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
	for _, c := range []struct {
		name, cron, length, zone string
		from, until              string // in force from, until before
	}{
		{"a weekend", "0 18 * * 5", "62h", berlin, "2026-06-05T18:00:00+02:00", "2026-06-08T08:00:00+02:00"},
		{"over the jump: an hour later by the clock", "0 18 * * 5", "62h", berlin, "2026-03-27T18:00:00+01:00", "2026-03-30T09:00:00+02:00"},
		{"over the setting back: an hour earlier", "0 18 * * 5", "62h", berlin, "2026-10-23T18:00:00+02:00", "2026-10-26T07:00:00+01:00"},
		{"begins in the skipped hour: when the clocks jump", "30 2 29 3 *", "1h", berlin, "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"},
		{"begins when the skipped hour does", "0 2 29 3 *", "30m", berlin, "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"},
		{"begins just behind it", "0 3 29 3 *", "30m", berlin, "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"},
		{"begins in the repeated hour: the first time", "30 2 25 10 *", "20m", berlin, "2026-10-25T02:30:00+02:00", "2026-10-25T02:50:00+02:00"},
		{"lasts from the repeated hour on", "30 2 25 10 *", "3h", berlin, "2026-10-25T02:30:00+02:00", "2026-10-25T04:30:00+01:00"},
		{"begins when the repeated hour ends", "0 3 25 10 *", "1h", berlin, "2026-10-25T03:00:00+01:00", "2026-10-25T04:00:00+01:00"},
		{"across the ocean, skipped", "15 2 8 3 *", "1h", newYork, "2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"},
		{"across the ocean, repeated", "15 1 1 11 *", "10m", newYork, "2026-11-01T01:15:00-04:00", "2026-11-01T01:25:00-04:00"},
		{"half an hour skipped", "10 2 4 10 *", "1h", lordHowe, "2026-10-04T02:30:00+11:00", "2026-10-04T03:30:00+11:00"},
		{"half an hour repeated", "40 1 5 4 *", "5m", lordHowe, "2026-04-05T01:40:00+11:00", "2026-04-05T01:45:00+11:00"},
		{"midnight skipped", "0 0 24 4 *", "1h", "Africa/Cairo", "2026-04-24T01:00:00+03:00", "2026-04-24T02:00:00+03:00"},
		{"no zone", "30 2 29 3 *", "1h", "UTC", "2026-03-29T02:30:00Z", "2026-03-29T03:30:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := window(t, c.cron, c.length, c.zone)
			from, until := at(t, c.from), at(t, c.until)
			for moment, want := range map[time.Time]bool{
				from.Add(-time.Minute): false, from.Add(-1): false, from: true, from.Add(1): true,
				until.Add(-1): true, until: false, until.Add(time.Hour): false,
			} {
				if got := f.Holds("a", moment); got != want {
					t.Errorf("at %s it holds: %t", moment.Format(time.RFC3339Nano), got)
				}
			}
		})
	}
}

// plan is a schedule as lists: of minutes, hours and days of the week; empty: all.
type plan struct{ minutes, hours, weekdays []int }

func (p plan) cron() string {
	field := func(values []int) string {
		if len(values) == 0 {
			return "*"
		}
		return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(values)), ","), "[]")
	}
	return field(p.minutes) + " " + field(p.hours) + " * * " + field(p.weekdays)
}

// shows reports whether clocks that show this minute begin a window.
func (p plan) shows(minute time.Time) bool {
	in := func(values []int, v int) bool { return len(values) == 0 || slices.Contains(values, v) }
	return in(p.minutes, minute.Minute()) && in(p.hours, minute.Hour()) && in(p.weekdays, int(minute.Weekday()))
}

// walk goes through real time minute by minute with a clock on the wall, and tells of each whether a window is in force.
func (p plan) walk(zone *time.Location, from time.Time, minutes int, length time.Duration, tell func(time.Time, bool)) {
	wall := func(moment time.Time) time.Time { // the picture of the clock, as a time without a zone
		moment = moment.In(zone)
		_, offset := moment.Zone()
		return moment.UTC().Add(time.Duration(offset) * time.Second)
	}
	highest, left := wall(from.Add(-time.Minute)), 0
	for i := range minutes {
		now := from.Add(time.Duration(i) * time.Minute)
		left--
		for highest.Before(wall(now)) { // what the clock shows for the first time, or has jumped over
			if highest = highest.Add(time.Minute); p.shows(highest) {
				left = int(length / time.Minute)
			}
		}
		tell(now, left > 0)
	}
}

// failing is what *testing.T and *rapid.T have in common here.
type failing interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func comparePlan(t failing, p plan, zone string, from time.Time, minutes int, length time.Duration) {
	t.Helper()
	f := window(t, p.cron(), length.String(), zone)
	place, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	warm := int(length / time.Minute) // before that the walker does not know of windows that began earlier
	p.walk(place, from, minutes, length, func(now time.Time, want bool) {
		if warm--; warm >= 0 {
			return
		}
		if got := f.Holds("a", now); got != want {
			t.Fatalf("%q for %s in %s at %s: holds %t, and minute by minute %t", p.cron(), length, zone, now.In(place).Format(time.RFC3339), got, want)
		}
	})
}

// Every minute of a year, in zones that change their clocks in every way there is.
func TestScheduleIsAClockOnTheWall(t *testing.T) {
	t.Parallel()
	for zone, p := range map[string]plan{
		"Europe/Berlin":       {minutes: []int{30}, hours: []int{2, 18}, weekdays: []int{0, 5}},
		"Australia/Lord_Howe": {minutes: []int{10, 40}, hours: []int{1, 2, 23}},
		"Africa/Cairo":        {minutes: []int{0}, hours: []int{0}},
	} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			comparePlan(t, p, zone, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 365*24*60, 50*time.Minute)
		})
	}
}

// Any schedule around any clock change.
func TestSchedulesAroundClockChanges(t *testing.T) {
	t.Parallel()
	values := func(least, most int) *rapid.Generator[[]int] {
		return rapid.SliceOfN(rapid.IntRange(least, most), 0, 3)
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := plan{minutes: values(0, 59).Draw(rt, "minutes"), hours: values(0, 4).Draw(rt, "hours"), weekdays: values(0, 6).Draw(rt, "weekdays")}
		zone := rapid.SampledFrom([]string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Santiago", "Pacific/Apia"}).Draw(rt, "zone")
		place, err := time.LoadLocation(zone)
		if err != nil {
			rt.Fatal(err)
		}
		_, change := time.Date(rapid.IntRange(2005, 2035).Draw(rt, "year"), time.Month(rapid.IntRange(1, 12).Draw(rt, "month")), 1, 0, 0, 0, 0, place).ZoneBounds()
		if change.IsZero() {
			rt.Skip("its clocks are not changed any more")
		}
		length := time.Duration(rapid.IntRange(1, 600).Draw(rt, "length")) * time.Minute
		from := change.Add(-length - 5*time.Hour)
		comparePlan(rt, p, zone, from, int((length+29*time.Hour)/time.Minute), length)
	})
}
