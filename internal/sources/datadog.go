package sources

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "datadog",
		Doc: "Datadog's webhooks integration, with the payload template that the documentation gives. Datadog does not sign: it proves " +
			"itself by a custom header, a bearer token or a password.",
		New: func(name string) Source { return &Datadog{name: name} },
	})
}

// DatadogPayload is what the payload of a webhook of Datadog's integration has to be: its variables are Datadog's
// (https://docs.datadoghq.com/integrations/webhooks/). It is sent as JSON, not encoded as a form.
const DatadogPayload = `{
  "id": "$ID",
  "alert_id": "$ALERT_ID",
  "cycle_key": "$ALERT_CYCLE_KEY",
  "transition": "$ALERT_TRANSITION",
  "title": "$ALERT_TITLE",
  "status": "$ALERT_STATUS",
  "scope": "$ALERT_SCOPE",
  "priority": "$ALERT_PRIORITY",
  "metric": "$ALERT_METRIC",
  "hostname": "$HOSTNAME",
  "tags": "$TAGS",
  "date": "$DATE",
  "link": "$LINK"
}
`

// Datadog receives what Datadog's webhooks integration sends with DatadogPayload. At least one of its proofs is configured; any suffices.
//
// The labels are the tags of the event and of the monitor's group, which overrule those: a tag with several values has them sorted and
// joined by commas, one without a value is "true". Above all tags stand alertname (the monitor's name), severity (of P1 to P5: critical,
// error, warning, info, info), priority, monitor (its id), transition (triggered, warn, no_data or renotify), metric and hostname; a field
// that is empty takes the label away from the tags too, so that no tag can pass for it.
type Datadog struct {
	// TokenHeader is one of the webhook's custom headers.
	TokenHeader TokenHeader `yaml:"token_header"`
	// BearerToken is sent by a custom header Authorization: Bearer; at least 24 bytes. Several are accepted, for rotation.
	BearerToken []connect.Secret `yaml:"bearer_token"`
	// BasicAuth is a user and password, as in https://USER:PASSWORD@HOST.
	BasicAuth BasicAuth `yaml:"basic_auth"`

	name string
}

// Validate refuses what Check refuses, and unreadable or short secrets.
func (s *Datadog) Validate() error { return errors.Join(s.Check(), s.proofs().validate()) }

// Check implements sources.Check.
func (s *Datadog) Check() error {
	return s.proofs().check("token_header, bearer_token or basic_auth")
}

// Authenticate takes any of the configured proofs.
func (s *Datadog) Authenticate(r Request) error { return s.proofs().judge(r) }

// AuthenticateEarly implements Early.
func (s *Datadog) AuthenticateEarly(r Request) error { return s.proofs().judgeEarly(r) }

// Sign implements Sender.
func (s *Datadog) Sign(r *Request) error { return s.proofs().sign(r) }

func (s *Datadog) proofs() proofs {
	return proofs{s.TokenHeader, authorization{bearer: s.BearerToken, basic: s.BasicAuth}}
}

// datadogBody is DatadogPayload.
type datadogBody struct {
	ID         string `json:"id"`
	AlertID    string `json:"alert_id"`
	CycleKey   string `json:"cycle_key"`
	Transition string `json:"transition"`
	Title      string `json:"title"`
	Status     string `json:"status"`
	Scope      string `json:"scope"`
	Priority   string `json:"priority"`
	Metric     string `json:"metric"`
	Hostname   string `json:"hostname"`
	Tags       string `json:"tags"`
	Date       string `json:"date"`
	Link       string `json:"link"`
}

// variable is one that Datadog had nothing to put in place of.
var variable = regexp.MustCompile(`^\$[A-Z_]+$`)

// empty takes away what says that Datadog knew no value.
func (b *datadogBody) empty() {
	for _, field := range []*string{
		&b.ID, &b.AlertID, &b.CycleKey, &b.Transition, &b.Title, &b.Status, &b.Scope, &b.Priority, &b.Metric, &b.Hostname, &b.Tags, &b.Date, &b.Link,
	} {
		*field = strings.TrimSpace(*field)
		if variable.MatchString(*field) || *field == "null" || *field == "None" {
			*field = ""
		}
	}
}

func (b *datadogBody) check() error {
	const most = 256
	if b.AlertID == "" || b.CycleKey == "" || b.Transition == "" {
		return errors.New("the body has no alert_id, cycle_key or transition: its payload is not the template, or it tells of no monitor")
	}
	if max(len(b.ID), len(b.AlertID), len(b.CycleKey)) > most {
		return fmt.Errorf("an id is longer than %d bytes", most)
	}
	return nil
}

