package executors

import "slices"

// The kinds of debt, by their names in rules.yaml.
const (
	// DebtPinnedTraffic is left by a rollback on Cloud Run: later deploys serve nothing until the traffic is unpinned.
	DebtPinnedTraffic = "pinned_traffic"
	// DebtHeldDeploys is left by a rollback on Vercel: later deploys do not go live until one of them is promoted.
	DebtHeldDeploys = "held_deploys"
)

// DebtKind is a kind of debt in words for people.
type DebtKind struct {
	Name   string
	Is     string // what is the case: "the traffic is pinned"
	Been   string // the same, for how long follows: "the traffic has been pinned"
	Effect string // what comes of it until it is settled: "new deploys serve nothing"
}

var debtKinds = []DebtKind{
	{Name: DebtPinnedTraffic, Is: "the traffic is pinned", Been: "the traffic has been pinned", Effect: "new deploys serve nothing"},
	{Name: DebtHeldDeploys, Is: "production is rolled back", Been: "production has been rolled back", Effect: "new deploys do not go live"},
}

// Debts lists the kinds of debt.
func Debts() []DebtKind { return slices.Clone(debtKinds) }

// LookupDebt finds a kind of debt. One that this version does not know still has words.
func LookupDebt(name string) DebtKind {
	if i := slices.IndexFunc(debtKinds, func(k DebtKind) bool { return k.Name == name }); i >= 0 {
		return debtKinds[i]
	}
	return DebtKind{Name: name, Is: "there is " + name, Been: "there has been " + name, Effect: "what comes after it has no effect"}
}
