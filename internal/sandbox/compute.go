package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The stand-in of the Compute Engine API's securityPolicies and globalOperations, as the discovery document of compute v1 and the wording of
// errors in gcloud's and Terraform's issue trackers show them.

// ArmorRule is a rule of a Cloud Armor policy; the JSON is the API's.
type ArmorRule struct {
	Kind             string          `json:"kind,omitempty"`
	Priority         int32           `json:"priority"`
	Action           string          `json:"action"`
	Description      string          `json:"description,omitempty"`
	Preview          bool            `json:"preview"`
	Match            *ArmorMatch     `json:"match,omitempty"`
	RateLimitOptions *ArmorRateLimit `json:"rateLimitOptions,omitempty"`
}

// ArmorMatch says which requests a rule is for: by address, or by an expression.
type ArmorMatch struct {
	VersionedExpr string           `json:"versionedExpr,omitempty"`
	Config        *ArmorAddresses  `json:"config,omitempty"`
	Expr          *ArmorExpression `json:"expr,omitempty"`
}

// ArmorAddresses are networks, or "*" for all.
type ArmorAddresses struct {
	SrcIPRanges []string `json:"srcIpRanges,omitempty"`
}

// ArmorExpression is a condition in Cloud Armor's language.
type ArmorExpression struct {
	Expression string `json:"expression,omitempty"`
}

// ArmorRateLimit are the options of a rule that throttles.
type ArmorRateLimit struct {
	ConformAction      string          `json:"conformAction,omitempty"`
	ExceedAction       string          `json:"exceedAction,omitempty"`
	EnforceOnKey       string          `json:"enforceOnKey,omitempty"`
	RateLimitThreshold *ArmorThreshold `json:"rateLimitThreshold,omitempty"`
}

// ArmorThreshold is how many requests in how many seconds.
type ArmorThreshold struct {
	Count       int32 `json:"count"`
	IntervalSec int32 `json:"intervalSec"`
}

