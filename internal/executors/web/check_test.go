package web

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	testPassword = "hunter2-password"
	testToken    = "hunter2-token"
)

// secretIn keeps a secret in a file of the test's.
func secretIn(t *testing.T, text string) connect.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return connect.Secret{File: path}
}

func connected(t *testing.T, url string) executors.Env {
	t.Helper()
	api, err := connect.NewAPI(connect.APIConfig{
		Endpoint: url, Insecure: true, Token: secretIn(t, testToken), SecretHeaders: map[string]connect.Secret{"X-Team-Key": secretIn(t, "hunter2-team")},
		Secrets: map[string]connect.Secret{"password": secretIn(t, testPassword), "key": secretIn(t, "hunter2-key"), "gone": {File: "no such file"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return executors.Env{Target: executors.Target{Name: "backend"}, Connections: connect.Set{"api": api}, Now: time.Now()}
}

// chainOfThree is the check of the whole system: health, login, and a query with what the login gave.
func chainOfThree() []step {
	return []step{
		{Name: "health", Path: "/health", Expect: expectation{JSON: map[string]any{"/mongodb/connected": true, "/version": 2}}},
		{
			Name: "login", Method: "POST", Path: "/login", Login: true, Body: map[string]any{"email": "monitor@example.com"},
			Secrets: map[string]string{"password": "password"}, Take: map[string]string{"token": "/data/token"},
		},
		{Name: "query", Path: "/orders?status=pending", Bearer: "token", Use: map[string]string{"X-Session": "token"},
			Numbers: map[string]string{"orders": "/count"},
			Expect:  expectation{JSON: map[string]any{"/count": map[string]any{"exists": true}, "/error": map[string]any{"exists": false}}}},
	}
}

// backend answers the three steps; what one of them answers may be replaced.
func backend(t *testing.T, instead map[string]http.HandlerFunc) string {
	t.Helper()
	say := map[string]http.HandlerFunc{
		"/health": status(200, `{"mongodb":{"connected":true},"version":2.0}`),
		"/login": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if string(body) != `{"email":"monitor@example.com","password":"`+testPassword+`"}` || r.Header.Get("Authorization") != "Bearer "+testToken {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			_, _ = w.Write([]byte(`{"data":{"token":"hunter2-session"}}`))
		},
		"/orders": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer hunter2-session" || r.Header.Get("X-Session") != "hunter2-session" || r.URL.RawQuery != "status=pending" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			_, _ = w.Write([]byte(`{"count":3}`))
		},
	}
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		if other := instead[r.URL.Path]; other != nil {
			other(w, r)
			return
		}
		say[r.URL.Path](w, r)
	})
	return url
}

func askChain(t *testing.T, p check, env executors.Env) (CheckFact, executors.Answer) {
	t.Helper()
	p.Connection, p.Every = "api", cmp.Or(p.Every, time.Millisecond)
	if err := p.Validate(env.Target); err != nil {
		t.Fatal(err)
	}
	answer, err := p.Ask(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	fact, ok := answer.Fact.(*CheckFact)
	if !ok {
		t.Fatalf("got %T", answer.Fact)
	}
	if all := fmt.Sprintf("%+v %+v", *fact, answer); strings.Contains(all, "hunter2") || strings.Contains(all, "monitor@") {
		t.Errorf("a secret or a text of an answer is told: %s", all)
	}
	return *fact, answer
}

func TestChain(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path    string
		instead http.HandlerFunc
		want    CheckFact
		summary string
	}{
		"well":               {want: CheckFact{OK: true, Status: 200}, summary: "all 3 steps of the check of api were answered as expected in"},
		"health is down":     {"/health", status(503, "hunter2"), CheckFact{FailedStep: "health", Reason: "status", Status: 503, Sick: true}, "failed in its step health: status 503, after 2 of 2 tries were sick"},
		"a wrong value":      {"/health", status(200, `{"mongodb":{"connected":false},"version":2}`), CheckFact{FailedStep: "health", Reason: "assertion", Status: 200}, "step health: /mongodb/connected is false"},
		"a text":             {"/health", status(200, `{"mongodb":{"connected":"hunter2"},"version":2}`), CheckFact{FailedStep: "health", Reason: "assertion", Status: 200}, "/mongodb/connected is another text"},
		"a missing value":    {"/health", status(200, `{"version":2}`), CheckFact{FailedStep: "health", Reason: "assertion", Status: 200}, "/mongodb/connected is not there"},
		"another number":     {"/health", status(200, `{"mongodb":{"connected":true},"version":3}`), CheckFact{FailedStep: "health", Reason: "assertion", Status: 200}, "/version is another number"},
		"no JSON":            {"/health", status(200, `<html>hunter2`), CheckFact{FailedStep: "health", Reason: "not_json", Status: 200}, "step health: the answer: it is no JSON"},
		"two JSON values":    {"/health", status(200, `{"mongodb":{"connected":true},"version":2} {}`), CheckFact{FailedStep: "health", Reason: "not_json", Status: 200}, "more than one"},
		"not found":          {"/orders", status(404, ""), CheckFact{FailedStep: "query", Reason: "status", Status: 404}, "step query: status 404"},
		"login refused":      {"/login", status(401, ""), CheckFact{FailedStep: "login", Reason: "login_refused", Status: 401}, "the login was refused with status 401"},
		"login sick":         {"/login", status(500, ""), CheckFact{FailedStep: "login", Reason: "status", Status: 500, Sick: true}, "status 500"},
		"login limited":      {"/login", status(429, ""), CheckFact{FailedStep: "login", Reason: "status", Status: 429}, "status 429"},
		"no token":           {"/login", status(200, `{"data":{}}`), CheckFact{FailedStep: "login", Reason: "assertion", Status: 200}, "/data/token is no text to go on with"},
		"a token of two":     {"/login", status(200, `{"data":{"token":"a\r\nX-Evil: 1"}}`), CheckFact{FailedStep: "login", Reason: "assertion", Status: 200}, "is no text to go on with"},
		"a token of another": {"/login", status(200, `{"data":{"token":"other"}}`), CheckFact{FailedStep: "query", Reason: "status", Status: 403}, "step query: status 403"},
		"dropped":            {"/orders", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, CheckFact{FailedStep: "query", Reason: "no_answer", Sick: true}, "step query: no answer: EOF"},
		"redirected away": {"/orders", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/", http.StatusFound)
		}, CheckFact{FailedStep: "query", Reason: "status", Status: 302}, "status 302"},
		"no number":          {"/orders", status(200, `{"count":"hunter2"}`), CheckFact{FailedStep: "query", Reason: "assertion", Status: 200}, "/count is no number"},
		"there but unwanted": {"/orders", status(200, `{"count":1,"error":"x"}`), CheckFact{FailedStep: "query", Reason: "assertion", Status: 200}, "/error is another text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := connected(t, backend(t, map[string]http.HandlerFunc{tc.path: tc.instead}))
			fact, answer := askChain(t, check{Steps: chainOfThree()}, env)
			got := CheckFact{OK: fact.OK, Sick: fact.Sick, FailedStep: fact.FailedStep, Reason: fact.Reason, Status: fact.Status}
			if fmt.Sprint(got) != fmt.Sprint(tc.want) || !strings.Contains(answer.Summary, tc.summary) || len(answer.Unknown) > 0 {
				t.Errorf("got %+v, %q, unknown %v", got, answer.Summary, answer.Unknown)
			}
			if orders, told := fact.Numbers["orders"]; told != fact.OK || told && orders != 3.0 {
				t.Errorf("numbers %v", fact.Numbers)
			}
			if (fact.Failed > 0) != fact.Sick || len(fact.StepMS) == 0 {
				t.Errorf("failed %d of %d tries, steps %v", fact.Failed, fact.Tries, fact.StepMS)
			}
		})
	}
}

