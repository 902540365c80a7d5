package sources

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

var goodPubSub = PubSubAuth{Audience: "https://remediator.example.com/", ServiceAccount: "push@p.iam.gserviceaccount.com"}

var pushKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// google is a stand-in for Google's published keys.
func google(t *testing.T, answers *atomic.Bool, asked *atomic.Int32) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if !answers.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		public := pushKey().PublicKey
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []map[string]string{{
			"kid": "k1", "kty": "RSA", "alg": "RS256", "use": "sig", "n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
		}}})
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func pushToken(t *testing.T, audience string) string {
	t.Helper()
	var parts []string
	for _, part := range []any{
		map[string]string{"alg": "RS256", "kid": "k1", "typ": "JWT"},
		map[string]any{
			"iss": "https://accounts.google.com", "aud": audience, "email": goodPubSub.ServiceAccount, "email_verified": true,
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		},
	} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	text := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte(text))
	mac, err := rsa.SignPKCS1v15(rand.Reader, pushKey(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(mac)
}

// judged asks again while the source cannot judge, as Pub/Sub does.
func judged(t *testing.T, g *GoogleCloudMonitoring, r Request) error {
	t.Helper()
	ctx := t.Context()
	for {
		err := g.Authenticate(r)
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func TestGoogleCloudMonitoringPubSub(t *testing.T) {
	t.Parallel()
	var answers atomic.Bool
	var asked atomic.Int32
	answers.Store(true)
	g := monitoring()
	g.PubSub = goodPubSub
	g.PubSub.KeysURL, g.PubSub.Insecure = google(t, &answers, &asked), true
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	good := Request{Header: authorized("Bearer " + pushToken(t, goodPubSub.Audience))}
	if err := g.Authenticate(good); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("before Google's keys are here: %v", err)
	}
	if err := judged(t, g, good); err != nil {
		t.Fatalf("an authentic token was refused: %v", err)
	}
	for name, r := range map[string]Request{
		"another audience": {Header: authorized("Bearer " + pushToken(t, "https://elsewhere.example.com/"))},
		"a flipped bit":    {Header: authorized("Bearer " + strings.Replace(pushToken(t, goodPubSub.Audience), ".", ".A", 1))},
		"no token":         {Header: authorized("Bearer ")}, "nothing": {}, "basic": {Header: basicAuthorization("a", testPassword)},
		"a megabyte":     {Header: authorized("Bearer " + strings.Repeat("x", 1<<20))},
		"two tokens":     {Header: authorized(good.Header.Get("Authorization"), good.Header.Get("Authorization"))},
		"within the URL": {Query: url.Values{"auth_token": {pushToken(t, goodPubSub.Audience)}}},
	} {
		if err := g.Authenticate(r); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("Google was asked %d times", n)
	}
}

func TestGoogleCloudMonitoringWhileGoogleIsAway(t *testing.T) {
	t.Parallel()
	var answers atomic.Bool
	var asked atomic.Int32
	g := monitoring()
	g.PubSub, g.Token = goodPubSub, []connect.Secret{secretFile(t, testKey)}
	g.PubSub.KeysURL, g.PubSub.Insecure = google(t, &answers, &asked), true
	r := Request{Header: authorized("Bearer " + pushToken(t, goodPubSub.Audience))}
	for range 100 {
		if err := g.Authenticate(r); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthenticated) {
			t.Fatalf("got %v, want ErrUnavailable alone", err)
		}
	}
	r.Query = url.Values{"auth_token": {"wrong"}}
	if err := g.Authenticate(r); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("beside a wrong token of the URL: got %v, want ErrUnavailable alone", err)
	}
	r.Query.Set("auth_token", testKey)
	if err := g.Authenticate(r); err != nil {
		t.Errorf("the token of the URL proves it, but: %v", err)
	}
	if n := asked.Load(); n > 1 {
		t.Errorf("Google was asked %d times at once", n)
	}
}
