package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/PagerDuty/go-pagerduty"
)

const (
	systemPagerDuty   = "pagerduty"
	pagerDutyEndpoint = "https://api.pagerduty.com"
	// maxPagerDutyBody holds a page of alerts with the largest details Events v2 accepts (512 KB each).
	maxPagerDutyBody = 16 << 20
)

// PagerDutyConfig is the connection `pagerduty`.
type PagerDutyConfig struct {
	// Endpoint is the base URL of the REST API; empty means https://api.pagerduty.com.
	Endpoint string `yaml:"endpoint"`
	// EventsEndpoint is the base URL of the Events API. Empty means PagerDuty's own beside PagerDuty's REST API, and Endpoint
	// beside a stand-in, which thereby never pages for real.
	EventsEndpoint string `yaml:"events_endpoint"`
	// Token is an API key.
	Token Secret `yaml:"token"`
	// RoutingKey is the integration key with which incidents are opened through Events v2.
	RoutingKey Secret `yaml:"routing_key"`
	// From is the e-mail address of the PagerDuty user that acts; account keys need it. It must be a user's that remediator has for itself: a
	// person's own acknowledgements would pass for the robot's.
	From string `yaml:"from"`
	// Timeout of one call; 0 means 10 s.
	Timeout time.Duration `yaml:"timeout"`
	// OAuth says that Token is an OAuth access token.
	OAuth bool `yaml:"oauth"`
	// Insecure allows http: endpoints.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemPagerDuty,
		Doc:  "A PagerDuty account: incidents, alerts and notes over the REST API, new incidents over Events v2.",
		New:  func() Config { return &PagerDutyConfig{} },
	})
}

// Check implements Config.
func (c *PagerDutyConfig) Check() error {
	copied := *c
	_, err := copied.settle()
	return err
}

// Open implements Config.
func (c *PagerDutyConfig) Open(context.Context) (io.Closer, error) { return NewPagerDuty(*c) }

// PagerDuty talks to one PagerDuty account. Every failed call is a *CallError or a *RateLimited. Nothing is retried here. Safe for
// concurrent use.
type PagerDuty struct {
	cfg    PagerDutyConfig
	client *http.Client
}

// NewPagerDuty checks the configuration. It reads no secret and calls nothing.
func NewPagerDuty(c PagerDutyConfig) (*PagerDuty, error) {
	hosts, err := c.settle()
	if err != nil {
		return nil, err
	}
	client := NewHTTPClient(HTTPConfig{Hosts: hosts, Timeout: c.Timeout, MaxBody: maxPagerDutyBody, Insecure: c.Insecure})
	return &PagerDuty{cfg: c, client: client}, nil
}

