package connect

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// canaryCalls call out by each kind of connection that holds secrets. A kind that has some and stands neither here nor in canaryStays fails.
var canaryCalls = map[string]func(ctx context.Context, client io.Closer) []error{
	"pagerduty": func(ctx context.Context, client io.Closer) []error {
		p := client.(*PagerDuty)
		_, me := p.Me(ctx)
		_, alerts := p.Alerts(ctx, "P1")
		return []error{me, alerts, p.Note(ctx, "P1", "x"), p.Trigger(ctx, Event{DedupKey: "k", Summary: "s"}), p.Escalate(ctx, "P1")}
	},
	"slack": func(ctx context.Context, client io.Closer) []error {
		s := client.(*Slack)
		_, post := s.Post(ctx, Post{Channel: "C0123456789", Text: "x"})
		_, _, find := s.Find(ctx, "C0123456789", "", "m")
		_, clicked := s.Click(http.Header{}, []byte("x"), time.Now())
		return []error{post, find, clicked, s.Whisper(ctx, "C0123456789", "U1", "x")}
	},
	"sentry": func(ctx context.Context, client io.Closer) []error { return restCalls(ctx, client.(*Sentry).REST) },
	"stripe": func(ctx context.Context, client io.Closer) []error { return restCalls(ctx, client.(*Stripe).REST) },
	"http": func(ctx context.Context, client io.Closer) []error {
		_, unknown := client.(*API).Secret("none")
		return append(restCalls(ctx, client.(*API).REST), unknown)
	},
	"vercel": func(ctx context.Context, client io.Closer) []error {
		_, err := client.(*Vercel).Project(ctx, "shop")
		return []error{err, client.(*Vercel).Promote(ctx, "shop", "dpl_1")}
	},
	"atlas": func(ctx context.Context, client io.Closer) []error {
		return []error{client.(*Atlas).Do(ctx, Request{Doing: "listing", Path: "/clusters"}, nil)}
	},
	"redis": func(ctx context.Context, client io.Closer) []error {
		return []error{client.(*Redis).Session(ctx, 0, func(context.Context, *Session) error { return nil })}
	},
	"mongodb": func(ctx context.Context, client io.Closer) []error {
		_, err := client.(*Mongo).Ask(ctx, MongoAsk{Doing: "asking", Timeout: 300 * time.Millisecond}, func(ctx context.Context, s *MongoSession) error {
			return s.Run(ctx, "admin", bson.D{{Key: "ping", Value: 1}}, nil)
		})
		return []error{err}
	},
}

// canaryStays are kinds whose secrets go to no other machine.
var canaryStays = []string{"exec"}

func restCalls(ctx context.Context, r *REST) []error {
	return []error{
		r.Do(ctx, Request{Doing: "reading", Path: "/x"}, &struct{}{}), r.Do(ctx, Request{Doing: "writing", Method: http.MethodPost, Path: "/x", Mutates: true}, &struct{}{}),
	}
}

// canary is a secret that must be seen nowhere but on the wire.
type canary struct {
	place Secret
	text  string
	core  string // what no other text holds
}

// plant gives every secret of a configuration a canary in a file, and its address a stand-in's.
func plant(t *testing.T, cfg Config, kind, address string) []canary {
	t.Helper()
	var all []canary
	fresh := func() Secret {
		c := canary{place: Secret{File: filepath.Join(t.TempDir(), "secret")}, core: strings.ToLower(rand.Text())}
		all = append(all, c)
		all[len(all)-1].rotate(t, kind, c.core)
		return c.place
	}
	v := reflect.ValueOf(cfg).Elem()
	for i := range v.NumField() {
		switch field := v.Field(i); field.Interface().(type) {
		case Secret:
			field.Set(reflect.ValueOf(fresh()))
		case []Secret:
			field.Set(reflect.ValueOf([]Secret{fresh(), fresh()}))
		case map[string]Secret:
			field.Set(reflect.ValueOf(map[string]Secret{"X_CANARY": fresh()}))
		}
	}
	set := func(name string, value any) {
		if field := v.FieldByName(name); field.IsValid() {
			field.Set(reflect.ValueOf(value))
		}
	}
	if kind != "redis" && kind != "mongodb" {
		address = "http://" + address
	}
	for name, value := range map[string]any{
		"Endpoint": address, "Insecure": true, "Organization": "shop", "From": "bot@example.com", "ClientID": "id", "Project": strings.Repeat("a", 24),
		"Binaries": []string{"/bin/true"}, "Timeout": time.Second,
	} {
		set(name, value)
	}
	return all
}

