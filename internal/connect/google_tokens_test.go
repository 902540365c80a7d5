package connect

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	tokenAudience = "https://remediator.example.com/v1/webhooks/monitoring"
	tokenAccount  = "alerts@p.iam.gserviceaccount.com"
)

// signers are two of Google's keys and one that is not; making them takes a while.
var signers = sync.OnceValue(func() [3]*rsa.PrivateKey {
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

func claimsAt(now time.Time) map[string]any {
	return map[string]any{
		"iss": "https://accounts.google.com", "aud": tokenAudience, "email": tokenAccount, "email_verified": true, "sub": "1", "azp": "1",
		"iat": now.Unix() - 1, "exp": now.Add(time.Hour).Unix(),
	}
}

func with(claims map[string]any, name string, value any) map[string]any {
	claims = maps.Clone(claims)
	if value == nil {
		delete(claims, name)
	} else {
		claims[name] = value
	}
	return claims
}

// unsigned gives the first two parts of a token.
func unsigned(t testing.TB, header, claims any) string {
	t.Helper()
	var parts []string
	for _, part := range []any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	return strings.Join(parts, ".")
}

func rs256(t testing.TB, key *rsa.PrivateKey, id string, claims any) string {
	t.Helper()
	text := unsigned(t, map[string]string{"alg": "RS256", "typ": "JWT", "kid": id}, claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func keySet(t testing.TB, keys map[string]*rsa.PrivateKey) []byte {
	t.Helper()
	set := jose.JSONWebKeySet{}
	for id, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: "RS256", Use: "sig"})
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// published is a stand-in for Google's keys that counts who asks.
type published struct {
	asked  atomic.Int32
	answer atomic.Pointer[func() (*http.Response, error)]
}

func (p *published) says(body []byte) {
	p.fails(func() (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body))}, nil
	})
}

func (p *published) fails(answer func() (*http.Response, error)) { p.answer.Store(&answer) }

func (p *published) get() (*http.Response, error) {
	p.asked.Add(1)
	return (*p.answer.Load())()
}

// verifier has the first key of signers as "one", once it was asked for it.
func verifier(t testing.TB) (*GoogleTokens, *published) {
	t.Helper()
	g, err := NewGoogleTokens(GoogleTokensConfig{Audience: tokenAudience, Email: tokenAccount})
	if err != nil {
		t.Fatal(err)
	}
	p := &published{}
	p.says(keySet(t, map[string]*rsa.PrivateKey{"one": signers()[0]}))
	g.keys.get = p.get
	return g, p
}

// awaited gives the verdict once the fetch that the first look may start has ended.
func awaited(g *GoogleTokens, token string) error {
	err := g.Verify(token)
	if errors.Is(err, ErrKeysUnavailable) {
		synctest.Wait()
		err = g.Verify(token)
	}
	return err
}

