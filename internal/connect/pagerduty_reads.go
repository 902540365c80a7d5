package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/PagerDuty/go-pagerduty"
)

// Statuses of an incident.
const (
	StatusTriggered    = "triggered"
	StatusAcknowledged = "acknowledged"
	StatusResolved     = "resolved"
)

const (
	alertsPage = 25
	// maxAlerts is as many as PagerDuty keeps on an incident.
	maxAlerts = 1000
)

// User is a PagerDuty user.
type User struct{ ID, Email string }

// Incident is a PagerDuty incident as it was read.
type Incident struct {
	ID                 string
	Number             uint
	Status             string // StatusTriggered, StatusAcknowledged or StatusResolved
	Title              string
	URL                string // of its page
	Key                string // "" for an incident with several alerts
	CreatedAt          time.Time
	ResolvedAt         time.Time // zero while it is open
	ResolvedBy         string    // the person who resolved it; "" while it is open, and where an integration did
	MergedInto         string    // the id of the incident that its alerts have gone to, which resolved this one; "" if it was not
	ChangedAt          time.Time // when its status last changed
	ServiceID          string
	Service            string // its name
	Urgency            string // "high" or "low"
	Priority           string // its name; "" for none
	EscalationPolicyID string
	Acknowledgements   []Acknowledgement // by users; none unless it is acknowledged
}

// Acknowledgement says which user has an incident in hand. Those of services and integrations are left out: a machine's word holds nothing.
type Acknowledgement struct {
	UserID string
	User   string // the user's name; the id where there is none
	At     time.Time
}

// IncidentAlert is one alert of an incident.
type IncidentAlert struct {
	ID        string
	AlertKey  string // the dedup key of its events
	Status    string // StatusTriggered or StatusResolved
	Severity  string
	Summary   string
	CreatedAt time.Time
	Details   map[string]any // the sender's custom details; a sender's plain text is kept under "details"
}

// Note is a note on an incident.
type Note struct {
	ID        string
	Content   string
	User      string // id of the author
	CreatedAt time.Time
}

// Me tells who acts by our token: its user or, with an account key, which has none, the user of our From address. Where there are both they
// must be the same: PagerDuty writes down one of them as the one who acted, and the other's doings would be taken for ours, or ours for
// somebody else's.
func (p *PagerDuty) Me(ctx context.Context) (User, error) {
	var user *pagerduty.User
	err := p.do(ctx, call{doing: "asking who we are"}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		user, err = api.GetCurrentUserWithContext(ctx, pagerduty.GetCurrentUserOptions{})
		return err
	})
	switch {
	case err == nil && (p.cfg.From == "" || strings.EqualFold(user.Email, p.cfg.From)):
		return User{ID: user.ID, Email: user.Email}, nil
	case err == nil:
		return User{}, refused(systemPagerDuty, "asking who we are", "the token belongs to %s, but from names %s: both must be one user's, made for "+
			"remediator alone", Line(user.Email, maxAddress), p.cfg.From)
	case p.cfg.From == "" && userless(err):
		return User{}, fmt.Errorf("%w; an account's key has no user: set from to the e-mail address of one made for remediator alone", err)
	case !userless(err):
		return User{}, err
	default:
		return p.userByEmail(ctx, p.cfg.From)
	}
}

// maxAddress bounds an e-mail address that is told, in characters.
const maxAddress = 254

// Personal tells, in words, what speaks against a user being ours alone: that a phone rings for them, or that they are on call. "" is nothing.
// A person's acknowledgements would pass for our own there. What cannot be read is an error.
func (p *PagerDuty) Personal(ctx context.Context, user User) (string, error) {
	const doing = "looking whether the user is a person"
	if err := checkID(doing, user.ID); err != nil {
		return "", err
	}
	var (
		ways  *pagerduty.ListContactMethodsResponse
		turns *pagerduty.ListOnCallsResponse
	)
	err := p.do(ctx, call{doing: doing}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		if ways, err = api.ListUserContactMethodsWithContext(ctx, user.ID); err == nil {
			turns, err = api.ListOnCallsWithContext(ctx, pagerduty.ListOnCallOptions{UserIDs: []string{user.ID}, Limit: 1})
		}
		return err
	})
	switch {
	case err != nil:
		return "", err
	case len(turns.OnCalls) > 0:
		return "is on call on the escalation policy " + Line(cmp.Or(turns.OnCalls[0].EscalationPolicy.Summary, turns.OnCalls[0].EscalationPolicy.ID), 100), nil
	case slices.ContainsFunc(ways.ContactMethods, func(m pagerduty.ContactMethod) bool { return m.Type != "email_contact_method" }):
		return "can be reached by more than e-mail", nil
	}
	return "", nil
}

