package alert_test

import (
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/mixillo/remediator/internal/alert"
)

// byPrometheus is the fingerprint that Alertmanager sends for the labels.
func byPrometheus(labels map[string]string) string {
	set := model.LabelSet{}
	for name, value := range labels {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	return set.Fingerprint().String()
}

func TestFingerprintIsThatOfPrometheus(t *testing.T) {
	t.Parallel()
	for name, labels := range map[string]map[string]string{
		"nil":            nil,
		"empty":          {},
		"one":            {"alertname": "Down"},
		"several":        {"alertname": "Down", "service": "api", "severity": "critical"},
		"an empty value": {"alertname": "", "a": "b"},
		"other letters":  {"größe": "ß", "ключ": "значение"},
		"no UTF-8":       {"a": "\xff\xfe"},
	} {
		if got, want := alert.Fingerprint(labels), byPrometheus(labels); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		labels := rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "labels")
		if got, want := alert.Fingerprint(labels), byPrometheus(labels); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}

func TestFingerprintTellsLabelsApart(t *testing.T) {
	t.Parallel()
	if alert.Fingerprint(map[string]string{"ab": "c"}) == alert.Fingerprint(map[string]string{"a": "bc"}) {
		t.Error("a name and its value run together")
	}
}

func TestEpisode(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	one := alert.Episode("f", at)
	if again := alert.Episode("f", at.In(time.FixedZone("east", 3600))); again != one {
		t.Errorf("the same moment in another zone is %s, want %s", again, one)
	}
	for name, other := range map[string]string{"the next firing": alert.Episode("f", at.Add(time.Microsecond)), "another alert": alert.Episode("g", at)} {
		if other == one {
			t.Errorf("%s has the same episode", name)
		}
	}
}

// The value was computed by sha256sum over a real group key.
func TestGroupIncidentKey(t *testing.T) {
	t.Parallel()
	const want = "6b5b3b91d9a8bb003d882d1afddcd8f2d7150c1b60c411107d49c4575a5ce983"
	if got := alert.GroupIncidentKey(`{}:{alertname="HealthCheckFailed"}`); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("alertname", "Down", "service", "api", int64(1_774_600_000_000_000))
	f.Add("", "\xff", "a", "\xffb\xff", int64(-1))
	f.Fuzz(func(t *testing.T, name, value, other, otherValue string, at int64) {
		labels := map[string]string{name: value, other: otherValue}
		got := alert.Fingerprint(labels)
		if want := byPrometheus(labels); got != want {
			t.Fatalf("%v: %s, want %s", labels, got, want)
		}
		one := alert.Episode(got, time.UnixMicro(at))
		if again := alert.Episode(got, time.UnixMicro(at).UTC()); again != one || alert.Episode(got, time.UnixMicro(at+1)) == one {
			t.Fatalf("episode %s: of the same moment %s, of the next one the same", one, again)
		}
	})
}
