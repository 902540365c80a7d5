//go:build linux

package postgrestest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
)

// Shared is one cluster for all tests of a binary, started when the first of them asks. Its zero value is ready; TestMain calls Remove
// when the tests are over. Safe for concurrent use.
type Shared struct {
	Settings []string

	once    sync.Once
	cluster *Cluster
	err     error
	names   atomic.Int64
}

// Cluster gives the cluster. Without PostgreSQL on this machine the test is left out, or fails where REQUIRE_ALL is set.
func (s *Shared) Cluster(tb testing.TB) *Cluster {
	tb.Helper()
	s.once.Do(func() { s.cluster, s.err = Start("", s.Settings...) })
	demand(tb, s.err)
	return s.cluster
}

// Database makes a database for one test, empty or a copy of a template, and gives its DSN.
func (s *Shared) Database(tb testing.TB, template string) string {
	tb.Helper()
	c := s.Cluster(tb)
	name := fmt.Sprintf("test_%d", s.names.Add(1))
	if err := c.Create(name, template); err != nil {
		tb.Fatalf("making a database: %v", err)
	}
	return c.DSN(name)
}

// Remove ends the cluster, if there is one, and deletes its files.
func (s *Shared) Remove() {
	s.once.Do(func() { s.err = errors.New("the tests are over") })
	if s.cluster != nil {
		_ = s.cluster.Remove()
	}
}

// New starts a cluster for one test that stops it, fills it or kills it. It ends with the test.
func New(tb testing.TB, settings ...string) *Cluster {
	tb.Helper()
	c, err := Start("", settings...)
	demand(tb, err)
	tb.Cleanup(func() {
		if err := c.Remove(); err != nil {
			tb.Errorf("removing the cluster: %v", err)
		}
	})
	return c
}

func demand(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrMissing) && os.Getenv("REQUIRE_ALL") == "":
		tb.Skipf("left out: %v", err)
	default:
		tb.Fatalf("starting PostgreSQL: %v", err)
	}
}
