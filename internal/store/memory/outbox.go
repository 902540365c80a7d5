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
		if thread, ok = t.thread(lane[first]); !ok {
			return nil
		}
		m = lane[first]
		m.Attempts, m.NotBefore = m.Attempts+1, now.Add(lease)
		if m.Channel == remediation.Slack {
			m.Thread = thread
		}
		put(t, t.outbox, m.ID, m)
		m = clone(m)
		return nil
	})
	return m, thread, ok, err
}

// thread is what a message goes by; false while another run of its incident is about to begin the thread. Where a message was begun it stays.
func (r *rows) thread(m remediation.Message) (thread string, ok bool) {
	if thread = r.laneThread(m, m.Run); thread != "" {
		return thread, true
	}
	if m.Channel == remediation.Slack && m.Attempts > 0 {
		return m.Thread, true
	}
	if m.After != "" {
		thread = r.laneThread(m, m.After)
	}
	if thread != "" || m.Channel != remediation.Slack {
		return thread, true
	}
	return r.incidentThread(m)
}

// laneThread is what the run's first message on the channel was told on; in Slack that of the message's own room.
func (r *rows) laneThread(m remediation.Message, run string) string {
	for _, told := range r.messages(func(other remediation.Message) bool {
		return other.Run == run && other.Channel == m.Channel && other.State == remediation.MessageSent && other.RemoteID != ""
	}) {
		if m.Channel != remediation.Slack || told.Beside(m) {
			return told.Root()
		}
	}
	return ""
}

// incidentThread is the thread of the incident's other runs in the message's room, false while it is being begun. An id says more than a key.
func (r *rows) incidentThread(m remediation.Message) (thread string, ok bool) {
	own, known := r.runs[m.Run]
	if !known {
		return "", true
	}
	of, named := own.related(), own.related()
	named.IncidentKey = ""
	for _, same := range []remediation.Related{named, of} {
		posts := r.messages(func(other remediation.Message) bool {
			one, known := r.runs[other.Run]
			told := other.State == remediation.MessageSent && other.RemoteID != "" || other.State == remediation.MessageQueued && other.Attempts > 0
			return known && told && other.Run != m.Run && other.Beside(m) && one.isOf(same)
		})
		if len(posts) > 0 {
			last := slices.MaxFunc(posts, func(a, b remediation.Message) int {
				return cmp.Or(a.EndedAt.Compare(b.EndedAt), cmp.Compare(a.ID, b.ID))
			})
			return last.Root(), last.State == remediation.MessageSent
		}
	}
	return "", true
}

// isOf reports whether the run is of that incident: one id, or one key while both fired and no ids say otherwise.
func (r run) isOf(own remediation.Related) bool {
	a := r.Alert
	if own.IncidentID != "" && a.IncidentID == own.IncidentID {
		return true
	}
	return own.IncidentKey != "" && a.IncidentKey == own.IncidentKey && (a.IncidentID == "" || own.IncidentID == "") &&
		(r.ended.IsZero() || r.ended.After(own.StartsAt))
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

// OtherRuns counts the other runs of the message's incident that keep it from being over. The incident that the message names goes
// before the one that its run is known to be about.
func (v *View) OtherRuns(ctx context.Context, m remediation.Message) (n int, err error) {
	err = v.read(ctx, func(r *rows) error {
		own, known := r.runs[m.Run]
		if !known {
			own.Alert.IncidentKey = m.IncidentKey
		}
		own.Alert.IncidentID = cmp.Or(m.IncidentID, own.Alert.IncidentID)
		n = r.siblings(own) + r.staleOn(own)
		return nil
	})
	return n, err
}
