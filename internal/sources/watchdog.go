package sources

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/matcher/parse"
	"github.com/prometheus/alertmanager/pkg/labels"

	"github.com/mixillo/remediator/internal/alert"
)

// Watched is implemented by sources whose feed can be watched by an alert that always fires.
type Watched interface {
	// Watch is nil where nothing is watched.
	Watch() *Watchdog
}

// Watchdog is an alert that always fires and is sent again and again: while it comes, alerts can come. It is only listened for among what
// the sender sends by itself.
type Watchdog struct {
	// Match are the matchers of the alert, as in a rule, such as alertname="Watchdog". All have to hold.
	Match []string `yaml:"match"`
	// Every is how far apart two deliveries of it may be: for Alertmanager repeat_interval and group_interval together.
	Every time.Duration `yaml:"every"`
	// Margin is how much longer than Every it may stay away. Default: half of Every, at least a minute.
	Margin time.Duration `yaml:"margin"`

	once     sync.Once
	matchers []*labels.Matcher
	wrong    error
}

// Silence is how long the alert may stay away.
func (w *Watchdog) Silence() time.Duration {
	if w.Margin > 0 {
		return w.Every + w.Margin
	}
	return w.Every + max(w.Every/2, time.Minute)
}

// In reports whether the alert is among those that a delivery tells of, and fires.
func (w *Watchdog) In(alerts []alert.Alert) bool {
	if w.parse() != nil {
		return false
	}
	for _, a := range alerts {
		if a.Status == alert.Firing && w.matches(a.Labels) {
			return true
		}
	}
	return false
}

func (w *Watchdog) matches(set map[string]string) bool {
	for _, m := range w.matchers {
		if !m.Matches(set[m.Name]) {
			return false
		}
	}
	return len(w.matchers) > 0
}

func (w *Watchdog) parse() error {
	w.once.Do(func() {
		var wrong []error
		for i, text := range w.Match {
			parsed, err := parse.Matchers(text)
			if err == nil && len(parsed) == 0 {
				err = errors.New("the matcher is empty")
			}
			if err != nil {
				offset, message := placeIn(err.Error())
				wrong = append(wrong, &ParameterError{Path: []string{"watchdog", "match", strconv.Itoa(i)}, Offset: offset, Err: fmt.Errorf("cannot read the matcher: %s", message)})
			}
			w.matchers = append(w.matchers, parsed...)
		}
		w.wrong = errors.Join(wrong...)
	})
	return w.wrong
}

// placeIn splits the place from the parser's message: "FROM:TO: message", in characters.
func placeIn(message string) (int, string) {
	if parts := strings.SplitN(message, ":", 3); len(parts) == 3 {
		if from, err := strconv.Atoi(parts[0]); err == nil {
			return from, strings.TrimSpace(parts[2])
		}
	}
	return 0, message
}

// check refuses a watchdog that any alert would feed, or that could never be late.
func (w *Watchdog) check() error {
	if w == nil {
		return nil
	}
	wrong := []error{w.parse()}
	if w.wrong == nil && !w.named() {
		wrong = append(wrong, &ParameterError{Path: []string{"watchdog", "match"}, Err: errors.New(`must name the alert that always fires, such as alertname="Watchdog"`)})
	}
	if w.Every <= 0 {
		wrong = append(wrong, &ParameterError{Path: []string{"watchdog", "every"}, Err: errors.New("must say how far apart two deliveries may be, such as 5m")})
	}
	if w.Margin < 0 {
		wrong = append(wrong, &ParameterError{Path: []string{"watchdog", "margin"}, Err: errors.New("must not be negative")})
	}
	return errors.Join(wrong...)
}

// named reports whether one of the matchers asks for something in particular.
func (w *Watchdog) named() bool {
	for _, m := range w.matchers {
		if !m.Matches("") && !m.Matches("unheard-of") {
			return true
		}
	}
	return false
}
