package sources

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/mixillo/remediator/internal/connect"
)

// The shortest secrets that protect anything, in bytes. A key is made by a machine; a password may have been typed.
const (
	minKeyBytes      = 24
	minPasswordBytes = 16
)

// readSecret reads a secret now and refuses a short one. Its errors name the place, never the content.
func readSecret(s connect.Secret, least int) (connect.Value, error) {
	v, err := s.Read()
	if err != nil {
		return "", err
	}
	if len(v) < least {
		return "", fmt.Errorf("the secret in %s is shorter than %d bytes", s, least)
	}
	return v, nil
}

// validateSecrets refuses a list in which any secret is missing, unreadable or short.
func validateSecrets(field string, secrets []connect.Secret, least int) error {
	var wrong error
	for _, s := range secrets {
		if _, err := readSecret(s, least); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", field, err))
		}
	}
	return wrong
}

// anySecret succeeds when one of the secrets proves the delivery. When none does and one could not be read, the proof may depend
// on that one: ErrUnavailable, so that the sender keeps the delivery.
func anySecret(secrets []connect.Secret, least int, proves func(connect.Value) bool) error {
	var unreadable error
	for _, s := range secrets {
		v, err := readSecret(s, least)
		if err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		if proves(v) {
			return nil
		}
	}
	if unreadable != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, unreadable)
	}
	return ErrUnauthenticated
}

// errNoProof is what Sign ends in where the configuration has no proof that a request can carry.
var errNoProof = errors.New("no proof is configured that a request can carry")

// header is that of the request, which is made where there is none yet.
func header(r *Request) http.Header {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	return r.Header
}

// sameText compares without telling by its duration where two texts differ or how long the secret one is.
func sameText(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// signature is the HMAC-SHA256 of a body in small hex. It is compared as text, so that one signature has one spelling.
func signature(secret connect.Value, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	_, _ = mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func anySignature(given []string, want string) bool {
	found := false
	for _, one := range given {
		found = hmac.Equal([]byte(one), []byte(want)) || found
	}
	return found
}
