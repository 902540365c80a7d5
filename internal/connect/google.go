package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	logging "cloud.google.com/go/logging/apiv2"
	monitoring "cloud.google.com/go/monitoring/apiv3/v2"
	run "cloud.google.com/go/run/apiv2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// GoogleConfig is the connection `google_cloud`. Credentials are Application Default Credentials: only they, in Google's own library, may ask
// the metadata server.
type GoogleConfig struct {
	// Project is the id of the Google Cloud project.
	Project string `yaml:"project" rules:"required"`
	// Region is the Cloud Run region, such as europe-west1.
	Region string `yaml:"region" rules:"required"`
	// Endpoint is the host:port of a stand-in for all three APIs; empty means Google.
	Endpoint string `yaml:"endpoint"`
	// Insecure speaks plaintext gRPC without credentials. It needs an endpoint.
	Insecure bool `yaml:"insecure"`
	// RunEndpoint overrides Endpoint for the Cloud Run Admin API.
	RunEndpoint string `yaml:"run_endpoint"`
	// MonitoringEndpoint overrides Endpoint for Cloud Monitoring.
	MonitoringEndpoint string `yaml:"monitoring_endpoint"`
	// LoggingEndpoint overrides Endpoint for Cloud Logging.
	LoggingEndpoint string `yaml:"logging_endpoint"`
	// ComputeEndpoint is the base URL of a stand-in for the Compute Engine API (Cloud Armor), which is asked over REST; empty means Google,
	// or nobody where Endpoint names a stand-in for the others.
	ComputeEndpoint string `yaml:"compute_endpoint"`
}

func init() {
	Register(ConnectionKind{
		Name: "google_cloud",
		Doc:  "A project on Google Cloud: Cloud Run, Cloud Monitoring, Cloud Logging and Cloud Armor.",
		New:  func() Config { return &GoogleConfig{} },
	})
}

// Check implements Config.
func (c *GoogleConfig) Check() error {
	_, err := c.settle()
	return err
}

// Open implements Config.
func (c *GoogleConfig) Open(ctx context.Context) (io.Closer, error) { return NewGoogle(ctx, *c) }

// Google gives the clients of one project. They are made at the first use, so that missing credentials are said by the call that
// needs them, and looked up again by the next. Safe for concurrent use.
type Google struct {
	Project string
	Region  string

	services   lazy[*run.ServicesClient]
	revisions  lazy[*run.RevisionsClient]
	jobs       lazy[*run.JobsClient]
	executions lazy[*run.ExecutionsClient]
	metrics    lazy[*monitoring.MetricClient]
	logs       lazy[*logging.Client]
	policies   lazy[*SecurityPolicies]
	noCompute  error // why Cloud Armor cannot be asked; nil if it can
}

// NewGoogle checks the configuration. It looks up no credentials and calls nothing.
func NewGoogle(_ context.Context, c GoogleConfig) (*Google, error) {
	o, err := c.settle()
	if err != nil {
		return nil, err
	}
	g := &Google{Project: c.Project, Region: c.Region}
	g.services.dial = func(ctx context.Context) (*run.ServicesClient, error) { return run.NewServicesClient(ctx, o.run...) }
	g.revisions.dial = func(ctx context.Context) (*run.RevisionsClient, error) {
		return run.NewRevisionsClient(ctx, o.run...)
	}
	g.jobs.dial = func(ctx context.Context) (*run.JobsClient, error) { return run.NewJobsClient(ctx, o.run...) }
	g.executions.dial = func(ctx context.Context) (*run.ExecutionsClient, error) {
		return run.NewExecutionsClient(ctx, o.run...)
	}
	g.metrics.dial = func(ctx context.Context) (*monitoring.MetricClient, error) {
		return monitoring.NewMetricClient(ctx, o.monitoring...)
	}
	g.logs.dial = func(ctx context.Context) (*logging.Client, error) { return logging.NewClient(ctx, o.logging...) }
	_, g.noCompute = c.computeBase()
	g.policies.dial = func(ctx context.Context) (*SecurityPolicies, error) { return newSecurityPolicies(ctx, c) }
	return g, nil
}

// An entry of Cloud Logging has at most 256 KB, and most have one or two.
const (
	logReadScope   = "https://www.googleapis.com/auth/logging.read"
	logAnswerLimit = 32 << 20
)

// googleOptions are what the clients of the three APIs are made with.
type googleOptions struct{ run, monitoring, logging []option.ClientOption }