// settle checks the configuration, fills in its defaults and gives the hosts that may be reached.
func (c *PagerDutyConfig) settle() ([]string, error) {
	if c.Token.IsZero() && c.RoutingKey.IsZero() {
		return nil, errors.New("pagerduty: neither token nor routing_key is set")
	}
	if _, err := mail.ParseAddress(c.From); c.From != "" && err != nil {
		return nil, fmt.Errorf("pagerduty: from: %q is not an e-mail address", c.From)
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Endpoint == "" {
		c.Endpoint = pagerDutyEndpoint
	}
	api, err := parseEndpoint(c.Endpoint, c.Insecure)
	if err != nil {
		return nil, fmt.Errorf("pagerduty: %w", err)
	}
	if c.EventsEndpoint == "" {
		c.EventsEndpoint = eventsBeside(api)
	}
	events, err := parseEndpoint(c.EventsEndpoint, c.Insecure)
	if err != nil {
		return nil, fmt.Errorf("pagerduty: events: %w", err)
	}
	c.Endpoint, c.EventsEndpoint = api.String(), events.String()
	return []string{hostPort(api), hostPort(events)}, nil
}

// eventsBeside: events.pagerduty.com beside api.pagerduty.com, and the same in the EU region.
func eventsBeside(api *url.URL) string {
	host := plainHost(api.Hostname())
	if rest, ok := strings.CutPrefix(host, "api."); ok && (rest == "pagerduty.com" || rest == "eu.pagerduty.com") {
		return "https://events." + rest
	}
	return api.String()
}

// Close closes idle connections.
func (p *PagerDuty) Close() error {
	p.client.CloseIdleConnections()
	return nil
}

// do runs one use of the library against the REST API.
func (p *PagerDuty) do(ctx context.Context, c call, use func(context.Context, *pagerduty.Client) error) error {
	c.system = systemPagerDuty
	token, err := p.cfg.Token.Read()
	if err != nil {
		return &CallError{System: c.system, Doing: c.doing, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	x := &exchange{client: p.client, call: c}
	if err := use(ctx, p.library(token, x)); err != nil {
		return withCode(x.fail(ctx, err, token), err)
	}
	return nil
}

// library makes the client of one call: NewOAuthClient drops its options, and a client keeps its token for ever.
func (p *PagerDuty) library(token Value, x *exchange) *pagerduty.Client {
	opts := []pagerduty.ClientOptions{
		pagerduty.WithAPIEndpoint(p.cfg.Endpoint),
		pagerduty.WithV2EventsAPIEndpoint(p.cfg.EventsEndpoint),
	}
	if p.cfg.OAuth {
		opts = append(opts, pagerduty.WithOAuth())
	}
	client := pagerduty.NewClient(token.Reveal(), opts...)
	client.HTTPClient = x
	return client
}

// withCode adds PagerDuty's own error code, which the library's error holds.
func withCode(failed, cause error) error {
	var (
		ours   *CallError
		theirs pagerduty.APIError
	)
	if errors.As(failed, &ours) && errors.As(cause, &theirs) && theirs.APIError.Valid {
		ours.Code = theirs.APIError.ErrorObject.Code
	}
	return failed
}

// checkID refuses what is no PagerDuty id: ids come out of webhooks and the library puts them into paths as they are.
func checkID(doing, id string) error {
	if len(id) > 64 || !validID.MatchString(id) {
		return refused(systemPagerDuty, doing, "%.80q is no PagerDuty id", id)
	}
	return nil
}

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// Event is a new alert for Events v2.
type Event struct {
	DedupKey string         // at most 255 bytes; a second trigger with the key of an open incident joins it
	Summary  string         // cut to PagerDuty's 1024 characters
	Source   string         // what is affected; "" means "remediator"
	Severity string         // critical, error, warning or info; anything else becomes error
	Details  map[string]any // custom details
	Link     string         // URL shown on the incident, "" for none
}

// Trigger opens or joins an incident through Events v2. It needs the routing key and no token. PagerDuty accepts an event before it
// has an incident: FindOpen may not find it at once.
func (p *PagerDuty) Trigger(ctx context.Context, e Event) error {
	c := call{system: systemPagerDuty, doing: "triggering an incident", mutates: true}
	if e.DedupKey == "" || len(e.DedupKey) > 255 {
		return refused(c.system, c.doing, "the dedup key must have 1 to 255 bytes, it has %d", len(e.DedupKey))
	}
	key, err := p.cfg.RoutingKey.Read()
	if err != nil {
		return &CallError{System: c.system, Doing: c.doing, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	x := &exchange{client: p.client, call: c}
	if _, err := p.library("", x).ManageEventWithContext(ctx, e.wire(key)); err != nil {
		return x.fail(ctx, eventsError(err, x.errorBody), key)
	}
	return nil
}

func (e Event) wire(key Value) *pagerduty.V2Event {
	event := &pagerduty.V2Event{
		RoutingKey: key.Reveal(),
		Action:     "trigger",
		DedupKey:   e.DedupKey,
		Client:     "remediator",
		Payload: &pagerduty.V2Payload{
			Summary: cut(e.Summary, 1024), Source: e.Source, Severity: severity(e.Severity), Details: e.Details,
		},
	}
	if event.Payload.Source == "" {
		event.Payload.Source = "remediator"
	}
	if e.Link != "" {
		event.Links = []any{map[string]string{"href": e.Link, "text": "remediator"}}
	}
	return event
}

func severity(s string) string {
	switch s = strings.ToLower(s); s {
	case "critical", "error", "warning", "info":
		return s
	default:
		return "error"
	}
}

// eventsError adds what the Events API said: its error body has another shape than the one the library reads.
func eventsError(err error, body []byte) error {
	var said pagerduty.EventsAPIV2ErrorObject
	if json.Unmarshal(body, &said) != nil || said.Message == "" {
		return err
	}
	return fmt.Errorf("%s %s: %w", said.Message, strings.Join(said.Errors, "; "), err)
}

// OpenedBy is the custom detail, and Ourselves its value, by which an incident that we opened is known when its webhook comes back.
const (
	OpenedBy  = "opened_by"
	Ourselves = "remediator"
)
