package sandbox

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// mongoBatch is how many documents a batch holds where none is asked for; servers give 101 in the first.
const mongoBatch = 101

func field(d bson.D, name string) any {
	for _, e := range d {
		if e.Key == name {
			return e.Value
		}
	}
	return nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int32:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case bson.DateTime:
		return float64(v), true
	}
	return 0, false
}

// documents turns what a script gives into the documents that a server shows, through BSON, so that types are those of the wire.
func documents[T any](all []T, document func(T) (bson.D, error)) ([]bson.D, error) {
	var out []bson.D
	for i, v := range all {
		d, err := document(v)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		raw, err := bson.Marshal(d)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		var exact bson.D
		if err := bson.Unmarshal(raw, &exact); err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		out = append(out, exact)
	}
	return out, nil
}

func extended(text string) (bson.D, error) {
	d := bson.D{}
	if text == "" {
		return d, nil
	}
	if err := bson.UnmarshalExtJSON([]byte(text), false, &d); err != nil {
		return nil, fmt.Errorf("the command is no extended JSON: %w", err)
	}
	return d, nil
}

// document is as $currentOp shows an operation (https://www.mongodb.com/docs/manual/reference/operator/aggregation/currentOp/).
func (o MongoOperation) document() (bson.D, error) {
	command, err := extended(o.Command)
	user, desc := "app", "conn42"
	if o.System {
		user, desc = "__system", "ReplWriter"
	}
	return bson.D{
		{Key: "type", Value: "op"}, {Key: "desc", Value: desc}, {Key: "appName", Value: o.App}, {Key: "active", Value: true},
		{Key: "effectiveUsers", Value: bson.A{bson.D{{Key: "user", Value: user}, {Key: "db", Value: "admin"}}}},
		{Key: "secs_running", Value: int64(o.Running.Seconds())}, {Key: "microsecs_running", Value: o.Running.Microseconds()},
		{Key: "op", Value: cmp.Or(o.Op, "query")}, {Key: "ns", Value: o.Namespace}, {Key: "command", Value: command},
		{Key: "planSummary", Value: o.PlanSummary}, {Key: "waitingForLock", Value: o.WaitingForLock},
	}, err
}

// document is as system.profile keeps a record (https://www.mongodb.com/docs/manual/reference/database-profiler/).
func (r MongoRecord) document() (bson.D, error) {
	command, err := extended(r.Command)
	if err != nil {
		return nil, err
	}
	d := bson.D{
		{Key: "op", Value: cmp.Or(r.Op, "query")}, {Key: "ns", Value: r.Namespace}, {Key: "command", Value: command},
		{Key: "keysExamined", Value: r.KeysExamined}, {Key: "docsExamined", Value: r.DocsExamined}, {Key: "nreturned", Value: r.Returned},
		{Key: "millis", Value: int32(r.Took.Milliseconds())}, {Key: "planSummary", Value: r.PlanSummary}, //nolint:gosec // scripted
		{Key: "ts", Value: time.Now().Add(-r.Ago)}, {Key: "appName", Value: r.App}, {Key: "user", Value: "app@admin"},
	}
	if r.Originating != "" {
		origin, err := extended(r.Originating)
		if err != nil {
			return nil, err
		}
		d = append(d, bson.E{Key: "originatingCommand", Value: origin})
	}
	return slices.DeleteFunc(d, func(e bson.E) bool { return slices.Contains(r.Omit, e.Key) }), nil
}

// list answers the commands that give a cursor.
func (m *mongoServer) list(command bson.D) bson.D {
	ns := fmt.Sprintf("%v.%v", field(command, "$db"), command[0].Value)
	switch command[0].Key {
	case "getMore":
		return m.more(command)
	case "aggregate":
		return m.aggregate(command)
	}
	if command[0].Value != "system.profile" {
		return m.cursor(ns, nil, mongoBatch)
	}
	filter, _ := field(command, "filter").(bson.D)
	docs := chosen(m.profile, filter)
	if order, ok := field(command, "sort").(bson.D); ok {
		docs = sorted(docs, order)
	}
	docs = limited(docs, field(command, "limit"))
	if only, ok := field(command, "projection").(bson.D); ok {
		docs = projected(docs, only)
	}
	return m.cursor(ns, docs, sizeOf(command))
}

func (m *mongoServer) aggregate(command bson.D) bson.D {
	pipeline, _ := field(command, "pipeline").(bson.A)
	var docs []bson.D
	for i, s := range pipeline {
		stage, _ := s.(bson.D)
		if len(stage) != 1 || (stage[0].Key == "$currentOp") != (i == 0) {
			return mongoFailure(mongoBadStage, "Location40324", "the stand-in knows pipelines that begin with $currentOp")
		}
		inner, _ := stage[0].Value.(bson.D)
		switch stage[0].Key {
		case "$currentOp":
			if field(inner, "allUsers") == true {
				docs = m.operations
			}
		case "$match":
			docs = chosen(docs, inner)
		case "$sort":
			docs = sorted(docs, inner)
		case "$limit":
			docs = limited(docs, stage[0].Value)
		case "$project":
			docs = projected(docs, inner)
		default:
			return mongoFailure(mongoBadStage, "Location40324", "Unrecognized pipeline stage name: '"+stage[0].Key+"'")
		}
	}
	cursor, _ := field(command, "cursor").(bson.D)
	return m.cursor("admin.$cmd.aggregate", docs, sizeOf(cursor))
}

