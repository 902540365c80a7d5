package sources

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// The names of alerts of hooks that no alert rule has made: an issue's title is the application's text, and whoever makes it fail writes it.
const (
	sentryErrorName = "SentryError"
	sentryIssueName = "SentryIssue"
)

// sentryEvent is what decides of an event. Beside Sentry's own ids all of it is the application's word, or that of whoever can send to its
// public key.
type sentryEvent struct {
	ID          looseText     `json:"event_id"`
	IssueID     looseText     `json:"issue_id"`
	Title       looseText     `json:"title"`
	Culprit     looseText     `json:"culprit"`
	Level       looseText     `json:"level"`
	Environment looseText     `json:"environment"`
	Release     looseText     `json:"release"`
	Project     looseText     `json:"project"` // its number
	Tags        [][]looseText `json:"tags"`
	Received    epochTime     `json:"received"` // by Sentry's clock
	DateTime    time.Time     `json:"datetime"` // by the application's
	URL         looseText     `json:"url"`
	WebURL      looseText     `json:"web_url"`
}

// sentryID is a number; it becomes part of keys.
var sentryID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// issueAlert reads an issue alert, which tells that an event has met a rule's conditions. Sentry never tells that they are not met any more.
func (s *Sentry) issueAlert(d Delivery, data sentryData) (Delivery, error) {
	rule := data.TriggeredRule
	if data.IssueAlert != nil {
		rule = cmp.Or(data.IssueAlert.Title, rule)
	}
	if rule == "" {
		return Delivery{}, errors.New("it names no rule")
	}
	return s.event(d, string(rule), *data.Event)
}

func (s *Sentry) errorEvent(d Delivery, data sentryData) (Delivery, error) {
	return s.event(d, sentryErrorName, *data.Error)
}

// event makes the alert of an event. When it happened is Sentry's word, where there is one: the application's clock may be anybody's.
func (s *Sentry) event(d Delivery, name string, e sentryEvent) (Delivery, error) {
	at := e.Received.Time
	if at.IsZero() {
		at = e.DateTime.UTC()
	}
	switch {
	case !sentryID.MatchString(string(e.IssueID)):
		return Delivery{}, errors.New("it has no issue_id, or none of Sentry's")
	case !sentryID.MatchString(string(e.ID)):
		return Delivery{}, errors.New("it has no event_id, or none of Sentry's")
	case at.IsZero():
		return Delivery{}, errors.New("it has no time")
	}
	labels, err := e.labels(name)
	if err != nil {
		return Delivery{}, err
	}
	a := s.ofIssue(string(e.IssueID), at)
	a.Labels, a.Annotations, a.Link = labels, map[string]string{}, webLink(string(e.WebURL))
	setLabel(a.Annotations, "summary", e.Title)
	setLabel(a.Annotations, "culprit", e.Culprit)
	d.DedupKey = eventKey(e, name)
	d.OccurredAt, d.Alerts = at, []alert.Alert{a}
	return d, nil
}

// eventKey: an event has one hook for each rule whose conditions it meets.
func eventKey(e sentryEvent, rule string) string {
	const most = 512
	if key := string(e.ID) + "/" + rule; len(key) <= most {
		return key
	}
	return ""
}

// ofIssue is the alert of an issue. An issue lives for years and its problem may come back at any time, which no hook tells apart from one
// that goes on: what an issue tells within one day, by UTC, is one firing. All firings of an issue have one incident key, so that one that
// goes on at midnight joins the run that is at work. Of two Sentrys each numbers its issues.
func (s *Sentry) ofIssue(id string, at time.Time) alert.Alert {
	return alert.Alert{
		Source: s.name, Status: alert.Firing, StartsAt: at, Episode: s.name + "/issue/" + id + "@" + at.Format(time.DateOnly),
		IncidentKey: s.name + "_issue_" + id,
	}
}

