package logging

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	auditpb "google.golang.org/genproto/googleapis/cloud/audit"
	logtypepb "google.golang.org/genproto/googleapis/logging/type"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/mixillo/remediator/internal/connect"
)

// saidIn are the keys of structured payloads under which the common loggers of Node (pino, winston, bunyan) and Google's error reporting
// keep their message, the best first.
var saidIn = [][]string{{"message"}, {"msg"}, {"err", "message"}, {"error", "message"}, {"error"}, {"err"}}

// matchedFields are the fields in which a rule's expression is looked for: those of which message shows one.
func matchedFields() []string {
	fields := []string{"textPayload", "protoPayload.status.message"}
	for _, keys := range saidIn {
		fields = append(fields, "jsonPayload."+strings.Join(keys, "."))
	}
	return fields
}

// message is what an entry says, as it was written; "" if it has no words, like most entries of the request log.
func message(e *loggingpb.LogEntry) string {
	switch p := e.GetPayload().(type) {
	case *loggingpb.LogEntry_TextPayload:
		return p.TextPayload
	case *loggingpb.LogEntry_JsonPayload:
		return said(p.JsonPayload)
	case *loggingpb.LogEntry_ProtoPayload:
		var a auditpb.AuditLog
		if p.ProtoPayload.UnmarshalTo(&a) == nil {
			return a.GetStatus().GetMessage()
		}
	}
	return ""
}

func said(s *structpb.Struct) string {
	for _, keys := range saidIn {
		at := s
		for _, k := range keys[:len(keys)-1] {
			at = at.GetFields()[k].GetStructValue()
		}
		if text := at.GetFields()[keys[len(keys)-1]].GetStringValue(); text != "" {
			return text
		}
	}
	return ""
}

// shown is what facts show of an entry.
func shown(e *loggingpb.LogEntry) string {
	if text := message(e); text != "" {
		return connect.Scrub(text, shownLimit)
	}
	if r := e.GetHttpRequest(); r != nil {
		return fmt.Sprintf("%s %s answered %d", connect.Scrub(r.GetRequestMethod(), 10), path(r), r.GetStatus())
	}
	return "an entry without a message"
}

// alike are the parts in which messages of one cause differ, each with what stands for it. Longer forms come before their parts.
var alike = []struct {
	form *regexp.Regexp
	as   string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?`), "<time>"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`"[^"]*"|` + "`[^`]*`"), "<text>"},
	{regexp.MustCompile(`(^|[\s(=:,\[])'[^']*'`), "$1<text>"},
	{regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b`), "<address>"},
	{regexp.MustCompile(`(?i)\[?\b(?:[0-9a-f]{1,4}:){2,7}:?[0-9a-f]{0,4}(?:\]:\d+)?`), "<address>"},
	{regexp.MustCompile(`(?i)\b0x[0-9a-f]+\b`), "<id>"},
	{regexp.MustCompile(`(?i)\b[0-9a-f]*(?:\d[a-f]|[a-f]\d)[0-9a-f]*\b`), "<id>"},
	{regexp.MustCompile(`\b\d+(?:[.,]\d+)*`), "<n>"},
}

// normal is what messages of one cause have in common: the first line, with what differs replaced. It is scrubbed.
func normal(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = connect.Scrub(text, shownLimit)
	for _, a := range alike {
		text = a.form.ReplaceAllString(text, a.as)
	}
	return text
}

var (
	// idPart tells parts of a path that name one thing from those that name a kind of things.
	idPart    = regexp.MustCompile(`^(?:\d+|[0-9a-fA-F-]*\d[0-9a-fA-F-]{7,}|.*\d.*\d.*\d.*|.{33,})$`)
	pathLimit = 120
)

// path is the path of a request with the names of things replaced: requests to one route have one path. It is scrubbed.
func path(r *logtypepb.HttpRequest) string {
	raw, _, _ := strings.Cut(r.GetRequestUrl(), "?")
	raw, _, _ = strings.Cut(raw, "#")
	if u, err := url.Parse(raw); err == nil {
		raw = u.EscapedPath()
	}
	parts := strings.Split(raw, "/")
	for i, part := range parts {
		if idPart.MatchString(part) {
			parts[i] = ":id"
		}
	}
	return connect.Scrub("/"+strings.TrimPrefix(strings.Join(parts, "/"), "/"), pathLimit)
}
