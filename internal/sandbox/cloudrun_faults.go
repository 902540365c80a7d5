package sandbox

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// SetOperationTime bounds how long operations take, before division by Speed.
// The default is 1 s to 60 s.
func (w *World) SetOperationTime(least, most time.Duration) {
	w.platform.lock()
	defer w.platform.mu.Unlock()
	w.platform.opMin, w.platform.opMax = least, most
}

// SetMetricLag says how old metrics are when they become visible, before
// division by Speed. The default is drawn from 60 s to 180 s.
func (w *World) SetMetricLag(lag time.Duration) {
	w.platform.lock()
	defer w.platform.mu.Unlock()
	w.platform.lag = lag
}

// SetStrictTraffic makes an unknown revision in traffic a FAILED_PRECONDITION
// of the call; otherwise, as in the real API, the operation fails.
func (w *World) SetStrictTraffic(strict bool) {
	w.platform.lock()
	defer w.platform.mu.Unlock()
	w.platform.strict = strict
}

// FailNextOperation lets the next accepted update fail inside its operation.
func (w *World) FailNextOperation(service, message string) error {
	return w.platform.with(service, func(s *runService, _ time.Time) { s.faults.failNext = message })
}

// BumpEtag changes the etag and nothing else, as the platform does by itself.
func (w *World) BumpEtag(service string) error {
	return w.platform.with(service, func(s *runService, now time.Time) { s.pb.Etag = w.platform.nextEtag(now) })
}

// BumpEtagBeforeNextUpdate changes the etag just before the next update is judged.
func (w *World) BumpEtagBeforeNextUpdate(service string) error {
	return w.platform.with(service, func(s *runService, _ time.Time) { s.faults.bumpNext = true })
}

// DeployBeforeNextUpdate lets a human's deploy land just before the next
// update is judged.
func (w *World) DeployBeforeNextUpdate(service string, r Revision) error {
	return w.platform.with(service, func(s *runService, _ time.Time) { s.faults.deployNext = &r })
}

// ApplyThenFail lets the next update take effect but answers it with code.
func (w *World) ApplyThenFail(service string, code codes.Code) error {
	return w.platform.with(service, func(s *runService, _ time.Time) { s.faults.applyThenFail = code })
}

// Latency delays every call that names the service; not divided by Speed.
func (w *World) Latency(service string, d time.Duration) error {
	return w.platform.with(service, func(s *runService, _ time.Time) { s.faults.latency = d })
}

// event records a scripted change of the world and measures anew.
func (w *World) event(service, verb string, detail map[string]any, f func(s *runService)) error {
	return w.platform.with(service, func(s *runService, now time.Time) {
		f(s)
		s.remeasure(now)
		w.ledger.add(Entry{System: "backend", Verb: verb, Resource: s.short(), By: "script", Detail: detail})
	})
}

// SetLoad changes the requests per wall-clock minute that reach the service.
func (w *World) SetLoad(service string, requestsPerMinute float64) error {
	return w.event(service, "set_load", map[string]any{"requests_per_minute": requestsPerMinute},
		func(s *runService) { s.load = requestsPerMinute })
}

// SetHealth changes the state of a revision's running instances; "" lets them
// follow their code again. Another revision of the same image (a restart)
// follows the code.
func (w *World) SetHealth(service, revision string, h Health) error {
	found := false
	err := w.event(service, "set_health", map[string]any{"revision": revision, "health": string(h)}, func(s *runService) {
		if r := s.revisions[revision]; r != nil {
			r.state, found = h, true
		}
	})
	if err == nil && !found {
		return fmt.Errorf("setting health: service %q has no revision %q", service, revision)
	}
	return err
}

// SetDependency breaks or mends the database all revisions share: while it is
// down every /health answers 503 with mongodb.connected false.
func (w *World) SetDependency(service string, up bool) error {
	return w.event(service, "set_dependency", map[string]any{"up": up}, func(s *runService) { s.dependencyDown = !up })
}

// RequireEnv makes revisions sick whose environment does not hold name=value;
// a Secret Manager reference counts as "secret:NAME:VERSION".
func (w *World) RequireEnv(service, name, value string) error {
	return w.event(service, "require_env", map[string]any{"name": name}, func(s *runService) { s.requiredEnv[name] = value })
}

// CloudRun is a copy of the service as the API shows it; nil if there is none.
func (w *World) CloudRun(service string) *runpb.Service {
	var out *runpb.Service
	_ = w.platform.with(service, func(s *runService, _ time.Time) { out = proto.CloneOf(s.pb) })
	return out
}

// Serving is the traffic that really flows now: percent by short revision name.
func (w *World) Serving(service string) map[string]int32 {
	var out map[string]int32
	_ = w.platform.with(service, func(s *runService, _ time.Time) { out = maps.Clone(s.serving) })
	return out
}

// CallFault fails gRPC calls before they reach a server.
type CallFault struct {
	Method string        `json:"method"` // the RPC's name, such as GetService; "" is any
	Code   codes.Code    `json:"code"`   // a name such as "UNAVAILABLE" in JSON
	Delay  time.Duration `json:"delay"`  // before the answer; not divided by Speed
	Count  int           `json:"count"`  // how many calls; 0 is one
}

// FailCalls lets the next calls of a Google API fail.
func (w *World) FailCalls(f CallFault) { w.calls.add(f) }

type callFaults struct {
	mu  sync.Mutex
	all []CallFault
}

func (c *callFaults) add(f CallFault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.Count = max(f.Count, 1)
	c.all = append(c.all, f)
}

func (c *callFaults) take(method string) (CallFault, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.all {
		if f := &c.all[i]; f.Count > 0 && (f.Method == "" || strings.HasSuffix(method, "/"+f.Method)) {
			f.Count--
			return *f, true
		}
	}
	return CallFault{}, false
}

func (c *callFaults) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	f, hit := c.take(info.FullMethod)
	if !hit {
		return next(ctx, req)
	}
	if err := sleep(ctx, f.Delay); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	if f.Code == codes.OK {
		return next(ctx, req)
	}
	return nil, status.Error(f.Code, "the sandbox was told to fail this call")
}
