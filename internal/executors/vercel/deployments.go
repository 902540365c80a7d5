package vercel

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "vercel.deployments",
		Doc:  "Asks which deployment serves the production of a Vercel project and since when, and which earlier one may be gone back to.",
		New:  func() executors.Probe { return &deployments{} },
		Fact: DeploymentsFact{},
	})
}

// deployments looks at the project and its newest hundred production deployments.
type deployments struct{}

// Validate tells in plain words what is wrong with the target.
func (*deployments) Validate(t executors.Target) error { return needsSection(t) }

// DeploymentsFact is what vercel.deployments finds. Texts are bounded and without control characters.
type DeploymentsFact struct {
	// Project is the project's name.
	Project string `cel:"project"`
	// Current is the id of the deployment that serves production.
	Current string `cel:"current"`
	// State is the current deployment's, such as READY.
	State string `cel:"state"`
	// Since is when it came into production: by a rollback or promotion, or when it was made.
	Since time.Time `cel:"since"`
	// Age is the time since then.
	Age time.Duration `cel:"age"`
	// By is the name of who made the current deployment.
	By string `cel:"by"`
	// Commit is the current deployment's, "" if it was not made from Git.
	Commit string `cel:"commit"`
	// Previous is the id of the deployment that may be gone back to, "" if there is none.
	Previous string `cel:"previous"`
	// PreviousBy is the name of who made it.
	PreviousBy string `cel:"previous_by"`
	// PreviousCommit is its commit.
	PreviousCommit string `cel:"previous_commit"`
	// Deploying says that a production deployment is being built or queued.
	Deploying bool `cel:"deploying"`
	// Moving says that a rollback or promotion is under way.
	Moving bool `cel:"moving"`
	// RolledBack says that production was rolled back and nothing has been promoted since.
	RolledBack bool `cel:"rolled_back"`
	// Held says that new production deployments do not go live by themselves: since a rollback, or because it is switched off.
	Held bool `cel:"held"`
	// Waiting is the id of the newest finished deployment that is newer than the current one and does not serve, "" if there is none.
	Waiting string `cel:"waiting"`
}

// Claims implements executors.Claiming.
func (f *DeploymentsFact) Claims() map[string]string {
	return map[string]string{"the production deployment of " + f.Project: f.Current}
}

// Ask implements executors.Probe.
func (*deployments) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	p, err := look(ctx, env)
	if err != nil {
		return executors.Answer{}, err
	}
	h, err := p.history(ctx)
	if err != nil {
		return executors.Answer{}, err
	}
	fact, answer := p.fact(env), executors.Answer{}
	previous, found := h.previous()
	if found {
		fact.Previous, fact.PreviousBy, fact.PreviousCommit = plain(previous.Name()), plain(previous.Creator.Username), meta(previous, "CommitSha")
	} else if !h.whole {
		answer.Unknown = append(answer.Unknown, "previous", "previous_by", "previous_commit")
	}
	if fact.Since.IsZero() {
		answer.Unknown = append(answer.Unknown, "since", "age")
	}
	_, fact.Deploying = h.underWay()
	if d, waits := h.waiting(); waits {
		fact.Waiting = plain(d.Name())
	}
	if fact.State == "" {
		answer.Unknown = append(answer.Unknown, "state")
	}
	answer.Fact, answer.Summary = fact, fact.summary(found || h.whole)
	return answer, nil
}

func (p production) fact(env executors.Env) *DeploymentsFact {
	m := p.lastMove()
	fact := &DeploymentsFact{
		Project: plain(p.project.Name), Current: plain(p.current.Name()), State: plain(p.current.ReadyState), Since: p.since(),
		By: plain(p.current.Creator.Username), Commit: meta(p.current, "CommitSha"),
		Moving: p.moving(), RolledBack: m.Type == rolledBack && m.Status != failed, Held: p.held(),
	}
	if !fact.Since.IsZero() {
		fact.Age = max(0, env.Now.Sub(fact.Since))
	}
	return fact
}

// summary is the sentence for notes; looked says that all earlier deployments were seen, as far as that is needed.
func (f *DeploymentsFact) summary(looked bool) string {
	text := fmt.Sprintf("%s serves %s", f.Project, f.Current)
	if !f.Since.IsZero() {
		text += fmt.Sprintf(", in production for %s", f.Age.Round(time.Second))
	}
	if f.By != "" {
		text += ", by " + f.By
	}
	switch {
	case f.Previous != "":
		text += "; " + f.Previous + " may be gone back to"
	case looked:
		text += "; nothing may be gone back to"
	default:
		text += "; whether anything may be gone back to is not known"
	}
	if f.Moving {
		text += "; production is being moved"
	}
	if f.Held {
		text += "; new deployments do not go live by themselves"
	}
	if f.Held && f.Waiting != "" {
		text += ", and " + f.Waiting + " waits"
	}
	return text
}
