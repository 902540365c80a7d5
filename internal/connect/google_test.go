package connect

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type standInServices struct {
	runpb.UnimplementedServicesServer
}

func (standInServices) GetService(ctx context.Context, r *runpb.GetServiceRequest) (*runpb.Service, error) {
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("authorization")) > 0 {
		return nil, status.Error(codes.Internal, "credentials were sent over plaintext")
	}
	return &runpb.Service{Name: r.GetName(), Etag: "1"}, nil
}

func (standInServices) DeleteService(context.Context, *runpb.DeleteServiceRequest) (*longrunningpb.Operation, error) {
	return nil, status.Error(codes.Aborted, "Conflict for resource 'api': version '1' was specified but current version is '2'.")
}

type standInRevisions struct {
	runpb.UnimplementedRevisionsServer
}

func (standInRevisions) ListRevisions(context.Context, *runpb.ListRevisionsRequest) (*runpb.ListRevisionsResponse, error) {
	return &runpb.ListRevisionsResponse{Revisions: []*runpb.Revision{{Name: "api-1"}}}, nil
}

type standInMetrics struct {
	monitoringpb.UnimplementedMetricServiceServer
}

func (standInMetrics) ListTimeSeries(context.Context, *monitoringpb.ListTimeSeriesRequest) (*monitoringpb.ListTimeSeriesResponse, error) {
	return &monitoringpb.ListTimeSeriesResponse{TimeSeries: []*monitoringpb.TimeSeries{{Unit: "ms"}}}, nil
}

type standInLogs struct {
	loggingpb.UnimplementedLoggingServiceV2Server
}

func (standInLogs) ListLogEntries(context.Context, *loggingpb.ListLogEntriesRequest) (*loggingpb.ListLogEntriesResponse, error) {
	return &loggingpb.ListLogEntriesResponse{Entries: []*loggingpb.LogEntry{{LogName: "projects/p/logs/x", InsertId: "1", Timestamp: timestamppb.Now()}}}, nil
}

func standIn(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	runpb.RegisterServicesServer(srv, standInServices{})
	runpb.RegisterRevisionsServer(srv, standInRevisions{})
	monitoringpb.RegisterMetricServiceServer(srv, standInMetrics{})
	loggingpb.RegisterLoggingServiceV2Server(srv, standInLogs{})
	go func() { _ = srv.Serve(lis) }()
	t.Cleanup(srv.Stop)
	return lis.Addr().String()
}

func newGoogle(t *testing.T) *Google {
	t.Helper()
	g, err := NewGoogle(t.Context(), GoogleConfig{Project: "p", Region: "europe-west1", Endpoint: standIn(t), Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestGoogleServices(t *testing.T) {
	t.Parallel()
	g := newGoogle(t)
	// The context of the first use must not be the client's life.
	first, cancel := context.WithCancel(t.Context())
	services, err := g.Services(first)
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	name := "projects/p/locations/europe-west1/services/api"
	if got, err := services.GetService(t.Context(), &runpb.GetServiceRequest{Name: name}); err != nil || got.GetName() != name {
		t.Errorf("GetService = %v, %v", got, err)
	}
	if again, err := g.Services(t.Context()); err != nil || again != services {
		t.Errorf("the second use made another client, %v", err)
	}
	_, err = services.DeleteService(t.Context(), &runpb.DeleteServiceRequest{Name: name, Etag: "0"})
	if !IsConflict(err) || IsAmbiguous(err) || IsPermanent(err) {
		t.Errorf("stale etag: %v", err)
	}
	_, err = services.UpdateService(t.Context(), &runpb.UpdateServiceRequest{Service: &runpb.Service{Name: name}})
	if !IsPermanent(err) || IsAmbiguous(err) {
		t.Errorf("unimplemented: %v", err)
	}
}

func TestGoogleReads(t *testing.T) {
	t.Parallel()
	g := newGoogle(t)
	revisions, err := g.Revisions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if rev, err := revisions.ListRevisions(t.Context(), &runpb.ListRevisionsRequest{Parent: "projects/p/locations/l/services/api"}).Next(); err != nil || rev.GetName() != "api-1" {
		t.Errorf("ListRevisions = %v, %v", rev, err)
	}
	metrics, err := g.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if series, err := metrics.ListTimeSeries(t.Context(), &monitoringpb.ListTimeSeriesRequest{Name: "projects/p"}).Next(); err != nil || series.GetUnit() != "ms" {
		t.Errorf("ListTimeSeries = %v, %v", series, err)
	}
	logs, err := g.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries := logs.ListLogEntries(t.Context(), &loggingpb.ListLogEntriesRequest{ResourceNames: []string{"projects/p"}})
	if entry, err := entries.Next(); err != nil || entry.GetInsertId() != "1" {
		t.Errorf("ListLogEntries = %v, %v", entry, err)
	}
	if _, err := entries.Next(); err != iterator.Done { //nolint:errorlint // as the iterator documents
		t.Errorf("second entry: %v", err)
	}
}

func TestGoogleReopensAfterClose(t *testing.T) {
	t.Parallel()
	g := newGoogle(t)
	before, err := g.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if after, err := g.Services(t.Context()); err != nil || after == before {
		t.Errorf("after Close: same client %t, %v", after == before, err)
	}
}

func TestGoogleSaysWhatIsWrong(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "credentials.json")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", missing)
	g, err := NewGoogle(t.Context(), GoogleConfig{Project: "p", Region: "r"})
	if err != nil {
		t.Fatalf("credentials were looked up at start: %v", err)
	}
	_, err = g.Services(t.Context())
	if err == nil || !strings.Contains(err.Error(), "credentials") || IsPermanent(err) || IsAmbiguous(err) {
		t.Errorf("Services without credentials: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestNewGoogleRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]GoogleConfig{
		"no project":                {Region: "r"},
		"no region":                 {Project: "p"},
		"plaintext to Google":       {Project: "p", Region: "r", Insecure: true},
		"plaintext to part of it":   {Project: "p", Region: "r", Insecure: true, RunEndpoint: "127.0.0.1:1"},
		"plaintext to part of it 2": {Project: "p", Region: "r", Insecure: true, RunEndpoint: "127.0.0.1:1", MonitoringEndpoint: "127.0.0.1:1"},
	} {
		if _, err := NewGoogle(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The clients of Google's APIs dial as all others do: no endpoint leads them to a metadata server.
func TestGoogleDialsNoMetadataServer(t *testing.T) {
	t.Parallel()
	g, err := NewGoogle(t.Context(), GoogleConfig{Project: "p", Region: "r", Endpoint: "169.254.169.254:80", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	services, err := g.Services(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	services.CallOptions.GetService = nil // which would try again
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := services.GetService(ctx, &runpb.GetServiceRequest{Name: "projects/p/locations/r/services/s"}); err == nil || !strings.Contains(err.Error(), "host refused") {
		t.Errorf("got %v", err)
	}
}
