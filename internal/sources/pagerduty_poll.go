package sources

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// PagerDutyPoll says which of the account's incidents are ours to find.
type PagerDutyPoll struct {
	PollTimes `yaml:",inline"`
	// Services are the ids of the services whose webhooks come here: without them, or Teams, every incident of the account would be taken.
	Services []string `yaml:"services"`
	// Teams are the ids of teams; an incident has to fit both where both are given.
	Teams []string `yaml:"teams"`
}

const (
	// pagerDutyAfter is how long a webhook may be under way.
	pagerDutyAfter = 30 * time.Second
	// maxAsked bounds the incidents that one poll reads one by one because the list does not show them any more. With the ten pages of the
	// list a poll makes at most 31 calls; PagerDuty allows a key 960 a minute
	// (https://developer.pagerduty.com/docs/rest-api-rate-limits).
	maxAsked = 20
)

func (p *PagerDuty) checkPoll() error {
	if p.Poll == nil {
		return nil
	}
	wrong := []error{p.Poll.check()}
	if len(p.Poll.Services)+len(p.Poll.Teams) == 0 {
		wrong = append(wrong, &ParameterError{Path: []string{"poll"}, Err: errors.New("must name the services or teams whose webhooks come here: every incident of the account would be taken")})
	}
	for key, ids := range map[string][]string{"services": p.Poll.Services, "teams": p.Poll.Teams} {
		for i, id := range ids {
			if !incidentID.MatchString(id) {
				wrong = append(wrong, &ParameterError{Path: []string{"poll", key, strconv.Itoa(i)}, Err: fmt.Errorf("%q is no id of PagerDuty's, such as PIJ90N7", clip(id))})
			}
		}
	}
	return errors.Join(wrong...)
}

// Polling implements Poll.
func (p *PagerDuty) Polling() Polling {
	if p.Poll == nil {
		return Polling{}
	}
	return p.Poll.polling()
}

// openLister is the part of the PagerDuty client that a poll needs.
type openLister interface {
	alertReader
	OpenIncidents(ctx context.Context, services, teams []string) (open []connect.Incident, whole bool, err error)
	Incident(ctx context.Context, id string) (connect.Incident, error)
}

// Missed finds open incidents that are not known, persons' acknowledgements of known ones that began or ended, and ends. Merely that an
// incident is not listed is no end: it may have gone to another service. A known incident that was reopened is left to its webhook: PagerDuty's list does
// not say when that was, and a second firing must not be made up.
func (p *PagerDuty) Missed(ctx context.Context, connections connect.Set, q Question) ([]Found, error) {
	client, err := connect.Get[openLister](connections, p.Connection)
	if err != nil {
		return nil, fmt.Errorf("polling PagerDuty: %w", err)
	}
	open, whole, err := client.OpenIncidents(ctx, p.Poll.Services, p.Poll.Teams)
	if err != nil {
		return nil, fmt.Errorf("polling PagerDuty: %w", err)
	}
	us, err := p.Self(ctx, connections)
	if err != nil {
		return nil, fmt.Errorf("polling PagerDuty: %w", err)
	}
	found, listed := p.amongOpen(open, q, us)
	ended, err := p.ended(ctx, client, q, listed)
	if err == nil && !whole {
		err = fmt.Errorf("polling PagerDuty: more than %d incidents are open; the oldest were not read", len(open))
	}
	return append(found, ended...), err
}

func (p *PagerDuty) amongOpen(open []connect.Incident, q Question, us string) (found []Found, listed map[string]bool) {
	known := q.knownSubjects()
	listed = make(map[string]bool, len(open))
	for _, in := range open {
		listed[in.ID] = true
		s, seen := known[in.ID]
		switch {
		case !incidentID.MatchString(in.ID) || in.CreatedAt.IsZero():
		case !seen && p.Poll.takes(in.CreatedAt, q.Now, pagerDutyAfter):
			found = append(found, p.begun(in, us))
		case seen && s.Ended.IsZero():
			found = append(found, handedOver(in, s, us)...)
		}
	}
	return found, listed
}

