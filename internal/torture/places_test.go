package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// onSQLite keeps the rows in a file on the disk.
func onSQLite(_ *testing.T, c *campaign) { c.onFile(c.dir) }

func (c *campaign) onFile(dir string) {
	path := filepath.Join(dir, "db")
	c.dsn = "sqlite:" + path
	c.rows = database{driver: "sqlite", source: "file:" + path + "?_pragma=busy_timeout(10000)"}
}

// smallDisk is the size of the disk that is filled.
const smallDisk = "size=96m"

// onSmallDisk keeps the rows on a disk of memory, which a test may fill.
func onSmallDisk(t *testing.T, c *campaign) {
	dir := filepath.Join(c.dir, "disk")
	mountSmall(t, dir)
	c.onFile(dir)
	c.stats.lenient = true
}

// mountSmall makes a directory that is a small disk of memory.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	succeed(t, os.Mkdir(dir, 0o700))
	err := syscall.Mount("torture", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, smallDisk)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		leaveOut(t, "only root may mount a small disk")
	}
	succeed(t, err)
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// fillsTheDisk takes all the room there is, gives it back a while later, and so on.
func fillsTheDisk(ctx context.Context, c *campaign) {
	dice := c.dice(4)
	filler := filepath.Join(c.dir, "disk", "filler")
	for pause(ctx, 2*time.Second+time.Duration(dice.Int64N(int64(3*time.Second)))) {
		if err := fill(filler); !errors.Is(err, syscall.ENOSPC) {
			c.stats.blame("the disk could not be filled: %v", err)
			return
		}
		c.stats.count(&c.stats.Full)
		pause(ctx, 500*time.Millisecond+time.Duration(dice.Int64N(int64(2*time.Second))))
		if err := os.Remove(filler); err != nil {
			c.stats.blame("the disk could not be emptied: %v", err)
			return
		}
	}
}

func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for _, size := range []int{1 << 20, 1 << 12, 1} {
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
	}
	return err
}

// onPostgres keeps the rows in a server of the campaign's own.
func onPostgres(t *testing.T, c *campaign) {
	cluster, err := postgrestest.Start(filepath.Join(c.dir, "pg"), "max_connections=200")
	if errors.Is(err, postgrestest.ErrMissing) {
		leaveOut(t, err.Error())
	}
	succeed(t, err)
	t.Cleanup(func() { _ = cluster.Remove() })
	succeed(t, cluster.Create("torture", ""))
	c.cluster, c.dsn = cluster, cluster.DSN("torture")
	c.rows = database{driver: "pgx", source: c.dsn}
}

// stopsPostgres stops the database as if it had crashed, now and then, and starts it again under load.
func stopsPostgres(ctx context.Context, c *campaign) {
	dice := c.dice(5)
	for pause(ctx, 15*time.Second+time.Duration(dice.Int64N(int64(30*time.Second)))) {
		c.stats.excused(time.Minute)
		if err := c.cluster.Stop(true); err != nil {
			c.stats.blame("PostgreSQL could not be stopped: %v", err)
		}
		c.stats.count(&c.stats.Stops)
		pause(ctx, time.Duration(dice.Int64N(int64(2*time.Second))))
		if err := c.cluster.Restart(); err != nil {
			c.stats.blame("PostgreSQL did not start again: %v", err)
			return
		}
		c.stats.excused(10 * time.Second)
	}
}

// leaveOut skips what this machine cannot do, unless everything is required.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("REQUIRE_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func (c *campaign) String() string { return fmt.Sprintf("%s in %s", c.name, c.dir) }
