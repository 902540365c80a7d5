package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// account is a PagerDuty that answers from a script and judges each request by the contract.
type account struct {
	*PagerDuty
	url string

	mu       sync.Mutex
	answers  map[string][]answer // by "METHOD /path"; the last one is repeated
	requests []string            // "METHOD /path?query body"
}

type answer struct {
	status int
	body   string
	header http.Header
	drop   bool // break the connection instead of answering
	hang   bool // never answer
}

// outsideContract are operations that the contract document does not hold.
var outsideContract = map[string]bool{"GET /users": true, "GET /users/U1/contact_methods": true, "POST /v2/enqueue": true}

func newAccount(t *testing.T, answers map[string][]answer) *account {
	t.Helper()
	a := &account{answers: answers}
	rules, err := loadContract()
	if err != nil {
		t.Fatal(err)
	}
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		key := r.Method + " " + r.URL.Path
		if !outsideContract[key] {
			for _, problem := range rules.judge(r, body) {
				t.Errorf("%s breaks the contract: %s", key, problem)
			}
		}
		a.take(key, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body))).write(w, r)
	})
	a.url = srv.URL
	a.PagerDuty, err = NewPagerDuty(PagerDutyConfig{
		Endpoint: srv.URL + "/", Token: secretFile(t, testSecret), RoutingKey: secretFile(t, "routing-"+testSecret),
		From: "bot@example.com", Timeout: 5 * time.Second, Insecure: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func (a *account) take(key, request string) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, request)
	queue := a.answers[key]
	if len(queue) == 0 {
		return answer{status: http.StatusNotFound, body: `{"error":{"message":"Not Found","code":2100}}`}
	}
	if len(queue) > 1 {
		a.answers[key] = queue[1:]
	}
	return queue[0]
}

func (x answer) write(w http.ResponseWriter, r *http.Request) {
	if x.hang {
		<-r.Context().Done()
		return
	}
	if x.drop {
		panic(http.ErrAbortHandler)
	}
	for name, values := range x.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if x.status != 0 {
		w.WriteHeader(x.status)
	}
	_, _ = io.WriteString(w, x.body)
}

func (a *account) sent() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

func incidentJSON(status string) string {
	return fmt.Sprintf(`{"id":"P1","type":"incident","incident_number":7,"title":"down","status":%q,"html_url":"https://x.example.com/P1",
		"incident_key":"k","created_at":"2030-01-02T03:04:05Z","resolve_reason":null,"priority":null,"pending_actions":[{"type":"escalate","at":"2030-01-02T03:34:05Z"}],
		"service":{"id":"S1","type":"service_reference"},"escalation_policy":{"id":"E1","type":"escalation_policy_reference"},
		"assignments":[{"at":"2030-01-02T03:04:05Z","assignee":{"id":"U1","type":"user_reference"}}]}`, status)
}

func one(status string) answer  { return answer{body: `{"incident":` + incidentJSON(status) + `}`} }
func many(status string) answer { return answer{body: `{"incidents":[` + incidentJSON(status) + `]}`} }
func fault(status, code int, words string) answer {
	return answer{status: status, body: fmt.Sprintf(`{"error":{"message":"Invalid Input Provided","code":%d,"errors":[%q]}}`, code, words)}
}

