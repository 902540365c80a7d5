package connect

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Defaults of HTTPConfig and limits that are not configurable.
const (
	defaultTimeout = 10 * time.Second
	defaultMaxBody = 1 << 20
	maxRedirects   = 5
	maxHeaderBytes = 64 << 10
	connectTimeout = 5 * time.Second
	idleTimeout    = 30 * time.Second
)

// ErrHostRefused is returned, wrapped, when a request would leave the list of allowed hosts or reach a metadata address. Nothing
// was sent there.
var ErrHostRefused = errors.New("host refused")

// ErrRedirectRefused is returned, wrapped, when an answer redirects to another host or away from https. The first request was sent.
var ErrRedirectRefused = errors.New("redirect refused")

// ErrBodyTooLarge is returned, wrapped, by reads of a response body that is larger than the client allows.
var ErrBodyTooLarge = errors.New("response body too large")

// HTTPConfig says what an HTTP client may reach.
type HTTPConfig struct {
	// Hosts are the only ones reached: "example.com" allows every port of it, "example.com:8443" that port alone. An empty list
	// allows none.
	Hosts   []string
	Timeout time.Duration // of a whole exchange, body included; 0 means 10 s
	MaxBody int64         // bytes of a decompressed response body; 0 means 1 MiB
	// Insecure allows http: URLs beside https:. It never switches off certificate checks.
	Insecure bool
	// FreshConnections opens a connection for each request, so that a sample says something about the target as it is now.
	FreshConnections bool
	// Certificates prove us to a server that asks for one.
	Certificates []tls.Certificate
}

// NewHTTPClient makes a client with its own timeouts that reaches only the listed hosts, follows redirects only within one host,
// bounds response bodies, uses no proxy from the environment, and never reaches link-local or metadata addresses, whatever a name
// resolves to. Refusals wrap ErrHostRefused or
// ErrRedirectRefused, oversized bodies ErrBodyTooLarge.
func NewHTTPClient(cfg HTTPConfig) *http.Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = defaultMaxBody
	}
	return &http.Client{
		Timeout:       cfg.Timeout,
		CheckRedirect: sameHostOnly,
		Transport: &guardedTransport{
			hosts:    newHostList(cfg.Hosts),
			insecure: cfg.Insecure,
			maxBody:  cfg.MaxBody,
			next:     newTransport(cfg),
		},
	}
}

func newTransport(cfg HTTPConfig) *http.Transport {
	return &http.Transport{
		DialContext:            guardedDialer(cfg.Timeout).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, Certificates: cfg.Certificates},
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  cfg.Timeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableKeepAlives:      cfg.FreshConnections,
	}
}

func sameHostOnly(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d in a row", ErrRedirectRefused, maxRedirects)
	case !strings.EqualFold(req.URL.Host, first.Host):
		return fmt.Errorf("%w: from %s to another host, %s", ErrRedirectRefused, first.Host, req.URL.Host)
	case first.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("%w: %s leads from https to %s", ErrRedirectRefused, first.Host, req.URL.Scheme)
	default:
		return nil
	}
}

// guardedTransport judges every request, redirects included, before a name is resolved.
type guardedTransport struct {
	hosts    hostList
	insecure bool
	maxBody  int64
	next     *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *guardedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.judge(req); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: t.maxBody, max: t.maxBody}
	return resp, nil
}

// CloseIdleConnections lets http.Client close what is idle.
func (t *guardedTransport) CloseIdleConnections() { t.next.CloseIdleConnections() }

func (t *guardedTransport) judge(req *http.Request) error {
	if s := req.URL.Scheme; s != "https" && (s != "http" || !t.insecure) {
		return fmt.Errorf("%w: %s: plaintext http needs insecure: true", ErrHostRefused, req.URL.Host)
	}
	return t.hosts.judge(req.URL)
}

// boundedBody fails a read beyond its limit, instead of cutting the body silently.
type boundedBody struct {
	io.ReadCloser
	left, max int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		n = int(b.left)
		b.left = 0
		return n, fmt.Errorf("%w: more than %d bytes", ErrBodyTooLarge, b.max)
	}
	b.left -= int64(n)
	return n, err
}
