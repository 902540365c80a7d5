package executors_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/sandbox"
)

// httpTrouble is how a JSON API tells of a trouble.
func httpTrouble(t trouble) sandbox.Fault {
	switch t {
	case hangs:
		return sandbox.Fault{Hang: true}
	case lateAnswer:
		return sandbox.Fault{ApplyThenFail: true, Hang: true}
	case garbageBack:
		return sandbox.Fault{ApplyThenFail: true, Garbage: true}
	}
	return sandbox.Fault{Status: map[trouble]int{
		denied: http.StatusForbidden, notFound: http.StatusNotFound, quota: http.StatusTooManyRequests, conflict: http.StatusConflict,
	}[t]}
}

// token writes a secret to a file of its own.
func token(t *testing.T, value string) connect.Secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(value), 0o600))
	return connect.Secret{File: path}
}
