package sandbox_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/sandbox"
)

func TestRollbackMovesTrafficAndPins(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	before := f.get()
	after := f.rollBack("mixillo-backend-00002-bbb")
	if diff := cmp.Diff(map[string]int32{"mixillo-backend-00002-bbb": 100}, f.Serving(backend)); diff != "" {
		t.Error(diff)
	}
	if after.GetReconciling() || after.GetObservedGeneration() != before.GetGeneration()+1 || after.GetEtag() == before.GetEtag() {
		t.Errorf("after the operation: reconciling %v, observed %d, etag %s", after.GetReconciling(), after.GetObservedGeneration(), after.GetEtag())
	}
	if got := len(f.list(0)); got != 3 {
		t.Errorf("a traffic change made a revision: %d", got)
	}
	name, err := f.Deploy(backend, sandbox.Revision{})
	must(t, err)
	if got := f.Serving(backend)[name]; got != 0 {
		t.Errorf("a deploy onto pinned traffic serves %d %%", got)
	}
	s := f.get()
	s.Traffic = []*runpb.TrafficTarget{latest()}
	op, err := f.update(s, "traffic")
	must(t, err)
	_, err = f.settle(op)
	must(t, err)
	if got := f.Serving(backend)[name]; got != 100 {
		t.Errorf("unpinned, the newest revision serves %d %%", got)
	}
	if st := f.get().GetTrafficStatuses()[0]; st.GetRevision() != "" || st.GetPercent() != 100 {
		t.Errorf("a LATEST status names no revision, got %v", st)
	}
}

func TestStatusLagsUntilTheOperationIsDone(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{Speed: 1})
	f.SetOperationTime(time.Second, time.Second)
	s := f.get()
	s.Traffic = []*runpb.TrafficTarget{pinned("mixillo-backend-00002-bbb", 100)}
	op, err := f.update(s, "traffic")
	must(t, err)
	during := f.get()
	if !during.GetReconciling() || during.GetTrafficStatuses()[0].GetRevision() != "" || during.GetTraffic()[0].GetRevision() == "" {
		t.Errorf("during the operation: %v wished %v", during.GetTrafficStatuses(), during.GetTraffic())
	}
	resumed := f.services.UpdateServiceOperation(op.Name())
	got, err := f.settle(resumed)
	must(t, err)
	if got.GetTrafficStatuses()[0].GetRevision() != "mixillo-backend-00002-bbb" {
		t.Errorf("resumed by name: %v", got.GetTrafficStatuses())
	}
}

func TestStaleEtagIsAborted(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*fixture) error{
		"bump":        func(f *fixture) error { return f.BumpEtag(backend) },
		"bump before": func(f *fixture) error { return f.BumpEtagBeforeNextUpdate(backend) },
		"human":       func(f *fixture) error { return f.DeployBeforeNextUpdate(backend, sandbox.Revision{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t, sandbox.Config{})
			s := f.get()
			must(t, disturb(f))
			s.Traffic = []*runpb.TrafficTarget{pinned("mixillo-backend-00002-bbb", 100)}
			_, err := f.update(s, "traffic")
			want := "Conflict for resource 'mixillo-backend': version '" + s.GetEtag() + "' was specified but current version is '" + f.get().GetEtag() + "'."
			if status.Code(err) != codes.Aborted || status.Convert(err).Message() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if got := f.Serving(backend)["mixillo-backend-00002-bbb"]; got != 0 {
				t.Errorf("a refused update moved %d %%", got)
			}
			if all := verbs(f.Ledger(), "cloud_run"); !slices.Contains(all, "update_service_refused") {
				t.Errorf("the refusal is not in the ledger: %v", all)
			}
			f.rollBack("mixillo-backend-00002-bbb")
		})
	}
}

