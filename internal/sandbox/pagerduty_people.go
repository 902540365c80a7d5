package sandbox

import "fmt"

// onCall is the user whom the Human methods act as.
func onCall() actor { return actor{userByID("PUSR001")} }

func (p *pagerDuty) as(incident string, f func(inc *Incident)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	inc := p.find(incident)
	if inc == nil {
		return fmt.Errorf("there is no incident %q", incident)
	}
	f(inc)
	return nil
}

// HumanAcknowledges lets the user on call acknowledge the incident.
func (w *World) HumanAcknowledges(incident string) error {
	return w.pager.as(incident, func(inc *Incident) { w.pager.acknowledge(inc, onCall()) })
}

// HumanUnacknowledges lets the user on call let go of the incident: it is
// triggered again. One that is not acknowledged stays as it is.
func (w *World) HumanUnacknowledges(incident string) error {
	return w.pager.as(incident, func(inc *Incident) { w.pager.unacknowledge(inc, onCall()) })
}

// AcknowledgementEnds lets the service's acknowledgement timeout pass, which is
// nobody's act. An incident that is not acknowledged stays as it is.
func (w *World) AcknowledgementEnds(incident string) error {
	return w.pager.as(incident, func(inc *Incident) { w.pager.unacknowledge(inc, actor{}) })
}

// HumanOpens lets the user on call open an incident by hand, which has no
// alert.
func (w *World) HumanOpens(title string) string {
	w.pager.mu.Lock()
	defer w.pager.mu.Unlock()
	inc := w.pager.open(Incident{Title: title, Severity: "critical", ServiceID: defaultService}, onCall())
	inc.Alerts = nil
	return inc.ID
}

// HumanResolves lets the user on call resolve the incident.
func (w *World) HumanResolves(incident string) error {
	return w.pager.as(incident, func(inc *Incident) { w.pager.resolve(inc, onCall(), "") })
}

// ResolveAlert ends one alert of the incident, as its sender would; the
// incident ends with its last open alert.
func (w *World) ResolveAlert(incident, key string) error {
	found := false
	err := w.pager.as(incident, func(inc *Incident) {
		for i := range inc.Alerts {
			if a := &inc.Alerts[i]; a.Key == key && a.Status != "resolved" {
				w.pager.resolveAlert(inc, a)
				found = true
				return
			}
		}
	})
	if err == nil && !found {
		err = fmt.Errorf("incident %q has no open alert with the key %q", incident, key)
	}
	return err
}

func (p *pagerDuty) unacknowledge(inc *Incident, by actor) {
	if inc.Status != "acknowledged" {
		return
	}
	p.setStatus(inc, "triggered", by)
	p.record(inc, by, "incident_unacknowledged", "incident.unacknowledged", nil)
}
