package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/sources"
)

// port is the town as one life of a replica reaches it.
type port struct {
	*life
}

// Close implements io.Closer.
func (*port) Close() error { return nil }

// errAway is an answer that says nothing: the call may have arrived or not.
var errAway = status.Error(codes.Unavailable, "the connection broke")

// silence is a call that is never answered: it lasts until the caller gives up. Where no more time can be let pass, the connection breaks.
func (p *port) silence(ctx context.Context) error {
	until, ok := ctx.Deadline()
	if !ok || !p.s.deepens() || p.s.luck.chance(500) {
		return errAway
	}
	p.s.elapse(time.Until(until))
	p.check()
	if err := ctx.Err(); err != nil {
		return err
	}
	return errAway
}

func (p *port) place(target string) *place { return p.s.town[target] }

func (p *port) ask(ctx context.Context, kind, target string) (executors.Answer, error) {
	p.enter("ask " + kind)
	at := p.place(target)
	f := &fact{OK: !at.ill(), Ill: at.ill(), Value: 0.1, Age: at.age(p.s.clock()), state: at.state}
	if at.ill() {
		f.Value = 1
	}
	answer := executors.Answer{Fact: f, Summary: fmt.Sprintf("%s is %s, ok %t", target, at.state, f.OK)}
	err := ctx.Err()
	switch {
	case err != nil:
	case p.s.strikes(handWhileAsked):
		p.s.byHand(at, p.s.anotherState(at))
	case p.s.strikes(probeSilent):
		err = p.silence(ctx)
	case p.s.strikes(probeFails):
		err = errors.New("the probe failed")
	case p.s.strikes(probeUnknown):
		answer.Unknown = []string{"ok", "value"}
	case p.s.strikes(probeContradicts):
		f.state = "something else"
		p.s.flawed(target, "probe")
	case p.s.strikes(probeNaN):
		f.Value = math.NaN()
		if kind == "look.load" {
			answer.Unknown = []string{"value"}
		}
	}
	p.s.looked(p.life, target, kind, f, err == nil && len(answer.Unknown) == 0)
	p.leave("ask "+kind, false)
	if err != nil {
		p.s.flawed(target, "probe")
		return executors.Answer{}, err
	}
	if len(answer.Unknown) > 0 {
		p.s.flawed(target, "probe")
	}
	return answer, nil
}

// wish is the state that an act would set.
func (a *act) wish(p *place) string {
	switch a.kind {
	case "world.pin":
		return a.To + pin
	case "world.unpin":
		return p.base()
	default:
		return a.To
	}
}

func (p *port) plan(ctx context.Context, a *act, env executors.Env) (executors.Change, error) {
	p.enter("plan " + a.kind)
	defer p.leave("plan "+a.kind, false)
	at := p.place(env.Target.Name)
	to := a.wish(at)
	switch {
	case ctx.Err() != nil:
		p.stay.lacked = true
		return executors.Change{}, ctx.Err()
	case p.s.strikes(planFails):
		p.s.flawed(at.name, "plan")
		p.stay.lacked = true
		return executors.Change{}, errors.New("the target cannot be read")
	case p.s.strikes(planPanics) && a.kind != "world.unpin":
		p.s.flawed(at.name, "plan")
		panic("the plan broke off")
	case p.s.strikes(planRefused):
		p.s.flawed(at.name, "plan")
		reason := pick(p.s.luck, guard.NoCause, guard.SplitTraffic, guard.AlreadyPinned, guard.NoDestination, guard.Migrations, guard.OutOfBounds)
		return executors.Change{}, guard.Refuse(reason, "%s must not be changed", at.name)
	case at.busy(p.s.clock()) != nil:
		return executors.Change{}, guard.Refuse(guard.Reconciling, "a change of %s is under way", at.name)
	case at.rolls(p.s.clock()):
		p.s.flawed(at.name, "its deploy was under way")
		return executors.Change{}, guard.Refuse(guard.Reconciling, "a deploy of %s is under way", at.name)
	case at.state == to:
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "%s is %s already", at.name, to)
	}
	c := change(a.kind, at, to, env.Now)
	if p.s.strikes(planTooWide) {
		p.s.flawed(at.name, "plan")
		c.Selects = pick(p.s.luck, []string{}, []string{"*"}, []string{at.name, ""}, c.Selects, c.Selects, c.Selects)
		if len(c.Selects) == 1 && c.Selects[0] == at.name {
			c.Networks, c.Lasts = []netip.Prefix{netip.MustParsePrefix(pick(p.s.luck, "0.0.0.0/0", "10.0.0.0/8"))}, time.Hour
		}
	}
	if a.kind != "world.unpin" && p.s.has(reload) && p.s.luck.chance(60) { // somebody edits the rules at this very moment
		p.s.reload(p.r)
	}
	switch a.kind {
	case "world.pin":
		c.Debt = executors.DebtPinnedTraffic
	case "world.unpin":
		c.Settles = executors.DebtPinnedTraffic
	case "world.two":
		c.Data = json.RawMessage(`"` + a.Then + `"`)
	}
	p.s.lastPlan[p.stay.key] = c
	return c, nil
}

