package sandbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	logtypepb "google.golang.org/genproto/googleapis/logging/type"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// logsPerSegment bounds how many lines one stretch of errors leaves.
const logsPerSegment = 50

type logsServer struct {
	loggingpb.UnimplementedLoggingServiceV2Server
	p *platform
}

// ListLogEntries answers the errors of services: their failed requests, and
// containers that did not start. Filters may compare timestamp, severity,
// logName, textPayload and resource labels.
func (l logsServer) ListLogEntries(_ context.Context, req *loggingpb.ListLogEntriesRequest) (*loggingpb.ListLogEntriesResponse, error) {
	clauses, err := parseFilter(req.GetFilter())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%v", err)
	}
	now := l.p.lock()
	defer l.p.mu.Unlock()
	var all []*loggingpb.LogEntry
	for _, name := range slices.Sorted(maps.Keys(l.p.services)) {
		for _, e := range l.p.errorLog(l.p.services[name], now) {
			keep, err := admits(clauses, e)
			if err != nil {
				return nil, status.Errorf(codes.InvalidArgument, "%v", err)
			}
			if keep {
				all = append(all, e)
			}
		}
	}
	newest := strings.HasSuffix(req.GetOrderBy(), "desc")
	slices.SortStableFunc(all, func(a, b *loggingpb.LogEntry) int {
		return pick(newest, -1, 1) * a.GetTimestamp().AsTime().Compare(b.GetTimestamp().AsTime())
	})
	page, token, err := paginate(all, req.GetPageSize(), req.GetPageToken(), 1000)
	return &loggingpb.ListLogEntriesResponse{Entries: page, NextPageToken: token}, err
}

func admits(clauses []clause, e *loggingpb.LogEntry) (bool, error) {
	for _, c := range clauses {
		ok, err := admit(c, e)
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func admit(c clause, e *loggingpb.LogEntry) (bool, error) {
	switch label, isLabel := strings.CutPrefix(c.path, "resource.labels."); {
	case isLabel:
		return c.matches(e.GetResource().GetLabels()[label]), nil
	case c.path == "resource.type":
		return c.matches(e.GetResource().GetType()), nil
	case c.path == "logName":
		return c.matches(e.GetLogName()), nil
	case c.path == "textPayload":
		return c.matches(e.GetTextPayload()), nil
	case c.path == "severity":
		n, known := logtypepb.LogSeverity_value[strings.ToUpper(c.values[0])]
		if !known {
			return false, fmt.Errorf("unknown severity %q", c.values[0])
		}
		return ordered(c.op, int(e.GetSeverity())-int(n)), nil
	case c.path == "timestamp":
		t, err := time.Parse(time.RFC3339Nano, c.values[0])
		if err != nil {
			return false, fmt.Errorf("unparsable timestamp %q", c.values[0])
		}
		return ordered(c.op, e.GetTimestamp().AsTime().Compare(t)), nil
	default:
		return false, fmt.Errorf("unsupported field %q in the filter", c.path)
	}
}

func ordered(op string, sign int) bool {
	switch op {
	case ">=":
		return sign >= 0
	case ">":
		return sign > 0
	case "<=":
		return sign <= 0
	case "<":
		return sign < 0
	case "!=":
		return sign != 0
	default:
		return sign == 0
	}
}

func (p *platform) errorLog(s *runService, now time.Time) []*loggingpb.LogEntry {
	var out []*loggingpb.LogEntry
	for _, g := range s.timeline {
		_, failed := g.requests(g.from, now)
		if failed == 0 {
			continue
		}
		from, to, _ := g.clip(g.from, now)
		n := min(failed, logsPerSegment)
		step := to.Sub(from) / time.Duration(n)
		for i := range n {
			out = append(out, p.logEntry(s, g.revision, to.Add(-time.Duration(i)*step), "GET /health 503"))
		}
	}
	for _, r := range s.ordered() {
		if !r.starting && !r.ready {
			out = append(out, p.logEntry(s, r.name, r.created, startFailure))
		}
	}
	return out
}

func (p *platform) logEntry(s *runService, revision string, at time.Time, text string) *loggingpb.LogEntry {
	return &loggingpb.LogEntry{
		LogName:   "projects/" + p.cfg.Project + "/logs/run.googleapis.com%2Fstderr",
		InsertId:  fmt.Sprintf("%s-%d", revision, at.UnixNano()),
		Timestamp: timestamppb.New(at), ReceiveTimestamp: timestamppb.New(at), Severity: logtypepb.LogSeverity_ERROR,
		Payload: &loggingpb.LogEntry_TextPayload{TextPayload: text},
		Resource: &monitoredrespb.MonitoredResource{Type: "cloud_run_revision", Labels: map[string]string{
			"project_id": p.cfg.Project, "service_name": s.short(), "revision_name": revision,
			"configuration_name": s.short(), "location": p.cfg.Region,
		}},
	}
}
