package pagerduty

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "pagerduty.on_call",
		Doc:  "Asks PagerDuty who is on call now on an escalation policy or a schedule, and until when.",
		New:  func() executors.Probe { return &onCall{} },
		Fact: OnCallFact{},
	})
}

// onCall asks about one policy or schedule.
type onCall struct {
	// EscalationPolicy is the id of the policy; default: that of the run's incident, unless a schedule is named.
	EscalationPolicy string `yaml:"escalation_policy"`
	// Schedule is the id of a schedule.
	Schedule string `yaml:"schedule"`
}

// OnCallFact is what pagerduty.on_call finds.
type OnCallFact struct {
	// Nobody says that nobody is on call.
	Nobody bool `cel:"nobody"`
	// Names are those who are called first, at most 20.
	Names []string `cel:"names"`
	// Level is the level of the policy that they are on: 1, unless nobody is on the first.
	Level int64 `cel:"level"`
	// Everybody are all who are on call, on whatever level, at most 20.
	Everybody []string `cel:"everybody"`
	// NextHandover is when the first of Names goes off call; unknown when all of them stay.
	NextHandover time.Time `cel:"next_handover"`
	// HandoverIn is the time until then.
	HandoverIn time.Duration `cel:"handover_in"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *onCall) Validate(executors.Target) error {
	if p.EscalationPolicy != "" && p.Schedule != "" {
		return errors.New("escalation_policy and schedule exclude each other")
	}
	return errors.Join(checkID("escalation_policy", p.EscalationPolicy), checkID("schedule", p.Schedule))
}

// Ask implements executors.Probe.
func (p *onCall) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	pd, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	policy := p.EscalationPolicy
	if policy == "" && p.Schedule == "" {
		if policy, err = policyOf(ctx, env, pd); err != nil {
			return executors.Answer{}, err
		}
	}
	shifts, err := pd.OnCalls(ctx, policy, p.Schedule)
	if err != nil {
		return executors.Answer{}, err
	}
	for _, s := range shifts { // a filter that is not understood must not tell of others
		if s.UserID == "" || policy != "" && s.PolicyID != policy || p.Schedule != "" && s.ScheduleID != p.Schedule {
			return executors.Answer{}, errors.New("pagerduty: reading who is on call: the answer tells of something else")
		}
	}
	fact := &OnCallFact{}
	unknown := fact.read(shifts, env.Now)
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary()}, nil
}

func policyOf(ctx context.Context, env executors.Env, pd *connect.PagerDuty) (string, error) {
	id, err := incidentOf(ctx, env, pd)
	if err != nil {
		return "", err
	}
	in, err := pd.Incident(ctx, id)
	if err == nil && in.EscalationPolicyID == "" {
		err = fmt.Errorf("pagerduty: incident %s has no escalation policy", id)
	}
	return in.EscalationPolicyID, err
}

// read fills in who is called first and when that changes, and gives what is unknown.
func (f *OnCallFact) read(shifts []connect.OnCall, now time.Time) (unknown []string) {
	f.Nobody = len(shifts) == 0
	var first, everybody []string
	lowest := uint(0)
	for _, s := range shifts {
		if lowest == 0 || s.Level < lowest {
			lowest = s.Level
		}
	}
	for _, s := range shifts {
		everybody = append(everybody, s.User)
		if s.Level != lowest {
			continue
		}
		first = append(first, s.User)
		if s.End.After(now) && (f.NextHandover.IsZero() || s.End.Before(f.NextHandover)) {
			f.NextHandover = s.End
		}
	}
	f.Level = int64(lowest)
	f.Names, f.Everybody = names(distinct(first)), names(distinct(everybody))
	if f.NextHandover.IsZero() {
		return []string{"next_handover", "handover_in"}
	}
	f.HandoverIn = f.NextHandover.Sub(now)
	return nil
}

func distinct(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}

func (f *OnCallFact) summary() string {
	if f.Nobody {
		return "PagerDuty: nobody is on call"
	}
	text := fmt.Sprintf("PagerDuty: %s is on call", strings.Join(f.Names, ", "))
	if len(f.Names) > 1 {
		text = fmt.Sprintf("PagerDuty: %s are on call", strings.Join(f.Names, ", "))
	}
	if f.Level > 1 {
		text += fmt.Sprintf(", on level %d only", f.Level)
	}
	if f.HandoverIn > 0 {
		text += fmt.Sprintf("; the next handover is in %s", f.HandoverIn.Round(time.Minute))
	}
	return text
}
