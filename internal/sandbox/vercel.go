package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The stand-in of Vercel's REST API: reading a project and its deployments, rollback and promote. Paths, parameters and fields are those of
// the REST reference (vercel.com/docs/rest-api: projects, deployments) and of the models in github.com/vercel/sdk; what a rollback does to
// later deploys is in vercel.com/docs/instant-rollback.

// VercelDeployment scripts a production deployment, wall clock.
type VercelDeployment struct {
	ID         string        `json:"id"`
	CreatedAgo time.Duration `json:"created_ago,omitempty"`
	State      string        `json:"state,omitempty"`  // READY (the default), BUILDING, QUEUED, ERROR, CANCELED
	Staged     bool          `json:"staged,omitempty"` // it never served production
	Rolling    bool          `json:"rolling,omitempty"`
	Sick       bool          `json:"sick,omitempty"`    // while it serves, the site answers 503
	Creator    string        `json:"creator,omitempty"` // default ann
	Commit     string        `json:"commit,omitempty"`
	Message    string        `json:"message,omitempty"` // of the commit

	created time.Time
}

// VercelProject scripts a project; its deployments oldest first. The newest that is ready and not staged serves production.
type VercelProject struct {
	ID          string             `json:"id"`
	Name        string             `json:"name"`
	Team        string             `json:"team,omitempty"` // whose id every call must name
	Deployments []VercelDeployment `json:"deployments"`
}

// vercelAlias is the last request to move production, as the API tells it.
type vercelAlias struct {
	Type             string `json:"type"`
	FromDeploymentID string `json:"fromDeploymentId"`
	ToDeploymentID   string `json:"toDeploymentId"`
	JobStatus        string `json:"jobStatus"`
	RequestedAt      int64  `json:"requestedAt"`

	due  time.Time
	ends string // the status it will have
}

// vercelReason is what the one who rolled back gave as reason.
type vercelReason struct {
	UserID      string `json:"userId"`
	Username    string `json:"username"`
	Description string `json:"description"`
	CreatedAt   int64  `json:"createdAt"`
}

type vercelProject struct {
	VercelProject
	production string
	autoAssign bool
	last       *vercelAlias
	reason     *vercelReason
}

type vercel struct {
	*system
	cfg    Config
	ledger *ledger
	dice   *dice

	mu        sync.Mutex
	projects  []*vercelProject
	low, high time.Duration // how long moving production takes, divided by Speed
	ends      string        // status of the next move
	before    func()        // runs right before the next write
	tacit     bool          // reasons are not shown
}

func newVercel(cfg Config, l *ledger, d *dice) *vercel {
	v := &vercel{cfg: cfg, ledger: l, dice: d, low: time.Second, high: 3 * time.Second, ends: "succeeded"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v9/projects/{project}", v.serve(v.getProject))
	mux.HandleFunc("GET /v6/deployments", v.serve(v.listDeployments))
	mux.HandleFunc("POST /v1/projects/{project}/rollback/{deployment}", v.serve(v.rollBack))
	mux.HandleFunc("POST /v10/projects/{project}/promote/{deployment}", v.serve(v.promote))
	mux.HandleFunc("GET /sites/{project}/health", v.site)
	v.system = newSystem("vercel", mux)
	return v
}

// site answers as the project's production does, under /sites/PROJECT/health.
func (v *vercel) site(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle(time.Now())
	for _, p := range v.projects {
		if p.Name != r.PathValue("project") {
			continue
		}
		if i := slices.IndexFunc(p.Deployments, func(d VercelDeployment) bool { return d.ID == p.production }); i >= 0 && !p.Deployments[i].Sick {
			writeJSON(w, http.StatusOK, object{"status": "ok", "deployment": p.production})
			return
		}
		writeJSON(w, http.StatusServiceUnavailable, object{"status": "error"})
		return
	}
	http.NotFound(w, r)
}

// vercelProblem is an answer of the API that is no success.
type vercelProblem struct {
	status        int
	code, message string
}

type vercelMethod func(*vercelProject, *http.Request) (int, any, *vercelProblem)

func (v *vercel) serve(m vercelMethod) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.settle(time.Now())
		p, problem := v.admit(r)
		status, out := 0, (any)(nil)
		if problem == nil {
			status, out, problem = m(p, r)
		}
		if problem != nil {
			status, out = problem.status, object{"error": object{"code": problem.code, "message": problem.message}}
		}
		if out == nil { // the command line asks for no JSON here: rollback and promote answer without a body
			w.WriteHeader(status)
			return
		}
		writeJSON(w, status, out)
	}
}

