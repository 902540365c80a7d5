package torture

import (
	"path/filepath"
	"testing"
	"time"
)

// shortWhile is how long each database is tortured where nobody says how long.
const shortWhile = 40 * time.Second

func duration() time.Duration {
	if *minutes > 0 {
		return time.Duration(*minutes * float64(time.Minute))
	}
	return shortWhile
}

func asked(database string) bool { return *dbs == "both" || *dbs == database }

// TestTortureSQLite: one server, started again as soon as it dies.
func TestTortureSQLite(t *testing.T) {
	if testing.Short() || !asked("sqlite") {
		t.Skip("not asked for")
	}
	torture(t, plan{
		name: "sqlite", lease: 2 * time.Second, servers: 1, services: 40, workers: 10, rate: *rate, mean: 1200 * time.Millisecond, lasts: duration(),
		odds: map[fateKind]int{fateKill: 5, fateMark: 5, fatePause: 2}, place: onSQLite,
	})
}

func torture(t *testing.T, p plan) {
	t.Helper()
	a := newCampaign(t, p).run()
	t.Logf("\n%s", a.String())
	succeed(t, publish(&a))
	if !a.clean() {
		t.Errorf("%s: the evidence is against it; seed %d", p.name, *seed)
	}
}

func onSQLite(_ *testing.T, c *campaign) {
	path := filepath.Join(c.dir, "db")
	c.dsn = "sqlite:" + path
	c.rows = database{driver: "sqlite", source: "file:" + path + "?_pragma=busy_timeout(10000)"}
}
