package sandbox

import (
	"fmt"
	"net/http"
	"time"
)

type aboutMerge struct {
	Incident string `json:"incident"`
	Into     string `json:"into"`
}

type aboutSnooze struct {
	Incident string        `json:"incident"`
	Lasts    time.Duration `json:"lasts"`
}

// MergeIncident lets the user on call merge an open incident into another one: its alerts go there, and it is resolved for that reason. What
// was noted on it stays behind (https://support.pagerduty.com/main/docs/merge-incidents).
func (w *World) MergeIncident(incident, into string) error {
	p := w.pager
	p.mu.Lock()
	defer p.mu.Unlock()
	from, to := p.find(incident), p.find(into)
	if from == nil || to == nil || from == to || from.Status == "resolved" || to.Status == "resolved" {
		return fmt.Errorf("%q cannot be merged into %q: both must be open", incident, into)
	}
	to.Alerts, to.Key = append(to.Alerts, from.Alerts...), ""
	from.Alerts, from.MergedInto = nil, to.ID
	p.setStatus(from, "resolved", onCall())
	p.record(from, onCall(), "incident_merged", "incident.resolved", map[string]any{"into": to.ID})
	return nil
}

// HumanSnoozes lets the user on call silence the incident for a time: it is acknowledged until SnoozeEnds.
func (w *World) HumanSnoozes(incident string, d time.Duration) error {
	return w.pager.as(incident, func(inc *Incident) { w.pager.snooze(inc, onCall(), d) })
}

// SetAccountKey makes the REST token an account's, which has no user: who acts is whom the header From names.
func (w *World) SetAccountKey(on bool) {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	w.pager.keyOnly = on
}

// SetPhone gives the bot's user a way to be reached beside e-mail, as PagerDuty calls it: phone_contact_method, sms_contact_method; "" takes
// it away.
func (w *World) SetPhone(kind string) {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	w.pager.phone = kind
}

func listContactMethods(p *pagerDuty, c *call) (int, object, *problem) {
	id := c.PathValue("id")
	if _, ok := userBy(func(u user) bool { return u.id == id }); !ok {
		return 0, nil, notFound()
	}
	all := []any{object{"id": "PCM0001", "type": "email_contact_method", "label": "Default"}}
	if p.phone != "" {
		all = append(all, object{"id": "PCM0002", "type": p.phone, "label": "Mobile"})
	}
	return http.StatusOK, object{"contact_methods": all}, nil
}