func TestChainIsWellAgain(t *testing.T) {
	t.Parallel()
	url, _ := server(t, status(503, ""), status(200, "{}"))
	fact, answer := askChain(t, check{Tries: 3, Steps: []step{{Name: "health", Path: "/"}}}, connected(t, url))
	if !fact.OK || fact.Tries != 2 || fact.Failed != 1 || !strings.Contains(answer.Summary, "after 1 of 2 tries were sick") {
		t.Errorf("got %+v, %s", fact, answer.Summary)
	}
}

func TestChainWithControl(t *testing.T) {
	t.Parallel()
	alive, _ := server(t, status(404, ""))
	steps := []step{{Name: "health", Path: "/"}}
	broken, _ := server(t, status(503, ""))
	if fact, answer := askChain(t, check{Steps: steps, Control: alive}, connected(t, broken)); !fact.Sick || !fact.ControlAnswered || len(answer.Unknown) > 0 {
		t.Errorf("got %+v, unknown %v", fact, answer.Unknown)
	}
	_, answer := askChain(t, check{Steps: steps, Control: refusing(t)}, connected(t, broken))
	if !slices.Contains(answer.Unknown, "sick") || !slices.Contains(answer.Unknown, "ok") || !strings.Contains(answer.Summary, "may be ours") {
		t.Errorf("unknown %v, %s", answer.Unknown, answer.Summary)
	}
	fact, answer := askChain(t, check{Steps: steps, Control: alive}, connected(t, "http://no-such-host.invalid"))
	if !fact.OurFault || !slices.Contains(answer.Unknown, "sick") || fact.ControlAnswered {
		t.Errorf("a name that does not resolve: %+v, unknown %v", fact, answer.Unknown)
	}
}

