package http

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sources"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.pem, a.key = a.sign(t, template)
	block, _ := pem.Decode(a.pem)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	a.cert = cert
	return a
}

// sign gives a certificate, signed by itself while the authority has none.
func (a *authority) sign(t *testing.T, template *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// issue gives a certificate for a DNS name, and its key, in PEM.
func (a *authority) issue(t *testing.T, name string, usage x509.ExtKeyUsage) (cert, key []byte) {
	t.Helper()
	cert, private := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// client connects with the certificate, none where it is empty.
func (a *authority) client(t *testing.T, cert, key []byte) *nethttp.Client {
	t.Helper()
	config := &tls.Config{RootCAs: a.pool(), ServerName: "remediator.example.com", MinVersion: tls.VersionTLS12}
	if len(cert) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		// As a hostile client does: whatever the server says it asks for.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &nethttp.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &nethttp.Client{Transport: transport, Timeout: 30 * time.Second}
}

// secured is a server with TLS in front of a source that asks for a client certificate or a bearer token.
type secured struct {
	url     string
	files   Files
	servers *authority // of the server's certificate
	clients *authority // of the clients'
	log     *lockedText
	certs   *Certificates
}

// lockedText is a log that is read while it may be written.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

const bearerToken = "a-test-token-of-at-least-24-bytes"

func newSecured(t *testing.T) *secured {
	t.Helper()
	dir := t.TempDir()
	s := &secured{
		files:   Files{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), ClientCA: filepath.Join(dir, "ca")},
		servers: newAuthority(t, "servers"), clients: newAuthority(t, "clients"), log: &lockedText{},
	}
	cert, key := s.servers.issue(t, "remediator.example.com", x509.ExtKeyUsageServerAuth)
	write(t, s.files.Cert, cert)
	write(t, s.files.Key, key)
	write(t, s.files.ClientCA, s.clients.pem)
	certs, err := LoadCertificates(s.files, logTo(s.log))
	if err != nil {
		t.Fatal(err)
	}
	certs.every = 0
	s.certs = certs
	s.serve(t, certs)
	return s
}

func (s *secured) serve(t *testing.T, certs *Certificates) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, []byte(bearerToken))
	source := &sources.Alertmanager{
		BearerToken:       []connect.Secret{{File: token}},
		ClientCertificate: sources.ClientCertificate{Names: []string{"alertmanager.example.com"}},
	}
	if err := source.Validate(); err != nil {
		t.Fatal(err)
	}
	stand := newStand(func(_ context.Context, in remediation.Inbound) (remediation.Accepted, error) {
		return remediation.Accepted{Event: "ev-1"}, source.Authenticate(in.Request)
	})
	stand.cfg.TLS = certs.Config()
	server := New(stand.cfg)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.url = "https://" + l.Addr().String() + "/v1/webhooks/alertmanager"
}

