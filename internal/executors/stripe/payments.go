package stripe

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	paymentWindow   = 15 * time.Minute
	defaultPayments = 10
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "stripe.payments",
		Doc:  "Asks Stripe how many payments of a window succeeded and failed, and for which reason most of them failed.",
		New:  func() executors.Probe { return &payments{} },
		Fact: PaymentsFact{},
	})
}

// Counted names what counts as a payment.
type Counted string

// PaymentIntents counts each payment once, by how it stands now. Charges counts each attempt.
const (
	PaymentIntents Counted = "payment_intents"
	Charges        Counted = "charges"
)

// Values lists what may be written in a rules file.
func (Counted) Values() []string { return []string{string(PaymentIntents), string(Charges)} }

// payments asks about the account's payments.
type payments struct {
	// Of is what counts: payment_intents, the default, each payment once by how it stands now; or charges, each attempt.
	Of Counted `yaml:"of"`
	// Window is how far back payments were begun; default 15m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// MinPayments is how many must have succeeded or failed for the ratio to be known; default 10.
	MinPayments int `yaml:"min_payments"`
}

// PaymentsFact is what stripe.payments finds. Amounts are not read.
type PaymentsFact struct {
	// Payments is how many payments of the window have succeeded or failed, among the newest 1000 that were begun.
	Payments int64 `cel:"payments"`
	// Failed is how many of them failed.
	Failed int64 `cel:"failed"`
	// Open is how many are neither: not paid yet, under way, or given up without an attempt.
	Open int64 `cel:"open"`
	// FailureRatio is Failed by Payments, from 0 to 1; unknown when there are fewer than min_payments.
	FailureRatio float64 `cel:"failure_ratio"`
	// CommonestCode is Stripe's code of most failures, such as card_declined; "" when none failed.
	CommonestCode string `cel:"commonest_code"`
	// CommonestCount is how many failures have that code.
	CommonestCount int64 `cel:"commonest_count"`
	// ByCode counts the failures by their codes.
	ByCode map[string]any `cel:"by_code"`
	// Newest is when the newest payment of the window was begun; unknown when there is none.
	Newest time.Time `cel:"newest"`
	// NewestAge is the time since then.
	NewestAge time.Duration `cel:"newest_age"`
	// Since is when the oldest payment was begun that could count: where the window begins, or later when there are more than 1000.
	Since time.Time `cel:"since"`
}

// payment is what is read of a payment intent or a charge: no amount, no customer, no sentence meant for them.
type payment struct {
	object
	Status string `json:"status"`
	// LastError is a payment intent's; Failure a charge's.
	LastError *struct {
		Code string `json:"code"`
		Type string `json:"type"`
	} `json:"last_payment_error"`
	Failure string `json:"failure_code"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *payments) Validate(executors.Target) error {
	switch {
	case p.Of != "" && p.Of != PaymentIntents && p.Of != Charges:
		return errors.New("of must be payment_intents or charges")
	case p.MinPayments < 0 || p.MinPayments > most:
		return fmt.Errorf("min_payments must be between 1 and %d", most)
	}
	return checkWindow(p.Window)
}

// LookBack is how far the payments reach into the past, in real time: rules wait so long after an act.
func (p *payments) LookBack() time.Duration {
	if p.Window == 0 {
		return paymentWindow
	}
	return p.Window
}

// Ask implements executors.Probe.
func (p *payments) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	api, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact := &PaymentsFact{ByCode: map[string]any{}, Since: begins(env, p.Window, paymentWindow)}
	all, whole, err := p.list(ctx, api, fact.Since)
	if err != nil {
		return executors.Answer{}, err
	}
	if !whole {
		fact.Since = all[len(all)-1].made()
	}
	fact.count(all)
	var unknown []string
	if least := int64(p.least()); fact.Payments < least {
		unknown = append(unknown, "failure_ratio")
	} else {
		fact.FailureRatio = float64(fact.Failed) / float64(fact.Payments)
	}
	if len(all) == 0 {
		unknown = append(unknown, "newest", "newest_age")
	} else {
		fact.Newest = all[0].made()
		fact.NewestAge = max(0, env.Now.Sub(fact.Newest))
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(env.Now, p.least())}, nil
}

func (p *payments) least() int {
	if p.MinPayments == 0 {
		return defaultPayments
	}
	return p.MinPayments
}

func (p *payments) list(ctx context.Context, api *connect.Stripe, from time.Time) ([]payment, bool, error) {
	what := PaymentIntents
	if p.Of != "" {
		what = p.Of
	}
	all, whole, err := list[payment](ctx, api, string(what), within(from), maxPages)
	for _, one := range all {
		if one.Status == "" {
			return nil, false, fmt.Errorf("stripe: listing %s: one does not say how it stands", what)
		}
	}
	return all, whole, err
}

// end is how a payment has ended.
type end int

const (
	unfinished end = iota
	succeeded
	failed
)

// ended judges by the statuses of payment intents and of charges (docs.stripe.com/api/payment_intents/object, …/charges/object). An intent
// that waits for another payment method has failed if there was an error, and has only been begun if there was none.
func (p payment) ended() end {
	switch p.Status {
	case "succeeded", "requires_capture":
		return succeeded
	case "failed":
		return failed
	case "requires_payment_method", "canceled":
		if p.LastError != nil {
			return failed
		}
	}
	return unfinished
}

var errorCode = regexp.MustCompile(`^[a-z0-9_]{1,60}$`)

// code is Stripe's word for the failure: what is none is told as other.
func (p payment) code() string {
	code := p.Failure
	if p.LastError != nil {
		if code = p.LastError.Code; code == "" {
			code = p.LastError.Type
		}
	}
	if !errorCode.MatchString(code) {
		return "other"
	}
	return code
}

// mostCodes bounds how many codes are told apart; the others are counted together.
const mostCodes = 20

func tally(codes map[string]int64, code string) {
	if _, known := codes[code]; !known && len(codes) >= mostCodes {
		code = "other"
	}
	codes[code]++
}

func (f *PaymentsFact) count(all []payment) {
	codes := map[string]int64{}
	for _, one := range all {
		switch one.ended() {
		case succeeded:
			f.Payments++
		case failed:
			f.Payments++
			f.Failed++
			tally(codes, one.code())
		default:
			f.Open++
		}
	}
	f.CommonestCode, f.CommonestCount = commonest(codes)
	for code, n := range codes {
		f.ByCode[code] = n
	}
}

func (f *PaymentsFact) summary(now time.Time, least int) string {
	window := now.Sub(f.Since).Round(time.Second)
	if f.Payments == 0 {
		return fmt.Sprintf("Stripe: no payment begun in the last %s has succeeded or failed", window)
	}
	text := fmt.Sprintf("Stripe: %d of %d payments begun in the last %s failed", f.Failed, f.Payments, window)
	if f.Payments >= int64(least) {
		text += fmt.Sprintf(" (%.1f%%)", 100*f.FailureRatio)
	} else {
		text += fmt.Sprintf(", of which there must be %d for a ratio", least)
	}
	if f.Failed > 0 {
		text += fmt.Sprintf(", most with %s (%d)", f.CommonestCode, f.CommonestCount)
	}
	return text
}
