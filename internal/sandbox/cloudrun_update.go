package sandbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// update judges a request and begins its operation. A refusal is recorded too.
func (p *platform) update(req *runpb.UpdateServiceRequest) (*longrunningpb.Operation, error) {
	now := p.lock()
	defer p.mu.Unlock()
	s, err := p.find(req.GetService().GetName())
	if err != nil {
		return nil, err
	}
	p.interfere(s, now)
	next, err := p.judge(s, req)
	if err != nil {
		p.ledger.add(Entry{
			System: "cloud_run", Verb: "update_service_refused", Resource: s.short(), By: p.cfg.Caller,
			Detail: map[string]any{"code": status.Code(err).String(), "reason": status.Convert(err).Message()},
		})
		return nil, err
	}
	if req.GetValidateOnly() {
		return (&operation{service: s, done: true, response: next}).proto()
	}
	change := change{by: p.cfg.Caller, modifier: p.cfg.Caller, verb: "update_service", at: now}
	change.due = now.Add(p.cfg.scaled(p.dice.between(p.opMin, p.opMax)))
	change.code, change.fail = s.faults.applyThenFail, s.faults.failNext
	s.faults.applyThenFail, s.faults.failNext = codes.OK, ""
	op := p.commit(s, next, change)
	if change.code != codes.OK {
		return nil, status.Error(change.code, "the connection was lost while the answer was on its way")
	}
	return op.proto()
}

// interfere lets the platform or a human come first, as scripted.
func (p *platform) interfere(s *runService, now time.Time) {
	if s.faults.bumpNext {
		s.faults.bumpNext = false
		s.pb.Etag = p.nextEtag(now)
	}
	if r := s.faults.deployNext; r != nil {
		s.faults.deployNext = nil
		p.deploy(s, *r, now)
	}
}

func (p *platform) judge(s *runService, req *runpb.UpdateServiceRequest) (*runpb.Service, error) {
	if etag := req.GetService().GetEtag(); etag != "" && etag != s.pb.GetEtag() {
		return nil, status.Errorf(codes.Aborted, "Conflict for resource '%s': version '%s' was specified but current version is '%s'.",
			s.short(), etag, s.pb.GetEtag())
	}
	next, err := merge(s.pb, req.GetService(), req.GetUpdateMask().GetPaths())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := judgeKeys(next); err != nil {
		return nil, err
	}
	if err := p.judgeTraffic(s, next.GetTraffic()); err != nil {
		return nil, err
	}
	return next, judgeTemplate(s, next.GetTemplate())
}

// judgeKeys refuses the namespaces that the v2 API reserves.
func judgeKeys(s *runpb.Service) error {
	for _, keys := range []map[string]string{s.GetLabels(), s.GetAnnotations(), s.GetTemplate().GetLabels(), s.GetTemplate().GetAnnotations()} {
		for key := range keys {
			for _, reserved := range []string{"run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev"} {
				if strings.HasPrefix(key, reserved+"/") {
					return status.Errorf(codes.InvalidArgument, "Violation in metadata: key '%s' is in the reserved namespace '%s'.", key, reserved)
				}
			}
		}
	}
	return nil
}

func (p *platform) judgeTraffic(s *runService, traffic []*runpb.TrafficTarget) error {
	var sum int32
	for _, t := range traffic {
		sum += t.GetPercent()
		latest := t.GetType() == runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
		if latest == (t.GetRevision() != "") {
			return status.Errorf(codes.InvalidArgument, "traffic: a target names a revision or is LATEST, got type %s and revision '%s'.", t.GetType(), t.GetRevision())
		}
		if p.strict && !latest && s.revisions[shortName(t.GetRevision())] == nil {
			return status.Error(codes.FailedPrecondition, unknownRevision(t.GetRevision()))
		}
	}
	if len(traffic) > 0 && sum != 100 {
		return status.Errorf(codes.InvalidArgument, "traffic: percentages must add up to 100, got %d.", sum)
	}
	return nil
}

// judgeTemplate applies the naming trap: a template that carries the name of
// an existing revision must be exactly that revision.
func judgeTemplate(s *runService, t *runpb.RevisionTemplate) error {
	if len(t.GetContainers()) == 0 || t.GetContainers()[0].GetImage() == "" {
		return status.Error(codes.InvalidArgument, "template.containers: an image is required.")
	}
	name := t.GetRevision()
	if name == "" || proto.Equal(t, s.pb.GetTemplate()) {
		return nil
	}
	if !strings.HasPrefix(name, s.short()+"-") {
		return status.Errorf(codes.InvalidArgument, "template.revision: '%s' must begin with '%s-'.", name, s.short())
	}
	if r := s.revisions[name]; r != nil && !proto.Equal(r.template, t) {
		return status.Errorf(codes.AlreadyExists, "Revision named '%s' with different configuration already exists.", name)
	}
	return nil
}

// change says who writes, and when it becomes real.
type change struct {
	by, modifier, verb string
	at, due            time.Time
	code               codes.Code // what the caller gets although it took effect
	fail               string     // how the operation fails inside, if it shall
}