// admit refuses whoever shows no token, and finds the project that the call is about.
func (v *vercel) admit(r *http.Request) (*vercelProject, *vercelProblem) {
	if r.Header.Get("Authorization") != "Bearer "+VercelToken {
		return nil, &vercelProblem{http.StatusForbidden, "forbidden", "Not authorized"}
	}
	name := r.PathValue("project")
	if name == "" {
		name = r.URL.Query().Get("projectId")
	}
	i := slices.IndexFunc(v.projects, func(p *vercelProject) bool {
		return (p.ID == name || p.Name == name) && p.Team == r.URL.Query().Get("teamId")
	})
	if i < 0 {
		return nil, &vercelProblem{http.StatusNotFound, "not_found", "Project not found."}
	}
	return v.projects[i], nil
}

// settle ends the moves that are due.
func (v *vercel) settle(now time.Time) {
	for _, p := range v.projects {
		a := p.last
		if a == nil || a.JobStatus != "pending" && a.JobStatus != "in-progress" {
			continue
		}
		a.JobStatus = "in-progress"
		if now.Before(a.due) {
			continue
		}
		if a.JobStatus = a.ends; a.ends == "succeeded" {
			p.production, p.autoAssign = a.ToDeploymentID, a.Type == "promote"
			p.find(a.ToDeploymentID).Staged = false
		}
	}
}

func (p *vercelProject) find(id string) *VercelDeployment {
	for i := range p.Deployments {
		if p.Deployments[i].ID == id {
			return &p.Deployments[i]
		}
	}
	return nil
}

func (v *vercel) getProject(p *vercelProject, _ *http.Request) (int, any, *vercelProblem) {
	out := object{
		"id": p.ID, "name": p.Name, "accountId": pick(p.Team == "", "user_1", p.Team), "autoAssignCustomDomains": p.autoAssign,
		"lastAliasRequest": p.last, "targets": object{}, "live": true,
	}
	if p.reason != nil && !v.tacit {
		out["rollbackDescription"] = p.reason
	}
	if d := p.find(p.production); d != nil {
		shown := d.shown(p)
		shown["id"] = d.ID
		out["targets"] = object{"production": shown}
	}
	return http.StatusOK, out, nil
}

// shown is a deployment as the API lists it.
func (d VercelDeployment) shown(p *vercelProject) object {
	substate := pick(d.Staged, "STAGED", pick(d.Rolling, "ROLLING", "PROMOTED"))
	return object{
		"uid": d.ID, "name": p.Name, "url": p.Name + "-" + d.ID + ".vercel.app", "target": "production",
		"created": d.created.UnixMilli(), "createdAt": d.created.UnixMilli(), "ready": d.created.Add(time.Minute).UnixMilli(),
		"state": d.State, "readyState": d.State, "readySubstate": substate,
		"isRollbackCandidate": d.State == "READY" && !d.Staged && d.ID != p.production,
		"creator":             object{"uid": "user_" + d.Creator, "username": d.Creator, "email": d.Creator + "@example.com"},
		"meta":                object{"githubCommitSha": d.Commit, "githubCommitMessage": d.Message, "githubCommitAuthorLogin": d.Creator},
	}
}

