package cloudrun

import (
	"context"
	"fmt"
	"strconv"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "cloud_run.service",
		Doc:  "Asks how a Cloud Run service is set: who serves, whether it is settled and ready, its bounds, and who changed it last.",
		New:  func() executors.Probe { return &serviceProbe{} },
		Fact: ServiceFact{},
	})
}

// serviceProbe has no parameters.
type serviceProbe struct{}

// Validate tells in plain words what is missing.
func (p *serviceProbe) Validate(t executors.Target) error { return needsSection(t) }

// ServiceFact is what cloud_run.service finds.
type ServiceFact struct {
	// Service is the short name of the service.
	Service string `cel:"service"`
	// Serving is the short name of the revision with the greatest share of the traffic.
	Serving string `cel:"serving"`
	// Percent is that share.
	Percent int64 `cel:"percent"`
	// Split says that several revisions share the traffic.
	Split bool `cel:"split"`
	// Pinned says that the traffic names a revision, so that later deploys do not serve.
	Pinned bool `cel:"pinned"`
	// PinnedByUs says that the pin is one that remediator made.
	PinnedByUs bool `cel:"pinned_by_us"`
	// Reconciling says that a change is under way.
	Reconciling bool `cel:"reconciling"`
	// Ready says that the service reports no problem with what it is told to be.
	Ready bool `cel:"ready"`
	// Problem is the service's own sentence when it is not ready.
	Problem string `cel:"problem"`
	// LatestReady is the short name of the newest revision that started.
	LatestReady string `cel:"latest_ready"`
	// LatestCreated is the short name of the newest revision.
	LatestCreated string `cel:"latest_created"`
	// MinInstances is the lower bound on the service; 0 is unset.
	MinInstances int64 `cel:"min_instances"`
	// MaxInstances is the upper bound on the service; 0 is unset.
	MaxInstances int64 `cel:"max_instances"`
	// Manual says that the number of instances is set by hand.
	Manual bool `cel:"manual"`
	// Generation counts the changes of the service.
	Generation int64 `cel:"generation"`
	// LastModifier is who changed it last.
	LastModifier string `cel:"last_modifier"`
	// ByUs says that the last change carries remediator's mark. A later change by others may keep the mark: it is a hint.
	ByUs bool `cel:"by_us"`
}

// Ask implements executors.Probe.
func (p *serviceProbe) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	_, s, err := current(ctx, env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact := serviceFact(s)
	summary := fact.summary(short(s.GetName()), describeShares(s))
	why, unknown := doubts(s, fact.forget)
	if why != "" {
		summary += "; but " + why
	}
	return executors.Answer{Fact: &fact, Unknown: unknown, Summary: summary}, nil
}

// doubts says why a read of the service does not tell who serves, and names what forget took out of the fact for that.
func doubts(s *runpb.Service, forget func() []string) (why string, unknown []string) {
	why = contradiction(s)
	if why == "" && len(servingShares(s)) == 0 {
		why = "no revision is shown to serve"
	}
	if why == "" {
		return "", nil
	}
	return why, forget()
}

// forget takes out what a service that contradicts itself does not tell, and names it.
func (f *ServiceFact) forget() []string {
	f.Serving, f.Percent, f.Split, f.Pinned, f.PinnedByUs, f.Ready, f.Problem, f.LatestReady = "", 0, false, false, false, false, "", ""
	return []string{"serving", "percent", "split", "pinned", "pinned_by_us", "ready", "problem", "latest_ready"}
}

// Claims implements executors.Claiming.
func (f *ServiceFact) Claims() map[string]string {
	sole := f.Serving
	if f.Split {
		sole = ""
	}
	return claims(f.Service, sole, f.Generation)
}

// claims are what every fact about a service says of it: which revision serves alone, and how often it was changed.
func claims(service, serving string, generation int64) map[string]string {
	out := map[string]string{"cloud_run/generation/" + service: strconv.FormatInt(generation, 10)}
	if serving != "" {
		out["cloud_run/serving/"+service] = serving
	}
	return out
}

func serviceFact(s *runpb.Service) ServiceFact {
	_, pinned := pin(targetsOf(s))
	_, byUs := pinnedByUs(s)
	terminal := s.GetTerminalCondition()
	f := ServiceFact{
		Service: short(s.GetName()), Split: split(s), Pinned: pinned, PinnedByUs: byUs, Reconciling: deploying(s),
		Ready:         terminal.GetState() == runpb.Condition_CONDITION_SUCCEEDED,
		LatestReady:   short(s.GetLatestReadyRevision()),
		LatestCreated: short(s.GetLatestCreatedRevision()),
		MinInstances:  int64(s.GetScaling().GetMinInstanceCount()),
		MaxInstances:  int64(s.GetScaling().GetMaxInstanceCount()),
		Manual:        s.GetScaling().GetScalingMode() == runpb.ServiceScaling_MANUAL,
		Generation:    s.GetGeneration(),
		LastModifier:  s.GetLastModifier(),
		ByUs:          s.GetAnnotations()[markOperation] != "",
	}
	if !f.Ready {
		f.Problem = terminal.GetMessage()
	}
	if shares := servingShares(s); len(shares) > 0 {
		f.Serving, f.Percent = shares[0].Revision, int64(shares[0].Percent)
	}
	return f
}

func (f ServiceFact) summary(name, shares string) string {
	state := "ready"
	switch {
	case f.Reconciling:
		state = "under way"
	case !f.Ready:
		state = "not ready"
	}
	return fmt.Sprintf("%s is %s: %s serves, bounds %d to %s", name, state, shares, f.MinInstances, showMax(f.MaxInstances))
}
