package remediation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
)

// Config is what an Engine is made of.
type Config struct {
	Rules       RuleBook
	Intake      Intake
	Runs        Runs
	Feeds       Feeds // needed by Poll and Watch alone
	Connections func() connect.Set
	Systems     *Systems
	Metrics     *Metrics
	Log         *slog.Logger

	// Pressed gives the pause that is pressed outside the store, such as by a file; nil when there is none. It may be nil itself.
	Pressed func() *guard.Pause
	// Protected are identities of targets that are this process itself, beside those the rules name.
	Protected []string

	Owner string        // names this process in leases
	Lease time.Duration // how long a claim lasts without a sign of life
	Speed float64       // how much faster than real the outside world runs; 1 but in the demo
	Now   func() time.Time
	NewID func() string // UUIDv7
}

// Engine decides and carries out. Its methods are safe for concurrent use; one run is worked on by one visit at a time, which the store's
// claims ensure.
type Engine struct {
	Config
	selves  sync.Map     // source name -> the id by which it tells of our own acts
	rates   sync.Map     // rateKey -> its *rate.Limiter
	learned atomic.Int64 // when that was last asked for all of them, in microseconds
	heard   sync.Map     // source name -> time.Time: when it was last recorded that something came
	turns   sync.Map     // source name -> time.Time: before it no poll is due
}

// New makes an Engine.
func New(c Config) *Engine { return &Engine{Config: c} }

// Waits of the engine itself, in real time; the world's speed shortens them.
const (
	observeEvery  = time.Second      // between two looks at a change under way
	observeWithin = 10 * time.Minute // until a change that does not complete is given to a human
	regatherEvery = 5 * time.Second  // between two tries to get facts that could not be had
	maxGathers    = 3
	maxAttempts   = 3 // of one rung whose precondition was lost
	maxUnclear    = 5
	throttleWait  = 30 * time.Second
	lateWait      = 5 * time.Second // for a call whose answer was lost to land
	callTimeout   = 10 * time.Second
	rereadTimeout = 3 * time.Second
	planTTL       = time.Minute     // of a plan, until its call
	factsTTL      = 2 * time.Minute // of the facts a plan rests on
	leaseMargin   = 2 * time.Second
	maxSeen       = 60
	maxFactBytes  = 4096
	longestWindow = 24 * time.Hour
)

func (e *Engine) scale(d time.Duration) time.Duration { return executors.Env{Speed: e.Speed}.Scale(d) }

