package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/guard"
	"github.com/mixillo/remediator/internal/remediation"
)

// Bounds of a verb's body and of the reason a person gives, in bytes.
const (
	maxVerb   = 16 << 10
	maxReason = 1024
)

// request is the body of every verb; each takes its part of it.
type request struct {
	Rule   string `json:"rule"`
	Target string `json:"target"`
	Reason string `json:"reason"`
	For    string `json:"for"` // a Go duration such as 30m; empty: until it is resumed

	Run      string `json:"run"`
	Digest   string `json:"digest"` // of a plan, or its first characters
	Revision string `json:"revision"`
	Storm    string `json:"storm"` // "true", or left out
}

// pause stops automation for the fleet, or for one target or rule.
func (e *edge) pause(w nethttp.ResponseWriter, r *nethttp.Request) {
	req, err := decode(r, "rule", "target", "reason", "for")
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	p, err := req.asPause(actor(r), e.cfg.Now())
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	if err := e.cfg.Control.Pause(r.Context(), p); err != nil {
		e.fail(w, r, err)
		return
	}
	e.cfg.Log.WarnContext(r.Context(), "paused", "scope", p.Scope, "name", p.Name, "actor", p.Actor, "reason", p.Reason)
	answer(w, ok, map[string]any{"pause": p})
}

func (q request) asPause(who string, now time.Time) (guard.Pause, error) {
	p := guard.Pause{Actor: who, Reason: q.Reason, Since: now}
	var err error
	if p.Scope, p.Name, err = q.scope(); err != nil {
		return p, err
	}
	if err := q.needReason(); err != nil {
		return p, err
	}
	if q.For == "" {
		return p, nil
	}
	d, err := time.ParseDuration(q.For)
	if err != nil || d <= 0 {
		return p, fmt.Errorf("for is a duration such as 30m or 2h, not %.40q", q.For)
	}
	p.Until = now.Add(d)
	return p, nil
}

func (q request) scope() (guard.Scope, string, error) {
	switch {
	case q.Rule != "" && q.Target != "":
		return "", "", errors.New("name a rule or a target, not both")
	case q.Rule != "":
		return guard.Rule, q.Rule, nil
	case q.Target != "":
		return guard.Target, q.Target, nil
	default:
		return guard.Fleet, "", nil
	}
}

func (q request) needReason() error {
	if strings.TrimSpace(q.Reason) == "" || len(q.Reason) > maxReason {
		return fmt.Errorf("a reason of 1 to %d bytes is needed", maxReason)
	}
	return nil
}

func (e *edge) resume(w nethttp.ResponseWriter, r *nethttp.Request) {
	req, err := decode(r, "rule", "target")
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	scope, name, err := req.scope()
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	n, err := e.cfg.Control.Resume(r.Context(), scope, name, actor(r))
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.cfg.Log.WarnContext(r.Context(), "resumed", "scope", scope, "name", name, "actor", actor(r), "pauses", n)
	answer(w, ok, map[string]int{"resumed": n})
}

// release needs a name: nobody closes every breaker at once by leaving something out.
func (e *edge) release(w nethttp.ResponseWriter, r *nethttp.Request) {
	req, err := decode(r, "rule", "target", "storm")
	if err == nil {
		err = req.needRelease()
	}
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	n, err := e.cfg.Control.Release(r.Context(), Release{Rule: req.Rule, Target: req.Target, Storm: req.Storm != "", Actor: actor(r)})
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.cfg.Log.WarnContext(r.Context(), "released", "rule", req.Rule, "target", req.Target, "storm", req.Storm, "actor", actor(r), "released", n)
	answer(w, ok, map[string]int{"released": n})
}

func (q request) needRelease() error {
	switch {
	case q.Storm != "" && q.Storm != "true":
		return fmt.Errorf("storm is true or left out, not %.40q", q.Storm)
	case q.Storm != "" && q.Rule+q.Target != "":
		return errors.New("a storm is the fleet's: name no rule and no target beside it")
	case q.Storm == "" && q.Rule+q.Target == "":
		return errors.New("name a rule, a target or both, or the storm")
	default:
		return nil
	}
}

// start begins a rule for a person.
func (e *edge) start(w nethttp.ResponseWriter, r *nethttp.Request) {
	req, err := decode(r, "rule", "target", "reason")
	if err == nil && (req.Rule == "" || req.Target == "") {
		err = errors.New("name a rule and a target")
	}
	if err == nil {
		err = req.needReason()
	}
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	p := remediation.ByPerson{Rule: req.Rule, Target: req.Target, Reason: req.Reason, Actor: actor(r)}
	run, err := e.cfg.Hand.Start(r.Context(), p)
	if err != nil {
		e.fail(w, r, err)
		return
	}
	e.cfg.Log.WarnContext(r.Context(), "a rule was started by hand", "rule", p.Rule, "target", p.Target, "actor", p.Actor, "reason", p.Reason, "run", run)
	answer(w, accepted, map[string]string{"run": run})
}

func (e *edge) unpin(w nethttp.ResponseWriter, r *nethttp.Request) {
	req, err := decode(r, "target", "reason")
	if err == nil && req.Target == "" {
		err = errors.New("name a target")
	}
	if err == nil {
		err = req.needReason()
	}
	if err != nil {
		refuse(w, badRequest, err.Error())
		return
	}
	run, err := e.cfg.Hand.Unpin(r.Context(), Unpin{Target: req.Target, Reason: req.Reason, Actor: actor(r)})
	if err != nil {
		e.fail(w, r, err)
		return
	}
	answer(w, accepted, map[string]string{"run": run})
}

// decode reads a verb's body strictly: a misspelt field must not widen what is meant, such as a pause of one target to the fleet, and one that
// is given twice could be read either way.
func decode(r *nethttp.Request, fields ...string) (request, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxVerb+1))
	if err != nil || len(body) > maxVerb {
		return request{}, fmt.Errorf("the body must come whole and have at most %d bytes", maxVerb)
	}
	given := map[string]string{}
	if err := json.Unmarshal(body, &given); err != nil || given == nil {
		return request{}, fmt.Errorf("the body must be one JSON object of strings with %s", strings.Join(fields, ", "))
	}
	if tokens(body) != 2+2*len(given) {
		return request{}, errors.New("a field is given twice")
	}
	var q request
	places := map[string]*string{
		"rule": &q.Rule, "target": &q.Target, "reason": &q.Reason, "for": &q.For,
		"run": &q.Run, "digest": &q.Digest, "revision": &q.Revision, "storm": &q.Storm,
	}
	for _, name := range fields {
		if value, there := given[name]; there && value == "" && (name == "rule" || name == "target") {
			return request{}, fmt.Errorf("%s is empty: leave it out if all is meant", name)
		}
		*places[name] = given[name]
		delete(given, name)
	}
	for name := range given {
		return request{}, fmt.Errorf("there is no field %.40q here; the fields are %s", name, strings.Join(fields, ", "))
	}
	q.Reason = connect.Line(q.Reason, len(q.Reason)) // one too long is refused, not cut
	return q, nil
}

// tokens counts those of a body that is JSON: of a flat object its two braces, the names and the values.
func tokens(body []byte) (n int) {
	for d := json.NewDecoder(bytes.NewReader(body)); ; n++ {
		if _, err := d.Token(); err != nil {
			return n
		}
	}
}
