package executors

import (
	"context"

	"github.com/mixillo/remediator/internal/connect"
)

// Claimer is implemented by facts that speak of things other facts may speak of too. Claims names each such thing and says what it is, such
// as "cloud_run/serving/api": "api-7"; facts of one decision must not contradict each other. What the fact does not know is left out.
type Claimer interface {
	Claims() map[string]string
}

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

// Identified is implemented by target sections. Identity names what the section stands for, such as
// "cloud_run/PROJECT/REGION/SERVICE", with the connections' defaults where the section leaves something out; what nobody knows is empty.
type Identified interface {
	Identity(set connect.Set) string
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
