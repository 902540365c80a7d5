package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
)

// ServiceState is a service in a few words, for GET /state.
type ServiceState struct {
	Name              string            `json:"name"`
	Generation        int64             `json:"generation"`
	Etag              string            `json:"etag"`
	Reconciling       bool              `json:"reconciling"`
	Traffic           []string          `json:"traffic"` // as wished
	Serving           map[string]int32  `json:"serving"` // as it flows
	LatestReady       string            `json:"latest_ready_revision"`
	LatestCreated     string            `json:"latest_created_revision"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	Scaling           string            `json:"scaling"`
	Revisions         []RevisionState   `json:"revisions"`
	DependencyDown    bool              `json:"dependency_down,omitempty"`
	RequestsPerMinute float64           `json:"requests_per_minute"`
	BackendHealthAt   string            `json:"backend"`
}

// RevisionState is a revision in a few words.
type RevisionState struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Ready   bool      `json:"ready"`
	Health  Health    `json:"health"`
	Image   string    `json:"image"`
}

// Services are all services in a few words, in no particular order.
func (w *World) Services() []ServiceState {
	w.platform.lock()
	defer w.platform.mu.Unlock()
	out := make([]ServiceState, 0, len(w.platform.services))
	for _, s := range w.platform.services {
		out = append(out, w.state(s))
	}
	return out
}

func (w *World) state(s *runService) ServiceState {
	out := ServiceState{
		Name: s.short(), Generation: s.pb.GetGeneration(), Etag: s.pb.GetEtag(), Reconciling: s.pb.GetReconciling(),
		Traffic: trafficWords(s.pb), Serving: map[string]int32{}, Annotations: map[string]string{}, Scaling: scalingWords(s.pb.GetScaling()),
		LatestReady: shortName(s.pb.GetLatestReadyRevision()), LatestCreated: shortName(s.pb.GetLatestCreatedRevision()),
		DependencyDown: s.dependencyDown, RequestsPerMinute: s.load, BackendHealthAt: w.BackendURL(s.short()) + "/health",
	}
	for name, percent := range s.serving {
		out.Serving[name] = percent
	}
	for name, value := range s.pb.GetAnnotations() {
		out.Annotations[name] = value
	}
	for _, r := range s.ordered() {
		out.Revisions = append(out.Revisions, RevisionState{Name: r.name, Created: r.created, Ready: r.ready, Health: r.health(), Image: r.image})
	}
	return out
}

// verb is a scripting method of World, called with JSON arguments.
type verb func(w *World, args []byte) (any, error)

// does turns a method of one argument struct into a verb.
func does[T any](f func(w *World, args T) (any, error)) verb {
	return func(w *World, raw []byte) (any, error) {
		var args T
		if err := decodeArguments(raw, &args); err != nil {
			return nil, err
		}
		return f(w, args)
	}
}

// only is does for methods that answer nothing but an error.
func only[T any](f func(w *World, args T) error) verb {
	return does(func(w *World, args T) (any, error) { return struct{}{}, f(w, args) })
}

func quiet[T any](f func(w *World, args T)) verb {
	return only(func(w *World, args T) error {
		f(w, args)
		return nil
	})
}

type aboutService struct {
	Service  string            `json:"service"`
	Revision string            `json:"revision"`
	Health   Health            `json:"health"`
	Message  string            `json:"message"`
	Name     string            `json:"name"`
	Value    string            `json:"value"`
	Rate     float64           `json:"requests_per_minute"`
	Up       bool              `json:"up"`
	Code     codes.Code        `json:"code"`
	Delay    time.Duration     `json:"delay"`
	Shares   []Share           `json:"shares"`
	Ratio    float64           `json:"ratio"`
	Observed int64             `json:"observed_generation"`
	Labels   map[string]string `json:"labels"`
	Deploy   Revision          `json:"deploy"`
}

type aboutRedis struct {
	Database int      `json:"database"`
	Command  []string `json:"command"`
	Settings []string `json:"settings"`
}

type span struct {
	Min time.Duration `json:"min"`
	Max time.Duration `json:"max"`
}

type aboutIncident struct {
	Incident string `json:"incident"`
	Alert    Alert  `json:"alert"`
}

type flag struct {
	On bool `json:"on"`
}

// verbs is the whole control API: POST /control/VERB.
func verbs() map[string]verb {
	all := baseVerbs()
	for _, more := range []map[string]verb{computeVerbs(), vercelVerbs(), atlasVerbs(), statusVerbs(), jobVerbs(), logVerbs(),
		contextVerbs(), sentryVerbs(), stripeVerbs(), mongoVerbs()} {
		maps.Copy(all, more)
	}
	return all
}

func baseVerbs() map[string]verb {
	return map[string]verb{
		"add-service": only((*World).AddService),
		"deploy": does(func(w *World, a aboutService) (any, error) {
			name, err := w.Deploy(a.Service, a.Deploy)
			return object{"revision": name}, err
		}),
		"split":                        only(func(w *World, a aboutService) error { return w.Split(a.Service, a.Shares...) }),
		"set-load":                     only(func(w *World, a aboutService) error { return w.SetLoad(a.Service, a.Rate) }),
		"set-health":                   only(func(w *World, a aboutService) error { return w.SetHealth(a.Service, a.Revision, a.Health) }),
		"set-dependency":               only(func(w *World, a aboutService) error { return w.SetDependency(a.Service, a.Up) }),
		"require-env":                  only(func(w *World, a aboutService) error { return w.RequireEnv(a.Service, a.Name, a.Value) }),
		"set-labels":                   only(func(w *World, a aboutService) error { return w.SetLabels(a.Service, a.Labels) }),
		"set-error-ratio":              only(func(w *World, a aboutService) error { return w.SetErrorRatio(a.Service, a.Revision, a.Ratio) }),
		"show-traffic":                 only(func(w *World, a aboutService) error { return w.ShowTraffic(a.Service, a.Shares...) }),
		"show-generation":              only(func(w *World, a aboutService) error { return w.ShowGeneration(a.Service, a.Observed) }),
		"spoil-metrics":                quiet(func(w *World, a flag) { w.SpoilMetrics(a.On) }),
		"bump-etag":                    only(func(w *World, a aboutService) error { return w.BumpEtag(a.Service) }),
		"bump-etag-before-next-update": only(func(w *World, a aboutService) error { return w.BumpEtagBeforeNextUpdate(a.Service) }),
		"deploy-before-next-update":    only(func(w *World, a aboutService) error { return w.DeployBeforeNextUpdate(a.Service, a.Deploy) }),
		"fail-next-operation":          only(func(w *World, a aboutService) error { return w.FailNextOperation(a.Service, a.Message) }),
		"apply-then-fail":              only(func(w *World, a aboutService) error { return w.ApplyThenFail(a.Service, a.Code) }),
		"latency":                      only(func(w *World, a aboutService) error { return w.Latency(a.Service, a.Delay) }),
		"set-operation-time":           quiet(func(w *World, a span) { w.SetOperationTime(a.Min, a.Max) }),
		"set-metric-lag":               quiet(func(w *World, a span) { w.SetMetricLag(a.Max) }),
		"set-strict-traffic":           quiet(func(w *World, a flag) { w.SetStrictTraffic(a.On) }),
		"fail-calls":                   quiet((*World).FailCalls),
		"set-pagerduty":                quiet((*World).SetPagerDuty),
		"set-slack":                    quiet((*World).SetSlack),
		"spoil":                        only(func(w *World, a aboutSystem) error { return w.Spoil(a.System, a.Fault) }),
		"set-slack-app":                quiet((*World).SetSlackApp),
		"set-flag":                     quiet((*World).SetFlag),
		"set-backend":                  quiet((*World).SetBackend),
		"set-webhook":                  quiet((*World).SetWebhook),
		"set-reopening":                quiet(func(w *World, a flag) { w.SetReopening(a.On) }),
		"trigger-incident":             does(func(w *World, i Incident) (any, error) { return object{"id": w.TriggerIncident(i)}, nil }),
		"add-alert":                    only(func(w *World, a aboutIncident) error { return w.AddAlert(a.Incident, a.Alert) }),
		"human-acknowledges":           only(func(w *World, a aboutIncident) error { return w.HumanAcknowledges(a.Incident) }),
		"human-unacknowledges":         only(func(w *World, a aboutIncident) error { return w.HumanUnacknowledges(a.Incident) }),
		"acknowledgement-ends":         only(func(w *World, a aboutIncident) error { return w.AcknowledgementEnds(a.Incident) }),
		"resolve-alert":                only(func(w *World, a aboutIncident) error { return w.ResolveAlert(a.Incident, a.Alert.Key) }),
		"human-resolves":               only(func(w *World, a aboutIncident) error { return w.HumanResolves(a.Incident) }),
		"start-redis":                  only(func(w *World, a aboutRedis) error { return w.StartRedis(a.Settings...) }),
		"stop-redis":                   only(func(w *World, _ aboutRedis) error { return w.StopRedis() }),
		"pause-redis":                  only(func(w *World, a flag) error { return w.PauseRedis(a.On) }),
		"spoil-redis":                  quiet((*World).SpoilRedis),
		"fill-redis":                   only((*World).FillRedis),
		"redis": does(func(w *World, a aboutRedis) (any, error) {
			answer, err := w.Redis(a.Database, a.Command...)
			return object{"answer": answer}, err
		}),
	}
}

// durationKeys are the arguments in which "90s" may be written for 90e9.
var durationKeys = map[string]bool{
	"created_ago": true, "served_from": true, "served_until": true, "p50": true, "p95": true, "deploy_time": true,
	"dependency_down_for": true, "delay": true, "retry_after": true, "min": true, "max": true,
	"lasts": true, "seen_ago": true, "took": true, "ago": true, "token_life": true, "rollout": true, "updated_ago": true,
	"started_ago": true, "begun_ago": true, "page_ago": true,
	"ends": true, "running": true, "first_seen_ago": true, "takes": true, "over": true, "latency": true,
}

func decodeArguments(raw []byte, into any) error {
	if len(raw) == 0 {
		return nil
	}
	var loose any
	if err := json.Unmarshal(raw, &loose); err != nil {
		return fmt.Errorf("reading the arguments: %w", err)
	}
	if err := spellOut(loose); err != nil {
		return err
	}
	exact, err := json.Marshal(loose)
	if err == nil {
		err = json.Unmarshal(exact, into)
	}
	if err != nil {
		return fmt.Errorf("reading the arguments: %w", err)
	}
	return nil
}

// spellOut replaces written durations by nanoseconds, in place.
func spellOut(v any) error {
	var errs []error
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			errs = append(errs, spellOut(e))
		}
	case map[string]any:
		for key, e := range v {
			text, isText := e.(string)
			if !isText || !durationKeys[key] {
				errs = append(errs, spellOut(e))
				continue
			}
			d, err := time.ParseDuration(text)
			v[key] = int64(d)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (w *World) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(rw http.ResponseWriter, _ *http.Request) { writeJSON(rw, http.StatusOK, object{"status": "ok"}) })
	mux.HandleFunc("GET /ledger", func(rw http.ResponseWriter, _ *http.Request) {
		writeJSON(rw, http.StatusOK, append([]Entry{}, w.Ledger()...))
	})
	mux.HandleFunc("GET /state", func(rw http.ResponseWriter, _ *http.Request) {
		writeJSON(rw, http.StatusOK, object{
			"endpoints": w.endpoints(), "services": w.Services(), "incidents": w.Incidents(), "slack": w.SlackMessages(),
		})
	})
	table := verbs()
	mux.HandleFunc("POST /control/{verb}", func(rw http.ResponseWriter, r *http.Request) {
		v := table[r.PathValue("verb")]
		if v == nil {
			writeJSON(rw, http.StatusNotFound, object{"error": "there is no such verb"})
			return
		}
		w.control(rw, r, v)
	})
	return mux
}

func (w *World) endpoints() object {
	all := object{"google": w.GoogleEndpoint(), "pagerduty": w.PagerDutyURL(), "slack": w.SlackURL(), "backend": "http://" + w.places["backend"]}
	all["mongodb"], all["redis"] = w.MongoAddress(), w.RedisAddress()
	for name := range w.systems {
		all[name] = w.URL(name)
	}
	return all
}

func (w *World) control(rw http.ResponseWriter, r *http.Request, v verb) {
	args, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, bodyLimit))
	var out any
	if err == nil {
		out, err = v(w, args)
	}
	if err != nil {
		writeJSON(rw, http.StatusBadRequest, object{"error": err.Error()})
		return
	}
	writeJSON(rw, http.StatusOK, out)
}