func TestPagerDutyReads(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{
		"GET /incidents/P1":       {one(StatusTriggered)},
		"GET /incidents":          {many(StatusAcknowledged)},
		"GET /incidents/P1/notes": {{body: `{"notes":[{"id":"N1","content":"seen","created_at":"2030-01-02T03:04:05+01:00","user":{"id":"U1"}}]}`}},
		"GET /users/me":           {{body: `{"user":{"id":"U9","email":"bot@example.com"}}`}},
	})
	want := Incident{
		ID: "P1", Number: 7, Status: StatusTriggered, Title: "down", URL: "https://x.example.com/P1", Key: "k",
		CreatedAt: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), ServiceID: "S1", EscalationPolicyID: "E1",
	}
	got, err := a.Incident(t.Context(), "P1")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Incident: %v\n%s", err, diff)
	}
	want.Status = StatusAcknowledged
	got, found, err := a.FindOpen(t.Context(), "k&x")
	if diff := cmp.Diff(want, got); err != nil || !found || diff != "" {
		t.Errorf("FindOpen: found %t, %v\n%s", found, err, diff)
	}
	notes, err := a.Notes(t.Context(), "P1")
	wantNotes := []Note{{ID: "N1", Content: "seen", User: "U1", CreatedAt: time.Date(2030, 1, 2, 2, 4, 5, 0, time.UTC)}}
	if diff := cmp.Diff(wantNotes, notes); err != nil || diff != "" {
		t.Errorf("Notes: %v\n%s", err, diff)
	}
	if me, err := a.Me(t.Context()); err != nil || me != (User{ID: "U9", Email: "bot@example.com"}) {
		t.Errorf("Me = %v, %v", me, err)
	}
	wantSent := []string{
		"GET /incidents/P1",
		"GET /incidents?date_range=all&incident_key=k%26x&limit=25&sort_by=created_at%3Adesc&statuses%5B%5D=triggered&statuses%5B%5D=acknowledged",
		"GET /incidents/P1/notes",
		"GET /users/me?",
	}
	if diff := cmp.Diff(wantSent, a.sent()); diff != "" {
		t.Error(diff)
	}
}

func TestFindOpenTakesTheNewestOpen(t *testing.T) {
	t.Parallel()
	list := `{"incidents":[
		{"id":"OLD","status":"triggered","created_at":"2030-01-01T00:00:00Z"},
		{"id":"NEW","status":"acknowledged","created_at":"2030-01-02T00:00:00Z"},
		{"id":"GONE","status":"resolved","created_at":"2030-01-03T00:00:00Z"}]}`
	a := newAccount(t, map[string][]answer{"GET /incidents": {{body: list}, {body: `{"incidents":[]}`}}})
	if in, found, err := a.FindOpen(t.Context(), "k"); err != nil || !found || in.ID != "NEW" {
		t.Errorf("FindOpen = %v, %t, %v", in, found, err)
	}
	if in, found, err := a.FindOpen(t.Context(), "k"); err != nil || found {
		t.Errorf("none: FindOpen = %v, %t, %v", in, found, err)
	}
	if _, _, err := a.FindOpen(t.Context(), ""); !IsPermanent(err) {
		t.Errorf("empty key: %v", err)
	}
}

func TestMeWithAnAccountKey(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{
		"GET /users/me": {fault(http.StatusBadRequest, 2001, "A user context is required")},
		"GET /users":    {{body: `{"users":[{"id":"U1","email":"robot@example.com"},{"id":"U2","email":"Bot@Example.com"}]}`}, {body: `{"users":[]}`}},
	})
	if me, err := a.Me(t.Context()); err != nil || me.ID != "U2" {
		t.Errorf("Me = %v, %v", me, err)
	}
	if me, err := a.Me(t.Context()); err == nil {
		t.Errorf("nobody: Me = %v", me)
	}
}

// A token's user and the From address must be one user: PagerDuty writes down one of them.
func TestMeMustBeOne(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{
		"GET /users/me": {{body: `{"user":{"id":"U1","email":"BOT@example.com"}}`}, {body: `{"user":{"id":"U7","email":"ann@example.com"}}`}},
	})
	if me, err := a.Me(t.Context()); err != nil || me.ID != "U1" {
		t.Errorf("Me = %v, %v", me, err)
	}
	if me, err := a.Me(t.Context()); err == nil || !strings.Contains(err.Error(), "ann@example.com, but from names bot@example.com") {
		t.Errorf("two users: Me = %v, %v", me, err)
	}
}

