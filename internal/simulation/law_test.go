package simulation

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mixillo/remediator/internal/rules"
)

// law is a rule as the jury knows it: it never reads a rules file.
type law struct {
	name     string
	alert    string // the alertname it matches
	severity string // and the severity, "" for any
	target   string // the declared target, "" where the label service names it
	mode     string
	when     condition
	rungs    []rung
	hold     time.Duration
	settle   time.Duration // before the first sample
	within   time.Duration
	limits   limits
	maxAge   time.Duration
	cooldown time.Duration
	late     time.Duration // after which a human is called all the same
	resolve  bool
	slack    bool
	after    string // a follow-up: "", remind or scale_back
}

// limits are how many acts a window allows.
type limits struct {
	rule, target, fleet [2]int // per hour, per day
	failures            int
	probeAfter          time.Duration
	settle, inverse     time.Duration
	storm               int // targets that want action within stormTime
	approval            time.Duration
}

// rung is one step of a law's ladder: the state it sets, and the second one where the change has two parts.
type rung struct{ kind, to, then string }

// condition is the `if` of a law.
type condition string

const (
	always     condition = "" // no `if` at all
	sick       condition = "!health.ok"
	sickDeploy condition = `!health.ok && health.age < duration("30m")`
	loaded     condition = "load.value > 0.5"
	never      condition = "health.ok && !health.ok"
)

// code is one rules file: its text, and what the jury knows of it.
type code struct {
	set       *rules.Set
	laws      []law
	text      string
	protected string // a target that is remediator's own, "" for none
	freezes   []freeze
}

// freeze is a time in which nothing acts by itself, since the beginning.
type freeze struct {
	target   string // "" for all
	from, to time.Duration
	daily    bool // from there on
}

func (f freeze) covers(target string) bool { return f.target == "" || f.target == target }

func (c *code) law(name string) (law, bool) {
	for _, l := range c.laws {
		if l.name == name {
			return l, true
		}
	}
	return law{}, false
}

// The rules files that seeds draw from. Loading one takes longer than playing a seed, so that there are only so many.
const files = 400

var library [files][2]struct {
	once sync.Once
	code *code
}

// codeOf gives a rules file; its second edition is what a reload brings.
func codeOf(number, edition int) *code {
	entry := &library[number][edition]
	entry.once.Do(func() { entry.code = write(number, edition) })
	return entry.code
}

func write(number, edition int) *code {
	d := newDice(uint64(number), 11)
	c := &code{laws: draft(d)}
	if d.chance(100) {
		c.protected = pick(d, names[2:]...) // no rule may name it as its target
	}
	if d.chance(150) {
		from := pick(d, d.between(0, 20*time.Minute), d.between(30*time.Second, 2*time.Minute)).Truncate(time.Second)
		c.freezes = append(c.freezes, freeze{target: pick(d, "", names[0], names[1]), from: from, to: from + pick(d, 3*time.Minute, 15*time.Minute)})
	}
	if d.chance(100) { // one that comes every day, told on a clock on another wall
		from := time.Duration(d.IntN(10)) * time.Minute
		c.freezes = append(c.freezes, freeze{from: from, to: from + pick(d, 2*time.Minute, 5*time.Minute), daily: true})
	}
	if edition == 1 {
		amend(d, c)
	}
	c.text = fmt.Sprintf("# file %d, edition %d\n%s", number, edition, c.yaml())
	set, err := rules.Load("rules.yaml", []byte(c.text), rules.Options{Speed: 1})
	if err != nil {
		panic(fmt.Sprintf("loading the rules: %v\n%s", err, c.text))
	}
	c.set = set
	return c
}

