package cloudrun

import (
	"strconv"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

// hold is the label or annotation by which people keep automation off a service. Its value does not matter: an empty one holds too.
const hold = "remediator-hold"

// Who tells of an alert has another clock than Cloud Run, and some senders tell whole seconds only. A change so shortly after the onset
// may have come before it.
const (
	clockSkew  = 10 * time.Second
	coarseTime = time.Second
)

// byHand tells a run that a person asked for: it has no alert, and so no onset.
func byHand(env executors.Env) bool { return env.Onset.IsZero() }

// held refuses a service that somebody has put a hold on.
func held(s *runpb.Service) error {
	if v, ok := s.GetLabels()[hold]; ok {
		return guard.Refuse(guard.Held, "%s carries the label %s: %q", short(s.GetName()), hold, v)
	}
	if v, ok := s.GetAnnotations()[hold]; ok {
		return guard.Refuse(guard.Held, "%s carries the annotation %s: %q", short(s.GetName()), hold, v)
	}
	return nil
}

// leftByUs reports that the last change of the service was a run's. Cloud Run counts the changes of users, and not its own, as
// generations; a change that a person made through remediator leaves no mark, and so counts as theirs.
func leftByUs(s *runpb.Service) bool {
	return s.GetAnnotations()[markGeneration] == strconv.FormatInt(s.GetGeneration(), 10)
}

// nextGeneration is the mark by which a change made here is known as the last one; "" takes it away.
func nextGeneration(env executors.Env, s *runpb.Service) string {
	if byHand(env) {
		return ""
	}
	return strconv.FormatInt(s.GetGeneration()+1, 10)
}

// handed refuses a service that somebody else has changed since the alert began: a person is at it, or a pipeline, and what the alert
// tells of is no longer what is there. Revisions are those that the caller has read anyway.
func handed(env executors.Env, s *runpb.Service, revisions ...*runpb.Revision) error {
	if byHand(env) {
		return nil
	}
	from := env.Onset.Add(env.Scale(clockSkew) + coarseTime)
	if at := s.GetUpdateTime().AsTime(); s.GetUpdateTime() != nil && at.After(from) && !leftByUs(s) {
		return guard.Refuse(guard.HumanHand, "at %s, after the alert began at %s, %s", clock(at), clock(env.Onset), whoChanged(s))
	}
	for _, r := range revisions {
		if _, ours := madeByUs(r); !ours && r.GetCreateTime().AsTime().After(from) {
			return guard.Refuse(guard.HumanHand, "somebody deployed %s at %s, after the alert began at %s", short(r.GetName()),
				clock(r.GetCreateTime().AsTime()), clock(env.Onset))
		}
	}
	return nil
}

// free refuses what is people's now, and otherwise gives the revision that serves alone.
func free(env executors.Env, s *runpb.Service) (serving string, err error) {
	if err := held(s); err != nil {
		return "", err
	}
	if serving, err = steady(s); err != nil {
		return "", err
	}
	return serving, handed(env, s)
}
