package web

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

const (
	signatureHeader = "X-Signature"
	callKind        = "http.call"
	callState       = "call" // the key of a state that says which call was made last
	noCall          = "none"
	absent          = "absent"
)

// plan is what a change keeps of a call: all that is needed to make it, observe it and take it back, and no secret.
type plan struct {
	Connection string            `json:"connection"`
	Request    request           `json:"request"`
	Undo       *request          `json:"undo,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Sign       signature         `json:"sign,omitzero"`
	Answer     string            `json:"answer,omitempty"`
	Reads      *readback         `json:"reads,omitempty"`
	Was        string            `json:"was"` // which call was made last, before and after
	Becomes    string            `json:"becomes"`
}

// request is one call. Shown is its body as the rules file has it: with the names of facts, whose values may differ at each look.
type request struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"body,omitempty"`
	Shown  string          `json:"shown,omitempty"`
}

// with fills the facts into a body.
func (r request) with(body any, env executors.Env) (request, []string, error) {
	if body == nil {
		return r, nil, nil
	}
	filled, said, err := place(body, env)
	if err != nil {
		return request{}, nil, err
	}
	if r.Body, err = json.Marshal(filled); err != nil {
		return request{}, nil, fmt.Errorf("encoding the body: %w", err)
	}
	if len(r.Body) > maxSent {
		return request{}, nil, guard.Refuse(guard.OutOfBounds, "the body has %d bytes, more than %d", len(r.Body), maxSent)
	}
	r.Shown = brief(body)
	return r, said, nil
}

// String is the call in short.
func (r request) String() string {
	if r.Shown == "" {
		return r.Method + " " + r.Path
	}
	return r.Method + " " + r.Path + " with " + r.Shown
}

// readback is where it is read whether a call took effect, and the values before and after.
type readback struct {
	Path   string  `json:"path"`
	JSON   pointer `json:"json,omitempty"`
	Before value   `json:"before,omitzero"`
	After  value   `json:"after,omitzero"`
}

// String names what is read.
func (r *readback) String() string {
	if r.JSON == "" {
		return "the answer of GET " + r.Path
	}
	return string(r.JSON) + " of GET " + r.Path
}

// value is one that was read, as JSON; the zero value is an absent one.
type value struct {
	JSON json.RawMessage `json:"json,omitempty"`
}

func (v value) absent() bool { return v.JSON == nil }

// is compares values, and not how they are written.
func (v value) is(other value) bool {
	if v.absent() || other.absent() {
		return v.absent() == other.absent()
	}
	a, errA := decode(v.JSON)
	b, errB := decode(other.JSON)
	return errA == nil && errB == nil && same(a, b)
}

// String shows a value to people: it is data from outside.
func (v value) String() string {
	if v.absent() {
		return absent
	}
	return connect.Line(string(v.JSON), 200)
}

// now reads the value. A part of the API that does not exist is an absent value.
func (r *readback) now(ctx context.Context, api *connect.API) (value, error) {
	var body []byte
	err := api.Do(ctx, r.request(), &body)
	switch {
	case connect.IsNotFound(err):
		return value{}, nil
	case err != nil:
		return value{}, err
	}
	answer, err := decode(body)
	if err != nil {
		return value{}, fmt.Errorf("reading %s: the answer: %w", r, err)
	}
	found, ok := r.JSON.in(answer)
	if !ok {
		return value{}, nil
	}
	text, err := json.Marshal(found)
	if err != nil {
		return value{}, fmt.Errorf("reading %s: %w", r, err)
	}
	return value{text}, nil
}

func (r *readback) request() connect.Request {
	q := address("reading "+r.String(), r.Path)
	q.Method = http.MethodGet
	return q
}

// address splits a path that was checked when the rules file was.
func address(doing, path string) connect.Request {
	u, err := url.Parse(path)
	if err != nil {
		return connect.Request{Doing: doing, Path: "/"}
	}
	return connect.Request{Doing: doing, Path: u.EscapedPath(), Query: u.Query()}
}

// judge refuses a call that is not needed, or whose value is not as the rule says it has to be before.
func (r *readback) judge(rule reading, now value) error {
	_, maybeAbsent := (wish{rule.Before}).existence()
	switch {
	case now.is(r.After):
		return guard.Refuse(guard.NothingToDo, "%s already is %s", r, now)
	case now.absent() && !maybeAbsent:
		return guard.Refuse(guard.UnknownFacts, "%s is not there", r)
	case rule.Before == nil || now.absent():
		return nil
	}
	answer, err := decode(now.JSON)
	if err != nil || maybeAbsent || !same(plain(rule.Before), answer) {
		return guard.Refuse(guard.HumanHand, "%s is %s, which is not what the rule starts from", r, now)
	}
	return nil
}