// rotate writes the canary anew.
func (c *canary) rotate(t *testing.T, kind, core string) {
	t.Helper()
	c.core = core
	switch kind {
	case "stripe":
		c.text = "rk_live_" + core
	case "mongodb":
		c.text = "mongodb://" + core + ":p" + core + "@db.example/admin"
	default:
		c.text = `k/+&"<` + core
	}
	if err := os.WriteFile(c.place.File, []byte(c.text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// window is how much of a canary is a sighting, in bytes.
const window = 10

// seen reports whether a text shows a part of a canary, as it is or in base64.
func (c canary) seen(text string) bool {
	for _, form := range []string{c.core, base64.StdEncoding.EncodeToString([]byte(c.text)), base64.StdEncoding.EncodeToString([]byte("id:" + c.text))} {
		for at := 8; at+window <= len(form); at++ { // the beginning of base64 may be what others share
			if strings.Contains(strings.ToLower(text), strings.ToLower(form[at:at+window])) {
				return true
			}
		}
	}
	return strings.Contains(text, c.core[:window])
}

// shown is everything that may be made of an error.
func shown(err error) string {
	var b, js bytes.Buffer
	debug := &slog.HandlerOptions{Level: slog.LevelDebug}
	slog.New(slog.NewTextHandler(&b, debug)).Debug("failed", "error", err, "joined", errors.Join(err, err))
	slog.New(slog.NewJSONHandler(&js, debug)).Debug("failed", "error", err)
	text, _ := json.Marshal(map[string]any{"error": err})
	fmt.Fprintf(&b, "%s %s %v %+v %#v %q %x", &js, text, err, err, err, err, err.Error())
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		fmt.Fprintf(&b, "\n%v %+v %#v", inner, inner, inner)
	}
	return b.String()
}

// hostile answers every request with what it was sent.
func hostile(status, pad int, location bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		echo := strings.Repeat("x", pad) + strings.Join(r.Header.Values("Authorization"), " ") + string(dump)
		w.Header().Set("X-Echo", strings.Join(r.Header.Values("Authorization"), " "))
		if location {
			w.Header().Set("Location", "http://elsewhere.example/?token="+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		switch pad % 3 {
		case 0:
			_, _ = io.WriteString(w, echo)
		case 1:
			_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": echo, "code": 2001, "errors": []string{echo}}})
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"ok": false, "error": echo, "message": echo, "errors": []string{echo}})
		}
	}
}

// echoing is a server without HTTP that says everything back as an error of Redis; other protocols cannot make sense of it.
func echoing(t *testing.T, conn net.Conn, heard func(string)) {
	t.Helper()
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	for {
		buffer := make([]byte, 4096)
		n, err := in.Read(buffer)
		if err != nil {
			return
		}
		heard(string(buffer[:n]))
		said := strings.NewReplacer("\r", " ", "\n", " ").Replace(string(buffer[:n]))
		for range strings.Count(string(buffer[:n]), "*") + 1 {
			_, _ = io.WriteString(conn, "-ERR "+said+"\r\n")
		}
	}
}

func listen(t *testing.T, heard func(string)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go echoing(t, conn, heard)
		}
	}()
	return listener.Addr().String()
}

// troubles are the ways in which a call with a secret may fail, each with the address of a server that fails so.
func troubles() map[string]func(t *testing.T, kind string) string {
	all := map[string]func(t *testing.T, kind string) string{
		"nobody listens":      func(*testing.T, string) string { return "127.0.0.1:1" },
		"metadata is refused": func(*testing.T, string) string { return "169.254.169.254:80" },
	}
	for _, status := range []int{200, 302, 400, 401, 429, 500} {
		for _, pad := range []int{0, 1, 2, 282, 285, 291} { // 300 characters of a plain body are told
			all[fmt.Sprintf("%d after %d", status, pad)] = func(t *testing.T, kind string) string {
				if kind == "redis" || kind == "mongodb" {
					return listen(t, func(string) {})
				}
				return hostOf(t, serve(t, hostile(status, pad, status == 302)).URL)
			}
		}
	}
	return all
}