// settle checks the configuration and gives the clients' options.
func (c GoogleConfig) settle() (o googleOptions, err error) {
	if c.Project == "" || c.Region == "" {
		return o, errors.New("google_cloud: project and region must be set")
	}
	if o.run, err = c.options("Cloud Run", c.RunEndpoint); err != nil {
		return o, err
	}
	if o.monitoring, err = c.options("Cloud Monitoring", c.MonitoringEndpoint); err != nil {
		return o, err
	}
	if _, err = c.computeBase(); err != nil && !errors.Is(err, errNoCompute) {
		return o, err
	}
	o.logging, err = c.options("Cloud Logging", c.LoggingEndpoint)
	// The client's own defaults are the admin scope and answers of any size; reading is all that is asked of it.
	o.logging = append(o.logging, option.WithScopes(logReadScope),
		option.WithGRPCDialOption(grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(logAnswerLimit))))
	return o, err
}

func (c GoogleConfig) options(api, override string) ([]option.ClientOption, error) {
	endpoint := c.Endpoint
	if override != "" {
		endpoint = override
	}
	dial := option.WithGRPCDialOption(grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		return guardedDialer(connectTimeout).DialContext(ctx, "tcp", address)
	}))
	switch {
	case endpoint == "" && c.Insecure:
		return nil, fmt.Errorf("google_cloud: insecure: true needs an endpoint for %s", api)
	case endpoint == "":
		return []option.ClientOption{dial}, nil
	case !c.Insecure:
		return []option.ClientOption{dial, option.WithEndpoint(endpoint)}, nil
	}
	return []option.ClientOption{
		dial,
		option.WithEndpoint(endpoint),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithNoProxy()),
	}, nil
}

// Services gives the client of Cloud Run services. It does not call out, but an error says why credentials could not be had.
func (g *Google) Services(ctx context.Context) (*run.ServicesClient, error) {
	return g.services.get(ctx, "Cloud Run")
}

// Revisions gives the client of Cloud Run revisions; errors as for Services.
func (g *Google) Revisions(ctx context.Context) (*run.RevisionsClient, error) {
	return g.revisions.get(ctx, "Cloud Run")
}

// Jobs gives the client of Cloud Run jobs; errors as for Services.
func (g *Google) Jobs(ctx context.Context) (*run.JobsClient, error) {
	return g.jobs.get(ctx, "Cloud Run")
}

// Executions gives the client of the executions of Cloud Run jobs; errors as for Services.
func (g *Google) Executions(ctx context.Context) (*run.ExecutionsClient, error) {
	return g.executions.get(ctx, "Cloud Run")
}

// Metrics gives the client of Cloud Monitoring; errors as for Services.
func (g *Google) Metrics(ctx context.Context) (*monitoring.MetricClient, error) {
	return g.metrics.get(ctx, "Cloud Monitoring")
}

// Logs gives the read-only client of Cloud Logging; errors as for Services.
func (g *Google) Logs(ctx context.Context) (*logging.Client, error) {
	return g.logs.get(ctx, "Cloud Logging")
}

// SecurityPolicies gives the client of Cloud Armor's policies; errors as for Services.
func (g *Google) SecurityPolicies(ctx context.Context) (*SecurityPolicies, error) {
	if g.noCompute != nil {
		return nil, &CallError{System: systemGoogle, Doing: "making the client of Cloud Armor", Err: g.noCompute, permanent: true}
	}
	return g.policies.get(ctx, "Cloud Armor")
}

// Close closes the clients that were made. Later uses make new ones.
func (g *Google) Close() error {
	return errors.Join(g.services.close(), g.revisions.close(), g.jobs.close(), g.executions.close(), g.metrics.close(), g.logs.close(), g.policies.close())
}

// lazy makes a client at its first use and keeps it; a failure is not kept.
type lazy[C interface {
	comparable
	io.Closer
}] struct {
	dial func(context.Context) (C, error)

	mu     sync.Mutex
	client C
}

func (l *lazy[C]) get(ctx context.Context, api string) (C, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none C
	if l.client != none {
		return l.client, nil
	}
	// The client outlives the call that happens to need it first.
	client, err := l.dial(context.WithoutCancel(ctx))
	if err != nil {
		return none, &CallError{System: "google_cloud", Doing: "making the client of " + api, Err: fmt.Errorf(
			"no usable Google credentials (run as a service account, or set GOOGLE_APPLICATION_CREDENTIALS): %w", err)}
	}
	l.client = client
	return client, nil
}

func (l *lazy[C]) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none C
	if l.client == none {
		return nil
	}
	client := l.client
	l.client = none
	return client.Close()
}
