package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	nethttp "net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/alert"
	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
	"github.com/mixillo/remediator/internal/sources"
)

// canaries are the proofs of every kind of source, each in a source of its own, with FILE where its secret's file stands.
var canaries = map[string]map[string]string{
	"pagerduty":    {"signed": `signing_secret_file: FILE`},
	"alertmanager": {"bearer": `bearer_token_file: FILE`, "basic": `basic_auth: {username: am, password_file: FILE}`},
	"google_cloud_monitoring": {
		"basic": `basic_auth: {username: gcm, password_file: FILE}`, "token": `token_file: FILE`,
	},
	"sentry": {"signed": `client_secret_file: FILE`},
	"grafana": {
		"signed": `signing_secret_file: FILE`, "stamped": `signing_secret_file: FILE, timestamp_header: X-At`,
		"bearer": `bearer_token_file: FILE`, "basic": `basic_auth: {username: g, password_file: FILE}`,
	},
	"datadog":  {"header": `token_header: {name: X-Token, secret_file: FILE}`, "bearer": `bearer_token_file: FILE`},
	"oncall":   {"header": `token_header: {name: X-Token, secret_file: FILE}`, "basic": `basic_auth: {username: oc, password_file: FILE}`},
	"opsgenie": {"bearer": `bearer_token_file: FILE`, "basic": `basic_auth: {username: og, password_file: FILE}`},
	"generic": {
		"signed": `hmac: {header: X-Signature, secret_file: FILE, prefix: "sha256="}`, "header": `token_header: {name: X-Token, secret_file: FILE}`,
		"bearer": `bearer_token_file: FILE`, "basic": `basic_auth: {username: x, password_file: FILE}`,
	},
}

// alsoGeneric is what a source of that kind needs beside its proof.
const alsoGeneric = `labels: {alertname: payload.alertname}, firing: 'payload.state == "open"'`

// aviary is a house whose sources' secrets are canaries: each must be believed, and seen nowhere.
type aviary struct {
	*house
	secrets, files map[string]string // by source
	heard          strings.Builder   // every answer
}

// newAviary raises a house with a source for each proof of each kind.
func newAviary(t *testing.T) *aviary {
	t.Helper()
	want(t, "kinds with canaries", strings.Join(slices.Sorted(maps.Keys(canaries)), " "), strings.Join(sources.Kinds(), " "))
	a, dir := &aviary{secrets: map[string]string{}, files: map[string]string{}}, shortDir(t)
	a.house = newHouse(t, houseConfig{
		services: []sandbox.Service{healthyForDays(backend)},
		adapt: func(overlay map[string]any) {
			for kind, proofs := range canaries {
				for proof, text := range proofs {
					name := kind + "-" + proof
					a.secrets[name], a.files[name] = rand.Text()+rand.Text(), filepath.Join(dir, name)
					succeed(t, os.WriteFile(a.files[name], []byte(a.secrets[name]+"\n"), 0o600))
					overlay["sources"].(map[string]any)[name] = provenBy(t, kind, strings.ReplaceAll(text, "FILE", a.files[name]))
				}
			}
		},
	})
	return a
}

// provenBy are the parameters of a source.
func provenBy(t *testing.T, kind, proof string) (parameters map[string]any) {
	t.Helper()
	text := "{kind: " + kind + ", " + proof + "}"
	if kind == "generic" {
		text = "{kind: generic, " + alsoGeneric + ", " + proof + "}"
	}
	succeed(t, yaml.Unmarshal([]byte(text), &parameters))
	return parameters
}

// deliver sends a request to a source and keeps the answer.
func (a *aviary) deliver(t *testing.T, name string, r sources.Request) int {
	t.Helper()
	req := newRequest(t, nethttp.MethodPost, a.url+"/v1/webhooks/"+url.PathEscape(name)+"?"+r.Query.Encode(), bytes.NewReader(r.Body))
	req.Header = r.Header.Clone()
	status, header, body := send(t, req)
	fmt.Fprintln(&a.heard, status, header, body)
	return status
}

// believed delivers what the source's sender would, and gives it back as it was sent.
func (a *aviary) believed(t *testing.T, name string) sources.Request {
	t.Helper()
	sender := a.app.book.Current().Sources[name].(sources.Sender)
	now := time.Now()
	body, err := sender.Sample(sources.Sample{
		ID: "C" + strings.ReplaceAll(newID(), "-", ""), Status: alert.Firing, At: now, Began: now, Labels: map[string]string{"alertname": "NoRuleKnowsThis"}, Summary: "s",
	})
	succeed(t, err)
	r := sources.Request{Body: body, Header: nethttp.Header{}, Query: url.Values{}}
	succeed(t, sender.Sign(&r))
	want(t, name+": the sender's own delivery", a.deliver(t, name, r), nethttp.StatusAccepted)
	return r
}

// doubted delivers it in ways in which the proof does not hold, though the secret stands somewhere in it.
func (a *aviary) doubted(t *testing.T, name string, good sources.Request) {
	t.Helper()
	secret := a.secrets[name]
	for what, spoil := range map[string]func(r *sources.Request){
		"a character too many":    func(r *sources.Request) { eachValue(r, func(v string) string { return v + "x" }) },
		"a character less":        func(r *sources.Request) { eachValue(r, func(v string) string { return v[:len(v)-1] }) },
		"the secret for a proof":  func(r *sources.Request) { eachValue(r, func(string) string { return secret + "." }) },
		"a scheme of another":     func(r *sources.Request) { only(r, "Digest "+secret) },
		"a password with no user": func(r *sources.Request) { only(r, "Basic "+secret) },
		"twice, and neither":      twice,
		"nothing":                 func(r *sources.Request) { r.Header, r.Query = nethttp.Header{}, url.Values{} },
	} {
		r := sources.Request{Body: good.Body, Header: good.Header.Clone(), Query: maps.Clone(good.Query)}
		spoil(&r)
		want(t, name+": "+what, a.deliver(t, name, r), nethttp.StatusUnauthorized)
	}
}

