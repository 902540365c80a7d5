package cloudrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "cloud_run.error_ratio",
		Doc:  "Compares how often the revision that serves fails with how often the one before it did, which tells whether the deploy is to blame.",
		New:  func() executors.Probe { return &errorRatioProbe{} },
		Fact: ErrorRatioFact{},
		Lag:  metricLag,
	})
}

// errorRatioProbe judges what serves as cloud_run.rollback does.
type errorRatioProbe struct {
	// Lookback is how far back to look for the one before; default 72h.
	Lookback time.Duration `yaml:"lookback"`
	// MinRequests is how many requests a ratio must rest on to be known; default 20.
	MinRequests int `yaml:"min_requests"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *errorRatioProbe) Validate(t executors.Target) error {
	return (&revisionsProbe{Lookback: p.Lookback, MinRequests: p.MinRequests}).Validate(t)
}

// ErrorRatioFact is what cloud_run.error_ratio finds. Errors are answers of 500 and above; ratios are from 0 to 1.
type ErrorRatioFact struct {
	// Service is the short name of the service.
	Service string `cel:"service"`
	// Generation counts the changes of the service.
	Generation int64 `cel:"generation"`
	// New is the short name of the revision that serves; unknown if the traffic is split.
	New string `cel:"new"`
	// Old is the short name of the revision that carried the service last before that code did; unknown if nothing is known to have.
	Old string `cel:"old"`
	// Since is when the new one took over.
	Since time.Time `cel:"since"`
	// NewRatio is the new one's error ratio since then, its copies included. Unknown with too few requests.
	NewRatio float64 `cel:"new_ratio"`
	// NewRequests is how many requests that rests on.
	NewRequests int64 `cel:"new_requests"`
	// OldRatio is the old one's error ratio while it carried the service. Unknown with too few requests.
	OldRatio float64 `cel:"old_ratio"`
	// OldRequests is how many requests that rests on.
	OldRequests int64 `cel:"old_requests"`
	// BeforeRatio is the old one's error ratio in the half hour before the new one took over. Unknown with too few requests.
	BeforeRatio float64 `cel:"before_ratio"`
	// BeforeRequests is how many requests that rests on.
	BeforeRequests int64 `cel:"before_requests"`
	// Worse says that the new one fails clearly more often than the old one ever did: while it served, shortly before the takeover and beside
	// the new one. It is what cloud_run.rollback with cause errors asks for. Unknown with too few requests of either.
	Worse bool `cel:"worse"`
	// Newest is the end of the newest minute that has data.
	Newest time.Time `cel:"newest"`
	// Age is how old that is.
	Age time.Duration `cel:"age"`
}

// Claims implements executors.Claiming.
func (f *ErrorRatioFact) Claims() map[string]string { return claims(f.Service, f.New, f.Generation) }

var (
	ratioFields = []string{"new_ratio", "old_ratio", "before_ratio", "worse"}
	dataFields  = []string{"newest", "age"}
)

// unknownRatios is the answer where nothing but the service is known.
func unknownRatios(f ErrorRatioFact, why string, fields ...string) executors.Answer {
	fields = append(append(fields, ratioFields...), dataFields...)
	return executors.Answer{Fact: &f, Unknown: fields, Summary: "whether the deploy made " + f.Service + " worse cannot be told: " + why}
}

// Ask implements executors.Probe.
func (p *errorRatioProbe) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	api, s, err := current(ctx, env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact := ErrorRatioFact{Service: api.service, Generation: s.GetGeneration()}
	if why, _ := doubts(s, func() []string { return nil }); why != "" {
		return unknownRatios(fact, why, "new", "old", "since"), nil
	}
	serving, sole := soleServing(s)
	if !sole || split(s) {
		return unknownRatios(fact, "the traffic is split: "+describeShares(s), "new", "old", "since"), nil
	}
	fact.New = serving
	rec := record{Service: s, Least: int64(cmp.Or(p.MinRequests, defaultRequest))}
	if rec.Revisions, err = api.list(ctx); err != nil {
		return executors.Answer{}, err
	}
	span := cmp.Or(p.Lookback, defaultSpan)
	if rec.History, err = api.counts(ctx, env.Now.Add(-span), env.Now, period(env, span, coarse)); err != nil {
		return executors.Answer{}, err
	}
	if fact.Since, err = api.servingSince(ctx, env, rec, serving); err != nil {
		return executors.Answer{}, err
	}
	if fact.Old = rec.predecessor(serving); fact.Old == "" {
		return unknownRatios(fact, "nothing is known to have carried it before "+serving, "old"), nil
	}
	t, detail, err := api.trial(ctx, env, rec, serving, fact.Old, fact.Since)
	if err != nil {
		return executors.Answer{}, err
	}
	return t.answer(env, fact, detail.end()), nil
}

// end is the end of the newest period that has requests; zero if none has.
func (h history) end() time.Time {
	if len(h.Buckets) == 0 {
		return time.Time{}
	}
	return h.Buckets[len(h.Buckets)-1].End
}

// answer tells the ratios that rest on enough and, if both do and the data is not of another time, which revision is worse.
func (t trial) answer(env executors.Env, fact ErrorRatioFact, newest time.Time) executors.Answer {
	answer := executors.Answer{Fact: &fact}
	tell := func(field string, n count, ratio *float64, requests *int64) {
		*requests = n.Requests
		if n.Requests < t.Least {
			answer.Unknown = append(answer.Unknown, field)
			return
		}
		*ratio = n.errorRatio()
	}
	tell("new_ratio", t.Now, &fact.NewRatio, &fact.NewRequests)
	tell("old_ratio", t.While, &fact.OldRatio, &fact.OldRequests)
	tell("before_ratio", t.Lately, &fact.BeforeRatio, &fact.BeforeRequests)
	fact.Newest = newest
	if newest.IsZero() {
		return unknownRatios(fact, "no request since half an hour before "+t.New+" took over is in the metrics yet")
	}
	fact.Age = max(0, env.Now.Sub(newest))
	if why := t.unsure(env, fact.Age); why != "" {
		answer.Unknown = append(answer.Unknown, "worse")
		answer.Summary = "whether the deploy made " + fact.Service + " worse cannot be told: " + why
		return answer
	}
	evidence, err := t.judge()
	fact.Worse, answer.Summary = err == nil, evidence
	var no *guard.Refusal
	if errors.As(err, &no) {
		answer.Summary = no.Detail
	}
	return answer
}

// silent is how long a service may have had no request, beside the metrics' lag, before its ratios are of another time.
const silent = 5 * time.Minute

// unsure says why the two cannot be compared, "" if they can.
func (t trial) unsure(env executors.Env, age time.Duration) string {
	if no := t.thin(); no != nil {
		return no.Detail
	}
	if age > env.Scale(metricLag+silent) {
		return fmt.Sprintf("the newest request in the metrics is %s old", strings.TrimSuffix(age.Round(time.Minute).String(), "0s"))
	}
	return ""
}
