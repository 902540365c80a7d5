package rules

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/sources"
)

// Small stand-ins for the registered kinds of the other packages.

type healthFact struct {
	Status  int            `cel:"status"`
	Sick    bool           `cel:"sick"`
	Ratio   float64        `cel:"ratio"`
	Latency time.Duration  `cel:"latency"`
	JSON    map[string]any `cel:"json"`
	TLS     *tlsFact       `cel:"tls"`
	Text    string         `cel:"text"`
}

type tlsFact struct {
	ExpiresIn time.Duration `cel:"expires_in"`
}

type deployFact struct {
	Age     time.Duration `cel:"age"`
	Since   time.Time     `cel:"since"`
	Serving string        `cel:"serving"`
	Others  []string      `cel:"others"`
}

type fakeGet struct {
	URL   string        `yaml:"url" rules:"required"`
	Tries int           `yaml:"tries"`
	Wait  time.Duration `yaml:"wait"`
}

func (g *fakeGet) Validate(executors.Target) error {
	if g.Wait != 0 && g.Wait < time.Second {
		return errors.New("wait must be at least 1s")
	}
	return nil
}

func (fakeGet) Ask(context.Context, executors.Env) (executors.Answer, error) {
	return executors.Answer{Fact: &healthFact{Status: 200}}, nil
}

type fakeRevisions struct {
	Lookback time.Duration `yaml:"lookback"`
}

func (r *fakeRevisions) LookBack() time.Duration { return r.Lookback }

func (fakeRevisions) Ask(context.Context, executors.Env) (executors.Answer, error) {
	return executors.Answer{Fact: &deployFact{}}, nil
}

type strategy string

func (strategy) Values() []string { return []string{"previous_healthy", "pinned"} }

type fakeAction struct {
	To      strategy          `yaml:"to"`
	AtLeast int               `yaml:"at_least"`
	Share   float64           `yaml:"share"`
	Force   bool              `yaml:"force"`
	Tags    []string          `yaml:"tags"`
	Env     map[string]string `yaml:"env"`
	Extra   map[string]any    `yaml:"extra"`
	Note    string            `yaml:"note"`
	Limit   *int              `yaml:"limit"`
}

func (a *fakeAction) Validate(t executors.Target) error {
	if a.AtLeast < 0 {
		return errors.New("at_least must be at least 0")
	}
	if a.AtLeast > 10 && t.Health == "" {
		return errors.New("at_least above 10 needs a target with a health check")
	}
	return nil
}

func (fakeAction) Plan(context.Context, executors.Env) (executors.Change, error) {
	return executors.Change{}, nil
}

func (fakeAction) Apply(context.Context, executors.Env, executors.Change, string) (executors.Receipt, error) {
	return executors.Receipt{}, nil
}

func (fakeAction) Observe(context.Context, executors.Env, executors.Change, string, executors.Receipt) (executors.Observation, error) {
	return executors.Observation{}, nil
}

func (fakeAction) Undo(context.Context, executors.Env, executors.Change) (executors.Change, error) {
	return executors.Change{}, nil
}

type fakeService struct {
	Service string `yaml:"service" rules:"required"`
	Limit   int    `yaml:"max_instances_limit"`
}

func (s *fakeService) Validate(executors.Target) error {
	if s.Limit < 0 {
		return errors.New("max_instances_limit must not be negative")
	}
	return nil
}

type fakeConnection struct {
	Project  string         `yaml:"project"`
	Token    connect.Secret `yaml:"token"`
	From     string         `yaml:"from"`
	Channel  string         `yaml:"channel"`
	Endpoint string         `yaml:"endpoint"`
	Insecure bool           `yaml:"insecure"`
	Timeout  time.Duration  `yaml:"timeout"`
}

func (*fakeConnection) Check() error                            { return nil }
func (*fakeConnection) Open(context.Context) (io.Closer, error) { return io.NopCloser(nil), nil }

type fakeSource struct {
	Signing    []connect.Secret `yaml:"signing_secret" rules:"required"`
	Connection string           `yaml:"connection"`
}

func (*fakeSource) Validate() error                                         { return nil }
func (*fakeSource) Authenticate(sources.Request) error                      { return nil }
func (*fakeSource) Parse([]byte, time.Time) (d sources.Delivery, err error) { return d, nil }

func init() {
	connect.Register(connect.ConnectionKind{Name: "fake", New: func() connect.Config { return &fakeConnection{} }})
	sources.Register(sources.Kind{Name: "fake", New: func(string) sources.Source { return &fakeSource{} }})
	executors.RegisterTarget(executors.TargetKind{Name: "cloud_run", New: func() any { return &fakeService{} }})
	executors.RegisterProbe(executors.ProbeKind{
		Name: "fake.get", New: func() executors.Probe { return &fakeGet{} }, Fact: healthFact{},
	})
	executors.RegisterProbe(executors.ProbeKind{
		Name: "cloud_run.revisions", New: func() executors.Probe { return &fakeRevisions{} }, Fact: &deployFact{}, Lag: 3 * time.Minute,
	})
	for _, name := range []string{"fake.action", "cloud_run.scale", "cloud_run.rollback"} {
		executors.RegisterAction(executors.ActionKind{Name: name, New: func() executors.Action { return &fakeAction{} }})
	}
}
