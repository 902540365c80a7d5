package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Call is one call that reached the sandbox, a read as well as a change. What names it holds no number, id or revision, so that the same
// call of two worlds has one name.
type Call struct {
	System string // as in the ledger; "google" for gRPC
	Name   string // method, path and the names of its parameters; gRPC method and resource; or command
	Raw    string // all that was said, but for its Authorization
}

// Key names the call with its system.
func (c Call) Key() string { return c.System + " " + c.Name }

// callBook counts all calls by their names.
type callBook struct {
	mu     sync.Mutex
	counts map[string]int
	ear    func(Call)
}

// Calls counts the calls of each name so far.
func (w *World) Calls() map[string]int {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	return maps.Clone(w.book.counts)
}

// Overhear lets somebody listen to every call from now on. It is called before the call is answered, for several at once.
func (w *World) Overhear(ear func(Call)) {
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	w.book.ear = ear
}

func (b *callBook) add(c Call) {
	b.mu.Lock()
	if b.counts == nil {
		b.counts = map[string]int{}
	}
	b.counts[c.Key()]++
	ear := b.ear
	b.mu.Unlock()
	if ear != nil {
		ear(c)
	}
}

// passing are parts of a name that differ from world to world: ids, numbers, revisions and operations.
var passing = regexp.MustCompile(`\b[QPA][0-9A-Z]{12}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{24,}\b|[0-9]+(-[bcdfghjkmnpqrstvwxz]{3}\b)?`)

// kept are collections whose members come and go.
var kept = []string{"executions", "operations", "processes", "revisions"}

// lasting are parts that hold a digit and never differ: versions of APIs.
var lasting = regexp.MustCompile(`^(v[0-9]+(beta[0-9]*)?|[a-z]+/v[0-9]+)$`)

// steady replaces what passes in a path.
func steady(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if i > 0 && slices.Contains(kept, parts[i-1]) {
			parts[i] = "N"
		} else if !lasting.MatchString(part) {
			parts[i] = passing.ReplaceAllString(part, "N")
		}
	}
	return strings.Join(parts, "/")
}

// hear books every call of an HTTP system before it is served.
func (b *callBook) hear(system string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 4*bodyLimit))
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		names := slices.Sorted(maps.Keys(r.URL.Query()))
		name := r.Method + " " + steady(r.URL.Path)
		if len(names) > 0 {
			name += "?" + strings.Join(names, "&")
		}
		head := r.Header.Clone()
		head.Del("Authorization")
		b.add(Call{System: system, Name: name, Raw: fmt.Sprintf("%s %s\n%s\n%v\n%s", r.Method, r.RequestURI, r.Host, head, body)})
		next.ServeHTTP(w, r)
	})
}

// intercept books every gRPC call before it is answered.
func (b *callBook) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	c := Call{System: "google", Name: info.FullMethod}
	if m, ok := req.(proto.Message); ok {
		c.Name += " " + steady(resource(m.ProtoReflect()))
		c.Raw = prototext.Format(m)
	}
	b.add(c)
	return next(ctx, req)
}

// resource is what a request of a Google API is about: its own name or parent, what it reads, or the service that it changes.
func resource(m protoreflect.Message) string {
	for _, name := range []protoreflect.Name{"name", "parent"} {
		if f := m.Descriptor().Fields().ByName(name); f != nil && f.Kind() == protoreflect.StringKind {
			return m.Get(f).String()
		}
	}
	fields := m.Descriptor().Fields()
	if f := fields.ByName("resource_names"); f != nil && m.Get(f).List().Len() == 1 {
		return m.Get(f).List().Get(0).String()
	}
	if f := fields.ByName("service"); f != nil && f.Kind() == protoreflect.MessageKind {
		return resource(m.Get(f).Message())
	}
	return ""
}

func (b *callBook) redis(c redisCall) {
	b.add(Call{System: "redis", Name: strings.ToUpper(c.name), Raw: string(c.raw)})
}

func (b *callBook) mongo(command bson.D) {
	if len(command) > 0 {
		name := fmt.Sprintf("%s %v", command[0].Key, field(command, "$db"))
		b.add(Call{System: mongodb, Name: name, Raw: fmt.Sprint(command)})
	}
}
