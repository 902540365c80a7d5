// Package vercel asks which deployment serves the production of a Vercel project and moves production back to the one before.
//
// Production on Vercel is a pointer at one immutable deployment. Moving it takes no precondition, so a call reads the project once more
// right before; between that read and the call somebody else's move can still be lost, and Observe tells so. A rollback carries its operation
// id in the reason that Vercel keeps with it, a promotion has no place for one.
package vercel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// System is the prefix of the kinds, the name of the target's section and of the connection.
const System = "vercel"

func init() {
	executors.RegisterTarget(executors.TargetKind{
		Name: System,
		Doc:  "The Vercel project whose production is the target.",
		New:  func() any { return &Project{} },
	})
}

// Project is the section `vercel` of a target.
type Project struct {
	// Project is the id (prj_…) or the name of the project.
	Project string `yaml:"project" rules:"required"`
}

var projectName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Validate tells in plain words what is wrong with the section.
func (p *Project) Validate(executors.Target) error {
	if !projectName.MatchString(p.Project) {
		return errors.New("project must be the id or the name of a Vercel project")
	}
	return nil
}

// Identity implements executors.Identified: vercel/PROJECT.
func (p *Project) Identity(connect.Set) string { return System + "/" + p.Project }

func section(t executors.Target) (*Project, error) {
	p, ok := t.Systems[System].(*Project)
	if !ok || p == nil {
		return nil, fmt.Errorf("target %s has no section vercel", t.Name)
	}
	return p, nil
}

func needsSection(t executors.Target) error {
	if _, err := section(t); err != nil {
		return errors.New("the target needs a section vercel that names the project")
	}
	return nil
}

// production is what serves a project, as one reading shows it.
type production struct {
	api     *connect.Vercel
	project connect.VercelProject
	current connect.VercelDeployment
}

// look reads the project. Without a production deployment, or with one that is not where the last rollback has put it, nothing is known.
func look(ctx context.Context, env executors.Env) (production, error) {
	s, err := section(env.Target)
	if err != nil {
		return production{}, err
	}
	api, err := connect.Get[*connect.Vercel](env.Connections, System)
	if err != nil {
		return production{}, err
	}
	project, err := api.Project(ctx, s.Project)
	if err != nil {
		return production{}, err
	}
	p := production{api: api, project: project}
	if project.Targets.Production == nil || project.Targets.Production.Name() == "" {
		return production{}, fmt.Errorf("project %s shows no production deployment", project.Name)
	}
	p.current = *project.Targets.Production
	if m := p.lastMove(); m.Type == rolledBack && m.Status == succeeded && m.To != p.current.Name() {
		return production{}, fmt.Errorf("project %s contradicts itself: it was rolled back to %s, and %s serves", project.Name, m.To, p.current.Name())
	}
	return p, nil
}

// The types and states of a move that are told apart; what else the API may say is not known to be over well.
const (
	rolledBack = "rollback"
	promoted   = "promote"
	succeeded  = "succeeded"
	failed     = "failed"
	skipped    = "skipped"
)

// lastMove is the last request to move production; the zero value if there never was one.
func (p production) lastMove() connect.VercelMove {
	if p.project.LastMove == nil {
		return connect.VercelMove{}
	}
	return *p.project.LastMove
}

// moving reports that a move is under way, or in a state that is not known to be its end.
func (p production) moving() bool {
	m := p.lastMove()
	return m.Type != "" && !slices.Contains([]string{succeeded, failed, skipped}, m.Status)
}

// held reports that new production deployments do not go live by themselves: after a rollback until something is promoted, or because
// people have switched it off.
func (p production) held() bool {
	m := p.lastMove()
	return p.project.AutoAssign != nil && !*p.project.AutoAssign || m.Type == rolledBack && m.Status != failed
}

// deploys tells in a word whether new production deployments go live by themselves.
func (p production) deploys() string {
	if p.held() {
		return "wait for a promotion"
	}
	return "go live"
}

