package connect

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/PagerDuty/go-pagerduty"
)

// contextPages bounds how many pages of a list are read, each with contextPage entries, the most that PagerDuty gives.
const (
	contextPages = 5
	contextPage  = 100
)

// IncidentDetails is what people look at first on an incident's page.
type IncidentDetails struct {
	Incident
	Assignees []string // names, or ids where there is none
	// TriggeredAlerts and ResolvedAlerts count its alerts by status, if AlertsCounted.
	TriggeredAlerts, ResolvedAlerts uint
	AlertsCounted                   bool // PagerDuty said how many there are
}

// ChangeEvent is a deploy or another change that somebody told PagerDuty of.
type ChangeEvent struct {
	ID      string
	Summary string
	Source  string
	At      time.Time // zero where PagerDuty does not say
	Reason  string    // why it is related to an incident: most_recent, related_service, intelligent; "" where none was asked for
}

// OnCall is one shift, now, on one level of an escalation policy.
type OnCall struct {
	UserID     string
	User       string // the name; the id where there is none
	Level      uint   // 1 is called first
	PolicyID   string
	ScheduleID string    // "" for a user who is on the level without a schedule
	End        time.Time // zero for a shift without end
}

// Details reads one incident with what Incident leaves out.
func (p *PagerDuty) Details(ctx context.Context, id string) (IncidentDetails, error) {
	if err := checkID("reading an incident", id); err != nil {
		return IncidentDetails{}, err
	}
	var answer struct {
		Incident struct {
			pagerduty.Incident
			Counts *pagerduty.AlertCounts `json:"alert_counts"` // in place of the library's, which cannot be absent
		} `json:"incident"`
	}
	if err := p.direct(ctx, call{doing: "reading incident " + id}, http.MethodGet, "/incidents/"+id, nil, &answer); err != nil {
		return IncidentDetails{}, err
	}
	in := &answer.Incident
	d := IncidentDetails{Incident: incidentOf(&in.Incident)}
	for _, a := range in.Assignments {
		d.Assignees = append(d.Assignees, cmp.Or(a.Assignee.Summary, a.Assignee.ID))
	}
	if in.Counts != nil {
		d.TriggeredAlerts, d.ResolvedAlerts, d.AlertsCounted = in.Counts.Triggered, in.Counts.Resolved, true
	}
	return d, nil
}

// RelatedChanges reads the change events that PagerDuty holds to be related to an incident, in no particular order and without regard to
// when they were; an account without that feature is refused.
func (p *PagerDuty) RelatedChanges(ctx context.Context, incidentID string) ([]ChangeEvent, error) {
	if err := checkID("reading the changes related to an incident", incidentID); err != nil {
		return nil, err
	}
	changes, _, err := p.changes(ctx, "reading the changes related to incident "+incidentID,
		"/incidents/"+incidentID+"/related_change_events", url.Values{"limit": {strconv.Itoa(contextPage)}})
	return changes, err
}

// ServiceChanges reads the change events of a service in a time. A list that could not be read whole is an error.
func (p *PagerDuty) ServiceChanges(ctx context.Context, serviceID string, from, to time.Time) ([]ChangeEvent, error) {
	if err := checkID("reading the changes of a service", serviceID); err != nil {
		return nil, err
	}
	doing := "reading the changes of service " + serviceID
	q := url.Values{
		"since": {from.UTC().Format(time.RFC3339)}, "until": {to.UTC().Format(time.RFC3339)}, "limit": {strconv.Itoa(contextPage)},
	}
	var all []ChangeEvent
	for page := range contextPages {
		q.Set("offset", strconv.Itoa(page*contextPage))
		changes, more, err := p.changes(ctx, doing, "/services/"+serviceID+"/change_events", q)
		if err != nil {
			return nil, err
		}
		if all = append(all, changes...); !more {
			return all, nil
		}
	}
	return nil, tooMany(doing)
}

func tooMany(doing string) error {
	return &CallError{System: systemPagerDuty, Doing: doing, Err: fmt.Errorf("there are more than %d", contextPages*contextPage)}
}

