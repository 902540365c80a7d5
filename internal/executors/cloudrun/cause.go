package cloudrun

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// Cause is the evidence that a deploy is to blame.
type Cause string

// The causes. Health: the service is dead, as a health check of this visit found. Errors: what serves fails more of its requests than what
// served before.
const (
	Health Cause = "health"
	Errors Cause = "errors"
)

// Values lists what may be written in a rules file.
func (Cause) Values() []string { return []string{string(Health), string(Errors)} }

const (
	defaultWithin = 30 * time.Minute
	onsetSlack    = 2 * time.Minute  // an alert may begin to fire before the deploy's first minute is in the metrics
	failedTries   = 3                // of a health check, to call the service dead
	lately        = 30 * time.Minute // before the takeover: how the former revision did then, even if few asked
	justBefore    = 5 * time.Minute  // before the takeover: how it did at last
	metricLag     = 3 * time.Minute  // until request counts can be seen
)

// recent refuses unless a deploy explains the alert: what serves began to serve before the onset, and not long before.
func recent(env executors.Env, serving string, since time.Time, within time.Duration) error {
	onset := env.Onset
	if onset.IsZero() {
		onset = env.Now
	}
	if since.After(onset.Add(env.Scale(onsetSlack))) {
		return guard.Refuse(guard.NoCause, "%s began to serve at %s, after the alert began at %s", serving, clock(since), clock(onset))
	}
	if age := onset.Sub(since); age > within {
		return guard.Refuse(guard.NoCause, "the deploy is too old to be the cause: %s had served for %s, more than %s", serving,
			age.Round(time.Minute), within)
	}
	return nil
}

// dead gives the sentence by which a health check of this visit proves that the service is dead: it failed three times while the control
// address answered. A revision that cannot start shows no 5xx, so that metrics cannot say it. Who gives no facts at all is trusted to have
// looked: a person.
func dead(env executors.Env) (string, error) {
	if env.Facts == nil {
		return "", nil
	}
	var lame, unsure []string
	for _, name := range slices.Sorted(maps.Keys(env.Facts)) {
		fact, ok := env.Facts[name].(executors.HealthFact)
		if !ok {
			continue
		}
		h := fact.HealthCheck()
		switch {
		case !sameHost(h.Address, env.Target.Health):
			lame = append(lame, name+" asked another host")
		case !h.Sick || h.Failed < failedTries:
			lame = append(lame, fmt.Sprintf("%s failed %d time(s)", name, h.Failed))
		case h.OurFault:
			unsure = append(unsure, name+" failed on our side of the network")
		case env.Target.Control != "" && !h.Control:
			unsure = append(unsure, name+" failed, and the control address did not answer either")
		default:
			return fmt.Sprintf("%s failed %d times in a row just now", h.Address, h.Failed), nil
		}
	}
	if len(unsure) > 0 {
		return "", guard.Refuse(guard.UnknownFacts, "whether the service is dead cannot be told: %s", strings.Join(unsure, "; "))
	}
	return "", guard.Refuse(guard.NoCause, "no health check of the service failed %d times just now (%s)", failedTries,
		cmp.Or(strings.Join(lame, "; "), "the rule asks none"))
}

// sameHost keeps another system's health check from speaking for this service. Where the target declares no address, the rule's word counts.
func sameHost(asked, declared string) bool {
	if declared == "" {
		return true
	}
	a, errA := url.Parse(asked)
	b, errB := url.Parse(declared)
	return errA == nil && errB == nil && a.Host != "" && strings.EqualFold(a.Host, b.Host)
}

// trial compares what serves with the revision to go back to.
type trial struct {
	New, Old string
	Since    time.Time
	Least    int64 // requests on which a ratio must rest
	Lagging  bool  // the takeover is so young that metrics need not show it yet
	Now      count // of what serves, since it took over
	While    count // of the former one, while it carried the service
	Lately   count // of the former one, in the half hour before the takeover
	Before   count // of the former one, just before the takeover
	Beside   count // of the former one, since the takeover
}

