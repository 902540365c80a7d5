package rules

import (
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/mixillo/remediator/internal/executors"
)

// fileText is the rules file as it is written; sections whose keys are names are kept as nodes.
type fileText struct {
	Version     *int          `yaml:"version" rules:"required"`
	Sources     *yaml.Node    `yaml:"sources"`
	Connections *yaml.Node    `yaml:"connections"`
	Targets     *yaml.Node    `yaml:"targets"`
	Protected   []string      `yaml:"protected"`
	Freezes     []*yaml.Node  `yaml:"freezes"`
	Severities  []*yaml.Node  `yaml:"severities"`
	Retention   retentionText `yaml:"retention"`
	Intake      *yaml.Node    `yaml:"intake"`
	Defaults    defaultsText  `yaml:"defaults"`
	Rules       []*yaml.Node  `yaml:"rules"`
}

// defaultsText holds what rules that say nothing else get.
type defaultsText struct {
	Mode     Mode         `yaml:"mode"`
	Guard    guardText    `yaml:"guard"`
	Tell     tellText     `yaml:"tell"`
	Escalate escalateText `yaml:"escalate"`
}

type ruleText struct {
	Name        string         `yaml:"name" rules:"required"`
	Description string         `yaml:"description"`
	Match       *yaml.Node     `yaml:"match"`
	ByHand      bool           `yaml:"by_hand"` // only people start it: no alert matches
	Button      bool           `yaml:"button"`  // calls for help in Slack carry a button that starts it
	Target      *yaml.Node     `yaml:"target" rules:"required"`
	Mode        Mode           `yaml:"mode"`
	Gather      *yaml.Node     `yaml:"gather"`
	If          string         `yaml:"if"`
	Unknown     unknown        `yaml:"unknown"`
	Do          []*yaml.Node   `yaml:"do"`
	Hold        *time.Duration `yaml:"hold"`
	Verify      *verifyText    `yaml:"verify"`
	Guard       guardText      `yaml:"guard"`
	Tell        tellText       `yaml:"tell"`
	Escalate    escalateText   `yaml:"escalate"`
	Afterwards  []*yaml.Node   `yaml:"afterwards"`
}

// unknown is what becomes of the rules behind one that cannot be judged.
type unknown string

// The values of unknown.
const (
	unknownBars  unknown = "bars"
	unknownSkips unknown = "skip"
)

// Values lists what can be written in the rules file.
func (unknown) Values() []string { return []string{string(unknownBars), string(unknownSkips)} }

// fromText is a target that a label of the alert names.
type fromText struct {
	From string     `yaml:"from" rules:"required"`
	Map  *yaml.Node `yaml:"map"`
}

type verifyText struct {
	If     string         `yaml:"if" rules:"required"`
	Hold   time.Duration  `yaml:"hold"`
	Within *time.Duration `yaml:"within" rules:"required"`
	Every  *time.Duration `yaml:"every"`
	Settle time.Duration  `yaml:"settle"`
}

type guardText struct {
	PerHour       *int           `yaml:"per_hour"`
	PerDay        *int           `yaml:"per_day"`
	TargetPerHour *int           `yaml:"target_per_hour"`
	TargetPerDay  *int           `yaml:"target_per_day"`
	FleetPerHour  *int           `yaml:"fleet_per_hour"`
	FleetPerDay   *int           `yaml:"fleet_per_day"`
	Cooldown      *time.Duration `yaml:"cooldown"`
	MaxAge        *time.Duration `yaml:"max_age"`
	Failures      *int           `yaml:"failures"`
	ProbeAfter    *time.Duration `yaml:"probe_after"` // 0s: never, only a release closes the breaker
	Budgets       budgetsText    `yaml:"budgets"`
	Settle        *time.Duration `yaml:"settle"`
	InverseWithin *time.Duration `yaml:"inverse_within"`
	StormTargets  *int           `yaml:"storm_targets"`
	StormWithin   *time.Duration `yaml:"storm_within"`
	Approval      *time.Duration `yaml:"approval"`
	Approvers     []string       `yaml:"approvers"`
	Approvals     *int           `yaml:"approvals"`
	SelfApproval  *bool          `yaml:"self_approval"`
}

// budgetsText holds windows such as 2/1h.
type budgetsText struct {
	Rule   []string `yaml:"rule"`
	Target []string `yaml:"target"`
	Fleet  []string `yaml:"fleet"`
}

type retentionText struct {
	Bodies *time.Duration `yaml:"bodies"`
	Runs   *time.Duration `yaml:"runs"`
}

// freezeText is a window that cron begins again and again, or one span.
type freezeText struct {
	Name     string         `yaml:"name" rules:"required"`
	Reason   string         `yaml:"reason" rules:"required"`
	Targets  []string       `yaml:"targets"`
	Cron     string         `yaml:"cron"`
	For      *time.Duration `yaml:"for"`
	TimeZone string         `yaml:"time_zone"`
	From     *time.Time     `yaml:"from"`
	Until    *time.Time     `yaml:"until"`
}

type scaleBackText struct {
	If     string         `yaml:"if" rules:"required"`
	Hold   *time.Duration `yaml:"hold"`
	Within *time.Duration `yaml:"within"`
	Every  *time.Duration `yaml:"every"`
}

type remindText struct {
	Of    debt           `yaml:"of" rules:"required"`
	Every *time.Duration `yaml:"every"`
}

// debt is something that an act leaves to be settled.
type debt string

// Values lists what can be written in the rules file.
func (debt) Values() (names []string) {
	for _, k := range executors.Debts() {
		names = append(names, k.Name)
	}
	return names
}

// migrations is what a target promises about schema changes.
type migrations string

// Values lists what can be written in the rules file.
func (migrations) Values() []string { return []string{"marked", "none"} }

// targetText holds the keys of a target beside its systems' sections.
type targetText struct {
	Health     string     `yaml:"health"`
	Control    string     `yaml:"control"`
	Migrations migrations `yaml:"migrations"`
	Protected  bool       `yaml:"protected"` // remediator itself, its store or its way out
}
