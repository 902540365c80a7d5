// Package logging asks Cloud Logging what a Cloud Run service has written: how often something was said, what the most common error is,
// which requests were slow, and whose they were.
//
// What is looked for comes from the rules file alone. Reads are bounded in entries and time, newest entries first: where there was more,
// counts are lower bounds, and say so. A log that has gone silent proves nothing, so that from it no zero is a fact. Whatever of the
// entries gets into facts is scrubbed: it was written by strangers.
package logging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

const (
	defaultWindow = 10 * time.Minute
	leastWindow   = time.Minute
	mostWindow    = 24 * time.Hour

	// mostTime is how long one read may take with all its pages. It is less than what a probe is given, so that what was read by then is
	// told as a part.
	mostTime = 6 * time.Second
	// pageSize is the API's own bound. Reads are limited to 60 calls a minute and project (Google's quotas for entries.list).
	pageSize = 1000
	// lag is how long entries take to become visible; Google promises no bound, seconds are usual.
	lag = 30 * time.Second
	// silence is the age of a service's newest entry of any kind from which on its log may have stopped.
	silence = 5 * time.Minute
	// shownLimit is how many characters of an entry are shown.
	shownLimit = 300
)

// service is the target's section as far as it matters here.
type service interface {
	Resource(set connect.Set) (project, region, service string, err error)
	Serving(ctx context.Context, set connect.Set) (string, error)
}

// servingRevision stands for the revision that carries all traffic when the question is asked.
const servingRevision = "serving"

func serviceOf(t executors.Target) (service, error) {
	s, ok := t.Systems["cloud_run"].(service)
	if !ok {
		return nil, errors.New("the target needs a section cloud_run that names the service")
	}
	return s, nil
}

var revisionName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// check says in plain words what is wrong with the parameters that all questions share.
func check(t executors.Target, window time.Duration, revision string, most, bound int) error {
	switch {
	case window != 0 && (window < leastWindow || window > mostWindow):
		return fmt.Errorf("window must be between 1m and %.0fh", mostWindow.Hours())
	case revision != "" && !revisionName.MatchString(revision):
		return errors.New("revision must be the short name of a revision, or serving")
	case most < 0 || most > bound:
		return fmt.Errorf("most must be between 1 and %d", bound)
	}
	_, err := serviceOf(t)
	return err
}

// scope is whose entries are read, and of which time.
type scope struct {
	client                             *connect.Google
	project, region, service, revision string
	from, to                           time.Time
	silence                            time.Duration
}

func newScope(ctx context.Context, env executors.Env, window time.Duration, revision string) (scope, error) {
	s, err := serviceOf(env.Target)
	if err != nil {
		return scope{}, err
	}
	sc := scope{to: env.Now, from: env.Now.Add(-cmp.Or(window, env.Scale(defaultWindow))), revision: revision, silence: env.Scale(silence)}
	if env.Since.After(sc.from) {
		sc.from = env.Since
	}
	if sc.client, err = connect.Get[*connect.Google](env.Connections, "google_cloud"); err != nil {
		return scope{}, err
	}
	if sc.project, sc.region, sc.service, err = s.Resource(env.Connections); err != nil {
		return scope{}, err
	}
	if revision == servingRevision {
		sc.revision, err = s.Serving(ctx, env.Connections)
	}
	return sc, err
}

func (s scope) length() time.Duration { return s.to.Sub(s.from) }

// filter joins clauses to those that keep to the service, its revision and the time.
func (s scope) filter(clauses ...string) string {
	all := []string{
		`resource.type="cloud_run_revision"`,
		`resource.labels.service_name=` + quote(s.service),
		`resource.labels.location=` + quote(s.region),
	}
	if s.revision != "" {
		all = append(all, `resource.labels.revision_name=`+quote(s.revision))
	}
	all = append(all, clauses...)
	all = append(all, `timestamp>=`+quote(s.from.UTC().Format(time.RFC3339Nano)), `timestamp<=`+quote(s.to.UTC().Format(time.RFC3339Nano)))
	return strings.Join(all, " AND ")
}

