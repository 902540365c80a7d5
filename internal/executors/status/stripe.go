package status

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	defaultMaxAge  = time.Hour
	defaultTimeout = 3 * time.Second
	defaultTries   = 2
	defaultPause   = 500 * time.Millisecond // between two tries
	mostTries      = 5
	mostTime       = 8 * time.Second // of all tries together, so that the page can be read as well
	stripeMost     = 256 << 10
	// stripePath is what the API is asked for: it changes nothing, and a key restricted to reading the balance suffices.
	stripePath = "/v1/balance"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "status.stripe",
		Doc:  "Tells whether Stripe is up: what its status page says and how old that is, and whether its API answers.",
		New:  func() executors.Probe { return &stripe{} },
		Fact: Stripe{},
	})
}

// stripe asks the page and the API.
type stripe struct {
	// Page is the status page's address: https://status.stripe.com; current is read from below it.
	Page string `yaml:"page" rules:"required"`
	// API is the address of the API: https://api.stripe.com.
	API string `yaml:"api" rules:"required"`
	// Key is a restricted key that may read the balance. Default: none, and the API's refusal shows that it is up.
	Key connect.Secret `yaml:"key"`
	// MaxAge is how old the page may be, by its own word, before it says nothing; default 1h.
	MaxAge time.Duration `yaml:"max_age"`
	// Timeout of one try at the API; default 3s.
	Timeout time.Duration `yaml:"timeout"`
	// Tries is how many failures in a row mean that the API does not answer; default 2, at most 5.
	Tries int `yaml:"tries"`
}