// The words of $ALERT_TRANSITION, and the label that tells them apart; a repeat is the same word. "" for the end.
var datadogTransitions = map[string]string{
	"Triggered": "triggered", "Re-Triggered": "triggered", "Warn": "warn", "Re-Warn": "warn", "No Data": "no_data", "Re-No Data": "no_data",
	"Renotify": "renotify", "Recovered": "",
}

// Parse reads one event of a monitor. Its episode is the cycle key, which stays from the moment a group of the monitor triggers until it
// recovers.
func (s *Datadog) Parse(body []byte, received time.Time) (Delivery, error) {
	var b datadogBody
	if err := decodeStrict(body, &b); err != nil {
		return Delivery{}, err
	}
	b.empty()
	if err := b.check(); err != nil {
		return Delivery{}, err
	}
	transition, known := datadogTransitions[b.Transition]
	if !known {
		return Delivery{}, fmt.Errorf("the transition %q is none of Datadog's", clip(b.Transition))
	}
	at := received.UTC()
	d := Delivery{DedupKey: b.ID, Type: b.Transition}
	if b.Date != "" {
		date, err := readMoment(b.Date)
		if err != nil {
			return Delivery{}, fmt.Errorf("the date: %w", err)
		}
		at, d.OccurredAt = date.UTC(), date.UTC()
	}
	a := alert.Alert{
		Source: s.name, Status: alert.Firing, Labels: b.labels(transition), Annotations: b.annotations(), StartsAt: at, Link: webLink(b.Link),
		Episode: s.name + "/" + b.AlertID + "/" + b.CycleKey, // of two organizations each numbers its monitors
	}
	if transition == "" {
		a.Status, a.EndsAt = alert.Resolved, at
	}
	if err := checkLabels(a.Labels); err != nil {
		return Delivery{}, err
	}
	d.Alerts = []alert.Alert{a}
	return d, nil
}

// labels puts the group's tags over the event's, and above both what the monitor says itself.
func (b *datadogBody) labels(transition string) map[string]string {
	labels := tagLabels(strings.Split(b.Tags, ","))
	maps.Copy(labels, tagLabels(strings.Split(b.Scope, ",")))
	for name, value := range map[string]string{
		"alertname": cmp.Or(monitorName(b.Title), "monitor "+b.AlertID), "severity": severityOfPriority(b.Priority), "priority": b.Priority, "monitor": b.AlertID,
		"transition": transition, "metric": b.Metric, "hostname": b.Hostname,
	} {
		delete(labels, name) // no tag stands for one of these, not even where it is empty
		setLabel(labels, name, value)
	}
	return labels
}

func (b *datadogBody) annotations() map[string]string {
	notes := map[string]string{}
	setLabel(notes, "summary", b.Title)
	setLabel(notes, "description", b.Status)
	setLabel(notes, "scope", b.Scope)
	return notes
}

// datadogTitle is what Datadog puts before a monitor's name, such as "[P1] [Triggered on {host:a}] ".
var datadogTitle = regexp.MustCompile(`^(\[P[1-5]\] ?)?(\[(Re-)?(Triggered|Warn|No Data|Recovered|Renotify)( on \{[^{}]*\})?\] ?)?`)

func monitorName(title string) string {
	return strings.TrimSpace(datadogTitle.ReplaceAllString(title, ""))
}

// tagLabels reads tags such as env:prod as labels.
func tagLabels(tags []string) map[string]string {
	values := map[string][]string{}
	for _, tag := range tags {
		name, value, hasValue := strings.Cut(strings.TrimSpace(tag), ":")
		if name == "" || hasValue && value == "" {
			continue
		}
		if !hasValue {
			value = "true"
		}
		if !slices.Contains(values[name], value) {
			values[name] = append(values[name], value)
		}
	}
	labels := make(map[string]string, len(values))
	for name, all := range values {
		slices.Sort(all)
		labels[name] = strings.Join(all, ",")
	}
	return labels
}

// severityOfPriority gives the severity of P1 to P5, "" for anything else: what has none is treated as the least severe by the rules.
func severityOfPriority(priority string) string {
	switch priority {
	case "P1":
		return "critical"
	case "P2":
		return "error"
	case "P3":
		return "warning"
	case "P4", "P5":
		return "info"
	default:
		return ""
	}
}