func sizeOf(d bson.D) int {
	if n, ok := number(field(d, "batchSize")); ok && n > 0 {
		return int(n)
	}
	return mongoBatch
}

func (m *mongoServer) cursor(ns string, docs []bson.D, size int) bson.D {
	first, rest := docs[:min(size, len(docs))], docs[min(size, len(docs)):]
	var id int64
	if len(rest) > 0 {
		m.lastCursor++
		id = m.lastCursor
		m.cursors[id] = rest
	}
	return batch("firstBatch", ns, id, first)
}

func (m *mongoServer) more(command bson.D) bson.D {
	id, _ := command[0].Value.(int64)
	docs, ok := m.cursors[id]
	if !ok {
		return mongoFailure(mongoNoCursor, "CursorNotFound", fmt.Sprintf("cursor id %d not found", id))
	}
	n := min(sizeOf(command), len(docs))
	ns := fmt.Sprintf("%v.%v", field(command, "$db"), field(command, "collection"))
	m.cursors[id] = docs[n:]
	if n == len(docs) {
		delete(m.cursors, id)
		return batch("nextBatch", ns, 0, docs)
	}
	return batch("nextBatch", ns, id, docs[:n])
}

func batch(name, ns string, id int64, docs []bson.D) bson.D {
	if docs == nil {
		docs = []bson.D{}
	}
	return succeeded(bson.D{{Key: "cursor", Value: bson.D{{Key: name, Value: docs}, {Key: "id", Value: id}, {Key: "ns", Value: ns}}}})
}

func chosen(docs []bson.D, filter bson.D) []bson.D {
	return slices.DeleteFunc(slices.Clone(docs), func(d bson.D) bool { return !matches(d, filter) })
}

func matches(d, filter bson.D) bool {
	for _, e := range filter {
		if e.Key == "$or" {
			branches, _ := e.Value.(bson.A)
			if !slices.ContainsFunc(branches, func(b any) bool { f, _ := b.(bson.D); return matches(d, f) }) {
				return false
			}
			continue
		}
		wanted, isDocument := e.Value.(bson.D)
		if !isDocument {
			wanted = bson.D{{Key: "$eq", Value: e.Value}}
		}
		for _, op := range wanted {
			if !holds(valuesAt(d, e.Key), op) {
				return false
			}
		}
	}
	return true
}

// valuesAt follows a dotted path, through arrays too.
func valuesAt(v any, path string) []any {
	name, rest, more := strings.Cut(path, ".")
	switch v := v.(type) {
	case bson.D:
		inner := field(v, name)
		if !more || inner == nil {
			return []any{inner}
		}
		return valuesAt(inner, rest)
	case bson.A:
		var out []any
		for _, e := range v {
			out = append(out, valuesAt(e, path)...)
		}
		return out
	}
	return []any{nil}
}

func holds(values []any, op bson.E) bool {
	some := func(f func(v any) bool) bool { return slices.ContainsFunc(values, f) }
	equal := func(v any) bool { return same(v, op.Value) }
	above := func(v any) bool {
		a, ok := number(v)
		b, known := number(op.Value)
		return ok && known && a >= b
	}
	switch op.Key {
	case "$eq":
		return some(equal)
	case "$ne":
		return !some(equal)
	case "$gte":
		return some(above)
	case "$nin":
		list, _ := op.Value.(bson.A)
		return !some(func(v any) bool { return slices.ContainsFunc(list, func(w any) bool { return same(v, w) }) })
	case "$exists":
		return some(func(v any) bool { return v != nil }) == (op.Value == true)
	}
	return false // an operator that the stand-in does not know finds nothing
}

func same(a, b any) bool {
	x, okX := number(a)
	y, okY := number(b)
	if okX && okY {
		return x == y
	}
	text, isText := a.(string)
	flag, isFlag := a.(bool)
	return a == nil && b == nil || isText && text == b || isFlag && flag == b
}

func sorted(docs []bson.D, by bson.D) []bson.D {
	docs = slices.Clone(docs)
	slices.SortStableFunc(docs, func(a, b bson.D) int {
		for _, e := range by {
			x, _ := number(field(a, e.Key))
			y, _ := number(field(b, e.Key))
			way, _ := number(e.Value)
			if c := cmp.Compare(x, y); c != 0 {
				return c * int(way)
			}
		}
		return 0
	})
	return docs
}

func limited(docs []bson.D, limit any) []bson.D {
	if n, ok := number(limit); ok && n > 0 && int(n) < len(docs) {
		return docs[:int(n)]
	}
	return docs
}

func projected(docs []bson.D, only bson.D) []bson.D {
	out := make([]bson.D, 0, len(docs))
	for _, d := range docs {
		kept := bson.D{}
		for _, e := range d {
			if field(only, e.Key) != nil {
				kept = append(kept, e)
			}
		}
		out = append(out, kept)
	}
	return out
}