func TestGoogleTokenIsVerified(t *testing.T) {
	t.Parallel()
	signers()
	synctest.Test(t, func(t *testing.T) {
		g, p := verifier(t)
		token := rs256(t, signers()[0], "one", claimsAt(time.Now()))
		if err := g.Verify(token); !errors.Is(err, ErrKeysUnavailable) {
			t.Errorf("before the keys are here: %v", err)
		}
		synctest.Wait()
		for range 100 {
			if err := g.Verify(token); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.asked.Load(); n != 1 {
			t.Errorf("the keys were fetched %d times", n)
		}
		if err := g.Verify(rs256(t, signers()[0], "one", with(claimsAt(time.Now()), "iss", "accounts.google.com"))); err != nil {
			t.Errorf("the issuer's other name: %v", err)
		}
	})
}

func TestGoogleTokenRefused(t *testing.T) {
	t.Parallel()
	signers()
	synctest.Test(t, func(t *testing.T) {
		g, p := verifier(t)
		good, now := claimsAt(time.Now()), time.Now()
		token := rs256(t, signers()[0], "one", good)
		if err := awaited(g, token); err != nil {
			t.Fatal(err)
		}
		asked := p.asked.Load()
		for name, c := range map[string]struct{ token, want string }{
			"another audience":   {rs256(t, signers()[0], "one", with(good, "aud", tokenAudience+"/")), "another audience"},
			"two audiences":      {rs256(t, signers()[0], "one", with(good, "aud", []string{tokenAudience, "other"})), "another audience"},
			"no audience":        {rs256(t, signers()[0], "one", with(good, "aud", nil)), "another audience"},
			"another issuer":     {rs256(t, signers()[0], "one", with(good, "iss", "https://accounts.google.com.evil.test")), "not issued"},
			"no issuer":          {rs256(t, signers()[0], "one", with(good, "iss", nil)), "not issued"},
			"another account":    {rs256(t, signers()[0], "one", with(good, "email", "x@p.iam.gserviceaccount.com")), "another account"},
			"no account":         {rs256(t, signers()[0], "one", with(good, "email", nil)), "another account"},
			"not verified":       {rs256(t, signers()[0], "one", with(good, "email_verified", false)), "not verified"},
			"not said verified":  {rs256(t, signers()[0], "one", with(good, "email_verified", nil)), "not verified"},
			"verified as a text": {rs256(t, signers()[0], "one", with(good, "email_verified", "true")), "cannot be read"},
			"expired":            {rs256(t, signers()[0], "one", with(good, "exp", now.Unix())), "expired"},
			"without an end":     {rs256(t, signers()[0], "one", with(good, "exp", nil)), "expired"},
			"issued tomorrow":    {rs256(t, signers()[0], "one", with(good, "iat", now.Add(2*time.Minute).Unix())), "not valid yet"},
			"never issued":       {rs256(t, signers()[0], "one", with(good, "iat", nil)), "not valid yet"},
			"not before":         {rs256(t, signers()[0], "one", with(good, "nbf", now.Add(2*time.Minute).Unix())), "not valid yet"},
			"another key":        {rs256(t, signers()[2], "one", good), "signature"},
			"no signature":       {unsigned(t, map[string]string{"alg": "RS256", "kid": "one"}, good) + ".", "signature"},
			"none":               {unsigned(t, map[string]string{"alg": "none", "kid": "one"}, good) + ".", "RS256"},
			"other claims":       {swapClaims(t, token, with(good, "sub", "2")), "signature"},
			"HS256 by the key":   {hs256(t, good), "RS256"},
			"ES256":              {es256(t, good), "RS256"},
			"RS512":              {strings.Replace(token, token[:strings.Index(token, ".")], part(t, map[string]string{"alg": "RS512", "kid": "one"}), 1), "RS256"},
			"header null":        {"bnVsbA." + strings.SplitN(token, ".", 2)[1], "RS256"},
			"claims null":        {unsigned(t, map[string]string{"alg": "RS256", "kid": "one"}, nil) + ".AA", "not issued"},
			"alg twice":          {rawPart(`{"alg":"none","alg":"RS256","kid":"one"}`) + "." + strings.SplitN(token, ".", 2)[1], "RS256"},
			"its own key":        {unsigned(t, map[string]any{"alg": "RS256", "kid": "one", "jwk": map[string]string{"kty": "RSA"}}, good) + ".AA", ""},
			"empty":              {"", "RS256"}, "garbage": {"a.b.c", "RS256"}, "two parts": {"a.b", "RS256"}, "JWE": {"a.b.c.d.e", "RS256"},
			"a megabyte": {strings.Repeat("A", 1<<20), "longer than"},
			"padded":     {token + "=", ""}, "with a space": {token + " x", ""},
		} {
			err := g.Verify(c.token)
			if !errors.Is(err, ErrTokenRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := p.asked.Load(); n != asked {
			t.Errorf("tokens that are refused for what they say made the keys be fetched %d times", n-asked)
		}
	})
}

func part(t testing.TB, v any) string {
	t.Helper()
	return strings.SplitN(unsigned(t, v, nil), ".", 2)[0]
}

func rawPart(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func swapClaims(t testing.TB, token string, claims any) string {
	t.Helper()
	parts := strings.Split(token, ".")
	parts[1] = part(t, claims)
	return strings.Join(parts, ".")
}

// hs256 signs with the text of Google's public key, which everybody has, as if it were a secret that both sides share.
func hs256(t testing.TB, claims any) string {
	t.Helper()
	text := unsigned(t, map[string]string{"alg": "HS256", "kid": "one"}, claims)
	der, err := x509.MarshalPKIXPublicKey(signers()[0].Public())
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, der)
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func es256(t testing.TB, claims any) string {
	t.Helper()
	text := unsigned(t, map[string]string{"alg": "ES256", "kid": "one"}, claims)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

// Google changes its keys; a token by a new one is taken once the keys were fetched anew, and tokens with made-up keys do not make us fetch
// more often than that.
func TestGoogleKeysAreFetchedForAnUnknownOne(t *testing.T) {
	t.Parallel()
	signers()
	synctest.Test(t, func(t *testing.T) {
		g, p := verifier(t)
		if err := awaited(g, rs256(t, signers()[0], "one", claimsAt(time.Now()))); err != nil {
			t.Fatal(err)
		}
		made := rs256(t, signers()[2], "made up", claimsAt(time.Now()))
		if err := g.Verify(made); !errors.Is(err, ErrTokenRefused) {
			t.Errorf("right after a fetch: %v", err)
		}
		time.Sleep(keysAgain)
		if err := awaited(g, made); !errors.Is(err, ErrTokenRefused) {
			t.Errorf("Google has no such key, but: %v", err)
		}
		if n := p.asked.Load(); n != 2 {
			t.Errorf("the keys were fetched %d times", n)
		}
		p.says(keySet(t, map[string]*rsa.PrivateKey{"two": signers()[1]}))
		time.Sleep(keysAgain)
		for range 1000 {
			_ = g.Verify(made)
		}
		synctest.Wait()
		if n := p.asked.Load(); n != 3 {
			t.Errorf("many made-up keys made the keys be fetched %d times", n-2)
		}
		if err := g.Verify(rs256(t, signers()[1], "two", claimsAt(time.Now()))); err != nil {
			t.Errorf("the new key is not taken: %v", err)
		}
		if err := g.Verify(rs256(t, signers()[0], "one", claimsAt(time.Now()))); !errors.Is(err, ErrTokenRefused) {
			t.Errorf("a key that Google has withdrawn: %v", err)
		}
	})
}

// Where Google cannot be asked, the keys that are here do for a day, and what they cannot judge is not refused.
func TestGoogleKeysWhileGoogleIsAway(t *testing.T) {
	t.Parallel()
	signers()
	synctest.Test(t, func(t *testing.T) {
		g, p := verifier(t)
		fresh := func() string { return rs256(t, signers()[0], "one", claimsAt(time.Now())) }
		if err := awaited(g, fresh()); err != nil {
			t.Fatal(err)
		}
		p.fails(func() (*http.Response, error) { return nil, errors.New("no route") })
		time.Sleep(keysFresh)
		for _, wait := range []time.Duration{0, 0, keysLast - keysFresh - time.Second} {
			time.Sleep(wait)
			if err := awaited(g, fresh()); err != nil {
				t.Errorf("the kept key is not used: %v", err)
			}
			synctest.Wait()
		}
		if err := awaited(g, rs256(t, signers()[1], "two", claimsAt(time.Now()))); !errors.Is(err, ErrKeysUnavailable) || !strings.Contains(err.Error(), "no route") {
			t.Errorf("an unknown key: %v", err)
		}
		time.Sleep(time.Minute)
		if err := awaited(g, fresh()); !errors.Is(err, ErrKeysUnavailable) {
			t.Errorf("after a day: %v", err)
		}
		p.says(keySet(t, map[string]*rsa.PrivateKey{"one": signers()[0]}))
		time.Sleep(keysAgain)
		if err := awaited(g, fresh()); err != nil {
			t.Errorf("Google is back, but: %v", err)
		}
	})
}

func TestGoogleKeysAnswers(t *testing.T) {
	t.Parallel()
	good := keySet(t, map[string]*rsa.PrivateKey{"one": signers()[0]})
	mixed := `{"keys":[{"kty":"OKP","crv":"unknown","kid":"x"},{"kty":"oct","k":"AAAA","kid":"one"},"x",` + strings.TrimPrefix(string(good), `{"keys":[`)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status int
		body   string
		ok     bool
	}{
		"good": {200, string(good), true}, "beside others": {200, mixed, true},
		"not found": {404, string(good), false}, "elsewhere": {302, string(good), false}, "server error": {500, string(good), false},
		"nothing": {200, "", false}, "null": {200, "null", false}, "none": {200, `{"keys":[]}`, false}, "text": {200, "<html>", false},
		"cut": {200, string(good[:len(good)/2]), false}, "too large": {200, string(good) + strings.Repeat(" ", maxKeys), false},
		"for encryption": {200, strings.Replace(string(good), `"sig"`, `"enc"`, 1), false}, "without an id": {200, strings.Replace(string(good), `"kid":"one",`, "", 1), false},
		"short": {200, string(keySet(t, map[string]*rsa.PrivateKey{"one": small})), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://other.test/")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer srv.Close()
			g, err := NewGoogleTokens(GoogleTokensConfig{Audience: "a", Email: "b", KeysURL: srv.URL + "/certs", Insecure: true})
			if err != nil {
				t.Fatal(err)
			}
			keys, err := g.keys.read()
			if c.ok != (err == nil) || c.ok != (keys["one"] != nil) {
				t.Errorf("keys %v: %v", keys, err)
			}
		})
	}
}

func TestGoogleTokensConfig(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]GoogleTokensConfig{
		"audience":        {Email: "b"},
		"service_account": {Audience: "a"},
		"insecure":        {Audience: "a", Email: "b", Insecure: true},
		"insecure: true":  {Audience: "a", Email: "b", KeysURL: "http://keys.test/"},
		"keys_url":        {Audience: "a", Email: "b", KeysURL: "keys"},
	} {
		if _, err := NewGoogleTokens(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzGoogleToken(f *testing.F) {
	g, p := verifier(f)
	keys, err := g.keys.read()
	if err != nil {
		f.Fatal(err)
	}
	g.keys.keys, g.keys.at = keys, time.Now().Add(time.Hour)
	p.fails(func() (*http.Response, error) { return nil, errors.New("away") })
	good := rs256(f, signers()[0], "one", claimsAt(time.Now()))
	for _, token := range []string{
		good, good + ".", "a.b.c", "", hs256(f, claimsAt(time.Now())), es256(f, claimsAt(time.Now())), "bnVsbA.bnVsbA.", rawPart(`{"alg":"RS256","crit":["x"]}`) + "..",
		rs256(f, signers()[2], "one", claimsAt(time.Now())), rs256(f, signers()[0], "one", with(claimsAt(time.Now()), "aud", "x")),
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		err := g.Verify(token)
		signed := func(token string) string { return token[:max(strings.LastIndexByte(token, '.'), 0)] } // base64 has several spellings of a signature
		if err == nil && signed(token) != signed(good) {
			t.Errorf("%q was taken", token)
		}
		if err != nil && !errors.Is(err, ErrTokenRefused) && !errors.Is(err, ErrKeysUnavailable) {
			t.Errorf("%q: %v", token, err)
		}
	})
}
