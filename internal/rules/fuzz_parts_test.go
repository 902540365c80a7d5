package rules

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"
	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/executors"
)

// scalarText is a text of a rules file that holds nothing else.
func scalarText(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text, Line: 1, Column: 1}
}

// reported fails unless something is reported, each at a place, exactly where nothing was read.
func reported(t *testing.T, b *builder, read bool) {
	t.Helper()
	var ds Diagnostics
	_ = errors.As(b.err(), &ds)
	if read != (len(ds) == 0) {
		t.Fatalf("read: %t; reported: %v", read, ds)
	}
	if !read {
		checkReport(t, ds)
	}
}

// What a matcher accepts is what Alertmanager's own parser does; the index finds what a scan by plain regular expressions finds.
func FuzzMatchers(f *testing.F) {
	f.Add(`alertname="Down"`, "Down", "", "")
	f.Add(`{a=~"x|y", b!="z"}`, "x", "y", "b")
	f.Add(`a!~"(?i)x.*",b=~""`, "X", "", "z")
	f.Add("{a=~\"\x96\"}", "", "\x9b", "")
	f.Add(`"größe"=~"[", a=`, "", "a", "\xff")
	f.Fuzz(func(t *testing.T, text, alertname, a, b string) {
		build := newBuilder("r", []byte(text), Options{})
		got := build.parseItem(scalarText(text))
		reported(t, build, len(got) > 0)
		theirs, err := parse.Matchers(text)
		if (err == nil && len(theirs) > 0) != (len(got) > 0) {
			t.Fatalf("read %v; Alertmanager reads %v, %v", got, theirs, err)
		}
		set := map[string]string{"alertname": alertname, "a": a, "b": b}
		all := [][]matcher{got, {newMatcher(equal("a", a))}, append([]matcher{newMatcher(equal("b", "x"))}, got...), got}
		var want []int32
		for i, matchers := range all {
			if len(matchers) > 0 && !slices.ContainsFunc(matchers, func(m matcher) bool { return !fits(m.Matcher, set) }) {
				want = append(want, int32(i))
			}
		}
		if found := newIndex(all).match(nil, set); !slices.Equal(found, want) {
			t.Fatalf("the index finds %v, a scan %v", found, want)
		}
	})
}

func equal(name, value string) *labels.Matcher {
	return &labels.Matcher{Type: labels.MatchEqual, Name: name, Value: value}
}

// fits judges a matcher by what is written of it alone.
func fits(m *labels.Matcher, set map[string]string) bool {
	switch value := set[m.Name]; m.Type {
	case labels.MatchEqual:
		return value == m.Value
	case labels.MatchNotEqual:
		return value != m.Value
	default:
		return regexp.MustCompile("^(?:"+m.Value+")$").MatchString(value) == (m.Type == labels.MatchRegexp)
	}
}

// An expression is compiled or reported at a place. It judges within its cost, and what is known without the facts stays so with them.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		`health.sick && deploy.age < duration("30m")`, `health.json[?"a"].b.orValue(true) || deploy.serving == "x"`, `alert.labels.a == "b" ? true : health.ratio > 0.5`,
		`deploy.others.all(a, deploy.others.exists(b, a == b))`, `health.text.matches("(a+)+$")`, `"` + "\u00e9" + `" + 1`, `[1,2].map(x, x/0)`, `health.stauts == 1`,
	} {
		f.Add(text)
	}
	known := languages{}
	var facts []gathered
	for _, fact := range [][2]string{{"health", "fake.get"}, {"deploy", "cloud_run.revisions"}} {
		probe, _ := executors.LookupProbe(fact[1])
		facts = append(facts, gathered{name: fact[0], kind: probe})
	}
	fired := alert.Alert{Status: alert.Firing, Labels: map[string]string{"a": "b"}}
	target := executors.Target{Name: "backend"}
	f.Fuzz(func(t *testing.T, text string) {
		b := newBuilder("r", []byte(text), Options{})
		b.languages = known
		e := b.compile(scalarText(text), text, facts)
		reported(t, b, e != nil)
		if e == nil {
			return
		}
		blind := e.judge(evidence{alert: fired, target: &target})
		for _, seen := range []Facts{{"health": sick, "deploy": young}, {"health": well, "deploy": ageless}} {
			j := e.judge(evidence{alert: fired, target: &target, facts: seen})
			checkJudgement(t, j)
			if blind.Known && (!j.Known || j.Holds != blind.Holds) && !strings.Contains(j.Err, "cost") {
				t.Fatalf("%+v without facts, %+v with them", blind, j)
			}
		}
	})
}

func checkJudgement(t *testing.T, j Judgement) {
	t.Helper()
	if said := j.Known || len(j.Unknown) > 0 || j.Err != ""; !said || j.Known && (len(j.Unknown) > 0 || j.Err != "") || j.Holds && !j.Known {
		t.Fatalf("neither known, unknown nor wrong: %+v", j)
	}
	if strings.ContainsAny(j.Err, "\n\r") || len([]rune(j.Err)) > 301 {
		t.Fatalf("the error is not one line of bounded length: %q", j.Err)
	}
	for _, v := range j.Values {
		if len([]rune(v.Value)) > maxShown {
			t.Fatalf("a value of %d characters is shown", len([]rune(v.Value)))
		}
	}
}

