package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/sandbox"
)

// alertmanager is a real Alertmanager that notifies a house by two roads: its own webhook, and PagerDuty's events.
type alertmanager struct {
	*house
	url     string
	webhook *gate // before the house
	events  *gate // before PagerDuty; nil: nobody tells PagerDuty
}

// alertmanagerConfig groups by the alert's name alone, so that a group names several services.
const alertmanagerConfig = `
route: {receiver: all, group_by: [alertname], group_wait: 200ms, group_interval: 1s, repeat_interval: 1s}
receivers:
  - name: all
    webhook_configs:
      - url: %s/v1/webhooks/alertmanager
        http_config: {authorization: {type: Bearer, credentials: %s}}
%s`

const pagerDutyReceiver = `    pagerduty_configs:
      - {url: "%s/v2/enqueue", routing_key: "%s"}
`

// newAlertmanager starts one on a house whose services were healthy for days. told says whether it tells PagerDuty too.
func newAlertmanager(t *testing.T, told bool, services ...string) *alertmanager {
	t.Helper()
	program := need(t, "prometheus-alertmanager", "prometheus-alertmanager")
	var all []sandbox.Service
	for _, name := range services {
		all = append(all, sandbox.Service{Name: name, Revisions: []sandbox.Revision{{CreatedAgo: 60 * time.Hour}, {CreatedAgo: 20 * time.Hour}}})
	}
	h := newHouse(t, houseConfig{services: all, adapt: alertmanagersDetails})
	am := &alertmanager{house: h}
	am.webhook = newGate(t, h.url)
	receiver := ""
	if told {
		am.events = newGate(t, am.world.PagerDutyURL())
		receiver = fmt.Sprintf(pagerDutyReceiver, am.events.url, sandbox.PagerDutyRoutingKey)
	}
	am.start(t, program, freeAddress(t), fmt.Sprintf(alertmanagerConfig, am.webhook.url, demoBearerToken, receiver))
	return am
}

// alertmanagersDetails lets PagerDuty's alerts be read as Alertmanager's notifier writes them.
func alertmanagersDetails(overlay map[string]any) {
	delete(overlay["sources"].(map[string]any)["pagerduty"].(map[string]any), "labels")
}

func (am *alertmanager) start(t *testing.T, program, address, config string) {
	t.Helper()
	file := filepath.Join(am.dir, "alertmanager.yml")
	succeed(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.CommandContext(t.Context(), program, "--config.file="+file, "--storage.path="+filepath.Join(am.dir, "am"),
		"--web.listen-address="+address, "--cluster.listen-address=")
	said := &logBook{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	succeed(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Alertmanager's log:\n%s", said)
		}
	})
	am.url = "http://" + address
	am.await(t, "Alertmanager is ready", func() bool { return statusOf(t.Context(), am.url+"/-/ready") == nethttp.StatusOK })
}

