//go:build linux

package postgrestest_test

import (
	"testing"

	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// What is committed outlives a server that was stopped as if it had crashed, and a copy of a database is one of its own.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := postgrestest.New(t)
	query := func(database, query, want string) {
		t.Helper()
		if got, err := c.Query(database, query); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", query, got, err, want)
		}
	}
	for _, database := range [][2]string{{"first", ""}, {"second", "first"}} {
		if err := c.Create(database[0], database[1]); err != nil {
			t.Fatal(err)
		}
		query(database[0], "CREATE TABLE IF NOT EXISTS a (b int); INSERT INTO a VALUES (1)", "")
	}
	for _, immediate := range []bool{true, false} {
		if err := c.Stop(immediate); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Query("first", "SELECT 1"); err == nil || c.Pid() != 0 {
			t.Errorf("a stopped server answers: %v, pid %d", err, c.Pid())
		}
		if err := c.Restart(); err != nil {
			t.Fatal(err)
		}
		if err := c.Restart(); err == nil {
			t.Error("a second server was started")
		}
	}
	query("first", "SELECT count(*) FROM a", "1")
	query("second", "SELECT count(*), current_setting('fsync') FROM a", "2|on")
}
