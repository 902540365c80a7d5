package sources

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cel.dev/cel-go/common/types/ref"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	Register(Kind{
		Name: "generic",
		Doc: "Any sender of JSON: its bodies are mapped to alerts by expressions, and it proves itself by a signature, a token, a password " +
			"or a client certificate.",
		New: newGeneric,
	})
}

// Generic receives the webhooks of any sender of JSON. Its parameters but the proofs are CEL expressions over `payload`, the decoded body,
// and, where `each` is given, `item`, one element of its list. Whole numbers of the body keep their digits and are ints, others doubles; an
// optional (payload[?"x"], payload.?x) that is absent or holds null counts as not given. A text is bounded by 1024 characters.
//
// At least one proof is configured; any suffices.
type Generic struct {
	// HMAC is a signature over the raw body in a header.
	HMAC HMAC `yaml:"hmac"`
	// BearerToken is sent as Authorization: Bearer; at least 24 bytes. Several are accepted, for rotation.
	BearerToken []connect.Secret `yaml:"bearer_token"`
	// BasicAuth is a user and password in the Authorization header.
	BasicAuth BasicAuth `yaml:"basic_auth"`
	// TokenHeader is a secret in a header of its own.
	TokenHeader TokenHeader `yaml:"token_header"`
	// ClientCertificate is what the sender shows while it connects.
	ClientCertificate ClientCertificate `yaml:"client_certificate"`

	// Labels maps the names of labels to what gives their values: texts; numbers and truths as string() writes them. One that gives
	// an absent optional or an empty text is left out. They name the alert, so leave out what changes while it fires.
	Labels map[string]string `yaml:"labels" rules:"required"`
	// Annotations are as labels, for people; no rule matches them and they are no part of the alert's name.
	Annotations map[string]string `yaml:"annotations"`
	// Each gives a list; each of its elements, at most 1000, is an alert. Default: the body is one alert.
	Each string `yaml:"each"`
	// Firing gives whether the alert fires. With it alone, what does not fire has ended. Default: it fires.
	Firing string `yaml:"firing"`
	// Resolved gives whether the alert has ended. With it alone, what has not ended fires; with both, what is neither is left out.
	Resolved string `yaml:"resolved"`
	// Ignore gives whether the body is stored without being matched. It sees payload alone.
	Ignore string `yaml:"ignore"`
	// StartsAt gives when the alert began to fire: timestamp(), a text of RFC 3339, or unix seconds or milliseconds. Default: when the
	// delivery came.
	StartsAt string `yaml:"starts_at"`
	// Episode gives what names one firing: the same for each repeat and for its end, another for the next firing. Default: the labels'
	// fingerprint with starts_at. Without either it is the fingerprint alone: then a later firing is taken for a repeat of the
	// first one, and once a run has acted or been refused for good nothing is done about the alert until that run's record is gone.
	Episode string `yaml:"episode"`
	// OccurredAt gives when the sender sent the body, as starts_at does; by it a rule's max_age is judged. It sees payload alone.
	OccurredAt string `yaml:"occurred_at"`
	// DedupKey gives the sender's id of the delivery, by which one that is sent again, or by somebody else, is known. It sees payload alone.
	DedupKey string `yaml:"dedup_key"`
	// Link gives where people look the alert up; only http: and https: are kept.
	Link string `yaml:"link"`
	// IncidentKey gives the alert_key under which PagerDuty keeps the same outage.
	IncidentKey string `yaml:"incident_key"`

	name     string
	compiled func() (*genericMapping, error)
}

func newGeneric(name string) Source {
	g := &Generic{name: name}
	g.compiled = sync.OnceValues(g.compile)
	return g
}

// Validate refuses what Check refuses, and unreadable or short secrets.
func (g *Generic) Validate() error { return errors.Join(g.Check(), g.proofs().validate()) }

// Check implements sources.Check: a proof is configured, labels are mapped, and every expression compiles.
func (g *Generic) Check() error {
	wrong := []error{g.proofs().check("hmac, bearer_token, basic_auth, token_header or client_certificate")}
	if len(g.Labels) == 0 {
		wrong = append(wrong, errors.New("labels must map at least one label"))
	}
	for _, name := range slices.Sorted(maps.Keys(g.Labels)) {
		if err := checkLabels(map[string]string{name: ""}); err != nil {
			wrong = append(wrong, fmt.Errorf("labels: %w", err))
		}
	}
	_, err := g.compiled()
	return errors.Join(append(wrong, err)...)
}

