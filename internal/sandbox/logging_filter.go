package sandbox

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	auditpb "google.golang.org/genproto/googleapis/cloud/audit"
	logtypepb "google.golang.org/genproto/googleapis/logging/type"
	"google.golang.org/protobuf/types/known/structpb"
)

// entryTest tells whether an entry meets a condition.
type entryTest func(*loggingpb.LogEntry) bool

// logFilter reads Cloud Logging's query language as far as clients of this service need it: comparisons joined by AND (or by nothing), OR
// and NOT, with parentheses. As the language has it, NOT binds first, then OR, then AND.
type logFilter struct {
	tokens []string
	at     int
}

// logToken: strings are in double quotes, with the backslash escaping itself and the quote; bare words hold no operator.
var logToken = regexp.MustCompile(`^\s*(\(|\)|!=|>=|<=|=~|!~|=|>|<|:|"(?:[^"\\]|\\.)*"|[^\s()=!<>:"~]+)`)

func parseLogFilter(text string) (entryTest, error) {
	f := &logFilter{}
	for rest := text; strings.TrimSpace(rest) != ""; {
		m := logToken.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("unparseable filter: syntax error at %q", strings.TrimSpace(rest))
		}
		f.tokens, rest = append(f.tokens, m[1]), rest[len(m[0]):]
	}
	if len(f.tokens) == 0 {
		return func(*loggingpb.LogEntry) bool { return true }, nil
	}
	test, err := f.all()
	if err == nil && f.at < len(f.tokens) {
		err = fmt.Errorf("unparseable filter: syntax error at %q", f.tokens[f.at])
	}
	return test, err
}

func (f *logFilter) peek() string {
	if f.at < len(f.tokens) {
		return f.tokens[f.at]
	}
	return ""
}

func (f *logFilter) take() string {
	token := f.peek()
	f.at++
	return token
}

// all reads terms joined by AND.
func (f *logFilter) all() (entryTest, error) {
	var tests []entryTest
	for {
		t, err := f.any()
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
		if next := f.peek(); next == "" || next == ")" {
			return func(e *loggingpb.LogEntry) bool {
				return !slices.ContainsFunc(tests, func(t entryTest) bool { return !t(e) })
			}, nil
		} else if next == "AND" {
			f.at++
		}
	}
}

// any reads terms joined by OR.
func (f *logFilter) any() (entryTest, error) {
	var tests []entryTest
	for {
		t, err := f.term()
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
		if f.peek() != "OR" {
			return func(e *loggingpb.LogEntry) bool {
				return slices.ContainsFunc(tests, func(t entryTest) bool { return t(e) })
			}, nil
		}
		f.at++
	}
}

func (f *logFilter) term() (entryTest, error) {
	switch token := f.take(); token {
	case "NOT":
		t, err := f.term()
		return func(e *loggingpb.LogEntry) bool { return !t(e) }, err
	case "(":
		t, err := f.all()
		if err == nil && f.take() != ")" {
			err = fmt.Errorf("unparseable filter: a parenthesis is not closed")
		}
		return t, err
	case "", ")", "AND", "OR":
		return nil, fmt.Errorf("unparseable filter: syntax error at %q", token)
	default:
		return f.comparison(token)
	}
}

func (f *logFilter) comparison(path string) (entryTest, error) {
	op, value := f.take(), f.take()
	if !slices.Contains([]string{"=", "!=", ">=", "<=", ">", "<", ":", "=~", "!~"}, op) || value == "" {
		return nil, fmt.Errorf("unparseable filter: syntax error after %q", path)
	}
	if strings.HasPrefix(value, `"`) {
		value = unescape.ReplaceAllString(value[1:len(value)-1], "$1")
	}
	switch path {
	case "severity":
		n, known := logtypepb.LogSeverity_value[strings.ToUpper(value)]
		if !known {
			return nil, fmt.Errorf("unparseable filter: unknown severity %q", value)
		}
		return func(e *loggingpb.LogEntry) bool { return ordered(op, int(e.GetSeverity())-int(n)) }, nil
	case "timestamp":
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return nil, fmt.Errorf("unparseable filter: timestamp %q", value)
		}
		return func(e *loggingpb.LogEntry) bool { return ordered(op, e.GetTimestamp().AsTime().Compare(at)) }, nil
	}
	return compareText(path, op, value)
}

