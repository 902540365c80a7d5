package sandbox

import (
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault spoils the next calls of an HTTP API.
type Fault struct {
	Method        string        `json:"method"`      // "" is any
	Path          string        `json:"path"`        // prefix; "" is any
	Status        int           `json:"status"`      // 429, 500 …; 0 with Delay only delays
	RetryAfter    time.Duration `json:"retry_after"` // told in the vendor's header, in whole seconds rounded up; 0 tells nothing
	Count         int           `json:"count"`       // how many calls; 0 is one
	For           time.Duration `json:"for"`         // all calls of so long, whatever Count is; not divided by Speed
	Delay         time.Duration `json:"delay"`       // before anything happens; not divided by Speed
	Drop          bool          `json:"drop"`        // close the connection without an answer
	ApplyThenFail bool          `json:"apply_then_fail"`
	Hang          bool          `json:"hang"`    // never answer; with ApplyThenFail after it took effect
	Garbage       bool          `json:"garbage"` // answer 200 with what is no JSON; with ApplyThenFail after it took effect

	until time.Time
}

// httpFaults is a middleware that spoils calls as told.
type httpFaults struct {
	retryHeader string
	body        func(status int) string

	mu  sync.Mutex
	all []Fault
}

func (h *httpFaults) add(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.Count = max(f.Count, 1)
	if f.For > 0 {
		f.Count, f.until = math.MaxInt, time.Now().Add(f.For)
	}
	h.all = append(h.all, f)
}

func (h *httpFaults) take(r *http.Request) (Fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.all, func(f Fault) bool {
		return f.Count > 0 && (f.until.IsZero() || time.Now().Before(f.until)) && (f.Method == "" || f.Method == r.Method) && strings.HasPrefix(r.URL.Path, f.Path)
	})
	if i < 0 {
		return Fault{}, false
	}
	h.all[i].Count--
	return h.all[i], true
}

func (h *httpFaults) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, hit := h.take(r)
		if !hit {
			next.ServeHTTP(w, r)
			return
		}
		if sleep(r.Context(), f.Delay) != nil {
			return
		}
		if f.ApplyThenFail {
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		h.spoil(w, r, f, next)
	})
}

func (h *httpFaults) spoil(w http.ResponseWriter, r *http.Request, f Fault, next http.Handler) {
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Hang:
		<-r.Context().Done()
		return
	case f.Garbage:
		_, _ = w.Write([]byte("<html>out of order</html>"))
		return
	case f.Status == 0 && f.ApplyThenFail:
		f.Status = http.StatusInternalServerError
	case f.Status == 0:
		next.ServeHTTP(w, r)
		return
	}
	if f.RetryAfter > 0 {
		w.Header().Set(h.retryHeader, strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(h.body(f.Status)))
}

// SetPagerDuty spoils the next calls of PagerDuty's REST or Events API.
func (w *World) SetPagerDuty(f Fault) { w.pager.faults.add(f) }

// SetSlack spoils the next calls of Slack's API.
func (w *World) SetSlack(f Fault) { w.slack.faults.add(f) }
