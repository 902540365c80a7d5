package connect

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"
)

const (
	systemAtlas   = "atlas"
	atlasEndpoint = "https://cloud.mongodb.com"
	// atlasVersion is the version of every resource that is asked for (mongodb.com/docs/api/doc/atlas-admin-api-v2, "Versioning").
	atlasVersion = "application/vnd.atlas.2025-03-12+json"
	maxAtlasBody = 8 << 20 // a process may tell of many slow queries
	// atlasPage is the most that Atlas gives on one page; more than atlasPages of them are no list that a decision may rest on.
	atlasPage, atlasPages = 500, 20
)

// atlasProject is how Atlas names projects, which its API calls groups.
var atlasProject = regexp.MustCompile(`^[0-9a-f]{24}$`)

// AtlasConfig is the connection `atlas`.
type AtlasConfig struct {
	// Endpoint is the base URL; empty means https://cloud.mongodb.com.
	Endpoint string `yaml:"endpoint"`
	// Project is the id of the Atlas project: 24 hexadecimal digits.
	Project string `yaml:"project" rules:"required"`
	// ClientID names the service account. It needs Project Read Only, and Project IP Access List Admin or Project Owner to restore entries.
	ClientID string `yaml:"client_id" rules:"required"`
	// ClientSecret is the service account's.
	ClientSecret Secret `yaml:"client_secret" rules:"required"`
	// Timeout of one call; 0 means 10 s.
	Timeout time.Duration `yaml:"timeout"`
	// Insecure allows an http: endpoint.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemAtlas,
		Doc:  "A project of MongoDB Atlas, as a service account.",
		New:  func() Config { return &AtlasConfig{} },
	})
}

// Check implements Config.
func (c *AtlasConfig) Check() error {
	_, err := NewAtlas(*c)
	return err
}

// Open implements Config.
func (c *AtlasConfig) Open(context.Context) (io.Closer, error) { return NewAtlas(*c) }

// Atlas speaks with the Administration API of one project. Every failed call is a *CallError or a *RateLimited. Safe for concurrent use.
type Atlas struct {
	Project string // id, as in the API's paths

	api    *REST
	tokens *atlasTokens
}

// NewAtlas checks the configuration. It reads no secret and calls nothing.
func NewAtlas(c AtlasConfig) (*Atlas, error) {
	switch {
	case !atlasProject.MatchString(c.Project):
		return nil, errors.New("atlas: project must be the 24 hexadecimal digits of a project's id")
	case c.ClientID == "":
		return nil, errors.New("atlas: client_id is not set")
	case c.ClientSecret.IsZero():
		return nil, errors.New("atlas: client_secret is not set")
	}
	if c.Endpoint == "" {
		c.Endpoint = atlasEndpoint
	}
	a := &Atlas{Project: c.Project, tokens: newAtlasTokens(c)}
	settings := RESTConfig{System: systemAtlas, Endpoint: c.Endpoint, Timeout: c.Timeout, MaxBody: maxAtlasBody, Insecure: c.Insecure}
	var err error
	if a.api, err = NewREST(settings); err != nil {
		return nil, err
	}
	settings.Authorize = a.tokens.basic
	if a.tokens.api, err = NewREST(settings); err != nil {
		return nil, err
	}
	a.api.cfg.Authorize = a.tokens.bearer
	return a, nil
}

// Close closes idle connections.
func (a *Atlas) Close() error { return errors.Join(a.api.Close(), a.tokens.api.Close()) }

// Do makes one call; q.Path is below the project. A token that is refused is dropped, and a read is then tried once more with a new one.
func (a *Atlas) Do(ctx context.Context, q Request, out any) error {
	q.Path = "/api/atlas/v2/groups/" + a.Project + q.Path
	q.Header = http.Header{"Accept": {atlasVersion}}
	err := a.api.Do(ctx, q, out)
	var failed *CallError
	if !errors.As(err, &failed) || failed.Status != http.StatusUnauthorized {
		return err
	}
	a.tokens.drop()
	if q.Mutates {
		return err
	}
	return a.api.Do(ctx, q, out)
}