func (p *PagerDuty) changes(ctx context.Context, doing, path string, q url.Values) ([]ChangeEvent, bool, error) {
	var answer struct {
		Changes []struct {
			ID        string `json:"id"`
			Summary   string `json:"summary"`
			Source    string `json:"source"`
			Timestamp string `json:"timestamp"`
			Reason    struct {
				Reason string `json:"reason"`
			} `json:"correlation_reason"`
		} `json:"change_events"`
		More bool `json:"more"`
	}
	if err := p.direct(ctx, call{doing: doing}, http.MethodGet, path+"?"+q.Encode(), nil, &answer); err != nil {
		return nil, false, err
	}
	if answer.Changes == nil { // no list is not an empty one
		return nil, false, refused(systemPagerDuty, doing, "it answered without a list")
	}
	all := make([]ChangeEvent, 0, len(answer.Changes))
	for _, c := range answer.Changes {
		all = append(all, ChangeEvent{ID: c.ID, Summary: c.Summary, Source: c.Source, At: timeOf(c.Timestamp), Reason: c.Reason.Reason})
	}
	return all, answer.More, nil
}

// OnCalls reads who is on call now on an escalation policy, a schedule, or a schedule's part of a policy; at least one must be named.
// Nobody on call is an empty list.
func (p *PagerDuty) OnCalls(ctx context.Context, policyID, scheduleID string) ([]OnCall, error) {
	const doing = "reading who is on call"
	options := pagerduty.ListOnCallOptions{Limit: contextPage}
	for id, into := range map[string]*[]string{policyID: &options.EscalationPolicyIDs, scheduleID: &options.ScheduleIDs} {
		if id == "" {
			continue
		}
		if err := checkID(doing, id); err != nil {
			return nil, err
		}
		*into = []string{id}
	}
	if policyID == "" && scheduleID == "" {
		return nil, refused(systemPagerDuty, doing, "neither an escalation policy nor a schedule is named")
	}
	var all []OnCall
	for range contextPages {
		page, err := p.onCallsPage(ctx, doing, options)
		if err != nil {
			return nil, err
		}
		for i := range page.OnCalls {
			all = append(all, onCallOf(&page.OnCalls[i]))
		}
		if !page.More {
			return all, nil
		}
		options.Offset += contextPage
	}
	return nil, tooMany(doing)
}

func (p *PagerDuty) onCallsPage(ctx context.Context, doing string, options pagerduty.ListOnCallOptions) (*pagerduty.ListOnCallsResponse, error) {
	var page *pagerduty.ListOnCallsResponse
	err := p.do(ctx, call{doing: doing}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		page, err = api.ListOnCallsWithContext(ctx, options)
		return err
	})
	if err == nil && page.OnCalls == nil {
		return nil, refused(systemPagerDuty, doing, "it answered without a list")
	}
	return page, err
}

func onCallOf(o *pagerduty.OnCall) OnCall {
	return OnCall{
		UserID: o.User.ID, User: cmp.Or(o.User.Summary, o.User.Name, o.User.ID), Level: o.EscalationLevel,
		PolicyID: o.EscalationPolicy.ID, ScheduleID: o.Schedule.ID, End: timeOf(o.End),
	}
}

// priorities reads all priorities of the account, the gravest first.
func (p *PagerDuty) priorities(ctx context.Context, doing string) ([]pagerduty.Priority, error) {
	var all []pagerduty.Priority
	options := pagerduty.ListPrioritiesOptions{Limit: contextPage}
	for range contextPages {
		var page *pagerduty.ListPrioritiesResponse
		err := p.do(ctx, call{doing: doing}, func(ctx context.Context, api *pagerduty.Client) (err error) {
			page, err = api.ListPrioritiesWithContext(ctx, options)
			return err
		})
		if err != nil {
			return nil, err
		}
		if all = append(all, page.Priorities...); !page.More {
			return all, nil
		}
		options.Offset += contextPage
	}
	return nil, tooMany(doing)
}

// direct makes a call that the library lacks or sends without what PagerDuty asks for, and decodes the answer into out.
func (p *PagerDuty) direct(ctx context.Context, c call, method, path string, in, out any) error {
	return p.do(ctx, c, func(ctx context.Context, api *pagerduty.Client) error {
		body, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the body: %w", err)
		}
		if in == nil {
			body = nil
		}
		req, err := http.NewRequestWithContext(ctx, method, p.cfg.Endpoint+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		if p.cfg.From != "" && method != http.MethodGet {
			req.Header.Set("From", p.cfg.From)
		}
		resp, err := api.Do(req, true)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		return read(resp, out)
	})
}

// read decodes an answer as the library does: a refusal is a pagerduty.APIError.
func read(resp *http.Response, out any) error {
	if resp.StatusCode >= http.StatusMultipleChoices {
		refusal := pagerduty.APIError{}
		if json.NewDecoder(resp.Body).Decode(&refusal) != nil {
			refusal = pagerduty.APIError{}
		}
		refusal.StatusCode = resp.StatusCode
		return refusal
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer is not the JSON that was expected: %w", err)
	}
	return nil
}