func change(kind string, p *place, to string, now time.Time) executors.Change {
	return executors.Change{
		Kind: kind, Target: p.name, Summary: fmt.Sprintf("set %s from %s to %s", p.name, p.state, to),
		Before: executors.State{"state": p.state}, After: executors.State{"state": to}, Etag: p.etag(), Selects: []string{p.name},
		UndoHint: "set it back to " + p.state, Reversible: kind != "world.flush", PlannedAt: now,
	}
}

func (p *port) apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	p.check()
	p.s.judgeLease(p.stay, operation)
	if ctx.Err() != nil {
		return executors.Receipt{}, ctx.Err()
	}
	at := p.place(env.Target.Name)
	made := &call{
		operation: operation, run: runOf(operation), target: at.name, kind: c.Kind, replica: p.r.name, etag: c.Etag, from: c.Before["state"],
		to: c.After["state"], second: c.Kind == "world.two" && len(c.Data) == 0, planned: c.PlannedAt, selects: c.Selects,
		stay: p.stay, networks: c.Networks,
	}
	p.s.enter(made)
	if deadline, ok := ctx.Deadline(); ok {
		p.s.judgeDeadline(made, deadline)
	}
	if p.s.strikes(crashInCall) {
		p.die("before " + operation + " leaves")
	}
	err := p.carry(ctx, made, at)
	p.s.say("%s is answered: %v", operation, err)
	p.leave("apply", true)
	if err != nil {
		return executors.Receipt{}, err
	}
	return executors.Receipt{Handle: operation}, nil
}

// carry lets a call meet its fate: it may arrive or not, now or late, and be answered or not.
func (p *port) carry(ctx context.Context, c *call, at *place) error {
	s := p.s
	c.answer = silent
	switch {
	case s.strikes(throttled):
		c.answer = busy
		if !s.still && s.luck.chance(300) { // while the run waits
			s.plan(s.clock()+s.luck.between(0, 30*time.Second), func() { s.byHand(at, s.anotherState(at)) })
		}
		return status.Error(codes.ResourceExhausted, "slow down")
	case s.strikes(rejected):
		c.answer = refused
		return status.Error(codes.FailedPrecondition, "no")
	case s.strikes(neverArrives):
		return p.silence(ctx)
	case s.strikes(landsLate):
		latest := s.latest()
		c.arrives, c.tooLate = s.clock()+s.luck.between(time.Second, latest), latest > usuallyWithin
		s.plan(c.arrives, func() { s.land(c, at) })
		if s.strikes(crashAfterCall) {
			p.die("while " + c.operation + " is on its way")
		}
		return p.silence(ctx)
	case s.strikes(conflict):
		s.byPlatform(at)
	case s.strikes(handBeforeCall):
		s.byHand(at, s.anotherState(at))
	}
	if !s.land(c, at) {
		c.answer = outdated
		return status.Error(codes.Aborted, "the version is another one")
	}
	if s.strikes(crashAfterCall) {
		p.die("after " + c.operation + " took effect")
	}
	c.obscure = s.strikes(neverClear)
	if c.obscure || s.strikes(replyLost) {
		return p.silence(ctx)
	}
	c.answer = taken
	return nil
}