// holders are the kinds of connection that hold secrets, and the number of those.
func holders(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	for _, name := range Kinds() {
		kind, _ := Lookup(name)
		if n := len(plant(t, kind.New(), name, "127.0.0.1:1")); n > 0 {
			all[name] = n
		}
		if _, calls := canaryCalls[name]; all[name] > 0 && !calls && !slices.Contains(canaryStays, name) {
			t.Errorf("the kind %s holds secrets, and nobody tries whether it keeps them", name)
		}
	}
	return all
}

// No secret of any kind of connection shows in an error, whatever the other side does with it.
func TestCanariesAreNotSeen(t *testing.T) {
	t.Parallel()
	planted := 0
	for kind := range holders(t) {
		call := canaryCalls[kind]
		if call == nil {
			continue
		}
		for name, address := range troubles() {
			if (kind == "redis" || kind == "mongodb") && strings.Contains(name, "after") && name != "200 after 0" {
				continue // they have one way of saying no
			}
			k, _ := Lookup(kind)
			for _, basic := range []bool{false, true} {
				cfg := k.New()
				canaries := plant(t, cfg, kind, address(t, kind))
				if api, ok := cfg.(*APIConfig); ok && basic {
					api.Token, api.Username = Secret{}, "id"
				} else if ok {
					api.Password = Secret{}
				} else if basic {
					continue
				}
				planted += len(canaries)
				client, err := cfg.Open(t.Context())
				if err != nil {
					if !strings.Contains(err.Error(), "metadata") {
						t.Errorf("%s: %v", kind, err)
					}
					continue
				}
				for _, err := range call(t.Context(), client) {
					for _, c := range canaries {
						if err != nil && c.seen(shown(err)) {
							t.Errorf("%s, %s: a canary is seen in %s", kind, name, shown(err))
						}
					}
				}
				_ = client.Close()
			}
		}
	}
	if planted < 50 {
		t.Errorf("only %d canaries were planted", planted)
	}
}

// A secret is read anew for each call: what was rotated counts with the next one.
func TestRotatedSecretsCountAtOnce(t *testing.T) {
	t.Parallel()
	for kind := range holders(t) {
		call := canaryCalls[kind]
		if call == nil || kind == "mongodb" { // whose password is on no wire: see TestMongoReadsTheURIAnew
			continue
		}
		var mu sync.Mutex
		var heard strings.Builder
		hear := func(text string) {
			mu.Lock()
			defer mu.Unlock()
			heard.WriteString(text)
		}
		address := ""
		if kind == "redis" {
			address = listen(t, hear)
		} else {
			address = hostOf(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				dump, _ := httputil.DumpRequest(r, true)
				_, password, _ := r.BasicAuth()
				hear(string(dump) + password)
				w.WriteHeader(http.StatusForbidden)
			}).URL)
		}
		k, _ := Lookup(kind)
		cfg := k.New()
		canaries := plant(t, cfg, kind, address)
		if api, ok := cfg.(*APIConfig); ok {
			api.Password = Secret{}
		}
		client, err := cfg.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			sent := 0
			mu.Lock()
			heard.Reset()
			mu.Unlock()
			for i := range canaries {
				canaries[i].rotate(t, kind, strings.ToLower(rand.Text()))
			}
			_ = call(t.Context(), client)
			mu.Lock()
			for _, c := range canaries {
				if strings.Contains(heard.String(), c.core) {
					sent++
				}
			}
			if sent == 0 {
				t.Errorf("%s, round %d: no secret that is in force was sent:\n%s", kind, round, heard.String())
			}
			mu.Unlock()
		}
		_ = client.Close()
	}
}

// A connection string is read anew for each question.
func TestMongoReadsTheURIAnew(t *testing.T) {
	t.Parallel()
	cfg := &MongoConfig{}
	canaries := plant(t, cfg, "mongodb", "127.0.0.1:1")
	client, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := canaryCalls["mongodb"](t.Context(), client)[0]
	if err := os.WriteFile(canaries[0].place.File, []byte("no connection string"), 0o600); err != nil {
		t.Fatal(err)
	}
	after := canaryCalls["mongodb"](t.Context(), client)[0]
	if MongoReasonOf(before) == MongoUnusable || MongoReasonOf(after) != MongoUnusable {
		t.Errorf("before: %v; after: %v", before, after)
	}
}
