package cloudrun

import (
	"maps"
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const opID = "r1-s1-a1"

// rollbackEdit plans api-7 to api-6 on a service that follows the latest revision.
func rollbackEdit() (*runpb.Service, edit) {
	s := serves("api-7")
	s.Annotations = map[string]string{"team": "core", "run.googleapis.com/client": "gcloud"}
	s.Template = &runpb.RevisionTemplate{Containers: []*runpb.Container{{Image: "repo/api@sha256:api-7"}}}
	e := newEdit(s)
	e.pinTo(s, "api-7", "api-6", noon)
	return s, e
}

// written is the service right after Cloud Run accepted the edit; nothing has moved yet.
func written(s *runpb.Service, e edit) *runpb.Service {
	w, _ := e.request(executors.Change{PlannedAt: noon}, opID)
	out := proto.CloneOf(s)
	out.Annotations, out.Traffic, out.Generation, out.Etag = w.Annotations, w.Traffic, s.Generation+1, "2"
	out.Reconciling = true
	return out
}

func moved(s *runpb.Service) {
	s.Reconciling, s.ObservedGeneration = false, s.Generation
	s.TrafficStatuses = []*runpb.TrafficTargetStatus{{Type: toRevision, Revision: "api-6", Percent: 100}}
}

func gaveUp(s *runpb.Service) {
	s.Reconciling, s.ObservedGeneration = false, s.Generation
	s.TerminalCondition = &runpb.Condition{State: runpb.Condition_CONDITION_FAILED, Message: "quota"}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	before, e := rollbackEdit()
	after := written(before, e)
	redeployed := func(s *runpb.Service) {
		s.Template = &runpb.RevisionTemplate{Containers: []*runpb.Container{{Image: "repo/api@sha256:api-8"}}}
		s.LatestCreatedRevision += "-8"
	}
	bumped := func(s *runpb.Service) { s.Etag, s.Generation, s.ObservedGeneration = "9", 9, 9 }
	for name, tc := range map[string]struct {
		from   *runpb.Service
		alter  []func(*runpb.Service)
		op     operation
		handle string
		want   executors.Progress
		detail string
	}{
		"nothing happened":                           {from: before, want: executors.NotApplied, detail: "the service is as it was when the change was planned"},
		"only the etag moved":                        {from: before, alter: []func(*runpb.Service){bumped}, want: executors.NotApplied, detail: "the service is as it was when the change was planned"},
		"accepted, does not show":                    {from: before, handle: "op", op: operation{Known: true}, want: executors.Pending, detail: "the change was accepted and does not show yet"},
		"accepted, then taken back by somebody":      {from: before, handle: "op", op: operation{Known: true, Done: true}, want: executors.Foreign},
		"accepted, failed without a trace":           {from: before, handle: "op", op: operation{Known: true, Done: true, Failure: "gone"}, want: executors.Failed, detail: "gone"},
		"a human deployed instead":                   {from: before, alter: []func(*runpb.Service){redeployed}, want: executors.Foreign},
		"under way":                                  {from: after, want: executors.Pending, detail: "api-7 100 %"},
		"under way, answered":                        {from: after, handle: "op", op: operation{Known: true}, want: executors.Pending, detail: "api-7 100 %"},
		"done":                                       {from: after, alter: []func(*runpb.Service){moved}, handle: "op", op: operation{Known: true, Done: true}, want: executors.Applied, detail: "api-6 100 %"},
		"done, never answered":                       {from: after, alter: []func(*runpb.Service){moved}, want: executors.Applied, detail: "api-6 100 %"},
		"done, operations may not be read":           {from: after, alter: []func(*runpb.Service){moved}, handle: "op", want: executors.Applied, detail: "api-6 100 %"},
		"shows done, the operation is not":           {from: after, alter: []func(*runpb.Service){moved}, handle: "op", op: operation{Known: true}, want: executors.Pending, detail: "api-6 100 %"},
		"moved, though the operation says a failure": {from: after, alter: []func(*runpb.Service){moved}, handle: "op", op: operation{Known: true, Done: true, Failure: "api-7 is not ready"}, want: executors.Applied, detail: "api-6 100 %"},
		"failed inside":                              {from: after, alter: []func(*runpb.Service){gaveUp}, handle: "op", op: operation{Known: true, Done: true, Failure: "deleted"}, want: executors.Failed, detail: "deleted"},
		"failed inside, never answered":              {from: after, alter: []func(*runpb.Service){gaveUp}, want: executors.Failed, detail: "quota"},
		"a human deployed after":                     {from: after, alter: []func(*runpb.Service){moved, redeployed}, want: executors.Foreign},
		"a human moved traffic after":                {from: after, alter: []func(*runpb.Service){moved, routed("api-5")}, want: executors.Foreign},
		"the mark is another operation's": {from: after, alter: []func(*runpb.Service){moved, func(s *runpb.Service) {
			s.Annotations = maps.Clone(s.Annotations)
			s.Annotations[markOperation] = "r9-s1-a1"
		}}, want: executors.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := proto.CloneOf(tc.from)
			for _, a := range tc.alter {
				a(s)
			}
			got := e.judge(reading{Service: s, Operation: tc.op, Handle: tc.handle}, opID)
			if got.Progress != tc.want || tc.detail != "" && got.Detail != tc.detail {
				t.Errorf("got %s (%s), want %s (%s)", got.Progress, got.Detail, tc.want, tc.detail)
			}
		})
	}
}

