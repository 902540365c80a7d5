package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// snoozeAttempts is how often it is tried to bound an acknowledgement: each try acknowledges again, and a call for a human waits behind it.
const snoozeAttempts = 5

// acknowledge silences the pager, for a time where the message says so: then PagerDuty pages again by itself. Both may be repeated.
func acknowledge(ctx context.Context, pd pager, m remediation.Message, id string) (told, error) {
	got, err := call(m, id, func() error { return pd.Acknowledge(ctx, id) })
	if err != nil || m.Snooze <= 0 {
		return got, err
	}
	_, err = call(m, id, func() error { return pd.Snooze(ctx, id, m.Snooze) })
	if err != nil && !errors.Is(err, connect.ErrIncidentResolved) && (connect.IsPermanent(err) || m.Attempts >= snoozeAttempts) {
		got.why = "the acknowledgement holds without a time: " + err.Error()
		return got, nil
	}
	return got, err
}

// escalate pages a human. When an earlier attempt may have done so, an incident that is triggered shows it: PagerDuty is notifying
// people again. One that is resolved has nobody to page for.
func escalate(ctx context.Context, pd pager, m remediation.Message, id string) (told, error) {
	paged := false
	if inDoubt(m) {
		in, err := pd.Incident(ctx, id)
		if err != nil {
			return told{}, fmt.Errorf("looking for an earlier escalation: %w", err)
		}
		paged = in.Status == connect.StatusTriggered
		if paged && holds(in, m.People) {
			return sentAs(id), nil
		}
	}
	if m.People.None() {
		return call(m, id, func() error { return pd.Escalate(ctx, id) })
	}
	return assign(ctx, pd, m, id, paged)
}

// holds reports whether an incident has been given to a policy, as far as it shows; users are seen to by Reassign itself.
func holds(in connect.Incident, who connect.People) bool {
	return who.None() || slices.Contains(who.Policies, in.EscalationPolicyID)
}

// assign gives the incident to those whom the rules file names, which pages them. Ids that PagerDuty does not take must not keep everybody
// asleep: then the next level is paged, and so it is when those who are named have the incident already and are not paged again for it.
func assign(ctx context.Context, pd pager, m remediation.Message, id string, paged bool) (told, error) {
	got, err := call(m, id, func() error { return pd.Reassign(ctx, id, m.People) })
	switch {
	case errors.Is(err, connect.ErrIncidentResolved) || err != nil && !connect.IsPermanent(err):
		return got, err
	case err != nil:
		got = told{state: remediation.MessageSent, remote: id, why: "the next level was called instead: " + err.Error()}
	default:
		in, err := pd.Incident(ctx, id)
		if err != nil {
			return told{}, fmt.Errorf("looking whether anybody is paged: %w", err)
		}
		paged = in.Status != connect.StatusAcknowledged
	}
	if !paged {
		_, err = call(m, id, func() error { return pd.Escalate(ctx, id) })
		return got, err
	}
	return got, nil
}

// tellOnce tells a text that ends in its marker, unless PagerDuty shows that an earlier attempt has told it.
func tellOnce(ctx context.Context, pd audience, m remediation.Message, id string, tell func(text string) error) (told, error) {
	line := marker(m.Run, m.ID)
	if inDoubt(m) {
		found, err := pd.Logged(ctx, id, line)
		if err != nil {
			return told{}, fmt.Errorf("looking whether it was told: %w", err)
		}
		if found {
			return sentAs(id), nil
		}
	}
	return call(m, id, func() error { return tell(shorten(m.Text) + "\n\n" + line) })
}