// post gives the status of a delivery, 0 where there is no connection.
func (s *secured) post(t *testing.T, client *nethttp.Client, header ...string) int {
	t.Helper()
	r, err := nethttp.NewRequestWithContext(t.Context(), nethttp.MethodPost, s.url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.ProtoMajor != 1 {
		t.Errorf("HTTP/%d was spoken, whose streams no bound counts", resp.ProtoMajor)
	}
	return resp.StatusCode
}

func TestClientCertificatesOverTLS(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	right, rightKey := s.clients.issue(t, "alertmanager.example.com", x509.ExtKeyUsageClientAuth)
	named, namedKey := s.clients.issue(t, "someone.example.com", x509.ExtKeyUsageClientAuth)
	forged, forgedKey := newAuthority(t, "clients").issue(t, "alertmanager.example.com", x509.ExtKeyUsageClientAuth)
	server, serverKey := s.clients.issue(t, "alertmanager.example.com", x509.ExtKeyUsageServerAuth)
	for name, c := range map[string]struct {
		cert, key []byte
		header    []string
		want      int
	}{
		"the right certificate":                {right, rightKey, nil, 202},
		"another name":                         {named, namedKey, nil, 401},
		"another name and a token":             {named, namedKey, []string{"Authorization", "Bearer " + bearerToken}, 202},
		"another authority":                    {forged, forgedKey, nil, 0},
		"another authority and a token":        {forged, forgedKey, []string{"Authorization", "Bearer " + bearerToken}, 0},
		"a server's certificate":               {server, serverKey, nil, 0},
		"no certificate":                       {nil, nil, nil, 401},
		"no certificate but a token":           {nil, nil, []string{"Authorization", "Bearer " + bearerToken}, 202},
		"a header that pretends a certificate": {nil, nil, []string{"X-Client-Cert", string(right[:20]), "X-SSL-Client-Verify", "SUCCESS"}, 401},
	} {
		if got := s.post(t, s.servers.client(t, c.cert, c.key), c.header...); got != c.want {
			t.Errorf("%s: answered %d, want %d", name, got, c.want)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		config := &tls.Config{RootCAs: s.servers.pool(), ServerName: "remediator.example.com", MinVersion: version, MaxVersion: version}
		address, _, _ := strings.Cut(strings.TrimPrefix(s.url, "https://"), "/")
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// A certificate or authority that is renewed counts from the next connection on; files that are no good change nothing.
func TestCertificatesAreReadAgain(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	cert, key := s.clients.issue(t, "alertmanager.example.com", x509.ExtKeyUsageClientAuth)
	status := func(servers, clients *authority) int {
		c, k := clients.issue(t, "alertmanager.example.com", x509.ExtKeyUsageClientAuth)
		return s.post(t, servers.client(t, c, k))
	}
	if got := s.post(t, s.servers.client(t, cert, key)); got != 202 {
		t.Fatalf("at first: %d", got)
	}
	renewed := newAuthority(t, "renewed clients")
	write(t, s.files.ClientCA, renewed.pem)
	if old, fresh := status(s.servers, s.clients), status(s.servers, renewed); old != 0 || fresh != 202 {
		t.Errorf("after the authority changed the old one's are answered %d, the new one's %d", old, fresh)
	}
	write(t, s.files.ClientCA, []byte("-----BEGIN CERTIFICATE-----\nthe-secret-itself\n-----END CERTIFICATE-----\n"))
	for range 3 {
		if got := status(s.servers, renewed); got != 202 {
			t.Errorf("with a broken authority: %d", got)
		}
	}
	write(t, s.files.ClientCA, renewed.pem)
	other := newAuthority(t, "renewed servers")
	newCert, newKey := other.issue(t, "remediator.example.com", x509.ExtKeyUsageServerAuth)
	write(t, s.files.Cert, newCert)
	if got := status(s.servers, renewed); got != 202 {
		t.Errorf("between the new certificate and its key: %d", got)
	}
	write(t, s.files.Key, newKey)
	if old, fresh := status(s.servers, renewed), status(other, renewed); old != 0 || fresh != 202 {
		t.Errorf("after the certificate changed who trusts the old authority gets %d, the new one %d", old, fresh)
	}
	if err := os.Remove(s.files.Key); err != nil {
		t.Fatal(err)
	}
	if got := status(other, renewed); got != 202 {
		t.Errorf("without a key's file: %d", got)
	}
	log := s.log.String()
	if got := strings.Count(log, "cannot be read again"); got != 3 {
		t.Errorf("%d troubles were logged, want each of the three once:\n%s", got, log)
	}
	if strings.Contains(log, "the-secret-itself") || strings.Contains(log, "PRIVATE KEY") {
		t.Errorf("the log holds what the files hold:\n%s", log)
	}
}

func TestLoadCertificatesRefuses(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "servers")
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		write(t, path, content)
		return path
	}
	certPEM, keyPEM := a.issue(t, "remediator.example.com", x509.ExtKeyUsageServerAuth)
	_, otherPEM := a.issue(t, "remediator.example.com", x509.ExtKeyUsageServerAuth)
	cert, key, other, empty := file("cert", certPEM), file("key", keyPEM), file("other", otherPEM), file("empty", nil)
	for want, files := range map[string]Files{
		"no such file":                   {Cert: cert, Key: filepath.Join(dir, "none")},
		"no certificate and its key":     {Cert: cert, Key: other},
		"are no certificate and":         {Cert: empty, Key: key},
		"no certificate of an authority": {Cert: cert, Key: key, ClientCA: empty},
	} {
		_, err := LoadCertificates(files, logTo(io.Discard))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
