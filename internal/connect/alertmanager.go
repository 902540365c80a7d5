package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	systemAlertmanager = "alertmanager"
	// maxAlertmanagerBody bounds the answer: a filter that leaves labels out may find more alerts than the one asked for.
	maxAlertmanagerBody = 4 << 20
	// maxFilter bounds the matchers of one request in bytes, below the 8 KB that proxies keep for a request line, escaped threefold.
	maxFilter = 2 << 10
)

// AlertmanagerConfig says where an Alertmanager is asked, and how we prove ourselves to what stands before it. It is no connection of its
// own in rules.yaml: the source that the Alertmanager feeds carries it.
type AlertmanagerConfig struct {
	Endpoint string // base URL, with Alertmanager's route prefix where it has one
	Token    Secret // sent as a bearer token; exclusive with Username
	Username string // of HTTP's basic authentication
	Password Secret
	Timeout  time.Duration // of one call; 0 means 10 s
	Insecure bool          // allows an http: endpoint
}

// Alertmanager reads from one Alertmanager over its API version 2. Every failed call is a *CallError or a *RateLimited; nothing is
// retried and nothing is changed. Safe for concurrent use.
type Alertmanager struct {
	cfg    AlertmanagerConfig
	base   *url.URL
	client *http.Client
}

// NewAlertmanager checks the configuration. It reads no secret and calls nothing.
func NewAlertmanager(c AlertmanagerConfig) (*Alertmanager, error) {
	base, err := parseEndpoint(c.Endpoint, c.Insecure)
	switch {
	case err != nil:
		return nil, fmt.Errorf("alertmanager: %w", err)
	case !c.Token.IsZero() && c.Username != "":
		return nil, errors.New("alertmanager: a token and a user exclude each other")
	case (c.Username == "") != c.Password.IsZero():
		return nil, errors.New("alertmanager: a user needs a password, and a password a user")
	}
	client := NewHTTPClient(HTTPConfig{Hosts: []string{hostPort(base)}, Timeout: c.Timeout, MaxBody: maxAlertmanagerBody, Insecure: c.Insecure})
	return &Alertmanager{cfg: c, base: base, client: client}, nil
}

// ListedAlert is an alert as Alertmanager lists it: one that has ended is not listed any more.
type ListedAlert struct {
	StartsAt    time.Time
	SilencedBy  []string // ids of silences in force
	InhibitedBy []string // fingerprints of the alerts that hold it back
}

// gettableAlert is what is read of an alert in Alertmanager's answer; the name is its API's.
type gettableAlert struct {
	Labels   map[string]string `json:"labels"`
	StartsAt time.Time         `json:"startsAt"`
	Status   struct {
		SilencedBy  []string `json:"silencedBy"`
		InhibitedBy []string `json:"inhibitedBy"`
	} `json:"status"`
}

// Alert finds the alert that has exactly these labels. It is not found when it has ended, and after a restart of Alertmanager until it is
// sent anew.
func (a *Alertmanager) Alert(ctx context.Context, labels map[string]string) (ListedAlert, bool, error) {
	listed, err := listOf[gettableAlert](ctx, a, "listing an alert", "api/v2/alerts", url.Values{"filter": matchers(labels)})
	if err != nil {
		return ListedAlert{}, false, err
	}
	for _, one := range listed {
		if maps.Equal(one.Labels, labels) {
			return ListedAlert{StartsAt: one.StartsAt, SilencedBy: one.Status.SilencedBy, InhibitedBy: one.Status.InhibitedBy}, true, nil
		}
	}
	return ListedAlert{}, false, nil
}

// Labels lists the labels of all alerts that have not ended, whoever is told of them and whatever holds them back.
func (a *Alertmanager) Labels(ctx context.Context) ([]map[string]string, error) {
	listed, err := listOf[gettableAlert](ctx, a, "listing all alerts", "api/v2/alerts", nil)
	if err != nil {
		return nil, err
	}
	all := make([]map[string]string, len(listed))
	for i, one := range listed {
		all[i] = one.Labels
	}
	return all, nil
}

// listOf reads a list. JSON's null is none: no list is not an empty one.
func listOf[T any](ctx context.Context, a *Alertmanager, doing, path string, query url.Values) ([]T, error) {
	var listed []T
	if err := a.get(ctx, doing, path, query, &listed); err != nil {
		return nil, err
	}
	if listed == nil {
		return nil, refused(systemAlertmanager, doing, "it answered without a list")
	}
	return listed, nil
}

// Silencer reads who made a silence; it is data from outside.
func (a *Alertmanager) Silencer(ctx context.Context, id string) (string, error) {
	const doing = "reading a silence"
	if !silenceID.MatchString(id) {
		return "", refused(systemAlertmanager, doing, "%.80q is no silence's id", id)
	}
	var silence struct {
		CreatedBy string `json:"createdBy"`
	}
	if err := a.get(ctx, doing, "api/v2/silence/"+id, nil, &silence); err != nil {
		return "", err
	}
	return silence.CreatedBy, nil
}

// silenceID keeps an id that becomes part of a path harmless: Alertmanager's are UUIDs.
var silenceID = regexp.MustCompile(`^[0-9a-fA-F-]{1,64}$`)

// plainName is a label name that every version of Alertmanager takes unquoted in a matcher.
var plainName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// matchers asks for the labels, each for exactly its value. They narrow the list and decide nothing, so that what an older Alertmanager
// could not read, or would make the request too long, is left out.
func matchers(labels map[string]string) []string {
	var all []string
	size := 0
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		m := name + `="` + matcherValue.Replace(labels[name]) + `"`
		if size += len(m); plainName.MatchString(name) && size <= maxFilter {
			all = append(all, m)
		}
	}
	return all
}

// matcherValue escapes what ends a quoted value of a matcher, so that a label's text stays text.
var matcherValue = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (a *Alertmanager) get(ctx context.Context, doing, path string, query url.Values, into any) error {
	secret, req, err := a.request(ctx, path, query)
	if err != nil {
		return &CallError{System: systemAlertmanager, Doing: doing, Err: err}
	}
	x := &exchange{client: a.client, call: call{system: systemAlertmanager, doing: doing}}
	resp, err := x.Do(req)
	if err != nil {
		x.err = withoutURL(err)
		return x.fail(ctx, err, secret)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return x.fail(ctx, fmt.Errorf("it answered %d", resp.StatusCode), secret)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return x.fail(ctx, fmt.Errorf("reading the answer: %w", err), secret)
	}
	return nil
}

// withoutURL keeps the alert's labels, which the URL asks for, out of an error.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// request reads the secret now, so that a rotated one works without a restart.
func (a *Alertmanager) request(ctx context.Context, path string, query url.Values) (Value, *http.Request, error) {
	target := a.base.JoinPath(path)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return "", nil, err
	}
	switch {
	case !a.cfg.Token.IsZero():
		token, err := a.cfg.Token.Read()
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		return token, req, err
	case a.cfg.Username != "":
		password, err := a.cfg.Password.Read()
		req.SetBasicAuth(a.cfg.Username, password.Reveal())
		return password, req, err
	default:
		return "", req, nil
	}
}
