package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// director lets outages happen on many services at once, and writes down which.
type director struct {
	world  *world
	sender *deliverer
	api    *api
	stats  *stats

	mu       sync.Mutex
	outages  map[string]outage
	troubles []error // of the director itself: they spoil the torture
}

// outage is what the checker has to know of one.
type outage struct {
	ID      string
	Service string
	Story   string
	// Incident is PagerDuty's id of it, where the alert came by that road.
	Incident string
	Heals    bool
	Touches  bool
	Meddles  bool
	Likely   remediation.Outcome
	Ended    []remediation.Outcome // of the runs it led to, as far as the director has seen
}

// scene is one outage while it lasts.
type scene struct {
	*director
	story    story
	service  string
	outage   string
	incident string // PagerDuty's id, where the alert came by that road
	starts   time.Time
	began    int // place in the ledger
	road     string
	once     sync.Once
}

// outageWithin is how long a run may take, over all the crashes that come in between, before the director goes on without it.
const outageWithin = 2 * time.Minute

// askEvery is how often a server is asked how far a run is.
const askEvery = 400 * time.Millisecond

// direct plays outages on the services of one worker, in turn, until ctx ends. The outage under way is then still played to its end,
// unless hard ends.
func (d *director) direct(ctx, hard context.Context, dice *rand.Rand, services []string) {
	bag := weighted(stories())
	for n := 0; ctx.Err() == nil; n++ {
		name := services[n%len(services)]
		st := bag[dice.IntN(len(bag))]
		s := &scene{
			director: d, story: st, service: name, outage: fmt.Sprintf("%s-%d", name, n), road: roads[dice.IntN(len(roads))],
		}
		s.play(ctx, hard, dice)
	}
}

// The roads by which an outage's alert comes.
const (
	roadAlertmanager = "alertmanager"
	roadPagerDuty    = "pagerduty"
)

var roads = []string{roadAlertmanager, roadAlertmanager, roadPagerDuty}

func weighted(all []story) []story {
	var bag []story
	for _, s := range all {
		for range s.weight {
			bag = append(bag, s)
		}
	}
	return bag
}

func (d *director) note(err error) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.troubles = append(d.troubles, err)
}

// play plays one outage from its beginning to the end of what was done about it.
func (s *scene) play(ctx, hard context.Context, dice *rand.Rand) {
	s.began = s.world.ledger.size()
	if err := s.story.before(ctx, s); err != nil {
		s.note(err)
		pause(ctx, time.Second)
		return
	}
	if ctx.Err() != nil {
		return
	}
	s.starts = time.Now().UTC()
	s.learn(nil)
	within, cancel := context.WithTimeout(hard, outageWithin)
	defer cancel()
	s.fire(within)
	var meanwhile sync.WaitGroup
	if s.story.during != nil {
		meanwhile.Go(func() { s.story.during(within, s) })
	}
	repeats, enough := context.WithCancel(within)
	meanwhile.Go(func() { s.repeat(repeats, dice.Int64N(int64(2*time.Second))) })
	ended := s.awaitOutcome(within)
	enough()
	s.resolve()
	if ended && s.story.after != nil {
		s.story.after(within, s)
	}
	cancel()
	meanwhile.Wait()
	s.tidy(hard)
}

// known is what the checker has to know of the scene.
func (s *scene) known() outage {
	return outage{
		ID: s.outage, Service: s.service, Incident: s.incident, Story: s.story.name, Heals: s.story.heals, Touches: s.story.touches, Meddles: s.story.meddles,
		Likely: s.story.likely,
	}
}

// fire lets the alert begin, by one road or the other.
func (s *scene) fire(ctx context.Context) {
	if s.road == roadAlertmanager {
		s.note(s.sender.deliver(s.delivery(kindOutage, "firing")))
		return
	}
	var opened struct{ ID string }
	s.note(s.world.get(ctx, "trigger-incident", map[string]any{
		"title": s.outage, "key": s.outage, "severity": "critical", "details": s.labels(),
	}, &opened))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incident = opened.ID
	s.outages[s.outage] = s.known()
}

func (s *scene) labels() map[string]string {
	return map[string]string{"alertname": s.story.alert, "service": s.service, "severity": "critical", "outage": s.outage}
}

