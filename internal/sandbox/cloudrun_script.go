package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const humanEmail = "ann@example.com"

// AddService creates a service with its history, or replaces it.
func (w *World) AddService(script Service) error {
	if script.Name == "" {
		return fmt.Errorf("adding a service: it needs a name")
	}
	p := w.platform
	now := p.lock()
	defer p.mu.Unlock()
	script = script.withDefaults(p.cfg.Project)
	s := p.newService(script, now)
	past := make([]scripted, len(script.Revisions))
	for i, r := range script.Revisions {
		if r.CreatedAgo == 0 {
			r.CreatedAgo = time.Duration(len(script.Revisions)-i) * 24 * time.Hour
		}
		past[i] = p.scriptRevision(s, r.withDefaults(), now.Add(-r.CreatedAgo))
		s.start(past[i].rev)
		changed := now.Add(-pick(r.ServedFrom > 0, min(r.ServedFrom, r.CreatedAgo), r.CreatedAgo))
		s.pb.UpdateTime = timestamppb.New(later(s.pb.GetUpdateTime().AsTime(), changed))
	}
	s.pb.Template = proto.CloneOf(past[len(past)-1].rev.template)
	s.recount(script, past, now)
	s.fail(script.DependencyDownFor, now)
	p.services[script.Name] = s
	p.ledger.add(Entry{System: "cloud_run", Verb: "add_service", Resource: script.Name, By: Human, Detail: map[string]any{"traffic_after": trafficWords(s.pb)}})
	return nil
}

func (p *platform) newService(script Service, now time.Time) *runService {
	oldest := now.Add(-365 * 24 * time.Hour)
	s := &runService{
		revisions: map[string]*runRevision{}, images: map[string]profile{}, requiredEnv: map[string]string{},
		load: script.RequestsPerMinute, capacity: script.Capacity, autoInstances: script.AutoInstances, memory: script.Memory,
		pb: &runpb.Service{
			Name: p.serviceName(script.Name), Uid: p.dice.uuid(), Generation: int64(len(script.Revisions)), ObservedGeneration: int64(len(script.Revisions)),
			CreateTime: timestamppb.New(oldest), UpdateTime: timestamppb.New(oldest), Creator: humanEmail, LastModifier: humanEmail,
			Labels: maps.Clone(script.Labels), Annotations: maps.Clone(script.Annotations),
			Uri: "https://" + script.Name + "-sandbox-ew.a.run.app", Etag: p.nextEtag(now),
			Template: &runpb.RevisionTemplate{ServiceAccount: script.ServiceAccount},
		},
	}
	if script.MinInstances > 0 || script.MaxInstances > 0 {
		s.pb.Scaling = &runpb.ServiceScaling{MinInstanceCount: script.MinInstances, MaxInstanceCount: script.MaxInstances}
	}
	s.scaling = proto.CloneOf(s.pb.GetScaling())
	s.setConditions("", now)
	return s
}

// scripted is a revision of the history with the script it came from.
type scripted struct {
	Revision
	rev *runRevision
}

func (p *platform) scriptRevision(s *runService, r Revision, at time.Time) scripted {
	return scripted{Revision: r, rev: p.create(s, p.template(s, r), at)}
}

// template is what a pipeline writes: it names the revision and takes the
// image by a tag that moves with every deploy.
func (p *platform) template(s *runService, r Revision) *runpb.RevisionTemplate {
	repo := "europe-docker.pkg.dev/" + p.cfg.Project + "/app/" + s.short()
	s.latestImage = r.Image
	if r.Image == "" {
		s.latestImage = repo + "@" + p.dice.digest()
	}
	s.images[s.latestImage] = codeOf(r)
	t := proto.CloneOf(s.pb.GetTemplate())
	t.Revision = r.Name
	if t.Revision == "" {
		t.Revision = fmt.Sprintf("%s-%05d-%s", s.short(), s.serial+1, p.dice.suffix())
	}
	t.Labels, t.Annotations = maps.Clone(r.Labels), maps.Clone(r.Annotations)
	if r.MinInstances > 0 || r.MaxInstances > 0 {
		t.Scaling = &runpb.RevisionScaling{MinInstanceCount: r.MinInstances, MaxInstanceCount: r.MaxInstances}
	}
	t.Containers = []*runpb.Container{{Name: "app", Image: pick(r.Image == "", repo+":latest", r.Image), Env: environment(r.Env)}}
	return t
}

func environment(env map[string]string) []*runpb.EnvVar {
	var out []*runpb.EnvVar
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, &runpb.EnvVar{Name: name, Values: &runpb.EnvVar_Value{Value: env[name]}})
	}
	return out
}

