package remediation

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// Expects judges a delivery by what comes before its body, which may be left unread after an error: ErrUnknownSource, or one of
// sources.Source's Authenticate. Nil says nothing yet: Accept judges it whole.
func (e *Engine) Expects(in Inbound) error {
	source, err := e.source(e.Rules.Current(), in.Source)
	if err != nil {
		return err
	}
	early, ok := source.(sources.Early)
	if !ok {
		return nil
	}
	if err := early.AuthenticateEarly(in.Request); err != nil {
		e.Metrics.turnedAway(in.Source, eventUnauthenticated)
		return err
	}
	return nil
}

func (e *Engine) source(set *rules.Set, name string) (sources.Source, error) {
	source, ok := set.Sources[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownSource, name)
	}
	return source, nil
}

// rateKey is what a rate is kept of.
type rateKey struct {
	source string
	large  bool // of its large deliveries alone
}

// rated takes a delivery of an authenticated source from its rates, or gives an ErrTooMany that says which one is used up; one source does not
// use up another's.
func (e *Engine) rated(in rules.Intake, source string, body int, now time.Time) error {
	if !e.within(rateKey{source, false}, in.RateOf(source), now) {
		return fmt.Errorf("%w of source %q: more than its rate", ErrTooMany, source)
	}
	if body > rules.LargeBody && !e.within(rateKey{source, true}, in.LargeRateOf(source), now) {
		return fmt.Errorf("%w of source %q: more than its large_rate", ErrTooMany, source)
	}
	return nil
}

// within takes one from a rate.
func (e *Engine) within(of rateKey, own rules.Rate, now time.Time) bool {
	kept, ok := e.rates.Load(of)
	if !ok {
		kept, _ = e.rates.LoadOrStore(of, rate.NewLimiter(rate.Limit(own.PerSecond), own.Burst))
	}
	limiter, _ := kept.(*rate.Limiter)
	if limiter.Limit() != rate.Limit(own.PerSecond) || limiter.Burst() != own.Burst { // the rules were read again
		limiter.SetLimitAt(now, rate.Limit(own.PerSecond))
		limiter.SetBurstAt(now, own.Burst)
	}
	return limiter.AllowN(now, 1)
}
