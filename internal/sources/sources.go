// Package sources knows the senders of webhooks: how each proves who it is, and what its bodies say. One file per sender.
package sources

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

// ErrUnauthenticated is returned, wrapped with a reason that names no secret, when a delivery does not prove its sender.
var ErrUnauthenticated = errors.New("not authenticated")

// ErrUnavailable is returned, wrapped, when a secret cannot be read: the sender must keep the delivery (503).
var ErrUnavailable = errors.New("cannot authenticate now")

// Delivery is what one webhook body says.
type Delivery struct {
	// DedupKey is the sender's signed id of the event, or "" when it has none; repeats of a delivery have the same one.
	DedupKey   string
	Type       string    // the sender's event type, e.g. "incident.triggered"
	OccurredAt time.Time // by the sender's clock; zero when it does not say
	Alerts     []alert.Alert
	// Holds is what the delivery says of whose hand an incident is in. It counts from Parse on, whatever LookUp still has to add.
	Holds []Hold `json:",omitempty"`
	// Incomplete: the body has no labels; LookUp has to complete it before rules can match.
	Incomplete bool
	// Ignored says why nothing is matched (a ping, our own note), "" otherwise. The delivery is stored all the same.
	Ignored string
	// Agent is the sender's id of who caused the event, "" when it was not a person or an API user. See Self.
	Agent string
	// Drill is the id of the drill that the delivery belongs to, "" for a real one. See Apart.
	Drill string `json:",omitempty"`
	// Warning is what a reader must know although the delivery is used, such as alerts that the sender left out; "" otherwise.
	Warning string
}

// Request is what a delivery came with: all that its sender may be known by.
type Request struct {
	Header http.Header
	Query  url.Values        // of the URL, in which some senders carry their token
	Client *x509.Certificate // of a client, verified by the listener; nil where it gave none
	Body   []byte
}

// Source is one configured sender. Its struct fields are the parameters in rules.yaml. Safe for concurrent use.
type Source interface {
	// Validate refuses a configuration that could not protect anything, such as an empty or short secret.
	Validate() error
	// Authenticate judges a request by its raw body. Errors wrap ErrUnauthenticated or ErrUnavailable.
	Authenticate(r Request) error
	// Parse reads an authenticated body. An error means that it is stored and flagged, never acted on.
	Parse(body []byte, received time.Time) (Delivery, error)
}

// Early is implemented by sources whose senders may be known by what comes before the body, so that a stranger's body is not read.
type Early interface {
	// AuthenticateEarly judges a request without its body, with the errors of Authenticate; nil where the proof may be over the body.
	AuthenticateEarly(r Request) error
}

// Check is implemented by sources whose parameters can be wrong in themselves, whatever the secrets are. It reads no secret, so that a
// rules file can be checked where there are none. A wrong expression is an *ExpressionError, which other mistakes may be joined with.
type Check interface {
	Check() error
}

// ExpressionError is what is wrong with a parameter that is an expression, with what it takes to say it at its place in the file.
type ExpressionError struct {
	Field  string   // the parameter's key in rules.yaml
	Key    string   // within a parameter that holds an expression for each of several keys; "" for a plain one
	Text   string   // the expression
	Names  []string // the variables it may name
	Env    *cel.Env
	Parsed *cel.Ast // nil when it cannot be parsed
	Issues *cel.Issues
}

// Error names every mistake by line and column of the expression.
func (e *ExpressionError) Error() string {
	var mistakes []string
	for _, issue := range e.Issues.Errors() {
		mistakes = append(mistakes, fmt.Sprintf("%d:%d: %s", issue.Location.Line(), issue.Location.Column()+1, issue.Message))
	}
	where := e.Field
	if e.Key != "" {
		where += "." + e.Key
	}
	return where + ": " + strings.Join(mistakes, "; ")
}

// LookUp is implemented by sources whose bodies are incomplete. It may be called again after a crash. An error is retried, and
// escalated when it lasts: a failed look-up is never "no match".
type LookUp interface {
	LookUp(ctx context.Context, connections connect.Set, d Delivery) (Delivery, error)
}

// Sender is implemented by every kind: it plays the sender, so that the road can be tried before production.
type Sender interface {
	// Sign adds to a request with a body the proof that Authenticate asks for, made with the first of the secrets. It is an error where the
	// proof is none that a request can carry, as a client's certificate. Errors name no secret.
	Sign(r *Request) error
	// Sample makes the body by which the sender tells of an alert.
	Sample(s Sample) ([]byte, error)
}

// Eventful is implemented by senders that tell of more than an alert's beginning and end.
type Eventful interface {
	// Events names them as the sender does; the first proves the road and touches nothing.
	Events() []string
	// Event makes the body of one; its name may go without what stands before its last dot.
	Event(name string, s Sample) ([]byte, error)
}

// Sample is the alert of a body that is made up.
type Sample struct {
	ID      string // of the delivery, incident and alert, wherever the sender gives one; letters and digits
	Status  alert.Status
	At      time.Time // of the delivery
	Began   time.Time
	Labels  map[string]string // as the rules are to see them, where the sender has labels
	Summary string
}

// Self is implemented by sources that report our own doings back to us. Self gives the id that Delivery.Agent has when it was us:
// such a delivery is no news. The answer is kept; an error is only that it cannot be had now.
type Self interface {
	Self(ctx context.Context, connections connect.Set) (agentID string, err error)
}

// Dedicated is implemented by sources whose Self is a user that people could share with us. Shared says in words what speaks for that, "" for
// nothing: what they do would pass for our own. An error is only that it cannot be learned.
type Dedicated interface {
	Shared(ctx context.Context, connections connect.Set) (why string, err error)
}

// Kind is one registered kind of source. New is given the source's name in the rules file.
type Kind struct {
	Name string
	Doc  string
	New  func(name string) Source
}

var kinds = map[string]Kind{}

// Register adds a kind of source; call it from init.
func Register(k Kind) {
	if _, ok := kinds[k.Name]; ok {
		panic("sources: kind registered twice: " + k.Name)
	}
	kinds[k.Name] = k
}

// Lookup finds a kind of source by name.
func Lookup(name string) (Kind, bool) { k, ok := kinds[name]; return k, ok }

// Kinds lists the registered names in order.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }
