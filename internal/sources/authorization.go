package sources

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/mixillo/remediator/internal/connect"
)

// BasicAuth is a user and password of HTTP's basic authentication.
type BasicAuth struct {
	Username string `yaml:"username"`
	// Password of the user; one that proves a delivery to us is at least 16 bytes.
	Password connect.Secret `yaml:"password"`
}

func (b BasicAuth) isZero() bool { return b.Username == "" && b.Password.IsZero() }

func (b BasicAuth) validate() error {
	switch {
	case b.isZero():
		return nil
	case b.Username == "":
		return errors.New("basic_auth: username is missing")
	default:
		return validateSecrets("basic_auth: password", []connect.Secret{b.Password}, minPasswordBytes)
	}
}

// authorization is the proof by the Authorization header, of senders that sign nothing. Either of its secrets suffices.
type authorization struct {
	bearer []connect.Secret
	basic  BasicAuth
}

func (a authorization) isZero() bool { return len(a.bearer) == 0 && a.basic.isZero() }

func (a authorization) check() error { return nil }

func (a authorization) validate() error {
	return errors.Join(validateSecrets("bearer_token", a.bearer, minKeyBytes), a.basic.validate())
}

func (a authorization) signs() bool { return false }

// credentials reads the scheme, in small letters, and what follows it out of a request's only Authorization header.
func credentials(h http.Header) (scheme, token string, err error) {
	given := h.Values("Authorization")
	if len(given) != 1 {
		return "", "", fmt.Errorf("%w: %d Authorization headers instead of one", ErrUnauthenticated, len(given))
	}
	scheme, token, _ = strings.Cut(given[0], " ")
	return strings.ToLower(scheme), token, nil
}

func (a authorization) judge(r Request) error {
	scheme, token, err := credentials(r.Header)
	switch {
	case err != nil:
		return err
	case scheme == "bearer" && len(a.bearer) > 0:
		return a.judgeBearer(token)
	case scheme == "basic" && !a.basic.isZero():
		return a.judgeBasic(r.Header)
	default:
		return fmt.Errorf("%w: its kind of authorization is not configured", ErrUnauthenticated)
	}
}

func (a authorization) judgeBearer(token string) error {
	err := anySecret(a.bearer, minKeyBytes, func(v connect.Value) bool { return sameText(token, v.Reveal()) })
	if err != nil {
		return fmt.Errorf("judging the bearer token: %w", err)
	}
	return nil
}

func (a authorization) judgeBasic(h http.Header) error {
	user, password, ok := (&http.Request{Header: h}).BasicAuth()
	if !ok {
		return fmt.Errorf("%w: the basic authorization is malformed", ErrUnauthenticated)
	}
	err := anySecret([]connect.Secret{a.basic.Password}, minPasswordBytes, func(v connect.Value) bool {
		sameUser, samePassword := sameText(user, a.basic.Username), sameText(password, v.Reveal())
		return sameUser && samePassword
	})
	if err != nil {
		return fmt.Errorf("judging the user and password: %w", err)
	}
	return nil
}

func (a authorization) sign(r *Request) error {
	switch {
	case len(a.bearer) > 0:
		token, err := readSecret(a.bearer[0], minKeyBytes)
		if err != nil {
			return fmt.Errorf("signing with the bearer token: %w", err)
		}
		header(r).Set("Authorization", "Bearer "+token.Reveal())
		return nil
	case !a.basic.isZero():
		password, err := readSecret(a.basic.Password, minPasswordBytes)
		if err != nil {
			return fmt.Errorf("signing with the password: %w", err)
		}
		(&http.Request{Header: header(r)}).SetBasicAuth(a.basic.Username, password.Reveal())
		return nil
	default:
		return errNoProof
	}
}
