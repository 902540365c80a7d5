package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
	"github.com/mixillo/remediator/internal/guard"
)

func init() {
	executors.RegisterAction(executors.ActionKind{
		Name: "http.call",
		Doc:  "Makes one call of an HTTP API that the rules file declares, such as to switch a feature flag, and reads back whether it took effect.",
		New:  func() executors.Action { return &call{} },
	})
}

// call is one request. Where it goes stands in the rules file alone; facts can only become values inside its JSON body. The operation id goes
// with it as the header Idempotency-Key.
type call struct {
	// Connection is the one of kind http that is called.
	Connection string `yaml:"connection"`
	// Method is POST, PUT, PATCH or DELETE.
	Method string `yaml:"method"`
	// Path below the connection's endpoint.
	Path string `yaml:"path"`
	// Headers are sent as they are written; secret ones belong to the connection.
	Headers map[string]string `yaml:"headers"`
	// Body is sent as JSON. {$fact: NAME.FIELD} stands for a fact's value, {$operation: true} for the operation id.
	Body any `yaml:"body"`
	// Sign adds a signature of the body, where the API asks for one.
	Sign signature `yaml:"sign"`
	// Answer is json, the default, or any: what a call that took effect is answered with. An empty answer is always fine.
	Answer string `yaml:"answer"`
	// Reads says how it is read whether the call took effect. Without it an answer that was lost needs a human.
	Reads reading `yaml:"reads"`
	// Inverse is the call that takes this one back; without it the act needs approval. It needs reads.
	Inverse inverse `yaml:"undo"`
}

// signature is the HMAC-SHA256 of the body, in hex.
type signature struct {
	// Secret is the name of one of the connection's secrets.
	Secret string `yaml:"secret"`
	// Header it is sent in; default X-Signature.
	Header string `yaml:"header"`
	// Algorithm is hmac-sha256, the default and only one.
	Algorithm string `yaml:"algorithm"`
	// Prefix stands before the hex digits, such as "sha256=".
	Prefix string `yaml:"prefix"`
}

// reading is a GET and a value in its answer.
type reading struct {
	// Path below the connection's endpoint.
	Path string `yaml:"path"`
	// JSON is the JSON pointer to the value; default: the whole answer.
	JSON string `yaml:"json"`
	// Before is what the value has to be for the call to be made; default: anything but after. {exists: false} is an absent one.
	Before any `yaml:"before"`
	// After is what the value is once the call has taken effect.
	After any `yaml:"after"`
}

// inverse is the call that takes another one back. It carries the same headers and signature.
type inverse struct {
	// Method is POST, PUT, PATCH or DELETE; default: that of the call.
	Method string `yaml:"method"`
	// Path below the connection's endpoint; default: that of the call.
	Path string `yaml:"path"`
	// Body is sent as JSON.
	Body any `yaml:"body"`
}

func (i inverse) given() bool { return i.Method != "" || i.Path != "" || i.Body != nil }

// Connects implements executors.Connecting.
func (a *call) Connects() (name, kind string) { return a.Connection, connectionKind }

// Validate tells in plain words what is wrong with the parameters.
func (a *call) Validate(executors.Target) error {
	switch {
	case a.Connection == "":
		return errors.New("connection must name one of kind http")
	case !mutates(a.Method):
		return errors.New("method must be POST, PUT, PATCH or DELETE")
	case a.Answer != "" && a.Answer != "json" && a.Answer != "any":
		return errors.New("answer must be json or any")
	case a.Sign.Algorithm != "" && a.Sign.Algorithm != "hmac-sha256":
		return errors.New("algorithm must be hmac-sha256")
	case a.Sign.Secret == "" && a.Sign != signature{}:
		return errors.New("sign must name one of the connection's secrets")
	}
	for header := range a.Headers {
		if err := connect.CheckHeader(header); err != nil {
			return err
		}
	}
	if err := connect.CheckHeader(cmp.Or(a.Sign.Header, signatureHeader)); err != nil {
		return err
	}
	if err := errors.Join(connect.CheckPath(a.Path), checkBody(a.Body)); err != nil {
		return err
	}
	return errors.Join(a.Reads.validate(), a.validateInverse())
}

func mutates(method string) bool {
	return slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, method)
}

func (r reading) given() bool { return r.Path != "" }

func (r reading) validate() error {
	switch {
	case !r.given() && (r.JSON != "" || r.Before != nil || r.After != nil):
		return errors.New("reads needs a path")
	case !r.given():
		return nil
	case r.After == nil:
		return errors.New("reads must say what the value is after the call")
	case r.Before != nil && same(plain(r.Before), plain(r.After)):
		return errors.New("before and after are the same: nothing could tell whether the call took effect")
	}
	for _, v := range []any{r.Before, r.After} {
		if m, isMap := v.(map[string]any); isMap {
			if exists, asked := (wish{m}).existence(); !asked || exists {
				return errors.New("before and after are values, or {exists: false}")
			}
		}
	}
	return errors.Join(connect.CheckPath(r.Path), pointer(r.JSON).check())
}