// sentryProject finds the project's slug in the address of an event, which Sentry makes.
var sentryProject = regexp.MustCompile(`^https?://[^/]+/api/0/projects/[A-Za-z0-9_-]+/([A-Za-z0-9_-]+)/events/`)

// labels: tags are the application's, so that each has a name of its own that no other label has.
func (e sentryEvent) labels(name string) (map[string]string, error) {
	labels := map[string]string{"alertname": name}
	for _, tag := range e.Tags {
		if len(tag) != 2 {
			return nil, errors.New("a tag is no pair of a name and a value")
		}
		label := "tag_" + string(tag[0])
		if _, twice := labels[label]; twice {
			return nil, fmt.Errorf("the tag %q is given twice", clip(string(tag[0])))
		}
		setLabel(labels, label, tag[1])
	}
	if slug := sentryProject.FindStringSubmatch(string(e.URL)); slug != nil {
		labels["project"] = slug[1]
	}
	setLabel(labels, "project_id", e.Project)
	setLabel(labels, "environment", cmp.Or(string(e.Environment), labels["tag_environment"]))
	setLabel(labels, "release", e.Release)
	setLabel(labels, "severity", e.Level)
	return labels, checkLabels(labels)
}

// sentryIssue is what decides of an issue.
type sentryIssue struct {
	ID        looseText `json:"id"`
	Title     looseText `json:"title"`
	Culprit   looseText `json:"culprit"`
	Level     looseText `json:"level"`
	Permalink looseText `json:"permalink"`
	WebURL    looseText `json:"web_url"`
	FirstSeen time.Time `json:"firstSeen"`
	LastSeen  time.Time `json:"lastSeen"`
	Project   struct {
		ID   looseText `json:"id"`
		Slug looseText `json:"slug"`
	} `json:"project"`
}

// issue reads what happened to an issue. That somebody resolved it is a person's word, or that of a commit: it ends the firings of the issue, so that
// what has not begun is left alone, as with an incident that a person resolves in PagerDuty; but it is no sign of health, and whether the
// target is well is for verification to find out. One that is archived only keeps quiet.
func (s *Sentry) issue(d Delivery, action string, in sentryIssue) (Delivery, error) {
	switch {
	case !sentryID.MatchString(string(in.ID)):
		return Delivery{}, errors.New("it has no id, or none of Sentry's")
	case in.FirstSeen.IsZero() || in.LastSeen.IsZero():
		return Delivery{}, errors.New("it has no firstSeen or no lastSeen")
	}
	var a alert.Alert
	switch action {
	case "created":
		a = s.ofIssue(string(in.ID), in.FirstSeen.UTC())
		d.OccurredAt = a.StartsAt
	case "unresolved": // regressed, escalated or reopened: a new firing, even on the day of the last one
		a = s.ofIssue(string(in.ID), in.LastSeen.UTC())
		a.Episode = alert.Episode(s.name+"/issue/"+string(in.ID), a.StartsAt)
		d.OccurredAt = a.StartsAt
	case "resolved":
		a = s.ofIssue(string(in.ID), in.LastSeen.UTC())
		a.Status, a.Labels, a.EndedBy = alert.Resolved, map[string]string{}, "somebody in Sentry"
		d.Alerts = []alert.Alert{a}
		return d, nil
	default:
		d.Ignored = fmt.Sprintf("an issue that is %q neither begins nor ends an alert", clip(action))
		return d, nil
	}
	a.Labels, a.Annotations, a.Link = in.labels(), map[string]string{}, webLink(string(cmp.Or(in.WebURL, in.Permalink)))
	setLabel(a.Annotations, "summary", in.Title)
	setLabel(a.Annotations, "culprit", in.Culprit)
	d.Alerts = []alert.Alert{a}
	return d, checkLabels(a.Labels)
}

func (in sentryIssue) labels() map[string]string {
	labels := map[string]string{"alertname": sentryIssueName}
	setLabel(labels, "project", in.Project.Slug)
	setLabel(labels, "project_id", in.Project.ID)
	setLabel(labels, "severity", in.Level)
	return labels
}
