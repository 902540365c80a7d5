package sandbox

import (
	"fmt"
	"slices"
	"time"
)

// VercelState is a project in a few words.
type VercelState struct {
	Production  string `json:"production"`
	AutoAssigns bool   `json:"auto_assigns"` // whether new production deployments go live by themselves
	LastMove    string `json:"last_move"`    // "rollback succeeded"
	Reason      string `json:"reason"`
}

// AddVercelProject scripts a project on Vercel, or replaces the one of its id.
func (w *World) AddVercelProject(script VercelProject) {
	w.vercel.mu.Lock()
	defer w.vercel.mu.Unlock()
	p := &vercelProject{VercelProject: script, autoAssign: true}
	p.Deployments = nil
	for _, d := range script.Deployments {
		if p.put(d); p.Deployments[len(p.Deployments)-1].live() {
			p.production = d.ID
		}
	}
	w.vercel.projects = append(slices.DeleteFunc(w.vercel.projects, func(o *vercelProject) bool { return o.ID == p.ID }), p)
}

func (d VercelDeployment) live() bool { return d.State == "READY" && !d.Staged }

// put appends a deployment with its defaults.
func (p *vercelProject) put(d VercelDeployment) {
	d.State, d.Creator = pick(d.State == "", "READY", d.State), pick(d.Creator == "", "ann", d.Creator)
	d.created = time.Now().Add(-d.CreatedAgo)
	p.Deployments = append(p.Deployments, d)
}

// DeployVercel is a human's deploy to production. It goes live at once if it is ready, unless a rollback has ended that.
func (w *World) DeployVercel(project string, d VercelDeployment) error {
	return w.vercel.change(project, func(p *vercelProject) { w.vercel.deploy(p, d) })
}

// DeployVercelBeforeNextWrite lets a human deploy after the next write was sent and before it is taken.
func (w *World) DeployVercelBeforeNextWrite(project string, d VercelDeployment) error {
	return w.vercel.change(project, func(p *vercelProject) {
		w.vercel.before = func() { w.vercel.deploy(p, d) }
	})
}

func (v *vercel) deploy(p *vercelProject, d VercelDeployment) {
	p.put(d)
	put := &p.Deployments[len(p.Deployments)-1]
	if put.Staged = put.Staged || !p.autoAssign; put.live() {
		p.production = put.ID
	}
	v.ledger.add(Entry{System: "vercel", Verb: "deploy", Resource: p.Name, By: Human, Detail: map[string]any{"id": put.ID, "state": put.State, "live": put.live()}})
}

// RollBackVercel is a human's rollback, accepted at once.
func (w *World) RollBackVercel(project, deployment, reason string) error {
	return w.vercel.change(project, func(p *vercelProject) {
		w.vercel.move(p, "rollback", deployment, Human, reason)
		p.reason = &vercelReason{UserID: "user_ann", Username: "ann", Description: reason, CreatedAt: p.last.RequestedAt}
	})
}

// PromoteVercel is a human's promotion, accepted at once.
func (w *World) PromoteVercel(project, deployment string) error {
	return w.vercel.change(project, func(p *vercelProject) { w.vercel.move(p, "promote", deployment, Human, "") })
}

func (v *vercel) change(project string, f func(*vercelProject)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.settle(time.Now())
	p, err := v.project(project)
	if err != nil {
		return fmt.Errorf("scripting: %w", err)
	}
	f(p)
	return nil
}

// VercelProject tells how a project stands.
func (w *World) VercelProject(project string) (state VercelState, err error) {
	err = w.vercel.change(project, func(p *vercelProject) {
		state = VercelState{Production: p.production, AutoAssigns: p.autoAssign}
		if p.last != nil {
			state.LastMove = p.last.Type + " " + p.last.JobStatus
		}
		if p.reason != nil {
			state.Reason = p.reason.Description
		}
	})
	return state, err
}

// SetVercelMoveTime sets how long moving production takes, divided by Speed; default 1 to 3 seconds.
func (w *World) SetVercelMoveTime(low, high time.Duration) {
	w.vercel.mu.Lock()
	defer w.vercel.mu.Unlock()
	w.vercel.low, w.vercel.high = low, max(low, high)
}

// EndNextVercelMove lets the next move be accepted and end with this status: failed or skipped.
func (w *World) EndNextVercelMove(status string) {
	w.vercel.mu.Lock()
	defer w.vercel.mu.Unlock()
	w.vercel.ends = status
}

// HideVercelReasons lets the project no longer show why it was rolled back.
func (w *World) HideVercelReasons(hidden bool) {
	w.vercel.mu.Lock()
	defer w.vercel.mu.Unlock()
	w.vercel.tacit = hidden
}

// aboutVercel are the arguments of the verbs on Vercel.
type aboutVercel struct {
	Project    string           `json:"project"`
	Deployment string           `json:"deployment"`
	Deploy     VercelDeployment `json:"deploy"`
	Reason     string           `json:"reason"`
	Status     string           `json:"status"`
	On         bool             `json:"on"`
}

func vercelVerbs() map[string]verb {
	return map[string]verb{
		"add-vercel-project":              quiet((*World).AddVercelProject),
		"vercel-project":                  does(func(w *World, a aboutVercel) (any, error) { return w.VercelProject(a.Project) }),
		"deploy-vercel":                   only(func(w *World, a aboutVercel) error { return w.DeployVercel(a.Project, a.Deploy) }),
		"deploy-vercel-before-next-write": only(func(w *World, a aboutVercel) error { return w.DeployVercelBeforeNextWrite(a.Project, a.Deploy) }),
		"roll-back-vercel":                only(func(w *World, a aboutVercel) error { return w.RollBackVercel(a.Project, a.Deployment, a.Reason) }),
		"promote-vercel":                  only(func(w *World, a aboutVercel) error { return w.PromoteVercel(a.Project, a.Deployment) }),
		"set-vercel-move-time":            quiet(func(w *World, a span) { w.SetVercelMoveTime(a.Min, a.Max) }),
		"end-next-vercel-move":            quiet(func(w *World, a aboutVercel) { w.EndNextVercelMove(a.Status) }),
		"hide-vercel-reasons":             quiet(func(w *World, a aboutVercel) { w.HideVercelReasons(a.On) }),
	}
}
