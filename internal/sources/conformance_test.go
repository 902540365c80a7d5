package sources

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// TestEverySource holds every registered kind to the duties of a source.
func TestEverySource(t *testing.T) {
	t.Parallel()
	for _, name := range Kinds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fix, ok := fixtures[name]
			if !ok {
				t.Fatalf("source %s has no fixture: add one to its test", name)
			}
			kind, _ := Lookup(name)
			t.Run("described", func(t *testing.T) { describes(t, kind) })
			t.Run("refuses what protects nothing", func(t *testing.T) { refusesWeak(t, kind, fix) })
			t.Run("authenticates", func(t *testing.T) { authenticates(t, kind, fix) })
			t.Run("authenticates before the body", func(t *testing.T) { authenticatesEarly(t, kind, fix) })
			t.Run("secret unreadable", func(t *testing.T) { unavailable(t, kind, fix) })
			t.Run("parses", func(t *testing.T) { parses(t, kind, fix) })
			t.Run("garbage", func(t *testing.T) { refusesGarbage(t, kind, fix) })
			t.Run("truncated", func(t *testing.T) { refusesTruncated(t, kind, fix) })
			t.Run("rereads", func(t *testing.T) { rereads(t, kind, fix) })
			t.Run("plays its sender", func(t *testing.T) { plays(t, kind, fix) })
		})
	}
}

func TestRegisterRefusesASecondOfAName(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a kind was registered twice without a panic")
		}
	}()
	Register(Kind{Name: Kinds()[0]})
}

func describes(t *testing.T, kind Kind) {
	if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(kind.Name) {
		t.Errorf("the name %q is not lower_snake", kind.Name)
	}
	if len(kind.Doc) < 40 || !strings.HasSuffix(kind.Doc, ".") {
		t.Errorf("the doc is not a sentence: %q", kind.Doc)
	}
	pointer := reflect.TypeOf(kind.New("x"))
	if pointer.Kind() != reflect.Pointer || pointer.Elem().Kind() != reflect.Struct {
		t.Fatalf("New gives a %s, not a pointer to a struct of parameters", pointer)
	}
	taggedFields(t, pointer.Elem())
}

func taggedFields(t *testing.T, parameters reflect.Type) {
	for field := range parameters.Fields() {
		if !field.IsExported() {
			continue
		}
		if tag := field.Tag.Get("yaml"); !regexp.MustCompile(`^[a-z][a-z0-9_]*(,omitempty)?$`).MatchString(tag) {
			t.Errorf("field %s.%s has the yaml tag %q", parameters.Name(), field.Name, tag)
		}
		if field.Type.Kind() == reflect.Struct && field.Type != reflect.TypeFor[connect.Secret]() {
			taggedFields(t, field.Type)
		}
	}
}

func refusesWeak(t *testing.T, kind Kind, fix fixture) {
	if err := kind.New("x").Validate(); err == nil {
		t.Error("an empty configuration was accepted")
	}
	missing := connect.Secret{File: t.TempDir() + "/none"}
	weak := map[string]connect.Secret{"empty": secretFile(t, ""), "short": secretFile(t, "hunter2"), "missing": missing, "unset": {}}
	for name, secret := range weak {
		s := kind.New("x")
		fix.configure(s, secret)
		err := s.Validate()
		if err == nil {
			t.Errorf("an %s secret was accepted", name)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func configured(t *testing.T, kind Kind, fix fixture, secret connect.Secret) Source {
	t.Helper()
	s := kind.New("the-name")
	fix.configure(s, secret)
	if err := s.Validate(); err != nil {
		t.Fatalf("a good configuration was refused: %v", err)
	}
	return s
}

func authenticates(t *testing.T, kind Kind, fix fixture) {
	s := configured(t, kind, fix, secretFile(t, testKey+"\n"))
	body := []byte(fix.bodies[0])
	if err := s.Authenticate(fix.sign(testKey, body)); err != nil {
		t.Errorf("an authentic delivery was refused: %v", err)
	}
	forged := map[string]Request{"no proof": {Body: body}, "another secret": fix.sign(testOtherKey, body), "empty secret": fix.sign("", body)}
	for name, r := range forged {
		err := s.Authenticate(r)
		if !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: got %v, want ErrUnauthenticated", name, err)
		} else if strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: the error shows the secret: %v", name, err)
		}
	}
}

// authenticatesEarly: a stranger is told by what comes before the body, unless a proof is over the body; no sender is.
func authenticatesEarly(t *testing.T, kind Kind, fix fixture) {
	s, ok := configured(t, kind, fix, secretFile(t, testKey)).(Early)
	one, other := fix.sign(testKey, []byte("{}")), fix.sign(testKey, []byte("[]"))
	one.Body, other.Body = nil, nil
	overBody := !cmp.Equal(one, other)
	if !ok {
		if !overBody {
			t.Error("its proof is not over the body, and yet strangers' bodies are read")
		}
		return
	}
	if err := s.AuthenticateEarly(one); err != nil {
		t.Errorf("a sender was refused: %v", err)
	}
	if err := s.AuthenticateEarly(fix.sign(testOtherKey, nil)); errors.Is(err, ErrUnauthenticated) == overBody {
		t.Errorf("another secret: got %v; proved over the body: %v", err, overBody)
	}
	if err := s.AuthenticateEarly(Request{}); !overBody && !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("no proof: %v", err)
	}
}