// quote makes a text a string of the query language, where the backslash escapes itself and the quote.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// requestLog is the clause that keeps to the log of requests.
func (s scope) requestLog() string {
	return `logName=` + quote("projects/"+s.project+"/logs/run.googleapis.com%2Frequests")
}

// extent is how much was read.
type extent struct {
	n      int64
	part   string    // why there may be more, "" if that was all
	oldest time.Time // of the entries that were read
	newest time.Time
}

// read gives the newest entries first, at most so many. A read that ends early is an error only if nothing was read.
func (s scope) read(ctx context.Context, most int, each func(*loggingpb.LogEntry), clauses ...string) (extent, error) {
	client, err := s.client.Logs(ctx)
	if err != nil {
		return extent{}, err
	}
	bounded, cancel := context.WithTimeout(ctx, mostTime)
	defer cancel()
	it := client.ListLogEntries(bounded, &loggingpb.ListLogEntriesRequest{
		ResourceNames: []string{"projects/" + s.project}, Filter: s.filter(clauses...), OrderBy: "timestamp desc",
		PageSize: int32(min(most, pageSize)), //nolint:gosec // at most pageSize
	})
	x := extent{}
	for x.n < int64(most) {
		e, err := it.Next()
		switch {
		case errors.Is(err, iterator.Done):
			return x, nil
		case err != nil && x.n > 0 && ctx.Err() == nil && passing(err):
			x.part = "reading was cut short"
			return x, nil
		case err != nil:
			return extent{}, fmt.Errorf("reading the log of %s: %w", s.service, err)
		}
		x.add(e)
		each(e)
	}
	if info := it.PageInfo(); info.Remaining() > 0 || info.Token != "" {
		x.part = fmt.Sprintf("only the newest %d were read", most)
	}
	return x, nil
}

// passing tells what ends a read before its time from what makes it wrong.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.ResourceExhausted, codes.Unavailable, codes.Internal, codes.Canceled:
		return true
	default:
		return errors.Is(err, context.DeadlineExceeded)
	}
}

func (x *extent) add(e *loggingpb.LogEntry) {
	at := e.GetTimestamp().AsTime()
	if x.n == 0 {
		x.newest = at
	}
	x.oldest = at
	x.n++
}

// covers is how far back what was read reaches: the whole time, unless there was more.
func (x extent) covers(s scope) time.Duration {
	if x.part == "" || x.n == 0 {
		return s.length()
	}
	return s.to.Sub(x.oldest)
}

// freshness is how the service's log is kept up.
type freshness struct {
	latest time.Time // its newest entry of any kind; zero: there is none in the time asked about
	age    time.Duration
	stale  bool // the log may have stopped: what is not in it may have happened
}

func (s scope) fresh(ctx context.Context) (freshness, error) {
	f := freshness{stale: true}
	x, err := s.read(ctx, 1, func(*loggingpb.LogEntry) {})
	if err != nil || x.n == 0 {
		return f, err
	}
	f.latest, f.age = x.newest, max(0, s.to.Sub(x.newest))
	f.stale = f.age > s.silence
	return f, nil
}

// unknown names the fields that cannot be told where the log has no entry at all.
func (f freshness) unknown() []string {
	if f.latest.IsZero() {
		return []string{"latest", "age"}
	}
	return nil
}

// doubt is the part of a summary that says what the number does not cover.
func doubt(x extent, f freshness) string {
	switch {
	case f.latest.IsZero():
		return "; the service has logged nothing at all in that time, so that this proves nothing"
	case f.stale:
		return fmt.Sprintf("; the newest entry of any kind is %s old, the log may have stopped", f.age.Round(time.Second))
	case x.part != "":
		return "; " + x.part
	default:
		return ""
	}
}

// atLeast shows a count, and whether it is a lower bound.
func atLeast(n int64, lower bool) string {
	if lower {
		return fmt.Sprintf("at least %d", n)
	}
	return fmt.Sprint(n)
}

// times shows a count of occasions in words.
func times(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func share(part, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

func percent(ratio float64) string { return fmt.Sprintf("%.1f %%", ratio*100) }