func TestOperationsFailInside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*fixture) error
		traffic string
		code    codes.Code
		message string
	}{
		"scripted": {func(f *fixture) error { return f.FailNextOperation(backend, "quota of instances exceeded") }, "mixillo-backend-00002-bbb", codes.Internal, "quota of instances exceeded"},
		"unknown":  {func(*fixture) error { return nil }, "mixillo-backend-00009-zzz", codes.Internal, "Revision 'mixillo-backend-00009-zzz' does not exist or is deleted."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t, sandbox.Config{})
			must(t, c.prepare(f))
			s := f.get()
			s.Traffic = []*runpb.TrafficTarget{pinned(c.traffic, 100)}
			op, err := f.update(s, "traffic")
			must(t, err)
			_, err = f.settle(op)
			if status.Code(err) != c.code || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v", err)
			}
			if got := f.Serving(backend)["mixillo-backend-00003-ccc"]; got != 100 {
				t.Errorf("traffic moved although the operation failed: %v", f.Serving(backend))
			}
			if state := f.get().GetTerminalCondition().GetState(); state != runpb.Condition_CONDITION_FAILED {
				t.Errorf("terminal condition is %s", state)
			}
			f.rollBack("mixillo-backend-00002-bbb")
		})
	}
}

func TestRefusedAtTheCall(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*runpb.Service)
		paths  []string
		code   codes.Code
	}{
		"unknown revision, strict": {func(s *runpb.Service) { s.Traffic = []*runpb.TrafficTarget{pinned("nope", 100)} }, []string{"traffic"}, codes.FailedPrecondition},
		"sum":                      {func(s *runpb.Service) { s.Traffic[0].Percent = 90 }, []string{"traffic"}, codes.InvalidArgument},
		"named template":           {func(s *runpb.Service) { s.Template.Annotations = map[string]string{"a": "b"} }, []string{"template"}, codes.AlreadyExists},
		"full replace, named":      {func(s *runpb.Service) { s.Template.Containers[0].Image = "x@sha256:1" }, nil, codes.AlreadyExists},
		"reserved key":             {func(s *runpb.Service) { s.Annotations = map[string]string{"run.googleapis.com/x": "y"} }, []string{"annotations"}, codes.InvalidArgument},
		"unknown path":             {func(*runpb.Service) {}, []string{"scaling.minInstanceCount"}, codes.InvalidArgument},
		"unknown service":          {func(s *runpb.Service) { s.Name = "projects/mixillo/locations/europe-west1/services/nope" }, []string{"traffic"}, codes.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := badDeploy(t, sandbox.Config{})
			f.SetStrictTraffic(true)
			s := f.get()
			c.change(s)
			if _, err := f.update(s, c.paths...); status.Code(err) != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

func TestUpdateMask(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	s := f.get()
	s.Annotations = map[string]string{"remediator.dev/operation": "run-1-1"}
	s.Scaling = &runpb.ServiceScaling{MinInstanceCount: 5, MaxInstanceCount: 7}
	s.Traffic = nil
	op, err := f.update(s, "annotations", "scaling.min_instance_count")
	must(t, err)
	got, err := f.settle(op)
	must(t, err)
	if got.GetAnnotations()["remediator.dev/operation"] != "run-1-1" || got.GetScaling().GetMinInstanceCount() != 5 {
		t.Errorf("masked fields were not written: %v %v", got.GetAnnotations(), got.GetScaling())
	}
	if got.GetScaling().GetMaxInstanceCount() != 0 || len(got.GetTraffic()) != 1 {
		t.Errorf("fields outside the mask were written: %v %v", got.GetScaling(), got.GetTraffic())
	}
	if n := len(f.list(0)); n != 3 {
		t.Errorf("neither annotations nor service scaling make a revision, there are %d", n)
	}
	last := f.Ledger()[len(f.Ledger())-1]
	if diff := cmp.Diff([]string{"scaling", "annotations"}, last.Detail["changed"]); diff != "" {
		t.Error(diff)
	}
	if last.Detail["scaling_after"] != "min=5 max=0" {
		t.Errorf("the ledger says %v", last.Detail)
	}
}

func TestRestartFromTheServingRevision(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	must(t, f.AddService(sandbox.Service{Name: backend}))
	rev := f.list(0)[0]
	must(t, f.SetHealth(backend, short(rev.GetName()), sandbox.Sick503))
	s := f.get()
	s.Template.Revision = ""
	s.Template.Annotations = map[string]string{"remediator.dev/restarted": "1"}
	s.Template.Containers[0].Image = rev.GetContainers()[0].GetImage()
	op, err := f.update(s, "template")
	must(t, err)
	got, err := f.settle(op)
	must(t, err)
	fresh := short(got.GetLatestReadyRevision())
	if fresh == short(rev.GetName()) || f.Serving(backend)[fresh] != 100 {
		t.Fatalf("the restart serves %v, latest ready %s", f.Serving(backend), fresh)
	}
	if code := f.health(); code != 200 {
		t.Errorf("/health answers %d after the restart", code)
	}
}

func TestMutableTagsMove(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	f.rollBack("mixillo-backend-00002-bbb")
	s := f.get()
	s.Template.Revision, s.Template.Annotations = "", map[string]string{"nonce": "1"}
	op, err := f.update(s, "template")
	must(t, err)
	got, err := f.settle(op)
	must(t, err)
	images := map[string]string{}
	for _, r := range f.list(0) {
		images[short(r.GetName())] = r.GetContainers()[0].GetImage()
		if !strings.Contains(images[short(r.GetName())], "@sha256:") {
			t.Errorf("%s has no digest: %s", r.GetName(), images[short(r.GetName())])
		}
	}
	if images[short(got.GetLatestCreatedRevision())] != images["mixillo-backend-00003-ccc"] {
		t.Error("an unpinned image must resolve to the newest deploy's")
	}
}

func TestNeverReadyRevisionGetsNoTraffic(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	must(t, f.AddService(sandbox.Service{Name: backend, Revisions: []sandbox.Revision{{Name: "mixillo-backend-00001-aaa", CreatedAgo: time.Hour}}}))
	name, err := f.Deploy(backend, sandbox.Revision{Health: sandbox.NeverReady})
	must(t, err)
	s := f.get()
	if short(s.GetLatestCreatedRevision()) != name || short(s.GetLatestReadyRevision()) != "mixillo-backend-00001-aaa" || f.Serving(backend)[name] != 0 {
		t.Errorf("created %s ready %s serving %v", s.GetLatestCreatedRevision(), s.GetLatestReadyRevision(), f.Serving(backend))
	}
	if state := s.GetTerminalCondition().GetState(); state != runpb.Condition_CONDITION_FAILED {
		t.Errorf("a deploy that never starts leaves the service %s", state)
	}
	s.Traffic = []*runpb.TrafficTarget{pinned(name, 100)}
	op, err := f.update(s, "traffic")
	must(t, err)
	if _, err = f.settle(op); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("routing to it gives %v", err)
	}
	s = f.get()
	s.Traffic, s.Template.Revision, s.Template.Annotations = nil, "", map[string]string{"nonce": "1"}
	op, err = f.update(s, "template", "traffic")
	must(t, err)
	if _, err = f.settle(op); status.Code(err) != codes.FailedPrecondition || f.Serving(backend)["mixillo-backend-00001-aaa"] != 100 {
		t.Errorf("another revision of its image gives %v, serving %v", err, f.Serving(backend))
	}
}

func TestLatencyIsBeforeTheEffect(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	s := f.get()
	must(t, f.Latency(backend, time.Minute))
	ctx, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	_, err := f.services.UpdateService(ctx, &runpb.UpdateServiceRequest{Service: s})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	must(t, f.Latency(backend, 0))
	if got := f.get().GetGeneration(); got != s.GetGeneration() {
		t.Errorf("a call given up during the delay took effect: generation %d", got)
	}
}

func TestRevisionsAreUnorderedPagedAndKeepTheirPast(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{Seed: 7})
	script := sandbox.Service{Name: backend}
	for range 9 {
		script.Revisions = append(script.Revisions, sandbox.Revision{})
	}
	script.Revisions[4].Health = sandbox.NeverReady
	must(t, f.AddService(script))
	var names []string
	ready, active := 0, 0
	for _, r := range f.list(2) {
		names = append(names, short(r.GetName()))
		ready += succeeded(r, "Ready")
		active += succeeded(r, "Active")
	}
	if len(names) != 9 || ready != 8 || active != 1 {
		t.Errorf("%d revisions, %d ready, %d active", len(names), ready, active)
	}
	if slices.IsSorted(names) {
		t.Error("the list is in order")
	}
}

