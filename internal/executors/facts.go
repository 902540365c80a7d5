package executors

import (
	"context"
	"net/netip"
)

// HealthFact is implemented by facts of health checks, so that an action may rest on one without knowing the kind of probe.
type HealthFact interface {
	HealthCheck() HealthCheck
}

// HealthCheck is what a health check came to.
type HealthCheck struct {
	Address  string // what was asked, without query and fragment
	Failed   int64  // tries that failed
	Sick     bool   // all of them did
	OurFault bool   // the failure is on our side, so nothing is known
	Control  bool   // a control address was asked as well, and answered
}

// DebtState is how a debt stands that an earlier change left.
type DebtState struct {
	Settled bool
	Idle    string // the newest thing that has no effect because of the debt, such as a deploy that serves nothing; "" if there is none
	Detail  string // one sentence for notes
}

// Debtor is implemented by actions that settle a kind of debt. Debt reads how it stands and changes nothing.
type Debtor interface {
	Debt(ctx context.Context, env Env) (DebtState, error)
}

// OffenderFact is implemented by facts that name who sends the requests that hurt, so that an action may block them without knowing the
// kind of probe. The networks are as narrow as they were seen, the worst first, and come from a system's own records of connections, never
// from what a client says of itself, such as a header that it can forge.
type OffenderFact interface {
	Offenders() []netip.Prefix
}
