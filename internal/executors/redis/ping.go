package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

func init() {
	executors.RegisterProbe(executors.ProbeKind{
		Name: "redis.ping",
		Doc:  "Asks a Redis server for a sign of life, several times if need be, and tells whether it is down.",
		New:  func() executors.Probe { return &ping{} },
		Fact: PingFact{},
	})
}

const (
	defaultTries   = 3
	mostTries      = 20
	defaultTimeout = 3 * time.Second
	defaultPause   = time.Second
	// mostTime is how long all tries together may take: a server that hangs has to be found down before the asking is called off.
	mostTime = 12 * time.Second
)

// ping asks until the server answers, or the tries are used up. Each try is a connection of its own.
type ping struct {
	// Tries is how many failures in a row make it down; default 3.
	Tries int `yaml:"tries"`
	// Timeout of one try, connecting included; default 3s.
	Timeout time.Duration `yaml:"timeout"`
	// Every is the pause between tries; default 1s.
	Every time.Duration `yaml:"every"`
}

// PingFact is what redis.ping finds.
type PingFact struct {
	// Address is the server's host:port.
	Address string `cel:"address"`
	// Down says that all tries failed: the connection was refused or broken, nothing came in time, or the server said that it cannot serve.
	Down bool `cel:"down"`
	// Latency of the last try's PING, without connecting; unknown when it failed.
	Latency time.Duration `cel:"latency"`
	// LatencyMS is Latency in milliseconds.
	LatencyMS int64 `cel:"latency_ms"`
	// Tries is how many were made.
	Tries int64 `cel:"tries"`
	// Failed is how many of them failed.
	Failed int64 `cel:"failed"`
	// Error says why the last failing try failed.
	Error string `cel:"error"`
}

// IsSick lets a run tell whether things got worse after an act.
func (f *PingFact) IsSick() bool { return f.Down }

// Claims implements executors.Claiming.
func (f *PingFact) Claims() map[string]string { return claims(f.Address, !f.Down) }

// claims are what every fact about a server says of it.
func claims(address string, answers bool) map[string]string {
	return map[string]string{System + "/answers/" + address: fmt.Sprint(answers)}
}

// Validate tells in plain words what is wrong with the parameters.
func (p *ping) Validate(t executors.Target) error {
	switch {
	case p.Tries < 0 || p.Tries > mostTries:
		return fmt.Errorf("tries must be between 1 and %d", mostTries)
	case p.Timeout < 0 || p.Every < 0:
		return errors.New("timeout and every must not be negative")
	case p.longest() > mostTime:
		return fmt.Errorf("all tries together may take %s: make tries, timeout or every smaller, so that it stays under %s", p.longest(), mostTime)
	}
	_, err := section(t)
	return err
}

// longest is how long the tries take when every one of them hangs.
func (p *ping) longest() time.Duration {
	tries := time.Duration(cmp.Or(p.Tries, defaultTries))
	return tries*cmp.Or(p.Timeout, defaultTimeout) + (tries-1)*cmp.Or(p.Every, defaultPause)
}

// Ask implements executors.Probe. A wrong password, a name that does not resolve or an answer that is not Redis's is an error: nothing is
// known then.
func (p *ping) Ask(ctx context.Context, env executors.Env) (executors.Answer, error) {
	_, server, err := opened(env)
	if err != nil {
		return executors.Answer{}, err
	}
	fact := PingFact{Address: server.Address()}
	for tries := int64(cmp.Or(p.Tries, defaultTries)); fact.Tries < tries; {
		if fact.Tries > 0 {
			pause(ctx.Done(), cmp.Or(p.Every, env.Scale(defaultPause)))
		}
		fact.Tries++
		latency, err := p.once(ctx, server)
		if ctx.Err() != nil {
			return executors.Answer{}, fmt.Errorf("asking %s: %w", fact.Address, ctx.Err())
		}
		if err == nil {
			fact.Latency, fact.LatencyMS = latency, latency.Milliseconds()
			return executors.Answer{Fact: &fact, Summary: fact.summary()}, nil
		}
		if !connect.IsRedisDown(err) {
			return executors.Answer{}, fmt.Errorf("asking %s: %w", fact.Address, err)
		}
		fact.Failed++
		fact.Error = reason(err)
	}
	fact.Down = true
	return executors.Answer{Fact: &fact, Unknown: []string{"latency", "latency_ms"}, Summary: fact.summary()}, nil
}

func (p *ping) once(ctx context.Context, server *connect.Redis) (latency time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, defaultTimeout))
	defer cancel()
	err = server.Session(ctx, server.Database(), func(ctx context.Context, s *connect.Session) error {
		began := time.Now()
		_, err := s.Read(ctx, "asking for a sign of life", "PING")
		latency = time.Since(began)
		return err
	})
	return latency, err
}

// reason is the cause of a failed try in few words.
func reason(err error) string {
	var (
		timeout net.Error
		limited *connect.RateLimited
		dial    *net.OpError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.As(err, &limited):
		return shown(strings.TrimSpace(limited.Err.Error()))
	case errors.As(err, &dial) && dial.Op == "dial":
		return shown(dial.Err.Error())
	default:
		return "the connection broke"
	}
}

func (f *PingFact) summary() string {
	times := "once"
	if f.Tries > 1 {
		times = fmt.Sprintf("%d times", f.Tries)
	}
	switch {
	case f.Down:
		return fmt.Sprintf("Redis at %s is down, failing %s: %s", f.Address, times, f.Error)
	case f.Failed > 0:
		return fmt.Sprintf("Redis at %s answered in %d ms, after failing %d of %d times", f.Address, f.LatencyMS, f.Failed, f.Tries)
	default:
		return fmt.Sprintf("Redis at %s answered in %d ms", f.Address, f.LatencyMS)
	}
}