// Advance does what is due on a run, up to its next wait. An early, late or repeated hint does nothing.
// It returns an error when the store failed or the visit was cut short; the run then goes on with its next claim.
func (e *Engine) Advance(ctx context.Context, h Hint) error {
	c, err := e.Runs.Claim(ctx, Claim{Hint: h, Owner: e.Owner, Now: e.Now(), Lease: e.Lease})
	if err != nil {
		return err
	}
	v, err := e.open(ctx, c)
	if err != nil {
		return err
	}
	for !v.over {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.visit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// open loads what a visit needs: the rules the run goes by and what they bind on its target.
func (e *Engine) open(ctx context.Context, c Claimed) (*visit, error) {
	if c.Run.Alert.IncidentID == "" {
		c.Run.Alert.IncidentID = c.Incident // keys recur: what is told later belongs to the incident of the first word
	}
	v := &visit{
		e: e, run: c.Run, steps: c.Steps, episode: c.Episode, approval: c.Approval, marks: c.Marks, fleet: c.Fleet,
	}
	v.hold(c.Run.LeaseUntil)
	v.set = e.Rules.Current()
	if v.run.RulesHash == v.set.Hash || !v.run.Acted && v.run.Origin != ByFollowUp {
		v.bind(v.run.Rule)
		return v, nil
	}
	set, err := e.Rules.ByHash(ctx, v.run.RulesHash)
	switch {
	case errors.Is(err, ErrRulesGone): // the run goes on without a rule, to an end that calls a human
		e.Log.Error("the rules a run was decided by are gone", "run", v.run.ID, "error", err)
	case err != nil:
		return nil, err
	default:
		v.set = set
		v.bind(v.run.Rule)
	}
	return v, nil
}

// visit is the work on one claimed run: a chain of commits, each ending what was done before it.
type visit struct {
	e       *Engine
	run     Run
	steps   []Step
	episode Related
	fleet   Anchor
	set     *rules.Set
	rule    *rules.Rule
	bound   rules.Bound
	facts   rules.Facts           // of the bound rule, by the names it gives them
	asked   map[string]rules.Fact // by question: what this visit has asked
	out     Commit
	start   Run // as it was before this visit's phase: what a refused commit goes back to
	leased  leaseEnd
	fresh   bool // the intent in progress was recorded by this visit: the call was certainly not made before
	over    bool

	approval *Approval
	marks    map[string]string
	oldest   time.Time  // when the oldest fact of this visit was asked
	basis    guard.Plan // what the act in progress was planned on
	left     error      // why the visit is given up with nothing committed
}

func (v *visit) bind(name string) {
	v.rule, v.bound = nil, rules.Bound{}
	rule, ok := v.set.Rule(name)
	if !ok {
		return
	}
	if bound, ok := rule.Bind(v.run.Target); ok {
		v.rule, v.bound = rule, bound
	}
}

// visit does one phase and commits it.
func (v *visit) visit(ctx context.Context) error {
	v.out = Commit{Now: v.e.Now()}
	v.asked = map[string]rules.Fact{}
	v.start = v.run
	switch v.run.Phase {
	case PhaseDecide:
		v.decideSafely(ctx)
	case PhaseAsk:
		v.hear()
	case PhaseApply:
		v.apply(ctx)
	case PhaseObserve:
		v.observe(ctx)
	case PhaseVerify:
		v.verify(ctx)
	case PhaseUndo:
		v.undo(ctx)
	case PhaseCalm:
		v.calm(ctx)
	case PhaseRemind:
		v.remind(ctx)
	case PhaseAwait:
		v.await()
	case PhaseExpire:
		v.expire(ctx)
	default:
		v.over = true
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err // what was found under a cancelled context means nothing
	}
	if v.left != nil {
		return v.left
	}
	v.escalateLate()
	v.update()
	return v.commit(ctx)
}

func (v *visit) commit(ctx context.Context) error {
	if (v.run.Phase == PhaseCalm || v.run.Phase == PhaseExpire) && v.run.State == Waiting {
		v.out.Unlock = true // nothing is under way while a follow-up waits for its time
	}
	v.out.Run = v.run
	v.out.Run.UpdatedAt = v.out.Now
	if !v.run.MayAffect() {
		v.out = v.out.inert()
	}
	if v.run.State == Running {
		v.out.Lease = v.e.Now().Add(v.e.Lease)
		v.hold(v.out.Lease)
	} else {
		v.over = true
	}
	err := v.e.Runs.Commit(ctx, v.out)
	if refusal := asRefusal(err); refusal != nil && v.out.Intent != nil {
		return v.commitRefusal(ctx, refusal)
	}
	if err != nil {
		return err
	}
	v.run.Version++
	v.e.Metrics.committed(v.out)
	return nil
}

// catchUp moves the visit's time past a call: what is recorded next happens after it.
func (v *visit) catchUp() { v.out.Now = v.e.Now() }

// wait ends the visit until the time.
func (v *visit) wait(d time.Duration) {
	v.run.State = Waiting
	v.run.WakeAt = v.out.Now.Add(d)
}

// env is what the kinds are given.
func (v *visit) env() executors.Env {
	target, ok := v.set.Targets[v.run.Target]
	if v.rule != nil {
		target, ok = v.bound.Target, true
	}
	if !ok {
		target.Name = v.run.Target
	}
	return executors.Env{
		Target: target, Connections: v.e.Connections(), Now: v.e.Now(), Onset: v.run.Alert.StartsAt, Speed: v.e.Speed,
		Incident: v.incident(),
		Marks:    v.marks, Facts: v.known(), Unknown: v.unknown(),
	}
}

// unknown are the fields of known that could not be had, by their facts' names.
func (v *visit) unknown() map[string][]string {
	unknown := map[string][]string{}
	for name, fact := range v.facts {
		if len(fact.Answer.Unknown) > 0 {
			unknown[name] = fact.Answer.Unknown
		}
	}
	return unknown
}

// known are the facts of the bound rule that could be had, by their names.
func (v *visit) known() map[string]any {
	if v.facts == nil {
		return nil
	}
	known := map[string]any{}
	for name, fact := range v.facts {
		if fact.Err == nil {
			known[name] = fact.Answer.Fact
		}
	}
	return known
}

// longest is the longest a call may take: always shorter than the lease, so that a late answer never meets a new owner.
func (v *visit) longest() time.Duration { return max(v.e.Lease-leaseMargin, v.e.Lease/2) }

// bounded gives a call its deadline, which is never after the end of the lease.
func (v *visit) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		d = callTimeout
	}
	return context.WithTimeout(ctx, min(d, v.longest(), max(v.leaseLeft(), 0)))
}

// leaseEnd is until when the claim holds: by the store's clock, by which others judge it, and by this process's own, which nobody sets back.
type leaseEnd struct{ store, own time.Time }

func (v *visit) hold(until time.Time) {
	v.leased = leaseEnd{store: until, own: time.Now().Add(until.Sub(v.e.Now()))}
}

// leaseLeft is for how long the claim holds by both clocks.
func (v *visit) leaseLeft() time.Duration {
	return min(v.leased.store.Sub(v.e.Now()), time.Until(v.leased.own))
}

// keep renews the lease when what is left of it is less than the longest call.
func (v *visit) keep(ctx context.Context) error {
	if v.leaseLeft() > v.longest() {
		return nil
	}
	until := v.e.Now().Add(v.e.Lease)
	if err := v.e.Runs.Renew(ctx, v.run.ID, v.run.Epoch, until); err != nil {
		return err
	}
	v.hold(until)
	return nil
}