func TestChainWithoutItsSecret(t *testing.T) {
	t.Parallel()
	url, asked := server(t, status(200, "{}"))
	p := check{Connection: "api", Steps: []step{{Name: "login", Method: "POST", Path: "/login", Login: true, Secrets: map[string]string{"password": "gone"}}}}
	if _, err := p.Ask(t.Context(), connected(t, url)); err == nil || asked.Load() != 0 {
		t.Errorf("got %v, asked %d times", err, asked.Load())
	}
}

func TestChainParameters(t *testing.T) {
	t.Parallel()
	one := func(s step) check { s.Name = cmp.Or(s.Name, "a"); return check{Connection: "api", Steps: []step{s}} }
	get := step{Name: "a", Path: "/"}
	for want, p := range map[string]check{
		"connection must name":             {Steps: []step{get}},
		"1 to 8 steps":                     {Connection: "api"},
		"two steps are called a":           {Connection: "api", Steps: []step{get, get}},
		"tries must be":                    {Connection: "api", Steps: []step{get}, Tries: 21},
		"timeout at most 12s":              {Connection: "api", Steps: []step{get}, Timeout: time.Minute},
		"an address must begin":            {Connection: "api", Steps: []step{get}, Control: "x"},
		"a step's name":                    one(step{Name: "A B", Path: "/"}),
		"must be GET, HEAD or POST":        one(step{Method: "DELETE", Path: "/"}),
		"a POST needs login":               one(step{Method: "POST", Path: "/"}),
		"nothing else may have them":       one(step{Reads: true, Path: "/"}),
		"exclude each other":               one(step{Method: "POST", Path: "/", Reads: true, Login: true}),
		"only a POST has a body":           one(step{Path: "/", Body: map[string]any{"a": 1}}),
		"is no path":                       one(step{Path: "http://evil.example/"}),
		"no path: it begins":               one(step{Path: "//evil.example/"}),
		"it may lead elsewhere":            one(step{Path: "/a/%2e%2e/b"}),
		"no step before this one takes":    one(step{Path: "/", Bearer: "token"}),
		`takes " "`:                        one(step{Path: "/", Use: map[string]string{"X-A": ""}}),
		"authorization cannot be set":      one(step{Path: "/", Headers: map[string]string{"authorization": "x"}}),
		"is no name of a header":           one(step{Path: "/", Headers: map[string]string{"a b": "x"}}),
		"an expected status":               one(step{Path: "/", Expect: expectation{Status: 500}}),
		"is no JSON pointer":               one(step{Path: "/", Expect: expectation{JSON: map[string]any{"a.b": 1}}}),
		"expected is a value":              one(step{Path: "/", Expect: expectation{JSON: map[string]any{"/a": map[string]any{"b": 1}}}}),
		"take needs names":                 one(step{Path: "/", Take: map[string]string{"a": ""}}),
		"a is both in body and in secrets": one(step{Method: "POST", Login: true, Path: "/", Body: map[string]any{"a": 1}, Secrets: map[string]string{"a": "b"}}),
	} {
		if err := p.Validate(executors.Target{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// http.get with a connection proves itself there and nowhere else, and shows no secret that is echoed.
func TestGetWithConnection(t *testing.T) {
	t.Parallel()
	url, asked := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testToken || r.Header.Get("X-Team-Key") != "hunter2-team" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, `{"count":12,"echo":[{"%s":"got %s"}]}`, testToken, testToken)
	})
	env := connected(t, url)
	p := get{URL: url + "/stuck", Connection: "api", Tries: 1}
	answer, err := p.Ask(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	fact, ok := answer.Fact.(*Fact)
	if !ok || fact.Status != 200 || fact.JSON["count"] != float64(12) || strings.Contains(fmt.Sprint(*fact), "hunter2") {
		t.Errorf("got %+v", fact)
	}
	elsewhere, other := server(t, status(200, "{}"))
	p.URL = elsewhere
	answer, err = p.Ask(t.Context(), env)
	if err != nil || !slices.Contains(answer.Unknown, "ok") || other.Load() != 0 || asked.Load() != 1 {
		t.Errorf("credentials went elsewhere: %v, %+v", err, answer)
	}
	p.Connection = "none"
	if _, err := p.Ask(t.Context(), env); err == nil {
		t.Error("a connection that is not declared was used")
	}
}
