package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// While the server is down deliveries are refused with what a sender keeps them for; once it is back all goes on by itself, and what was
// accepted before is there.
func TestServerStopsAndComesBack(t *testing.T) {
	t.Parallel()
	c := postgrestest.New(t)
	must(t, c.Create("remediator", ""))
	s := open(t, store.Config{DSN: c.DSN("remediator")})
	r := &recorder{}
	start(t, s, r)
	accept := func() (string, error) {
		e := newEvent()
		e.State = remediation.EventPending
		_, err := s.Accept(t.Context(), remediation.Acceptance{Event: e})
		return e.ID, err
	}
	for _, immediate := range []bool{true, false} {
		before, err := accept()
		must(t, err)
		must(t, c.Stop(immediate))
		if _, err := accept(); !errors.Is(err, remediation.ErrUnavailable) || s.Err() != nil {
			t.Errorf("while the server is down: %v, broken: %v", err, s.Err())
		}
		must(t, c.Restart())
		var after string
		eventually(t, "deliveries are accepted again", func() bool {
			after, err = accept()
			return err == nil
		})
		if _, err := s.Event(t.Context(), before); err != nil {
			t.Errorf("accepted and lost: %v", err)
		}
		for _, id := range []string{before, after} {
			eventually(t, "the events are visited", func() bool { return r.count("match "+id) > 0 })
		}
	}
	if s.Err() != nil {
		t.Errorf("the store is broken: %v", s.Err())
	}
}

// A connection that is cut during the commit leaves its end unknown: nobody is told that it is kept, nothing is tried again in place,
// and the store goes on.
func TestConnectionCutDuringCommit(t *testing.T) {
	t.Parallel()
	cluster, s := servers.Cluster(t), open(t, store.Config{DSN: postgresDSN(t)})
	attempts := 0
	err := s.CutBeforeCommit(t.Context(), func(pid int) {
		attempts++
		_, err := cluster.Query("postgres", fmt.Sprintf(`SELECT pg_terminate_backend(%d, 5000)`, pid))
		must(t, err)
	})
	if !errors.Is(err, remediation.ErrUnavailable) || attempts != 1 || s.Err() != nil {
		t.Errorf("%v after %d attempts, broken: %v", err, attempts, s.Err())
	}
	if _, err := s.Accept(t.Context(), remediation.Acceptance{Event: newEvent()}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A full disk answers 503 and passes: what was accepted stays, and once there is room all goes on.
func TestDiskFullOnPostgreSQL(t *testing.T) {
	t.Parallel()
	cluster, dir := servers.Cluster(t), smallDisk(t, "32m")
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	space := filepath.Join(dir, "space")
	must(t, cluster.MakeDir(space))
	name := "small_disk"
	_, err := cluster.Query("postgres", fmt.Sprintf(`CREATE TABLESPACE small LOCATION '%s'`, space))
	must(t, err)
	_, err = cluster.Query("postgres", fmt.Sprintf(`CREATE DATABASE %s TABLESPACE small`, name))
	must(t, err)
	t.Cleanup(func() {
		_, err := cluster.Query("postgres", fmt.Sprintf(`DROP DATABASE %s WITH (FORCE)`, name))
		must(t, err)
		_, err = cluster.Query("postgres", `DROP TABLESPACE small`)
		must(t, err)
	})
	s := open(t, store.Config{DSN: cluster.DSN(name)})
	fillsAndEmpties(t, s, filepath.Join(dir, "filler"))
}

// What a process cannot even reach it does not open, and it does not tell the password.
func TestUnreachableServer(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:geheim@/db?host=" + t.TempDir(),
		"postgres://u:geheim@127.0.0.1:1/db",
		"postgres://u:geheim@host:port:port/db",
		"postgres://u:geheim@%zz/db",
	} {
		s, err := store.Open(context.Background(), store.Config{DSN: dsn, Owner: owner})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened", dsn)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}
