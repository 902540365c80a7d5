package sandbox_test

import (
	"errors"
	"testing"
	"time"

	logging "cloud.google.com/go/logging/apiv2"
	"cloud.google.com/go/logging/apiv2/loggingpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/sandbox"
)

func TestLogFilters(t *testing.T) {
	t.Parallel()
	f := start(t, sandbox.Config{})
	must(t, f.AddService(sandbox.Service{Name: backend}))
	must(t, f.Log(backend,
		sandbox.LogLine{Text: `say "a\b"`, Ago: time.Minute},
		sandbox.LogLine{JSON: map[string]any{"message": "Boom 17", "err": map[string]any{"code": 42}}, Severity: "WARNING"},
		sandbox.LogLine{Audit: "Ready condition is False"},
		sandbox.LogLine{Request: &sandbox.LoggedRequest{URL: "/x", Status: 422, RemoteIP: "203.0.113.7"}},
	))
	client, err := logging.NewClient(f.ctx, googleOptions(f.World)...)
	must(t, err)
	defer func() { _ = client.Close() }()
	count := func(filter string) (n int, err error) {
		it := client.ListLogEntries(f.ctx, &loggingpb.ListLogEntriesRequest{ResourceNames: []string{"projects/mixillo"}, Filter: filter, PageSize: 2})
		for {
			if _, err := it.Next(); errors.Is(err, iterator.Done) {
				return n, nil
			} else if err != nil {
				return n, err
			}
			n++
		}
	}
	for filter, want := range map[string]int{
		``:                                    4,
		`severity>=ERROR`:                     2,
		`severity>=warning`:                   4,
		`NOT severity>=ERROR`:                 2,
		`textPayload="SAY \"A\\B\""`:          1,
		`textPayload=~"a\\\\b"`:               1,
		`textPayload=~"SAY"`:                  0,
		`textPayload=~"(?i)SAY"`:              1,
		`textPayload!~"x"`:                    1,
		`jsonPayload.message:boom`:            1,
		`jsonPayload.err.code=42`:             1,
		`jsonPayload.nope:*`:                  0,
		`protoPayload.status.message:"ready"`: 1,
		`httpRequest.status>=400 httpRequest.status<500`:                                     1,
		`httpRequest.remoteIp="203.0.113.7"`:                                                 1,
		`logName="projects/mixillo/logs/run.googleapis.com%2Frequests"`:                      1,
		`(textPayload:say OR jsonPayload.message:boom) AND severity>=ERROR`:                  1,
		`textPayload:say OR jsonPayload.message:boom AND severity>=ERROR`:                    1, // OR binds before AND
		`resource.labels.service_name="other"`:                                               0,
		`timestamp<"` + time.Now().Add(-30*time.Second).UTC().Format(time.RFC3339Nano) + `"`: 1,
	} {
		if n, err := count(filter); err != nil || n != want {
			t.Errorf("%s: %d, %v, want %d", filter, n, err, want)
		}
	}
	for _, filter := range []string{`(`, `severity>=`, `severity>=LOUD`, `nope="x"`, `textPayload=~"("`, `"text"`, `severity>=ERROR)`, `timestamp>"now"`, `AND`} {
		if _, err := count(filter); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", filter, err)
		}
	}
	it := client.ListLogEntries(f.ctx, &loggingpb.ListLogEntriesRequest{ResourceNames: []string{"projects/other"}})
	if _, err := it.Next(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another project's log: %v", err)
	}
}