func eachValue(r *sources.Request, change func(string) string) {
	for _, all := range []map[string][]string{r.Header, r.Query} {
		for name, values := range all {
			all[name] = []string{change(values[0])}
		}
	}
}

// only leaves nothing but an Authorization header.
func only(r *sources.Request, authorization string) {
	r.Header, r.Query = nethttp.Header{"Authorization": {authorization}}, url.Values{}
}

func twice(r *sources.Request) {
	for _, all := range []map[string][]string{r.Header, r.Query} {
		for name, values := range all {
			all[name] = []string{values[0] + "x", values[0] + "y"}
		}
	}
}

// misplaced puts the secret where none belongs: into the path and the query of a server that knows no such thing.
func (a *aviary) misplaced(t *testing.T, name string) {
	t.Helper()
	for _, path := range []string{"/v1/webhooks/" + a.secrets[name], "/" + a.secrets[name], "/metrics?auth_token=" + a.secrets[name]} {
		status, header, body := send(t, newRequest(t, nethttp.MethodGet, a.url+path, nil))
		fmt.Fprintln(&a.heard, status, header, body)
	}
}

// TestCanaries: whatever comes of deliveries, acts and calls for a human, no secret stands in an answer, the log, the metrics, the API, the
// database's files, or what PagerDuty and Slack were told.
func TestCanaries(t *testing.T) {
	t.Parallel()
	a := newAviary(t)
	unused, err := loadRules(a.rules, a.app.config.Options) // a server locks what its own sources learn; printing reads the locks
	succeed(t, err)
	for _, name := range slices.Sorted(maps.Keys(a.secrets)) {
		good := a.believed(t, name)
		a.doubted(t, name, good)
		a.misplaced(t, name)
		a.robbed(t, name, good)
		fmt.Fprintln(&a.heard, unused.Sources[name]) // whoever may print it
	}
	deploysSick(t, a.house)
	succeed(t, a.untilHealth(t.Context(), backend, false))
	incident := a.alert(healthFailed, backend)
	want(t, "outcome", a.run(t, backend, incident).Run.Outcome, remediation.Fixed)

	for place, text := range a.places(t) {
		for name, secret := range a.secrets {
			if at := seenAt(text, secret); at != "" {
				t.Errorf("%s shows the secret of %s: %s", place, name, at)
			}
		}
		for _, secret := range []string{demoSigningSecret, demoSlackSecret, sandbox.PagerDutyToken, sandbox.PagerDutyRoutingKey, sandbox.SlackToken} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the secret %s of a connection", place, secret)
			}
		}
	}
}

// robbed delivers once more, after the secret's file was cut short.
func (a *aviary) robbed(t *testing.T, name string, good sources.Request) {
	t.Helper()
	succeed(t, os.WriteFile(a.files[name], []byte(a.secrets[name][:12]), 0o600))
	want(t, name+": its secret is cut short", a.deliver(t, name, good), nethttp.StatusServiceUnavailable)
}

// seenAt gives the surroundings of half a secret, as it is or in base64 at any offset.
func seenAt(text, secret string) string {
	half := secret[len(secret)/2:]
	forms := []string{half}
	for before := range 3 { // four letters stand for three bytes: those at either end depend on their neighbours
		whole := base64.RawStdEncoding.EncodeToString([]byte("xyz"[:before] + half))
		forms = append(forms, whole[4:len(whole)-4])
	}
	for _, form := range forms {
		if at := strings.Index(text, form); at >= 0 {
			return fmt.Sprintf("%q", text[max(0, at-80):at+len(form)])
		}
	}
	return ""
}

// places are all that a secret could have come to.
func (a *aviary) places(t *testing.T) map[string]string {
	t.Helper()
	_, _, metrics := send(t, newRequest(t, nethttp.MethodGet, a.url+"/metrics", nil))
	all := map[string]string{"the log": a.log.String(), "an answer": a.heard.String(), "the metrics": metrics, "the API": a.told(t)}
	files, err := filepath.Glob(a.database(t) + "*")
	succeed(t, err)
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			continue
		}
		text, err := os.ReadFile(file)
		succeed(t, err)
		all[filepath.Base(file)] = string(text)
	}
	ledger, err := json.Marshal(a.world.Ledger())
	succeed(t, err)
	posts, err := json.Marshal(a.world.SlackMessages())
	succeed(t, err)
	all["what people were told"] = string(ledger) + string(posts)
	for place, text := range all {
		if len(text) < 100 && !strings.Contains(place, ".db") {
			t.Errorf("%s is empty: nothing was looked at", place)
		}
	}
	return all
}

// told is what the API shows of runs and status, and the verbs of the command line.
func (a *aviary) told(t *testing.T) string {
	t.Helper()
	var views []edge.RunView
	for _, run := range a.allRuns(t) {
		view, err := (&api{app: a.app}).Run(t.Context(), run.ID)
		succeed(t, err)
		views = append(views, view)
	}
	text, err := json.Marshal(views)
	succeed(t, err)
	all := string(text)
	for _, verb := range [][]string{{"runs"}, {"status"}, {"report", views[0].Run.ID}, {"audit", "verify"}} {
		said, err := a.call(t, verb...)
		succeed(t, err)
		all += said
	}
	return all
}
