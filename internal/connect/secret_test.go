package connect

import (
	"bytes"
	"database/sql/driver"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v4"
)

const testSecret = "s3cr3t-v4lue/+="

// secretFile keeps a secret in a file of the test's own.
func secretFile(t *testing.T, content string) Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return Secret{File: path}
}

func TestSecretRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, content, want string
		fails               bool
	}{
		{name: "plain", content: testSecret, want: testSecret},
		{name: "one newline is cut", content: testSecret + "\n", want: testSecret},
		{name: "one line ending of Windows is cut", content: testSecret + "\r\n", want: testSecret},
		{name: "only one newline is cut", content: testSecret + "\n\n", want: testSecret + "\n"},
		{name: "inner space is kept", content: " a b ", want: " a b "},
		{name: "empty", content: "", fails: true},
		{name: "blank", content: " \n", fails: true},
		{name: "too large", content: strings.Repeat("x", maxSecret+1), fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			secret := secretFile(t, tt.content)
			got, err := secret.Read()
			if got.Reveal() != tt.want || (err != nil) != tt.fails {
				t.Fatalf("Read() = %q, %v; want %q, failure %t", got.Reveal(), err, tt.want, tt.fails)
			}
			if tt.fails && !strings.Contains(err.Error(), secret.File) {
				t.Errorf("error %q does not name the file", err)
			}
		})
	}
}

// Whoever opens a pipe waits for its writer.
func TestSecretIsAFile(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, t.TempDir(), "/dev/zero"} {
		if _, err := (Secret{File: path}).Read(); err == nil || !strings.Contains(err.Error(), "it is no file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSecretReadsAgain(t *testing.T) {
	t.Parallel()
	secret := secretFile(t, "old")
	if v, err := secret.Read(); err != nil || v.Reveal() != "old" {
		t.Fatalf("Read() = %q, %v", v.Reveal(), err)
	}
	if err := os.WriteFile(secret.File, []byte("new\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := secret.Read(); err != nil || v.Reveal() != "new" {
		t.Fatalf("after rotation Read() = %q, %v", v.Reveal(), err)
	}
}

func TestSecretFromEnvironment(t *testing.T) {
	t.Setenv("REMEDIATOR_TEST_SECRET", testSecret)
	if v, err := (Secret{Env: "REMEDIATOR_TEST_SECRET"}).Read(); err != nil || v.Reveal() != testSecret {
		t.Fatalf("Read() = %q, %v", v.Reveal(), err)
	}
	_, err := Secret{Env: "REMEDIATOR_TEST_UNSET"}.Read()
	if err == nil || !strings.Contains(err.Error(), "REMEDIATOR_TEST_UNSET") {
		t.Errorf("unset variable: %v", err)
	}
}

func TestSecretMisconfigured(t *testing.T) {
	t.Parallel()
	var refusal *SecretError
	if _, err := (Secret{}).Read(); !errors.As(err, &refusal) {
		t.Errorf("zero Secret: %v", err)
	}
	if _, err := (Secret{File: "a", Env: "B"}).Read(); !errors.As(err, &refusal) {
		t.Errorf("two places: %v", err)
	}
	if _, err := (Secret{File: filepath.Join(t.TempDir(), "none")}).Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if !(Secret{}).IsZero() || (Secret{Env: "A"}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestValueIsNeverPrinted(t *testing.T) {
	t.Parallel()
	v := Value(testSecret)
	held := struct {
		Token Value
		List  []Value
	}{v, []Value{v}}

	var printed []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, v), fmt.Sprintf(verb, &v), fmt.Sprintf(verb, held), fmt.Sprintf(verb, &held))
	}
	printed = append(printed, fmt.Sprint(v), v.String(), v.GoString())
	for _, encode := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		b, err := encode(held)
		if err != nil {
			t.Fatal(err)
		}
		printed = append(printed, string(b))
	}
	printed = append(printed, logged(v, held)...)
	printed = append(printed, encoded(t, v)...)
	for _, p := range printed {
		for _, leak := range []string{testSecret, fmt.Sprintf("%x", testSecret), "s3cr3t"} {
			if strings.Contains(strings.ToLower(p), leak) {
				t.Errorf("the secret shows in %q", p)
			}
		}
	}
	if got := fmt.Sprint(v); got != hidden {
		t.Errorf("Sprint = %q", got)
	}
}

// encoded is the value as everything else that writes values would write it.
func encoded(t *testing.T, v Value) []string {
	t.Helper()
	type document struct {
		Attribute Value `xml:",attr"`
		Token     Value
		List      []Value
	}
	held := document{v, v, []Value{v}}
	var binary, page bytes.Buffer
	text, wrong := xml.Marshal(held)
	inMap, noMap := json.Marshal(map[string]any{"token": v, "list": []any{v, &v}, "held": held})
	stored, noStore := driver.DefaultParameterConverter.ConvertValue(v)
	err := errors.Join(wrong, noMap, noStore, gob.NewEncoder(&binary).Encode(held), gob.NewEncoder(&binary).Encode(map[string]Value{"token": v}),
		template.Must(template.New("").Parse("{{.}} {{printf \"%s %q\" . .}}")).Execute(&page, v))
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.Join(errors.New("x"), fmt.Errorf("with %s and %w", v, fmt.Errorf("%#v", held)))
	return []string{string(text), string(inMap), fmt.Sprint(stored), binary.String(), page.String(), failed.Error(), fmt.Sprintf("%#v %v", failed, map[Value]Value{v: v})}
}

// JSON writes the keys of a map as they are, whatever type they have.
func TestNoMapIsKeyedBySecrets(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"../*/*.go", "../*/*/*.go", "../../cmd/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if keyed.Match(text) && filepath.Base(path) != "secret_test.go" {
				t.Errorf("%s has a map whose keys are secrets", path)
			}
		}
	}
}

var keyed = regexp.MustCompile(`map\[(?:connect\.)?Value\]`)

func logged(v Value, held any) []string {
	var text, js bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "value", v, "held", held)
	slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "value", v, "held", held)
	return []string{text.String(), js.String()}
}
