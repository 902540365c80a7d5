package vercel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const rollbackKind = "vercel.rollback"

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name:     rollbackKind,
		Doc:      "Points the production of a Vercel project at the production deployment before; later deploys then wait for a promotion.",
		New:      func() executors.Action { return &rollback{} },
		Takeback: executors.IfWorse,
		Once:     true,
	})
}

const (
	defaultWithin = 30 * time.Minute
	// clockSkew is how far Vercel's clock and that of whoever tells of the alert may be apart.
	clockSkew = 11 * time.Second
)

// rollback moves the pointer of production; it builds nothing.
type rollback struct {
	// Within is how young, when the alert began, the current deployment must have been in production to be the cause; default 30m.
	Within time.Duration `yaml:"within"`
}

// Validate tells in plain words what is wrong with the parameters.
func (a *rollback) Validate(t executors.Target) error {
	if a.Within < 0 {
		return errors.New("within must not be negative")
	}
	return needsSection(t)
}

// move is what a change's Data holds.
type move struct {
	Project string `json:"project"` // id
	Type    string `json:"type"`    // rollback or promote
	From    string `json:"from"`    // deployment ids
	To      string `json:"to"`
	// Last is when the last move before this one was requested, in Unix milliseconds by Vercel's clock; 0 if there was none. A later one
	// was made after the plan.
	Last int64 `json:"last"`
}

// Plan implements executors.Action.
func (a *rollback) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	if m := env.Target.Migrations; m != "marked" && m != "none" {
		return executors.Change{}, guard.Refuse(guard.Migrations, "the target does not say `migrations: marked` or `none`")
	}
	p, err := look(ctx, env)
	if err != nil {
		return executors.Change{}, err
	}
	if err := p.free(); err != nil {
		return executors.Change{}, err
	}
	h, err := p.history(ctx)
	if err != nil {
		return executors.Change{}, err
	}
	within := a.Within
	if within == 0 {
		within = defaultWithin
	}
	if err := h.steady(); err != nil {
		return executors.Change{}, err
	}
	if err := p.recent(env, within); err != nil {
		return executors.Change{}, err
	}
	to, err := h.destination(env)
	if err != nil {
		return executors.Change{}, err
	}
	return p.change(env, rolledBack, to, []string{
		fmt.Sprintf("%s has been in production since %s", shown(p.current), clock(p.since())),
		fmt.Sprintf("%s is ready, was in production, and Vercel offers it for a rollback", shown(to)),
	})
}

// free refuses a project that somebody is moving, or whose production is moved by hand.
func (p production) free() error {
	m := p.lastMove()
	switch {
	case p.moving():
		return guard.Refuse(guard.Reconciling, "a %s of %s to %s is under way", plain(m.Type), p.project.Name, plain(m.To))
	case m.Type == rolledBack && m.Status != failed:
		return guard.Refuse(guard.AlreadyPinned, "%s was rolled back to %s at %s, and nothing has been promoted since", p.project.Name,
			plain(m.To), clock(time.UnixMilli(m.RequestedAt)))
	case p.held():
		return guard.Refuse(guard.AlreadyPinned, "new deployments of %s do not go live by themselves: people move its production", p.project.Name)
	}
	return nil
}

// steady refuses while a deploy is under way or traffic is split.
func (h history) steady() error {
	if d, yes := h.underWay(); yes {
		return guard.Refuse(guard.Reconciling, "the production deployment %s is %s", shown(d), strings.ToLower(plain(d.ReadyState)))
	}
	if d, yes := h.split(); yes {
		return guard.Refuse(guard.SplitTraffic, "a rolling release gives %s a part of the traffic", shown(d))
	}
	return nil
}

// recent refuses unless a deploy explains the alert: it came into production before the alert began, and not long before.
func (p production) recent(env executors.Env, within time.Duration) error {
	since, onset := p.since(), env.Onset
	if since.IsZero() {
		return guard.Refuse(guard.UnknownFacts, "since when %s is in production is not told", shown(p.current))
	}
	if onset.IsZero() {
		onset = env.Now
	}
	if since.After(onset.Add(env.Scale(clockSkew))) {
		return guard.Refuse(guard.HumanHand, "%s came into production at %s, after the alert began at %s", shown(p.current), clock(since), clock(onset))
	}
	if age := onset.Sub(since); age > within {
		return guard.Refuse(guard.NoCause, "the deploy is too old to be the cause: %s had been in production for %s, more than %s",
			shown(p.current), age.Round(time.Minute), within)
	}
	return nil
}