// userless: an account key has no user of its own, and PagerDuty says so with a plain refusal.
func userless(err error) bool {
	var call *CallError
	return errors.As(err, &call) && (call.permanent || call.Status == http.StatusForbidden)
}

func (p *PagerDuty) userByEmail(ctx context.Context, email string) (User, error) {
	const doing = "looking up the user of the From address"
	var users *pagerduty.ListUsersResponse
	err := p.do(ctx, call{doing: doing}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		users, err = api.ListUsersWithContext(ctx, pagerduty.ListUsersOptions{Query: email, Limit: 100})
		return err
	})
	if err != nil {
		return User{}, err
	}
	for _, u := range users.Users {
		if strings.EqualFold(u.Email, email) {
			return User{ID: u.ID, Email: u.Email}, nil
		}
	}
	return User{}, refused(systemPagerDuty, doing, "no user has the address %s", email)
}

// FindOpen finds the newest triggered or acknowledged incident by the dedup key of its events. An incident with several alerts has no key
// of its own; PagerDuty finds it by the keys of its alerts, those that are resolved among them.
func (p *PagerDuty) FindOpen(ctx context.Context, incidentKey string) (Incident, bool, error) {
	return p.find(ctx, "looking for an open incident", incidentKey, StatusTriggered, StatusAcknowledged)
}

// FindAny is FindOpen among all incidents, resolved ones too: for a key that never recurs.
func (p *PagerDuty) FindAny(ctx context.Context, incidentKey string) (Incident, bool, error) {
	return p.find(ctx, "looking for an incident", incidentKey)
}

// find finds the newest incident by its key, among those in the statuses; none means any.
func (p *PagerDuty) find(ctx context.Context, doing, incidentKey string, statuses ...string) (Incident, bool, error) {
	if incidentKey == "" {
		return Incident{}, false, refused(systemPagerDuty, doing, "the incident key is empty")
	}
	options := pagerduty.ListIncidentsOptions{
		IncidentKey: incidentKey,
		Statuses:    statuses,
		DateRange:   "all", // by default PagerDuty leaves out incidents opened before the last month
		SortBy:      "created_at:desc",
		Limit:       25,
	}
	var list *pagerduty.ListIncidentsResponse
	err := p.do(ctx, call{doing: doing}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		list, err = api.ListIncidentsWithContext(ctx, options)
		return err
	})
	if err != nil {
		return Incident{}, false, err
	}
	newest, found := newestAmong(list.Incidents, statuses)
	return newest, found, nil
}

func newestAmong(all []pagerduty.Incident, statuses []string) (Incident, bool) {
	var (
		newest Incident
		found  bool
	)
	for i := range all {
		in := incidentOf(&all[i])
		asked := len(statuses) == 0 || slices.Contains(statuses, in.Status)
		if asked && (!found || in.CreatedAt.After(newest.CreatedAt)) {
			newest, found = in, true
		}
	}
	return newest, found
}

// Incident reads one incident.
func (p *PagerDuty) Incident(ctx context.Context, id string) (Incident, error) {
	in, err := p.read(ctx, "reading incident "+id, id)
	if err != nil {
		return Incident{}, err
	}
	return incidentOf(in), nil
}

// mergesFollowed bounds a chain of merges.
const mergesFollowed = 5

// Survivor reads an incident or, where that was merged into another one, the incident in which its alerts are now. A merge is for ever: what
// is told on the merged one is told to nobody. The way to the survivor is the ids of those that were left for it, in order. A chain of more
// than a few merges is an error.
func Survivor(ctx context.Context, read func(ctx context.Context, id string) (Incident, error), id string) (in Incident, left []string, err error) {
	for range mergesFollowed {
		if in, err = read(ctx, id); err != nil || in.MergedInto == "" {
			in.ID = id
			return in, left, err
		}
		left, id = append(left, id), in.MergedInto
	}
	doing := "following the merges of incident " + left[0]
	return Incident{}, left, &CallError{System: systemPagerDuty, Doing: doing, Err: fmt.Errorf("there are %d or more in a row", mergesFollowed)}
}

func (p *PagerDuty) read(ctx context.Context, doing, id string) (*pagerduty.Incident, error) {
	if err := checkID("reading an incident", id); err != nil {
		return nil, err
	}
	var in *pagerduty.Incident
	err := p.do(ctx, call{doing: doing}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		in, err = api.GetIncidentWithContext(ctx, id)
		return err
	})
	return in, err
}