// recount derives who serves now and who served when.
func (s *runService) recount(script Service, past []scripted, now time.Time) {
	s.serving = sharesNow(past)
	s.pb.Traffic = historyTargets(s, script, past)
	s.pb.TrafficStatuses = statuses(s)
	s.remeasure(now)
	for i, h := range past {
		r := h.rev
		r.warm = false
		from := now.Add(-pick(h.ServedFrom > 0, h.ServedFrom, h.CreatedAgo))
		switch {
		case s.serving[r.name] > 0:
			r.warm = true
			for j := range s.timeline {
				if s.timeline[j].revision == r.name {
					s.timeline[j].from = from
				}
			}
		case r.ready && !h.NoTraffic:
			s.timeline = append(s.timeline, s.bygone(h, from, servedUntil(past, i, now)))
		}
		if h.Tag != "" && h.TagRequestsPerMinute > 0 {
			h.RequestsPerMinute = h.TagRequestsPerMinute
			s.timeline = append(s.timeline, s.bygone(h, r.created, now))
		}
	}
}

func sharesNow(past []scripted) map[string]int32 {
	serving := map[string]int32{}
	last := ""
	for _, h := range past {
		if h.Percent > 0 {
			serving[h.rev.name] = h.Percent
		}
		if h.rev.ready && !h.NoTraffic {
			last = h.rev.name
		}
	}
	if len(serving) == 0 && last != "" {
		serving[last] = 100
	}
	return serving
}

func historyTargets(s *runService, script Service, past []scripted) []*runpb.TrafficTarget {
	latest := shortName(s.pb.GetLatestReadyRevision())
	var out []*runpb.TrafficTarget
	if !script.Pinned && s.serving[latest] == 100 {
		out = append(out, latestTarget(100))
	}
	for _, h := range past {
		share := s.serving[h.rev.name]
		if len(out) > 0 && share == 100 {
			share = 0
		}
		if share > 0 || h.Tag != "" {
			out = append(out, pinnedTarget(h.rev.name, share, h.Tag))
		}
	}
	return out
}

func servedUntil(past []scripted, i int, now time.Time) time.Time {
	if past[i].ServedUntil > 0 {
		return now.Add(-past[i].ServedUntil)
	}
	for _, next := range past[i+1:] {
		if next.rev.ready && !next.NoTraffic {
			return next.rev.created
		}
	}
	return now
}

func (s *runService) bygone(h scripted, from, to time.Time) segment {
	rpm := pick(h.RequestsPerMinute > 0, h.RequestsPerMinute, s.load)
	return s.used(segment{
		revision: h.rev.name, from: from, to: to, rpm: rpm, errorRatio: h.ErrorRatio, p50: h.P50, p95: h.P95, instances: float64(s.autoInstances),
	})
}

// Deploy is a human's or a pipeline's deploy: a new revision, routed unless
// traffic is pinned or NoTraffic asks otherwise. It returns the revision's
// short name. CreatedAgo, ServedFrom, ServedUntil and Percent are ignored.
func (w *World) Deploy(service string, r Revision) (string, error) {
	var name string
	err := w.platform.with(service, func(s *runService, now time.Time) { name = w.platform.deploy(s, r, now) })
	return name, err
}

func (p *platform) deploy(s *runService, r Revision, now time.Time) string {
	r = r.withDefaults()
	next := proto.CloneOf(s.pb)
	next.Template = p.template(s, r)
	if r.NoTraffic {
		next.Traffic = frozen(s)
	}
	if r.Tag != "" {
		next.Traffic = append(slices.Clone(targetsOf(next)), pinnedTarget(next.Template.Revision, 0, r.Tag))
	}
	p.commit(s, next, change{by: Human, modifier: humanEmail, verb: "deploy", at: now, due: now.Add(p.cfg.scaled(r.DeployTime))})
	p.settle(now)
	return next.Template.Revision
}

func targetsOf(pb *runpb.Service) []*runpb.TrafficTarget { return (&runService{pb: pb}).targets() }

// frozen names the revisions that serve now instead of LATEST, as a deploy
// without traffic does.
func frozen(s *runService) []*runpb.TrafficTarget {
	var out []*runpb.TrafficTarget
	for _, t := range s.targets() {
		out = append(out, pinnedTarget(s.resolves(t.GetType(), t.GetRevision()), t.GetPercent(), t.GetTag()))
	}
	return out
}

// Split is a human's change of traffic, effective at once. It may route to a
// revision that never became ready, which the API would refuse.
func (w *World) Split(service string, shares ...Share) error {
	return w.platform.with(service, func(s *runService, now time.Time) {
		next := proto.CloneOf(s.pb)
		next.Traffic = nil
		for _, share := range shares {
			next.Traffic = append(next.Traffic, target(share))
		}
		w.platform.commit(s, next, change{by: Human, modifier: humanEmail, verb: "split", at: now, due: now})
		w.platform.settle(now)
		w.platform.force(s, now)
	})
}

func target(share Share) *runpb.TrafficTarget {
	if share.Revision == "" {
		return latestTarget(share.Percent)
	}
	return pinnedTarget(share.Revision, share.Percent, share.Tag)
}

// force routes as wished even where the platform would not.
func (p *platform) force(s *runService, now time.Time) {
	serving := map[string]int32{}
	for _, t := range s.targets() {
		if name := s.resolves(t.GetType(), t.GetRevision()); s.revisions[name] != nil {
			serving[name] += t.GetPercent()
		}
	}
	if !maps.Equal(serving, s.serving) {
		p.shift(s, serving, now)
	}
}
