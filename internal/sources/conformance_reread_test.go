package sources

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// rereads holds a source that can be asked to the duties of sources.Reread: whatever the sender answers, it is a known standing or an
// error that shows no secret, and never later than the context allows.
func rereads(t *testing.T, kind Kind, fix fixture) {
	_, can := configured(t, kind, fix, secretFile(t, testKey)).(Reread)
	if can != (fix.ask != nil) {
		t.Fatalf("the source can be asked: %t, and its fixture says %t", can, fix.ask != nil)
	}
	if !can {
		return
	}
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.Header.Get("Authorization"), status) }
	}
	say := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	for name, answer := range map[string]http.HandlerFunc{
		"400": echo(400), "401": echo(401), "404": echo(404), "429": echo(429), "500": echo(500), "503": echo(503),
		"nothing": say(""), "null": say("null"), "text": say("<html>"), "cut": say(`[{"labels":{`), "a number": say("1"),
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://other.test/", http.StatusFound)
		},
		"hang up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) { notKnown(t, kind, fix, answer) })
	}
	t.Run("no answer", func(t *testing.T) { endsWithItsContext(t, kind, fix) })
	t.Run("secret unreadable", func(t *testing.T) {
		secret := secretFile(t, testKey)
		asks := asking(t, kind, fix, secret, say("[]"))
		if err := os.Remove(secret.File); err != nil {
			t.Fatal(err)
		}
		_, err := asks(t.Context())
		wantError(t, err, secret.File)
	})
}

// asking configures the source against a stand-in and gives the question.
func asking(t *testing.T, kind Kind, fix fixture, secret connect.Secret, answer http.HandlerFunc) func(context.Context) (Standing, error) {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	s := kind.New("the-name")
	fix.configure(s, secretFile(t, testKey))
	set, of := fix.ask(t, s, srv.URL, secret)
	if err := s.Validate(); err != nil {
		t.Fatalf("a good configuration was refused: %v", err)
	}
	return func(ctx context.Context) (Standing, error) { return s.(Reread).Reread(ctx, set, of) }
}

func notKnown(t *testing.T, kind Kind, fix fixture, answer http.HandlerFunc) {
	got, err := asking(t, kind, fix, secretFile(t, testKey), answer)(t.Context())
	if err == nil || got != (Standing{}) {
		t.Fatalf("it stands as %+v: %v", got, err)
	}
	if strings.Contains(err.Error(), testKey) {
		t.Errorf("the error shows the secret: %v", err)
	}
}

func endsWithItsContext(t *testing.T, kind Kind, fix fixture) {
	asks := asking(t, kind, fix, secretFile(t, testKey), func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if got, err := asks(ctx); !errors.Is(err, context.DeadlineExceeded) || got != (Standing{}) {
		t.Errorf("it stands as %+v: %v", got, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}
