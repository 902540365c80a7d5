package mongodb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "mongodb.server_status",
		Doc:  "Reads how busy the MongoDB server is: connections, queued operations, operations per second, its role.",
		New:  func() executors.Probe { return &serverStatus{} },
		Fact: StatusFact{},
	})
}

const (
	defaultSample = time.Second
	mostSample    = 3 * time.Second
	// leastSample is the shortest time over which a rate means something; also in a sped-up world, whose rates are not faster.
	leastSample = 50 * time.Millisecond
)

// serverStatus reads the command's answer twice and tells the second; rates are between the two.
type serverStatus struct {
	// Sample is the time between the two readings that rates are taken over, at most 3s; default 1s.
	Sample time.Duration `yaml:"sample"`
}

// StatusFact is what mongodb.server_status finds. What the server leaves out (small Atlas clusters show less) is unknown.
type StatusFact struct {
	// Host is the server that was asked, host:port.
	Host string `cel:"host"`
	// Version of the server, such as 8.0.4.
	Version string `cel:"version"`
	// Role is primary, secondary, arbiter, standalone, router (mongos) or other.
	Role string `cel:"role"`
	// Primary is whom the server takes for the primary, host:port; "" if nobody.
	Primary string `cel:"primary"`
	// Uptime is how long the process runs.
	Uptime time.Duration `cel:"uptime"`
	// Connections is how many clients' connections are open, ours among them.
	Connections int64 `cel:"connections"`
	// Available is how many more the server would take.
	Available int64 `cel:"available"`
	// ConnectionRatio is the part of the possible connections that are open, 0 to 1.
	ConnectionRatio float64 `cel:"connection_ratio"`
	// Queued is how many operations wait for the global lock or a ticket.
	Queued int64 `cel:"queued"`
	// QueuedReaders and QueuedWriters are how many of them read and write.
	QueuedReaders int64 `cel:"queued_readers"`
	// QueuedWriters is how many of the queued operations write.
	QueuedWriters int64 `cel:"queued_writers"`
	// OperationsPerSecond is the sum of the six rates below, our own few commands among them; unknown with any of them.
	OperationsPerSecond float64 `cel:"operations_per_second"`
	// InsertsPerSecond is how many documents are inserted a second.
	InsertsPerSecond float64 `cel:"inserts_per_second"`
	// QueriesPerSecond is how many queries begin a second.
	QueriesPerSecond float64 `cel:"queries_per_second"`
	// UpdatesPerSecond is how many updates there are a second.
	UpdatesPerSecond float64 `cel:"updates_per_second"`
	// DeletesPerSecond is how many deletes there are a second.
	DeletesPerSecond float64 `cel:"deletes_per_second"`
	// GetmoresPerSecond is how often cursors are read on a second.
	GetmoresPerSecond float64 `cel:"getmores_per_second"`
	// CommandsPerSecond is how many other commands there are a second.
	CommandsPerSecond float64 `cel:"commands_per_second"`
}

// Claims implements executors.Claiming.
func (f *StatusFact) Claims() map[string]string { return claims(f.Primary) }

// statusReply is the part of serverStatus that is looked at (https://www.mongodb.com/docs/manual/reference/command/serverStatus/). Nil: the
// server leaves it out.
type statusReply struct {
	Host         string   `bson:"host"`
	Version      string   `bson:"version"`
	Process      string   `bson:"process"`
	PID          int64    `bson:"pid"`
	Uptime       *float64 `bson:"uptime"` // seconds
	UptimeMillis *int64   `bson:"uptimeMillis"`
	Connections  struct {
		Current   *int64 `bson:"current"`
		Available *int64 `bson:"available"`
	} `bson:"connections"`
	GlobalLock struct {
		CurrentQueue struct {
			Total   *int64 `bson:"total"`
			Readers *int64 `bson:"readers"`
			Writers *int64 `bson:"writers"`
		} `bson:"currentQueue"`
	} `bson:"globalLock"`
	Opcounters struct {
		Insert  *int64 `bson:"insert"`
		Query   *int64 `bson:"query"`
		Update  *int64 `bson:"update"`
		Delete  *int64 `bson:"delete"`
		Getmore *int64 `bson:"getmore"`
		Command *int64 `bson:"command"`
	} `bson:"opcounters"`
	Repl *struct {
		Writable  bool   `bson:"isWritablePrimary"`
		IsMaster  bool   `bson:"ismaster"` // the older name
		Secondary bool   `bson:"secondary"`
		Arbiter   bool   `bson:"arbiterOnly"`
		Primary   string `bson:"primary"`
		Me        string `bson:"me"`
	} `bson:"repl"`
}

// Validate tells in plain words what is wrong with the parameters.
func (p *serverStatus) Validate(executors.Target) error {
	if p.Sample != 0 && (p.Sample < leastSample || p.Sample > mostSample) {
		return fmt.Errorf("sample must be between %s and %s", leastSample, mostSample)
	}
	return nil
}

// Ask implements executors.Probe.
func (p *serverStatus) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	// The left-out sections are the largest, and nothing of them is looked at.
	command := bson.D{
		{Key: "serverStatus", Value: 1}, {Key: "metrics", Value: 0}, {Key: "wiredTiger", Value: 0}, {Key: "tcmalloc", Value: 0},
	}
	var first, second statusReply
	err := ask(ctx, env, connect.MongoAsk{Doing: "reading the server's status"}, func(ctx context.Context, s *connect.MongoSession) error {
		if err := s.Run(ctx, "admin", command, &first); err != nil {
			return err
		}
		if err := wait(ctx, max(env.Scale(cmp.Or(p.Sample, defaultSample)), leastSample)); err != nil {
			return err
		}
		return s.Run(ctx, "admin", command, &second)
	})
	switch {
	case err != nil:
		return executors.Answer{}, err
	case second.Host == "" && second.Version == "":
		return executors.Answer{}, errors.New("the answer is none of serverStatus")
	}
	fact, unknown := judge(first, second)
	return executors.Answer{Fact: &fact, Unknown: unknown, Summary: fact.summary(unknown)}, nil
}

