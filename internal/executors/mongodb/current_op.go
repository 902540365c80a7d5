package mongodb

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "mongodb.current_op",
		Doc:  "Tells which clients' operations have been running for too long in MongoDB now, by their shape, and how many wait for a lock.",
		New:  func() executors.Probe { return &currentOp{} },
		Fact: CurrentFact{},
	})
}

const (
	defaultLonger = 5 * time.Second
	leastLonger   = 100 * time.Millisecond
	mostLonger    = 24 * time.Hour
	// mostOperations bounds what is read of what runs; there are as many operations as connections.
	mostOperations = 1000
)

// currentOp asks with the aggregation stage $currentOp and not with the command of that name: the command is deprecated since 6.2, answers
// in one document of at most 16 MB, and is not to be had on the smallest Atlas clusters. With allUsers, without which only our own operations
// would be shown, both need the privilege inprog, which the role clusterMonitor holds; without it the question fails, and nothing is known.
type currentOp struct {
	// LongerThan is how long an operation must have been running to count; default 5s.
	LongerThan time.Duration `yaml:"longer_than"`
	// Database limits the question to one database; default: all of them.
	Database string `yaml:"database"`
}

// CurrentFact is what mongodb.current_op finds. Operations of the server itself (replication, checks) and our own never count, nor do
// cursors that wait for new data. At most 1000 operations are looked at, the longest first.
type CurrentFact struct {
	// Count is how many operations have been running for longer than was asked.
	Count int64 `cel:"count"`
	// Longest is how long the oldest of them has been running; 0 if there is none.
	Longest time.Duration `cel:"longest"`
	// LongestMS is Longest in milliseconds.
	LongestMS int64 `cel:"longest_ms"`
	// Namespace is the database.collection of the commonest shape among them, "" if there is none.
	Namespace string `cel:"namespace"`
	// Shape is the commonest command among them without its values, such as "find {filter: {status: ?}}".
	Shape string `cel:"shape"`
	// ShapeCount is how many of them have that shape.
	ShapeCount int64 `cel:"shape_count"`
	// WaitingForLock is how many operations wait for a lock, however long they have been running.
	WaitingForLock int64 `cel:"waiting_for_lock"`
	// CollectionScans is how many of those that count read a whole collection.
	CollectionScans int64 `cel:"collection_scans"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *currentOp) Validate(executors.Target) error {
	if p.LongerThan != 0 && (p.LongerThan < leastLonger || p.LongerThan > mostLonger) {
		return fmt.Errorf("longer_than must be between %s and %s", leastLonger, mostLonger)
	}
	if p.Database != "" {
		return checkDatabase(p.Database)
	}
	return nil
}

// operation is what is looked at of one document (https://www.mongodb.com/docs/manual/reference/operator/aggregation/currentOp/).
type operation struct {
	Op      string   `bson:"op"`
	NS      string   `bson:"ns"`
	Command bson.Raw `bson:"command"`
	Micros  int64    `bson:"microsecs_running"`
	Waits   bool     `bson:"waitingForLock"`
	Plan    string   `bson:"planSummary"`
	Cursor  struct {
		Origin bson.Raw `bson:"originatingCommand"`
	} `bson:"cursor"`
}

func (o operation) running() time.Duration { return time.Duration(o.Micros) * time.Microsecond }

// shape is that of the command that opened the cursor, where a cursor is read on.
func (o operation) shape() string {
	if len(o.Cursor.Origin) > 0 {
		return shape(o.Op, o.Cursor.Origin)
	}
	return shape(o.Op, o.Command)
}

// Ask implements executors.Probe.
func (p *currentOp) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	longer := cmp.Or(p.LongerThan, defaultLonger)
	var docs []bson.Raw
	err := ask(ctx, env, connect.MongoAsk{Doing: "listing what runs"}, func(ctx context.Context, s *connect.MongoSession) (err error) {
		docs, err = s.All(ctx, "admin", p.command(longer), mostOperations)
		return err
	})
	if err != nil {
		return executors.Answer{}, err
	}
	var all []operation
	for _, d := range docs {
		var o operation
		if err := bson.Unmarshal(d, &o); err != nil {
			return executors.Answer{}, fmt.Errorf("listing what runs: an operation cannot be read: %w", err)
		}
		if p.Database == "" || strings.HasPrefix(o.NS, p.Database+".") {
			all = append(all, o)
		}
	}
	fact := current(all, longer)
	return executors.Answer{Fact: &fact, Summary: fact.summary(longer)}, nil
}

// command lists the clients' operations that run for longer or wait for a lock. Left out are the members' own, drivers' checks that wait for
// the topology to change, cursors that wait for data, and us.
func (p *currentOp) command(longer time.Duration) bson.D {
	absent := bson.D{{Key: "$exists", Value: false}}
	match := bson.D{
		{Key: "type", Value: "op"},
		{Key: "active", Value: true},
		{Key: "op", Value: bson.D{{Key: "$ne", Value: "none"}}},
		{Key: "ns", Value: bson.D{{Key: "$ne", Value: "local.oplog.rs"}}},
		{Key: "effectiveUsers.user", Value: bson.D{{Key: "$ne", Value: "__system"}}},
		{Key: "appName", Value: bson.D{{Key: "$ne", Value: connect.MongoAppName}}},
		{Key: "command.hello", Value: absent},
		{Key: "command.isMaster", Value: absent},
		{Key: "command.ismaster", Value: absent},
		{Key: "cursor.awaitData", Value: bson.D{{Key: "$ne", Value: true}}},
		{Key: "$or", Value: bson.A{
			bson.D{{Key: "microsecs_running", Value: bson.D{{Key: "$gte", Value: longer.Microseconds()}}}},
			bson.D{{Key: "waitingForLock", Value: true}},
		}},
	}
	fields := bson.D{}
	for _, name := range []string{"op", "ns", "command", "microsecs_running", "waitingForLock", "planSummary", "cursor"} {
		fields = append(fields, bson.E{Key: name, Value: 1})
	}
	return bson.D{
		{Key: "aggregate", Value: 1},
		{Key: "pipeline", Value: bson.A{
			bson.D{{Key: "$currentOp", Value: bson.D{{Key: "allUsers", Value: true}, {Key: "idleConnections", Value: false}}}},
			bson.D{{Key: "$match", Value: match}},
			bson.D{{Key: "$sort", Value: bson.D{{Key: "microsecs_running", Value: -1}}}},
			bson.D{{Key: "$limit", Value: mostOperations}},
			bson.D{{Key: "$project", Value: fields}},
		}},
		{Key: "cursor", Value: bson.D{}},
	}
}

// current counts the operations.
func current(all []operation, longer time.Duration) CurrentFact {
	var fact CurrentFact
	var found groups
	for _, o := range all {
		if o.Waits {
			fact.WaitingForLock++
		}
		if o.running() < longer {
			continue
		}
		fact.Count++
		fact.Longest = max(fact.Longest, o.running())
		if strings.Contains(o.Plan, "COLLSCAN") {
			fact.CollectionScans++
		}
		found.add(clean(o.NS), o.shape(), o.running())
	}
	fact.LongestMS = fact.Longest.Milliseconds()
	if g, ok := found.commonest(); ok {
		fact.Namespace, fact.Shape, fact.ShapeCount = g.namespace, g.shape, g.count
	}
	return fact
}

func (f CurrentFact) summary(longer time.Duration) string {
	text := fmt.Sprintf("no operation has been running for longer than %s", longer)
	if f.Count > 0 {
		text = fmt.Sprintf("%s running for longer than %s, the longest for %s; %d of them: %s on %s", times(f.Count, "operation"), longer,
			f.Longest.Round(time.Millisecond), f.ShapeCount, f.Shape, f.Namespace)
	}
	return fmt.Sprintf("%s; %d waiting for a lock", text, f.WaitingForLock)
}
