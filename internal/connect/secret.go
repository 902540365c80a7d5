package connect

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// maxSecret bounds how much of a secret file is read, in bytes: a mistyped path must not fill the memory.
const maxSecret = 64 << 10

// hidden is what every way of printing a Value shows.
const hidden = "[secret]"

// Secret names where a secret is kept; it never holds the value. The zero Secret is unset. In rules.yaml a field `token` of this
// type is written `token_file` or `token_env`, an entry of a map of them `{file: PATH}` or `{env: VARIABLE}`.
type Secret struct {
	File string `yaml:"file"` // path of a file
	Env  string `yaml:"env"`  // name of an environment variable
}

// IsZero reports whether no place is named.
func (s Secret) IsZero() bool { return s.File == "" && s.Env == "" }

// String names the place, for messages.
func (s Secret) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	default:
		return "no secret"
	}
}

// Read reads the secret now, without one trailing newline. An unreadable or empty secret is a *SecretError, which names the place
// and never the content.
func (s Secret) Read() (Value, error) {
	text, err := s.text()
	if err != nil {
		return "", &SecretError{Secret: s, Err: err}
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if strings.TrimSpace(text) == "" {
		return "", &SecretError{Secret: s, Err: errors.New("it is empty")}
	}
	return Value(text), nil
}

func (s Secret) text() (string, error) {
	switch {
	case s.IsZero():
		return "", errors.New("no file and no environment variable is named")
	case s.File != "" && s.Env != "":
		return "", errors.New("both a file and an environment variable are named")
	case s.Env != "":
		return os.Getenv(s.Env), nil
	default:
		return readBounded(s.File)
	}
}

func readBounded(path string) (string, error) {
	switch info, err := os.Stat(path); { // whoever opens a pipe waits for its writer
	case err != nil:
		return "", fmt.Errorf("opening it: %w", err)
	case !info.Mode().IsRegular():
		return "", errors.New("it is no file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("opening it: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("reading it: %w", err)
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("it is larger than %d bytes", maxSecret)
	}
	return string(b), nil
}

// SecretError says that a secret could not be had. Nothing was sent: it is neither permanent nor ambiguous.
type SecretError struct {
	Secret Secret
	Err    error
}

// Error names the place and what is wrong with it.
func (e *SecretError) Error() string {
	return fmt.Sprintf("reading the secret in %s: %v", e.Secret, e.Err)
}

// Unwrap gives the cause.
func (e *SecretError) Unwrap() error { return e.Err }

// Value is a secret's content. Every way of printing, encoding or storing it gives "[secret]"; Reveal gives the content. It is no key of a map:
// JSON writes keys as they are.
type Value string

// Reveal gives the content. Its result must reach nothing but the wire or a comparison.
func (v Value) Reveal() string { return string(v) }

// String hides the content.
func (Value) String() string { return hidden }

// GoString hides the content from %#v.
func (Value) GoString() string { return hidden }

// Format hides the content from every verb, %x and %q included.
func (Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the content.
func (Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalJSON hides the content.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalYAML hides the content.
func (Value) MarshalYAML() (any, error) { return hidden, nil }

// MarshalBinary hides the content, from gob too.
func (Value) MarshalBinary() ([]byte, error) { return []byte(hidden), nil }

// Value hides the content from databases.
func (Value) Value() (driver.Value, error) { return hidden, nil }

// LogValue hides the content from slog.
func (Value) LogValue() slog.Value { return slog.StringValue(hidden) }