// ended reads the incidents that are known to be open and are not listed. Where there are many, each poll reads others.
func (p *PagerDuty) ended(ctx context.Context, client openLister, q Question, listed map[string]bool) ([]Found, error) {
	unlisted := q.open(listed)
	var found []Found
	for i := range min(len(unlisted), maxAsked) {
		turn := int(q.Now.Unix()/int64(max(p.Polling().Every/time.Second, 1))) * maxAsked
		s := unlisted[(turn+i)%len(unlisted)]
		in, err := client.Incident(ctx, s.Subject)
		if connect.IsPermanent(err) { // gone, or not ours to read: nobody will ever say that it ended
			continue
		}
		if err != nil {
			return found, fmt.Errorf("polling PagerDuty for the end of incident %s: %w", s.Subject, err)
		}
		if in.Status == connect.StatusResolved && p.Poll.due(in.ResolvedAt, q.Now, pagerDutyAfter) {
			found = append(found, p.over(in, s))
		}
	}
	return found, nil
}

// begun is the delivery of an open incident that is not known.
func (p *PagerDuty) begun(in connect.Incident, us string) Found {
	d := polledDelivery("begun:"+in.ID, in.CreatedAt)
	stub := p.stub(d, incidentBody(in))
	d.Alerts, d.Incomplete = []alert.Alert{stub}, true
	if by, ok := personAt(in, us); ok {
		d.Holds = []Hold{holdBy(in, by)}
	}
	return foundIn(d, in)
}

// over is the delivery of an end.
func (p *PagerDuty) over(in connect.Incident, s Sighting) Found {
	at := in.ResolvedAt.UTC()
	if at.Before(s.Began) { // PagerDuty lists whole seconds
		at = s.Began
	}
	d := polledDelivery("over:"+in.ID, at)
	stub := p.stub(d, incidentBody(in))
	stub.Status, stub.EndsAt = alert.Resolved, at
	if stub.Merged, stub.MergedInto = in.MergedInto != "", survivorOf(in.ID, in.MergedInto); !stub.Merged {
		stub.EndedBy = clip(in.ResolvedBy)
	}
	d.Alerts = []alert.Alert{stub}
	d.Holds = []Hold{{IncidentID: in.ID, IncidentKey: in.Key, At: at, Lifted: true}}
	return foundIn(d, in)
}

// handedOver gives the word about an incident's hand that is not known yet, if there is one.
func handedOver(in connect.Incident, s Sighting, us string) []Found {
	by, held := personAt(in, us)
	var h Hold
	switch {
	case held && s.Held.Before(by.At):
		h = holdBy(in, by)
	case !held && !s.Held.IsZero():
		h = Hold{IncidentID: in.ID, IncidentKey: in.Key, At: in.ChangedAt.UTC(), Lifted: true}
		if h.At.Before(s.Held) {
			h.At = s.Held
		}
	default:
		return nil
	}
	d := polledDelivery(fmt.Sprintf("hand:%s:%t", in.ID, h.Lifted), h.At)
	d.Holds = []Hold{h}
	return []Found{foundIn(d, in)}
}

// personAt is the last person, other than us, who has acknowledged the incident.
func personAt(in connect.Incident, us string) (last connect.Acknowledgement, ok bool) {
	for _, a := range in.Acknowledgements {
		if a.UserID != us && !a.At.Before(last.At) {
			last, ok = a, true
		}
	}
	return last, ok
}

func holdBy(in connect.Incident, by connect.Acknowledgement) Hold {
	return Hold{IncidentID: in.ID, IncidentKey: in.Key, By: clip(cmp.Or(by.User, by.UserID)), ByID: by.UserID, At: by.At.UTC()}
}

func polledDelivery(key string, at time.Time) Delivery {
	return Delivery{DedupKey: PolledType + ":" + key, Type: PolledType, OccurredAt: at.UTC()}
}

func incidentBody(in connect.Incident) pagerDutyIncident {
	body := pagerDutyIncident{
		ID: in.ID, Type: "incident", HTMLURL: in.URL, Status: in.Status, Number: int64(min(in.Number, 1<<62)), CreatedAt: in.CreatedAt,
		Title: in.Title, Urgency: in.Urgency, Service: &pagerDutyReference{ID: in.ServiceID, Summary: in.Service},
	}
	if in.Key != "" {
		body.Key = &in.Key
	}
	if in.Priority != "" {
		body.Priority = &pagerDutyReference{Summary: in.Priority}
	}
	return body
}

// foundIn keeps what was read of the incident as the event's body.
func foundIn(d Delivery, in connect.Incident) Found {
	return Found{Delivery: d, Body: polledBody(map[string]connect.Incident{"polled_incident": in})}
}
