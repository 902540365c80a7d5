package cloudrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "cloud_run.revisions",
		Doc:  "Asks which revision serves and since when, and which earlier one has proved that it may be gone back to.",
		New:  func() executors.Probe { return &revisionsProbe{} },
		Fact: RevisionsFact{},
	})
}

// revisionsProbe looks back on who carried the traffic.
type revisionsProbe struct {
	// Lookback is how far back to look; default 72h.
	Lookback time.Duration `yaml:"lookback"`
	// MinRequests is how many requests a revision must have carried while it served to count as previous; default 20.
	MinRequests int `yaml:"min_requests"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *revisionsProbe) Validate(t executors.Target) error {
	switch {
	case p.Lookback < 0 || p.Lookback > 0 && p.Lookback < time.Hour || p.Lookback > 30*24*time.Hour:
		return errors.New("lookback must be between 1h and 30d")
	case p.MinRequests < 0:
		return errors.New("min_requests must not be negative")
	}
	return needsSection(t)
}

// RevisionsFact is what cloud_run.revisions finds.
type RevisionsFact struct {
	// Service is the short name of the service.
	Service string `cel:"service"`
	// Generation counts the changes of the service.
	Generation int64 `cel:"generation"`
	// Serving is the short name of the revision that carries all traffic, "" if it is split.
	Serving string `cel:"serving"`
	// Split says that several revisions share the traffic.
	Split bool `cel:"split"`
	// ServingSince is when the code that serves began to carry most of the traffic, or was deployed while metrics do not tell yet.
	// A restart is no deploy: its revision has the age of the one it was copied from.
	ServingSince time.Time `cel:"serving_since"`
	// Age is the time since then: the age of the last deploy that serves.
	Age time.Duration `cel:"age"`
	// DeployedBy is who deployed the code that serves, as Cloud Run tells it (a person or a pipeline's account); "" if it does not.
	DeployedBy string `cel:"deployed_by"`
	// Newest is the short name of the newest deploy, serving or not, without copies that remediator made.
	Newest string `cel:"newest"`
	// NewestAge is the time since it was created.
	NewestAge time.Duration `cel:"newest_age"`
	// NewestBy is who deployed it; "" if Cloud Run does not tell.
	NewestBy string `cel:"newest_by"`
	// ServingReady says that the serving revision started.
	ServingReady bool `cel:"serving_ready"`
	// Deploys counts the revisions created in the time looked back on, without copies that remediator made.
	Deploys int64 `cel:"deploys"`
	// Previous is the short name of the revision that may be gone back to, "" if none.
	Previous string `cel:"previous"`
	// PreviousEvidence is the sentence that makes it legal, or why there is none.
	PreviousEvidence string `cel:"previous_evidence"`
	// Pinned says that the traffic names a revision, so that later deploys do not serve.
	Pinned bool `cel:"pinned"`
	// PinnedByUs says that the pin is one that remediator made.
	PinnedByUs bool `cel:"pinned_by_us"`
	// LatestServing says that the newest revision is the one that serves.
	LatestServing bool `cel:"latest_serving"`
	// Reconciling says that a change is under way.
	Reconciling bool `cel:"reconciling"`
}

// ageFields cannot be told when several revisions serve, or when metrics cannot be read.
var ageFields = []string{"age", "serving_since", "previous", "previous_evidence"}

// Ask implements executors.Probe.
func (p *revisionsProbe) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	api, s, err := current(ctx, env)
	if err != nil {
		return executors.Answer{}, err
	}
	revisions, err := api.list(ctx)
	if err != nil {
		return executors.Answer{}, err
	}
	span := cmp.Or(p.Lookback, defaultSpan)
	rec := record{Service: s, Revisions: revisions, Least: int64(cmp.Or(p.MinRequests, defaultRequest))}
	fact := rec.fact(env.Now, span)
	if why, unknown := doubts(s, fact.forget); why != "" {
		return executors.Answer{Fact: &fact, Unknown: unknown, Summary: "who serves " + api.service + " cannot be told: " + why}, nil
	}
	if fact.Serving == "" {
		return executors.Answer{Fact: &fact, Unknown: append([]string{"serving_ready", "deployed_by"}, ageFields...), Summary: "the traffic of " + api.service + " is split: " + describeShares(s)}, nil
	}
	if rec.History, err = api.counts(ctx, env.Now.Add(-span), env.Now, period(env, span, coarse)); err == nil {
		fact.ServingSince, err = api.servingSince(ctx, env, rec, fact.Serving)
	}
	if err != nil {
		if ctx.Err() != nil {
			return executors.Answer{}, err
		}
		return executors.Answer{Fact: &fact, Unknown: ageFields, Summary: fact.Serving + " serves; since when cannot be told: " + sentence(err)}, nil
	}
	fact.Age = max(0, env.Now.Sub(fact.ServingSince))
	fact.Previous, fact.PreviousEvidence = rec.explainPrevious(fact.Serving)
	return executors.Answer{Fact: &fact, Summary: fact.summary()}, nil
}

// fact is what needs no metrics.
func (r record) fact(now time.Time, span time.Duration) RevisionsFact {
	f := RevisionsFact{Service: short(r.Service.GetName()), Generation: r.Service.GetGeneration(), Split: split(r.Service), Reconciling: deploying(r.Service)}
	if serving, ok := soleServing(r.Service); ok && !f.Split {
		f.Serving = serving
	}
	_, f.Pinned = pin(targetsOf(r.Service))
	_, f.PinnedByUs = pinnedByUs(r.Service)
	f.LatestServing = f.Serving != "" && f.Serving == short(r.Service.GetLatestCreatedRevision())
	if rev := r.find(f.Serving); rev != nil {
		f.ServingReady, f.DeployedBy = ready(rev), r.root(rev).GetCreator()
	}
	f.Deploys = r.deploys(now.Add(-span))
	if newest := r.newest(); newest != nil {
		f.Newest, f.NewestBy = short(newest.GetName()), newest.GetCreator()
		f.NewestAge = max(0, now.Sub(newest.GetCreateTime().AsTime()))
	}
	return f
}

// newest is the newest deploy, nil if there is none.
func (r record) newest() (newest *runpb.Revision) {
	for _, rev := range r.Revisions {
		if _, copied := madeByUs(rev); !copied && (newest == nil || rev.GetCreateTime().AsTime().After(newest.GetCreateTime().AsTime())) {
			newest = rev
		}
	}
	return newest
}

// forget takes out what a service that contradicts itself does not tell, and names it.
func (f *RevisionsFact) forget() []string {
	*f = RevisionsFact{
		Service: f.Service, Generation: f.Generation, Deploys: f.Deploys, Reconciling: f.Reconciling,
		Newest: f.Newest, NewestAge: f.NewestAge, NewestBy: f.NewestBy,
	}
	return append([]string{"serving", "deployed_by", "split", "pinned", "pinned_by_us", "latest_serving", "serving_ready"}, ageFields...)
}

// Claims implements executors.Claiming.
func (f *RevisionsFact) Claims() map[string]string { return claims(f.Service, f.Serving, f.Generation) }

func (r record) deploys(since time.Time) (n int64) {
	for _, rev := range r.Revisions {
		if _, copied := madeByUs(rev); !copied && rev.GetCreateTime().AsTime().After(since) {
			n++
		}
	}
	return n
}

func (r record) explainPrevious(serving string) (name, evidence string) {
	best, reasons := r.previous(serving)
	switch {
	case best.Name != "":
		return best.Name, best.Evidence
	case len(reasons) == 0:
		return "", serving + " is the only revision"
	default:
		return "", "no revision may be gone back to: " + strings.Join(reasons, "; ")
	}
}

func (f RevisionsFact) summary() string {
	previous := "no earlier revision may be gone back to"
	if f.Previous != "" {
		previous = f.Previous + " may be gone back to"
	}
	pinned := ""
	if f.Pinned {
		pinned = " (pinned)"
	}
	return fmt.Sprintf("%s%s has served since %s, for %s; %s", f.Serving, pinned, clock(f.ServingSince), f.Age.Round(time.Second), previous)
}
