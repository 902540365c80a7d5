package sandbox

import (
	"encoding/json"
	"net/http"
	"sync"
)

// The monitoring user of the backend's own API. It guards nothing.
const (
	APIUser     = "monitor@mixillo.com"
	APIPassword = "sandbox-monitor-password"
	apiToken    = "sandbox-session-token"
)

// Backend is how the backend's own API is: what its health check says, and how many orders are stuck in the state pending.
type Backend struct {
	MongoDB bool `json:"mongodb"`
	Redis   bool `json:"redis"`
	Pending int  `json:"pending"`
}

// apiServer is the backend's own API, as a check of the whole system asks it: GET /health, POST /api/auth/login, and behind the login
// GET /api/admin/orders/stuck. Without MongoDB the query fails as Express does by default, with a page of HTML.
type apiServer struct {
	mu sync.Mutex
	is Backend
}

func newAPIServer() *apiServer { return &apiServer{is: Backend{MongoDB: true, Redis: true}} }

func (s *apiServer) state() Backend {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.is
}

func (s *apiServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("POST /api/auth/login", s.login)
	mux.HandleFunc("GET /api/admin/orders/stuck", s.stuck)
	return mux
}

func (s *apiServer) health(w http.ResponseWriter, _ *http.Request) {
	is := s.state()
	writeJSON(w, http.StatusOK, object{
		"status": "ok", "mongodb": object{"connected": is.MongoDB}, "redis": object{"connected": is.Redis},
	})
}

func (s *apiServer) login(w http.ResponseWriter, r *http.Request) {
	var given struct {
		Email    string `json:"email"`
		Password string `json:"password"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit)).Decode(&given)
	if err != nil || given.Email != APIUser || given.Password != APIPassword {
		writeJSON(w, http.StatusUnauthorized, object{"success": false, "message": "Invalid credentials"})
		return
	}
	writeJSON(w, http.StatusOK, object{"success": true, "data": object{"token": apiToken}})
}

func (s *apiServer) stuck(w http.ResponseWriter, r *http.Request) {
	is := s.state()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+apiToken:
		writeJSON(w, http.StatusUnauthorized, object{"success": false, "message": "Not authorized"})
	case !is.MongoDB:
		http.Error(w, "<pre>MongoServerSelectionError</pre>", http.StatusInternalServerError)
	default:
		writeJSON(w, http.StatusOK, object{"success": true, "data": object{"status": r.URL.Query().Get("status"), "count": is.Pending}})
	}
}

// SetBackend says how the backend's own API is.
func (w *World) SetBackend(b Backend) {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	w.api.is = b
}