// destination finds the deployment to go back to, if nothing released after it keeps from that.
func (h history) destination(env executors.Env) (connect.VercelDeployment, error) {
	to, found := h.previous()
	if !found && !h.whole {
		return to, guard.Refuse(guard.UnknownFacts, "none of the newest %d production deployments may be gone back to, and there are older ones", len(h.all))
	}
	if !found {
		return to, guard.Refuse(guard.NoDestination, "no earlier production deployment of the project may be gone back to")
	}
	for _, name := range slices.Sorted(maps.Keys(env.Marks)) {
		d, known := h.first(func(d connect.VercelDeployment) bool { return d.Name() == name })
		if !known {
			return to, guard.Refuse(guard.Migrations, "%s is marked (%s) and is not listed: whether %s is older cannot be told", name,
				plain(env.Marks[name]), shown(to))
		}
		if d.CreatedAt > to.CreatedAt {
			return to, guard.Refuse(guard.Migrations, "%s is marked (%s): %s is older", name, plain(env.Marks[name]), shown(to))
		}
	}
	return to, nil
}

// change plans a move of production from what serves to another deployment.
func (p production) change(env executors.Env, kind string, to connect.VercelDeployment, evidence []string) (executors.Change, error) {
	m := move{Project: p.project.ID, Type: kind, From: p.current.Name(), To: to.Name(), Last: p.lastMove().RequestedAt}
	data, err := json.Marshal(m)
	if err != nil {
		return executors.Change{}, fmt.Errorf("planning to move the production of %s: %w", p.project.Name, err)
	}
	after := map[string]string{rolledBack: "wait for a promotion", promoted: "go live"}[kind]
	hint := fmt.Sprintf("vercel promote %s; this also lets new deployments go live again", m.From)
	if kind == promoted {
		hint = fmt.Sprintf("vercel rollback %s", m.From)
	}
	path := func(id string) string { return "projects/" + m.Project + "/deployments/" + id }
	debt, settles := executors.DebtHeldDeploys, ""
	if kind == promoted {
		debt, settles = settles, debt
	}
	return executors.Change{
		Kind: rollbackKind, Target: env.Target.Name, Debt: debt, Settles: settles,
		Summary:  fmt.Sprintf("point the production of %s from %s to %s", p.project.Name, shown(p.current), shown(to)),
		Before:   executors.State{"serving": shown(p.current), "new_deploys": p.deploys()},
		After:    executors.State{"serving": shown(to), "new_deploys": after},
		Selects:  []string{path(m.From), path(m.To)},
		Etag:     fmt.Sprintf("%s@%d", m.From, m.Last),
		Data:     data,
		UndoHint: hint, Reversible: true, Evidence: evidence, PlannedAt: env.Now,
	}, nil
}

// reason is the beginning of what is left with a rollback, by which it is known again; Vercel keeps 250 characters.
func reason(operation string) string { return marker + operation + ":" }

const marker = "remediator "

// sameRun reports whether a reason was left by an operation, or by another call of the same run that landed after it was taken for lost.
func sameRun(description, operation string) bool {
	found, _, whole := strings.Cut(strings.TrimPrefix(description, marker), ":")
	return whole && strings.HasPrefix(description, marker) && runOf(found) == runOf(operation)
}

// runOf cuts the step and the attempt off an operation id (RUN-STEP-ATTEMPT).
func runOf(operation string) string {
	for range 2 {
		if i := strings.LastIndexByte(operation, '-'); i >= 0 {
			operation = operation[:i]
		}
	}
	return operation
}

// Apply implements executors.Action. Vercel takes no precondition, so the project is read once more; a move in the moment between that and
// the call is not noticed before Observe. The same call made twice has no further effect.
func (a *rollback) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	m, p, err := reread(ctx, env, c)
	if err != nil {
		return executors.Receipt{}, err
	}
	if p.current.Name() != m.From || p.lastMove().RequestedAt != m.Last {
		return executors.Receipt{}, connect.Lost(System, "moving production", "%s serves now, and it was %s when this was planned", p.current.Name(), m.From)
	}
	if m.Type == promoted {
		err = p.api.Promote(ctx, m.Project, m.To)
	} else {
		err = p.api.RollBack(ctx, m.Project, m.To, reason(operation)+" "+plain(c.Summary))
	}
	if err != nil {
		return executors.Receipt{}, err
	}
	return executors.Receipt{Handle: m.Type + " to " + m.To}, nil
}

// reread gives what was planned, and the project as it is now. A project that cannot be understood has lost what the plan rests on.
func reread(ctx context.Context, env executors.Env, c executors.Change) (move, production, error) {
	var m move
	if err := json.Unmarshal(c.Data, &m); err != nil {
		return m, production{}, connect.Lost(System, "moving production", "the plan cannot be read: %v", err)
	}
	p, err := look(ctx, env)
	var (
		call    *connect.CallError
		limited *connect.RateLimited
	)
	if err != nil && !errors.As(err, &call) && !errors.As(err, &limited) {
		err = connect.Lost(System, "moving production", "%v", err)
	}
	return m, p, err
}