// draft draws the laws of a file, in their order: often one that only watches, then one or two that act on what is down, then others.
func draft(d *dice) []law {
	var laws []law
	add := func(l law) {
		l.name = fmt.Sprintf("r%d-%s", len(laws), l.name)
		laws = append(laws, l)
	}
	if d.chance(250) {
		add(draw(d, law{name: "watch", alert: "Down", mode: "observe", when: pick(d, sick, loaded), rungs: ladder(d)}))
	}
	if d.chance(300) {
		add(draw(d, law{name: "deploy", alert: "Down", mode: "auto", when: sickDeploy, rungs: []rung{{kind: pick(d, "world.set", "world.pin"), to: stable}}}))
	}
	if d.chance(450) { // what it does may be the inverse of what the next does
		add(draw(d, law{name: "grow", alert: "Down", severity: "critical", mode: "auto", when: sick, rungs: []rung{{kind: "cloud_run.scale", to: wide}}}))
		add(draw(d, law{name: "shrink", alert: "Down", severity: "warning", mode: "auto", when: sick, rungs: []rung{{kind: "world.set", to: stable}}}))
	}
	mode := pick(d, "auto", "auto", "auto", "approve")
	add(draw(d, law{name: "cure", alert: "Down", mode: mode, when: pick(d, sick, sick, sick, sick, always, loaded, never), rungs: ladder(d)}))
	if d.chance(400) {
		add(draw(d, law{name: "second", alert: "Down", severity: "critical", mode: "auto", when: pick(d, sick, loaded, loaded), rungs: ladder(d)}))
	}
	if d.chance(500) {
		add(draw(d, law{name: "slow", alert: "Slow", target: pick(d, names[:2]...), mode: "auto", when: pick(d, sick, always), rungs: ladder(d)}))
	}
	if d.chance(150) {
		add(draw(d, law{name: "call", alert: "Down", mode: "auto", when: sick}))
	}
	return laws
}

// draw fills in what the guards, the verification and the telling of a law are.
func draw(d *dice, l law) law {
	l.hold = pick(d, 20*time.Second, time.Minute)
	l.settle = pick(d, 0, 0, 0, 30*time.Second)
	l.within = pick(d, 2*time.Minute, 4*time.Minute)
	l.maxAge = pick(d, 2*time.Minute, 10*time.Minute, 10*time.Minute)
	l.cooldown = pick(d, 0, 0, 0, time.Minute, 4*time.Minute, 30*time.Minute)
	l.late = pick(d, 10*time.Minute, 10*time.Minute, 10*time.Minute, time.Minute)
	few, many := [2]int{1, 2}, [2]int{20, 40}
	l.limits.rule = pick(d, few, [2]int{2, 4}, [2]int{4, 2}, many, many)
	l.limits.target = pick(d, [2]int{2, 4}, [2]int{4, 2}, many, many)
	l.limits.fleet = pick(d, [2]int{2, 3}, [2]int{6, 20}, many, many)
	l.limits.failures = pick(d, 1, 3)
	l.limits.probeAfter = pick(d, 0, 3*time.Minute)
	l.limits.settle = pick(d, 0, 0, time.Minute, 15*time.Minute)
	l.limits.inverse = pick(d, time.Hour, 6*time.Hour)
	l.limits.storm = pick(d, 3, 3, 3, 4)
	l.limits.approval = pick(d, 3*time.Minute, 15*time.Minute)
	l.resolve = d.chance(600)
	l.slack = d.chance(400)
	if len(l.rungs) > 0 && l.mode == "auto" {
		switch l.rungs[0].kind {
		case "world.pin":
			l.after = pick(d, "", "remind")
		case "cloud_run.scale":
			l.after = pick(d, "", "scale_back")
		}
	}
	return l
}

// ladder draws what a law does.
func ladder(d *dice) []rung {
	return pick(d,
		[]rung{{kind: "world.set", to: stable}},
		[]rung{{kind: "world.set", to: stable}},
		[]rung{{kind: "world.pin", to: stable}},
		[]rung{{kind: "cloud_run.scale", to: wide}},
		[]rung{{kind: "world.try", to: reset}},
		[]rung{{kind: "world.try", to: reset}, {kind: "world.set", to: stable}},
		[]rung{{kind: "world.risk", to: worse}, {kind: "world.set", to: stable}},
		[]rung{{kind: "world.set", to: reset}, {kind: "cloud_run.scale", to: wide}, {kind: "world.set", to: stable}},
		[]rung{{kind: "world.two", to: half, then: stable}},
		[]rung{{kind: "world.flush", to: reset}},
		[]rung{{kind: "world.try", to: wide}, {kind: "world.two", to: half, then: stable}},
	)
}

// amend is what somebody edits before a reload.
func amend(d *dice, c *code) {
	at := d.IntN(len(c.laws))
	switch pick(d, 0, 0, 0, 1, 2, 3) {
	case 0:
		if len(c.laws) > 1 {
			c.laws = append(c.laws[:at], c.laws[at+1:]...)
		}
	case 1:
		c.laws[at].mode = "observe"
		c.laws[at].after = ""
	case 2:
		c.laws[at].limits.rule = [2]int{1, 1}
	default: // only the text changes
	}
}

