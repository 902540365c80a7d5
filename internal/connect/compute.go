package connect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
	"google.golang.org/protobuf/proto"
)

const (
	systemGoogle    = "google_cloud"
	computeEndpoint = "https://compute.googleapis.com"
	// computeScope is what reading and changing security policies asks for; cloud-platform would do too, and allow everything.
	computeScope = "https://www.googleapis.com/auth/compute"
	// The generated client lets a call take ten minutes.
	computeTimeout = 15 * time.Second
	// maxPolicy bounds an answer: a policy may hold hundreds of rules.
	maxPolicy = 8 << 20
)

// errNoCompute: where the other APIs are stood in for, Google's own Compute Engine must not be asked.
var errNoCompute = errors.New("google_cloud: compute_endpoint must be set beside endpoint for Cloud Armor to be asked")

// SecurityPolicies reads and changes the rules of Cloud Armor's global security policies in one project. Every failed call is a *CallError or
// a *RateLimited. No write is retried, and the API takes no precondition for any: addRule alone refuses a priority that is taken, which
// IsConflict tells. Safe for concurrent use.
type SecurityPolicies struct {
	project    string
	policies   *compute.SecurityPoliciesClient
	operations *compute.GlobalOperationsClient
}

// newSecurityPolicies makes the client; it looks up credentials and calls nothing else.
func newSecurityPolicies(ctx context.Context, c GoogleConfig) (*SecurityPolicies, error) {
	base, err := c.computeBase()
	if err != nil {
		return nil, err
	}
	guarded := NewHTTPClient(HTTPConfig{Hosts: []string{hostPort(base)}, Timeout: computeTimeout, MaxBody: maxPolicy, Insecure: c.Insecure})
	if !c.Insecure {
		if guarded.Transport, err = transport.NewTransport(ctx, guarded.Transport, option.WithScopes(computeScope)); err != nil {
			return nil, err
		}
	}
	opts := []option.ClientOption{option.WithHTTPClient(guarded), option.WithEndpoint(base.String())}
	policies, err := compute.NewSecurityPoliciesRESTClient(ctx, opts...)
	if err != nil {
		return nil, err
	}
	operations, err := compute.NewGlobalOperationsRESTClient(ctx, opts...)
	if err != nil {
		return nil, errors.Join(err, policies.Close())
	}
	return &SecurityPolicies{project: c.Project, policies: policies, operations: operations}, nil
}

// computeBase is where the Compute Engine API is asked.
func (c GoogleConfig) computeBase() (*url.URL, error) {
	switch {
	case c.ComputeEndpoint != "":
		base, err := parseEndpoint(c.ComputeEndpoint, c.Insecure)
		if err != nil {
			return nil, fmt.Errorf("google_cloud: compute_endpoint: %w", err)
		}
		return base, nil
	case c.Endpoint != "" || c.Insecure:
		return nil, errNoCompute
	}
	return parseEndpoint(computeEndpoint, false)
}

// Close closes the clients.
func (p *SecurityPolicies) Close() error {
	return errors.Join(p.policies.Close(), p.operations.Close())
}

// Get reads a policy with its rules.
func (p *SecurityPolicies) Get(ctx context.Context, policy string) (*computepb.SecurityPolicy, error) {
	return computeCall(ctx, "reading security policy "+policy, false, func(ctx context.Context) (*computepb.SecurityPolicy, error) {
		return p.policies.Get(ctx, &computepb.GetSecurityPolicyRequest{Project: p.project, SecurityPolicy: policy})
	})
}

// AddRule adds a rule and gives the name of the operation that does it. A priority that is taken is a conflict.
func (p *SecurityPolicies) AddRule(ctx context.Context, policy string, rule *computepb.SecurityPolicyRule) (string, error) {
	doing := fmt.Sprintf("adding rule %d to security policy %s", rule.GetPriority(), policy)
	return p.write(ctx, doing, func(ctx context.Context) (*compute.Operation, error) {
		return p.policies.AddRule(ctx, &computepb.AddRuleSecurityPolicyRequest{
			Project: p.project, SecurityPolicy: policy, SecurityPolicyRuleResource: rule,
		})
	})
}

// PatchRule sets the named fields of the rule at its priority, and those alone, and gives the name of the operation that does it.
func (p *SecurityPolicies) PatchRule(ctx context.Context, policy string, rule *computepb.SecurityPolicyRule, fields ...string) (string, error) {
	doing := fmt.Sprintf("changing rule %d of security policy %s", rule.GetPriority(), policy)
	return p.write(ctx, doing, func(ctx context.Context) (*compute.Operation, error) {
		return p.policies.PatchRule(ctx, &computepb.PatchRuleSecurityPolicyRequest{
			Project: p.project, SecurityPolicy: policy, Priority: rule.Priority, SecurityPolicyRuleResource: rule,
			UpdateMask: proto.String(strings.Join(fields, ",")),
		})
	})
}

