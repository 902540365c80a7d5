package main

import "testing"

func TestCheckRoles(t *testing.T) {
	t.Parallel()
	const shared = "postgres://db/remediator"
	for _, c := range []struct {
		dsn   string
		roles []string
		ok    bool
	}{
		{defaultDB, roles(), true},
		{defaultDB, []string{"worker"}, true},
		{defaultDB, []string{"ingest", "ui"}, false},
		{shared, []string{"ingest"}, true},
		{shared, []string{"worker", "ui"}, true},
		{shared, nil, false},
		{shared, []string{"ingest", "workers"}, false},
	} {
		if err := checkRoles(c.roles, c.dsn); (err == nil) != c.ok {
			t.Errorf("roles %v on %s: %v", c.roles, c.dsn, err)
		}
	}
}
