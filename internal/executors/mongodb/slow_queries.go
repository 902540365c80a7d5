package mongodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "mongodb.slow_queries",
		Doc:  "Tells from MongoDB's profiler which queries of a database were slow of late, by their shape, and which index they lack.",
		New:  func() executors.Probe { return &slowQueries{} },
		Fact: SlowFact{},
	})
}

const (
	defaultWindow = 5 * time.Minute
	leastWindow   = 10 * time.Second
	mostWindow    = 24 * time.Hour
	defaultSlower = 100 * time.Millisecond // the server's own default
	mostRecords   = 2000
)

// slowQueries reads system.profile, which is small and forgets: what it holds is looked at, the newest first.
type slowQueries struct {
	// Database is whose queries are asked for; default: the target's, from its section mongodb.
	Database string `yaml:"database"`
	// Window is how far back; default 5m. During verification it begins no earlier than the change took effect.
	Window time.Duration `yaml:"window"`
	// SlowerThan is how long an operation must have taken to count; default 100ms. The profiler's own threshold may be higher.
	SlowerThan time.Duration `yaml:"slower_than"`
}

// SlowFact is what mongodb.slow_queries finds. With the profiler off (level 0; also on a router, which has none) only the first two are known.
type SlowFact struct {
	// Level is the profiler's: 0 off, 1 slow operations, 2 all.
	Level int64 `cel:"level"`
	// SampleRate is the part of the slow operations that the profiler keeps, 0 to 1.
	SampleRate float64 `cel:"sample_rate"`
	// Threshold is how long an operation must have taken to be seen: what was asked for, or the profiler's own where that is higher. Unknown
	// where the profiler goes by a filter.
	Threshold time.Duration `cel:"threshold"`
	// Count is how many slow operations were recorded in the window, at most 2000.
	Count int64 `cel:"count"`
	// P95 is what 95 % of them stayed within; unknown without any.
	P95 time.Duration `cel:"p95"`
	// P95MS is P95 in milliseconds.
	P95MS int64 `cel:"p95_ms"`
	// Namespace is the database.collection of the shape that took the most time in all, "" if there is none.
	Namespace string `cel:"namespace"`
	// Shape is that command without its values, such as "find {filter: {status: ?}, sort: {created: -1}}".
	Shape string `cel:"shape"`
	// ShapeCount is how many of the slow operations have that shape.
	ShapeCount int64 `cel:"shape_count"`
	// ExaminedPerReturned is how many documents were looked at for each that was returned, over all operations that return documents (as if
	// one had been returned where none was); 1 is ideal. Unknown without such operations.
	ExaminedPerReturned float64 `cel:"examined_per_returned"`
	// CollectionScans is how many of them read a whole collection.
	CollectionScans int64 `cel:"collection_scans"`
	// MissingIndex is the index that the costliest collection scans lack, such as "mixillo.orders (status, created)"; "" if none is known.
	MissingIndex string `cel:"missing_index"`
	// MissingIndexNamespace is the database.collection of MissingIndex.
	MissingIndexNamespace string `cel:"missing_index_namespace"`
	// MissingIndexFields are the fields of MissingIndex, in order.
	MissingIndexFields []string `cel:"missing_index_fields"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *slowQueries) Validate(t executors.Target) error {
	switch {
	case p.Window != 0 && (p.Window < leastWindow || p.Window > mostWindow):
		return fmt.Errorf("window must be between %s and %s", leastWindow, mostWindow)
	case p.SlowerThan != 0 && (p.SlowerThan < time.Millisecond || p.SlowerThan > mostWindow):
		return errors.New("slower_than must be between 1ms and 24h")
	case databaseOf(p.Database, t) == "":
		return errors.New("database must be given, or the target needs a section mongodb that names it")
	}
	return checkDatabase(databaseOf(p.Database, t))
}

// LookBack is how far the answer reaches into the past: rules wait so long after an act.
func (p *slowQueries) LookBack() time.Duration { return cmp.Or(p.Window, defaultWindow) }

// profilerReply is the answer to {profile: -1} (https://www.mongodb.com/docs/manual/reference/command/profile/).
type profilerReply struct {
	Was        *int64   `bson:"was"`
	SlowMS     int64    `bson:"slowms"`
	SampleRate *float64 `bson:"sampleRate"`
	Filter     bson.Raw `bson:"filter"`
}

// record is what is looked at of one document (https://www.mongodb.com/docs/manual/reference/database-profiler/).
type record struct {
	Op       string   `bson:"op"`
	NS       string   `bson:"ns"`
	Command  bson.Raw `bson:"command"`
	Origin   bson.Raw `bson:"originatingCommand"`
	Millis   int64    `bson:"millis"`
	Plan     string   `bson:"planSummary"`
	Examined *int64   `bson:"docsExamined"`
	Returned *int64   `bson:"nreturned"`
}

func (r record) took() time.Duration { return time.Duration(r.Millis) * time.Millisecond }

// opened is the command that the work was done for: of a cursor that is read on, the one that opened it.
func (r record) opened() bson.Raw {
	if len(r.Origin) > 0 {
		return r.Origin
	}
	return r.Command
}

// Ask implements executors.Probe.
func (p *slowQueries) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	database, from := databaseOf(p.Database, env.Target), p.from(env)
	if database == "" {
		return executors.Answer{}, errors.New("no database is named")
	}
	var profiler profilerReply
	var docs []bson.Raw
	doing := "reading the slow queries of " + database
	err := ask(ctx, env, connect.MongoAsk{Doing: doing}, func(ctx context.Context, s *connect.MongoSession) error {
		err := s.Run(ctx, database, bson.D{{Key: "profile", Value: -1}}, &profiler)
		if err != nil || profiler.Was == nil || *profiler.Was <= 0 {
			return err
		}
		docs, err = s.All(ctx, database, p.command(database, from), mostRecords)
		return err
	})
	if err != nil {
		return executors.Answer{}, err
	}
	if profiler.Was == nil {
		return executors.Answer{}, fmt.Errorf("%s: the answer is none of profile", doing)
	}
	var records []record
	for _, d := range docs {
		var r record
		if err := bson.Unmarshal(d, &r); err != nil {
			return executors.Answer{}, fmt.Errorf("%s: a record cannot be read: %w", doing, err)
		}
		records = append(records, r)
	}
	return p.answer(env, database, profiler, records), nil
}

func (p *slowQueries) from(env executors.Env) time.Time {
	window := p.Window
	if window == 0 {
		window = env.Scale(defaultWindow)
	}
	from := env.Now.Add(-window)
	if env.Since.After(from) {
		return env.Since
	}
	return from
}

// command lists what was slow, without what the profiler and we ourselves did.
func (p *slowQueries) command(database string, from time.Time) bson.D {
	fields := bson.D{}
	for _, name := range []string{"op", "ns", "command", "originatingCommand", "millis", "planSummary", "docsExamined", "nreturned"} {
		fields = append(fields, bson.E{Key: name, Value: 1})
	}
	return bson.D{
		{Key: "find", Value: "system.profile"},
		{Key: "filter", Value: bson.D{
			{Key: "ts", Value: bson.D{{Key: "$gte", Value: from}}},
			{Key: "millis", Value: bson.D{{Key: "$gte", Value: cmp.Or(p.SlowerThan, defaultSlower).Milliseconds()}}},
			{Key: "ns", Value: bson.D{{Key: "$ne", Value: database + ".system.profile"}}},
			{Key: "appName", Value: bson.D{{Key: "$ne", Value: connect.MongoAppName}}},
		}},
		{Key: "sort", Value: bson.D{{Key: "ts", Value: -1}}},
		{Key: "projection", Value: fields},
		{Key: "limit", Value: mostRecords},
	}
}

// answer says what can be known with the profiler as it is set.
func (p *slowQueries) answer(env executors.Env, database string, profiler profilerReply, records []record) executors.Answer {
	fact, reads := slow(records)
	fact.Level, fact.SampleRate, fact.Threshold = *profiler.Was, profiler.rate(), cmp.Or(p.SlowerThan, defaultSlower)
	if own := time.Duration(profiler.SlowMS) * time.Millisecond; fact.Level == 1 {
		fact.Threshold = max(fact.Threshold, own)
	}
	answer := executors.Answer{Fact: &fact}
	window := env.Now.Sub(p.from(env))
	switch {
	case fact.Level <= 0, fact.Level == 1 && fact.SampleRate <= 0:
		answer.Unknown = unknownWithoutRecords()
		answer.Summary = fmt.Sprintf("the profiler of %s is off, so nothing is known of slow queries", database)
		return answer
	case window < env.Scale(leastWindow):
		answer.Unknown = unknownWithoutRecords()
		answer.Summary = "the window has only begun: nothing is known of slow queries yet"
		return answer
	}
	if fact.Count == 0 {
		answer.Unknown = append(answer.Unknown, "p95", "p95_ms")
	}
	if !reads {
		answer.Unknown = append(answer.Unknown, "examined_per_returned")
	}
	if len(profiler.Filter) > 0 {
		answer.Unknown = append(answer.Unknown, "threshold")
	}
	answer.Summary = fact.summary(database, window) + profiler.reservation()
	return answer
}

func unknownWithoutRecords() []string {
	return []string{
		"threshold", "count", "p95", "p95_ms", "namespace", "shape", "shape_count", "examined_per_returned", "collection_scans",
		"missing_index", "missing_index_namespace", "missing_index_fields",
	}
}

// rate is what part of the slow operations is kept; servers before 3.6 keep all and do not say so.
func (p profilerReply) rate() float64 {
	if p.SampleRate == nil {
		return 1
	}
	return *p.SampleRate
}

// reservation says what the profiler does not record.
func (p profilerReply) reservation() string {
	text := ""
	if rate := p.rate(); rate < 1 {
		text += fmt.Sprintf("; the profiler keeps %.0f %% of them", 100*rate)
	}
	if len(p.Filter) > 0 {
		text += "; the profiler keeps what a filter of its own lets through"
	}
	return text
}

// slow counts the records, and says whether any of them returns documents.
func slow(records []record) (fact SlowFact, reads bool) {
	fact = SlowFact{Count: int64(len(records))}
	var found groups
	var took []time.Duration
	var examined, returned int64
	for _, r := range records {
		took = append(took, r.took())
		found.add(clean(r.NS), shape(r.Op, r.opened()), r.took())
		if r.Examined != nil && r.Returned != nil {
			reads = true
			examined, returned = examined+*r.Examined, returned+*r.Returned
		}
	}
	fact.P95 = percentile(took, 0.95)
	fact.P95MS = fact.P95.Milliseconds()
	if reads {
		fact.ExaminedPerReturned = float64(examined) / float64(max(returned, 1))
	}
	if g, ok := found.costliest(); ok {
		fact.Namespace, fact.Shape, fact.ShapeCount = g.namespace, g.shape, g.count
	}
	fact.missing(records)
	return fact, reads
}

// missing finds the index that the costliest collection scans lack.
func (f *SlowFact) missing(records []record) {
	f.MissingIndexFields = []string{}
	var scans groups
	lacking := map[string][]string{}
	for _, r := range records {
		if !strings.Contains(r.Plan, "COLLSCAN") {
			continue
		}
		f.CollectionScans++
		if names := indexFields(r.opened()); len(names) > 0 {
			list := strings.Join(names, ", ")
			lacking[list] = names
			scans.add(clean(r.NS), list, r.took())
		}
	}
	if g, ok := scans.costliest(); ok {
		f.MissingIndex = fmt.Sprintf("%s (%s)", g.namespace, g.shape)
		f.MissingIndexNamespace, f.MissingIndexFields = g.namespace, lacking[g.shape]
	}
}

func (f SlowFact) summary(database string, window time.Duration) string {
	if f.Count == 0 {
		return fmt.Sprintf("no operation on %s took longer than %s in the last %s", database, f.Threshold, window.Round(time.Second))
	}
	text := fmt.Sprintf("%s on %s took longer than %s in the last %s (p95 %d ms); most time went to %s on %s", times(f.Count, "operation"), database,
		f.Threshold, window.Round(time.Second), f.P95MS, f.Shape, f.Namespace)
	if f.CollectionScans > 0 {
		text += fmt.Sprintf("; %d read a whole collection", f.CollectionScans)
	}
	if f.MissingIndex != "" {
		text += "; an index is missing: " + f.MissingIndex
	}
	return text
}