// RemoveRule removes the rule at a priority, whatever it is, and gives the name of the operation that does it.
func (p *SecurityPolicies) RemoveRule(ctx context.Context, policy string, priority int32) (string, error) {
	doing := fmt.Sprintf("removing rule %d of security policy %s", priority, policy)
	return p.write(ctx, doing, func(ctx context.Context) (*compute.Operation, error) {
		return p.policies.RemoveRule(ctx, &computepb.RemoveRuleSecurityPolicyRequest{
			Project: p.project, SecurityPolicy: policy, Priority: proto.Int32(priority),
		})
	})
}

func (p *SecurityPolicies) write(ctx context.Context, doing string, call func(context.Context) (*compute.Operation, error)) (string, error) {
	op, err := computeCall(ctx, doing, true, call)
	if err != nil {
		return "", err
	}
	return op.Name(), nil
}

// ComputeOperation is what a long-running operation says of itself.
type ComputeOperation struct {
	Done    bool
	Failure string // the system's own sentence; "" while it has not failed
}

// Operation reads a global operation by its name.
func (p *SecurityPolicies) Operation(ctx context.Context, name string) (ComputeOperation, error) {
	op, err := computeCall(ctx, "reading operation "+name, false, func(ctx context.Context) (*computepb.Operation, error) {
		return p.operations.Get(ctx, &computepb.GetGlobalOperationRequest{Project: p.project, Operation: name})
	})
	if err != nil {
		return ComputeOperation{}, err
	}
	out := ComputeOperation{Done: op.GetStatus() == computepb.Operation_DONE}
	for _, e := range op.GetError().GetErrors() {
		out.Failure = strings.TrimSpace(out.Failure + " " + e.GetMessage())
	}
	if code := op.GetHttpErrorStatusCode(); out.Failure == "" && code >= http.StatusBadRequest {
		out.Failure = fmt.Sprintf("%d %s", code, op.GetHttpErrorMessage())
	}
	return out, nil
}

// Busy reports whether an operation on the policy is under way, whoever asked for it.
func (p *SecurityPolicies) Busy(ctx context.Context, policy string) (bool, error) {
	return computeCall(ctx, "listing operations on security policy "+policy, false, func(ctx context.Context) (bool, error) {
		all := p.operations.List(ctx, &computepb.ListGlobalOperationsRequest{Project: p.project, Filter: proto.String("status != DONE")})
		for {
			op, err := all.Next()
			if errors.Is(err, iterator.Done) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			if strings.HasSuffix(op.GetTargetLink(), "/global/securityPolicies/"+policy) && op.GetStatus() != computepb.Operation_DONE {
				return true, nil
			}
		}
	})
}

// computeCall makes one call with a deadline and sorts its failure.
func computeCall[A any](ctx context.Context, doing string, mutates bool, call func(context.Context) (A, error)) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, computeTimeout)
	defer cancel()
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}
	answer, err := call(httptrace.WithClientTrace(ctx, trace))
	if err != nil {
		var none A
		return none, computeFailure(withContext(ctx, err), doing, mutates && sent.Load())
	}
	return answer, nil
}

// computeFailure: only a plain 4xx proves that a call that was sent has done nothing.
func computeFailure(err error, doing string, mayHaveActed bool) error {
	var answer *googleapi.Error
	status := 0
	if errors.As(err, &answer) {
		status = answer.Code
	}
	if answer != nil && throttles(answer) {
		return &RateLimited{System: systemGoogle, RetryAfter: retryAfter(answer.Header, time.Now()), Err: fmt.Errorf("%s: %w", doing, err)}
	}
	refusal := status >= 400 && status < 500 && status != http.StatusRequestTimeout
	return &CallError{
		System: systemGoogle, Doing: doing, Status: status, Err: err,
		permanent: refusal && status != http.StatusUnauthorized && status != http.StatusForbidden || errors.Is(err, ErrHostRefused),
		ambiguous: mayHaveActed && !refusal,
		conflict:  status == http.StatusBadRequest && strings.Contains(err.Error(), priorityTaken),
	}
}

// priorityTaken is how the API says that a policy has a rule of that priority already, as gcloud and Terraform show it.
const priorityTaken = "Cannot have rules with the same priorities"

// throttles knows the answers of an API that is asked too often: 429, and 403 with these reasons (Compute Engine, "API rate limits"). A
// resource quota that is used up (quotaExceeded) is no such answer: waiting does not help.
func throttles(e *googleapi.Error) bool {
	return e.Code == http.StatusTooManyRequests || e.Code == http.StatusForbidden && slices.ContainsFunc(e.Errors, func(i googleapi.ErrorItem) bool {
		return i.Reason == "rateLimitExceeded" || i.Reason == "userRateLimitExceeded"
	})
}