// TestJudgeLateCall: an earlier call of the run landed after it was taken for lost. It is ours, not somebody else's.
func TestJudgeLateCall(t *testing.T) {
	t.Parallel()
	before, e := rollbackEdit()
	after := written(before, e)
	moved(after)
	for id, want := range map[string]executors.Progress{
		"r1-s2-a2":  executors.Applied,
		"r1x-s2-a2": executors.Foreign,
		"r2-s1-a1":  executors.Foreign,
	} {
		if got := e.judge(reading{Service: after}, id); got.Progress != want {
			t.Errorf("asked for %s: %s, want %s (%s)", id, got.Progress, want, got.Detail)
		}
	}
	if got := e.judge(reading{Service: before}, "r1-s2-a2"); got.Progress != executors.NotApplied {
		t.Errorf("nothing landed: %s, want not_applied", got.Progress)
	}
}

func TestJudgeBounds(t *testing.T) {
	t.Parallel()
	before := serves("api-7")
	e := newEdit(before)
	e.Bounds = &bounds{Min: 5}
	after := written(before, e)
	after.Traffic, after.Scaling = before.Traffic, &runpb.ServiceScaling{MinInstanceCount: 5}
	after.Reconciling, after.ObservedGeneration = false, after.Generation
	broken := proto.CloneOf(after)
	gaveUp(broken)
	for name, tc := range map[string]struct {
		service *runpb.Service
		op      operation
		want    executors.Progress
	}{
		"done":                            {service: after, op: operation{Known: true, Done: true}, want: executors.Applied},
		"failed inside":                   {service: broken, op: operation{Known: true, Done: true, Failure: "quota"}, want: executors.Failed},
		"somebody else's problem":         {service: broken, op: operation{Known: true, Done: true}, want: executors.Applied},
		"whose problem cannot be told":    {service: broken, want: executors.Unclear},
		"set back by infrastructure code": {service: written(before, e), want: executors.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := proto.CloneOf(tc.service)
			if tc.want == executors.Foreign {
				s.Traffic = before.Traffic
			}
			if got := e.judge(reading{Service: s, Operation: tc.op, Handle: "op"}, opID); got.Progress != tc.want {
				t.Errorf("got %s (%s), want %s", got.Progress, got.Detail, tc.want)
			}
		})
	}
}