// Authenticate takes any of the configured proofs.
func (g *Generic) Authenticate(r Request) error { return g.proofs().judge(r) }

// AuthenticateEarly implements Early.
func (g *Generic) AuthenticateEarly(r Request) error { return g.proofs().judgeEarly(r) }

// Sign implements Sender with the first proof that a request can carry.
func (g *Generic) Sign(r *Request) error { return g.proofs().sign(r) }

func (g *Generic) proofs() proofs {
	return proofs{
		g.HMAC, authorization{bearer: g.BearerToken, basic: g.BasicAuth}, g.TokenHeader, g.ClientCertificate,
	}
}

// genericMapping is the compiled mapping; an expression that is not written is nil.
type genericMapping struct {
	labels, annotations                  map[string]*mapped
	each, ignore, firing, resolved       *mapped
	startsAt, episode, occurredAt, dedup *mapped
	link, incidentKey                    *mapped
}

// compile compiles every expression and gives all that is wrong with them.
func (g *Generic) compile() (*genericMapping, error) {
	whole, single := []string{payloadName}, []string{payloadName}
	if g.Each != "" {
		single = append(single, itemName)
	}
	var wrong []error
	one := func(w written) *mapped {
		if w.text == "" && w.key == "" {
			return nil
		}
		m, err := w.compile()
		wrong = append(wrong, err)
		return m
	}
	all := func(field string, texts map[string]string) map[string]*mapped {
		out := make(map[string]*mapped, len(texts))
		for _, key := range slices.Sorted(maps.Keys(texts)) {
			out[key] = one(written{field: field, key: key, text: texts[key], names: single, result: givesText})
		}
		return out
	}
	m := &genericMapping{
		labels: all("labels", g.Labels), annotations: all("annotations", g.Annotations),
		each:        one(written{field: "each", text: g.Each, names: whole, result: givesList}),
		ignore:      one(written{field: "ignore", text: g.Ignore, names: whole, result: givesBool}),
		firing:      one(written{field: "firing", text: g.Firing, names: single, result: givesBool}),
		resolved:    one(written{field: "resolved", text: g.Resolved, names: single, result: givesBool}),
		startsAt:    one(written{field: "starts_at", text: g.StartsAt, names: single, result: givesTime}),
		episode:     one(written{field: "episode", text: g.Episode, names: single, result: givesText}),
		occurredAt:  one(written{field: "occurred_at", text: g.OccurredAt, names: whole, result: givesTime}),
		dedup:       one(written{field: "dedup_key", text: g.DedupKey, names: whole, result: givesText}),
		link:        one(written{field: "link", text: g.Link, names: single, result: givesText}),
		incidentKey: one(written{field: "incident_key", text: g.IncidentKey, names: single, result: givesText}),
	}
	return m, errors.Join(wrong...)
}

// Parse maps one body. Of several alerts one that cannot be mapped does not take the others with it.
func (g *Generic) Parse(body []byte, received time.Time) (Delivery, error) {
	m, err := g.compiled()
	if err != nil {
		return Delivery{}, err
	}
	payload, err := decodeExact(body)
	if err != nil {
		return Delivery{}, err
	}
	e := evaluate(payload)
	d, err := m.delivery(e)
	if err != nil || d.Ignored != "" {
		return d, err
	}
	items := []evaluation{e}
	if m.each != nil {
		list, err := e.list(m.each)
		if err != nil {
			return Delivery{}, err
		}
		items = items[:0]
		for _, item := range list {
			items = append(items, e.of(item))
		}
	}
	return g.alerts(d, m, items, received)
}

// delivery maps what concerns the body as a whole.
func (m *genericMapping) delivery(e evaluation) (d Delivery, err error) {
	d.Type = "alerts"
	if d.DedupKey, _, err = e.text(m.dedup); err != nil {
		return Delivery{}, err
	}
	if d.OccurredAt, err = e.moment(m.occurredAt); err != nil {
		return Delivery{}, err
	}
	ignored, err := e.is(m.ignore)
	if err != nil {
		return Delivery{}, err
	}
	if ignored {
		d.Ignored = "the source's `ignore` says so"
	}
	return d, nil
}