// Nothing but the target's names is filled into a text, each once: what they hold is never read as a template again.
func FuzzFill(f *testing.F) {
	f.Add("{{ .Target.Health }}/x{{.Target.Name}}", "{{ .Target.Name }}", "https://a.example")
	f.Add("a {{ .Target.Control }} {{ .Alert.Labels }}", "api", "{{")
	f.Add("é{{{ .Target.Name }}}\xff{{", "}}", "$1")
	form := regexp.MustCompile(`\{\{\s*\.Target\.(Name|Health|Control)\s*\}\}`)
	f.Fuzz(func(t *testing.T, text, name, health string) {
		target := executors.Target{Name: name, Health: health}
		got, wrong := filler(target)(text)
		if wrong != nil {
			rest := string([]rune(text)[wrong.offset:])
			at := form.FindStringSubmatchIndex(rest)
			known := at != nil && at[0] == 0
			lacking := known && name != "" && (rest[at[2]:at[3]] == "Control" || rest[at[2]:at[3]] == "Health" && health == "")
			if !strings.HasPrefix(rest, "{{") || known && !lacking || wrong.message == "" {
				t.Fatalf("%q is wrong at %d: %s", text, wrong.offset, wrong.message)
			}
			return
		}
		want := form.ReplaceAllStringFunc(text, func(one string) string {
			return map[string]string{"Name": name, "Health": health}[form.FindStringSubmatch(one)[1]]
		})
		if got != want || strings.Contains(form.ReplaceAllLiteralString(text, "\x00"), "{{") {
			t.Fatalf("%q became %q, want %q", text, got, want)
		}
	})
}

// A window begins after the moment that is asked for, or never, and the answer is the same from every moment before it.
func FuzzCron(f *testing.F) {
	f.Add("0 18 * * 5", int64(1_774_600_000), uint32(3600), uint8(0))
	f.Add("30 2 29 3 *", int64(1_774_700_000), uint32(1), uint8(0))
	f.Add("40 1 5 4 *", int64(1_775_300_000), uint32(1800), uint8(2))
	f.Add("*/7 0-3 1,15 * mon-fri", int64(0), uint32(86400), uint8(3))
	f.Add("@every 1h", int64(0), uint32(0), uint8(4))
	var zones []*time.Location
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			f.Fatal(err)
		}
		zones = append(zones, zone)
	}
	const span = 120 * 365 * 24 * 3600 // until 2090: in 2097 a leap day is further away than cron looks
	f.Fuzz(func(t *testing.T, text string, after int64, gap uint32, zone uint8) {
		clock, problem := parseCron(text)
		if (clock == nil) != (problem != "") || strings.Contains(problem, "\n") {
			t.Fatalf("%q: %v, %q", text, clock, problem)
		}
		if clock == nil {
			return
		}
		s := &schedule{clock: clock, zone: zones[int(zone)%len(zones)]}
		from := time.Unix((after%span+span)%span, 0)
		next := s.Next(from)
		if next.IsZero() {
			t.Fatalf("%q never begins after %s", text, from)
		}
		if !next.After(from) {
			t.Fatalf("%q begins at %s, not after %s", text, next, from)
		}
		between := from.Add(next.Sub(from) / 1000 * time.Duration(gap%1000))
		for _, moment := range []time.Time{between, next.Add(-1)} {
			if again := s.Next(moment); !again.Equal(next) {
				t.Fatalf("%q begins at %s asked from %s, and at %s asked from %s", text, next, from, again, moment)
			}
		}
	})
}

// A duration is what it says: never negative where the file takes it, and days count whole.
func FuzzDuration(f *testing.F) {
	f.Add("1d12h", uint16(2), int64(time.Hour))
	f.Add("-5m", uint16(40_000), int64(-1))
	f.Add("1d-0s", uint16(0), int64(24*time.Hour))
	f.Add("106751d", uint16(36_500), int64(0))
	f.Fuzz(func(t *testing.T, text string, days uint16, rest int64) {
		made := fmt.Sprintf("%dd%s", days, time.Duration(rest))
		length, ok := parseDuration(made)
		fits := days <= 36_500 && rest >= 0 && rest < int64(24*time.Hour)
		if want := time.Duration(days)*24*time.Hour + time.Duration(rest); ok != fits || ok && length != want {
			t.Fatalf("%s is %s, %t", made, length, ok)
		}
		b := newBuilder("r", []byte(text), Options{})
		into := time.Duration(-1)
		b.decoder().duration(scalarText(text), reflect.ValueOf(&into).Elem())
		reported(t, b, into >= 0)
		if plain, err := time.ParseDuration(text); err == nil && plain >= 0 && into != plain {
			t.Fatalf("%q is %s", text, into)
		}
		if strings.Contains(text, "d") && into > 36_501*24*time.Hour {
			t.Fatalf("%q is %s", text, into)
		}
	})
}
