package cloudrun

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/protobuf/proto"
)

// The annotations that are left on services (all but markBase and markConfig) and on templates (all but markGeneration, markRolledBack and
// markKnownBad).
const (
	markOperation  = "remediator.dev/operation"     // id of the last change made here
	markPlanned    = "remediator.dev/planned"       // when that change was planned: tells one change from another when undoing
	markGeneration = "remediator.dev/generation"    // the generation which that change made, if no person asked for it: tells our last hand from others'
	markRolledBack = "remediator.dev/rolled-back"   // "BAD GOOD TIME FORMER": traffic was moved away from BAD and pinned to GOOD
	markKnownBad   = "remediator.dev/known-bad"     // revisions that were rolled back from, newest last
	markBase       = "remediator.dev/base-revision" // of a revision made here: the revision it was copied from
	markConfig     = "remediator.dev/base-config"   // of a revision made here: what was copied; a later deploy that inherits the marks differs
)

// noWayBack is the label that CI sets on a revision whose release cannot be gone back past, e.g. after a schema change.
const noWayBack = "no-rollback-past"

// knownBadKept bounds the list in markKnownBad.
const knownBadKept = 10

// deploying reports that the service is on its way to a desired state it has not reached or given up.
func deploying(s *runpb.Service) bool {
	return s.GetReconciling() || s.GetObservedGeneration() != s.GetGeneration()
}

// condition finds a condition by its type.
func condition(all []*runpb.Condition, kind string) *runpb.Condition {
	for _, c := range all {
		if c.GetType() == kind {
			return c
		}
	}
	return nil
}

// ready is the health test of a revision. `Active` is not: a retired revision is ready and inactive.
func ready(r *runpb.Revision) bool {
	return condition(r.GetConditions(), "Ready").GetState() == runpb.Condition_CONDITION_SUCCEEDED
}

// rolledBack is what markRolledBack says.
type rolledBack struct {
	Bad, Good, At, Former string
}

func (r rolledBack) String() string {
	return strings.Join([]string{r.Bad, r.Good, r.At, r.Former}, " ")
}

func parseRolledBack(s *runpb.Service) (rolledBack, bool) {
	f := strings.Fields(s.GetAnnotations()[markRolledBack])
	if len(f) < 3 {
		return rolledBack{}, false
	}
	return rolledBack{Bad: f[0], Good: f[1], At: f[2], Former: strings.Join(f[3:], " ")}, true
}

// pinnedByUs reports that the pin in force is the one a change of ours left. A mark whose traffic has moved on since says nothing.
func pinnedByUs(s *runpb.Service) (rolledBack, bool) {
	mark, marked := parseRolledBack(s)
	revision, pinned := pin(targetsOf(s))
	return mark, marked && pinned && mark.Good == revision
}

// knownBad lists the revisions that were rolled back from.
func knownBad(s *runpb.Service) []string {
	bad := strings.Fields(s.GetAnnotations()[markKnownBad])
	if mark, ok := parseRolledBack(s); ok && !slices.Contains(bad, mark.Bad) {
		bad = append(bad, mark.Bad)
	}
	return bad
}

// withBad adds a revision to the list of markKnownBad.
func withBad(s *runpb.Service, revision string) string {
	bad := slices.DeleteFunc(knownBad(s), func(r string) bool { return r == revision })
	bad = append(bad, revision)
	return strings.Join(bad[max(0, len(bad)-knownBadKept):], " ")
}

// writable drops the namespaces that the API refuses to be given back (they belong to its older version).
func writable(m map[string]string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	maps.DeleteFunc(out, func(k, _ string) bool {
		for _, ns := range []string{"run.googleapis.com/", "cloud.googleapis.com/", "serving.knative.dev/", "autoscaling.knative.dev/"} {
			if strings.HasPrefix(k, ns) {
				return true
			}
		}
		return false
	})
	return out
}

// ours picks the marks out of a map.
func ours(m map[string]string) map[string]string {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(k, v string) bool { return !isMark(k, v) })
	return out
}

func isMark(key, _ string) bool { return strings.HasPrefix(key, "remediator.dev/") }

// templateDigest identifies a template. It is a digest because templates hold values that are nobody's business.
func templateDigest(t *runpb.RevisionTemplate) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(t)
	if err != nil {
		return ""
	}
	return digest(b)
}

// configDigest identifies what a deploy usually changes: code, command, environment and resources. Fields that the platform fills in
// by itself are left out, so that a copy has the digest of its original.
func configDigest(containers []*runpb.Container, account string) string {
	h := sha256.New()
	for _, c := range containers {
		part := &runpb.Container{
			Image: c.GetImage(), Command: c.GetCommand(), Args: c.GetArgs(), Env: c.GetEnv(),
			Resources: &runpb.ResourceRequirements{Limits: c.GetResources().GetLimits()},
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(part)
		if err != nil {
			return ""
		}
		h.Write([]byte(digest(b)))
	}
	h.Write([]byte(account))
	return hex.EncodeToString(h.Sum(nil))[:32]
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])[:32]
}

// madeByUs reports that the revision is an unaltered copy of the base it names. A human's later deploy inherits the marks of the
// template but not the contents.
func madeByUs(r *runpb.Revision) (base string, ok bool) {
	base, config := r.GetAnnotations()[markBase], r.GetAnnotations()[markConfig]
	return base, base != "" && config == configDigest(r.GetContainers(), r.GetServiceAccount())
}

// imageOf shows the image of the container that takes requests, its digest shortened: "gcr.io/x/api@sha256:0123456789ab".
func imageOf(containers []*runpb.Container) string {
	if len(containers) == 0 {
		return ""
	}
	image := containers[ingress(containers)].GetImage()
	name, sum, ok := strings.Cut(image, "@sha256:")
	if !ok {
		return image
	}
	return name + "@sha256:" + sum[:min(12, len(sum))]
}

// ingress is the index of the container that takes requests: the one with a port, or the only one.
func ingress(containers []*runpb.Container) int {
	return max(0, slices.IndexFunc(containers, func(c *runpb.Container) bool { return len(c.GetPorts()) > 0 }))
}