// judge tells the second reading, and the rates between the two.
func judge(first, second statusReply) (f StatusFact, unknown []string) {
	r := &reading{}
	f.Host, f.Version = clean(second.Host), clean(second.Version)
	f.Role, f.Primary = second.role(r)
	f.Uptime = second.uptime(r)
	f.Connections = r.count("connections", second.Connections.Current)
	f.Available = r.count("available", second.Connections.Available)
	if all := f.Connections + f.Available; all > 0 && !r.lacks("connections", "available") {
		f.ConnectionRatio = float64(f.Connections) / float64(all)
	} else {
		r.unknown = append(r.unknown, "connection_ratio")
	}
	queue := second.GlobalLock.CurrentQueue
	f.Queued = r.count("queued", queue.Total)
	f.QueuedReaders, f.QueuedWriters = r.count("queued_readers", queue.Readers), r.count("queued_writers", queue.Writers)
	r.seconds = elapsed(first, second)
	a, b := first.Opcounters, second.Opcounters
	f.InsertsPerSecond = r.rate("inserts_per_second", a.Insert, b.Insert)
	f.QueriesPerSecond = r.rate("queries_per_second", a.Query, b.Query)
	f.UpdatesPerSecond = r.rate("updates_per_second", a.Update, b.Update)
	f.DeletesPerSecond = r.rate("deletes_per_second", a.Delete, b.Delete)
	f.GetmoresPerSecond = r.rate("getmores_per_second", a.Getmore, b.Getmore)
	f.CommandsPerSecond = r.rate("commands_per_second", a.Command, b.Command)
	if r.rateless {
		r.unknown = append(r.unknown, "operations_per_second")
	} else {
		f.OperationsPerSecond = f.InsertsPerSecond + f.QueriesPerSecond + f.UpdatesPerSecond + f.DeletesPerSecond + f.GetmoresPerSecond + f.CommandsPerSecond
	}
	return f, r.unknown
}

// elapsed is the time between two readings by the server's own clock; 0 if they are not of the same process.
func elapsed(first, second statusReply) float64 {
	if first.UptimeMillis == nil || second.UptimeMillis == nil || first.Host != second.Host || first.PID != second.PID {
		return 0
	}
	return float64(*second.UptimeMillis-*first.UptimeMillis) / 1000
}

// reading collects what could not be had.
type reading struct {
	seconds  float64
	rateless bool
	unknown  []string
}

func (r *reading) count(name string, v *int64) int64 {
	if v == nil || *v < 0 {
		r.unknown = append(r.unknown, name)
		return 0
	}
	return *v
}

// rate is unknown over too short a time, between different processes, and where a counter went back.
func (r *reading) rate(name string, before, after *int64) float64 {
	if before == nil || after == nil || *after < *before || r.seconds < leastSample.Seconds()/2 {
		r.unknown, r.rateless = append(r.unknown, name), true
		return 0
	}
	return float64(*after-*before) / r.seconds
}

func (r *reading) lacks(names ...string) bool {
	for _, u := range r.unknown {
		for _, n := range names {
			if u == n {
				return true
			}
		}
	}
	return false
}

func (s statusReply) uptime(r *reading) time.Duration {
	switch {
	case s.UptimeMillis != nil && *s.UptimeMillis >= 0:
		return time.Duration(*s.UptimeMillis) * time.Millisecond
	case s.Uptime != nil && *s.Uptime >= 0 && *s.Uptime < math.MaxInt64/float64(time.Second):
		return time.Duration(*s.Uptime * float64(time.Second))
	}
	r.unknown = append(r.unknown, "uptime")
	return 0
}

// role tells what the server is in its deployment, and whom it takes for the primary.
func (s statusReply) role(r *reading) (role, primary string) {
	switch {
	case s.Process == "":
		r.unknown = append(r.unknown, "role", "primary")
		return "", ""
	case s.Process == "mongos":
		return "router", ""
	case s.Repl == nil:
		return "standalone", ""
	case s.Repl.Writable || s.Repl.IsMaster:
		return "primary", clean(cmp.Or(s.Repl.Primary, s.Repl.Me))
	case s.Repl.Secondary:
		return "secondary", clean(s.Repl.Primary)
	case s.Repl.Arbiter:
		return "arbiter", clean(s.Repl.Primary)
	}
	return "other", clean(s.Repl.Primary)
}

func (f StatusFact) summary(unknown []string) string {
	r := reading{unknown: unknown}
	text := fmt.Sprintf("%s (%s, version %s)", f.Host, cmp.Or(f.Role, "role unknown"), f.Version)
	if r.lacks("connection_ratio") {
		text += ": connections unknown"
	} else {
		text += fmt.Sprintf(": %d of %d connections (%.0f %%)", f.Connections, f.Connections+f.Available, 100*f.ConnectionRatio)
	}
	if !r.lacks("queued") {
		text += fmt.Sprintf(", %d operations queued", f.Queued)
	}
	if r.lacks("operations_per_second") {
		return text + ", operations per second unknown"
	}
	return text + fmt.Sprintf(", %.0f operations per second", f.OperationsPerSecond)
}
