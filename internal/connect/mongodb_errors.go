package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// MongoReason says why a question to a MongoDB was not answered.
type MongoReason string

// The reasons. Those from dns to unusable are, or may be, on our side of the network: they say nothing of the database.
const (
	MongoFine MongoReason = "none"

	MongoRefused    MongoReason = "refused"    // nothing listens
	MongoNoAnswer   MongoReason = "no_answer"  // not in time
	MongoBroken     MongoReason = "broken"     // the connection ended early, or what came back is no MongoDB message
	MongoNoPrimary  MongoReason = "no_primary" // members answer, none of them is primary
	MongoOverloaded MongoReason = "overloaded" // the database refuses work to protect itself

	MongoDNS        MongoReason = "dns"
	MongoTLS        MongoReason = "tls"                 // a certificate that we do not trust, or no TLS at all
	MongoNotAllowed MongoReason = "address_not_allowed" // as Atlas ends connections from addresses that are not on its access list
	MongoUnusable   MongoReason = "unusable"            // a connection string or host that we refuse, a secret that cannot be read

	MongoAuthentication MongoReason = "authentication" // user or password are wrong
	MongoUnauthorized   MongoReason = "not_authorized" // logged in, but not allowed to ask this
	MongoCommand        MongoReason = "command"        // the database refused the command for another reason
	MongoCalledOff      MongoReason = "called_off"     // our own caller gave up
)

// Codes of the server's errors (https://www.mongodb.com/docs/manual/reference/error-codes/); Atlas's proxies answer 8000 with "bad auth".
const (
	mongoCodeUnauthorized = 13
	mongoCodeAuthFailed   = 18
	mongoCodeRateLimited  = 462
	mongoCodeAtlas        = 8000
	mongoOverloadLabel    = "SystemOverloadedError"
	mongoNetworkLabel     = "NetworkError"
)

// mongoFailure is a failed question without any secret. It unwraps to the context's error, where that was the cause.
type mongoFailure struct {
	reason MongoReason
	text   string
	cause  error
}

// Error gives the clean text.
func (f *mongoFailure) Error() string { return f.text }

// Unwrap gives a context's own error or nil.
func (f *mongoFailure) Unwrap() error { return f.cause }

// MongoReasonOf tells why a question failed; MongoFine for nil.
func MongoReasonOf(err error) MongoReason {
	var failure *mongoFailure
	switch {
	case err == nil:
		return MongoFine
	case errors.As(err, &failure):
		return failure.reason
	default:
		return MongoCommand
	}
}

// OurSide reports whether a failure for this reason may be ours, so that it says nothing of the database.
func (r MongoReason) OurSide() bool {
	return slices.Contains([]MongoReason{MongoDNS, MongoTLS, MongoNotAllowed, MongoUnusable, MongoCalledOff}, r)
}

// mongoFailed tells a failed question in our words.
func mongoFailed(ctx context.Context, doing string, err error, seen *mongoMembers, secrets []Value) error {
	failure := &mongoFailure{reason: mongoReason(err), text: Line(redact(err, secrets...).Error(), gistMost), cause: ctx.Err()}
	if worst := seen.worst(); worst != "" && selecting(err) {
		failure.reason = worst
	}
	if failure.cause != nil {
		failure.reason = MongoCalledOff
	}
	if failure.reason == MongoOverloaded {
		return &RateLimited{System: systemMongo, RetryAfter: 30 * time.Second, Err: failure}
	}
	return &CallError{System: systemMongo, Doing: doing, Err: failure, permanent: failure.reason == MongoUnusable && !isSecretError(err)}
}

func isSecretError(err error) bool {
	var secret *SecretError
	return errors.As(err, &secret)
}

// selecting reports whether no member was found that could be asked, so that the members' own failures say why.
func selecting(err error) bool { return strings.Contains(err.Error(), "server selection") }

// mongoReason judges one error of the driver, of a lookup or of our own.
func mongoReason(err error) MongoReason {
	var (
		own     *mongoFailure
		secret  *SecretError
		name    *net.DNSError
		command mongo.CommandError
	)
	switch {
	case errors.As(err, &own):
		return own.reason
	case errors.As(err, &secret), errors.Is(err, ErrHostRefused), errors.Is(err, errMongoWrites):
		return MongoUnusable
	case errors.As(err, &name):
		return MongoDNS
	case errors.As(err, &command) && command.Code != 0:
		return mongoCodeReason(command)
	}
	return mongoNetworkReason(err)
}

