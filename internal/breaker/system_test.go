package breaker_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mixillo/remediator/internal/breaker"
)

var (
	errDown   = errors.New("down")
	errAnswer = errors.New("a clear no")
)

func newSystem(changed func(name, state string)) *breaker.System {
	return breaker.NewSystem(breaker.SystemConfig{
		Name: "cloud_run", Failures: 3, Pause: 30 * time.Second,
		Counts: func(err error) bool { return errors.Is(err, errDown) }, Changed: changed,
	})
}

func fail(t *testing.T, s *breaker.System, n int, err error) {
	t.Helper()
	for range n {
		if got := s.Do(func() error { return err }); !errors.Is(got, err) {
			t.Fatalf("the call's error came back as %v", got)
		}
	}
}

// called reports whether the breaker lets a call through.
func called(s *breaker.System, answer error) (through bool, err error) {
	err = s.Do(func() error { through = true; return answer })
	return through, err
}

func TestSystemOpensAndHalfOpens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var states []string
		s := newSystem(func(name, state string) { states = append(states, name+" "+state) })
		fail(t, s, 3, errDown)
		if through, err := called(s, nil); through || !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("open: called %t, %v", through, err)
		}
		time.Sleep(31 * time.Second)
		if through, _ := called(s, errDown); !through {
			t.Error("no probe was let through")
		}
		if through, err := called(s, nil); through || !errors.Is(err, breaker.ErrOpen) {
			t.Errorf("the probe failed: called %t, %v", through, err)
		}
		time.Sleep(31 * time.Second)
		if through, err := called(s, nil); !through || err != nil {
			t.Errorf("the second probe: called %t, %v", through, err)
		}
		fail(t, s, 2, errDown) // closed again: two are not enough
		if through, _ := called(s, nil); !through {
			t.Error("two failures opened it")
		}
		want := []string{"cloud_run open", "cloud_run half-open", "cloud_run open", "cloud_run half-open", "cloud_run closed"}
		if !slices.Equal(states, want) {
			t.Errorf("told %q, want %q", states, want)
		}
	})
}

func TestSystemCountsOnlyWhatSpeaksOfTheSystem(t *testing.T) {
	t.Parallel()
	s := newSystem(nil)
	fail(t, s, 20, errAnswer)
	fail(t, s, 2, errDown)
	fail(t, s, 1, errAnswer) // an answer: it is well again
	fail(t, s, 2, errDown)
	if through, err := called(s, nil); !through || err != nil {
		t.Errorf("called %t, %v", through, err)
	}
}

func TestSystemCountsEverythingUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	s := breaker.NewSystem(breaker.SystemConfig{Name: "x", Failures: 1, Pause: time.Minute})
	fail(t, s, 1, errAnswer)
	if through, _ := called(s, nil); through {
		t.Error("it did not open")
	}
}

// While the one probe is under way, others are turned away.
func TestSystemLetsOneProbeThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(nil)
		fail(t, s, 3, errDown)
		time.Sleep(31 * time.Second)
		err := s.Do(func() error {
			if through, err := called(s, nil); through || !errors.Is(err, breaker.ErrOpen) {
				t.Errorf("a second call beside the probe: %t, %v", through, err)
			}
			return nil
		})
		if err != nil {
			t.Errorf("the probe: %v", err)
		}
	})
}
