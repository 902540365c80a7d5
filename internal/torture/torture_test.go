package torture

import (
	"os/exec"
	"testing"
	"time"
)

const (
	// shortWhile is the least time for which a trouble of its own is made.
	shortWhile = 30 * time.Second
	// shortLease is what a halt is waited for.
	shortLease = 2 * time.Second
	// longTorture is from how many minutes on everything is tried.
	longTorture = 10
)

// duration is how long each database is tortured.
func duration() time.Duration { return time.Duration(*minutes * float64(time.Minute)) }

// aside is how long the troubles of a disk take beside that.
func aside() time.Duration { return max(duration()/10, shortWhile/2) }

// only leaves out what was not asked for.
func only(t *testing.T, database string) {
	t.Helper()
	if *minutes <= 0 || *figures || *dbs != "both" && *dbs != database {
		t.Skip("not asked for")
	}
}

// TestTortureSQLite: one server, started again as soon as it dies.
func TestTortureSQLite(t *testing.T) {
	only(t, "sqlite")
	torture(t, plan{
		name: "sqlite", lease: shortLease, servers: 1, services: 40, workers: 10, rate: *rate, mean: time.Second, lasts: duration(),
		odds: map[fateKind]int{fateKill: 5, fateMark: 5, fatePause: 10}, place: onSQLite,
	})
}

// TestTorturePostgres: three servers on one database, which is itself stopped at once now and then. While one is halted for longer than
// its lease, another takes its runs over.
func TestTorturePostgres(t *testing.T) {
	only(t, "postgres")
	torture(t, plan{
		name: "postgres", lease: shortLease, servers: 3, services: 40, workers: 10, rate: *rate, mean: 1500 * time.Millisecond, lasts: duration(),
		odds: map[fateKind]int{fateKill: 4, fateMark: 4, fatePause: 10}, place: onPostgres, harm: stopsPostgres,
	})
}

// TestTortureDefaultLease: halted for longer than the lease that the program has by default.
func TestTortureDefaultLease(t *testing.T) {
	only(t, "postgres")
	if *minutes < longTorture {
		t.Skip("the default lease takes too long for a short torture")
	}
	torture(t, plan{
		name: "postgres, default lease", servers: 3, services: 40, workers: 10, rate: *rate, mean: 3 * time.Second, lasts: 3 * time.Minute,
		odds: map[fateKind]int{fatePause: 1}, place: onPostgres,
	})
}

// TestTortureDisk: the disk is full now and then. What was answered with 2xx before is there, and nothing is answered with it then.
func TestTortureDisk(t *testing.T) {
	only(t, "sqlite")
	torture(t, plan{
		name: "sqlite, disk full", lease: shortLease, servers: 1, services: 12, workers: 4, rate: *rate, mean: 4 * time.Second, lasts: aside(),
		odds: map[fateKind]int{fateKill: 1}, place: onSmallDisk, harm: fillsTheDisk,
	})
}

// TestTortureSync: fsync fails from some call on, and with it a commit whose end nobody knows. The server must end, and what it has
// answered with 2xx must be there after a clean restart.
func TestTortureSync(t *testing.T) {
	only(t, "sqlite")
	if _, err := exec.LookPath("strace"); err != nil {
		leaveOut(t, "no strace here (Debian package strace)")
	}
	torture(t, plan{
		name: "sqlite, fsync fails", lease: shortLease, servers: 1, services: 12, workers: 4, rate: *rate, mean: time.Second, lasts: aside(),
		odds: map[fateKind]int{fateSync: 1}, place: onSQLite,
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
