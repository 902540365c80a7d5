package sandbox

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	monitoredrespb "google.golang.org/genproto/googleapis/api/monitoredres"
	auditpb "google.golang.org/genproto/googleapis/cloud/audit"
	logtypepb "google.golang.org/genproto/googleapis/logging/type"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	logsPerSegment = 50 // bounds how many lines one stretch of errors leaves
	logsKept       = 50_000
	// The API's own: "default page size is 50", at most 1000 entries a page.
	logPage, mostLogPage = 50, 1000
)

// LogLine scripts entries of a service's log. Times are wall clock, not divided by Speed.
type LogLine struct {
	Revision string         `json:"revision,omitempty"` // short; default the one that serves most
	Severity string         `json:"severity,omitempty"` // default ERROR for text, INFO for a request below 500
	Text     string         `json:"text,omitempty"`     // textPayload
	JSON     map[string]any `json:"json,omitempty"`     // jsonPayload
	Audit    string         `json:"audit,omitempty"`    // status message of an audit log's protoPayload
	Request  *LoggedRequest `json:"request,omitempty"`  // an entry of the request log
	Count    int            `json:"count,omitempty"`    // how many; 0 is one
	Ago      time.Duration  `json:"ago,omitempty"`      // of the newest
	Over     time.Duration  `json:"over,omitempty"`     // they are spread evenly over this long before that
}

// LoggedRequest is what the request log says of a request.
type LoggedRequest struct {
	Method   string        `json:"method,omitempty"` // default GET
	URL      string        `json:"url"`
	Status   int32         `json:"status,omitempty"`  // default 200
	Latency  time.Duration `json:"latency,omitempty"` // default 80 ms
	RemoteIP string        `json:"remote_ip,omitempty"`
}

// Log adds lines to a service's log, beside those that its failed requests leave by themselves.
func (w *World) Log(service string, lines ...LogLine) error {
	var fail error
	err := w.platform.with(service, func(s *runService, now time.Time) {
		for _, l := range lines {
			for i := range max(1, l.Count) {
				at := now.Add(-l.Ago - time.Duration(i)*l.Over/time.Duration(max(1, l.Count)))
				e, err := w.platform.line(s, l, at)
				if err != nil {
					fail = err
					return
				}
				s.logged = append(s.logged, e)
			}
		}
		s.logged = s.logged[max(0, len(s.logged)-logsKept):]
	})
	return cmp.Or(err, fail)
}

// SparseLogs lets the next pages of log entries be empty although there is more: "the search found no entries, and is not done".
func (w *World) SparseLogs(pages int) {
	w.platform.lock()
	defer w.platform.mu.Unlock()
	w.platform.sparse = pages
}

func logVerbs() map[string]verb {
	type aboutLog struct {
		Service string    `json:"service"`
		Lines   []LogLine `json:"lines"`
	}
	return map[string]verb{
		"log":         only(func(w *World, a aboutLog) error { return w.Log(a.Service, a.Lines...) }),
		"sparse-logs": quiet(func(w *World, a struct{ Pages int }) { w.SparseLogs(a.Pages) }),
	}
}

type logsServer struct {
	loggingpb.UnimplementedLoggingServiceV2Server
	p *platform
}

// ListLogEntries answers what was scripted, and the errors of services: their failed requests, and containers that did not start.
func (l logsServer) ListLogEntries(_ context.Context, req *loggingpb.ListLogEntriesRequest) (*loggingpb.ListLogEntriesResponse, error) {
	if names := req.GetResourceNames(); len(names) != 1 || names[0] != "projects/"+l.p.cfg.Project {
		return nil, status.Errorf(codes.PermissionDenied, "Permission denied for all log views of %v", names)
	}
	test, err := parseLogFilter(req.GetFilter())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%v", err)
	}
	now := l.p.lock()
	defer l.p.mu.Unlock()
	if l.p.sparse > 0 {
		l.p.sparse--
		return &loggingpb.ListLogEntriesResponse{NextPageToken: cmp.Or(req.GetPageToken(), "0")}, nil
	}
	var all []*loggingpb.LogEntry
	for _, name := range slices.Sorted(maps.Keys(l.p.services)) {
		s := l.p.services[name]
		for _, e := range append(l.p.errorLog(s, now), s.logged...) {
			if test(e) {
				all = append(all, e)
			}
		}
	}
	newest := strings.HasSuffix(req.GetOrderBy(), "desc")
	slices.SortStableFunc(all, func(a, b *loggingpb.LogEntry) int {
		return pick(newest, -1, 1) * a.GetTimestamp().AsTime().Compare(b.GetTimestamp().AsTime())
	})
	page, token, err := paginate(all, cmp.Or(req.GetPageSize(), logPage), req.GetPageToken(), mostLogPage)
	return &loggingpb.ListLogEntriesResponse{Entries: page, NextPageToken: token}, err
}

// line makes an entry as Cloud Run's logs hold it.
func (p *platform) line(s *runService, l LogLine, at time.Time) (*loggingpb.LogEntry, error) {
	revision := l.Revision
	if revision == "" {
		for name, percent := range s.serving {
			if percent > s.serving[revision] {
				revision = name
			}
		}
	}
	e := p.logEntry(s, revision, at, l.Text)
	e.InsertId = p.dice.uuid()
	switch {
	case l.JSON != nil:
		payload, err := structpb.NewStruct(l.JSON)
		if err != nil {
			return nil, fmt.Errorf("scripting a log line: %w", err)
		}
		e.Payload = &loggingpb.LogEntry_JsonPayload{JsonPayload: payload}
	case l.Audit != "":
		payload, err := anypb.New(&auditpb.AuditLog{ServiceName: "run.googleapis.com", Status: &statuspb.Status{Code: int32(codes.Unknown), Message: l.Audit}})
		if err != nil {
			return nil, fmt.Errorf("scripting a log line: %w", err)
		}
		e.LogName = "projects/" + p.cfg.Project + "/logs/cloudaudit.googleapis.com%2Fsystem_event"
		e.Payload = &loggingpb.LogEntry_ProtoPayload{ProtoPayload: payload}
	case l.Request != nil:
		p.request(e, *l.Request, l.Text)
	}
	if l.Severity != "" {
		e.Severity = logtypepb.LogSeverity(logtypepb.LogSeverity_value[l.Severity])
	}
	return e, nil
}

// request makes an entry one of the request log. Only some have words, such as those of requests that found no instance.
func (p *platform) request(e *loggingpb.LogEntry, r LoggedRequest, text string) {
	e.LogName = "projects/" + p.cfg.Project + "/logs/run.googleapis.com%2Frequests"
	e.HttpRequest = &logtypepb.HttpRequest{
		RequestMethod: cmp.Or(r.Method, "GET"), RequestUrl: r.URL, Status: cmp.Or(r.Status, 200), RemoteIp: r.RemoteIP,
		Latency: durationpb.New(cmp.Or(r.Latency, 80*time.Millisecond)), UserAgent: "sandbox/1",
	}
	if text == "" {
		e.Payload = nil
	}
	switch status := e.GetHttpRequest().GetStatus(); {
	case status >= 500:
		e.Severity = logtypepb.LogSeverity_ERROR
	case status >= 400:
		e.Severity = logtypepb.LogSeverity_WARNING
	default:
		e.Severity = logtypepb.LogSeverity_INFO
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
