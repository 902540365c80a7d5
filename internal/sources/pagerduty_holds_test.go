package sources

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/connect"
)

const (
	userAgent    = `{"id":"PANN","type":"user_reference","summary":"Ann"}`
	namelessUser = `{"id":"PANN","type":"user_reference","summary":null}`
	robotAgent   = `{"id":"PINT","type":"inbound_integration_reference","summary":"Ann"}`
)

// acknowledgedBody is an event of the type, by the agent, on an incident that is left in the status of the same name.
func acknowledgedBody(agent, eventType string) string { return handedBody(agent, eventType, eventType) }

func handedBody(agent, eventType, status string) string {
	body := strings.Replace(triggeredBody, "incident.triggered", "incident."+eventType, 1)
	body = strings.Replace(body, `"agent":null`, `"agent":`+agent, 1)
	return strings.Replace(body, `"type":"incident"`, `"type":"incident","status":"`+status+`"`, 1)
}

func TestPagerDutyHolds(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 20, 10, 0, 1, 0, time.UTC)
	held := []Hold{{IncidentID: "Q1", IncidentKey: "k", By: "Ann", ByID: "PANN", At: at}}
	lifted := []Hold{{IncidentID: "Q1", IncidentKey: "k", By: "Ann", ByID: "PANN", At: at, Lifted: true}}
	timedOut := []Hold{{IncidentID: "Q1", IncidentKey: "k", At: at, Lifted: true}}
	for name, c := range map[string]struct {
		body string
		want []Hold
	}{
		"a user acknowledges":                   {acknowledgedBody(userAgent, "acknowledged"), held},
		"a user without a name":                 {acknowledgedBody(namelessUser, "acknowledged"), []Hold{{IncidentID: "Q1", IncidentKey: "k", By: "PANN", ByID: "PANN", At: at}}},
		"a service acknowledges":                {acknowledgedBody(robotAgent, "acknowledged"), nil},
		"nobody acknowledges":                   {acknowledgedBody("null", "acknowledged"), nil},
		"a user lets go":                        {handedBody(userAgent, "unacknowledged", "triggered"), lifted},
		"the acknowledgement runs out":          {handedBody("null", "unacknowledged", "triggered"), timedOut},
		"resolved":                              {acknowledgedBody(userAgent, "resolved"), lifted},
		"resolved by its integration":           {acknowledgedBody(robotAgent, "resolved"), timedOut},
		"reopened":                              {handedBody(userAgent, "reopened", "triggered"), lifted},
		"reopened as acknowledged":              {handedBody(userAgent, "reopened", "acknowledged"), held},
		"reopened as acknowledged by a machine": {handedBody(robotAgent, "reopened", "acknowledged"), nil},
		"escalated, people are paged":           {handedBody(userAgent, "escalated", "triggered"), lifted},
		"escalated by the clock":                {handedBody("null", "escalated", "triggered"), timedOut},
		"reassigned, people are paged":          {handedBody(userAgent, "reassigned", "triggered"), lifted},
		"reassigned, still acknowledged":        {handedBody(userAgent, "reassigned", "acknowledged"), nil},
		"delegated, people are paged":           {handedBody(userAgent, "delegated", "triggered"), lifted},
		"delegated, still acknowledged":         {handedBody(userAgent, "delegated", "acknowledged"), nil},
		"priority updated":                      {handedBody(userAgent, "priority_updated", "acknowledged"), nil},
		"triggered":                             {acknowledgedBody(userAgent, "triggered"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := pagerDuty(t).Parse([]byte(c.body), received)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, d.Holds); diff != "" {
				t.Errorf("holds (-want +got):\n%s", diff)
			}
			checkHandled(t, d)
		})
	}
}

// checkHandled: who has an incident in hand needs no look-up, and a delivery that says nothing of it says why it is ignored.
func checkHandled(t *testing.T, d Delivery) {
	t.Helper()
	if len(d.Alerts) > 0 {
		return
	}
	if d.Incomplete || (d.Ignored == "") != (len(d.Holds) > 0) {
		t.Errorf("incomplete %v, ignored as %q with %d holds", d.Incomplete, d.Ignored, len(d.Holds))
	}
}

func TestPagerDutyHoldOfAnIncidentWithoutAKey(t *testing.T) {
	t.Parallel()
	body := strings.Replace(acknowledgedBody(userAgent, "acknowledged"), `"incident_key":"k"`, `"incident_key":null`, 1)
	d, err := pagerDuty(t).Parse([]byte(body), received)
	if err != nil || len(d.Holds) != 1 || d.Holds[0].IncidentID != "Q1" || d.Holds[0].IncidentKey != "" {
		t.Errorf("%v: %+v", err, d.Holds)
	}
}

func TestPagerDutyHoldsSurviveTheLookUp(t *testing.T) {
	t.Parallel()
	p := pagerDuty(t)
	d, err := p.Parse([]byte(handedBody(userAgent, "reopened", "triggered")), received)
	if err != nil || !d.Incomplete {
		t.Fatalf("a reopened incident needs a look-up: %v", err)
	}
	set := connect.Set{"pagerduty": &fakePagerDuty{alerts: []connect.IncidentAlert{listedAlert(nil)}}}
	looked, err := p.LookUp(t.Context(), set, d)
	if err != nil || len(looked.Holds) != 1 || !looked.Holds[0].Lifted {
		t.Errorf("%v: %+v", err, looked.Holds)
	}
}

func TestPagerDutyRefusesAHoldThatNamesNoIncident(t *testing.T) {
	t.Parallel()
	body := acknowledgedBody(userAgent, "acknowledged")
	for name, broken := range map[string]string{
		"no id":       strings.Replace(body, `"id":"Q1",`, ``, 1),
		"id of paths": strings.Replace(body, `"id":"Q1"`, `"id":"../Q1"`, 1),
		"a note":      strings.Replace(body, `"type":"incident"`, `"type":"incident_note"`, 1),
	} {
		if d, err := pagerDuty(t).Parse([]byte(broken), received); err == nil {
			t.Errorf("%s was taken for %+v", name, d)
		}
	}
}
