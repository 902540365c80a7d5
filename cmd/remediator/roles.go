package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/store"
)

// roles are all that a process may have.
func roles() []string { return []string{http.IngestRole, http.UIRole, store.WorkerRole} }

// checkRoles refuses roles that nobody knows, and a process without workers on a database that no other can open.
func checkRoles(given []string, dsn string) error {
	for _, role := range given {
		if !slices.Contains(roles(), role) {
			return fmt.Errorf("--roles: %q is none of %s", role, strings.Join(roles(), ", "))
		}
	}
	switch {
	case len(given) == 0:
		return fmt.Errorf("--roles: name at least one of %s", strings.Join(roles(), ", "))
	case strings.HasPrefix(dsn, sqliteScheme) && !slices.Contains(given, store.WorkerRole):
		return fmt.Errorf("--roles: without %s nothing would be done about an alert, as no other process can open an SQLite file", store.WorkerRole)
	default:
		return nil
	}
}