// TestJudgeCopy tells our new revision from a human's later deploy, whose template inherits our marks.
func TestJudgeCopy(t *testing.T) {
	t.Parallel()
	before, base := serves("api-7"), rev("api-7", 0)
	e := newEdit(before)
	r, err := newRebase(before, base)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.fix(base); err != nil {
		t.Fatal(err)
	}
	e.Rebase = r
	template, err := r.build(base)
	if err != nil {
		t.Fatal(err)
	}
	r.sign(template, opID, noon)
	after := written(before, e)
	after.Traffic, after.Template = before.Traffic, template
	made := rev("api-8", 0, func(m *runpb.Revision) { m.Annotations, m.Containers = template.Annotations, template.Containers })
	done := proto.CloneOf(after)
	done.Reconciling, done.ObservedGeneration = false, done.Generation
	latest(done, "api-8")
	redeployed := proto.CloneOf(done)
	redeployed.Template.Containers[0].Image = "repo/api@sha256:human"
	latest(redeployed, "api-9")
	for name, tc := range map[string]struct {
		service *runpb.Service
		created *runpb.Revision
		want    executors.Progress
	}{
		"the revision does not show yet":    {service: after, created: base, want: executors.Pending},
		"starting":                          {service: after, created: made, want: executors.Pending},
		"serves":                            {service: done, created: made, want: executors.Applied},
		"deployed over, the marks are kept": {service: redeployed, created: rev("api-9", 0, func(m *runpb.Revision) { m.Annotations = template.Annotations }), want: executors.Foreign},
		"another revision came in between":  {service: done, created: rev("api-9", 0), want: executors.Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := e.judge(reading{Service: tc.service, Created: tc.created}, opID); got.Progress != tc.want {
				t.Errorf("got %s (%s), want %s", got.Progress, got.Detail, tc.want)
			}
		})
	}
}

func latest(s *runpb.Service, name string) {
	s.LatestCreatedRevision = s.Name + "/revisions/" + name
	s.LatestReadyRevision = s.LatestCreatedRevision
}