func succeeded(r *runpb.Revision, kind string) int {
	for _, c := range r.GetConditions() {
		if c.GetType() == kind && c.GetState() == runpb.Condition_CONDITION_SUCCEEDED {
			return 1
		}
	}
	return 0
}

func TestSplitAndTags(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	must(t, f.Split(backend,
		sandbox.Share{Revision: "mixillo-backend-00002-bbb", Percent: 90},
		sandbox.Share{Revision: "mixillo-backend-00003-ccc", Percent: 10},
		sandbox.Share{Revision: "mixillo-backend-00001-aaa", Tag: "old"}))
	if diff := cmp.Diff(map[string]int32{"mixillo-backend-00001-aaa": 0, "mixillo-backend-00002-bbb": 90, "mixillo-backend-00003-ccc": 10}, f.Serving(backend)); diff != "" {
		t.Error(diff)
	}
	tagged := f.get().GetTrafficStatuses()[2]
	if tagged.GetTag() != "old" || tagged.GetPercent() != 0 || tagged.GetUri() == "" {
		t.Errorf("the tag shows as %v", tagged)
	}
	for _, r := range f.list(0) {
		if succeeded(r, "Active") != 1 {
			t.Errorf("%s is retired although it has traffic or a tag", r.GetName())
		}
	}
}

