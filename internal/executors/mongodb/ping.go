package mongodb

import (
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
		Name: "mongodb.ping",
		Doc:  "Connects to the MongoDB deployment anew and tells whether it can be used, and if not, why.",
		New:  func() executors.Probe { return &ping{} },
		Fact: PingFact{},
	})
}

// mostTimeout leaves a probe time to answer before it is called off.
const mostTimeout = 30 * time.Second

// ping connects, logs in and pings the primary.
type ping struct {
	// Timeout is how long to try; default: the connection's. A database that does not answer is down after this time, so it must be
	// shorter than the rule gives the probe.
	Timeout time.Duration `yaml:"timeout"`
}

// PingFact is what mongodb.ping finds.
type PingFact struct {
	// OK says that the deployment can be used for writing: a primary (or a standalone server, or a router) answered. Unknown where the
	// failure may be on our side, or only our own login failed.
	OK bool `cel:"ok"`
	// Down says that nobody can use the deployment: no member answers, or none is primary. Unknown where the failure may be on our side.
	Down bool `cel:"down"`
	// Reason is none, refused, no_answer, broken (the connection ends early or answers nonsense), no_primary, overloaded, authentication (our
	// login), not_authorized, command, or, on our side of the network: dns, tls, address_not_allowed (the TLS handshake is ended as Atlas does
	// to addresses that are not on its access list), unusable (the connection string or the secret).
	Reason string `cel:"reason"`
	// Latency is the round trip of a ping on an open connection; unknown when nothing answered.
	Latency time.Duration `cel:"latency"`
	// LatencyMS is Latency in milliseconds.
	LatencyMS int64 `cel:"latency_ms"`
	// ConnectMS is how long it took to find the primary, connect and log in, in milliseconds; unknown when nothing answered.
	ConnectMS int64 `cel:"connect_ms"`
	// Topology is replica_set, standalone, sharded or load_balanced; unknown when no member answered.
	Topology string `cel:"topology"`
	// PrimaryKnown says that the replica set has a primary; true where there is no replica set. Unknown when no member answered.
	PrimaryKnown bool `cel:"primary_known"`
	// Primary is the primary's host:port, "" if there is none.
	Primary string `cel:"primary"`
	// Members is how many members are known.
	Members int64 `cel:"members"`
	// Reachable is how many of them answered.
	Reachable int64 `cel:"reachable"`
}

// Claims implements executors.Claiming.
func (f *PingFact) Claims() map[string]string { return claims(f.Primary) }

// claims say who the primary is, where that is known.
func claims(primary string) map[string]string {
	if primary == "" {
		return nil
	}
	return map[string]string{"mongodb/primary": strings.ToLower(primary)}
}

// Validate tells in plain words what is wrong with the parameters.
func (p *ping) Validate(executors.Target) error {
	if p.Timeout < 0 || p.Timeout > mostTimeout {
		return fmt.Errorf("timeout must be between 0 and %s", mostTimeout)
	}
	return nil
}

// Ask implements executors.Probe.
func (p *ping) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	mongo, err := connect.Get[*connect.Mongo](env.Connections, connection)
	if err != nil {
		return executors.Answer{}, err
	}
	var fact PingFact
	began := time.Now()
	question := connect.MongoAsk{Doing: "pinging the deployment", Timeout: p.Timeout, ReadPreference: connect.MongoPrimary}
	members, err := mongo.Ask(ctx, question, func(ctx context.Context, s *connect.MongoSession) error {
		command := bson.D{{Key: "ping", Value: 1}}
		if err := s.Run(ctx, "admin", command, nil); err != nil {
			return err
		}
		connected := time.Now()
		fact.ConnectMS = connected.Sub(began).Milliseconds()
		err := s.Run(ctx, "admin", command, nil)
		fact.Latency = time.Since(connected)
		fact.LatencyMS = fact.Latency.Milliseconds()
		return err
	})
	if ctx.Err() != nil {
		return executors.Answer{}, errors.Join(err, ctx.Err())
	}
	fact.look(members)
	return fact.answer(connect.MongoReasonOf(err), err), nil
}

// look says what the members are.
func (f *PingFact) look(members []connect.MongoMember) {
	f.Members = int64(len(members))
	for _, m := range members {
		if !m.Answers() {
			continue
		}
		f.Reachable++
		switch m.Kind {
		case "Standalone":
			f.Topology, f.PrimaryKnown = "standalone", true
		case "Mongos":
			f.Topology, f.PrimaryKnown = "sharded", true
		case "LoadBalancer":
			f.Topology, f.PrimaryKnown = "load_balanced", true
		default:
			f.Topology = "replica_set"
			if m.Kind == "RSPrimary" {
				f.PrimaryKnown, f.Primary = true, clean(m.Address)
			}
		}
	}
}

// answer judges what the failure says of the deployment, if there was one.
func (f *PingFact) answer(reason connect.MongoReason, err error) executors.Answer {
	f.Reason = string(reason)
	answer := executors.Answer{Fact: f}
	if f.Reachable == 0 {
		answer.Unknown = append(answer.Unknown, "topology", "primary_known", "primary")
	}
	switch {
	case reason == connect.MongoFine && !f.PrimaryKnown: // a direct connection to a secondary
		f.Reason, f.Down = string(connect.MongoNoPrimary), true
		answer.Summary = "MongoDB answers, but has no primary"
		return answer
	case reason == connect.MongoFine:
		f.OK = true
		answer.Summary = fmt.Sprintf("MongoDB answered in %d ms, after %d ms to connect; %s", f.LatencyMS, f.ConnectMS, f.membersInWords())
		return answer
	}
	answer.Unknown = append(answer.Unknown, "latency", "latency_ms", "connect_ms")
	f.Latency, f.LatencyMS, f.ConnectMS = 0, 0, 0
	answer.Summary = fmt.Sprintf("MongoDB cannot be used (%s; %s): %v", f.Reason, f.membersInWords(), errorText(err))
	switch {
	case reason.OurSide():
		answer.Unknown = append(answer.Unknown, "ok", "down")
		answer.Summary += "; that may be on our side, so nothing is known of the deployment"
	case reason == connect.MongoAuthentication, reason == connect.MongoUnauthorized, reason == connect.MongoCommand:
		answer.Unknown = append(answer.Unknown, "ok")
		f.Down = !f.PrimaryKnown
	case reason == connect.MongoOverloaded:
		f.Down = !f.PrimaryKnown
	default: // also where the primary shows itself and does not answer what it is asked
		f.Down = true
	}
	return answer
}

func (f *PingFact) membersInWords() string {
	switch {
	case f.Topology == "replica_set" && f.PrimaryKnown:
		return fmt.Sprintf("%d of %s reachable, the primary is %s", f.Reachable, times(f.Members, "member"), f.Primary)
	case f.Topology == "replica_set":
		return fmt.Sprintf("%d of %s reachable, none is primary", f.Reachable, times(f.Members, "member"))
	default:
		return fmt.Sprintf("%d of %s reachable", f.Reachable, times(f.Members, "server"))
	}
}

// errorText is the cause alone: the summary says the rest.
func errorText(err error) string {
	var call *connect.CallError
	if errors.As(err, &call) {
		err = call.Err
	}
	if err == nil {
		return ""
	}
	return bounded(err.Error(), 300)
}
