package notify

import (
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

const (
	defaultLease = 20 * time.Second
	// longestStretch lets a system that answers slowly be told after all: an escalation makes up to five calls in one attempt.
	longestStretch = 3
)

// span is what one attempt may take of the lease on its message. The parts add up to less than the lease, so that no two tell one message
// at once: whoever takes it next finds the former attempt ended and written down.
type span struct {
	lease   time.Duration // from before the message is taken
	attempt time.Duration // until the last call is given up, from the same moment
	record  time.Duration // then, of writing down how it ended
}

func spanOf(lease time.Duration) span {
	return span{lease: lease, attempt: lease * 7 / 10, record: lease / 5}
}

// span is the next attempt's on the channel. The lease is short, because a message whose teller crashed waits for its end; it is stretched
// while attempts on the channel run out of time, and only then.
func (n *Notifier) span(c remediation.Channel) span {
	n.mu.Lock()
	defer n.mu.Unlock()
	return spanOf(n.cfg.Lease * time.Duration(max(n.stretch[c], 1)))
}

// adapt learns from an attempt that failed because its time ran out, or that did not fail.
func (n *Notifier) adapt(c remediation.Channel, failure error, ranOut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case failure == nil:
		n.stretch[c] = 1
	case ranOut:
		n.stretch[c] = min(max(n.stretch[c], 1)+1, longestStretch)
	}
}