// listDeployments gives the newest first; `next` is the time before which the next page begins.
func (*vercel) listDeployments(p *vercelProject, r *http.Request) (int, any, *vercelProblem) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(pick(q.Get("limit") == "", "20", q.Get("limit")))
	if err != nil || limit < 1 || limit > 100 {
		return 0, nil, &vercelProblem{http.StatusBadRequest, "bad_request", "Invalid request: `limit` should be <= 100."}
	}
	until, _ := strconv.ParseInt(q.Get("until"), 10, 64) // none: from the newest
	found := []object{}
	var next any
	for _, d := range slices.Backward(p.Deployments) {
		at := d.created.UnixMilli()
		if until > 0 && at >= until || q.Get("target") == "preview" {
			continue
		}
		if len(found) == limit {
			next = found[limit-1]["created"]
			break
		}
		found = append(found, d.shown(p))
	}
	return http.StatusOK, object{"deployments": found, "pagination": object{"count": len(found), "next": next, "prev": nil}}, nil
}

func (v *vercel) rollBack(p *vercelProject, r *http.Request) (int, any, *vercelProblem) {
	v.interrupt()
	d, problem := p.movable(r.PathValue("deployment"))
	description := r.URL.Query().Get("description")
	switch {
	case problem != nil:
		return 0, nil, problem
	case d.Staged:
		return 0, nil, &vercelProblem{http.StatusUnprocessableEntity, "invalid_rollback", "The deployment was never aliased to a production domain."}
	case len(description) > 250:
		return 0, nil, &vercelProblem{http.StatusBadRequest, "bad_request", "Invalid request: `description` should NOT be longer than 250 characters."}
	}
	v.move(p, "rollback", d.ID, v.cfg.Caller, description)
	p.reason = &vercelReason{UserID: "user_remediator", Username: "remediator", Description: description, CreatedAt: p.last.RequestedAt}
	return http.StatusCreated, nil, nil
}

func (v *vercel) promote(p *vercelProject, r *http.Request) (int, any, *vercelProblem) {
	v.interrupt()
	d, problem := p.movable(r.PathValue("deployment"))
	if problem != nil {
		return 0, nil, problem
	}
	v.move(p, "promote", d.ID, v.cfg.Caller, "")
	return http.StatusCreated, nil, nil
}

// movable finds the deployment that production is to move to.
func (p *vercelProject) movable(id string) (*VercelDeployment, *vercelProblem) {
	d := p.find(id)
	switch {
	case d == nil:
		return nil, &vercelProblem{http.StatusNotFound, "not_found", "Deployment not found."}
	case d.State != "READY":
		return nil, &vercelProblem{http.StatusUnprocessableEntity, "deployment_not_ready", "The deployment is not ready."}
	case p.last != nil && (p.last.JobStatus == "pending" || p.last.JobStatus == "in-progress"):
		return nil, &vercelProblem{http.StatusConflict, "conflict", "Another request to move production is under way."}
	case p.production == id:
		return nil, &vercelProblem{http.StatusConflict, "conflict", "Deployment is already the current production deployment."}
	}
	return d, nil
}

// move accepts a request to point production at another deployment.
func (v *vercel) move(p *vercelProject, kind, to, by, description string) {
	now := time.Now()
	at := now.UnixMilli()
	if p.last != nil {
		at = max(at, p.last.RequestedAt+1)
	}
	p.last = &vercelAlias{
		Type: kind, FromDeploymentID: p.production, ToDeploymentID: to, JobStatus: "pending", RequestedAt: at, ends: v.ends,
		due: now.Add(v.cfg.scaled(v.dice.between(v.low, v.high))),
	}
	v.ends = "succeeded"
	v.ledger.add(Entry{System: "vercel", Verb: kind, Resource: p.Name, By: by, Detail: map[string]any{
		"from": p.last.FromDeploymentID, "to": to, "description": description,
	}})
}

// interrupt lets what was scripted for the moment before a write happen.
func (v *vercel) interrupt() {
	if f := v.before; f != nil {
		v.before = nil
		f()
	}
}

func (v *vercel) project(name string) (*vercelProject, error) {
	i := slices.IndexFunc(v.projects, func(p *vercelProject) bool { return p.ID == name || p.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("finding Vercel project %q: there is none", name)
	}
	return v.projects[i], nil
}
