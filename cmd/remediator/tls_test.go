package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tlsRules take one sender by its certificate alone.
const tlsRules = `version: 1
sources:
  alertmanager: {client_certificate: {names: [alertmanager.example.com]}}
targets:
  api: {health: "http://127.0.0.1:9/health"}
rules:
  - {name: look, match: [alertname="X"], target: api, gather: {health: {http.get: {}}}, if: health.sick}
`

// certify writes NAME.crt and NAME.key, signed by an authority's files, or an authority where there is none.
func certify(t *testing.T, dir, name, dns, authority string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	succeed(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{dns},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	parent, by := template, key
	if authority == "" {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, by = readAuthority(t, filepath.Join(dir, authority))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	succeed(t, err)
	private, err := x509.MarshalECPrivateKey(key)
	succeed(t, err)
	writePEM(t, filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
	writePEM(t, filepath.Join(dir, name+".key"), "EC PRIVATE KEY", private)
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	succeed(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func readAuthority(t *testing.T, path string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	der := func(suffix string) []byte {
		text, err := os.ReadFile(path + suffix)
		succeed(t, err)
		block, _ := pem.Decode(text)
		return block.Bytes
	}
	cert, err := x509.ParseCertificate(der(".crt"))
	succeed(t, err)
	key, err := x509.ParseECPrivateKey(der(".key"))
	succeed(t, err)
	return cert, key
}

// TestServeWithTLS: the flags make the server speak TLS and take a sender by its certificate; send and health reach it.
func TestServeWithTLS(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", "")
	dir := shortDir(t)
	succeed(t, os.WriteFile(filepath.Join(dir, defaultRules), []byte(tlsRules), 0o600))
	certify(t, dir, "ours", "", "")
	certify(t, dir, "server", "localhost", "ours")
	certify(t, dir, "alertmanager", "alertmanager.example.com", "ours")
	certify(t, dir, "another", "another.example.com", "ours")
	certify(t, dir, "strangers", "", "")
	certify(t, dir, "stranger", "alertmanager.example.com", "strangers")
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ours.crt"))

	p := startServe(t, dir, "--web.tls-cert-file", "server.crt", "--web.tls-key-file", "server.key", "--web.client-ca-file", "ours.crt")
	secure := strings.Replace(p.url, "http:", "https:", 1)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"the sender's certificate": {[]string{"--to", secure, "--client-cert", "alertmanager.crt", "--client-key", "alertmanager.key"}, exitFine, "accepted: event "},
		"another's":                {[]string{"--to", secure, "--client-cert", "another.crt", "--client-key", "another.key"}, exitProblem, "401"},
		"of other authorities":     {[]string{"--to", secure, "--client-cert", "stranger.crt", "--client-key", "stranger.key"}, exitProblem, "401"}, // not even shown
		"plain text":               {[]string{"--to", p.url, "--client-cert", "alertmanager.crt", "--client-key", "alertmanager.key"}, exitProblem, "remediator: "},
		"no proof to sign with":    {[]string{"--to", secure}, exitProblem, "connect with it"},
	} {
		code, said := p.verb(t, append([]string{"send", "alertmanager", "--event", "firing"}, c.args...)...)
		if code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%s: exit %d, want %d with %q:\n%s", name, code, c.code, c.says, said)
		}
	}
	if code, said := p.verb(t, "health", "--server", secure); code != exitFine {
		t.Errorf("health: exit %d: %s", code, said)
	}
	for name, args := range map[string][]string{
		"a key is missing":         {"--web.tls-cert-file", "server.crt"},
		"authorities without TLS":  {"--web.client-ca-file", "ours.crt"},
		"a certificate of nothing": {"--web.tls-cert-file", "rules.yaml", "--web.tls-key-file", "server.key"},
	} {
		code, said := runProgram(t, dir, append([]string{"serve", "--web.listen-address", "127.0.0.1:0", "--db", "sqlite:other.db"}, args...)...)
		if code == exitFine || !strings.Contains(said, "tls") && !strings.Contains(said, "TLS") && !strings.Contains(said, "certificate") {
			t.Errorf("%s: exit %d: %s", name, code, said)
		}
	}
}
