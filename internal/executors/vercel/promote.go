package vercel

import (
	"context"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const promoteKind = "vercel.promote"

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name:    promoteKind,
		Doc:     "Points the production of a Vercel project at the newest deployment made since a rollback, so that later deploys go live again.",
		New:     func() executors.Action { return &promote{} },
		Settles: executors.DebtHeldDeploys,
	})
}

// promote ends a rollback; it has no parameters, and builds nothing.
type promote struct{}

// Validate tells in plain words what is wrong with the target.
func (*promote) Validate(t executors.Target) error { return needsSection(t) }

// Plan implements executors.Action. That nothing is rolled back is said before all that may stand in the way: a reminder ends by it.
func (a *promote) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	p, err := look(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	m := p.lastMove()
	switch {
	case !p.rolledBack():
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "%s", p.settled())
	case p.moving():
		return executors.Change{}, guard.Refuse(guard.Reconciling, "a %s of %s to %s is under way", plain(m.Type), p.project.Name, plain(m.To))
	}
	h, err := p.history(ctx)
	if err != nil {
		return executors.Change{}, err
	}
	if err := h.steady(); err != nil {
		return executors.Change{}, err
	}
	to, found := p.mended(h)
	if !found {
		return executors.Change{}, guard.Refuse(guard.NoDestination, "no deployment of %s was finished that was made after its rollback at %s", p.project.Name,
			clock(time.UnixMilli(m.RequestedAt)))
	}
	c, err := p.change(env, promoted, to, []string{fmt.Sprintf("%s is the newest finished production deployment, and made after the rollback", shown(to))})
	c.Kind = promoteKind
	return c, err
}

// rolledBack reports that production was rolled back, by whomever, and nothing has been promoted since.
func (p production) rolledBack() bool {
	m := p.lastMove()
	return m.Type == rolledBack && m.Status != failed
}

func (p production) settled() string {
	return fmt.Sprintf("the production of %s is not rolled back (last move: %s)", p.project.Name, told(p.lastMove()))
}

// mended finds the newest finished deployment that was made after the rollback. What was there before it may be as bad as what was rolled
// back from.
func (p production) mended(h history) (connect.VercelDeployment, bool) {
	at := time.UnixMilli(p.lastMove().RequestedAt)
	return h.first(func(d connect.VercelDeployment) bool { return d.ReadyState == ready && d.Created().After(at) })
}

// Debt implements executors.Debtor: whether later deploys still do not go live, and which one does not.
func (a *promote) Debt(ctx context.Context, env executors.Env) (executors.DebtState, error) {
	p, err := look(ctx, env)
	if err != nil {
		return executors.DebtState{}, err
	}
	if !p.rolledBack() {
		return executors.DebtState{Settled: true, Detail: p.settled()}, nil
	}
	h, err := p.history(ctx)
	if err != nil {
		return executors.DebtState{}, err
	}
	out := executors.DebtState{Detail: fmt.Sprintf("the production of %s is rolled back to %s: later deploys wait for a promotion", p.project.Name, shown(p.current))}
	if d, waits := p.mended(h); waits {
		out.Idle = plain(d.Name())
		out.Detail += fmt.Sprintf("; %s is one of them", shown(d))
	}
	return out, nil
}

// Apply implements executors.Action, as a rollback's way back does.
func (a *promote) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	return (&rollback{}).Apply(ctx, env, c, operation)
}

// Observe implements executors.Action.
func (a *promote) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	return (&rollback{}).Observe(ctx, env, c, operation, r)
}

// Undo implements executors.Action: production is rolled back again, if nobody has moved it or deployed since.
func (a *promote) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	m, p, err := reread(ctx, env, c)
	if err != nil {
		return executors.Change{}, err
	}
	if err := m.promotionStands(p); err != nil {
		return executors.Change{}, err
	}
	h, err := p.history(ctx)
	if err != nil {
		return executors.Change{}, err
	}
	to, found := h.first(func(d connect.VercelDeployment) bool { return d.Name() == m.From && d.ReadyState == ready })
	if !found {
		return executors.Change{}, guard.Refuse(guard.NoDestination, "%s is not listed as a finished production deployment any more", m.From)
	}
	back, err := p.change(env, rolledBack, to, []string{"production is where the promotion left it"})
	back.Kind = promoteKind
	return back, err
}

// promotionStands refuses unless production is exactly as the promotion left it.
func (m move) promotionStands(p production) error {
	last := p.lastMove()
	asLeft := last.Type == promoted && last.Status == succeeded && last.To == m.To && last.From == m.From && last.RequestedAt > m.Last
	switch {
	case m.Type != promoted:
		return guard.Refuse(guard.NothingToDo, "the way back is not taken back itself")
	case p.current.Name() == m.From:
		return guard.Refuse(guard.NothingToDo, "%s serves already", shown(p.current))
	case p.moving():
		return guard.Refuse(guard.Reconciling, "production is being moved: %s", told(last))
	case !asLeft || p.current.Name() != m.To:
		return guard.Refuse(guard.HumanHand, "somebody else has moved production since (last: %s)", told(last))
	}
	return nil
}
