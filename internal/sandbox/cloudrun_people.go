package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"
)

// SetLabels is a human's change of the service's labels, all of them, and of
// nothing else. It is effective at once.
func (w *World) SetLabels(service string, labels map[string]string) error {
	return w.platform.with(service, func(s *runService, now time.Time) {
		next := proto.CloneOf(s.pb)
		next.Labels = maps.Clone(labels)
		w.platform.commit(s, next, change{by: Human, modifier: humanEmail, verb: "set_labels", at: now, due: now})
		w.platform.settle(now)
	})
}

// SetErrorRatio changes the share of 5xx of what a revision's code answers
// from now on.
func (w *World) SetErrorRatio(service, revision string, ratio float64) error {
	found := false
	err := w.event(service, "set_error_ratio", map[string]any{"revision": revision, "ratio": ratio}, func(s *runService) {
		if r := s.revisions[revision]; r != nil {
			r.code.errorRatio, found = ratio, true
		}
	})
	if err == nil && !found {
		return fmt.Errorf("setting the error ratio: service %q has no revision %q", service, revision)
	}
	return err
}

// SetMemory changes the share of each instance's memory that is in use from
// now on.
func (w *World) SetMemory(service string, share float64) error {
	return w.event(service, "set_memory", map[string]any{"share": share}, func(s *runService) { s.memory = share })
}

// ShowTraffic lets the service report traffic that does not flow, as if its
// status were of another moment. The next change of traffic ends it.
func (w *World) ShowTraffic(service string, shares ...Share) error {
	return w.platform.with(service, func(s *runService, _ time.Time) {
		s.pb.TrafficStatuses = nil
		for _, share := range shares {
			t := target(share)
			s.pb.TrafficStatuses = append(s.pb.TrafficStatuses, &runpb.TrafficTargetStatus{Type: t.GetType(), Revision: t.GetRevision(), Percent: t.GetPercent(), Tag: t.GetTag()})
		}
	})
}

// ShowGeneration lets a settled service report that it has observed another
// generation than its newest. The next change ends it.
func (w *World) ShowGeneration(service string, observed int64) error {
	return w.platform.with(service, func(s *runService, _ time.Time) { s.pb.ObservedGeneration = observed })
}

// SpoilMetrics makes every floating-point value of the metrics no number.
func (w *World) SpoilMetrics(spoiled bool) {
	w.platform.lock()
	defer w.platform.mu.Unlock()
	w.platform.spoiled = spoiled
}

// fail lets whatever was asked since then have failed, as the shared
// dependency was down, and leaves it down.
func (s *runService) fail(since time.Duration, now time.Time) {
	if since <= 0 {
		return
	}
	from := now.Add(-since)
	for i, g := range s.timeline {
		if !g.to.IsZero() && !g.to.After(from) {
			continue
		}
		bad := g
		bad.from, bad.errorRatio = later(g.from, from), 1
		s.timeline = append(s.timeline, bad)
		s.timeline[i].to = bad.from
	}
	s.timeline = slices.DeleteFunc(s.timeline, func(g segment) bool { return !g.to.IsZero() && !g.to.After(g.from) })
	s.dependencyDown = true
}

// spoil takes the numbers out of a series.
func spoil(series *monitoringpb.TimeSeries, nan float64) {
	for _, p := range series.GetPoints() {
		if v, isDouble := p.GetValue().GetValue().(*monitoringpb.TypedValue_DoubleValue); isDouble {
			v.DoubleValue = nan
		}
	}
}
