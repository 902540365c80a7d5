package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	systemVercel   = "vercel"
	vercelEndpoint = "https://api.vercel.com"
	// maxVercel bounds an answer: a deployment is listed with all its metadata.
	maxVercel = 4 << 20
)

// VercelConfig is the connection `vercel`.
type VercelConfig struct {
	// Token is a token of Vercel's REST API whose scope is the team.
	Token Secret `yaml:"token" rules:"required"`
	// Team is the id of the team that owns the projects, such as team_1a2b3c; empty for a personal account.
	Team string `yaml:"team"`
	// Endpoint is the base URL; default https://api.vercel.com.
	Endpoint string `yaml:"endpoint"`
	// Insecure allows an http: endpoint, such as that of a stand-in.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemVercel,
		Doc:  "A team or an account on Vercel, asked over its REST API.",
		New:  func() Config { return &VercelConfig{} },
	})
}

// Check implements Config.
func (c *VercelConfig) Check() error {
	_, err := NewVercel(*c)
	return err
}

// Open implements Config.
func (c *VercelConfig) Open(context.Context) (io.Closer, error) { return NewVercel(*c) }

// Vercel reads projects and deployments and moves production. Every failed call is a *CallError or a *RateLimited; nothing is retried, and
// no call that moves production takes a precondition. Safe for concurrent use.
type Vercel struct {
	team string
	rest *REST
}

// NewVercel checks the configuration. It reads no secret and calls nothing.
func NewVercel(c VercelConfig) (*Vercel, error) {
	if c.Token.IsZero() {
		return nil, errors.New("vercel: token_file or token_env must be set")
	}
	if c.Endpoint == "" {
		c.Endpoint = vercelEndpoint
	}
	rest, err := NewREST(RESTConfig{System: systemVercel, Endpoint: c.Endpoint, MaxBody: maxVercel, Insecure: c.Insecure, Authorize: Bearer(c.Token)})
	if err != nil {
		return nil, err
	}
	return &Vercel{team: c.Team, rest: rest}, nil
}

// Close closes idle connections.
func (v *Vercel) Close() error { return v.rest.Close() }

// VercelDeployment is a production deployment. Source: GET /v6/deployments and GET /v9/projects/{idOrName} of the REST reference.
type VercelDeployment struct {
	UID               string `json:"uid"` // in lists
	ID                string `json:"id"`  // in projects
	CreatedAt         int64  `json:"createdAt"`
	ReadyState        string `json:"readyState"`    // QUEUED INITIALIZING BUILDING READY ERROR CANCELED …
	ReadySubstate     string `json:"readySubstate"` // STAGED: never in production; ROLLING: some of it; PROMOTED
	RollbackCandidate *bool  `json:"isRollbackCandidate"`
	Target            string `json:"target"`
	Creator           struct {
		Username string `json:"username"`
	} `json:"creator"`
	Meta map[string]any `json:"meta"`
}

// Name is the deployment's id, wherever it was read.
func (d VercelDeployment) Name() string {
	if d.UID != "" {
		return d.UID
	}
	return d.ID
}

// Created is when the deployment was made; zero if it is not told.
func (d VercelDeployment) Created() time.Time {
	if d.CreatedAt <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(d.CreatedAt).UTC()
}

// VercelMove is the last request to move production, by rollback or promotion. Deploys that go live by themselves are none.
type VercelMove struct {
	Type        string `json:"type"` // rollback or promote
	From        string `json:"fromDeploymentId"`
	To          string `json:"toDeploymentId"`
	Status      string `json:"jobStatus"`   // pending, in-progress, succeeded, failed, skipped
	RequestedAt int64  `json:"requestedAt"` // Unix milliseconds by Vercel's clock
}

// VercelProject is a project, what serves its production, and how that came about.
type VercelProject struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	AutoAssign *bool  `json:"autoAssignCustomDomains"`
	Targets    struct {
		Production *VercelDeployment `json:"production"`
	} `json:"targets"`
	LastMove *VercelMove `json:"lastAliasRequest"`
	// Reason is what was given as reason with the last rollback, if the API tells.
	Reason *struct {
		Username    string `json:"username"`
		Description string `json:"description"`
		CreatedAt   int64  `json:"createdAt"`
	} `json:"rollbackDescription"`
}

// Project reads a project by its id or name. An answer without an id is an error.
func (v *Vercel) Project(ctx context.Context, project string) (VercelProject, error) {
	var out VercelProject
	doing := "reading project " + project
	err := v.rest.Do(ctx, Request{Doing: doing, Path: "/v9/projects/" + url.PathEscape(project), Query: v.query()}, &out)
	if err == nil && out.ID == "" {
		err = &CallError{System: systemVercel, Doing: doing, Err: errors.New("the answer tells of no project")}
	}
	return out, err
}

// vercelPage is how many deployments one call lists; the API allows no more.
const vercelPage = 100

// Production lists the newest production deployments of a project, at most 100, newest first. Whole is false if there are more.
func (v *Vercel) Production(ctx context.Context, project string) (all []VercelDeployment, whole bool, err error) {
	var out struct {
		Deployments []VercelDeployment `json:"deployments"`
		Pagination  *struct {
			Next *int64 `json:"next"`
		} `json:"pagination"`
	}
	q := v.query()
	q.Set("projectId", project)
	q.Set("target", "production")
	q.Set("limit", strconv.Itoa(vercelPage))
	doing := "listing the production deployments of " + project
	err = v.rest.Do(ctx, Request{Doing: doing, Path: "/v6/deployments", Query: q}, &out)
	if err == nil && out.Pagination == nil {
		err = &CallError{System: systemVercel, Doing: doing, Err: errors.New("the answer is no list of deployments")}
	}
	if err != nil {
		return nil, false, err
	}
	return out.Deployments, out.Pagination.Next == nil, nil
}

// RollBack points production at a deployment that served it before, and keeps later deploys from going live by themselves. The reason, at
// most 250 characters, is shown with the project. Source: POST /v1/projects/{projectId}/rollback/{deploymentId}.
func (v *Vercel) RollBack(ctx context.Context, project, deployment, reason string) error {
	q := v.query()
	q.Set("description", reason)
	return v.rest.Do(ctx, Request{
		Doing:  fmt.Sprintf("rolling project %s back to %s", project, deployment),
		Method: http.MethodPost, Path: "/v1/projects/" + url.PathEscape(project) + "/rollback/" + url.PathEscape(deployment),
		Query: q, Body: struct{}{}, Mutates: true,
	}, &struct{}{})
}

// Promote points production at a deployment without building it anew, and lets later deploys go live by themselves again. Source: POST
// /v10/projects/{projectId}/promote/{deploymentId}.
func (v *Vercel) Promote(ctx context.Context, project, deployment string) error {
	return v.rest.Do(ctx, Request{
		Doing:  fmt.Sprintf("promoting %s in project %s", deployment, project),
		Method: http.MethodPost, Path: "/v10/projects/" + url.PathEscape(project) + "/promote/" + url.PathEscape(deployment),
		Query: v.query(), Body: struct{}{}, Mutates: true,
	}, &struct{}{})
}

func (v *Vercel) query() url.Values {
	q := url.Values{}
	if v.team != "" {
		q.Set("teamId", v.team)
	}
	return q
}
