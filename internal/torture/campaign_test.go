package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/mixillo/remediator/internal/sandbox"
	"github.com/mixillo/remediator/internal/store"
	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// The secrets of the torture's world; they guard nothing.
const (
	signingKey = "a-signing-secret-for-the-torture"
	bearer     = "a-bearer-token-for-the-torture"
	apiToken   = "an-api-token-for-the-torture"
)

// plan says what a campaign does to which servers.
type plan struct {
	name     string
	lease    time.Duration // 0: the program's own default
	servers  int
	services int
	workers  int                                    // outages at a time
	rate     int                                    // deliveries a second
	odds     map[fateKind]int                       // empty: every life is calm
	mean     time.Duration                          // of a life
	storm    int                                    // so many targets that want action are a storm; 0: never
	place    func(t *testing.T, c *campaign)        // sets up the database: dsn, rows
	harm     func(ctx context.Context, c *campaign) // does to the database what is no server's fate
	lasts    time.Duration
}

// campaign is one torture of one database: its processes and what is known of it.
type campaign struct {
	plan
	t        *testing.T
	dir      string
	program  string
	dsn      string
	rows     database
	cluster  *postgrestest.Cluster // nil on SQLite
	stats    *stats
	fates    *fates
	world    *world
	sending  senderConfig
	sender   *deliverer
	api      *api
	director *director
	replicas []*replica
	keeping  sync.WaitGroup
	began    time.Time
}

// newCampaign starts the sandbox, the servers and the sender, in this order, and waits until a server listens.
func newCampaign(t *testing.T, p plan) *campaign {
	t.Helper()
	c := &campaign{plan: p, t: t, dir: workplace(t), program: program(t), stats: newStats()}
	c.place(t, c)
	c.world = newWorld(t, c.program, c.dir)
	c.secrets()
	names := c.names()
	for _, name := range names {
		succeed(t, c.world.revise(t.Context(), name, good()...))
	}
	c.rules(names)
	c.fates = &fates{odds: p.odds, mean: p.mean, lease: cmp.Or(p.lease, store.DefaultLease), dir: c.dir, dice: c.dice(3), marks: map[string]int{}}
	return c
}

func (c *campaign) dice(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(*seed, stream)) }

func (c *campaign) names() []string {
	names := make([]string, c.services)
	for i := range names {
		names[i] = fmt.Sprintf("svc-%02d", i)
	}
	return names
}

func (c *campaign) secrets() {
	for name, value := range map[string]string{
		"token": bearer, "signing": signingKey, "api": apiToken, "pagerduty": sandbox.PagerDutyToken, "slack": sandbox.SlackToken,
		"routing": sandbox.PagerDutyRoutingKey,
	} {
		succeed(c.t, os.WriteFile(filepath.Join(c.dir, name), []byte(value), 0o600))
	}
}

// rules fills in the addresses of this world.
func (c *campaign) rules(services []string) {
	text, err := template.ParseFiles(filepath.Join("testdata", "rules.yaml"))
	succeed(c.t, err)
	f, err := os.Create(filepath.Join(c.dir, "rules.yaml"))
	succeed(c.t, err)
	succeed(c.t, errors.Join(text.Execute(f, map[string]any{
		"Dir": c.dir, "Google": c.world.places.Google, "PagerDuty": c.world.places.Pagerduty, "Slack": c.world.places.Slack,
		"Backend": c.world.backend, "Services": services, "StormTargets": cmp.Or(c.storm, 1000),
	}), f.Close()))
}

// fleet starts the servers, each kept alive until ctx ends.
func (c *campaign) fleet(ctx context.Context) {
	var bases []string
	for i := range c.servers {
		r := &replica{name: fmt.Sprintf("server %d", i), port: freePort(c.t), stats: c.stats}
		if len(c.odds) > 0 {
			r.fates = c.fates
		}
		r.launch = func(f fate) launch { return f.wrap(launch{program: c.program, args: c.arguments(i, r.port)}) }
		c.replicas, bases = append(c.replicas, r), append(bases, r.base())
	}
	c.api = newAPI(bases, apiToken)
	c.keep(ctx)
	c.t.Cleanup(func() {
		for _, r := range c.replicas {
			r.kill()
		}
	})
}

func (c *campaign) keep(ctx context.Context) {
	for _, r := range c.replicas {
		c.keeping.Go(func() { r.keep(ctx) })
	}
}

func (c *campaign) arguments(i, port int) []string {
	args := []string{
		"serve", "--speed", fmt.Sprint(worldSpeed), "--rules", filepath.Join(c.dir, "rules.yaml"), "--db", c.dsn,
		"--socket", filepath.Join(c.dir, fmt.Sprintf("s%d", i)), "--web.listen-address", fmt.Sprintf("127.0.0.1:%d", port),
		"--web.token-file", filepath.Join(c.dir, "api"),
	}
	if c.lease > 0 {
		args = append(args, "--lease", c.lease.String())
	}
	return args
}

// open starts the servers, waits until one listens, and lets PagerDuty know where they are.
func (c *campaign) open(ctx context.Context) {
	quiet := c.quiet()
	c.fleet(ctx)
	succeed(c.t, eventually(ctx, "a server listens", time.Minute, func() (bool, error) {
		return slices.ContainsFunc(c.replicas, (*replica).listening), nil
	}))
	hook := map[string]string{"url": newBalancer(c.t, c.replicas).base() + "/v1/webhooks/pagerduty", "secret": signingKey}
	succeed(c.t, c.world.do(ctx, "set-webhook", hook))
	c.director = &director{world: c.world, api: c.api, stats: c.stats, outages: map[string]outage{}}
	c.sending = senderConfig{
		Servers: c.api.bases, Journal: filepath.Join(c.dir, "sent.jsonl"), Rate: c.rate, Seed: *seed, Token: bearer, Signing: signingKey, Quiet: quiet,
	}
	c.began = time.Now()
}

// senderFor starts a sender, of the everyday load or of a flood.
func (c *campaign) senderFor(flood *storm) {
	c.sending.Storm = flood
	c.sender = newDeliverer(c.t, c.sending)
	own := c.sender
	c.fates.spare(func() bool { return own.tally().Waiting > 5*int64(c.rate) })
	c.director.sender = c.sender
}

// quiet opens a few incidents that concern no rule. Their own webhooks go nowhere.
func (c *campaign) quiet() []string {
	var ids []string
	for i := range 5 {
		var opened struct{ ID string }
		succeed(c.t, c.world.get(c.t.Context(), "trigger-incident", map[string]any{
			"title": "nothing of ours", "key": fmt.Sprintf("quiet-%d", i), "severity": "warning",
			"details": map[string]string{"alertname": "Quiet", "service": "nobody", "severity": "warning", "outage": ""},
		}, &opened))
		ids = append(ids, opened.ID)
	}
	return ids
}
