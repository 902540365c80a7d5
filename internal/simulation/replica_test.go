package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/notify"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// replica is one place where the server runs: one process after the other.
type replica struct {
	s       *sim
	name    string
	edition int           // of the rules file it reads
	readAt  time.Duration // since when
	upSince time.Duration // its process, without standing still
	frozen  bool
	*life
}

// life is one process: an engine and a notifier on the shared store, until it dies.
type life struct {
	s        *sim
	r        *replica
	n        int
	owner    string
	over     bool
	engine   *remediation.Engine
	notifier *notify.Notifier
	wire     *wire
	busy     map[string]*stay // what is being visited
	stay     *stay            // the innermost of these
	later    map[string]penalty
	swept    time.Duration   // when it last looked for what is due
	intents  map[string]bool // runs whose intent is stored and whose call comes next
}

// penalty keeps a visit that failed from being tried in a hot loop.
type penalty struct {
	failures int
	until    time.Duration
}

// death is what a visit of a process ends in that dies in the middle of it.
type death struct{ of *life }

// errDied is what is seen from outside of a visit whose process died.
var errDied = errors.New("the process died")

// The instruments are shared by all seeds: nobody reads them.
var (
	metrics = remediation.NewMetrics(prometheus.NewRegistry())
	quiet   = slog.New(slog.DiscardHandler)
)

// start begins a process. On its own file a process takes over what the former one held; on a shared store it is nobody's heir.
func (r *replica) start() {
	n := 1
	if r.life != nil {
		n = r.n + 1
	}
	l := &life{s: r.s, r: r, n: n, owner: r.name, busy: map[string]*stay{}, later: map[string]penalty{}, intents: map[string]bool{}, swept: r.s.clock()}
	if len(r.s.replicas) > 1 {
		l.owner = fmt.Sprintf("%s-%d", r.name, n)
	}
	l.wire = &wire{life: l, view: r.s.store.TakeOver(l.owner)}
	l.engine = remediation.New(remediation.Config{
		Rules: l, Intake: l.wire, Runs: l.wire, Connections: l.connections, Systems: remediation.NewSystems(metrics, 1), Metrics: metrics,
		Pressed: r.s.stopFile, Protected: []string{identity(houseOf(r.s.itself))},
		Log: quiet, Owner: l.owner, Lease: r.s.lease, Speed: 1, Now: r.s.now, NewID: r.s.newID,
	})
	l.notifier = notify.New(notify.Config{
		Outbox: l.wire, Connections: l.connections, Now: r.s.now, Jitter: func() float64 { return 0.5 }, Log: quiet, Speed: 1,
		Report: l.report,
	})
	r.life, r.frozen, r.upSince = l, false, r.s.clock()
	r.s.say("%s begins", l.owner)
	r.tellRules()
}

// tellRules tells the other replicas by which rules this one goes.
func (r *replica) tellRules() {
	if err := r.wire.view.SetRulesHash(context.Background(), r.Current().Hash); err != nil {
		r.s.violate("store", "%v", err)
	}
}

// beat lets the replicas that are up show that they live, as they do all the time.
func (s *sim) beat() {
	for _, r := range s.replicas {
		if !r.up() {
			continue
		}
		if err := r.wire.view.Beat(context.Background()); err != nil {
			s.violate("store", "%v", err)
		}
	}
}

// Current implements remediation.RuleBook: the rules that this replica has read last.
func (l *life) Current() *rules.Set { return codeOf(l.s.code, l.r.edition).set }

// ByHash implements remediation.RuleBook.
func (l *life) ByHash(_ context.Context, hash string) (*rules.Set, error) {
	for edition := range 2 {
		if set := codeOf(l.s.code, edition).set; set.Hash == hash {
			return set, nil
		}
	}
	return nil, fmt.Errorf("rules %s: %w", hash, remediation.ErrRulesGone)
}

// up reports whether the replica can be asked for anything.
func (r *replica) up() bool { return !r.over && !r.frozen }

// check ends the visit of a process that was killed meanwhile.
func (l *life) check() {
	if l.over {
		panic(death{l})
	}
}

// die kills the process in the middle of what it does.
func (l *life) die(where string) {
	l.end(where)
	panic(death{l})
}

// end makes the process a dead one; another one begins after a while.
func (l *life) end(where string) {
	l.s.say("%s dies: %s", l.owner, where)
	l.over = true
	l.s.stalls = append(l.s.stalls, l.s.clock())
	l.s.plan(l.s.clock()+l.s.luck.between(100*time.Millisecond, pick(l.s.luck, 2*time.Second, 20*time.Second)), l.r.start)
}

// enter is what can befall a process as it turns to the outside.
func (l *life) enter(what string) {
	l.check()
	if l.s.strikes(hintTwice) {
		run := l.stay.key
		l.s.plan(l.s.clock(), func() { l.s.hintAgain(run) })
	}
	l.s.elapse(l.s.luck.between(0, 3*time.Millisecond))
	l.check() // another visit of the process may have died meanwhile
	if l.s.strikes(freezeShort) {
		l.freeze(what, l.s.luck.between(time.Second, l.s.lease))
	}
	if l.s.strikes(freezeLong) {
		l.freeze(what, l.s.lease+l.s.luck.between(0, time.Minute))
	}
}