func (s *scene) delivery(kind, status string) delivery {
	return delivery{
		Kind: kind, Source: alertmanagerSource,
		Alerts: []about{{Name: s.story.alert, Target: s.service, Outage: s.outage, Firing: status == "firing"}},
		Body: amBody(fmt.Sprintf("{}:{outage=%q}", s.outage), amAlert{
			Status: status, Labels: s.labels(), Annotations: map[string]string{"summary": s.story.name}, StartsAt: s.starts, EndsAt: ended(status, time.Now()),
		}),
	}
}

// repeat tells of the alert again while it fires, as Alertmanager does.
func (s *scene) repeat(ctx context.Context, first int64) {
	for wait := time.Second + time.Duration(first); s.road == roadAlertmanager && pause(ctx, wait); wait = 3 * time.Second {
		s.note(s.sender.deliver(s.delivery(kindOutage, "firing")))
	}
}

// resolve tells, once, that the alert is over.
func (s *scene) resolve() {
	s.once.Do(func() {
		if s.road == roadAlertmanager {
			s.note(s.sender.deliver(s.delivery(kindEnd, "resolved")))
			return
		}
		s.note(s.world.do(context.Background(), "human-resolves", map[string]string{"incident": s.incident}))
	})
}

// awaitOutcome waits until the outage has led to a run and every run that it led to is done.
func (s *scene) awaitOutcome(ctx context.Context) bool {
	for pause(ctx, askEvery) {
		all, err := s.api.runs(ctx, s.service)
		if err != nil {
			s.note(err)
			return false
		}
		all = slices.DeleteFunc(all, func(r remediation.Run) bool {
			return r.Origin != remediation.ByAlert || r.Alert.Labels["outage"] != s.outage
		})
		open := slices.ContainsFunc(all, func(r remediation.Run) bool { return r.State != remediation.Done })
		if len(all) == 0 || open {
			continue
		}
		s.learn(all)
		return true
	}
	return false
}

// learn tells the checker of the scene and of how its runs have ended so far.
func (s *scene) learn(all []remediation.Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.known()
	for _, r := range all {
		o.Ended = append(o.Ended, r.Outcome)
	}
	s.outages[s.outage] = o
}

// awaitRun waits for the end of a run by hand.
func (s *scene) awaitRun(ctx context.Context, id string) {
	for pause(ctx, askEvery) {
		var view struct{ Run remediation.Run }
		if s.api.insist(ctx, http.MethodGet, "/v1/runs/"+id, nil, &view) != nil || view.Run.State == remediation.Done {
			return
		}
	}
}

// awaitFollowUps waits, for some of the time, until what was scaled up is scaled back.
func (s *scene) awaitFollowUps(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, outageWithin/4)
	defer cancel()
	for pause(ctx, 500*time.Millisecond) {
		all, err := s.api.runs(ctx, s.service)
		waits := slices.ContainsFunc(all, func(r remediation.Run) bool {
			return r.Phase == remediation.PhaseCalm || r.Origin == remediation.ByFollowUp && r.Acted && r.State != remediation.Done
		})
		if err != nil || !waits {
			return
		}
	}
}

// tidy makes the service fit for the next outage: the automation may try again, and nobody acts on it any more.
func (s *scene) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, outageWithin)
	defer cancel()
	s.resolve()
	s.note(s.world.do(ctx, "latency", service(s.service, "delay", "0s")))
	s.note(s.api.release(ctx, s.service))
	for pause(ctx, askEvery) {
		all, err := s.api.runs(ctx, s.service)
		busy := slices.ContainsFunc(all, func(r remediation.Run) bool {
			return r.State != remediation.Done && !slices.Contains(patient, r.Phase)
		})
		if err != nil || !busy {
			break
		}
	}
	pause(ctx, time.Second) // the cooldown
}

// patient are the phases in which a follow-up waits without acting on anything.
var patient = []remediation.Phase{remediation.PhaseCalm, remediation.PhaseRemind, remediation.PhaseAwait}

// ends counts the outcomes that the director has seen.
func (d *director) ends() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := map[string]int{}
	for _, o := range d.outages {
		for _, end := range o.Ended {
			counts[string(end)]++
		}
	}
	return counts
}

func (d *director) trouble() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.troubles...)
}

// told shows counts in the order of their names.
func told(counts map[string]int) string {
	var words []string
	for _, name := range sortedKeys(counts) {
		words = append(words, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(words, ", ")
}