// push reports that the alert fires for the services since a time, or, with an end, that it is over.
func (am *alertmanager) push(t *testing.T, since, end time.Time, services ...string) {
	t.Helper()
	var alerts []map[string]any
	for _, service := range services {
		a := map[string]any{
			"labels":      map[string]string{"alertname": healthFailed, "service": service, "severity": "critical"},
			"annotations": map[string]string{"summary": service + " does not answer"},
			"startsAt":    since,
		}
		if !end.IsZero() {
			a["endsAt"] = end
		}
		alerts = append(alerts, a)
	}
	body, err := json.Marshal(alerts)
	succeed(t, err)
	req := newRequest(t, nethttp.MethodPost, am.url+"/api/v2/alerts", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	status, _, said := send(t, req)
	if status != nethttp.StatusOK {
		t.Fatalf("Alertmanager answered %d: %s", status, said)
	}
}

// breaks deploys a bad revision of every service.
func (am *alertmanager) breaks(t *testing.T, services ...string) {
	t.Helper()
	for _, service := range services {
		_, err := am.world.Deploy(service, sandbox.Revision{Health: sandbox.Sick503})
		succeed(t, err)
		succeed(t, am.untilHealth(t.Context(), service, false))
	}
}

// acted are the runs on a target that acted for an alert.
func (am *alertmanager) acted(t *testing.T, target string) []remediation.Run {
	t.Helper()
	var out []remediation.Run
	for _, r := range am.allRuns(t) {
		if r.Target == target && r.Acted && r.Origin == remediation.ByAlert {
			out = append(out, r)
		}
	}
	return out
}

// settled waits until every run for an alert is done and everything is told.
func (am *alertmanager) settled(t *testing.T, least int) {
	t.Helper()
	am.await(t, fmt.Sprintf("at least %d runs are done and told", least), func() bool {
		done := 0
		for _, r := range am.allRuns(t) {
			view, err := (&api{app: am.app}).Run(t.Context(), r.ID)
			if r.Origin != remediation.ByAlert {
				continue
			}
			if err != nil || view.Run.State != remediation.Done || !allTold(view.Messages) {
				return false
			}
			done++
		}
		return done >= least
	})
}

// duplicates counts the verdicts on alerts of a source that a run was there for already.
func (am *alertmanager) duplicates(t *testing.T, source string) string {
	t.Helper()
	return am.metric(t, fmt.Sprintf(`remediator_events_total{source=%q,verdict="duplicate"}`, source))
}

// gate is a reverse proxy that can hold requests back.
type gate struct {
	url string

	mu   sync.Mutex
	shut chan struct{} // nil while it is open
	seen int
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	target, err := url.Parse(to)
	succeed(t, err)
	g := &gate{}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w nethttp.ResponseWriter, _ *nethttp.Request, _ error) { w.WriteHeader(nethttp.StatusBadGateway) },
	}
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		if g.pass(r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		g.open()
		server.Close()
	})
	g.url = server.URL
	return g
}

