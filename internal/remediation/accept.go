package remediation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/failpoint"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// Waits of the look-up of an incomplete event, in real time.
const (
	lookUpFirst = time.Second
	lookUpMost  = 30 * time.Second
	lookUpGive  = 5 * time.Minute // then a human is called: a failed look-up is never "no match"
)

// Accept authenticates, parses and stores one delivery with all it leads to. It never calls out. Errors wrap ErrUnknownSource,
// sources.ErrUnauthenticated, sources.ErrUnavailable, ErrTooMany or ErrUnavailable; a body that cannot be read, or is out of bounds, is
// stored and flagged.
func (e *Engine) Accept(ctx context.Context, in Inbound) (Accepted, error) {
	set := e.Rules.Current()
	source, err := e.source(set, in.Source)
	if err != nil {
		return Accepted{}, err
	}
	if err := source.Authenticate(in.Request); err != nil {
		e.Metrics.turnedAway(in.Source, eventUnauthenticated)
		return Accepted{}, err
	}
	now := e.Now()
	if !e.allows(set.Intake, in.Source, len(in.Request.Body), now) { // only after the proof: a stranger must not use up what is the sender's
		e.Metrics.turnedAway(in.Source, eventTooMany)
		return Accepted{}, fmt.Errorf("%w of source %q", ErrTooMany, in.Source)
	}
	event := Event{ID: e.NewID(), Source: in.Source, ReceivedAt: now, RulesHash: set.Hash, Body: in.Request.Body}
	d, err := parse(set.Intake.Bounds(), source, in.Request.Body, now)
	return e.take(ctx, set, taken{event: event, delivery: d, unread: err, pushed: true})
}

// taken is a delivery on its way in: sent to us, or found by a poll.
type taken struct {
	event    Event
	delivery sources.Delivery
	unread   error // why it could not be read
	pushed   bool
}

// take stores a delivery with all it leads to.
func (e *Engine) take(ctx context.Context, set *rules.Set, in taken) (Accepted, error) {
	event, d := in.event, in.delivery
	event.DedupKey, event.Type, event.OccurredAt, event.Delivery = d.DedupKey, d.Type, d.OccurredAt, d
	a := Acceptance{Event: event, Holds: e.holds(event.Source, d)}
	if d.Drill == "" { // which says nothing of the sender's road
		e.noteFeed(set, &a, in.pushed)
	}
	switch {
	case in.unread != nil:
		a.Event.State, a.Event.Note = EventInvalid, in.unread.Error()
	case d.Ignored != "":
		a.Event.State, a.Event.Note = EventIgnored, d.Ignored
	case e.ours(event.Source, d):
		a.Event.State, a.Event.Note = EventIgnored, "it tells of our own act"
	case d.Incomplete, e.unsure(set, event.Source, d):
		a.Event.State, a.Event.Note, a.Event.WakeAt = EventPending, d.Warning, event.ReceivedAt
	default:
		a.Event.Note = d.Warning
		e.match(set, &a)
	}
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return Accepted{}, fmt.Errorf("storing the event: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	if in.pushed && d.Drill == "" {
		e.Metrics.delivered(event.Source, event.ReceivedAt)
	}
	if a.Event.State == EventInvalid {
		e.Log.Warn("a delivery was kept and not understood", "source", event.Source, "event", event.ID, "error", a.Event.Note)
	}
	accepted.Note = a.Event.Note
	return accepted, nil
}

// parse reads a body, keeps what is within bounds, and moves a drill's delivery into the drill's own space.
func parse(bounds sources.Bounds, source sources.Source, body []byte, now time.Time) (sources.Delivery, error) {
	d, err := source.Parse(body, now)
	if err == nil {
		d, err = bounds.Keep(d)
	}
	if err != nil {
		return d, err
	}
	return sources.Apart(body, d)
}

