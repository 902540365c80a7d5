package connect

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// labelled lists alerts by their labels alone, as Alertmanager's API does.
const labelled = `[
	{"labels":{"alertname":"Down","service":"api","pod":"a"},"startsAt":"2026-11-20T09:00:00Z","status":{"state":"active"}},
	{"labels":{"alertname":"Down","service":"api"},"startsAt":"2026-11-20T10:00:00Z",
	 "status":{"state":"suppressed","silencedBy":["6ba7b810-9dad-11d1-80b4-00c04fd430c8"],"inhibitedBy":["0011223344556677"]}}]`

func alertmanagerAt(t *testing.T, c AlertmanagerConfig, h http.HandlerFunc) *Alertmanager {
	t.Helper()
	c.Endpoint, c.Insecure = serve(t, h).URL+c.Endpoint, true
	a, err := NewAlertmanager(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAlertmanagerFindsTheAlertWithExactlyTheLabels(t *testing.T) {
	t.Parallel()
	var asked string
	a := alertmanagerAt(t, AlertmanagerConfig{Endpoint: "/prefix/"}, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.String() + r.Header.Get("Authorization")
		_, _ = io.WriteString(w, labelled)
	})
	got, found, err := a.Alert(t.Context(), map[string]string{"service": "api", "alertname": "Down"})
	if err != nil || !found {
		t.Fatalf("found %t: %v", found, err)
	}
	want := ListedAlert{
		StartsAt: time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), SilencedBy: []string{"6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
		InhibitedBy: []string{"0011223344556677"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if want := "GET /prefix/api/v2/alerts?filter=alertname%3D%22Down%22&filter=service%3D%22api%22"; asked != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
	for _, labels := range []map[string]string{{"alertname": "Down"}, {"alertname": "Down", "service": "api", "pod": "b"}, {}} {
		if _, found, err := a.Alert(t.Context(), labels); found || err != nil {
			t.Errorf("%v: found %t: %v", labels, found, err)
		}
	}
}

func TestMatchersAreData(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxFilter)
	for name, c := range map[string]struct {
		labels map[string]string
		want   []string
	}{
		"quote":           {map[string]string{"a": `x",b=~".*`}, []string{`a="x\",b=~\".*"`}},
		"backslash":       {map[string]string{"a": `x\`}, []string{`a="x\\"`}},
		"escaped quote":   {map[string]string{"a": `x\"`}, []string{`a="x\\\""`}},
		"new line":        {map[string]string{"a": "x\ny"}, []string{`a="x\ny"`}},
		"no text":         {map[string]string{"a": ""}, []string{`a=""`}},
		"name of any":     {map[string]string{"a": "1", "b c": "2", `d="e`: "3", "f.g": "4"}, []string{`a="1"`}},
		"too long":        {map[string]string{"a": "1", "b": long, "c": "2"}, []string{`a="1"`}},
		"operator as one": {map[string]string{"a": "~.*"}, []string{`a="~.*"`}},
	} {
		if diff := cmp.Diff(c.want, matchers(c.labels)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAlertmanagerProof(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config AlertmanagerConfig
		want   string
	}{
		"none":  {AlertmanagerConfig{}, ""},
		"token": {AlertmanagerConfig{Token: secretFile(t, testSecret)}, "Bearer " + testSecret},
		"basic": {AlertmanagerConfig{Username: "u", Password: secretFile(t, "p")}, "Basic dTpw"},
	} {
		var got string
		a := alertmanagerAt(t, c.config, func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Get("Authorization")
			_, _ = io.WriteString(w, `{"createdBy":"ann"}`)
		})
		by, err := a.Silencer(t.Context(), "6ba7b810-9dad-11d1-80b4-00c04fd430c8")
		if err != nil || by != "ann" || got != c.want {
			t.Errorf("%s: made by %q, authorized as %q: %v", name, by, got, err)
		}
	}
}

// refusing answers with the status and what it was sent as a proof.
func refusing(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Error(w, r.Header.Get("Authorization"), status) }
}

func TestAlertmanagerErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer    http.HandlerFunc
		status    int
		permanent bool
	}{
		"400":       {refusing(http.StatusBadRequest), http.StatusBadRequest, true},
		"401":       {refusing(http.StatusUnauthorized), http.StatusUnauthorized, false},
		"500":       {refusing(http.StatusInternalServerError), http.StatusInternalServerError, false},
		"garbage":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, 200, false},
		"null":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "null") }, 0, true},
		"an object": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, 200, false},
		"cut":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, labelled[:200]) }, 200, false},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", maxAlertmanagerBody+1))
		}, 200, false},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://other.test/", http.StatusFound)
		}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := alertmanagerAt(t, AlertmanagerConfig{Token: secretFile(t, testSecret)}, c.answer)
			_, found, err := a.Alert(t.Context(), map[string]string{"alertname": "a label's text"})
			var failed *CallError
			if found || !errors.As(err, &failed) || failed.Status != c.status || IsPermanent(err) != c.permanent || IsAmbiguous(err) {
				t.Errorf("found %t, permanent %t, ambiguous %t: %#v", found, IsPermanent(err), IsAmbiguous(err), err)
			}
			if text := err.Error(); strings.Contains(text, testSecret) || strings.Contains(text, "label") || !strings.HasPrefix(text, "alertmanager: listing an alert: ") {
				t.Errorf("the error says %q", text)
			}
		})
	}
}

func TestAlertmanagerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a := alertmanagerAt(t, AlertmanagerConfig{}, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, _, err := a.Alert(ctx, map[string]string{"alertname": "a label's text"})
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "label") {
		t.Errorf("got %v", err)
	}
}

func TestAlertmanagerRefusesIDsOfPaths(t *testing.T) {
	t.Parallel()
	a := alertmanagerAt(t, AlertmanagerConfig{}, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked", r.URL) })
	for _, id := range []string{"", "../alerts", "a?b", "a/b", strings.Repeat("0", 65)} {
		if _, err := a.Silencer(t.Context(), id); !IsPermanent(err) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestAlertmanagerConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]AlertmanagerConfig{
		"no endpoint":      {},
		"plaintext":        {Endpoint: "http://am.example.com"},
		"a query":          {Endpoint: "https://am.example.com?x=1"},
		"a user in it":     {Endpoint: "https://u:p@am.example.com"},
		"token and user":   {Endpoint: "https://am.example.com", Token: Secret{File: "a"}, Username: "u", Password: Secret{File: "b"}},
		"user alone":       {Endpoint: "https://am.example.com", Username: "u"},
		"password alone":   {Endpoint: "https://am.example.com", Password: Secret{File: "b"}},
		"file as protocol": {Endpoint: "file:///etc/passwd", Insecure: true},
	} {
		if _, err := NewAlertmanager(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	a, err := NewAlertmanager(AlertmanagerConfig{Endpoint: "http://169.254.169.254", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Alert(t.Context(), nil); !errors.Is(err, ErrHostRefused) {
		t.Errorf("a metadata address: %v", err)
	}
}
