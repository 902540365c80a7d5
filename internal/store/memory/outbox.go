package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
)

// insertMessages puts messages into the outbox, ignoring those that are there.
func insertMessages(t *transaction, messages []remediation.Message) {
	for _, m := range messages {
		if _, known := t.outbox[m.ID]; known {
			continue
		}
		m.State, m.Attempts, m.RemoteID, m.Error, m.EndedAt = remediation.MessageQueued, 0, "", "", time.Time{}
		put(t, t.outbox, m.ID, m)
	}
}

// messages are those chosen, in the order of their lanes. They are the rows themselves.
func (r *rows) messages(chosen func(remediation.Message) bool) []remediation.Message {
	var all []remediation.Message
	for _, m := range r.outbox {
		if chosen(m) {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b remediation.Message) int {
		return cmp.Or(cmp.Compare(a.Run, b.Run), cmp.Compare(a.Channel, b.Channel), a.Seq-b.Seq, cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Next takes the lane's first queued message if its time has come; one that waits holds back the later ones. The attempt is counted,
// and the message kept from others for the lease, before Next returns.
func (v *View) Next(ctx context.Context, l remediation.Lane, now time.Time, lease time.Duration) (m remediation.Message, thread string, ok bool, err error) {
	err = v.write(ctx, func(t *transaction) error {
		lane := t.messages(func(m remediation.Message) bool { return m.Run == l.Run && m.Channel == l.Channel })
		first := slices.IndexFunc(lane, func(m remediation.Message) bool { return m.State == remediation.MessageQueued })
		if first < 0 || lane[first].NotBefore.After(now) || t.overtakes(lane[first]) {
			return nil
		}
		m, ok = lane[first], true
		m.Attempts, m.NotBefore = m.Attempts+1, now.Add(lease)
		put(t, t.outbox, m.ID, m)
		if thread = threadOf(lane); thread == "" && m.Continues() {
			thread = threadOf(t.messages(func(other remediation.Message) bool { return other.Run == m.After && other.Channel == l.Channel }))
		}
		m = clone(m)
		return nil
	})
	return m, thread, ok, err
}

func threadOf(lane []remediation.Message) string {
	i := slices.IndexFunc(lane, func(m remediation.Message) bool { return m.State == remediation.MessageSent && m.RemoteID != "" })
	if i < 0 {
		return ""
	}
	return lane[i].RemoteID
}

// overtakes reports whether the message's channel still has something to tell of the run that comes first.
func (t *transaction) overtakes(m remediation.Message) bool {
	return m.After != "" && len(t.messages(func(other remediation.Message) bool {
		return other.Run == m.After && other.Channel == m.Channel && other.State == remediation.MessageQueued
	})) > 0
}

// End records how a message ended, or until when it waits; what has ended stays so. remediation.ErrNotFound for an unknown id.
func (v *View) End(ctx context.Context, e remediation.Sent) error {
	return v.write(ctx, func(t *transaction) error {
		m, err := find(t.outbox, "message", e.ID)
		if err != nil {
			return fmt.Errorf("recording the end of message %s: %w", e.ID, err)
		}
		if m.State != remediation.MessageQueued {
			return nil
		}
		m.State, m.RemoteID, m.Error, m.EndedAt, m.NotBefore = e.State, e.RemoteID, e.Error, e.At, e.NotBefore
		if e.State == remediation.MessageQueued {
			m.EndedAt = time.Time{}
		}
		put(t, t.outbox, m.ID, m)
		return nil
	})
}

// OtherRuns counts the other runs of the message's incident that keep it from being over. A message that belongs to no run goes by the
// incident it names.
func (v *View) OtherRuns(ctx context.Context, m remediation.Message) (n int, err error) {
	err = v.read(ctx, func(r *rows) error {
		own, known := r.runs[m.Run]
		if !known {
			own.Alert.IncidentID, own.Alert.IncidentKey = m.IncidentID, m.IncidentKey
		}
		n = r.siblings(own)
		return nil
	})
	return n, err
}