// planOf reads what a change keeps.
func planOf(env executors.Env, c executors.Change) (plan, *connect.API, error) {
	var p plan
	if err := json.Unmarshal(c.Data, &p); err != nil {
		return plan{}, nil, fmt.Errorf("reading the plan of %s: %w", callKind, err)
	}
	api, err := connect.Get[*connect.API](env.Connections, p.Connection)
	return p, api, err
}

// change is what people and the engine see of a plan.
func (p plan) change(ctx context.Context, env executors.Env, api *connect.API, said []string) (executors.Change, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return executors.Change{}, fmt.Errorf("keeping the plan: %w", err)
	}
	u, err := api.Below(p.Request.Path)
	if err != nil {
		return executors.Change{}, err
	}
	sum := sha256.Sum256(data)
	c := executors.Change{
		Kind: callKind, Target: env.Target.Name, Summary: fmt.Sprintf("call %s %s", p.Request.Method, shown(u)),
		Before: executors.State{callState: p.Was}, After: executors.State{callState: p.Becomes},
		Selects: []string{u.Host + u.Path}, Etag: hex.EncodeToString(sum[:8]), Data: data, Evidence: said, PlannedAt: env.Now,
		Reversible: p.Undo != nil, UndoHint: "the rule gives no call that takes this one back",
	}
	if p.Reads != nil {
		c.Before[p.Reads.String()], c.After[p.Reads.String()] = p.Reads.Before.String(), p.Reads.After.String()
		c.Summary += fmt.Sprintf(", after which %s is %s (was %s)", p.Reads, p.Reads.After, p.Reads.Before)
	}
	if p.Undo != nil {
		c.UndoHint = "call " + p.Undo.String()
	}
	return c, ctx.Err()
}

// back is the plan of the way back.
func (p plan) back() plan {
	there := p.Request
	p.Was, p.Becomes, p.Request, p.Undo = p.Becomes, p.Was, *p.Undo, &there
	p.Reads.Before, p.Reads.After = p.Reads.After, p.Reads.Before
	return p
}

// observed tells what became of the call by the value that was read.
func (p plan) observed(now value) executors.Observation {
	o := executors.Observation{Detail: fmt.Sprintf("%s is %s", p.Reads, now), State: executors.State{p.Reads.String(): now.String()}}
	switch {
	case now.is(p.Reads.After):
		o.Progress = executors.Applied
	case now.is(p.Reads.Before):
		o.Progress = executors.NotApplied
	default:
		o.Progress = executors.Foreign
	}
	return o
}

// send makes the one call.
func (p plan) send(ctx context.Context, api *connect.API, operation string) error {
	q := address("calling "+p.Request.Method+" "+p.Request.Path, p.Request.Path)
	q.Method, q.Mutates, q.Header = p.Request.Method, true, http.Header{}
	for name, v := range p.Headers {
		q.Header.Set(name, v)
	}
	q.Header.Set("Idempotency-Key", operation)
	q.Header.Set("User-Agent", userAgent)
	if err := p.seal(api, &q, operation); err != nil {
		return err
	}
	var body []byte
	if err := api.Do(ctx, q, &body); err != nil {
		return err
	}
	if _, err := decode(body); err != nil && len(body) > 0 && p.Answer != "any" {
		return fmt.Errorf("%s: the answer is not the JSON that was expected", q.Doing) // ambiguous: something else may have answered
	}
	return nil
}

// seal sets the body, and signs it as it goes over the wire.
func (p plan) seal(api *connect.API, q *connect.Request, operation string) error {
	var text []byte
	if p.Request.Body != nil {
		body, err := decode(p.Request.Body)
		if err == nil {
			body, err = fill(body, operationKey, func(any) (any, error) { return operation, nil })
		}
		if err == nil {
			text, err = json.Marshal(body)
		}
		if err != nil {
			return notSent(q, errors.New("the body cannot be encoded"))
		}
		q.Body = json.RawMessage(text)
	}
	if p.Sign.Secret == "" {
		return nil
	}
	key, err := api.Secret(p.Sign.Secret)
	if err != nil {
		return notSent(q, err)
	}
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	_, _ = mac.Write(text)
	q.Header.Set(cmp.Or(p.Sign.Header, signatureHeader), p.Sign.Prefix+hex.EncodeToString(mac.Sum(nil)))
	return nil
}

// notSent is a call that was not made.
func notSent(q *connect.Request, err error) error {
	return &connect.CallError{System: connectionKind, Doing: q.Doing, Err: err}
}