func unavailable(t *testing.T, kind Kind, fix fixture) {
	secret := secretFile(t, testKey)
	s := configured(t, kind, fix, secret)
	body := []byte(fix.bodies[0])
	if err := os.WriteFile(secret.File, []byte(testOtherKey), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Authenticate(fix.sign(testOtherKey, body)); err != nil {
		t.Errorf("the rotated secret is not used without a restart: %v", err)
	}
	for _, content := range []string{"", "short"} {
		if err := os.WriteFile(secret.File, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Authenticate(fix.sign(content, body)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("secret %q: got %v, want ErrUnavailable", content, err)
		}
	}
	if err := os.Remove(secret.File); err != nil {
		t.Fatal(err)
	}
	err := s.Authenticate(fix.sign(testKey, body))
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnauthenticated) {
		t.Errorf("got %v, want ErrUnavailable alone", err)
	}
}

func parses(t *testing.T, kind Kind, fix fixture) {
	s := configured(t, kind, fix, secretFile(t, testKey))
	for _, body := range fix.bodies {
		first, err := s.Parse([]byte(body), received)
		if err != nil {
			t.Fatalf("%v in\n%s", err, body)
		}
		again, err := s.Parse([]byte(body), received)
		if diff := cmp.Diff(first, again); err != nil || diff != "" {
			t.Errorf("the second reading differs: %v\n%s", err, diff)
		}
		checkDelivery(t, s, first)
	}
}

// checkDelivery holds for whatever a source parses without an error.
func checkDelivery(t *testing.T, s Source, d Delivery) {
	t.Helper()
	if d.Type == "" || (d.Ignored == "") == (len(d.Alerts)+len(d.Holds) == 0) {
		t.Errorf("a delivery has a type, and either alerts or holds or a reason why there are none: %+v", d)
	}
	for _, h := range d.Holds {
		if h.IncidentID == "" && h.IncidentKey == "" || h.At.IsZero() || !h.Lifted && (h.By == "" || h.ByID == "") {
			t.Errorf("a hold lacks its incident, its time or its person: %+v", h)
		}
	}
	if _, can := s.(LookUp); d.Incomplete && !can {
		t.Error("the body is incomplete, but the source has no look-up")
	}
	for _, a := range d.Alerts {
		if a.Source != "the-name" || a.Episode == "" || a.StartsAt.IsZero() || checkStatus(a.Status) != nil {
			t.Errorf("an alert lacks its source, episode, beginning or status: %+v", a)
		}
		if a.Labels == nil || (a.Status == alert.Firing && !d.Incomplete && checkLabels(a.Labels) != nil) {
			t.Errorf("the labels of an alert are missing or out of bounds: %+v", a)
		}
	}
}

func refusesGarbage(t *testing.T, kind Kind, fix fixture) {
	s := configured(t, kind, fix, secretFile(t, testKey))
	valid := fix.bodies[0]
	garbage := map[string]string{
		"empty": "", "null": "null", "number": "1", "text": `"x"`, "list": "[]", "object": "{}", "not JSON": "<xml/>", "NUL": "\x00",
		"deep lists": strings.Repeat("[", 100_000), "deep objects": strings.Repeat(`{"a":`, 100_000),
		"trailing value": valid + "{}", "trailing text": valid + "x", "invalid UTF-8": strings.Replace(valid, `"`, "\"\xff", 1),
		"key twice": `{"a":1,"a":1,` + strings.TrimPrefix(strings.TrimSpace(valid), "{"),
	}
	for name, body := range garbage {
		if d, err := s.Parse([]byte(body), received); err == nil {
			t.Errorf("%s was taken for %+v", name, d)
		}
	}
}

func refusesTruncated(t *testing.T, kind Kind, fix fixture) {
	s := configured(t, kind, fix, secretFile(t, testKey))
	for _, body := range fix.bodies {
		whole := strings.TrimSpace(body)
		for end := range len(whole) {
			if d, err := s.Parse([]byte(whole[:end]), received); err == nil {
				t.Fatalf("the first %d bytes were taken for %+v", end, d)
			}
		}
	}
}