const fileHead = `version: 1
sources:
  am: {kind: sim}
  pd: {kind: sim}
connections:
  pagerduty: {token_env: T, from: bot@example.com}
  slack: {token_env: T, channel: "#incidents"}
  google_cloud: {project: p, region: r}
targets:
`

func (c *code) yaml() string {
	var b strings.Builder
	b.WriteString(fileHead)
	for _, name := range names {
		fmt.Fprintf(&b, "  %s: {world: {house: %s}, cloud_run: {house: %s}, protected: %t}\n", name, houseOf(name), houseOf(name), name == c.protected)
	}
	c.writeFreezes(&b)
	b.WriteString("rules:\n")
	for _, l := range c.laws {
		l.yaml(&b)
	}
	return b.String()
}

// bubbleBegins is what every clock shows when a world begins: testing/synctest says so.
var bubbleBegins = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// kathmandu is how far its clocks are ahead.
const kathmandu = 5*time.Hour + 45*time.Minute

func (c *code) writeFreezes(b *strings.Builder) {
	if len(c.freezes) == 0 {
		return
	}
	b.WriteString("freezes:\n")
	for i, f := range c.freezes {
		if f.daily {
			at := bubbleBegins.Add(f.from + kathmandu)
			fmt.Fprintf(b, "  - {name: freeze-%d, reason: each morning, cron: \"%d %d * * *\", for: %s, time_zone: Asia/Kathmandu}\n", i, at.Minute(), at.Hour(), f.to-f.from)
			continue
		}
		targets := ""
		if f.target != "" {
			targets = fmt.Sprintf("targets: [%s], ", f.target)
		}
		fmt.Fprintf(b, "  - {name: freeze-%d, reason: a launch, %sfrom: %s, until: %s}\n", i, targets,
			bubbleBegins.Add(f.from).Format(time.RFC3339), bubbleBegins.Add(f.to).Format(time.RFC3339))
	}
}

func (l law) yaml(b *strings.Builder) {
	line := func(format string, args ...any) { fmt.Fprintf(b, "    "+format+"\n", args...) }
	fmt.Fprintf(b, "  - name: %s\n", l.name)
	match := fmt.Sprintf("alertname=%q", l.alert)
	if l.severity != "" {
		match += fmt.Sprintf(", severity=%q", l.severity)
	}
	line("match: [%s]", match)
	if l.target != "" {
		line("target: %s", l.target)
	} else {
		line("target: {from: service}")
	}
	line("mode: %s", l.mode)
	line("gather: {health: {look.health: {}}, load: {look.load: {}}}")
	if l.when != always {
		line("if: %q", string(l.when))
	}
	if len(l.rungs) > 0 {
		var rungs []string
		for _, r := range l.rungs {
			rungs = append(rungs, fmt.Sprintf("%s: {to: %s, then: %q}", r.kind, r.to, r.then))
		}
		line("do: [{%s}]", strings.Join(rungs, "}, {"))
		line("verify: {if: health.ok, settle: %s, hold: %s, within: %s, every: 20s}", l.settle, l.hold, l.within)
	}
	g := l.limits
	line("guard: {per_hour: %d, per_day: %d, target_per_hour: %d, target_per_day: %d, fleet_per_hour: %d, fleet_per_day: %d, failures: %d, "+
		"probe_after: %s, cooldown: %s, max_age: %s, settle: %s, inverse_within: %s, storm_targets: %d, storm_within: %s, approval: %s}",
		g.rule[0], g.rule[1], g.target[0], g.target[1], g.fleet[0], g.fleet[1], g.failures, g.probeAfter, l.cooldown, l.maxAge, g.settle,
		g.inverse, g.storm, stormTime, g.approval)
	line("escalate: {after: %s, pagerduty: {responders: {users: [PABC123]}, priority: P1}}", l.late)
	l.tell(line)
}

func (l law) tell(line func(string, ...any)) {
	resolve, slack := "never", "null"
	if l.resolve {
		resolve = "fixed"
	}
	if l.slack {
		slack = "{}"
	}
	line("tell: {pagerduty: {resolve_when: %s, status_updates: %t}, slack: %s}", resolve, l.slack, slack)
	switch l.after {
	case "remind":
		line("afterwards: [{remind: {of: pinned_traffic, every: 1h}}]")
	case "scale_back":
		line("afterwards: [{scale_back: {if: load.value < 0.5, hold: 2m, within: 20m, every: 1m}}]")
	}
}