// Alerts reads all alerts of an incident, resolved ones too. A list that could not be read whole is an error.
func (p *PagerDuty) Alerts(ctx context.Context, id string) ([]IncidentAlert, error) {
	if err := checkID("reading the alerts of an incident", id); err != nil {
		return nil, err
	}
	doing := "reading the alerts of incident " + id
	var alerts []IncidentAlert
	for offset := uint(0); offset < maxAlerts; {
		page, err := p.alertsPage(ctx, doing, id, offset)
		if err != nil {
			return nil, err
		}
		for i := range page.Alerts {
			alerts = append(alerts, alertOf(&page.Alerts[i]))
		}
		if !page.More {
			return alerts, nil
		}
		offset += cmp.Or(page.Limit, alertsPage)
	}
	return nil, &CallError{System: systemPagerDuty, Doing: doing, Err: fmt.Errorf("there are more than %d", maxAlerts)}
}

func (p *PagerDuty) alertsPage(ctx context.Context, doing, id string, offset uint) (*pagerduty.ListAlertsResponse, error) {
	options := pagerduty.ListIncidentAlertsOptions{Limit: alertsPage, Offset: offset}
	var page *pagerduty.ListAlertsResponse
	err := p.do(ctx, call{doing: doing}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		page, err = api.ListIncidentAlertsWithContext(ctx, id, options)
		return err
	})
	return page, err
}

// Notes reads the notes of an incident, so that one of ours can be found by what it holds.
func (p *PagerDuty) Notes(ctx context.Context, id string) ([]Note, error) {
	if err := checkID("reading the notes of an incident", id); err != nil {
		return nil, err
	}
	var list []pagerduty.IncidentNote
	err := p.do(ctx, call{doing: "reading the notes of incident " + id}, func(ctx context.Context, api *pagerduty.Client) (err error) {
		list, err = api.ListIncidentNotesWithContext(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	notes := make([]Note, 0, len(list))
	for _, n := range list {
		notes = append(notes, Note{ID: n.ID, Content: n.Content, User: n.User.ID, CreatedAt: timeOf(n.CreatedAt)})
	}
	return notes, nil
}

func incidentOf(in *pagerduty.Incident) Incident {
	return Incident{
		ID:                 in.ID,
		Number:             in.IncidentNumber,
		Status:             in.Status,
		Title:              in.Title,
		URL:                in.HTMLURL,
		Key:                in.IncidentKey,
		CreatedAt:          timeOf(in.CreatedAt),
		ResolvedAt:         timeOf(in.ResolvedAt),
		MergedInto:         mergedInto(in),
		ChangedAt:          timeOf(in.LastStatusChangeAt),
		ResolvedBy:         resolvedBy(in),
		ServiceID:          in.Service.ID,
		Service:            in.Service.Summary,
		Urgency:            in.Urgency,
		Priority:           priorityOf(in),
		EscalationPolicyID: in.EscalationPolicy.ID,
		Acknowledgements:   acknowledgementsOf(in),
	}
}

// resolvedBy names the person who resolved the incident. Where PagerDuty does not say who did, it may have been one.
func resolvedBy(in *pagerduty.Incident) string {
	by := in.LastStatusChangeBy
	switch {
	case in.Status != StatusResolved:
		return ""
	case by.ID == "":
		return "somebody"
	case isUser(by):
		return cmp.Or(by.Summary, by.ID)
	default:
		return ""
	}
}

func isUser(o pagerduty.APIObject) bool { return o.Type == "user_reference" || o.Type == "user" }

func priorityOf(in *pagerduty.Incident) string {
	if in.Priority == nil {
		return ""
	}
	return cmp.Or(in.Priority.Name, in.Priority.Summary)
}

func mergedInto(in *pagerduty.Incident) string {
	if in.Status != StatusResolved || in.ResolveReason.Type != "merge_resolve_reason" {
		return ""
	}
	return in.ResolveReason.Incident.ID
}

// acknowledgementsOf goes by the status too: PagerDuty empties the list when the incident is triggered or resolved.
func acknowledgementsOf(in *pagerduty.Incident) []Acknowledgement {
	if in.Status != StatusAcknowledged {
		return nil
	}
	var all []Acknowledgement
	for _, a := range in.Acknowledgements {
		if by := a.Acknowledger; by.ID != "" && isUser(by) {
			all = append(all, Acknowledgement{UserID: by.ID, User: cmp.Or(by.Summary, by.ID), At: timeOf(a.At)})
		}
	}
	return all
}

func alertOf(a *pagerduty.IncidentAlert) IncidentAlert {
	return IncidentAlert{
		ID:        a.ID,
		AlertKey:  a.AlertKey,
		Status:    a.Status,
		Severity:  a.Severity,
		Summary:   a.Summary,
		CreatedAt: timeOf(a.CreatedAt),
		Details:   detailsOf(a.Body["details"]),
	}
}

// detailsOf: PagerDuty's details are "an arbitrary JSON object or string".
func detailsOf(v any) map[string]any {
	switch d := v.(type) {
	case nil:
		return nil
	case map[string]any:
		return d
	default:
		return map[string]any{"details": d}
	}
}

// timeOf reads PagerDuty's times; one that cannot be read is zero.
func timeOf(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}