// thin says which of the two is seen with too few requests, nil if both are with enough.
func (t trial) thin() *guard.Refusal {
	if t.Now.Requests < t.Least {
		reason := guard.NoCause
		if t.Lagging {
			reason = guard.UnknownFacts
		}
		return guard.Refuse(reason, "%s is seen with only %d requests since %s, %d are needed", t.New, t.Now.Requests, clock(t.Since), t.Least)
	}
	if t.While.Requests < t.Least {
		return guard.Refuse(guard.NoCause, "%s is seen with only %d requests while it served, %d are needed", t.Old, t.While.Requests, t.Least)
	}
	return nil
}

// judge refuses unless what serves is clearly worse than the former revision was, and is now.
func (t trial) judge() (evidence string, err error) {
	if no := t.thin(); no != nil {
		return "", no
	}
	for _, then := range []struct {
		count
		when string
	}{{t.Beside, "since then too"}, {t.Before, "just before it"}, {t.Lately, "in the half hour before it"}, {t.While, "while it served"}} {
		if then.Requests >= t.Least && !clearlyWorse(t.Now, then.count) {
			return "", guard.Refuse(guard.NoCause, "%s fails %s %% of %s requests since %s, which is not clearly more than the %s %% of %s that %s had %s",
				t.New, percent(t.Now.errorRatio()), thousands(t.Now.Requests), clock(t.Since), percent(then.errorRatio()),
				thousands(then.Requests), t.Old, then.when)
		}
	}
	return fmt.Sprintf("%s fails %s %% of %s requests since %s; %s failed %s %% of %s", t.New, percent(t.Now.errorRatio()),
		thousands(t.Now.Requests), clock(t.Since), t.Old, percent(t.While.errorRatio()), thousands(t.While.Requests)), nil
}

// What clearly worse is. Twice as many errors is what a release must answer for; below a percentage point more, the alert is about noise
// that a rollback does not end (an error budget of 99 % has room for it). Both must hold for the lower end of the 95 % interval and not
// for the ratio itself: of twenty requests one failed one is 5 %, and proves nothing.
const (
	timesWorse  = 2.0
	pointsWorse = 0.01
	confidence  = 1.96
)

func clearlyWorse(now, then count) bool {
	ratio := then.errorRatio()
	return now.leastRatio() >= max(ratio*timesWorse, ratio+pointsWorse)
}

// leastRatio is the lower end of Wilson's interval: the error ratio that the requests prove.
func (c count) leastRatio() float64 {
	if c.Requests == 0 {
		return 0
	}
	n, p, z := float64(c.Requests), c.errorRatio(), confidence
	return max(0, (p+z*z/(2*n)-z*math.Sqrt(p*(1-p)/n+z*z/(4*n*n)))/(1+z*z/n))
}

// worse reads the requests around the takeover and judges them.
func (c *client) worse(ctx context.Context, env executors.Env, rec record, bad, good string, since time.Time) (string, error) {
	t, _, err := c.trial(ctx, env, rec, bad, good, since)
	if err != nil {
		return "", err
	}
	return t.judge()
}

// trial reads the requests around the takeover. The history is by the minute, and begins half an hour before.
func (c *client) trial(ctx context.Context, env executors.Env, rec record, bad, good string, since time.Time) (trial, history, error) {
	from := since.Add(-env.Scale(lately))
	detail, err := c.counts(ctx, from, env.Now, period(env, env.Now.Sub(from), fine))
	if err != nil {
		return trial{}, history{}, err
	}
	t := trial{New: bad, Old: good, Since: since, Least: rec.Least, While: rec.carried(good).count}
	t.Lagging = env.Now.Sub(since) < env.Scale(metricLag+fine)
	t.sum(rec, detail, since.Add(-env.Scale(justBefore)))
	return t, detail, nil
}

// sum adds the requests up by who served them and when. Copies made here count as what they were copied from.
func (t *trial) sum(rec record, detail history, justBefore time.Time) {
	root := rec.root(rec.find(t.New))
	for _, b := range detail.Buckets {
		for name, n := range b.Revisions {
			rev := rec.find(name)
			switch {
			case rev != nil && rec.root(rev) == root:
				if b.End.After(t.Since) {
					t.Now.add(n)
				}
			case name != t.Old:
			case !b.Start.Before(t.Since):
				t.Beside.add(n)
			default: // the bucket of the takeover itself is the former one's still
				t.Lately.add(n)
				if b.End.After(justBefore) {
					t.Before.add(n)
				}
			}
		}
	}
}