// Stripe is what status.stripe finds.
type Stripe struct {
	// PageSays is up, degraded or down; unknown if the page is older than it may be, or does not say how old it is.
	PageSays string `cel:"page_says"`
	// PageAge is how long ago the page was updated, by its own word.
	PageAge time.Duration `cel:"page_age"`
	// APIAnswers says that the API itself answers; false after an error of the server or no answer in time; unknown if the failure may be ours.
	APIAnswers bool `cel:"api_answers"`
	// APIStatus is the status of its last answer; 0 when there was none.
	APIStatus int64 `cel:"api_status"`
	// APILatency is how long the last try took.
	APILatency time.Duration `cel:"api_latency"`
	// Conflict says that page and API say different things: the page is up and the API does not answer, or the page is down and it does.
	Conflict bool `cel:"conflict"`
	// Up says that the API answers; unknown while page and API contradict each other.
	Up bool `cel:"up"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *stripe) Validate(executors.Target) error {
	for name, raw := range map[string]string{"page": p.Page, "api": p.API} {
		if _, err := address(name, raw); err != nil {
			return err
		}
	}
	switch {
	case p.MaxAge < 0 || p.Timeout < 0:
		return errors.New("max_age and timeout must not be negative")
	case p.Tries < 0 || p.Tries > mostTries:
		return fmt.Errorf("tries must be between 1 and %d", mostTries)
	case p.longest() > mostTime:
		return fmt.Errorf("all tries together may take %s: make tries or timeout smaller, so that it stays under %s", p.longest(), mostTime)
	}
	return nil
}

func (p *stripe) longest() time.Duration {
	return time.Duration(cmp.Or(p.Tries, defaultTries)) * cmp.Or(p.Timeout, defaultTimeout)
}

// Ask implements executors.Probe.
func (p *stripe) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	fact := &Stripe{}
	unknown, err := p.asked(ctx, env, fact)
	if err != nil {
		return executors.Answer{}, fmt.Errorf("asking Stripe's API: %w", err)
	}
	unknown = append(unknown, p.read(ctx, env, fact)...)
	if ctx.Err() != nil {
		return executors.Answer{}, ctx.Err()
	}
	page, api := !slices.Contains(unknown, "page_says"), !slices.Contains(unknown, "api_answers")
	if page && api {
		fact.Conflict = fact.PageSays == "up" && !fact.APIAnswers || fact.PageSays == "down" && fact.APIAnswers
	} else {
		unknown = append(unknown, "conflict")
	}
	fact.Up = fact.APIAnswers
	if !api || fact.Conflict {
		unknown = append(unknown, "up")
	}
	return executors.Answer{Fact: fact, Unknown: unknown, Summary: fact.summary(page, api, unknown)}, nil
}

// verdict is what one try at the API shows.
type verdict int

const (
	unclear verdict = iota // it says nothing about Stripe
	answers
	fails
)

// asked tries the API until it answers. The error is that there is no key where one is named, or that the asking was called off.
func (p *stripe) asked(ctx context.Context, env executors.Env, f *Stripe) (unknown []string, err error) {
	base, err := address("api", p.API)
	if err != nil {
		return nil, err
	}
	var key connect.Value
	if !p.Key.IsZero() {
		if key, err = p.Key.Read(); err != nil {
			return nil, err
		}
	}
	client := connect.NewHTTPClient(connect.HTTPConfig{
		Hosts: []string{base.Host}, Timeout: cmp.Or(p.Timeout, defaultTimeout), MaxBody: stripeMost, Insecure: base.Scheme == "http", FreshConnections: true,
	})
	last := unclear
	for n := range cmp.Or(p.Tries, defaultTries) {
		if n > 0 {
			pause(ctx, env.Scale(defaultPause))
		}
		began := time.Now()
		last, f.APIStatus = try(ctx, client, base, key)
		f.APILatency = time.Since(began)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if last == answers {
			break
		}
	}
	if f.APIAnswers = last == answers; last == unclear {
		unknown = []string{"api_answers"}
	}
	return unknown, nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// try makes one call. An answer only counts as Stripe's if it looks like one: a proxy or a captive portal answers too.
func try(ctx context.Context, client *http.Client, base *url.URL, key connect.Value) (verdict, int64) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(stripePath).String(), nil)
	if err != nil {
		return unclear, 0
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	resp, err := client.Do(req)
	if err != nil {
		return failure(err), 0
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return failure(err), int64(resp.StatusCode)
	}
	return judge(resp.StatusCode, body, key != ""), int64(resp.StatusCode)
}

func judge(status int, body []byte, withKey bool) verdict {
	var told struct {
		Object string          `json:"object"`
		Error  json.RawMessage `json:"error"`
	}
	wellFormed := json.Unmarshal(body, &told) == nil
	switch {
	case status >= http.StatusInternalServerError:
		return fails
	case wellFormed && withKey && status == http.StatusOK && told.Object != "":
		return answers
	case wellFormed && len(told.Error) > 0 && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		return answers
	default:
		return unclear
	}
}

// failure tells a Stripe that does not answer from a network of ours that does not lead there.
func failure(err error) verdict {
	var (
		name      *net.DNSError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	if errors.Is(err, connect.ErrHostRefused) || errors.Is(err, connect.ErrRedirectRefused) || errors.Is(err, connect.ErrBodyTooLarge) ||
		errors.As(err, &name) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) {
		return unclear
	}
	return fails
}

// read asks the page. /current says how it is and since when that is known; it has been reported frozen for years.
func (p *stripe) read(ctx context.Context, env executors.Env, f *Stripe) (unknown []string) {
	var got struct {
		Says string `json:"largestatus"`
		Time string `json:"time"`
	}
	base, err := address("page", p.Page)
	if err == nil {
		err = read(ctx, base, "/current", "reading Stripe's status page", stripeMost, &got)
	}
	if err != nil {
		return []string{"page_says", "page_age"}
	}
	f.PageSays = words(got.Says)
	at, ok := pageTime(got.Time)
	if !ok {
		return []string{"page_says", "page_age"}
	}
	f.PageAge = env.Now.Sub(at)
	if f.PageAge.Abs() > cmp.Or(p.MaxAge, env.Scale(defaultMaxAge)) || !slices.Contains([]string{"up", "degraded", "down"}, got.Says) {
		return []string{"page_says"}
	}
	return nil
}

// pageTime reads the times that the page has been seen to tell. One without a year or a zone is none.
func pageTime(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "January 2, 2006 @ 3:04PM UTC", "January 2, 2006 @ 3:04PM -07:00", "January 2, 2006 @ 3:04PM -0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

func (f *Stripe) summary(page, api bool, unknown []string) string {
	said := "whether Stripe's API answers is not known"
	switch {
	case api && f.APIAnswers:
		said = fmt.Sprintf("Stripe's API answers (%d in %d ms)", f.APIStatus, f.APILatency.Milliseconds())
	case api && f.APIStatus > 0:
		said = fmt.Sprintf("Stripe's API fails with %d", f.APIStatus)
	case api:
		said = "Stripe's API does not answer"
	}
	switch {
	case page:
		said += fmt.Sprintf("; its page says %s (updated %s ago)", f.PageSays, old(f.PageAge))
	case slices.Contains(unknown, "page_age"):
		said += "; what its page says is not known"
	default:
		said += fmt.Sprintf("; its page was updated %s ago and says nothing any more", old(f.PageAge))
	}
	if f.Conflict {
		said += "; these contradict each other, so whether Stripe is up is not known"
	}
	return said
}