// since is when the current deployment came into production: by the move that put it there, or when it was made.
func (p production) since() time.Time {
	if m := p.lastMove(); m.Status == succeeded && m.To == p.current.Name() && m.RequestedAt > 0 {
		return time.UnixMilli(m.RequestedAt).UTC()
	}
	return p.current.Created()
}

// Ready states of a deployment.
const (
	ready   = "READY"
	staged  = "STAGED"
	rolling = "ROLLING"
)

// ended are the states in which nothing more becomes of a deployment.
var ended = []string{ready, "ERROR", "CANCELED", "DELETED", "BLOCKED"}

// history is the list of production deployments, judged against what serves.
type history struct {
	current connect.VercelDeployment
	all     []connect.VercelDeployment // newest first
	whole   bool                       // there are no older ones
}

func (p production) history(ctx context.Context) (history, error) {
	all, whole, err := p.api.Production(ctx, p.project.ID)
	if err != nil {
		return history{}, err
	}
	slices.SortStableFunc(all, func(a, b connect.VercelDeployment) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	return history{current: p.current, all: all, whole: whole}, nil
}

// previous finds the newest deployment from before the current one that was in production and may be gone back to.
func (h history) previous() (connect.VercelDeployment, bool) {
	for _, d := range h.all {
		was := d.ReadyState == ready && d.ReadySubstate != staged && d.ReadySubstate != rolling
		candidate := d.RollbackCandidate != nil && *d.RollbackCandidate
		if was && candidate && d.Name() != h.current.Name() && d.CreatedAt > 0 && d.CreatedAt < h.current.CreatedAt {
			return d, true
		}
	}
	return connect.VercelDeployment{}, false
}

// underWay finds a production deployment that is not finished.
func (h history) underWay() (connect.VercelDeployment, bool) {
	return h.first(func(d connect.VercelDeployment) bool { return !slices.Contains(ended, d.ReadyState) })
}

// split finds a rolling release, which gives several deployments a part of the traffic.
func (h history) split() (connect.VercelDeployment, bool) {
	return h.first(func(d connect.VercelDeployment) bool { return d.ReadySubstate == rolling })
}

// waiting finds the newest finished deployment that was made after the current one and does not serve.
func (h history) waiting() (connect.VercelDeployment, bool) {
	return h.first(func(d connect.VercelDeployment) bool {
		return d.ReadyState == ready && d.CreatedAt > h.current.CreatedAt
	})
}

// madeAfter finds a deployment made after the time.
func (h history) madeAfter(at time.Time) (connect.VercelDeployment, bool) {
	return h.first(func(d connect.VercelDeployment) bool { return d.Created().After(at) })
}

func (h history) first(is func(connect.VercelDeployment) bool) (connect.VercelDeployment, bool) {
	if i := slices.IndexFunc(h.all, is); i >= 0 {
		return h.all[i], true
	}
	return connect.VercelDeployment{}, false
}

// shown names a deployment for people: its id, and the commit it was made of.
func shown(d connect.VercelDeployment) string {
	if sha := meta(d, "CommitSha"); sha != "" {
		return fmt.Sprintf("%s (%s)", plain(d.Name()), sha[:min(12, len(sha))])
	}
	return plain(d.Name())
}

// meta reads what the Git provider has left with a deployment, whichever it is: githubCommitSha, gitlabCommitSha, bitbucketCommitSha.
func meta(d connect.VercelDeployment, name string) string {
	for _, provider := range []string{"github", "gitlab", "bitbucket"} {
		if text, ok := d.Meta[provider+name].(string); ok && text != "" {
			return plain(text)
		}
	}
	return ""
}

// textMost bounds what people wrote elsewhere and notes repeat, in characters.
const textMost = 120

// plain is foreign text, harmless and short.
func plain(text string) string { return connect.Line(text, textMost) }

// clock shows a time in sentences for people.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