// leave is what can befall it before it learns the answer. Nothing comes between a look at the stop button and the call that follows: a
// process that is stopped there cannot be helped.
func (l *life) leave(what string, wrote bool) {
	l.check()
	if wrote && l.s.strikes(freezeLong) {
		l.freeze("after "+what, l.s.lease+l.s.luck.between(0, time.Minute))
	}
}

// freeze stops the process for a while, as SIGSTOP does. The others go on.
func (l *life) freeze(where string, d time.Duration) {
	if !l.s.deepens() || l.r.frozen {
		return
	}
	l.s.say("%s stands still for %s: %s", l.owner, d, where)
	l.s.stalls = append(l.s.stalls, l.s.clock())
	l.r.frozen = true
	if l.s.strikes(killedWhileFrozen) {
		l.s.plan(l.s.clock()+d/2, func() {
			if !l.over {
				l.r.frozen = false
				l.end("while it stood still")
			}
		})
	}
	l.s.elapse(d)
	if l.r.life == l {
		l.r.frozen, l.r.upSince = false, l.s.clock()
		l.overslept()
	}
	l.s.say("%s goes on", l.owner)
	l.check()
}

// overslept lets the process look for what is due before it goes on with visits that have lost their lease.
func (l *life) overslept() {
	for _, run := range slices.Sorted(maps.Keys(l.busy)) {
		v := l.busy[run]
		g, held := l.s.grips[run]
		if v.late = v.late || held && g.by == v && !l.s.now().Before(g.until); v.late && l.s.deepens() {
			l.s.plan(l.s.clock(), func() { l.again(run) })
		}
	}
	l.s.elapse(time.Millisecond)
}

// again visits a run that is due, beside a visit that has lost it.
func (l *life) again(run string) {
	if rec, known := l.s.record(run); known {
		l.advance(remediation.Hint{Run: run, Version: rec.Run.Version})
	}
}

// visit does a piece of work in the process, which may die of it. It reports whether it was done at all.
func (l *life) visit(key string, do func(ctx context.Context) error) (ran bool, err error) {
	if l.over || l.r.frozen || l.busy[key].keepsOut() || l.s.clock() < l.later[key].until {
		return false, nil
	}
	defer l.enterStay(key)()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer func() {
		switch p := recover().(type) {
		case nil:
		case death:
			if p.of != l {
				panic(p)
			}
			err = errDied
		default:
			l.s.violate("panic", "%v\n%s", p, debug.Stack())
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			l.stay.broken = true
			l.s.forgets(l.stay)
		}
	}()
	err = do(ctx)
	l.punish(key, err)
	return true, err
}

func (l *life) punish(key string, err error) {
	if err == nil || errors.Is(err, remediation.ErrStaleHint) || errors.Is(err, remediation.ErrFenced) {
		if errors.Is(err, remediation.ErrFenced) {
			l.s.reached.marks["fenced"] = true
			l.s.say("%s is fenced off", l.owner)
		}
		delete(l.later, key)
		return
	}
	l.s.say("%s fails at %s: %v", l.owner, key, err)
	p := l.later[key]
	l.later[key] = penalty{failures: p.failures + 1, until: l.s.clock() + min(time.Second<<min(p.failures, 6), time.Minute)}
}

func (l *life) advance(h remediation.Hint) {
	_, _ = l.visit(h.Run, func(ctx context.Context) error { return l.engine.Advance(ctx, h) })
}

func (l *life) match(event string) {
	_, _ = l.visit(event, func(ctx context.Context) error { return l.engine.Match(ctx, event) })
}

func (l *life) deliver(lane remediation.Lane) {
	_, _ = l.visit(lane.Run+" "+string(lane.Channel), func(ctx context.Context) error { return l.notifier.Deliver(ctx, lane) })
}

// accept takes a delivery in, as the webhook does.
func (l *life) accept(source string, body []byte) (got remediation.Accepted, err error) {
	_, err = l.visit("accept "+l.s.newID(), func(ctx context.Context) (err error) {
		got, err = l.engine.Accept(ctx, remediation.Inbound{Source: source, Request: sources.Request{Header: http.Header{}, Body: body}, ReceivedAt: l.s.now()})
		return err
	})
	return got, err
}

// sweep visits what is due.
func (l *life) sweep() {
	l.swept = l.s.clock()
	var due remediation.Due
	_, err := l.visit("sweep", func(ctx context.Context) (err error) {
		due, err = l.wire.due(ctx)
		return err
	})
	if err != nil {
		return
	}
	for _, hint := range shuffled(l.s.luck, due.Runs) {
		l.advance(hint)
	}
	for _, event := range due.Events {
		l.match(event)
	}
	for _, lane := range shuffled(l.s.luck, due.Lanes) {
		l.deliver(lane)
	}
}