// ArmorPolicy is a security policy; the JSON is the API's.
type ArmorPolicy struct {
	Kind        string            `json:"kind,omitempty"`
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Fingerprint string            `json:"fingerprint"`
	SelfLink    string            `json:"selfLink,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Rules       []ArmorRule       `json:"rules"`
}

// lastPriority is the default rule's, which every policy has and none can lose.
const lastPriority = 2147483647

// Limits of the API: "Cloud Armor quotas and limits", and the description's length as Terraform's provider documents it.
const (
	armorMostRules       = 200
	armorMostAddresses   = 10
	armorMostDescription = 64
)

// compute is the API's stand-in.
type compute struct {
	*system
	cfg    Config
	ledger *ledger
	dice   *dice

	mu         sync.Mutex
	policies   map[string]*ArmorPolicy
	operations []*computeOperation
	low, high  time.Duration // how long an operation takes, divided by Speed
	before     func()        // runs right before the next write
	failNext   string        // the next operation fails with this sentence
}

// computeOperation is a write that takes its time.
type computeOperation struct {
	name, kind, target string
	rule               int32 // priority
	due                time.Time
	failure            string
	effect             func()
	done               bool
}

func newCompute(cfg Config, l *ledger, d *dice) *compute {
	c := &compute{cfg: cfg, ledger: l, dice: d, policies: map[string]*ArmorPolicy{}, low: time.Second, high: 4 * time.Second}
	mux := http.NewServeMux()
	policy := "/compute/v1/projects/{project}/global/securityPolicies/{policy}"
	mux.HandleFunc("GET "+policy, c.serve(c.getPolicy))
	mux.HandleFunc("GET "+policy+"/getRule", c.serve(c.getRule))
	mux.HandleFunc("POST "+policy+"/addRule", c.serve(c.addRule))
	mux.HandleFunc("POST "+policy+"/patchRule", c.serve(c.patchRule))
	mux.HandleFunc("POST "+policy+"/removeRule", c.serve(c.removeRule))
	mux.HandleFunc("GET /compute/v1/projects/{project}/global/operations", c.serve(c.listOperations))
	mux.HandleFunc("GET /compute/v1/projects/{project}/global/operations/{operation}", c.serve(c.getOperation))
	c.system = newSystem("compute", mux)
	c.faults.body = func(status int) string {
		return fmt.Sprintf(`{"error":{"code":%d,"message":"the sandbox was told to fail this call","errors":[{"reason":"backendError"}]}}`, status)
	}
	return c
}

// computeProblem is an answer of the API that is no success.
type computeProblem struct {
	code            int
	reason, message string
}

func invalidField(field string, value any, why string) *computeProblem {
	return &computeProblem{http.StatusBadRequest, "invalid", fmt.Sprintf("Invalid value for field '%s': '%v'. %s", field, value, why)}
}

func noResource(resource string) *computeProblem {
	return &computeProblem{http.StatusNotFound, "notFound", fmt.Sprintf("The resource '%s' was not found", resource)}
}

// computeMethod answers one call; the state is locked.
type computeMethod func(*http.Request) (any, *computeProblem)

func (c *compute) serve(m computeMethod) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		c.mu.Lock()
		c.settle(time.Now())
		out, p := (any)(nil), noResource("projects/"+r.PathValue("project"))
		if r.PathValue("project") == c.cfg.Project {
			out, p = m(r)
		}
		c.mu.Unlock()
		if p != nil {
			writeJSON(w, p.code, object{"error": object{
				"code": p.code, "message": p.message, "errors": []object{{"message": p.message, "domain": "global", "reason": p.reason}},
			}})
			return
		}
		writeJSON(w, http.StatusOK, out)
	}
}

// settle completes the operations that are due.
func (c *compute) settle(now time.Time) {
	for _, op := range c.operations {
		if op.done || now.Before(op.due) {
			continue
		}
		op.done = true
		if op.failure == "" {
			op.effect()
			c.touch(op.target)
			continue
		}
		c.ledger.add(Entry{System: "cloud_armor", Verb: "operation_failed", Resource: op.target, By: "platform", Detail: map[string]any{"error": op.failure}})
	}
}

// touch gives a policy a new fingerprint and its rules their order.
func (c *compute) touch(name string) {
	p := c.policies[name]
	p.Fingerprint = c.dice.letters("abcdefghijklmnopqrstuvwxyz", 11) + "="
	slices.SortFunc(p.Rules, func(a, b ArmorRule) int { return int(int64(a.Priority) - int64(b.Priority)) })
}

func (c *compute) policy(r *http.Request) (*ArmorPolicy, *computeProblem) {
	p := c.policies[r.PathValue("policy")]
	if p == nil {
		return nil, noResource("projects/" + c.cfg.Project + "/global/securityPolicies/" + r.PathValue("policy"))
	}
	return p, nil
}

func (c *compute) getPolicy(r *http.Request) (any, *computeProblem) {
	p, problem := c.policy(r)
	if problem != nil {
		return nil, problem
	}
	return p.shown(c.cfg.Project), nil
}

// shown is a copy with what the API adds.
func (p *ArmorPolicy) shown(project string) ArmorPolicy {
	out := *p
	out.Kind = "compute#securityPolicy"
	out.SelfLink = policyLink(project, p.Name)
	out.Rules = slices.Clone(p.Rules)
	for i := range out.Rules {
		out.Rules[i].Kind = "compute#securityPolicyRule"
	}
	return out
}

func policyLink(project, name string) string {
	return "https://www.googleapis.com/compute/v1/projects/" + project + "/global/securityPolicies/" + name
}

// rule finds the rule that the query names.
func (c *compute) rule(r *http.Request) (*ArmorPolicy, int, *computeProblem) {
	p, problem := c.policy(r)
	if problem != nil {
		return nil, 0, problem
	}
	text := r.URL.Query().Get("priority")
	priority, err := strconv.ParseInt(pick(text == "", "0", text), 10, 32)
	i := slices.IndexFunc(p.Rules, func(have ArmorRule) bool { return int64(have.Priority) == priority })
	if err != nil || i < 0 {
		return nil, 0, invalidField("priority", text, "The security policy does not contain a rule at priority "+text+".")
	}
	return p, i, nil
}

func (c *compute) getRule(r *http.Request) (any, *computeProblem) {
	p, i, problem := c.rule(r)
	if problem != nil {
		return nil, problem
	}
	return p.Rules[i], nil
}

func (c *compute) listOperations(r *http.Request) (any, *computeProblem) {
	filter := r.URL.Query().Get("filter")
	if filter != "" && !strings.Contains(filter, "DONE") {
		return nil, invalidField("filter", filter, "Invalid list filter expression.")
	}
	items := []object{}
	for _, op := range c.operations {
		if filter == "" || !op.done {
			items = append(items, c.shown(op))
		}
	}
	return object{"kind": "compute#operationList", "items": items}, nil
}

func (c *compute) getOperation(r *http.Request) (any, *computeProblem) {
	name := r.PathValue("operation")
	i := slices.IndexFunc(c.operations, func(op *computeOperation) bool { return op.name == name })
	if i < 0 {
		return nil, noResource("projects/" + c.cfg.Project + "/global/operations/" + name)
	}
	return c.shown(c.operations[i]), nil
}

func (c *compute) shown(op *computeOperation) object {
	out := object{
		"kind": "compute#operation", "name": op.name, "operationType": op.kind, "targetLink": policyLink(c.cfg.Project, op.target),
		"status": pick(op.done, "DONE", "RUNNING"), "progress": pick(op.done, 100, 0), "user": c.cfg.Caller,
	}
	if op.done && op.failure != "" {
		out["error"] = object{"errors": []object{{"code": "RESOURCE_OPERATION_ERROR", "message": op.failure}}}
		out["httpErrorStatusCode"], out["httpErrorMessage"] = http.StatusBadRequest, "BAD REQUEST"
	}
	return out
}

func decodeRule(r *http.Request, into *ArmorRule) *computeProblem {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return &computeProblem{http.StatusBadRequest, "parseError", "Parse Error"}
	}
	return nil
}
