package connect

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func hostOf(t *testing.T, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// get fetches a URL and reads its whole body.
func get(t *testing.T, client *http.Client, rawURL string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestHTTPClientAllowedHosts(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	host := hostOf(t, srv.URL)
	tests := []struct {
		name     string
		hosts    []string
		url      string
		secure   bool
		refused  bool
		wantText string
	}{
		{name: "host and port", hosts: []string{host}, url: srv.URL},
		{name: "host alone", hosts: []string{"127.0.0.1"}, url: srv.URL},
		{name: "case and trailing dot", hosts: []string{"LOCALHOST."}, url: strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)},
		{name: "other port", hosts: []string{"127.0.0.1:1"}, url: srv.URL, refused: true, wantText: "not among the allowed hosts"},
		{name: "other host", hosts: []string{"example.com"}, url: srv.URL, refused: true, wantText: "not among the allowed hosts"},
		{name: "suffix is no match", hosts: []string{"example.com"}, url: "http://evil-example.com", refused: true},
		{name: "user info is no host", hosts: []string{"example.com"}, url: "http://example.com@127.0.0.1:9", refused: true},
		{name: "empty list", url: srv.URL, refused: true},
		{name: "plaintext", hosts: []string{host}, url: srv.URL, secure: true, refused: true, wantText: "insecure"},
		{name: "metadata address", hosts: []string{"169.254.169.254"}, url: "http://169.254.169.254/", refused: true, wantText: "metadata"},
		{name: "metadata name", hosts: []string{"metadata.google.internal"}, url: "http://metadata.google.internal./", refused: true, wantText: "metadata"},
		{name: "metadata address in IPv6", hosts: []string{"::ffff:a9fe:a9fe"}, url: "http://[::ffff:a9fe:a9fe]/", refused: true, wantText: "metadata"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := NewHTTPClient(HTTPConfig{Hosts: tt.hosts, Insecure: !tt.secure})
			defer client.CloseIdleConnections()
			body, err := get(t, client, tt.url)
			if errors.Is(err, ErrHostRefused) != tt.refused {
				t.Fatalf("get = %q, %v; want refused %t", body, err, tt.refused)
			}
			if !tt.refused {
				if body != "here" {
					t.Errorf("body %q, error %v", body, err)
				}
				return
			}
			if !strings.Contains(err.Error(), tt.wantText) || !IsPermanent(err) || IsAmbiguous(err) {
				t.Errorf("error %v, permanent %t, ambiguous %t", err, IsPermanent(err), IsAmbiguous(err))
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:80": true, "[::1]:80": true, "10.0.0.1:443": true, "142.250.1.1:443": true, "[2a00:1450::1]:443": true,
		"169.254.169.254:80": false, "169.254.1.1:80": false, "[fe80::1%eth0]:80": false, "[::ffff:169.254.169.254]:80": false,
		"[fd20:ce::254]:80": false, "[fd00:ec2::254]:80": false, "[64:ff9b::a9fe:a9fe]:80": false, "224.0.0.1:80": false,
		"0.0.0.0:80": false, "[::]:80": false, "name:80": false,
	} {
		if err := refuseAddress("tcp", address, nil); (err == nil) != want {
			t.Errorf("refuseAddress(%s) = %v, want allowed %t", address, err, want)
		}
	}
	if !addressAllowed(netip.MustParseAddr("64:ff9b::8.8.8.8")) {
		t.Error("a public address behind NAT64 is refused")
	}
}

func TestHTTPClientRedirects(t *testing.T) {
	t.Parallel()
	reached := make(chan string, 1)
	other := serve(t, func(_ http.ResponseWriter, r *http.Request) { reached <- r.URL.Path })
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL+"/stolen", http.StatusFound)
		case "/near":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			_, _ = io.WriteString(w, "end")
		}
	})
	// Both hosts are allowed: what is refused is that one sends us to the other.
	client := NewHTTPClient(HTTPConfig{Hosts: []string{"127.0.0.1"}, Insecure: true})
	t.Cleanup(client.CloseIdleConnections)

	if body, err := get(t, client, srv.URL+"/near"); err != nil || body != "end" {
		t.Errorf("redirect within the host: %q, %v", body, err)
	}
	for _, path := range []string{"/away", "/loop"} {
		if _, err := get(t, client, srv.URL+path); !errors.Is(err, ErrRedirectRefused) || !IsPermanent(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	select {
	case path := <-reached:
		t.Errorf("the other host was reached at %s", path)
	default:
	}
}

func TestHTTPClientNeverLeavesHTTPS(t *testing.T) {
	t.Parallel()
	request := func(rawURL string) *http.Request {
		u, err := url.Parse(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Request{URL: u}
	}
	from := []*http.Request{request("https://example.com/")}
	if err := sameHostOnly(request("http://example.com/"), from); !errors.Is(err, ErrRedirectRefused) {
		t.Errorf("https to http: %v", err)
	}
	if err := sameHostOnly(request("https://EXAMPLE.com/x"), from); err != nil {
		t.Errorf("same host: %v", err)
	}
}

func TestHTTPClientBoundsBodies(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/zip" {
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		_, _ = io.WriteString(zip, strings.Repeat("x", 1<<20))
		_ = zip.Close()
	})
	tests := []struct {
		name, path string
		max        int64
		want       int
		tooLarge   bool
	}{
		{name: "exactly", path: "/", max: 1000, want: 1000},
		{name: "one too many", path: "/", max: 999, want: 999, tooLarge: true},
		{name: "compressed", path: "/zip", max: 2000, want: 2000, tooLarge: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			client := NewHTTPClient(HTTPConfig{Hosts: []string{"127.0.0.1"}, Insecure: true, MaxBody: tt.max, FreshConnections: true})
			body, err := get(t, client, srv.URL+tt.path)
			if len(body) != tt.want || errors.Is(err, ErrBodyTooLarge) != tt.tooLarge || !tt.tooLarge && err != nil {
				t.Errorf("%d bytes, %v", len(body), err)
			}
		})
	}
}

func TestHTTPClientIgnoresProxyEnvironment(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	client := NewHTTPClient(HTTPConfig{Hosts: []string{"example.com"}, Insecure: true})
	transport := client.Transport.(*guardedTransport).next
	if transport.Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
}

func TestHTTPClientTimesOut(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	client := NewHTTPClient(HTTPConfig{Hosts: []string{hostOf(t, srv.URL)}, Insecure: true, Timeout: 30 * time.Millisecond})
	_, err := get(t, client, srv.URL)
	if err == nil || IsPermanent(err) || !IsAmbiguous(err) {
		t.Errorf("error %v, permanent %t, ambiguous %t", err, IsPermanent(err), IsAmbiguous(err))
	}
}
