package connect

import (
	"context"
	"net/url"
	"regexp"
	"time"
)

// AlertGroup is a group of one receiver as Alertmanager lists it. Its groupKey is not among what Alertmanager tells.
type AlertGroup struct {
	Labels   map[string]string // by which it groups
	Receiver string
	Alerts   []GroupedAlert
}

// GroupedAlert is one alert of a group.
type GroupedAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	GeneratorURL string            `json:"generatorURL"`
	// Notified is false while a silence, another alert or a mute time holds it back, and before Alertmanager has looked at that.
	Notified bool `json:"-"`
}

type listedGroup struct {
	Labels   map[string]string `json:"labels"`
	Receiver struct {
		Name string `json:"name"`
	} `json:"receiver"`
	Alerts []struct {
		GroupedAlert
		Status struct {
			State       string   `json:"state"`
			SilencedBy  []string `json:"silencedBy"`
			InhibitedBy []string `json:"inhibitedBy"`
			MutedBy     []string `json:"mutedBy"` // since version 0.28
		} `json:"status"`
	} `json:"alerts"`
}

// Groups lists the groups of a receiver, with the alerts that are held back among them.
func (a *Alertmanager) Groups(ctx context.Context, receiver string) ([]AlertGroup, error) {
	query := url.Values{
		"receiver": {"^(?:" + regexp.QuoteMeta(receiver) + ")$"}, "active": {"true"}, "silenced": {"true"}, "inhibited": {"true"}, "muted": {"true"},
	}
	listed, err := listOf[listedGroup](ctx, a, "listing the groups of a receiver", "api/v2/alerts/groups", query)
	if err != nil {
		return nil, err
	}
	groups := make([]AlertGroup, 0, len(listed))
	for _, one := range listed {
		if one.Receiver.Name == receiver {
			groups = append(groups, one.group())
		}
	}
	return groups, nil
}

func (g listedGroup) group() AlertGroup {
	out := AlertGroup{Labels: g.Labels, Receiver: g.Receiver.Name}
	for _, one := range g.Alerts {
		held := len(one.Status.SilencedBy) + len(one.Status.InhibitedBy) + len(one.Status.MutedBy)
		one.Notified = one.Status.State == "active" && held == 0
		out.Alerts = append(out.Alerts, one.GroupedAlert)
	}
	return out
}

// Started tells since when this Alertmanager runs: one that has just started knows only the alerts that were sent anew since.
func (a *Alertmanager) Started(ctx context.Context) (time.Time, error) {
	const doing = "asking since when it runs"
	var status struct {
		Uptime time.Time `json:"uptime"`
	}
	if err := a.get(ctx, doing, "api/v2/status", nil, &status); err != nil {
		return time.Time{}, err
	}
	if status.Uptime.IsZero() {
		return time.Time{}, refused(systemAlertmanager, doing, "it did not say")
	}
	return status.Uptime.UTC(), nil
}