func (g *Generic) alerts(d Delivery, m *genericMapping, items []evaluation, received time.Time) (Delivery, error) {
	var wrong []error
	for i, one := range g.mapAll(m, items, received) {
		switch {
		case one.err != nil && m.each != nil:
			wrong = append(wrong, fmt.Errorf("alert %d: %w", i+1, one.err))
		case one.err != nil:
			wrong = append(wrong, one.err)
		case one.counts:
			d.Alerts = append(d.Alerts, one.alert)
		}
	}
	switch {
	case len(d.Alerts) == 0 && len(wrong) > 0:
		return Delivery{}, wrong[0]
	case len(d.Alerts) == 0 && len(items) == 0:
		d.Ignored = "the list that `each` gives is empty"
	case len(d.Alerts) == 0:
		d.Ignored = "it neither fires nor has ended, say `firing` and `resolved`"
	case len(wrong) > 0:
		d.Warning = fmt.Sprintf("%d of %d alerts cannot be read: %s", len(wrong), len(items), wrong[0])
	}
	return d, nil
}

// mappedItem is what became of one item.
type mappedItem struct {
	alert  alert.Alert
	counts bool
	err    error
}

// mapAll maps the lightest items first: all share one budget of costs, and what is heavy must not use it up before the others.
func (g *Generic) mapAll(m *genericMapping, items []evaluation, received time.Time) []mappedItem {
	order, weights := make([]int, len(items)), make([]int, len(items))
	for i, item := range items {
		order[i], weights[i] = i, weightOf(item.vars[itemName])
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weights[a], weights[b]) })
	all := make([]mappedItem, len(items))
	for _, i := range order {
		one := &all[i]
		one.alert, one.counts, one.err = g.alert(m, items[i], received)
	}
	return all
}

// weightOf is about how much there is of a value for an expression to go through.
func weightOf(v any) int {
	n := 1
	switch v := v.(type) {
	case ref.Val:
		return weightOf(v.Value())
	case string:
		n += len(v)
	case []any:
		for _, one := range v {
			n += weightOf(one)
		}
	case map[string]any:
		for name, one := range v {
			n += len(name) + weightOf(one)
		}
	}
	return n
}

// alert maps one alert; false for one that neither fires nor has ended.
func (g *Generic) alert(m *genericMapping, e evaluation, received time.Time) (a alert.Alert, counts bool, err error) {
	a.Source = g.name
	if a.Status, err = m.status(e); err != nil || a.Status == "" {
		return a, false, err
	}
	if a.Labels, err = e.texts(m.labels); err != nil {
		return a, false, err
	}
	if err := checkLabels(a.Labels); err != nil {
		return a, false, err
	}
	if a.Annotations, err = e.texts(m.annotations); err != nil {
		return a, false, err
	}
	if a.IncidentKey, _, err = e.text(m.incidentKey); err != nil {
		return a, false, err
	}
	link, _, err := e.text(m.link)
	if err != nil {
		return a, false, err
	}
	a.Link = webLink(link)
	err = m.firingOf(e, &a, received)
	return a, true, err
}

// status is "" for an alert that neither fires nor has ended.
func (m *genericMapping) status(e evaluation) (alert.Status, error) {
	firing, err := e.is(m.firing)
	if err != nil {
		return "", err
	}
	resolved, err := e.is(m.resolved)
	if err != nil {
		return "", err
	}
	switch {
	case firing && resolved:
		return "", errors.New("it fires and has ended, say `firing` and `resolved`")
	case firing, m.firing == nil && !resolved:
		return alert.Firing, nil
	case resolved, m.resolved == nil:
		return alert.Resolved, nil
	default:
		return "", nil
	}
}

// firingOf fills in which firing the alert is.
func (m *genericMapping) firingOf(e evaluation, a *alert.Alert, received time.Time) error {
	startsAt, err := e.moment(m.startsAt)
	if err != nil {
		return err
	}
	episode, named, err := e.text(m.episode)
	if err != nil {
		return err
	}
	switch {
	case named:
		a.Episode = a.Source + "/" + episode // of two sources each may number its firings
	case startsAt.IsZero():
		a.Episode = alert.Fingerprint(a.Labels)
	default:
		a.Episode = alert.Episode(alert.Fingerprint(a.Labels), startsAt)
	}
	a.StartsAt = startsAt
	if startsAt.IsZero() {
		a.StartsAt = received.UTC()
	}
	return nil
}

// texts gives those that are not absent or empty.
func (e evaluation) texts(all map[string]*mapped) (map[string]string, error) {
	out := make(map[string]string, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		text, given, err := e.text(all[name])
		if err != nil {
			return nil, err
		}
		if given {
			out[name] = text
		}
	}
	return out, nil
}