func (a *call) validateInverse() error {
	switch {
	case !a.Inverse.given():
		return nil
	case !a.Reads.given():
		return errors.New("undo needs reads: only what is known to be as the call left it is taken back")
	case a.Inverse.Method != "" && !mutates(a.Inverse.Method):
		return errors.New("the method of undo must be POST, PUT, PATCH or DELETE")
	}
	return errors.Join(connect.CheckPath(cmp.Or(a.Inverse.Path, a.Path)), checkBody(a.Inverse.Body))
}

// Plan implements executors.Action. It reads the value that tells whether the call took effect, where there is one.
func (a *call) Plan(ctx context.Context, env executors.Env) (executors.Change, error) {
	p, said, err := a.prepare(env)
	if err != nil {
		return executors.Change{}, err
	}
	api, err := connect.Get[*connect.API](env.Connections, p.Connection)
	if err != nil {
		return executors.Change{}, err
	}
	if p.Reads != nil {
		now, err := p.Reads.now(ctx, api)
		if err != nil {
			return executors.Change{}, err
		}
		if err := p.Reads.judge(a.Reads, now); err != nil {
			return executors.Change{}, err
		}
		p.Reads.Before = now
		said = append(said, fmt.Sprintf("%s is %s", p.Reads, now))
	}
	return p.change(ctx, env, api, said)
}

// prepare fills the facts into what would be sent.
func (a *call) prepare(env executors.Env) (plan, []string, error) {
	p := plan{Connection: a.Connection, Request: request{Method: a.Method, Path: a.Path}, Headers: a.Headers, Sign: a.Sign, Answer: a.Answer}
	var said, more []string
	var err error
	if p.Request, said, err = p.Request.with(a.Body, env); err != nil {
		return plan{}, nil, err
	}
	p.Was, p.Becomes = noCall, p.Request.String()
	if a.Inverse.given() {
		back := request{Method: cmp.Or(a.Inverse.Method, a.Method), Path: cmp.Or(a.Inverse.Path, a.Path)}
		if back, more, err = back.with(a.Inverse.Body, env); err != nil {
			return plan{}, nil, err
		}
		p.Undo = &back
	}
	if a.Reads.given() {
		after, err := json.Marshal(a.Reads.After)
		if err != nil {
			return plan{}, nil, fmt.Errorf("reading the parameters: %w", err)
		}
		p.Reads = &readback{Path: a.Reads.Path, JSON: pointer(a.Reads.JSON), After: value{after}}
		if _, asked := (wish{a.Reads.After}).existence(); asked {
			p.Reads.After = value{}
		}
	}
	return p, append(said, more...), nil
}

// Apply implements executors.Action.
func (a *call) Apply(ctx context.Context, env executors.Env, c executors.Change, operation string) (executors.Receipt, error) {
	p, api, err := planOf(env, c)
	if err != nil {
		return executors.Receipt{}, err
	}
	if p.Reads != nil {
		now, err := p.Reads.now(ctx, api)
		if err != nil {
			return executors.Receipt{}, err
		}
		if !now.is(p.Reads.Before) {
			return executors.Receipt{}, guard.Refuse(guard.HumanHand, "%s is %s now, and was %s when the call was planned", p.Reads, now, p.Reads.Before)
		}
	}
	if err := p.send(ctx, api, operation); err != nil {
		return executors.Receipt{}, err
	}
	return executors.Receipt{Handle: "answered " + operation}, nil
}

// Observe implements executors.Action. Where nothing is read back, only an answer that was kept proves that the call took effect.
func (a *call) Observe(ctx context.Context, env executors.Env, c executors.Change, _ string, r executors.Receipt) (executors.Observation, error) {
	p, api, err := planOf(env, c)
	switch {
	case err != nil:
		return executors.Observation{}, err
	case p.Reads != nil:
		now, err := p.Reads.now(ctx, api)
		if err != nil {
			return executors.Observation{}, err
		}
		return p.observed(now), nil
	case r.Handle != "":
		return executors.Observation{Progress: executors.Applied, Detail: "the API accepted the call; nothing reads back what it did", State: c.After}, nil
	default:
		return executors.Observation{Progress: executors.Unclear, Detail: "no answer to the call was kept, and the rule has no way to read back whether it took effect"}, nil
	}
}

// Undo implements executors.Action.
func (a *call) Undo(ctx context.Context, env executors.Env, c executors.Change) (executors.Change, error) {
	p, api, err := planOf(env, c)
	switch {
	case err != nil:
		return executors.Change{}, err
	case p.Undo == nil || p.Reads == nil:
		return executors.Change{}, guard.Refuse(guard.NothingToDo, "the rule gives no call that takes this one back")
	}
	now, err := p.Reads.now(ctx, api)
	if err != nil {
		return executors.Change{}, err
	}
	if !now.is(p.Reads.After) {
		return executors.Change{}, guard.Refuse(guard.HumanHand, "%s is %s, and not %s as the call left it", p.Reads, now, p.Reads.After)
	}
	return p.back().change(ctx, env, api, []string{fmt.Sprintf("%s still is %s", p.Reads, now)})
}