var unescape = regexp.MustCompile(`\\(.)`)

// compareText compares as the language does: without regard to case, except for regular expressions; a field that is absent fails.
func compareText(path, op, value string) (entryTest, error) {
	read, err := logField(path)
	if err != nil {
		return nil, err
	}
	var test func(string) bool
	switch op {
	case "=~", "!~":
		pattern, err := regexp.Compile(value)
		if err != nil {
			return nil, fmt.Errorf("unparseable filter: %w", err)
		}
		test = func(v string) bool { return pattern.MatchString(v) == (op == "=~") }
	case ":":
		test = func(v string) bool {
			return value == "*" || strings.Contains(strings.ToLower(v), strings.ToLower(value))
		}
	case "=", "!=":
		test = func(v string) bool { return strings.EqualFold(v, value) == (op == "=") }
	default:
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("unparseable filter: %s cannot be compared with %q", path, value)
		}
		test = func(v string) bool {
			have, err := strconv.ParseFloat(v, 64)
			return err == nil && ordered(op, int(sign(have-n)))
		}
	}
	return func(e *loggingpb.LogEntry) bool {
		v, has := read(e)
		return has && test(v)
	}, nil
}

func sign(d float64) float64 { return pick(d > 0, 1.0, pick(d < 0, -1.0, 0)) }

// logField gives the reader of a field. The reader's second value tells whether the entry has the field.
func logField(path string) (func(*loggingpb.LogEntry) (string, bool), error) {
	present := func(f func(*loggingpb.LogEntry) string) func(*loggingpb.LogEntry) (string, bool) {
		return func(e *loggingpb.LogEntry) (string, bool) { v := f(e); return v, v != "" }
	}
	path = singular(path)
	if label, is := strings.CutPrefix(path, "resource.labels."); is {
		return present(func(e *loggingpb.LogEntry) string { return e.GetResource().GetLabels()[label] }), nil
	}
	if key, is := strings.CutPrefix(path, "jsonPayload."); is {
		return func(e *loggingpb.LogEntry) (string, bool) { return walk(e.GetJsonPayload(), strings.Split(key, ".")) }, nil
	}
	fields := map[string]func(*loggingpb.LogEntry) string{
		"resource.type":               func(e *loggingpb.LogEntry) string { return e.GetResource().GetType() },
		"logName":                     (*loggingpb.LogEntry).GetLogName,
		"textPayload":                 (*loggingpb.LogEntry).GetTextPayload,
		"insertId":                    (*loggingpb.LogEntry).GetInsertId,
		"protoPayload.status.message": auditMessage,
		"httpRequest.requestMethod":   func(e *loggingpb.LogEntry) string { return e.GetHttpRequest().GetRequestMethod() },
		"httpRequest.requestUrl":      func(e *loggingpb.LogEntry) string { return e.GetHttpRequest().GetRequestUrl() },
		"httpRequest.remoteIp":        func(e *loggingpb.LogEntry) string { return e.GetHttpRequest().GetRemoteIp() },
		"httpRequest.status":          requestStatus,
	}
	if f := fields[path]; f != nil {
		return present(f), nil
	}
	return nil, fmt.Errorf("unparseable filter: the stand-in knows no field %q", path)
}

func requestStatus(e *loggingpb.LogEntry) string {
	if e.GetHttpRequest() == nil {
		return ""
	}
	return strconv.Itoa(int(e.GetHttpRequest().GetStatus()))
}

func auditMessage(e *loggingpb.LogEntry) string {
	var a auditpb.AuditLog
	if p := e.GetProtoPayload(); p == nil || p.UnmarshalTo(&a) != nil {
		return ""
	}
	return a.GetStatus().GetMessage()
}

// walk finds a scalar in a structured payload.
func walk(s *structpb.Struct, keys []string) (string, bool) {
	v, has := s.GetFields()[keys[0]]
	if !has || len(keys) > 1 {
		if !has || v.GetStructValue() == nil {
			return "", false
		}
		return walk(v.GetStructValue(), keys[1:])
	}
	switch k := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return k.StringValue, true
	case *structpb.Value_NumberValue:
		return strconv.FormatFloat(k.NumberValue, 'g', -1, 64), true
	default:
		return "", false
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