// Observe implements executors.Action. A rollback is known by its reason. A promotion has none: one that was requested after the plan, to the
// planned deployment, is taken for ours, for whoever asked, production is where it was to be.
func (a *rollback) Observe(ctx context.Context, env executors.Env, c executors.Change, operation string, r executors.Receipt) (executors.Observation, error) {
	m, p, err := reread(ctx, env, c)
	if err != nil {
		return executors.Observation{}, err
	}
	progress, detail := m.progress(p, operation, r.Handle != "")
	return executors.Observation{Progress: progress, Detail: detail, State: executors.State{"serving": shown(p.current), "new_deploys": p.deploys()}}, nil
}

// progress tells what became of a move.
func (m move) progress(p production, operation string, accepted bool) (executors.Progress, string) {
	last := p.lastMove()
	switch {
	case last.RequestedAt == m.Last && p.current.Name() == m.From && !accepted:
		return executors.NotApplied, "nobody has asked to move production since the plan"
	case last.RequestedAt == m.Last && p.current.Name() == m.From:
		return executors.Pending, "the request was accepted and is not shown yet"
	case last.RequestedAt == m.Last || last.Type != m.Type || last.To != m.To:
		return executors.Foreign, fmt.Sprintf("%s serves since somebody else deployed or moved production (last: %s)", shown(p.current), told(last))
	}
	if progress, detail := m.whose(p, operation, accepted); progress != "" {
		return progress, detail
	}
	switch {
	case p.moving():
		return executors.Pending, fmt.Sprintf("the %s is %s", last.Type, plain(last.Status))
	case last.Status != succeeded:
		return executors.Failed, fmt.Sprintf("Vercel says that the %s has %s", last.Type, plain(last.Status))
	case last.From != m.From:
		return executors.Foreign, fmt.Sprintf("production was moved to %s as planned, but from %s, which had come between", plain(last.To), plain(last.From))
	case p.current.Name() != m.To:
		return executors.Foreign, fmt.Sprintf("production was moved as planned, and %s has come after it", shown(p.current))
	}
	return executors.Applied, fmt.Sprintf("%s serves", shown(p.current))
}

// whose judges a rollback that does not bear our mark; "" if it is ours, or a promotion.
func (m move) whose(p production, operation string, accepted bool) (executors.Progress, string) {
	if m.Type != rolledBack {
		return "", ""
	}
	shows := p.project.Reason
	switch {
	case shows != nil && sameRun(shows.Description, operation), shows == nil && accepted:
		return "", ""
	case shows == nil:
		return executors.Unclear, fmt.Sprintf("production was rolled back to %s, and Vercel does not show by whom", plain(m.To))
	}
	return executors.Foreign, fmt.Sprintf("%s rolled production back to %s: %q", plain(shows.Username), plain(m.To), plain(shows.Description))
}

func told(m connect.VercelMove) string {
	if m.Type == "" {
		return "none"
	}
	return fmt.Sprintf("%s to %s, %s", plain(m.Type), plain(m.To), plain(m.Status))
}

// Undo implements executors.Action: the former deployment is promoted, if nobody has moved production or deployed since. That also lets new
// deployments go live again.
func (a *rollback) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	m, p, err := reread(ctx, env, c)
	if err != nil {
		return executors.Change{}, err
	}
	if err := m.stands(p); err != nil {
		return executors.Change{}, err
	}
	h, err := p.history(ctx)
	if err != nil {
		return executors.Change{}, err
	}
	at := time.UnixMilli(p.lastMove().RequestedAt)
	if d, yes := h.madeAfter(at); yes {
		return executors.Change{}, guard.Refuse(guard.HumanHand, "somebody deployed %s since: promote that one", shown(d))
	}
	to, found := h.first(func(d connect.VercelDeployment) bool { return d.Name() == m.From && d.ReadyState == ready })
	if !found {
		return executors.Change{}, guard.Refuse(guard.NoDestination, "%s is not listed as a finished production deployment any more", m.From)
	}
	return p.change(env, promoted, to, []string{fmt.Sprintf("production is where the rollback of %s left it", clock(at))})
}

// stands refuses unless production is exactly as the rollback left it.
func (m move) stands(p production) error {
	last := p.lastMove()
	ours := p.project.Reason == nil || strings.HasPrefix(p.project.Reason.Description, marker)
	switch {
	case m.Type != rolledBack:
		return guard.Refuse(guard.NothingToDo, "the way back is not taken back itself")
	case p.current.Name() == m.From:
		return guard.Refuse(guard.NothingToDo, "%s serves already", shown(p.current))
	case p.moving():
		return guard.Refuse(guard.Reconciling, "production is being moved: %s", told(last))
	case last.Type != rolledBack || last.Status != succeeded || last.To != m.To || last.From != m.From || last.RequestedAt <= m.Last || !ours:
		return guard.Refuse(guard.HumanHand, "somebody else has moved production since (last: %s)", told(last))
	}
	return nil
}
