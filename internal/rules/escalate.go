package rules

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/mixillo/remediator/internal/connect"
)

// Escalate says when a run that has not ended calls for a person, and what it asks of them.
type Escalate struct {
	After     time.Duration
	Need      string // what the person who is called should do or leave alone, in the words of the rules file
	PagerDuty EscalatePagerDuty
}

// EscalatePagerDuty says what a call for a person does with the incident. All of it is the file's own words, nothing an alert's.
type EscalatePagerDuty struct {
	Assign     connect.People // who gets the incident: users, or one escalation policy; nobody: the next level of the incident's own policy
	Responders connect.People // who is asked to help as well
	Message    string         // what the responders are told; empty: what is wrong
	Priority   string         // the priority that the incident gets, by its name; empty: that of the alert's severity
}

type escalateText struct {
	After     *time.Duration         `yaml:"after"`
	Need      string                 `yaml:"need"`
	PagerDuty *escalatePagerDutyText `yaml:"pagerduty"`
}

// escalatePagerDutyText is `escalate.pagerduty` as it is written. As with tell, what a rule leaves unsaid comes field by field from the
// defaults, and null switches it off.
type escalatePagerDutyText struct {
	Assign     *assignText     `yaml:"assign"`
	Responders *respondersText `yaml:"responders"`
	Priority   string          `yaml:"priority"`

	off bool
}

type assignText struct {
	Users  []string `yaml:"users"`
	Policy string   `yaml:"escalation_policy"`
}

type respondersText struct {
	Users    []string `yaml:"users"`
	Policies []string `yaml:"escalation_policies"`
	Message  string   `yaml:"message"`
}

// pagerDutyID is how PagerDuty names a user or an escalation policy.
var pagerDutyID = regexp.MustCompile(`^[A-Z0-9]{2,32}$`)

// checkEscalate finds the part that is switched off, and reports ids that are none and calls that reach nobody.
func (b *builder) checkEscalate(d *decoder, t *escalateText) {
	p := t.PagerDuty
	if p == nil {
		return
	}
	if p.off = b.switchedOff(d.node(p, nil)); p.off {
		return
	}
	if a := p.Assign; a != nil {
		n := d.node(a, nil)
		b.checkIDs(d, a.Users, "PABC123 (a user)")
		if a.Policy != "" {
			b.checkID(d, &a.Policy, "PDEF456 (an escalation policy)")
		}
		if len(a.Users) > 0 == (a.Policy != "") {
			b.at(n, mistake{id: "bad-value", message: "an incident is assigned to users or to an escalation policy", hint: "write {users: [PABC123]} or {escalation_policy: PDEF456}"})
		}
	}
	if r := p.Responders; r != nil {
		b.checkIDs(d, r.Users, "PABC123 (a user)")
		b.checkIDs(d, r.Policies, "PDEF456 (an escalation policy)")
		if len(r.Users)+len(r.Policies) == 0 {
			b.at(d.node(r, nil), mistake{id: "bad-value", message: "nobody is asked to respond", hint: "write users or escalation_policies, lists of ids"})
		}
	}
	b.checkPriority(d, &p.Priority)
}

func (b *builder) checkIDs(d *decoder, ids []string, such string) {
	for i := range ids {
		b.checkID(d, &ids[i], such)
	}
}

func (b *builder) checkID(d *decoder, id *string, such string) {
	if d.okText(id) && !pagerDutyID.MatchString(*id) {
		b.at(d.node(id, nil), mistake{id: "bad-value", message: fmt.Sprintf("%s is no id of PagerDuty", show(*id)), hint: "write an id such as " + such})
	}
}

// checkPriority reports a name that no priority can have. Which ones the account has is not known here.
func (b *builder) checkPriority(d *decoder, name *string) {
	if d.okText(name) && (strings.TrimSpace(*name) != *name || *name == "" || len(*name) > 64) {
		b.at(d.node(name, nil), mistake{id: "bad-value", message: fmt.Sprintf("%s is no name of a priority", show(*name)), hint: "write the name that the account gives it, such as P1"})
	}
}

// escalate merges what a rule says with the defaults.
func (b *builder) escalate(dr *draft) {
	own, common := dr.text.Escalate, b.defaults.Escalate
	b.checkEscalate(dr.decoder, &dr.text.Escalate)
	dr.Escalate = Escalate{
		After:     b.pick(escalateAfter, own.After, common.After),
		Need:      firstText(own.Need, common.Need),
		PagerDuty: mergedEscalation(own.PagerDuty, common.PagerDuty),
	}
	if own.PagerDuty != nil && !own.PagerDuty.off && dr.Tell.PagerDuty == nil {
		b.at(dr.decoder.node(own.PagerDuty, dr.node), mistake{id: "nobody-told", message: "the rule does not tell PagerDuty, so it cannot escalate there",
			hint: "write tell: {pagerduty: {}}, or remove escalate.pagerduty"})
	}
}

func mergedEscalation(own, common *escalatePagerDutyText) (e EscalatePagerDuty) {
	if said := cmp.Or(own, common); said == nil || said.off {
		return e
	}
	own, common = cmp.Or(own, &escalatePagerDutyText{}), cmp.Or(common, &escalatePagerDutyText{})
	e.Priority = firstText(own.Priority, common.Priority)
	if a := cmp.Or(own.Assign, common.Assign); a != nil {
		e.Assign.Users = a.Users
		if a.Policy != "" {
			e.Assign.Policies = []string{a.Policy}
		}
	}
	if r := cmp.Or(own.Responders, common.Responders); r != nil {
		e.Responders, e.Message = connect.People{Users: r.Users, Policies: r.Policies}, r.Message
	}
	return e
}
