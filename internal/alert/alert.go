// Package alert holds the words every floor shares for one signal of a sender: its labels, its times, and the keys that tell
// which firing and which incident it belongs to. It decides nothing.
package alert

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Status of an alert as its sender reports it.
type Status string

// The two states a signal can be in.
const (
	Firing   Status = "firing"
	Resolved Status = "resolved"
)

// Alert is one firing or resolved signal. Labels and annotations are data from outside: they are matched and shown, never
// run, dialled or used as a template.
type Alert struct {
	Source      string            `json:"source"` // the source's name in rules.yaml
	Status      Status            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	StartsAt    time.Time         `json:"starts_at"`
	EndsAt      time.Time         `json:"ends_at,omitzero"`
	Link        string            `json:"link,omitempty"` // where a human looks it up

	// Episode names one firing of this alert for its source: the same for every repeat, different for the next firing.
	Episode string `json:"episode"`
	// IncidentKey is what PagerDuty keeps as the alert's alert_key; both roads of one outage carry the same key.
	IncidentKey string `json:"incident_key,omitempty"`
	// IncidentID is PagerDuty's incident, where the sender knows it.
	IncidentID string `json:"incident_id,omitempty"`
	// SelfResolving: the sender says by itself when the alert has ended, and would reopen an incident resolved before that.
	SelfResolving bool `json:"self_resolving,omitempty"`
	// Merged: the signal resolved because its incident became part of another one, not because anything got well.
	Merged bool `json:"merged,omitempty"`
	// MergedInto is the id of that other incident, where the sender says it.
	MergedInto string `json:"merged_into,omitempty"`
	// EndedBy is who said that the alert is over, where that was a person and not the sender: nothing is known of anybody's health by it.
	EndedBy string `json:"ended_by,omitempty"`
}

// Fingerprint identifies a label set. It is the hash of Prometheus' LabelSet.Fingerprint (FNV-1a over the sorted pairs,
// separated by 0xff), so that it equals the fingerprint Alertmanager sends.
func Fingerprint(labels map[string]string) string {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		_, _ = h.Write([]byte(name))
		_, _ = h.Write([]byte{0xff})
		_, _ = h.Write([]byte(labels[name]))
		_, _ = h.Write([]byte{0xff})
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// Episode makes the key of one firing out of what identifies the alert and the moment it began.
func Episode(fingerprint string, startsAt time.Time) string {
	return fingerprint + "@" + strconv.FormatInt(startsAt.UnixMicro(), 10)
}

// Subject is the part of an episode's key that every firing of the same has.
func Subject(episode string) string {
	subject, _, _ := strings.Cut(episode, "@")
	return subject
}

// GroupIncidentKey is the key under which Alertmanager's PagerDuty notifier opens the incident of a group: the SHA-256 of
// the group key, in hex (alertmanager notify.Key.Hash, sent as dedup_key).
func GroupIncidentKey(groupKey string) string {
	sum := sha256.Sum256([]byte(groupKey))
	return hex.EncodeToString(sum[:])
}
