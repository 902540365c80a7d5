package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the sandbox's MongoDB Atlas accepts, and the project it knows.
const (
	AtlasProject      = "5e2211c17a3e5a48f5497de3"
	AtlasClientID     = "mdb_sa_id_sandbox"
	AtlasClientSecret = "mdb_sa_sk_sandbox" //nolint:gosec // guards nothing
)

// atlas stands in for the Administration API v2 of MongoDB Atlas, as its OpenAPI document describes it (github.com/mongodb/atlas-sdk-go,
// package admin: NetworkPermissionEntry, ClusterDescription20240805, ApiHostViewAtlas, PerformanceAdvisor…).
type atlas struct {
	ledger *ledger

	mu       sync.Mutex
	tokens   map[string]time.Time // until when each is good
	life     time.Duration        // of a token
	pageSize int                  // the most on one page
	entries  []*atlasEntry
	rollout  time.Duration // how long an entry stays PENDING
	refuses  bool          // a duplicate entry
	fails    bool          // the roll-out of new entries
	next     func()        // happens right before the next change
	clusters []AtlasCluster
	slow     []AtlasSlowQuery
	indexes  []AtlasIndex
	events   []object
}

func newAtlas(cfg Config, l *ledger) *atlas {
	return &atlas{ledger: l, tokens: map[string]time.Time{}, life: time.Hour, pageSize: 500, rollout: cfg.scaled(20 * time.Second)}
}

// system is the stand-in with Atlas's way of telling errors.
func (a *atlas) system() *system {
	s := newSystem("atlas", a.handler())
	s.faults.body = func(status int) string {
		text, _ := json.Marshal(atlasError(status, "SANDBOX", "the sandbox was told to fail this call"))
		return string(text)
	}
	return s
}

// atlasAnswer answers one authorized call under the lock.
type atlasAnswer func(a *atlas, r *http.Request) (int, any)

func (a *atlas) handler() http.Handler {
	const group = "/api/atlas/v2/groups/{group}"
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/oauth/token", a.token)
	for pattern, answer := range map[string]atlasAnswer{
		"GET " + group + "/accessList":                                             (*atlas).listEntries,
		"POST " + group + "/accessList":                                            (*atlas).addEntries,
		"GET " + group + "/accessList/{entry}":                                     (*atlas).showEntry,
		"GET " + group + "/accessList/{entry}/status":                              (*atlas).entryStatus,
		"DELETE " + group + "/accessList/{entry}":                                  (*atlas).deleteEntry,
		"GET " + group + "/clusters/{cluster}":                                     (*atlas).showCluster,
		"GET " + group + "/processes":                                              (*atlas).listProcesses,
		"GET " + group + "/processes/{process}/performanceAdvisor/slowQueryLogs":   (*atlas).slowQueries,
		"GET " + group + "/clusters/{cluster}/performanceAdvisor/suggestedIndexes": (*atlas).suggestedIndexes,
		"GET " + group + "/events":                                                 (*atlas).listEvents,
	} {
		mux.HandleFunc(pattern, a.serve(answer))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusNotFound, atlasError(http.StatusNotFound, "RESOURCE_NOT_FOUND", "Cannot find resource."))
	})
	return mux
}

// token gives a bearer token for the service account's credentials (RFC 6749, section 4.4).
func (a *atlas) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
	switch {
	case id != AtlasClientID || secret != AtlasClientSecret:
		writeJSON(w, http.StatusUnauthorized, object{"error": "invalid_client", "error_description": "Client authentication failed."})
		return
	case r.FormValue("grant_type") != "client_credentials":
		writeJSON(w, http.StatusBadRequest, object{"error": "unsupported_grant_type"})
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	token := fmt.Sprintf("sandbox-atlas-%d-%d", len(a.tokens)+1, time.Now().UnixNano())
	a.tokens[token] = time.Now().Add(a.life)
	writeJSON(w, http.StatusOK, object{"access_token": token, "expires_in": int(a.life.Seconds()), "token_type": "Bearer"})
}

// atlasVersions is what the Accept header of a versioned API holds.
var atlasVersions = regexp.MustCompile(`^application/vnd\.atlas\.\d{4}-\d{2}-\d{2}\+json$`)

func (a *atlas) serve(answer atlasAnswer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		a.mu.Lock()
		defer a.mu.Unlock()
		until, known := a.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		var status int
		var body any
		switch {
		case !known || time.Now().After(until):
			status, body = atlasRefuses(http.StatusUnauthorized, "UNAUTHORIZED", "You are not authorized for this resource.")
		case !atlasVersions.MatchString(r.Header.Get("Accept")):
			status, body = atlasRefuses(http.StatusNotAcceptable, "INVALID_VERSION", "The Accept header names no version of the API.")
		case r.PathValue("group") != AtlasProject:
			status, body = atlasRefuses(http.StatusNotFound, "GROUP_NOT_FOUND", "No group with ID "+r.PathValue("group")+" exists.")
		default:
			status, body = answer(a, r)
		}
		if status >= http.StatusBadRequest && r.Method != http.MethodGet {
			a.record(strings.ToLower(r.Method)+"_refused", r.URL.Path, AtlasClientID, object{"status": status})
		}
		if status == http.StatusNoContent {
			w.WriteHeader(status)
			return
		}
		writeJSON(w, status, body)
	}
}

func (a *atlas) record(verb, resource, by string, detail object) {
	a.ledger.add(Entry{System: "atlas", Verb: verb, Resource: resource, By: by, Detail: detail})
}

// atlasError is the body of a refusal (package admin: ApiError).
func atlasError(status int, code, detail string, parameters ...any) object {
	return object{"detail": detail, "error": status, "errorCode": code, "parameters": append([]any{}, parameters...), "reason": http.StatusText(status)}
}

func atlasRefuses(status int, code, detail string, parameters ...any) (int, any) {
	return status, atlasError(status, code, detail, parameters...)
}

// atlasPage cuts the page that was asked for; a further one is linked.
func atlasPage[T any](a *atlas, r *http.Request, all []T) (int, any) {
	number, size := atlasNumber(r.URL.Query(), "pageNum", 1), atlasNumber(r.URL.Query(), "itemsPerPage", 100)
	if number < 1 || size < 1 || size > 500 {
		return atlasRefuses(http.StatusBadRequest, "INVALID_QUERY_PARAMETER", "pageNum or itemsPerPage is out of its bounds.")
	}
	size = min(size, a.pageSize)
	from := min((number-1)*size, len(all))
	to := min(from+size, len(all))
	links := []object{{"href": atlasHref(r, number), "rel": "self"}}
	if to < len(all) {
		links = append(links, object{"href": atlasHref(r, number+1), "rel": "next"})
	}
	return http.StatusOK, object{"links": links, "results": append([]T{}, slices.Clone(all[from:to])...), "totalCount": len(all)}
}

func atlasHref(r *http.Request, page int) string {
	q := r.URL.Query()
	q.Set("pageNum", strconv.Itoa(page))
	return "https://cloud.mongodb.com" + r.URL.Path + "?" + q.Encode()
}

// atlasNumber reads a whole number of the query; what is none is -1.
func atlasNumber(q url.Values, name string, fallback int) int {
	if !q.Has(name) {
		return fallback
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil {
		return -1
	}
	return n
}
