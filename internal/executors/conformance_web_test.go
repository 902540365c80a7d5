package executors_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/executors/web"
)

// webStand is a service whose health check meets troubles.
type webStand struct {
	server *httptest.Server
	mu     sync.Mutex // of what follows: a play spoils it anew while calls are under way
	status int
	hangs  bool
}

func newWebStand(t *testing.T) stand {
	s := &webStand{status: http.StatusOK}
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		status, hangs := s.status, s.hangs
		s.mu.Unlock()
		if hangs {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("ok"))
	}))
	t.Cleanup(s.server.Close)
	return s
}

func (s *webStand) Env() executors.Env {
	return executors.Env{Target: executors.Target{Name: "backend", Health: s.server.URL + "/health"}, Now: time.Now(), Speed: speed}
}

func (*webStand) Writes() int { return 0 }

func (s *webStand) Befall(t trouble, _ bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = t == hangs
	status, known := map[trouble]int{denied: http.StatusForbidden, notFound: http.StatusNotFound, quota: http.StatusTooManyRequests, hangs: 0}[t]
	s.status = status
	return known
}

// sickOrUnknown: a health check that is answered badly is told as it was answered.
func sickOrUnknown(t *testing.T, _ trouble, answer executors.Answer, err error) {
	t.Helper()
	if fact, ok := answer.Fact.(*web.Fact); err == nil && ok && len(answer.Unknown) == 0 && fact.Status == http.StatusOK {
		t.Errorf("all is well: %+v", fact)
	}
}
