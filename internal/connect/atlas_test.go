package connect

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	atlasSecret = "mdb_sa_sk_s3cret"
	atlasGroup  = "5e2211c17a3e5a48f5497de3"
)

// atlasServer gives tokens and answers calls under them.
type atlasServer struct {
	*httptest.Server
	mu       sync.Mutex
	fetched  int
	calls    []string
	good     string // the token that is taken; "" takes the last
	lasts    int    // seconds
	deny     bool   // the service account is refused
	answered func(http.ResponseWriter, *http.Request)
}

func newAtlasServer(t *testing.T) (*atlasServer, *Atlas) {
	t.Helper()
	s := &atlasServer{lasts: 3600, answered: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"results":[]}`) }}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(atlasSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := NewAtlas(AtlasConfig{Endpoint: s.URL, Insecure: true, Project: atlasGroup, ClientID: "mdb_sa_id_1", ClientSecret: Secret{File: path}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return s, a
}

func (s *atlasServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/api/oauth/token" {
		id, secret, _ := r.BasicAuth()
		if s.deny || id != "mdb_sa_id_1" || secret != atlasSecret || r.PostFormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","echo":"`+secret+" "+r.Header.Get("Authorization")+`"}`)
			return
		}
		s.fetched++
		fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":%d,"token_type":"Bearer"}`, s.fetched, s.lasts)
		return
	}
	s.calls = append(s.calls, r.Method+" "+r.RequestURI+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Accept"))
	good := s.good
	if good == "" {
		good = fmt.Sprintf("token-%d", s.fetched)
	}
	if r.Header.Get("Authorization") != "Bearer "+good {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"detail":"`+r.Header.Get("Authorization")+`","error":401}`)
		return
	}
	s.answered(w, r)
}

// TestAtlasToken: one token serves all callers for as long as it lasts.
func TestAtlasToken(t *testing.T) {
	t.Parallel()
	s, a := newAtlasServer(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if err := a.Do(t.Context(), Request{Doing: "reading", Path: "/clusters/a%2Fb"}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	want := "GET /api/atlas/v2/groups/" + atlasGroup + "/clusters/a%2Fb Bearer token-1 application/vnd.atlas.2025-03-12+json"
	if s.fetched != 1 || len(s.calls) != 8 || s.calls[7] != want {
		t.Errorf("%d tokens for %q", s.fetched, s.calls)
	}
}

// TestAtlasTokenEnds: a token is not used up to its very end, and a short one is still used.
func TestAtlasTokenEnds(t *testing.T) {
	t.Parallel()
	for lasts, most := range map[int]time.Duration{3600: 59 * time.Minute, 90: 45 * time.Second, 10: 5 * time.Second, 1 << 40: 24*time.Hour - time.Minute} {
		s, a := newAtlasServer(t)
		s.lasts = lasts
		if err := a.Do(t.Context(), Request{Path: "/x"}, nil); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(a.tokens.until); left > most || left < most-2*time.Second {
			t.Errorf("one for %d s is used for %s", lasts, left)
		}
		a.tokens.until = time.Now()
		if err := a.Do(t.Context(), Request{Path: "/x"}, nil); err != nil || s.fetched != 2 {
			t.Errorf("%d tokens, %v", s.fetched, err)
		}
	}
}

// TestAtlasTokenRefused: a read is tried once more with a new token; a change is not, and is known not to have taken effect.
func TestAtlasTokenRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mutates bool
		good    string
		calls   int
		fails   bool
	}{
		"a read":             {good: "token-2", calls: 3},
		"a change":           {mutates: true, good: "token-2", calls: 2, fails: true},
		"a read, for ever":   {good: "never", calls: 3, fails: true},
		"a change, for ever": {mutates: true, good: "never", calls: 2, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a := newAtlasServer(t)
			if err := a.Do(t.Context(), Request{Path: "/x"}, nil); err != nil {
				t.Fatal(err)
			}
			s.good = tc.good
			err := a.Do(t.Context(), Request{Doing: "doing it", Method: http.MethodPost, Path: "/x", Mutates: tc.mutates}, nil)
			if (err != nil) != tc.fails || len(s.calls) != tc.calls || IsAmbiguous(err) || strings.Contains(fmt.Sprint(err), "token-") {
				t.Errorf("%d calls: %v", len(s.calls), err)
			}
			s.good = ""
			if err := a.Do(t.Context(), Request{Path: "/x"}, nil); err != nil {
				t.Errorf("the next call keeps the refused token: %v", err)
			}
		})
	}
}

func TestAtlasWithoutAToken(t *testing.T) {
	t.Parallel()
	s, a := newAtlasServer(t)
	s.deny = true
	err := a.Do(t.Context(), Request{Doing: "changing it", Method: http.MethodPost, Path: "/x", Mutates: true}, nil)
	encoded := base64.StdEncoding.EncodeToString([]byte("mdb_sa_id_1:" + atlasSecret))
	if text := fmt.Sprint(err); err == nil || IsAmbiguous(err) || IsPermanent(err) || strings.Contains(text, atlasSecret) || strings.Contains(text, encoded) {
		t.Errorf("said %q", text)
	}
	s.deny = false
	s.lasts = 0
	if err := a.Do(t.Context(), Request{Path: "/x"}, nil); err == nil || len(s.calls) != 0 {
		t.Errorf("called %q with a token that never was good: %v", s.calls, err)
	}
	a.tokens.secret = Secret{File: filepath.Join(t.TempDir(), "none")}
	var secret *SecretError
	if err := a.Do(t.Context(), Request{Path: "/x", Mutates: true}, nil); !errors.As(err, &secret) || IsAmbiguous(err) {
		t.Errorf("got %v", err)
	}
}

// TestAtlasTokenIsNotWaitedForForEver: whoever is called off goes, whoever else fetches.
func TestAtlasTokenIsNotWaitedForForEver(t *testing.T) {
	t.Parallel()
	_, a := newAtlasServer(t)
	a.tokens.turn <- struct{}{} // somebody fetches
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := a.Do(ctx, Request{Path: "/x"}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAtlasList(t *testing.T) {
	t.Parallel()
	page := func(n, of int) string {
		return fmt.Sprintf(`{"results":[%s],"links":[{"rel":"self"}]}`, strings.TrimSuffix(strings.Repeat(fmt.Sprint(n)+",", of), ","))
	}
	linked := strings.NewReplacer(`"self"`, `"next"`)
	for name, tc := range map[string]struct {
		pages []string // the last one again and again
		want  int
		fails string
	}{
		"one page":                  {pages: []string{page(1, 3)}, want: 3},
		"none":                      {pages: []string{page(1, 0)}},
		"two pages":                 {pages: []string{linked.Replace(page(1, 3)), page(2, 2)}, want: 5},
		"a full page without links": {pages: []string{page(1, 500), page(2, 2)}, want: 502},
		"endless":                   {pages: []string{linked.Replace(page(1, 1))}, fails: "more than 20 pages"},
		"no results":                {pages: []string{`{}`}, fails: "holds no results"},
		"no results on page 2":      {pages: []string{linked.Replace(page(1, 3)), `{"results":null}`}, fails: "holds no results"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, a := newAtlasServer(t)
			n := 0
			s.answered = func(w http.ResponseWriter, r *http.Request) {
				if n++; r.URL.Query().Get("pageNum") != fmt.Sprint(n) || r.URL.Query().Get("itemsPerPage") != "500" {
					t.Errorf("asked for %s", r.URL.RawQuery)
				}
				_, _ = io.WriteString(w, tc.pages[min(n, len(tc.pages))-1])
			}
			got, err := AtlasList[int](t.Context(), a, "listing", "/things", nil)
			if len(got) != tc.want || (err != nil) != (tc.fails != "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%d, %v", len(got), err)
			}
		})
	}
}

func TestAtlasConfig(t *testing.T) {
	t.Parallel()
	whole := AtlasConfig{Project: atlasGroup, ClientID: "id", ClientSecret: Secret{Env: "X"}}
	for says, change := range map[string]func(*AtlasConfig){
		"":                         func(*AtlasConfig) {},
		"24 hexadecimal digits":    func(c *AtlasConfig) { c.Project = "../" + atlasGroup[3:] },
		"client_id is not set":     func(c *AtlasConfig) { c.ClientID = "" },
		"client_secret is not set": func(c *AtlasConfig) { c.ClientSecret = Secret{} },
		"insecure: true":           func(c *AtlasConfig) { c.Endpoint = "http://a.example" },
	} {
		c := whole
		change(&c)
		if err := c.Check(); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}
