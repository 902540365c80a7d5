package remediation

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mixillo/remediator/internal/guard"
)

// BreakerRow is the stored breaker of a rule on a target, as it is shown.
type BreakerRow struct {
	Rule     string    `json:"rule"`
	Target   string    `json:"target"`
	Open     bool      `json:"open"`
	Failures int       `json:"failures"`
	Reason   string    `json:"reason,omitempty"`
	OpenedAt time.Time `json:"opened_at,omitzero"`
}

// LatchRow is an act after which the next of its kind on the target waits for a release, as it is shown.
type LatchRow struct {
	Target string    `json:"target"`
	Kind   string    `json:"kind"`
	Run    string    `json:"run"`
	At     time.Time `json:"at"`
}

// Ledger is what the gauges and the API read of the stored state.
type Ledger interface {
	Breakers(ctx context.Context) ([]BreakerRow, error)
	Acts(ctx context.Context, since time.Time) ([]guard.Act, error)
	Debts(ctx context.Context) ([]Debt, error) // open ones
	Pauses(ctx context.Context) ([]guard.Pause, error)
}

// Gauges reads the stored state when it is scraped, so that it is right on every replica and after a restart.
type Gauges struct {
	ledger  Ledger
	book    RuleBook
	breaker *prometheus.Desc
	budget  *prometheus.Desc
	pinned  *prometheus.Desc
	oldPins *prometheus.Desc
	idle    *prometheus.Desc
	paused  *prometheus.Desc
}

const (
	scrapeTimeout = 3 * time.Second
	oldPin        = 24 * time.Hour
)

// NewGauges makes the collector.
func NewGauges(l Ledger, b RuleBook) *Gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Gauges{
		ledger: l, book: b,
		breaker: desc("remediator_breaker_open", "Whether the breaker of a rule on a target is open.", "rule", "target"),
		budget:  desc("remediator_budget_left", "Acts a rule may still make in the window.", "rule", "window"),
		pinned:  desc("remediator_pinned_targets", "Targets on which a rollback keeps later deploys from serving."),
		oldPins: desc("remediator_pins_older_than_day", "Targets on which a rollback has kept later deploys from serving for more than a day."),
		idle:    desc("remediator_idle_deploys", "Targets whose newest deploy serves nothing because of a rollback."),
		paused:  desc("remediator_pauses", "Pauses in force."),
	}
}

// Describe implements prometheus.Collector.
func (g *Gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.breaker, g.budget, g.pinned, g.oldPins, g.idle, g.paused} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out of the scrape.
func (g *Gauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	now := time.Now()
	g.collectBreakers(ctx, ch)
	g.collectBudgets(ctx, ch, now)
	if debts, err := g.ledger.Debts(ctx); err == nil {
		old, idle := 0, 0
		for _, d := range debts {
			if now.Sub(d.Since) > oldPin {
				old++
			}
			if d.Idle != "" {
				idle++
			}
		}
		ch <- prometheus.MustNewConstMetric(g.idle, prometheus.GaugeValue, float64(idle))
		ch <- prometheus.MustNewConstMetric(g.pinned, prometheus.GaugeValue, float64(len(debts)))
		ch <- prometheus.MustNewConstMetric(g.oldPins, prometheus.GaugeValue, float64(old))
	}
	if pauses, err := g.ledger.Pauses(ctx); err == nil {
		inForce := 0
		for _, p := range pauses {
			if p.InForce(now) {
				inForce++
			}
		}
		ch <- prometheus.MustNewConstMetric(g.paused, prometheus.GaugeValue, float64(inForce))
	}
}

// collectBreakers shows every rule on every target it can name, closed ones as zeros.
func (g *Gauges) collectBreakers(ctx context.Context, ch chan<- prometheus.Metric) {
	rows, err := g.ledger.Breakers(ctx)
	if err != nil {
		return
	}
	open := map[[2]string]bool{}
	for _, r := range rows {
		open[[2]string{r.Rule, r.Target}] = r.Open
	}
	set := g.book.Current()
	for _, rule := range set.Rules {
		for target := range set.Targets {
			if _, ok := rule.Bind(target); !ok || len(rule.Rungs) == 0 {
				continue
			}
			value := 0.0
			if open[[2]string{rule.Name, target}] {
				value = 1
			}
			ch <- prometheus.MustNewConstMetric(g.breaker, prometheus.GaugeValue, value, rule.Name, target)
		}
	}
}

func (g *Gauges) collectBudgets(ctx context.Context, ch chan<- prometheus.Metric, now time.Time) {
	acts, err := g.ledger.Acts(ctx, now.Add(-longestWindow))
	if err != nil {
		return
	}
	for _, rule := range g.book.Current().Rules {
		if len(rule.Rungs) == 0 {
			continue
		}
		for _, w := range rule.Limits.Rule {
			spent := guard.Spent(acts, func(a guard.Act) bool { return a.Rule == rule.Name }, now, w.Per)
			ch <- prometheus.MustNewConstMetric(g.budget, prometheus.GaugeValue, float64(max(w.Most-spent, 0)), rule.Name, w.Per.String())
		}
	}
}