// Match completes a pending event by its source's look-up and matches it. A look-up that fails is tried again, and escalated when it
// goes on failing.
func (e *Engine) Match(ctx context.Context, id string) error {
	event, err := e.Intake.Event(ctx, id)
	if err != nil || event.State != EventPending {
		return err
	}
	set := e.Rules.Current()
	failpoint.Here("look_up.before")
	d, err := e.lookUp(ctx, set, event)
	if err == nil && e.unsure(set, event.Source, d) {
		err = errors.New("who we are at the source could not be learned: an acknowledgement may be ours")
	}
	failpoint.Here("look_up.after")
	if err != nil {
		return e.lookUpFailed(ctx, set, event, err)
	}
	event.Delivery, event.RulesHash, event.Note = d, set.Hash, d.Warning
	a := Acceptance{Event: event, Looked: true, Holds: e.retracted(event.Source, d)}
	if d.Ignored != "" {
		a.Event.State, a.Event.Note = EventIgnored, d.Ignored
	} else {
		e.match(set, &a)
	}
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return fmt.Errorf("storing the matched event: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	return nil
}

func (e *Engine) lookUp(ctx context.Context, set *rules.Set, event Event) (sources.Delivery, error) {
	source, ok := set.Sources[event.Source].(sources.LookUp)
	if !ok {
		return sources.Delivery{}, fmt.Errorf("the rules file declares no source %q that can look up", event.Source)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	e.learnSelf(ctx, set, event.Source)
	d, err := source.LookUp(ctx, e.Connections(), event.Delivery)
	if err != nil {
		return d, err
	}
	return set.Intake.Bounds().Keep(d)
}

// learnSelf finds out, once, by which name a source tells of our own acts. It is needed by Accept, which may not call out.
func (e *Engine) learnSelf(ctx context.Context, set *rules.Set, name string) {
	source, ok := set.Sources[name].(sources.Self)
	if !ok {
		return
	}
	id, err := source.Self(ctx, e.Connections())
	if err != nil {
		e.Log.Warn("who we are at the source is not known; its word on our own acts is told by type alone", "source", name, "error", err)
		return
	}
	e.selves.Store(name, id)
	e.warnShared(ctx, source, name)
}

// warnShared says once on the log that the user we act as seems to be a person's.
func (e *Engine) warnShared(ctx context.Context, source sources.Self, name string) {
	dedicated, ok := source.(sources.Dedicated)
	if !ok {
		return
	}
	switch why, err := dedicated.Shared(ctx, e.Connections()); {
	case err != nil:
		e.Log.Debug("whether the user we act as is ours alone could not be learned", "source", name, "error", err)
	case why != "":
		e.Log.Warn("the user we act as seems to be a person's: their acknowledgements would pass for our own and hold nothing; "+
			"give remediator a user of its own", "source", name, "why", why)
	}
}

// ours reports whether a delivery only tells of what we did ourselves. That an incident ended is news whoever ended it.
func (e *Engine) ours(source string, d sources.Delivery) bool {
	id, known := e.selves.Load(source)
	if !known || d.Agent == "" || d.Agent != id {
		return false
	}
	return !slices.ContainsFunc(d.Alerts, func(a alert.Alert) bool { return a.Status == alert.Resolved })
}

func (e *Engine) lookUpFailed(ctx context.Context, set *rules.Set, event Event, cause error) error {
	now := e.Now()
	if now.Sub(event.ReceivedAt) < e.scale(lookUpGive) {
		wait := min(lookUpFirst<<min(event.Attempts, 10), lookUpMost)
		e.Log.Warn("the look-up of an event failed and is tried again", "event", event.ID, "source", event.Source, "error", cause, "in", wait)
		return e.Intake.Postpone(ctx, event.ID, now.Add(e.scale(wait)), cause.Error())
	}
	event.State, event.Note = EventFailed, "the look-up failed: "+cause.Error()
	a := Acceptance{Event: event, Looked: true, Messages: e.lookUpMessages(set, event)}
	e.Log.Error("the look-up of an event failed for good; a human is called", "event", event.ID, "source", event.Source, "error", cause)
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return fmt.Errorf("storing the failed event: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	return nil
}

func (e *Engine) lookUpMessages(set *rules.Set, event Event) []Message {
	var out []Message
	for _, a := range event.Delivery.Alerts {
		text := "remediator could not read this incident's alerts, so no rule was tried and nothing was done.\n\n" + event.Note
		for _, kind := range []MessageKind{Escalate, Note} {
			out = append(out, Message{
				ID: fmt.Sprintf("%s-%d", event.ID, len(out)), Run: event.ID, Seq: len(out), Channel: PagerDuty, Kind: kind,
				Connection: pagerDutyConnection(set), IncidentID: a.IncidentID, IncidentKey: a.IncidentKey, Text: text,
				State: MessageQueued, CreatedAt: e.Now(),
			})
		}
	}
	return out
}

// match fills in what the alerts of an event lead to under the rules.
func (e *Engine) match(set *rules.Set, a *Acceptance) {
	a.Event.State = EventMatched
	for _, sig := range a.Event.Delivery.Alerts {
		if sig.Status == alert.Resolved {
			if sig.Merged {
				a.Event.Note = strings.TrimPrefix(a.Event.Note+"; the incident was merged into another one: that is no recovery", "; ")
				a.Moves = append(a.Moves, moves(sig, a.Event)...)
				continue
			}
			a.Resolved = append(a.Resolved, resolution(sig, a.Event))
			continue
		}
		e.propose(set, a, sig)
	}
	unite(set, a)
	number(a)
}

// moves is where the runs of a merged incident go, none where its sender does not say.
func moves(sig alert.Alert, event Event) []Move {
	if sig.IncidentID == "" || sig.MergedInto == "" {
		return nil
	}
	return []Move{{From: sig.IncidentID, To: sig.MergedInto, Key: sig.IncidentKey, At: endOf(sig, event)}}
}

func resolution(sig alert.Alert, event Event) Resolution {
	r := Resolution{
		Source: sig.Source, Episode: sig.Episode, IncidentID: sig.IncidentID, IncidentKey: sig.IncidentKey, At: endOf(sig, event),
		Drill: event.Delivery.Drill != "",
		By:    oneLine(sig.EndedBy),
	}
	if len(sig.Labels) > 0 {
		r.Fingerprint = alert.Fingerprint(sig.Labels)
	}
	return r
}

// endOf is when the signal ended by its sender's clock: a word that comes late must not end what began after it.
func endOf(sig alert.Alert, event Event) time.Time {
	for _, at := range []time.Time{sig.EndsAt, event.OccurredAt} {
		if !at.IsZero() && at.Before(event.ReceivedAt) {
			return at
		}
	}
	if sig.StartsAt.After(event.ReceivedAt) { // our clock is behind the sender's, by which an incident may have been opened since
		return slices.MaxFunc([]time.Time{sig.StartsAt, sig.EndsAt, event.OccurredAt}, time.Time.Compare)
	}
	return event.ReceivedAt
}

// propose adds a run per target that one firing alert concerns, and the rulings that need none.
func (e *Engine) propose(set *rules.Set, a *Acceptance, sig alert.Alert) {
	byTarget, late := map[string][]*rules.Rule{}, map[string]bool{}
	for _, c := range set.Match(sig) {
		ruling := Ruling{Event: a.Event.ID, Rule: c.Rule.Name, Target: c.Target, Mode: string(c.Rule.Mode)}
		switch age := a.Event.age(e.Now()); {
		case c.Undeclared != "":
			ruling.Verdict = Refused
			ruling.Detail = fmt.Sprintf("%s: the label names %q, which is no declared target", guard.UnknownTarget, c.Undeclared)
		case age > c.Rule.MaxAge:
			late[c.Target] = true
			ruling.Verdict = StaleEvent
			ruling.Detail = fmt.Sprintf("the event is %s old, older than %s", age.Round(time.Second), c.Rule.MaxAge)
		default:
			byTarget[c.Target] = append(byTarget[c.Target], c.Rule)
			continue
		}
		a.Rulings = append(a.Rulings, ruling)
	}
	for _, target := range slices.Sorted(maps.Keys(late)) {
		if len(byTarget[target]) == 0 && a.Event.Delivery.Drill == "" {
			a.Stale = append(a.Stale, StaleAlert{Target: target, Alert: sig})
		}
	}
	for _, target := range slices.Sorted(maps.Keys(byTarget)) {
		a.Proposals = append(a.Proposals, e.proposal(set, a.Event, sig, target, byTarget[target]))
	}
}

func (e *Engine) proposal(set *rules.Set, event Event, sig alert.Alert, target string, candidates []*rules.Rule) Proposal {
	p := Proposal{Run: Run{
		ID: e.NewID(), Origin: ByAlert, Event: event.ID, Alert: sig, Target: target, RulesHash: set.Hash,
		State: Running, Phase: PhaseDecide, CreatedAt: event.ReceivedAt, UpdatedAt: event.ReceivedAt, EventAt: event.began(),
	}}
	if drill := event.Delivery.Drill; drill != "" {
		p.Run.Origin, p.Run.Drill = ByDrill, drill
	}
	for _, rule := range candidates {
		p.Run.Rules = append(p.Run.Rules, rule.Name)
		p.Rulings = append(p.Rulings, Ruling{
			Event: event.ID, Run: p.Run.ID, Rule: rule.Name, Target: target, Mode: string(rule.Mode), Verdict: Candidate,
		})
	}
	return p
}

// placesPerRun is how far the rulings of two runs lie apart, so that a run can add those of rules that came with a reload.
const placesPerRun = 1 << 20

// unite lets the first proposal of a target and incident stand for the others of the delivery, which will join its run: their rules become
// its candidates too, in file order.
func unite(set *rules.Set, a *Acceptance) {
	heads := map[[3]string]*Proposal{}
	for i := range a.Proposals {
		p := &a.Proposals[i]
		sig := p.Run.Alert
		key := [3]string{p.Run.Target, sig.IncidentID, sig.IncidentKey}
		head, ok := heads[key]
		if !ok || sig.IncidentID == "" && sig.IncidentKey == "" {
			heads[key] = p
			continue
		}
		head.Run.Others = append(head.Run.Others, sig)
		for _, r := range p.Rulings {
			if !slices.Contains(head.Run.Rules, r.Rule) {
				head.Run.Rules = append(head.Run.Rules, r.Rule)
				r.Run = head.Run.ID
				head.Rulings = append(head.Rulings, r)
			}
		}
		slices.SortFunc(head.Run.Rules, func(x, y string) int { return place(set, x) - place(set, y) })
	}
}

func place(set *rules.Set, name string) int {
	if rule, ok := set.Rule(name); ok {
		return rule.Index
	}
	return len(set.Rules)
}

// number gives every ruling of the event its place.
func number(a *Acceptance) {
	for i := range a.Proposals {
		p := &a.Proposals[i]
		p.Run.Places = map[string]int{}
		for j := range p.Rulings {
			p.Rulings[j].Seq = i*placesPerRun + j
			p.Run.Places[p.Rulings[j].Rule] = p.Rulings[j].Seq
		}
	}
	for i := range a.Rulings {
		a.Rulings[i].Seq = len(a.Proposals)*placesPerRun + i
	}
}

// age is how old an event is by its sender's clock, or since it came in where the sender does not say.
func (ev Event) age(now time.Time) time.Duration {
	return now.Sub(ev.began())
}

func (ev Event) began() time.Time {
	if ev.OccurredAt.IsZero() || ev.OccurredAt.After(ev.ReceivedAt) {
		return ev.ReceivedAt
	}
	return ev.OccurredAt
}

// ByPerson is a rule that somebody starts by hand on a target.
type ByPerson struct {
	Rule, Target  string
	Actor, Reason string
	// Pressed and At name a button and when it was shown: pressed twice it starts one run. Both are zero where no button was pressed.
	Pressed string
	At      time.Time
}

// Start begins a run of a rule for a person instead of an alert. Every guard is asked as for an alert, but for those that concern one. A rule or
// target that the rules do not declare together is ErrNotFound.
func (e *Engine) Start(ctx context.Context, p ByPerson) (Accepted, error) {
	set := e.Rules.Current()
	rule, ok := set.Rule(p.Rule)
	if !ok || !rule.Concerns(p.Target) {
		return Accepted{}, fmt.Errorf("%w: the rules file declares no rule %q for a target %q", ErrNotFound, p.Rule, p.Target)
	}
	event := Event{ID: e.NewID(), Source: string(ByHand), Type: "run", ReceivedAt: e.Now(), State: EventMatched, RulesHash: set.Hash}
	event.DedupKey, event.OccurredAt = p.Pressed, p.At
	sig := alert.Alert{
		Source: string(ByHand), Status: alert.Firing, Episode: event.ID, Labels: rule.Labels(p.Target),
		Annotations: map[string]string{"summary": fmt.Sprintf("started by %s: %s", p.Actor, p.Reason)},
	}
	proposal := e.proposal(set, event, sig, p.Target, []*rules.Rule{rule})
	proposal.Run.Origin, proposal.Run.Actor, proposal.Run.Note = ByHand, p.Actor, p.Reason
	a := Acceptance{Event: event, Proposals: []Proposal{proposal}}
	number(&a)
	accepted, err := e.Intake.Accept(ctx, a)
	if err != nil {
		return Accepted{}, fmt.Errorf("storing the run: %w", err)
	}
	e.Metrics.accepted(a, accepted)
	return accepted, nil
}

// Settle starts a run by hand that takes back what an earlier act left, such as pinned traffic. It is guarded by the target's lock alone:
// the way back is never blocked.
func (e *Engine) Settle(ctx context.Context, action, target, actor, reason string) (Accepted, error) {
	set := e.Rules.Current()
	now := e.Now()
	event := Event{ID: e.NewID(), Source: string(ByHand), Type: action, ReceivedAt: now, State: EventMatched, RulesHash: set.Hash}
	run := Run{
		ID: e.NewID(), Origin: ByHand, Event: event.ID, Target: target, RulesHash: set.Hash, Action: action, Actor: actor, Note: reason,
		Mode: string(rules.Auto), State: Running, Phase: PhaseDecide, CreatedAt: now, UpdatedAt: now, EventAt: now,
		Alert: alert.Alert{Source: string(ByHand), Episode: event.ID},
	}
	return e.Intake.Accept(ctx, Acceptance{Event: event, Proposals: []Proposal{{Run: run}}})
}
