package sandbox

import (
	"context"
	"fmt"
	"maps"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/run/apiv2/runpb"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// operation is the reconciliation of one accepted change. It is kept for ever
// and has one outcome.
type operation struct {
	name       string
	service    *runService
	generation int64
	due        time.Time
	created    *runRevision // the revision this change made, if any
	fail       string       // scripted failure inside
	done       bool
	failure    *statuspb.Status
	response   *runpb.Service
}

// begin schedules the reconciliation of the service's present wish.
func (p *platform) begin(s *runService, created *runRevision, c change) *operation {
	op := &operation{
		name:    p.parent() + "/operations/" + p.dice.uuid(),
		service: s, generation: s.pb.GetGeneration(), due: c.due, created: created, fail: c.fail,
	}
	s.pending++
	p.operations[op.name] = op
	p.pending = append(p.pending, op)
	return op
}

// finish makes the change real at its due time. An operation overtaken by a
// later one ends well without touching what the later one did.
func (p *platform) finish(op *operation) {
	s := op.service
	s.pending--
	op.done = true
	code, message := p.reconcile(op)
	s.pb.Reconciling = s.pending > 0
	if !s.pb.Reconciling {
		s.setConditions(message, op.due)
	}
	if op.generation > s.pb.GetObservedGeneration() {
		s.pb.ObservedGeneration = op.generation
	}
	if code != codes.OK {
		op.failure = status.New(code, message).Proto()
		return
	}
	op.response = proto.CloneOf(s.pb)
}

func (p *platform) reconcile(op *operation) (codes.Code, string) {
	s := op.service
	if op.fail != "" {
		if op.created != nil {
			op.created.starting = false
		}
		return codes.Internal, op.fail
	}
	if op.created != nil {
		if failure := s.start(op.created); failure != "" {
			return codes.FailedPrecondition, failure
		}
	}
	if op.generation < s.applied {
		return codes.OK, ""
	}
	serving, code, message := s.route()
	if code != codes.OK {
		return code, message
	}
	s.applied = op.generation
	s.scaling = proto.CloneOf(s.pb.GetScaling())
	p.shift(s, serving, op.due)
	return codes.OK, ""
}

// route resolves the wished traffic to revisions, or says why it cannot.
func (s *runService) route() (map[string]int32, codes.Code, string) {
	serving := map[string]int32{}
	for _, t := range s.targets() {
		name := s.resolves(t.GetType(), t.GetRevision())
		r := s.revisions[name]
		if r == nil {
			return nil, codes.Internal, unknownRevision(name)
		}
		if !r.ready {
			return nil, codes.FailedPrecondition, fmt.Sprintf("Revision '%s' is not ready and cannot serve traffic. %s", name, startFailure)
		}
		serving[name] += t.GetPercent()
	}
	return serving, codes.OK, ""
}

func unknownRevision(name string) string {
	return fmt.Sprintf("Revision '%s' does not exist or is deleted. Update all traffic to route to currently available revisions.", name)
}

// targets is the wished traffic; none at all means all of it to LATEST.
func (s *runService) targets() []*runpb.TrafficTarget {
	if len(s.pb.GetTraffic()) == 0 {
		return []*runpb.TrafficTarget{latestTarget(100)}
	}
	return s.pb.GetTraffic()
}

func latestTarget(percent int32) *runpb.TrafficTarget {
	return &runpb.TrafficTarget{Type: runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST, Percent: percent}
}

func pinnedTarget(revision string, percent int32, tag string) *runpb.TrafficTarget {
	return &runpb.TrafficTarget{
		Type: runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION, Revision: revision, Percent: percent, Tag: tag,
	}
}

func (s *runService) resolves(kind runpb.TrafficTargetAllocationType, revision string) string {
	if kind == runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST {
		return shortName(s.pb.GetLatestReadyRevision())
	}
	return shortName(revision)
}

// shift moves traffic for real. A revision that had no instances starts cold;
// one that loses its traffic loses its instances.
func (p *platform) shift(s *runService, serving map[string]int32, at time.Time) {
	for name, r := range s.revisions {
		switch {
		case serving[name] == 0:
			r.warm = false
		case !r.warm:
			r.warm, r.warmAt = true, at.Add(p.cfg.scaled(coldStart))
		}
	}
	s.serving = maps.Clone(serving)
	s.pb.TrafficStatuses = statuses(s)
	s.remeasure(at)
}

// statuses reports the traffic as routed. As in the real API a LATEST target
// names no revision.
func statuses(s *runService) []*runpb.TrafficTargetStatus {
	var out []*runpb.TrafficTargetStatus
	for _, t := range s.targets() {
		st := &runpb.TrafficTargetStatus{Type: t.GetType(), Revision: t.GetRevision(), Percent: t.GetPercent(), Tag: t.GetTag()}
		if t.GetTag() != "" {
			st.Uri = "https://" + t.GetTag() + "---" + s.short() + "-sandbox-ew.a.run.app"
		}
		out = append(out, st)
	}
	return out
}

func (op *operation) proto() (*longrunningpb.Operation, error) {
	metadata, err := anypb.New(op.service.pb)
	if err != nil {
		return nil, fmt.Errorf("packing metadata of %s: %w", op.name, err)
	}
	out := &longrunningpb.Operation{Name: op.name, Metadata: metadata, Done: op.done}
	switch {
	case op.failure != nil:
		out.Result = &longrunningpb.Operation_Error{Error: op.failure}
	case op.done:
		response, err := anypb.New(op.response)
		if err != nil {
			return nil, fmt.Errorf("packing the response of %s: %w", op.name, err)
		}
		out.Result = &longrunningpb.Operation_Response{Response: response}
	}
	return out, nil
}

type operationsServer struct {
	longrunningpb.UnimplementedOperationsServer
	p *platform
}

// GetOperation answers for any operation ever begun, so that a client can
// resume by name.
func (o operationsServer) GetOperation(_ context.Context, req *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	op, _, err := o.p.operation(req.GetName())
	return op, err
}

// WaitOperation answers when the operation is done or the timeout is over.
func (o operationsServer) WaitOperation(ctx context.Context, req *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	op, left, err := o.p.operation(req.GetName())
	if err != nil || left <= 0 {
		return op, err
	}
	if t := req.GetTimeout(); t != nil {
		left = min(left, t.AsDuration())
	}
	if err := sleep(ctx, left); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	op, _, err = o.p.operation(req.GetName())
	return op, err
}

func (p *platform) operation(name string) (*longrunningpb.Operation, time.Duration, error) {
	now := p.lock()
	defer p.mu.Unlock()
	if e := p.executionOf(name); e != nil {
		out, err := e.operation()
		return out, e.due.Sub(now), err
	}
	op := p.operations[name]
	if op == nil {
		return nil, 0, status.Errorf(codes.NotFound, "Operation '%s' was not found.", name)
	}
	out, err := op.proto()
	return out, op.due.Sub(now), err
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