func (p *port) observe(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Observation, error) {
	p.enter("observe")
	defer p.leave("observe", false)
	at := p.place(env.Target.Name)
	switch {
	case ctx.Err() != nil:
		return executors.Observation{}, ctx.Err()
	case p.s.strikes(handWhileWatched):
		p.s.byHand(at, p.s.anotherState(at))
	case p.s.strikes(readFails):
		p.s.unread[p.stay] = true
		return executors.Observation{}, p.silence(ctx)
	case p.s.strikes(readUnclear), p.s.callOf(operation).obscure:
		p.s.unread[p.stay] = true
		return executors.Observation{Progress: executors.Unclear, Detail: "the answer makes no sense"}, nil
	}
	o := at.look(c, operation, p.s.clock())
	if m := at.marks[operation]; m != nil && o.Progress == executors.Pending {
		if m.seen && p.s.strikes(readsOld) {
			o.Progress, o.Detail = executors.NotApplied, "an old answer"
		}
		m.seen = true
	}
	if o.Progress == executors.Applied && len(c.Data) > 0 {
		next := change(c.Kind, at, strings.Trim(string(c.Data), `"`), env.Now)
		o.Next = &next
	}
	p.s.shown(p.stay, operation, o.Progress)
	return o, nil
}

func (p *port) undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	p.enter("undo")
	defer p.leave("undo", false)
	at := p.place(env.Target.Name)
	switch {
	case ctx.Err() != nil:
		return executors.Change{}, ctx.Err()
	case p.s.strikes(planFails):
		return executors.Change{}, errors.New("the target cannot be read")
	case at.busy(p.s.clock()) != nil:
		return executors.Change{}, guard.Refuse(guard.Reconciling, "a change of %s is under way", at.name)
	case at.state != c.After["state"] || at.ours == nil:
		return executors.Change{}, guard.Refuse(guard.HumanHand, "%s is %s, not as it was left", at.name, at.state)
	}
	return change(c.Kind, at, c.Before["state"], env.Now), nil
}

func (p *port) lookUp(ctx context.Context, d sources.Delivery) (sources.Delivery, error) {
	p.enter("look up")
	defer p.leave("look up", false)
	if !d.Incomplete {
		return d, nil
	}
	if p.s.pager.down || p.s.strikes(lookUpFails) {
		return d, p.silence(ctx)
	}
	return p.s.pager.complete(d)
}

// reread tells how an alert stands at its sender right now.
func (p *port) reread(ctx context.Context, a alert.Alert) (sources.Standing, error) {
	p.enter("re-read")
	defer p.leave("re-read", false)
	p.s.rereads[p.stay.key] = sources.Standing{}
	if a.Source == "pd" && p.s.pager.down || p.s.strikes(rereadFails) {
		return sources.Standing{}, p.silence(ctx)
	}
	if a.Source == "am" && !p.s.answers {
		return sources.Standing{Detail: "it cannot be asked"}, nil
	}
	p.s.rereads[p.stay.key] = p.s.standing(a)
	return p.s.rereads[p.stay.key], nil
}

// connections are all that an engine of this life can reach.
func (l *life) connections() connect.Set {
	return connect.Set{"world": &port{l}, "pagerduty": &pagerPort{l}, "slack": &slackPort{l}}
}