// pass waits while the gate is shut; false when the caller has gone.
func (g *gate) pass(r *nethttp.Request) bool {
	g.mu.Lock()
	shut := g.shut
	g.seen++
	g.mu.Unlock()
	if shut == nil {
		return true
	}
	select {
	case <-shut:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

// TestBothRoadsOfOneOutage: Alertmanager tells PagerDuty and the server. Whichever comes first, there is one act and one set of notes.
func TestBothRoadsOfOneOutage(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"alertmanager", "pagerduty"} {
		t.Run(first+" first", func(t *testing.T) {
			t.Parallel()
			newAlertmanager(t, true, backend).oneOutage(t, first)
		})
	}
}

func (am *alertmanager) oneOutage(t *testing.T, first string) {
	later, second := am.events, "pagerduty"
	if first == second {
		later, second = am.webhook, "alertmanager"
	}
	later.close()
	am.breaks(t, backend)
	began := time.Now()
	am.push(t, began, time.Time{}, backend)
	am.await(t, "the first road has led to an act", func() bool { return len(am.updates(backend)) == 1 && later.waiting() > 0 })
	later.open()
	am.settled(t, 1)
	am.await(t, "the other road has arrived", func() bool { return am.duplicates(t, second) != "0" })
	am.settled(t, 1)
	am.judgeOneOutage(t)
	want(t, "the road that led to the act", am.acted(t, backend)[0].Alert.Source, first)
	am.endsAndFiresAgain(t, began)
}

func (am *alertmanager) judgeOneOutage(t *testing.T) {
	t.Helper()
	incidents, acted := am.world.Incidents(), am.acted(t, backend)
	if len(incidents) != 1 || len(acted) != 1 {
		t.Fatalf("there are %d incidents and %d runs that acted, not one each: %+v", len(incidents), len(acted), acted)
	}
	want(t, "outcome", acted[0].Outcome, remediation.Fixed)
	want(t, "changes in the ledger", len(am.updates(backend)), 1)
	succeed(t, am.expectTold(incidents[0].ID, map[string]int{"incident_acknowledged": 1, "note_added": 1, "incident_escalated": 0}))
	n := parseNote(t, incidents[0].Notes[0].Content)
	want(t, "the note's run", n.mark, acted[0].ID)
	for _, r := range am.allRuns(t) {
		if r.Origin == remediation.ByAlert && r.ID != acted[0].ID {
			t.Errorf("run %s was made for the same outage: %s %s %s", r.ID, r.Alert.Source, r.Outcome, r.Detail)
		}
	}
}

// endsAndFiresAgain: the resolved message ends the episode, and the next firing has a run of its own.
func (am *alertmanager) endsAndFiresAgain(t *testing.T, began time.Time) {
	t.Helper()
	first := am.world.Incidents()[0]
	am.push(t, began, time.Now(), backend)
	am.await(t, "the incident is resolved", func() bool { return am.world.Incident(first.ID).Status == "resolved" })
	want(t, "resolved", am.posts("pagerduty", "incident_resolved", first.ID), 1)
	am.breaksPinned(t)
	am.await(t, "the next firing has a run of its own", func() bool {
		am.push(t, time.Now(), time.Time{}, backend)
		return len(am.byAlert(t)) == 2
	})
	second, one := am.byAlert(t)[0], am.byAlert(t)[1]
	want(t, "the second run is of the first episode", second.Alert.Episode == one.Alert.Episode, false)
	want(t, "the second run began after the first had ended", second.CreatedAt.After(one.DoneAt), true)
}

// breaksPinned makes what serves sick again: the rollback's destination.
func (am *alertmanager) breaksPinned(t *testing.T) {
	t.Helper()
	succeed(t, am.world.SetHealth(backend, am.serving(backend), sandbox.Sick503))
	succeed(t, am.untilHealth(t.Context(), backend, false))
}

func (am *alertmanager) byAlert(t *testing.T) []remediation.Run {
	t.Helper()
	var out []remediation.Run
	for _, r := range am.allRuns(t) {
		if r.Origin == remediation.ByAlert {
			out = append(out, r)
		}
	}
	return out
}

// TestGroupOfSeveralServices: one group that names two services is one delivery and two runs; its repeats are duplicates.
func TestGroupOfSeveralServices(t *testing.T) {
	t.Parallel()
	am := newAlertmanager(t, true, backend, media)
	am.breaks(t, backend, media)
	am.push(t, time.Now(), time.Time{}, backend, media)
	am.settled(t, 2)
	am.await(t, "repeats are duplicates", func() bool { return am.duplicates(t, "alertmanager") != "0" && am.webhook.waiting() > 2 })
	am.settled(t, 2)
	incidents := am.world.Incidents()
	want(t, "incidents", len(incidents), 1)
	for _, target := range []string{backend, media} {
		acted := am.acted(t, target)
		if len(acted) != 1 || acted[0].Outcome != remediation.Fixed {
			t.Errorf("%s: the runs that acted are %+v, not one that is fixed", target, acted)
		}
		want(t, "changes of "+target, len(am.updates(target)), 1)
	}
	want(t, "runs", len(am.byAlert(t)), 2)
	succeed(t, am.expectTold(incidents[0].ID, map[string]int{"note_added": 2, "incident_resolved": 0}))
}

// TestIncidentIsOpenedWhereThereIsNone: nobody else tells PagerDuty, and the rules say open_incident.
func TestIncidentIsOpenedWhereThereIsNone(t *testing.T) {
	t.Parallel()
	am := newAlertmanager(t, false, backend)
	am.breaks(t, backend)
	am.push(t, time.Now(), time.Time{}, backend)
	am.settled(t, 1)
	am.judgeOneOutage(t)
	inc := am.world.Incidents()[0]
	want(t, "the incident's key", inc.Alerts[0].Key, am.byAlert(t)[0].Alert.IncidentKey)
	if !strings.Contains(inc.Title, backend) {
		t.Errorf("the incident's title does not say what it is about: %q", inc.Title)
	}
}