// AtlasPage is one page of a list.
type AtlasPage[T any] struct {
	Results []T `json:"results"`
	Links   []struct {
		Rel string `json:"rel"`
	} `json:"links"`
}

// AtlasList reads all pages of a list below the project, or fails: half a list would show things as missing that are there.
func AtlasList[T any](ctx context.Context, a *Atlas, doing, path string, query url.Values) ([]T, error) {
	asked := url.Values{}
	for name, values := range query {
		asked[name] = values
	}
	asked.Set("itemsPerPage", strconv.Itoa(atlasPage))
	var all []T
	for page := 1; page <= atlasPages; page++ {
		asked.Set("pageNum", strconv.Itoa(page))
		var got AtlasPage[T]
		if err := a.Do(ctx, Request{Doing: doing, Path: path, Query: asked}, &got); err != nil {
			return nil, err
		}
		if got.Results == nil {
			return nil, &CallError{System: systemAtlas, Doing: doing, Err: errors.New("the answer holds no results")}
		}
		all = append(all, got.Results...)
		if !got.more() {
			return all, nil
		}
	}
	return nil, &CallError{System: systemAtlas, Doing: doing, Err: fmt.Errorf("there are more than %d pages", atlasPages)}
}

// more reports whether the list goes on: Atlas links the next page, and a full page without a link is not believed to be the last.
func (p AtlasPage[T]) more() bool {
	for _, l := range p.Links {
		if l.Rel == "next" {
			return true
		}
	}
	return len(p.Results) >= atlasPage
}

// atlasTokens gives bearer tokens that still last a while, and fetches a new one for all callers at once.
type atlasTokens struct {
	id     string
	secret Secret
	api    *REST

	turn  chan struct{} // holds one permit: its holder reads and writes what follows, and whoever waits can be called off
	token Value
	until time.Time
}

func newAtlasTokens(c AtlasConfig) *atlasTokens {
	return &atlasTokens{id: c.ClientID, secret: c.ClientSecret, turn: make(chan struct{}, 1)}
}

// drop forgets a token that Atlas has refused. Whoever fetches one right now is not waited for: that one is new.
func (t *atlasTokens) drop() {
	select {
	case t.turn <- struct{}{}:
		t.token = ""
		<-t.turn
	default:
	}
}

// bearer authorizes calls of the API.
func (t *atlasTokens) bearer(ctx context.Context, req *http.Request) ([]Value, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t.token == "" || !time.Now().Before(t.until) {
		if err := t.fetch(ctx); err != nil {
			return nil, err
		}
	}
	req.Header.Set("Authorization", "Bearer "+t.token.Reveal())
	return []Value{t.token}, nil
}

// tokenMargin is how long before its end a token is no longer used: a call may be under way when it ends.
const tokenMargin = time.Minute

// fetch gets a token (mongodb.com/docs/atlas/api/service-accounts-overview: client credentials, an hour).
func (t *atlasTokens) fetch(ctx context.Context) error {
	var got struct {
		Token string  `json:"access_token"`
		Lasts float64 `json:"expires_in"` // seconds
	}
	began := time.Now()
	q := Request{
		Doing: "fetching a token for service account " + t.id, Method: http.MethodPost, Path: "/api/oauth/token",
		Body: url.Values{"grant_type": {"client_credentials"}},
	}
	if err := t.api.Do(ctx, q, &got); err != nil {
		return err
	}
	if got.Token == "" || got.Lasts <= 0 {
		return &CallError{System: systemAtlas, Doing: q.Doing, Err: errors.New("the answer holds no token")}
	}
	lasts := time.Duration(min(got.Lasts, 24*3600) * float64(time.Second))
	t.token, t.until = Value(got.Token), began.Add(lasts-min(tokenMargin, lasts/2))
	return nil
}

// basic authorizes the fetching of a token with the service account's secret, read anew.
func (t *atlasTokens) basic(_ context.Context, req *http.Request) ([]Value, error) {
	secret, err := t.secret.Read()
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(t.id, secret.Reveal())
	encoded := base64.StdEncoding.EncodeToString([]byte(t.id + ":" + secret.Reveal()))
	return []Value{secret, Value(encoded)}, nil
}
