package sandbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	run "cloud.google.com/go/run/apiv2"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/mixillo/remediator/internal/sandbox"
)

const (
	backend  = "mixillo-backend"
	fullName = "projects/mixillo/locations/europe-west1/services/" + backend
)

// fixture is a world with real Cloud Run clients connected to it.
type fixture struct {
	*testing.T
	*sandbox.World
	ctx       context.Context
	services  *run.ServicesClient
	revisions *run.RevisionsClient
}

func googleOptions(w *sandbox.World) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(w.GoogleEndpoint()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

func start(t *testing.T, cfg sandbox.Config) *fixture {
	t.Helper()
	if cfg.Speed == 0 {
		cfg.Speed = 1000
	}
	w, err := sandbox.Start(cfg)
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	services, err := run.NewServicesClient(ctx, googleOptions(w)...)
	must(t, err)
	t.Cleanup(func() { _ = services.Close() })
	revisions, err := run.NewRevisionsClient(ctx, googleOptions(w)...)
	must(t, err)
	t.Cleanup(func() { _ = revisions.Close() })
	return &fixture{T: t, World: w, ctx: ctx, services: services, revisions: revisions}
}

// badDeploy is the demo's story: two good revisions, then a sick one that
// serves since five minutes.
func badDeploy(t *testing.T, cfg sandbox.Config) *fixture {
	t.Helper()
	f := start(t, cfg)
	must(t, f.AddService(sandbox.Service{Name: backend, Revisions: []sandbox.Revision{
		{Name: "mixillo-backend-00001-aaa", CreatedAgo: 72 * time.Hour},
		{Name: "mixillo-backend-00002-bbb", CreatedAgo: 24 * time.Hour},
		{Name: "mixillo-backend-00003-ccc", CreatedAgo: 5 * time.Minute, Health: sandbox.Sick503},
	}}))
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) get() *runpb.Service {
	f.Helper()
	s, err := f.services.GetService(f.ctx, &runpb.GetServiceRequest{Name: fullName})
	must(f.T, err)
	return s
}

// update writes the masked fields of s.
func (f *fixture) update(s *runpb.Service, paths ...string) (*run.UpdateServiceOperation, error) {
	req := &runpb.UpdateServiceRequest{Service: s}
	if len(paths) > 0 {
		req.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths}
	}
	return f.services.UpdateService(f.ctx, req)
}

// settle polls an operation to its end.
func (f *fixture) settle(op *run.UpdateServiceOperation) (*runpb.Service, error) {
	f.Helper()
	var s *runpb.Service
	var err error
	f.eventually(func() bool {
		s, err = op.Poll(f.ctx)
		return op.Done()
	})
	return s, err
}

func (f *fixture) eventually(ok func() bool) {
	f.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	f.Fatal("it did not come true in time")
}

func pinned(revision string, percent int32) *runpb.TrafficTarget {
	return &runpb.TrafficTarget{Type: runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION, Revision: revision, Percent: percent}
}

func latest() *runpb.TrafficTarget {
	return &runpb.TrafficTarget{Type: runpb.TrafficTargetAllocationType_TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST, Percent: 100}
}

// rollBack pins all traffic to a revision and waits.
func (f *fixture) rollBack(revision string) *runpb.Service {
	f.Helper()
	s := f.get()
	s.Traffic = []*runpb.TrafficTarget{pinned(revision, 100)}
	op, err := f.update(s, "traffic")
	must(f.T, err)
	s, err = f.settle(op)
	must(f.T, err)
	return s
}

func (f *fixture) list(pageSize int32) []*runpb.Revision {
	f.Helper()
	it := f.revisions.ListRevisions(f.ctx, &runpb.ListRevisionsRequest{Parent: fullName, PageSize: pageSize})
	var out []*runpb.Revision
	for {
		r, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out
		}
		must(f.T, err)
		out = append(out, r)
	}
}

func short(name string) string { return name[strings.LastIndex(name, "/")+1:] }

func verbs(entries []sandbox.Entry, system string) []string {
	var out []string
	for _, e := range entries {
		if e.System == system {
			out = append(out, e.Verb)
		}
	}
	return out
}
