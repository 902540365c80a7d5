package sources

import (
	"errors"
	"fmt"
	"time"

	"github.com/mixillo/remediator/internal/alert"
)

// The most that Bounds may allow: what a source parses is within these whatever the rules file says.
const (
	MostAlerts     = maxEntries
	MostLabels     = maxLabels
	MostLabelBytes = maxLabelText
)

// Bounds is what a delivery may hold to be acted on. It says nothing about the size of its body.
type Bounds struct {
	Alerts     int // of a delivery
	Labels     int // of an alert
	LabelBytes int // of the name or the value of a label
}

// DefaultBounds are far beyond what senders send: Alertmanager's groups are of dozens, labels of names and hosts.
func DefaultBounds() Bounds { return Bounds{Alerts: 5_000, Labels: 64, LabelBytes: 1 << 10} }

// Keep leaves out the alerts that are out of bounds, and says so in the delivery's Warning: one must not take the others of its group
// with it. A delivery of too many alerts, or one of which none is left, is an error: it is stored and flagged, never acted on.
func (b Bounds) Keep(d Delivery) (Delivery, error) {
	bare := d
	bare.Alerts, bare.Holds, bare.Incomplete = nil, nil, false
	if len(d.Alerts) > b.Alerts {
		return bare, fmt.Errorf("it holds %d alerts, more than %d", len(d.Alerts), b.Alerts)
	}
	if err := checkTimes(d.times()...); err != nil {
		return bare, err
	}
	var first error
	kept := make([]alert.Alert, 0, len(d.Alerts))
	for i, one := range d.Alerts {
		err := errors.Join(b.check(one.Labels), checkTimes(one.StartsAt, one.EndsAt))
		if err == nil {
			kept = append(kept, one)
		} else if first == nil {
			first = fmt.Errorf("alert %d: %w", i+1, err)
		}
	}
	if first == nil {
		return d, nil
	}
	if len(kept) == 0 {
		return bare, first
	}
	warning := fmt.Sprintf("%d of %d alerts are out of bounds and left out: %s", len(d.Alerts)-len(kept), len(d.Alerts), first)
	if d.Warning != "" {
		warning = d.Warning + "; " + warning
	}
	d.Alerts, d.Warning = kept, warning
	return d, nil
}

// times are those of a delivery beside its alerts'.
func (d Delivery) times() []time.Time {
	all := []time.Time{d.OccurredAt}
	for _, h := range d.Holds {
		all = append(all, h.At)
	}
	return all
}

// checkTimes refuses times that could not be stored or reckoned with: in JSON a year has four digits. Zero means none.
func checkTimes(all ...time.Time) error {
	for _, at := range all {
		if at.IsZero() {
			continue
		}
		if _, err := sane(at); err != nil {
			return err
		}
	}
	return nil
}

func (b Bounds) check(labels map[string]string) error {
	if len(labels) > b.Labels {
		return fmt.Errorf("it has %d labels, more than %d", len(labels), b.Labels)
	}
	for name, value := range labels { // none is named: what is out of bounds belongs in no note
		if name == "" {
			return errors.New("a label has no name")
		}
		if len(name) > b.LabelBytes || len(value) > b.LabelBytes {
			return fmt.Errorf("a label of it is longer than %d bytes", b.LabelBytes)
		}
	}
	return nil
}