// A phone, or being on call, is a person's; e-mail alone is not, and what cannot be read is not known.
func TestPersonal(t *testing.T) {
	t.Parallel()
	const mail, phone = `{"type":"email_contact_method"}`, `{"type":"phone_contact_method"}`
	for name, c := range map[string]struct{ ways, turns, want string }{
		"a robot":          {mail, "", ""},
		"a phone":          {mail + "," + phone, "", "more than e-mail"},
		"on call":          {mail, `{"escalation_policy":{"id":"E1","summary":"Backend"}}`, "on call on the escalation policy Backend"},
		"nothing is known": {"", "", ""},
	} {
		a := newAccount(t, map[string][]answer{
			"GET /users/U1/contact_methods": {{body: `{"contact_methods":[` + c.ways + `]}`}}, "GET /oncalls": {{body: `{"oncalls":[` + c.turns + `]}`}},
		})
		why, err := a.Personal(t.Context(), User{ID: "U1"})
		if err != nil || (c.want == "") != (why == "") || !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, %v", name, why, err)
		}
	}
	a := newAccount(t, map[string][]answer{"GET /users/U1/contact_methods": {{body: `{"contact_methods":[]}`}}, "GET /oncalls": {fault(http.StatusForbidden, 2010, "Access Denied")}})
	if why, err := a.Personal(t.Context(), User{ID: "U1"}); err == nil {
		t.Errorf("what cannot be read: %q", why)
	}
}

func TestAlertsReadsAllPages(t *testing.T) {
	t.Parallel()
	first := `{"id":"A1","alert_key":"k","status":"triggered","severity":"critical","summary":"s","created_at":"2030-01-02T03:04:05Z","body":{"type":"alert_body","details":{"firing":"Labels","n":2}}}`
	a := newAccount(t, map[string][]answer{"GET /incidents/P1/alerts": {
		{body: `{"alerts":[` + first + `],"limit":1,"offset":0,"more":true}`},
		{body: `{"alerts":[{"id":"A2","status":"resolved","body":{"details":"plain"}},{"id":"A3"}],"limit":25,"offset":1,"more":false}`},
	}})
	got, err := a.Alerts(t.Context(), "P1")
	want := []IncidentAlert{
		{
			ID: "A1", AlertKey: "k", Status: StatusTriggered, Severity: "critical", Summary: "s",
			CreatedAt: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), Details: map[string]any{"firing": "Labels", "n": 2.0},
		},
		{ID: "A2", Status: StatusResolved, Details: map[string]any{"details": "plain"}},
		{ID: "A3"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Alerts: %v\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"GET /incidents/P1/alerts?limit=25", "GET /incidents/P1/alerts?limit=25&offset=1"}, a.sent()); diff != "" {
		t.Error(diff)
	}
}

func TestAlertsNeverGivesHalfAList(t *testing.T) {
	t.Parallel()
	endless := newAccount(t, map[string][]answer{"GET /incidents/P1/alerts": {{body: `{"alerts":[{"id":"A"}],"limit":100,"more":true}`}}})
	if got, err := endless.Alerts(t.Context(), "P1"); err == nil || got != nil || IsPermanent(err) {
		t.Errorf("endless list: %d alerts, %v", len(got), err)
	}
	broken := newAccount(t, map[string][]answer{"GET /incidents/P1/alerts": {
		{body: `{"alerts":[{"id":"A"}],"limit":1,"more":true}`}, {status: http.StatusInternalServerError},
	}})
	if got, err := broken.Alerts(t.Context(), "P1"); err == nil || got != nil || IsAmbiguous(err) {
		t.Errorf("second page lost: %d alerts, %v", len(got), err)
	}
}

