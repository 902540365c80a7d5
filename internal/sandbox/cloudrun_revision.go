package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	coldStart    = 10 * time.Second // before Speed
	startFailure = "The user-provided container failed to start and listen on the port defined provided by the PORT=8080 environment variable within the allocated timeout."
)

// runRevision is one immutable revision and the instances it has.
type runRevision struct {
	name     string // short
	uid      string
	created  time.Time
	creator  string
	template *runpb.RevisionTemplate // as written
	image    string                  // resolved to a digest
	code     profile
	state    Health // of its running instances, when it differs from the code's: "" follows the code
	starting bool
	ready    bool
	warm     bool      // it has instances
	warmAt   time.Time // a cold start answers 503 until then
}

func (r *runRevision) health() Health {
	if r.state != "" {
		return r.state
	}
	return r.code.health
}

func (r *runRevision) env(name string) string {
	for _, c := range r.template.GetContainers() {
		for _, e := range c.GetEnv() {
			if e.GetName() != name {
				continue
			}
			if ref := e.GetValueSource().GetSecretKeyRef(); ref != nil {
				return "secret:" + ref.GetSecret() + ":" + ref.GetVersion()
			}
			return e.GetValue()
		}
	}
	return ""
}

// sick says whether requests to the revision fail now, and so at what ratio.
func (s *runService) sick(r *runRevision) bool {
	if r.health() == Sick503 || r.health() == NeverReady || s.dependencyDown {
		return true
	}
	for name, want := range s.requiredEnv {
		if r.env(name) != want {
			return true
		}
	}
	return false
}

// show renders the revision as the API does.
func (p *platform) show(s *runService, r *runRevision) *runpb.Revision {
	t := r.template
	containers := make([]*runpb.Container, 0, len(t.GetContainers()))
	for i, c := range t.GetContainers() {
		c = proto.CloneOf(c)
		if i == 0 {
			c.Image = r.image
		}
		containers = append(containers, c)
	}
	active := s.routed(r.name)
	return &runpb.Revision{
		Name: s.pb.GetName() + "/revisions/" + r.name, Uid: r.uid, Generation: 1, ObservedGeneration: 1,
		Service: s.short(), Creator: r.creator, CreateTime: timestamppb.New(r.created), UpdateTime: timestamppb.New(r.created),
		Labels: maps.Clone(t.GetLabels()), Annotations: maps.Clone(t.GetAnnotations()),
		Scaling: proto.CloneOf(t.GetScaling()), VpcAccess: proto.CloneOf(t.GetVpcAccess()), Timeout: proto.CloneOf(t.GetTimeout()),
		ServiceAccount: t.GetServiceAccount(), Containers: containers, Volumes: t.GetVolumes(),
		ExecutionEnvironment: t.GetExecutionEnvironment(), MaxInstanceRequestConcurrency: t.GetMaxInstanceRequestConcurrency(),
		SessionAffinity: t.GetSessionAffinity(), Reconciling: r.starting,
		Conditions: r.conditions(active), Etag: fmt.Sprint(r.created.UnixMicro()),
		ScalingStatus: &runpb.RevisionScalingStatus{DesiredMinInstanceCount: t.GetScaling().GetMinInstanceCount()},
	}
}

// conditions: Ready is the health of the start; Active only says whether
// traffic or a tag keeps the revision alive.
func (r *runRevision) conditions(active bool) []*runpb.Condition {
	if r.starting {
		return []*runpb.Condition{{
			Type: "Ready", State: runpb.Condition_CONDITION_RECONCILING, LastTransitionTime: timestamppb.New(r.created),
			Reasons: &runpb.Condition_RevisionReason_{RevisionReason: runpb.Condition_PENDING},
		}}
	}
	failure := pick(r.ready, "", startFailure)
	ready := condition("Ready", r.ready, failure, r.created)
	healthy := condition("ContainerHealthy", r.ready, failure, r.created)
	if !r.ready {
		reason := &runpb.Condition_RevisionReason_{RevisionReason: runpb.Condition_HEALTH_CHECK_CONTAINER_ERROR}
		ready.Reasons, healthy.Reasons = reason, reason
	}
	act := condition("Active", active, pick(active, "", "Revision retired."), r.created)
	if !active {
		act.Severity = runpb.Condition_INFO
		act.Reasons = &runpb.Condition_RevisionReason_{RevisionReason: runpb.Condition_RETIRED}
	}
	return []*runpb.Condition{
		ready, act, healthy,
		condition("ContainerReady", true, "", r.created),
		condition("ResourcesAvailable", true, "", r.created),
	}
}

// routed: traffic or a tag keeps it from being retired.
func (s *runService) routed(name string) bool {
	if s.serving[name] > 0 {
		return true
	}
	return slices.ContainsFunc(s.pb.GetTrafficStatuses(), func(t *runpb.TrafficTargetStatus) bool {
		return t.GetTag() != "" && s.resolves(t.GetType(), t.GetRevision()) == name
	})
}

// create adds a starting revision for the template. Caller has judged the name.
func (p *platform) create(s *runService, t *runpb.RevisionTemplate, at time.Time) *runRevision {
	s.serial++
	r := &runRevision{
		name: t.GetRevision(), uid: p.dice.uuid(), created: at, template: proto.CloneOf(t),
		image: s.resolveImage(t), starting: true, creator: humanEmail,
	}
	if r.name == "" {
		r.name = p.newRevisionName(s)
	}
	code, known := s.images[r.image]
	if !known {
		code = codeOf(Revision{}.withDefaults())
	}
	r.code = code
	s.revisions[r.name] = r
	s.pb.LatestCreatedRevision = s.pb.GetName() + "/revisions/" + r.name
	return r
}

func (p *platform) newRevisionName(s *runService) string {
	return fmt.Sprintf("%s-%05d-%s", s.short(), s.serial, p.dice.suffix())
}

// resolveImage turns a mutable tag into whatever it points at today.
func (s *runService) resolveImage(t *runpb.RevisionTemplate) string {
	if len(t.GetContainers()) == 0 {
		return ""
	}
	image := t.GetContainers()[0].GetImage()
	if strings.Contains(image, "@sha256:") {
		return image
	}
	return s.latestImage
}

func codeOf(r Revision) profile {
	return profile{health: r.Health, errorRatio: r.ErrorRatio, p50: r.P50, p95: r.P95}
}

// start ends the start of a revision, and says why it failed if it did.
func (s *runService) start(r *runRevision) (failure string) {
	r.starting = false
	if r.code.health == NeverReady {
		return fmt.Sprintf("Revision '%s' is not ready and cannot serve traffic. %s", r.name, startFailure)
	}
	r.ready, r.warm = true, true
	s.pb.LatestReadyRevision = s.pb.GetName() + "/revisions/" + r.name
	return ""
}