func TestUndoOnlyWhatIsUntouched(t *testing.T) {
	t.Parallel()
	before, e := rollbackEdit()
	left := written(before, e)
	moved(left)
	for name, tc := range map[string]struct {
		alter  func(*runpb.Service)
		reason guard.Reason
		part   string
	}{
		"as the change left it": {alter: func(*runpb.Service) {}},
		"under way":             {alter: func(s *runpb.Service) { s.Reconciling = true }, reason: guard.Reconciling},
		"another change of ours, to the same state": {alter: func(s *runpb.Service) {
			s.Annotations[markPlanned] = stamp(noon.Add(time.Minute))
		}, reason: guard.HumanHand, part: "the last change of api was not this one"},
		"traffic moved": {alter: routed("api-5"), reason: guard.HumanHand, part: "no longer what the change left"},
		"deployed":      {alter: func(s *runpb.Service) { latest(s, "api-8") }, reason: guard.HumanHand, part: "no longer what the change left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := proto.CloneOf(left)
			tc.alter(s)
			back, err := undoTraffic(executors.Env{}, executors.Change{Kind: "cloud_run.rollback", PlannedAt: noon}, e, s)
			refused(t, err, tc.reason, tc.part)
			if err == nil && back.Settles != executors.DebtPinnedTraffic {
				t.Errorf("settles %q", back.Settles)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	s, _ := rollbackEdit()
	s.Traffic = append(s.Traffic, &runpb.TrafficTarget{Type: toRevision, Revision: "api-5", Tag: "old"}, &runpb.TrafficTarget{Type: toLatest, Tag: "next"})
	e := newEdit(s)
	e.pinTo(s, "api-7", "api-6", noon)
	got, mask := e.request(executors.Change{Etag: "1", PlannedAt: noon}, opID)
	if diff := cmp.Diff([]string{"annotations", "traffic"}, mask); diff != "" {
		t.Errorf("mask (-want +got):\n%s", diff)
	}
	want := &runpb.Service{
		Name: s.Name, Etag: "1",
		Annotations: map[string]string{
			"team": "core", markOperation: opID, markPlanned: "2026-03-04T12:00:00Z",
			markRolledBack: "api-7 api-6 2026-03-04T12:00:00Z latest", markKnownBad: "api-7",
		},
		Traffic: []*runpb.TrafficTarget{
			{Type: toRevision, Revision: "api-6", Percent: 100}, {Type: toLatest, Tag: "next"}, {Type: toRevision, Revision: "api-5", Tag: "old"},
		},
	}
	if !proto.Equal(want, got) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// TestTemplateOf fills every field of a template that a revision has too, so that a field Cloud Run adds is not forgotten.
func TestTemplateOf(t *testing.T) {
	t.Parallel()
	base := rev("api-7", 0, copyOf("api-6"))
	base.Labels = map[string]string{"commit": "abc", "serving.knative.dev/x": "1"}
	base.Annotations["mine"] = "kept"
	base.Annotations["run.googleapis.com/y"] = "1"
	base.ServiceAccount, base.MaxInstanceRequestConcurrency, base.SessionAffinity = "sa", 80, true
	base.Scaling = &runpb.RevisionScaling{MinInstanceCount: 2}
	base.Containers[0].Env = []*runpb.EnvVar{{Name: "A", Values: &runpb.EnvVar_Value{Value: "1"}}}
	got := templateOf(base)
	want := &runpb.RevisionTemplate{
		Labels: map[string]string{"commit": "abc"}, Annotations: map[string]string{"mine": "kept"}, ServiceAccount: "sa",
		MaxInstanceRequestConcurrency: 80, SessionAffinity: true, Scaling: base.Scaling, Containers: base.Containers,
	}
	if !proto.Equal(want, got) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	from, to := base.ProtoReflect().Descriptor().Fields(), got.ProtoReflect().Descriptor().Fields()
	for i := range to.Len() {
		name := to.Get(i).Name()
		if from.ByName(name) == nil && name != "revision" && name != "health_check_disabled" {
			t.Errorf("a template's %s is not in a revision: a copy would lose it", name)
		}
	}
}

func TestBuildSetsOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	base := rev("api-7", 0)
	base.Containers = []*runpb.Container{
		{Name: "sidecar", Image: "repo/proxy@sha256:1"},
		{Name: "app", Image: "repo/api@sha256:2", Ports: []*runpb.ContainerPort{{ContainerPort: 8080}}, Env: []*runpb.EnvVar{
			{Name: "A", Values: &runpb.EnvVar_Value{Value: "1"}}, {Name: "B", Values: &runpb.EnvVar_Value{Value: "2"}},
		}},
	}
	s := serves("api-7")
	s.Template = &runpb.RevisionTemplate{HealthCheckDisabled: true, Containers: []*runpb.Container{{Image: "repo/bad@sha256:9"}}}
	r, err := newRebase(s, base)
	if err != nil {
		t.Fatal(err)
	}
	r.Env = map[string]EnvValue{"A": {Value: "x"}, "C": {Secret: "db"}}
	got, err := r.build(base)
	if err != nil {
		t.Fatal(err)
	}
	want := proto.CloneOf(base).Containers
	want[1].Env[0].Values = &runpb.EnvVar_Value{Value: "x"}
	want[1].Env = append(want[1].Env, &runpb.EnvVar{Name: "C", Values: &runpb.EnvVar_ValueSource{
		ValueSource: &runpb.EnvVarSource{SecretKeyRef: &runpb.SecretKeySelector{Secret: "db", Version: "latest"}},
	}})
	if len(got.Containers) != 2 || !proto.Equal(got.Containers[0], want[0]) || !proto.Equal(got.Containers[1], want[1]) {
		t.Errorf("got %v\nwant %v", got.Containers, want)
	}
	if got.Revision != "" || !got.HealthCheckDisabled {
		t.Errorf("revision %q, health check disabled %t", got.Revision, got.HealthCheckDisabled)
	}
	if base.Containers[1].Env[0].GetValue() != "1" {
		t.Error("the base was altered")
	}
}
