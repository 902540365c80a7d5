package sources

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
)

const signedBody = `{"a":1}`

func macOf(h func() hash.Hash, key, body string) []byte {
	m := hmac.New(h, []byte(key))
	_, _ = m.Write([]byte(body))
	return m.Sum(nil)
}

func TestHMACHasOneSpelling(t *testing.T) {
	t.Parallel()
	sum, sum512 := macOf(sha256.New, testKey, signedBody), macOf(sha512.New, testKey, signedBody)
	prefixed := HMAC{Header: "X-Signature", Prefix: "sha256="}
	bare := HMAC{Header: "X-Signature"}
	base := HMAC{Header: "X-Signature", Encoding: "base64"}
	long := HMAC{Header: "X-Signature", Algorithm: "sha512", Prefix: "v1,"}
	std := base64.StdEncoding.EncodeToString(sum)
	for name, c := range map[string]struct {
		proof  HMAC
		header []string
		ok     bool
	}{
		"hex":                     {bare, []string{hex.EncodeToString(sum)}, true},
		"prefixed":                {prefixed, []string{"sha256=" + hex.EncodeToString(sum)}, true},
		"base64":                  {base, []string{std}, true},
		"sha512":                  {long, []string{"v1," + hex.EncodeToString(sum512)}, true},
		"no prefix":               {prefixed, []string{hex.EncodeToString(sum)}, false},
		"another prefix":          {prefixed, []string{"sha512=" + hex.EncodeToString(sum)}, false},
		"prefix in capitals":      {prefixed, []string{"SHA256=" + hex.EncodeToString(sum)}, false},
		"prefix twice":            {prefixed, []string{"sha256=sha256=" + hex.EncodeToString(sum)}, false},
		"prefix not asked for":    {bare, []string{"sha256=" + hex.EncodeToString(sum)}, false},
		"capitals":                {bare, []string{strings.ToUpper(hex.EncodeToString(sum))}, false},
		"space":                   {bare, []string{" " + hex.EncodeToString(sum)}, false},
		"cut":                     {bare, []string{hex.EncodeToString(sum)[:63]}, false},
		"empty":                   {bare, []string{""}, false},
		"only the prefix":         {prefixed, []string{"sha256="}, false},
		"none":                    {bare, nil, false},
		"two":                     {bare, []string{hex.EncodeToString(sum), hex.EncodeToString(sum)}, false},
		"two in one":              {bare, []string{hex.EncodeToString(sum) + "," + hex.EncodeToString(sum)}, false},
		"base64 for URLs":         {base, []string{base64.URLEncoding.EncodeToString(append([]byte{0xff, 0xfe}, sum...))}, false},
		"base64 without padding":  {base, []string{strings.TrimRight(std, "=")}, false},
		"hex where base64 is due": {base, []string{hex.EncodeToString(sum)}, false},
		"another algorithm":       {long, []string{"v1," + hex.EncodeToString(sum)}, false},
	} {
		c.proof.Secret = []connect.Secret{secretFile(t, testOtherKey), secretFile(t, testKey)}
		err := c.proof.judge(Request{Header: http.Header{"X-Signature": c.header}, Body: []byte(signedBody)})
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTokenHeader(t *testing.T) {
	t.Parallel()
	p := TokenHeader{Name: "X-Token", Secret: []connect.Secret{secretFile(t, testKey), secretFile(t, testOtherKey)}}
	for name, c := range map[string]struct {
		header http.Header
		ok     bool
	}{
		"right":          {http.Header{"X-Token": {testKey}}, true},
		"second":         {http.Header{"X-Token": {testOtherKey}}, true},
		"wrong":          {http.Header{"X-Token": {testKey + "x"}}, false},
		"empty":          {http.Header{"X-Token": {""}}, false},
		"none":           {http.Header{}, false},
		"two":            {http.Header{"X-Token": {testKey, testKey}}, false},
		"another header": {http.Header{"X-Tokens": {testKey}}, false},
	} {
		err := p.judge(Request{Header: c.header})
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestClientCertificateNames(t *testing.T) {
	t.Parallel()
	cn := pkix.Name{CommonName: "webhooks.example.com"}
	p := ClientCertificate{Names: []string{"am.example.com", "Webhooks.example.com"}}
	for name, c := range map[string]struct {
		cert *x509.Certificate
		ok   bool
	}{
		"a DNS name":                        {&x509.Certificate{DNSNames: []string{"other", "webhooks.example.com"}}, true},
		"in capitals":                       {&x509.Certificate{DNSNames: []string{"AM.EXAMPLE.COM"}}, true},
		"the common name":                   {&x509.Certificate{Subject: cn}, true},
		"the common name beside a DNS name": {&x509.Certificate{Subject: cn, DNSNames: []string{"other"}}, false},
		"the common name beside an address": {&x509.Certificate{Subject: cn, IPAddresses: []net.IP{{127, 0, 0, 1}}}, false},
		"the common name beside a URI":      {&x509.Certificate{Subject: cn, URIs: []*url.URL{{Scheme: "spiffe", Host: "x"}}}, false},
		"a wildcard":                        {&x509.Certificate{DNSNames: []string{"*.example.com"}}, false},
		"below it":                          {&x509.Certificate{DNSNames: []string{"x.webhooks.example.com"}}, false},
		"no name":                           {&x509.Certificate{}, false},
		"none":                              {nil, false},
	} {
		err := p.judge(Request{Client: c.cert})
		if c.ok != (err == nil) || !c.ok && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, names := range [][]string{{}, {""}, {"*.example.com"}, {"a", "b/c"}} {
		if (ClientCertificate{Names: names}).check() == nil {
			t.Errorf("the names %q were accepted", names)
		}
	}
}

// Any proof suffices; one that cannot be judged now may have been the one, and hides none that holds.
func TestAnyProofSuffices(t *testing.T) {
	t.Parallel()
	gone := secretFile(t, testOtherKey)
	ps := proofs{
		TokenHeader{Name: "X-Token", Secret: []connect.Secret{gone}},
		authorization{bearer: []connect.Secret{secretFile(t, testKey)}},
		ClientCertificate{Names: []string{"am.example.com"}}, HMAC{},
	}
	if err := errors.Join(ps.check("a proof"), ps.validate()); err != nil {
		t.Fatal(err)
	}
	token, bearer := http.Header{"X-Token": {testOtherKey}}, authorized("Bearer "+testKey)
	client := &x509.Certificate{DNSNames: []string{"am.example.com"}}
	for name, r := range map[string]Request{
		"token": {Header: token}, "bearer": {Header: bearer}, "certificate": {Header: http.Header{}, Client: client},
		"one beside a wrong one": {Header: http.Header{"X-Token": {"wrong"}, "Authorization": bearer["Authorization"]}},
	} {
		if err := ps.judge(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := ps.judge(Request{Header: http.Header{"X-Token": {testKey}}})
	if !errors.Is(err, ErrUnauthenticated) || strings.Contains(err.Error(), testKey) {
		t.Errorf("no proof: %v", err)
	}
	if err := os.Remove(gone.File); err != nil {
		t.Fatal(err)
	}
	if err := ps.judge(Request{Header: token}); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a secret is gone: %v", err)
	}
	if err := ps.judge(Request{Header: bearer}); err != nil {
		t.Errorf("a secret is gone that is not needed: %v", err)
	}
}

// Before the body has come nobody is refused who may have signed it.
func TestProofsBeforeTheBody(t *testing.T) {
	t.Parallel()
	secret := []connect.Secret{secretFile(t, testKey)}
	plain := proofs{authorization{bearer: secret}, TokenHeader{Name: "X-Token", Secret: secret}, ClientCertificate{Names: []string{"am.example.com"}}, HMAC{}}
	stranger, friend := Request{Header: authorized("Bearer " + testOtherKey)}, Request{Header: authorized("Bearer " + testKey)}
	if err := plain.judgeEarly(stranger); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("a stranger: %v", err)
	}
	if err := plain.judgeEarly(friend); err != nil {
		t.Errorf("a friend: %v", err)
	}
	for name, signing := range map[string]proof{"HMAC": HMAC{Header: "X-Signature", Secret: secret}, "Grafana": (*grafanaSigning)(&Grafana{SigningSecret: secret})} {
		if err := append(plain, signing).judgeEarly(stranger); err != nil {
			t.Errorf("%s may have been signed: %v", name, err)
		}
	}
}

func TestProofsAreSigned(t *testing.T) {
	t.Parallel()
	key := []connect.Secret{secretFile(t, testKey)}
	for name, p := range map[string]proof{
		"hmac":   HMAC{Header: "X-Signature", Secret: key, Algorithm: "sha512", Encoding: "base64", Prefix: "v1="},
		"token":  TokenHeader{Name: "X-Token", Secret: key},
		"bearer": authorization{bearer: key},
		"basic":  authorization{basic: BasicAuth{Username: "u", Password: key[0]}},
	} {
		r := Request{Body: []byte(signedBody)}
		if err := (proofs{ClientCertificate{Names: []string{"x"}}, p}).sign(&r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := p.judge(r); err != nil {
			t.Errorf("%s: what is signed is refused: %v", name, err)
		}
	}
	wantError(t, proofs{ClientCertificate{Names: []string{"x"}}}.sign(&Request{}), "no part of a request")
	wantError(t, proofs{}.sign(&Request{}), "no proof is configured")
	err := proofs{TokenHeader{Name: "X-Token", Secret: []connect.Secret{secretFile(t, "hunter2")}}}.sign(&Request{})
	wantError(t, err, "shorter than 24")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows the secret: %v", err)
	}
}

func TestProofsRefuseAtLoad(t *testing.T) {
	t.Parallel()
	key := []connect.Secret{secretFile(t, testKey)}
	for want, ps := range map[string]proofs{
		"a proof is needed":                       {HMAC{}, TokenHeader{}, ClientCertificate{}},
		"hmac: header":                            {HMAC{Header: "X Signature", Secret: key}},
		"hmac: secret_file or secret_env":         {HMAC{Header: "X-Signature"}},
		"token_header: name":                      {TokenHeader{Name: "", Secret: key}},
		"token_header: secret_file or secret_env": {TokenHeader{Name: "X-Token"}},
		"client_certificate: names are missing":   {ClientCertificate{Names: []string{}}},
	} {
		wantError(t, ps.check("a proof"), want)
	}
}

// PagerDuty's certificate is the same for every customer's webhooks: it is asked for besides the signature, never instead.
func TestPagerDutyCertificateIsAskedForBesides(t *testing.T) {
	t.Parallel()
	p := newPagerDuty("pd").(*PagerDuty)
	p.SigningSecret = []connect.Secret{secretFile(t, testKey)}
	p.ClientCertificate = &ClientCertificate{Names: []string{"webhooks.pagerduty.com"}}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	signed := fixtures["pagerduty"].sign(testKey, []byte("{}"))
	client := &x509.Certificate{Subject: pkix.Name{CommonName: "webhooks.pagerduty.com"}}
	both, alone := signed, Request{Header: http.Header{}, Body: signed.Body, Client: client}
	both.Client = client
	if err := p.Authenticate(both); err != nil {
		t.Errorf("both: %v", err)
	}
	for name, r := range map[string]Request{"the signature alone": signed, "the certificate alone": alone} {
		if err := p.Authenticate(r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
		r.Body = nil
		if err := p.AuthenticateEarly(r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s, before the body: %v", name, err)
		}
	}
	p.ClientCertificate = &ClientCertificate{}
	wantError(t, p.Check(), "names are missing")
}

// Nothing but the exact header proves a body.
func FuzzHMACHeader(f *testing.F) {
	right := "sha256=" + hex.EncodeToString(macOf(sha256.New, testKey, signedBody))
	for _, header := range []string{right, strings.ToUpper(right), right + ",", "sha256=", "", right[7:]} {
		f.Add(header, signedBody)
	}
	p := HMAC{Header: "X-Signature", Secret: []connect.Secret{secretFile(f, testKey)}, Prefix: "sha256="}
	f.Fuzz(func(t *testing.T, header, body string) {
		err := p.judge(Request{Header: http.Header{"X-Signature": {header}}, Body: []byte(body)})
		want := "sha256=" + hex.EncodeToString(macOf(sha256.New, testKey, body))
		if (err == nil) != (header == want) {
			t.Fatalf("%q proves %q: %v", header, body, err)
		}
	})
}
