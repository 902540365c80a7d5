package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/executors"
)

// What is kept where the file says nothing, and the least it must say. Senders repeat deliveries for two days, and acts count for 30.
const (
	keepBodies, leastBodies = 30 * day, 3 * day
	keepRuns, leastRuns     = 400 * day, 32 * day
)

// protect notes the identities that are remediator's own, beside the targets that say so themselves.
func (b *builder) protect(d *decoder, identities []string) {
	for i := range identities {
		if !d.okText(&identities[i]) {
			continue
		}
		if problem := identityProblem(identities[i]); problem != "" {
			b.at(d.node(&identities[i], nil), mistake{id: "bad-value", message: problem, hint: "write cloud_run/PROJECT/REGION/SERVICE; a declared target says protected: true"})
			continue
		}
		b.set.Protected = append(b.set.Protected, identities[i])
	}
}

// identityProblem says why a text names nothing in particular.
func identityProblem(identity string) string {
	parts := strings.Split(identity, "/")
	switch {
	case len(parts) < 2 || slices.Contains(parts, "") || strings.ContainsAny(identity, "*?% \t\n"):
		return show(identity) + " is no identity"
	case !slices.Contains(executors.Targets(), parts[0]):
		return fmt.Sprintf("there is no system called %s", show(parts[0]))
	case parts[0] == cloudRun && len(parts) != 4:
		return show(identity) + " does not name one service"
	default:
		return ""
	}
}

// acts reports whether the rule may do more than look.
func (dr *draft) acts() bool { return len(dr.text.Do) > 0 && dr.Mode != Observe }

// permit reports what a rule that acts must not be.
func (b *builder) permit(dr *draft) {
	if !dr.acts() {
		return
	}
	if slices.Contains(b.set.Protected, dr.choice.fixed) {
		b.at(dr.text.Target, mistake{id: "protected-target", message: fmt.Sprintf("target %s is protected: it is remediator, its store or its way out, and no rule acts on it", dr.choice.fixed),
			hint: "write mode: observe, or remove do"})
	}
	if dr.Mode == Approve && dr.Tell.PagerDuty == nil && dr.Tell.Slack == nil {
		b.at(dr.decoder.node(&dr.text.Mode, dr.node), mistake{id: "nobody-asked", message: "mode approve asks people, and the rule tells nobody",
			hint: "write tell: {pagerduty: {}} or tell: {slack: {}}"})
	}
}

// retention reads how long what is over is kept.
func (b *builder) retention(d *decoder, t retentionText) {
	b.set.Retention = Retention{Bodies: b.pick(keepBodies, t.Bodies), Runs: b.pick(keepRuns, t.Runs)}
	b.keepsLongEnough(d, "bodies", t.Bodies, leastBodies)
	b.keepsLongEnough(d, "runs", t.Runs, leastRuns)
}

func (b *builder) keepsLongEnough(d *decoder, key string, written *time.Duration, least time.Duration) {
	if written != nil && *written < scale(least, b.speed) {
		b.at(d.node(written, nil), mistake{id: "bad-value", message: fmt.Sprintf("%s must be at least %s", key, words(least)),
			hint: "senders repeat deliveries for two days, and budgets count acts of thirty"})
	}
}