func TestApplyThenFail(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	must(t, f.ApplyThenFail(backend, codes.Unavailable))
	s := f.get()
	s.Traffic = []*runpb.TrafficTarget{pinned("mixillo-backend-00002-bbb", 100)}
	if _, err := f.update(s, "traffic"); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	f.eventually(func() bool { return f.Serving(backend)["mixillo-backend-00002-bbb"] == 100 })
	s = f.get()
	s.Annotations = map[string]string{"a": "b"}
	if _, err := f.update(s, "annotations"); err != nil {
		t.Errorf("the fault must be gone after one call: %v", err)
	}
}

func TestRunningDeployReconciles(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{Speed: 1})
	name, err := f.Deploy(backend, sandbox.Revision{DeployTime: time.Second})
	must(t, err)
	if s := f.get(); !s.GetReconciling() || f.Serving(backend)[name] != 0 {
		t.Errorf("reconciling %v, serving %v", s.GetReconciling(), f.Serving(backend))
	}
	f.eventually(func() bool { return f.Serving(backend)[name] == 100 })
	if s := f.get(); s.GetReconciling() || s.GetLastModifier() != "ann@example.com" {
		t.Errorf("reconciling %v, modified by %s", s.GetReconciling(), s.GetLastModifier())
	}
}

func TestScriptedCallFaults(t *testing.T) {
	t.Parallel()
	f := badDeploy(t, sandbox.Config{})
	f.FailCalls(sandbox.CallFault{Method: "ListRevisions", Code: codes.PermissionDenied})
	it := f.revisions.ListRevisions(f.ctx, &runpb.ListRevisionsRequest{Parent: fullName})
	if _, err := it.Next(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	if len(f.list(0)) != 3 {
		t.Error("the fault must be gone after one call")
	}
}
