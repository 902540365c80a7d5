package store_test

import (
	"context"
	"sync"
	"testing"

	"github.com/mixillo/remediator/internal/store"
	"github.com/mixillo/remediator/internal/store/postgrestest"
)

// servers is the PostgreSQL of all tests that neither stop it nor ask what outlives a crash.
var servers = postgrestest.Shared{Settings: []string{"fsync=off"}}

// migrated is a database whose tables are there: copying it is faster than making them anew for each test.
var migrated sync.Once

const template = "migrated"

// postgresDSN makes a database for one test.
func postgresDSN(t testing.TB) string {
	t.Helper()
	cluster := servers.Cluster(t)
	migrated.Do(func() {
		must(t, cluster.Create(template, ""))
		s, err := store.Open(context.Background(), store.Config{DSN: cluster.DSN(template), Owner: owner})
		must(t, err)
		must(t, s.Close())
	})
	return servers.Database(t, template)
}

// postgresWorld is the contract's subject on a fresh PostgreSQL database.
func postgresWorld(t *testing.T) *world { return newWorld(t, postgresDSN(t)) }
