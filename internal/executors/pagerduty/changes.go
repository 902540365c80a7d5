package pagerduty

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	changesWindow = 24 * time.Hour
	longest       = 14 * 24 * time.Hour
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "pagerduty.changes",
		Doc:  "Asks PagerDuty which deploys and other changes it was told of: those related to the run's incident, or a service's recent ones.",
		New:  func() executors.Probe { return &changes{} },
		Fact: ChangesFact{},
	})
}

// Subject names whose changes are meant.
type Subject string

// OfIncident are those that PagerDuty relates to the incident; OfService those of its service.
const (
	OfIncident Subject = "incident"
	OfService  Subject = "service"
)

// Values lists what may be written in a rules file.
func (Subject) Values() []string { return []string{string(OfIncident), string(OfService)} }

// changes asks for change events.
type changes struct {
	// Of says whose changes: incident, the default, are those that PagerDuty relates to the run's incident; service are those of a service.
	Of Subject `yaml:"of"`
	// Service is the id of the service; default: the incident's.
	Service string `yaml:"service"`
	// Window is how far back changes count; default 24h.
	Window time.Duration `yaml:"window"`
}

// ChangesFact is what pagerduty.changes finds. What it says of the newest change of the window is unknown when there is none.
type ChangesFact struct {
	// Count is how many changes there were in the window.
	Count int64 `cel:"count"`
	// Newest is when the newest change was.
	Newest time.Time `cel:"newest"`
	// Age is the time since then.
	Age time.Duration `cel:"age"`
	// Summary says in its sender's words what was changed, shortened and masked.
	Summary string `cel:"summary"`
	// Source is what told PagerDuty of it.
	Source string `cel:"source"`
	// Reason is why PagerDuty relates it to the incident: most_recent, related_service or intelligent; "" for a service's.
	Reason string `cel:"reason"`
}

var ofNewest = []string{"newest", "age", "summary", "source", "reason"}

// Validate tells in plain words what is wrong with the parameters.
func (p *changes) Validate(executors.Target) error {
	switch {
	case p.Of != "" && p.Of != OfIncident && p.Of != OfService:
		return errors.New("of must be incident or service")
	case p.Service != "" && p.Of != OfService:
		return errors.New("service is only for of: service")
	case p.Window < 0 || p.Window > 0 && p.Window < time.Minute || p.Window > longest:
		return errors.New("window must be between 1m and 14d")
	}
	return checkID("service", p.Service)
}

// Ask implements executors.Probe.
func (p *changes) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	pd, err := open(env)
	if err != nil {
		return executors.Answer{}, err
	}
	window := p.Window
	if window == 0 {
		window = env.Scale(changesWindow)
	}
	from := env.Now.Add(-window)
	all, err := p.list(ctx, env, pd, from)
	if err != nil {
		return executors.Answer{}, err
	}
	fact, newest := &ChangesFact{}, connect.ChangeEvent{}
	for _, one := range all {
		if one.At.IsZero() {
			return executors.Answer{}, errors.New("pagerduty: a change does not say when it was")
		}
		if one.At.Before(from) || one.At.After(env.Now) {
			continue
		}
		if fact.Count++; one.At.After(newest.At) {
			newest = one
		}
	}
	if fact.Count == 0 {
		return executors.Answer{Fact: fact, Unknown: ofNewest, Summary: fmt.Sprintf("PagerDuty: no change of the last %s is known", window)}, nil
	}
	fact.Newest, fact.Age = newest.At, env.Now.Sub(newest.At)
	fact.Summary, fact.Source = connect.Scrub(newest.Summary, mostTitle), connect.Scrub(newest.Source, mostName)
	fact.Reason = connect.Scrub(newest.Reason, mostName)
	return executors.Answer{Fact: fact, Summary: fact.summary(window)}, nil
}

func (p *changes) list(ctx context.Context, env executors.Env, pd *connect.PagerDuty, from time.Time) ([]connect.ChangeEvent, error) {
	service := p.Service
	if service == "" {
		id, err := incidentOf(ctx, env, pd)
		if err != nil {
			return nil, err
		}
		if p.Of != OfService {
			return pd.RelatedChanges(ctx, id)
		}
		in, err := pd.Incident(ctx, id)
		if err != nil {
			return nil, err
		}
		service = in.ServiceID
	}
	return pd.ServiceChanges(ctx, service, from, env.Now)
}

func (f *ChangesFact) summary(window time.Duration) string {
	text := fmt.Sprintf("PagerDuty: %d changes in the last %s, the newest %s ago: %q", f.Count, window, f.Age.Round(time.Second), f.Summary)
	if f.Source != "" {
		text += " from " + f.Source
	}
	return text
}