// commit makes the wish the service's and begins its reconciliation. A new
// revision is made only where the template differs.
func (p *platform) commit(s *runService, next *runpb.Service, c change) *operation {
	before := s.pb
	s.pb = next
	s.pb.Generation++
	s.pb.Etag = p.nextEtag(c.at)
	s.pb.UpdateTime = timestamppb.New(c.at)
	s.pb.LastModifier = c.modifier
	var made *runRevision
	t := next.GetTemplate()
	if !proto.Equal(before.GetTemplate(), t) && s.revisions[t.GetRevision()] == nil {
		made = p.create(s, t, c.at)
		made.creator = c.modifier
	}
	s.setReconciling(c.at)
	op := p.begin(s, made, c)
	detail := difference(before, next)
	detail["operation"] = op.name
	detail["etag_after"] = next.GetEtag()
	if made != nil {
		detail["revision"] = made.name
		detail["image"] = made.image
	}
	if c.code != codes.OK {
		detail["answered"] = c.code.String()
	}
	p.ledger.add(Entry{System: "cloud_run", Verb: c.verb, Resource: s.short(), By: c.by, Detail: detail})
	return op
}

// difference lists what a write changed, for the ledger.
func difference(before, after *runpb.Service) map[string]any {
	d := map[string]any{}
	var changed []string
	note := func(what string, a, b any) {
		changed = append(changed, what)
		d[what+"_before"], d[what+"_after"] = a, b
	}
	if a, b := trafficWords(before), trafficWords(after); !slices.Equal(a, b) {
		note("traffic", a, b)
	}
	if a, b := scalingWords(before.GetScaling()), scalingWords(after.GetScaling()); a != b {
		note("scaling", a, b)
	}
	if a, b := changedKeys(before.GetAnnotations(), after.GetAnnotations()); len(a)+len(b) > 0 {
		note("annotations", a, b)
	}
	if a, b := changedKeys(before.GetLabels(), after.GetLabels()); len(a)+len(b) > 0 {
		note("labels", a, b)
	}
	if !proto.Equal(before.GetTemplate(), after.GetTemplate()) {
		changed = append(changed, "template")
	}
	d["changed"] = changed
	return d
}

func trafficWords(s *runpb.Service) []string {
	out := []string{}
	for _, t := range s.GetTraffic() {
		out = append(out, fmt.Sprintf("%s=%d%s", pick(t.GetRevision() == "", "LATEST", t.GetRevision()), t.GetPercent(), pick(t.GetTag() == "", "", " tag="+t.GetTag())))
	}
	return out
}

func scalingWords(s *runpb.ServiceScaling) string {
	words := fmt.Sprintf("min=%d max=%d", s.GetMinInstanceCount(), s.GetMaxInstanceCount())
	if s.GetScalingMode() == runpb.ServiceScaling_MANUAL {
		words += fmt.Sprintf(" manual=%d", s.GetManualInstanceCount())
	}
	return words
}

func changedKeys(before, after map[string]string) (a, b map[string]string) {
	a, b = map[string]string{}, map[string]string{}
	for k, v := range before {
		if now, ok := after[k]; !ok || now != v {
			a[k] = v
		}
	}
	for k, v := range after {
		if was, ok := before[k]; !ok || was != v {
			b[k] = v
		}
	}
	return a, b
}

type servicesServer struct {
	runpb.UnimplementedServicesServer
	p *platform
}

// UpdateService honours update_mask, etag and validate_only.
func (s servicesServer) UpdateService(ctx context.Context, req *runpb.UpdateServiceRequest) (*longrunningpb.Operation, error) {
	if err := s.p.dawdle(ctx, req.GetService().GetName()); err != nil {
		return nil, err
	}
	return s.p.update(req)
}

// GetService reads one service.
func (s servicesServer) GetService(ctx context.Context, req *runpb.GetServiceRequest) (*runpb.Service, error) {
	if err := s.p.dawdle(ctx, req.GetName()); err != nil {
		return nil, err
	}
	s.p.lock()
	defer s.p.mu.Unlock()
	found, err := s.p.find(req.GetName())
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(found.pb), nil
}

// ListServices lists all services of the location on one page, newest first.
func (s servicesServer) ListServices(_ context.Context, req *runpb.ListServicesRequest) (*runpb.ListServicesResponse, error) {
	s.p.lock()
	defer s.p.mu.Unlock()
	if req.GetParent() != s.p.parent() {
		return &runpb.ListServicesResponse{}, nil
	}
	var all []*runpb.Service
	for _, found := range s.p.services {
		all = append(all, proto.CloneOf(found.pb))
	}
	slices.SortFunc(all, func(a, b *runpb.Service) int { return b.GetCreateTime().AsTime().Compare(a.GetCreateTime().AsTime()) })
	return &runpb.ListServicesResponse{Services: all}, nil
}

// dawdle is the scripted latency of a service's calls.
func (p *platform) dawdle(ctx context.Context, name string) error {
	p.lock()
	var d time.Duration
	if s := p.services[shortName(name)]; s != nil {
		d = s.faults.latency
	}
	p.mu.Unlock()
	if err := sleep(ctx, d); err != nil {
		return status.FromContextError(err).Err()
	}
	return nil
}