func mongoCodeReason(c mongo.CommandError) MongoReason {
	switch {
	case c.Code == mongoCodeAuthFailed, c.Code == mongoCodeAtlas && strings.Contains(strings.ToLower(c.Message), "auth"):
		return MongoAuthentication
	case c.Code == mongoCodeUnauthorized:
		return MongoUnauthorized
	case c.Code == mongoCodeRateLimited, c.HasErrorLabel(mongoOverloadLabel):
		return MongoOverloaded
	case mongo.IsTimeout(c):
		return MongoNoAnswer
	}
	return MongoCommand
}

// mongoNetworkReason judges what ended an exchange.
func mongoNetworkReason(err error) MongoReason {
	var (
		alert     *net.OpError
		record    tls.RecordHeaderError
		verified  *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
	)
	switch {
	// Atlas accepts the connection and ends the handshake with the alert internal_error; Go has no exported type for an alert that came in
	// (mongodb.com's "Troubleshoot Connection Issues" names the access list; drivers in all languages show "tlsv1 alert internal error").
	case errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Error(), "tls: internal error"):
		return MongoNotAllowed
	case errors.As(err, &verified), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &record),
		errors.As(err, &alert) && alert.Op == "remote error":
		return MongoTLS
	case errors.Is(err, syscall.ECONNREFUSED):
		return MongoRefused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), mongo.IsTimeout(err):
		return MongoNoAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return MongoBroken
	}
	return MongoBroken
}

// MongoMember is a member of a deployment as it was last seen.
type MongoMember struct {
	Address string
	Kind    string // the driver's word: RSPrimary, RSSecondary, RSArbiter, Standalone, Mongos, LoadBalancer …; Unknown when it does not answer
	Primary string // whom it takes for the primary, host:port; "" if nobody
	Reason  MongoReason
}

// Answers reports whether the member answered when it was last asked.
func (m MongoMember) Answers() bool { return m.Kind != "" && m.Kind != "Unknown" }

// mongoMembers follows what the driver's own checks see. Safe for concurrent use.
type mongoMembers struct {
	mu       sync.Mutex
	all      []MongoMember
	answered map[string]MongoMember // as it last answered a check, unless a check has failed since
	last     map[string]MongoReason // of the last failed check
}

func newMongoMembers() *mongoMembers {
	return &mongoMembers{answered: map[string]MongoMember{}, last: map[string]MongoReason{}}
}

func (m *mongoMembers) changed(e *event.TopologyDescriptionChangedEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(e.NewDescription.Servers) == 0 {
		return // the client is being closed
	}
	m.all = nil
	for _, s := range e.NewDescription.Servers {
		member := MongoMember{Address: s.Addr.String(), Kind: s.Kind, Primary: s.Primary.String()}
		if m.all = append(m.all, member); member.Answers() {
			m.answered[member.Address] = member
		}
	}
}

func (m *mongoMembers) failed(e *event.ServerHeartbeatFailedEvent) {
	reason := mongoReason(e.Failure)
	address, _, _ := strings.Cut(e.ConnectionID, "[")
	m.mu.Lock()
	defer m.mu.Unlock()
	if errors.Is(e.Failure, context.Canceled) {
		return // our own closing
	}
	delete(m.answered, address)
	m.last[address] = reason
}

// list gives a member that the driver gave up for what befell our own command, such as a refused login, as it answered the last check.
func (m *mongoMembers) list() []MongoMember {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := slices.Clone(m.all)
	for i, member := range out {
		if before, ok := m.answered[member.Address]; ok {
			out[i] = before
		} else if !member.Answers() {
			out[i].Reason = m.last[member.Address]
		}
	}
	return out
}

// worst tells why no member could be asked: where members answer, none of them is what was looked for. A failure that may be ours weighs
// more than one of the database's, so that a database is not called dead for what may be our network.
func (m *mongoMembers) worst() MongoReason {
	var reasons []MongoReason
	for _, member := range m.list() {
		if member.Answers() {
			return MongoNoPrimary
		}
		reasons = append(reasons, member.Reason)
	}
	for _, r := range []MongoReason{MongoUnusable, MongoDNS, MongoNotAllowed, MongoTLS, MongoOverloaded, MongoRefused, MongoBroken, MongoNoAnswer} {
		if slices.Contains(reasons, r) {
			return r
		}
	}
	return ""
}