func TestPagerDutyWrites(t *testing.T) {
	t.Parallel()
	const (
		read   = "GET /incidents/P1"
		policy = "GET /escalation_policies/E1?"
		put    = "PUT /incidents "
	)
	change := func(fields string) string {
		return put + `{"incidents":[{"id":"P1","type":"incident",` + fields + `}]}`
	}
	toPolicy := change(`"escalation_policy":{"id":"E1","type":"escalation_policy_reference"}`)
	rules := func(users ...string) answer {
		var parts []string
		for _, u := range users {
			parts = append(parts, fmt.Sprintf(`{"id":"R","targets":[{"id":%q,"type":"user_reference"}]}`, u))
		}
		return answer{body: `{"escalation_policy":{"id":"E1","escalation_rules":[` + strings.Join(parts, ",") + `]}}`}
	}
	acknowledge := func(ctx context.Context, p *PagerDuty) error { return p.Acknowledge(ctx, "P1") }
	resolve := func(ctx context.Context, p *PagerDuty) error { return p.Resolve(ctx, "P1", "rolled back") }
	escalate := func(ctx context.Context, p *PagerDuty) error { return p.Escalate(ctx, "P1") }
	ack, res := change(`"status":"acknowledged"`), change(`"status":"resolved","resolution":"rolled back"`)

	tests := []struct {
		name  string
		do    func(context.Context, *PagerDuty) error
		read  []answer
		put   []answer
		rules answer
		sent  []string
		fails bool
	}{
		{name: "acknowledge", do: acknowledge, read: []answer{one(StatusTriggered)}, put: []answer{many(StatusAcknowledged)}, sent: []string{read, ack}},
		{name: "acknowledge an acknowledged one", do: acknowledge, read: []answer{one(StatusAcknowledged)}, sent: []string{read}},
		{name: "acknowledge never reopens", do: acknowledge, read: []answer{one(StatusResolved)}, sent: []string{read}},
		{name: "acknowledge, 1002", do: acknowledge, read: []answer{one(StatusTriggered)}, put: []answer{fault(400, 1002, "already")}, sent: []string{read, ack}},
		{name: "acknowledge, 1001", do: acknowledge, read: []answer{one(StatusTriggered)}, put: []answer{fault(400, 1001, "already")}, sent: []string{read, ack}},
		{
			name: "acknowledge, ambiguous code and a human was first", do: acknowledge,
			read: []answer{one(StatusTriggered), one(StatusAcknowledged)}, put: []answer{fault(400, 2001, "already")}, sent: []string{read, ack, read},
		},
		{name: "acknowledge refused", do: acknowledge, read: []answer{one(StatusTriggered)}, put: []answer{fault(400, 2001, "no")}, sent: []string{read, ack, read}, fails: true},
		{name: "resolve", do: resolve, put: []answer{many(StatusResolved)}, sent: []string{res}},
		{name: "resolve, 1001", do: resolve, put: []answer{fault(400, 1001, "already")}, sent: []string{res}},
		{name: "resolve, ambiguous code", do: resolve, read: []answer{one(StatusResolved)}, put: []answer{fault(400, 2001, "already")}, sent: []string{res, read}},
		{name: "resolve, 1002 is no success", do: resolve, read: []answer{one(StatusAcknowledged)}, put: []answer{fault(400, 1002, "already")}, sent: []string{res, read}, fails: true},
		{
			name: "escalate to the next level", do: escalate, read: []answer{one(StatusAcknowledged)}, rules: rules("U1", "U2", "U3"),
			put: []answer{many(StatusTriggered)}, sent: []string{read, policy, change(`"escalation_level":2`)},
		},
		{name: "escalate from the last level", do: escalate, read: []answer{one(StatusTriggered)}, rules: rules("U2", "U1"), put: []answer{many(StatusTriggered)}, sent: []string{read, policy, toPolicy}},
		{name: "escalate from the only level", do: escalate, read: []answer{one(StatusTriggered)}, rules: rules("U1"), put: []answer{many(StatusTriggered)}, sent: []string{read, policy, toPolicy}},
		{name: "escalate from a schedule", do: escalate, read: []answer{one(StatusTriggered)}, rules: rules("SCHEDULE", "U2"), put: []answer{many(StatusTriggered)}, sent: []string{read, policy, toPolicy}},
		{name: "escalate without the policy", do: escalate, read: []answer{one(StatusTriggered)}, rules: answer{status: 403}, put: []answer{many(StatusTriggered)}, sent: []string{read, policy, toPolicy}},
		{
			name: "escalate, 1006", do: escalate, read: []answer{one(StatusTriggered)}, rules: rules("U1", "U2"),
			put: []answer{fault(400, 1006, "cannot"), many(StatusTriggered)}, sent: []string{read, policy, change(`"escalation_level":2`), toPolicy},
		},
		{name: "escalate a resolved one", do: escalate, read: []answer{one(StatusResolved)}, sent: []string{read}, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, map[string][]answer{"GET /incidents/P1": tt.read, "PUT /incidents": tt.put, "GET /escalation_policies/E1": {tt.rules}})
			if err := tt.do(t.Context(), a.PagerDuty); (err != nil) != tt.fails {
				t.Errorf("error %v, want failure %t", err, tt.fails)
			}
			if diff := cmp.Diff(tt.sent, a.sent()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEscalateTellsAResolvedIncident(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]map[string][]answer{
		"before":    {"GET /incidents/P1": {one(StatusResolved)}},
		"meanwhile": {"GET /incidents/P1": {one(StatusTriggered)}, "PUT /incidents": {fault(400, 1001, "already")}},
	} {
		if err := newAccount(t, answers).Escalate(t.Context(), "P1"); !errors.Is(err, ErrIncidentResolved) || !IsPermanent(err) || IsAmbiguous(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoteAndStatusUpdate(t *testing.T) {
	t.Parallel()
	a := newAccount(t, map[string][]answer{
		"POST /incidents/P1/notes":          {{body: `{"note":{"id":"N1"}}`}},
		"POST /incidents/P1/status_updates": {{body: `{"status_update":{"id":"SU"}}`}},
	})
	if err := a.Note(t.Context(), "P1", "rolled back\n<b>"); err != nil {
		t.Error(err)
	}
	if err := a.StatusUpdate(t.Context(), "P1", "better"); err != nil {
		t.Error(err)
	}
	var body struct{ Note struct{ Content string } }
	sent := a.sent()
	if err := json.Unmarshal([]byte(strings.TrimPrefix(sent[0], "POST /incidents/P1/notes ")), &body); err != nil || body.Note.Content != "rolled back\n<b>" {
		t.Errorf("note %q, %v", body.Note.Content, err)
	}
	if want := `POST /incidents/P1/status_updates {"message":"better"}`; sent[1] != want {
		t.Errorf("status update %s, want %s", sent[1], want)
	}
}

func TestIDsNeverLeaveTheirPath(t *testing.T) {
	t.Parallel()
	a := newAccount(t, nil)
	for _, id := range []string{"", "../users/me", "P1/notes", "P1?x=y", "P1#", "P 1", "..", "P1\n", strings.Repeat("P", 65)} {
		calls := map[string]error{
			"Acknowledge": a.Acknowledge(t.Context(), id), "Resolve": a.Resolve(t.Context(), id, ""), "Escalate": a.Escalate(t.Context(), id),
			"Note": a.Note(t.Context(), id, "x"), "StatusUpdate": a.StatusUpdate(t.Context(), id, "x"),
			"Reassign": a.Reassign(t.Context(), id, People{Users: []string{"U1"}}), "SetPriority": a.SetPriority(t.Context(), id, "P1"),
			"RequestResponders": a.RequestResponders(t.Context(), id, People{Users: []string{"U1"}}, "x"), "Snooze": a.Snooze(t.Context(), id, time.Hour),
			"Reassign to it": a.Reassign(t.Context(), "P1", People{Users: []string{"U1", id}}),
			"Responders":     a.RequestResponders(t.Context(), "P1", People{Policies: []string{id}}, "x"),
		}
		_, calls["Details"] = a.Details(t.Context(), id)
		_, calls["RelatedChanges"] = a.RelatedChanges(t.Context(), id)
		_, calls["ServiceChanges"] = a.ServiceChanges(t.Context(), id, time.Time{}, time.Time{})
		_, calls["OnCalls"] = a.OnCalls(t.Context(), id, "")
		_, calls["Incident"] = a.Incident(t.Context(), id)
		_, calls["Alerts"] = a.Alerts(t.Context(), id)
		_, calls["Notes"] = a.Notes(t.Context(), id)
		for name, err := range calls {
			if !IsPermanent(err) || IsAmbiguous(err) {
				t.Errorf("%s(%q) = %v", name, id, err)
			}
		}
	}
	if sent := a.sent(); len(sent) != 0 {
		t.Errorf("sent %v", sent)
	}
}
