package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// platform is Google's side of the world. It has no background goroutine:
// whoever takes the lock first settles the operations that have come due, at
// the moments they were due.
type platform struct {
	cfg    Config
	ledger *ledger
	dice   *dice

	mu           sync.Mutex
	services     map[string]*runService
	jobs         map[string]*runJob
	operations   map[string]*operation
	pending      []*operation
	opMin, opMax time.Duration // before Speed
	lag          time.Duration // before Speed
	strict       bool          // an unknown revision in traffic is refused at the call
	spoiled      bool          // floating-point metrics are no numbers
	sparse       int           // how many of the next pages of log entries are empty and not the last
	lastEtag     int64
}

func newPlatform(cfg Config, l *ledger, d *dice) *platform {
	return &platform{
		cfg: cfg, ledger: l, dice: d,
		services: map[string]*runService{}, jobs: map[string]*runJob{}, operations: map[string]*operation{},
		opMin: time.Second, opMax: time.Minute,
		lag: d.between(60*time.Second, 180*time.Second),
	}
}

func (p *platform) register(s *grpc.Server) {
	runpb.RegisterServicesServer(s, servicesServer{p: p})
	runpb.RegisterRevisionsServer(s, revisionsServer{p: p})
	runpb.RegisterJobsServer(s, jobsServer{p: p})
	runpb.RegisterExecutionsServer(s, executionsServer{p: p})
	longrunningpb.RegisterOperationsServer(s, operationsServer{p: p})
	monitoringpb.RegisterMetricServiceServer(s, metricsServer{p: p})
	loggingpb.RegisterLoggingServiceV2Server(s, logsServer{p: p})
}

// profile is how a piece of code behaves, wherever it runs.
type profile struct {
	health     Health
	errorRatio float64
	p50, p95   time.Duration
}

// runService is one Cloud Run service: pb is what the API shows (the wish and
// what it says about it); serving, scaling and timeline are what really runs.
type runService struct {
	pb          *runpb.Service
	revisions   map[string]*runRevision
	serial      int
	images      map[string]profile
	latestImage string // what a mutable tag resolves to

	serving        map[string]int32
	scaling        *runpb.ServiceScaling
	timeline       []segment
	load           float64
	capacity       float64
	autoInstances  int32
	memory         float64 // share of an instance's memory that is in use
	dependencyDown bool
	requiredEnv    map[string]string
	pending        int
	applied        int64

	logged []*loggingpb.LogEntry // as scripted, in no order

	faults faults
}

// faults are what a script has put in the way of the next calls.
type faults struct {
	failNext      string
	bumpNext      bool
	deployNext    *Revision
	applyThenFail codes.Code
	latency       time.Duration
}

func (p *platform) parent() string {
	return "projects/" + p.cfg.Project + "/locations/" + p.cfg.Region
}

func (p *platform) serviceName(short string) string { return p.parent() + "/services/" + short }

func shortName(full string) string { return full[strings.LastIndex(full, "/")+1:] }

// lock takes the mutex and brings the world up to now.
func (p *platform) lock() time.Time {
	p.mu.Lock()
	now := time.Now()
	p.settle(now)
	return now
}

func (p *platform) settle(now time.Time) {
	slices.SortStableFunc(p.pending, func(a, b *operation) int { return a.due.Compare(b.due) })
	n := 0
	for n < len(p.pending) && !p.pending[n].due.After(now) {
		p.finish(p.pending[n])
		n++
	}
	p.pending = slices.Delete(p.pending, 0, n)
	p.settleJobs(now)
}

// find looks a service up by full or short name. Caller holds the lock.
func (p *platform) find(name string) (*runService, error) {
	s := p.services[shortName(name)]
	if s == nil || (strings.Contains(name, "/") && name != s.pb.GetName()) {
		return nil, status.Errorf(codes.NotFound, "Resource '%s' of kind 'SERVICE' in region '%s' in project '%s' does not exist.",
			shortName(name), p.cfg.Region, p.cfg.Project)
	}
	return s, nil
}

// with runs f on a service under the lock.
func (p *platform) with(name string, f func(s *runService, now time.Time)) error {
	now := p.lock()
	defer p.mu.Unlock()
	s, err := p.find(name)
	if err != nil {
		return fmt.Errorf("finding service %q: %w", name, err)
	}
	f(s, now)
	return nil
}

// nextEtag is a version that looks like Google's: microseconds, never repeated.
func (p *platform) nextEtag(now time.Time) string {
	p.lastEtag = max(now.UnixMicro(), p.lastEtag+1)
	return strconv.FormatInt(p.lastEtag, 10)
}

func condition(kind string, ok bool, message string, at time.Time) *runpb.Condition {
	return &runpb.Condition{
		Type: kind, Message: message, LastTransitionTime: timestamppb.New(at),
		State: pick(ok, runpb.Condition_CONDITION_SUCCEEDED, runpb.Condition_CONDITION_FAILED),
	}
}

func (s *runService) short() string { return shortName(s.pb.GetName()) }

func (s *runService) setConditions(failure string, at time.Time) {
	ready := condition("Ready", failure == "", failure, at)
	s.pb.TerminalCondition = ready
	s.pb.Conditions = []*runpb.Condition{
		ready,
		condition("RoutesReady", failure == "", failure, at),
		condition("ConfigurationsReady", failure == "", failure, at),
	}
}

func (s *runService) setReconciling(at time.Time) {
	s.pb.Reconciling = true
	s.pb.TerminalCondition = &runpb.Condition{
		Type: "Ready", State: runpb.Condition_CONDITION_RECONCILING, LastTransitionTime: timestamppb.New(at),
	}
	s.pb.Conditions = []*runpb.Condition{s.pb.TerminalCondition}
}

// ordered lists the revisions by creation.
func (s *runService) ordered() []*runRevision {
	all := make([]*runRevision, 0, len(s.revisions))
	for _, r := range s.revisions {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *runRevision) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.name, b.name))
	})
	return all
}
