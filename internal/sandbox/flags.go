package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// FlagsToken is the bearer token of the flag service. It guards nothing.
const FlagsToken = "sandbox-flags-token"

// FlagsSigningKey is what the flag service checks X-Signature with, where a call carries one: the HMAC-SHA256 of the body.
const FlagsSigningKey = "sandbox-flags-signing-key"

// Flag is a feature flag as its service keeps it.
type Flag struct {
	Key     string `json:"key"`
	Enabled bool   `json:"enabled"`
	Version int    `json:"version"`
	Comment string `json:"comment,omitempty"`
	// Operation is the idempotency key of the last change through the API.
	Operation string `json:"operation,omitempty"`
}

// flagServer is a small service of feature flags: GET and PATCH /api/flags/KEY. It keeps no promise about idempotency keys, so that a change
// that is made twice is seen twice.
type flagServer struct {
	ledger *ledger
	by     string

	mu    sync.Mutex
	flags map[string]Flag
}

func newFlagServer(l *ledger, by string) *flagServer {
	return &flagServer{ledger: l, by: by, flags: map[string]Flag{}}
}

func (s *flagServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/flags/{key}", s.get)
	mux.HandleFunc("PATCH /api/flags/{key}", s.patch)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+FlagsToken {
			writeJSON(w, http.StatusUnauthorized, object{"error": "unauthorized"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *flagServer) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.flags[r.PathValue("key")]
	if !ok {
		writeJSON(w, http.StatusNotFound, object{"error": "no such flag"})
		return
	}
	writeJSON(w, http.StatusOK, f)
}

type flagPatch struct {
	Enabled *bool   `json:"enabled"`
	Comment *string `json:"comment"`
}

func (s *flagServer) patch(w http.ResponseWriter, r *http.Request) {
	body, ok := signedBody(w, r)
	if !ok {
		return
	}
	var change flagPatch
	if err := json.Unmarshal(body, &change); err != nil || change.Enabled == nil {
		writeJSON(w, http.StatusUnprocessableEntity, object{"error": "enabled must be true or false"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.flags[r.PathValue("key")]
	if !ok {
		writeJSON(w, http.StatusNotFound, object{"error": "no such flag"})
		return
	}
	f.Enabled, f.Version, f.Operation = *change.Enabled, f.Version+1, r.Header.Get("Idempotency-Key")
	if change.Comment != nil {
		f.Comment = *change.Comment
	}
	s.set(f, s.by)
	writeJSON(w, http.StatusOK, f)
}

// signedBody reads a body, and answers the call itself where a signature is wrong.
func signedBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err != nil {
		writeJSON(w, http.StatusRequestEntityTooLarge, object{"error": "too large"})
		return nil, false
	}
	given := r.Header.Get("X-Signature")
	mac := hmac.New(sha256.New, []byte(FlagsSigningKey))
	_, _ = mac.Write(body)
	if given != "" && !hmac.Equal([]byte(given), []byte("sha256="+hex.EncodeToString(mac.Sum(nil)))) {
		writeJSON(w, http.StatusUnauthorized, object{"error": "wrong signature"})
		return nil, false
	}
	return body, true
}

// set keeps the flag and writes the ledger; the lock is held.
func (s *flagServer) set(f Flag, by string) {
	s.flags[f.Key] = f
	s.ledger.add(Entry{System: "flags", Verb: "set_flag", Resource: f.Key, By: by, Detail: map[string]any{
		"enabled": f.Enabled, "version": f.Version, "comment": f.Comment, "operation": f.Operation,
	}})
}

// SetFlag sets a feature flag as a person does, and makes it if there is none.
func (w *World) SetFlag(f Flag) {
	w.flags.mu.Lock()
	defer w.flags.mu.Unlock()
	f.Version = w.flags.flags[f.Key].Version + 1
	w.flags.set(f, Human)
}

// Flag reads a feature flag.
func (w *World) Flag(key string) (Flag, error) {
	w.flags.mu.Lock()
	defer w.flags.mu.Unlock()
	f, ok := w.flags.flags[key]
	if !ok {
		return Flag{}, fmt.Errorf("reading a flag: there is none called %q", key)
	}
	return f, nil
}
