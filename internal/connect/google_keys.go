package connect

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys    = 64 << 10 // bytes of the answer; Google's has two or three keys
	minKeyBits = 2048
	keysFresh  = time.Hour        // then they are fetched anew, when somebody asks
	keysLast   = 24 * time.Hour   // so long they are used where newer ones cannot be had
	keysAgain  = 15 * time.Second // between two fetches, whoever asks
)

// keyRing keeps the public keys that tokens are signed with. Nobody waits for a fetch: an intake that called out on each request would be
// as slow as what it calls, and whoever sends tokens with made-up keys could make it call as often. So one fetch at a time goes on behind
// those who ask, when the keys are an hour old, and when one is asked for that is not here: Google publishes a key before it signs with it,
// so an unknown one is as a rule made up. Until the fetch has ended the asker is told to come again, which Pub/Sub does by itself.
type keyRing struct {
	get func() (*http.Response, error)

	mu       sync.Mutex
	keys     map[string]*rsa.PublicKey
	at       time.Time // when keys were had
	tried    time.Time // when the last fetch began
	fetching bool
	failed   error // of the last fetch
}

// find gives the key of an id. The error wraps ErrTokenRefused when there is no such key, and ErrKeysUnavailable when that is not known.
func (k *keyRing) find(id string) (*rsa.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	age := now.Sub(k.at)
	key := k.keys[id]
	if key == nil || age >= keysFresh {
		k.fetchBehind(now)
	}
	switch {
	case key != nil && age < keysLast:
		return key, nil
	case k.failed != nil:
		return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, k.failed)
	case k.fetching, age >= keysLast:
		return nil, ErrKeysUnavailable
	default:
		return nil, refusedToken("Google has no key of its id")
	}
}

func (k *keyRing) fetchBehind(now time.Time) {
	if k.fetching || now.Sub(k.tried) < keysAgain {
		return
	}
	k.fetching, k.tried = true, now
	go k.fetch()
}

// fetch ends with its client's timeout. What it cannot read leaves the keys as they are.
func (k *keyRing) fetch() {
	keys, err := k.read()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fetching, k.failed = false, err; err == nil {
		k.keys, k.at = keys, time.Now()
	}
}

func (k *keyRing) read() (map[string]*rsa.PublicKey, error) {
	resp, err := k.get()
	if err != nil {
		return nil, fmt.Errorf("fetching Google's keys: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching Google's keys: it answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading Google's keys: %w", err)
	}
	return readKeys(body)
}

// readKeys takes the RSA keys for signatures and skips others.
func readKeys(body []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("reading Google's keys: %w", err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, text := range set.Keys {
		var one jose.JSONWebKey
		if err := one.UnmarshalJSON(text); err != nil {
			continue
		}
		public, ok := one.Key.(*rsa.PublicKey)
		if ok && one.KeyID != "" && (one.Use == "sig" || one.Use == "") && public.N.BitLen() >= minKeyBits {
			keys[one.KeyID] = public
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("reading Google's keys: there is none that RS256 is checked with")
	}
	return keys, nil
}
