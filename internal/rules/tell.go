package rules

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"go.yaml.in/yaml/v4"
)

// tellText is `tell` as it is written. What a rule leaves unsaid comes field by field from the defaults, as with guard. A part that is
// null (or ~) is switched off; {} switches on what the defaults switch off.
type tellText struct {
	PagerDuty *tellPagerDutyText `yaml:"pagerduty"`
	Slack     *tellSlackText     `yaml:"slack"`
}

type tellPagerDutyText struct {
	Connection    string         `yaml:"connection"`
	ResolveWhen   Resolution     `yaml:"resolve_when"`
	OpenIncident  *bool          `yaml:"open_incident"`
	StatusUpdates *bool          `yaml:"status_updates"`
	Every         *time.Duration `yaml:"every"`
	Snooze        *time.Duration `yaml:"snooze"`

	off bool
}

type tellSlackText struct {
	Connection string         `yaml:"connection"`
	Channel    string         `yaml:"channel"`
	Every      *time.Duration `yaml:"every"`
	Mention    []string       `yaml:"mention"`
	Report     *bool          `yaml:"report"`

	off bool
}

// mentioned is how Slack names a user, a user group, or all in a channel; see https://api.slack.com/reference/surfaces/formatting.
var mentioned = regexp.MustCompile(`^([UW][A-Z0-9]{2,20}|S[A-Z0-9]{2,20}|here|channel)$`)

// updatesEvery is how often people are told how a run at work stands, where the file does not say.
const updatesEvery = 15 * time.Minute

// switchedOff reports whether a part of tell is null. With nothing at all behind its key it may be a slip, which must silence no rule.
func (b *builder) switchedOff(n *yaml.Node) bool {
	if !absent(n) {
		return false
	}
	if n.Value == "" {
		b.at(n, mistake{id: "bad-value", message: "nothing is written here", hint: "write {} to tell as the defaults say, or null to switch it off"})
	}
	return true
}

// checkTell finds the parts that are switched off, and reports connections that are named and are not declared or of another kind.
func (b *builder) checkTell(d *decoder, t *tellText) {
	if p := t.PagerDuty; p != nil {
		if p.off = b.switchedOff(d.node(p, nil)); !p.off {
			b.checkUpdates(d, p)
			name := firstText(p.Connection, b.commonPagerDuty().Connection, pagerDuty)
			b.needsConnection(d.node(&p.Connection, d.node(p, nil)), name, pagerDuty, "tell names it")
			b.checkSnooze(d, p)
		}
	}
	if s := t.Slack; s != nil {
		if s.off = b.switchedOff(d.node(s, nil)); !s.off {
			name := firstText(s.Connection, b.commonSlack().Connection, slack)
			b.needsConnection(d.node(&s.Connection, d.node(s, nil)), name, slack, "tell names it")
			b.checkMentions(d, s)
		}
	}
}

// checkUpdates reports a time between status updates where none are told.
func (b *builder) checkUpdates(d *decoder, p *tellPagerDutyText) {
	if p.Every != nil && !firstWritten(false, p.StatusUpdates, b.commonPagerDuty().StatusUpdates) {
		b.at(d.node(p.Every, d.node(p, nil)), mistake{id: "bad-value", message: "every says how often status updates are told, and none are", hint: "write status_updates: true beside it"})
	}
}

// checkSnooze holds a snooze within PagerDuty's own bounds; 0s is none.
func (b *builder) checkSnooze(d *decoder, p *tellPagerDutyText) {
	if p.Snooze != nil && *p.Snooze != 0 && (*p.Snooze < time.Second || *p.Snooze > 7*day) {
		b.at(d.node(p.Snooze, d.node(p, nil)), mistake{id: "bad-value", message: "PagerDuty snoozes an incident for between a second and 7 days"})
	}
}

func (b *builder) checkMentions(d *decoder, s *tellSlackText) {
	for _, who := range s.Mention {
		if !mentioned.MatchString(who) {
			b.at(d.node(&s.Mention, d.node(s, nil)), mistake{
				id: "bad-value", message: fmt.Sprintf("%q is nobody whom Slack can mention", who),
				hint: "write ids such as U024BE7LH (a user) or SAZ94GDB8 (a user group), or here",
			})
		}
	}
}

// either gives what a rule lists, or what the defaults do.
func either(own, common []string) []string {
	if len(own) > 0 {
		return own
	}
	return common
}

// commonPagerDuty is what the defaults say, empty where they say nothing.
func (b *builder) commonPagerDuty() *tellPagerDutyText {
	return cmp.Or(b.defaults.Tell.PagerDuty, &tellPagerDutyText{})
}

// commonSlack is what the defaults say, empty where they say nothing.
func (b *builder) commonSlack() *tellSlackText {
	return cmp.Or(b.defaults.Tell.Slack, &tellSlackText{})
}

func (b *builder) tell(dr *draft) {
	b.checkTell(dr.decoder, &dr.text.Tell)
	dr.Tell = Tell{PagerDuty: b.tellPagerDuty(dr.text.Tell.PagerDuty), Slack: b.tellSlack(dr.text.Tell.Slack)}
}

// tellPagerDuty merges what a rule says (nil: nothing) with the defaults. Where neither says anything a declared account is told.
func (b *builder) tellPagerDuty(own *tellPagerDutyText) *TellPagerDuty {
	said := cmp.Or(own, b.defaults.Tell.PagerDuty)
	if said == nil && b.kinds[pagerDuty] != pagerDuty || said != nil && said.off {
		return nil
	}
	own, common := cmp.Or(own, &tellPagerDutyText{}), b.commonPagerDuty()
	t := &TellPagerDuty{
		Connection:    firstText(own.Connection, common.Connection, pagerDuty),
		ResolveWhen:   firstText(own.ResolveWhen, common.ResolveWhen, ResolveNever),
		OpenIncident:  firstWritten(false, own.OpenIncident, common.OpenIncident),
		StatusUpdates: firstWritten(false, own.StatusUpdates, common.StatusUpdates),
		Snooze:        firstWritten(0, own.Snooze, common.Snooze),
	}
	if t.StatusUpdates {
		t.Every = b.pick(updatesEvery, own.Every, common.Every)
	}
	return t
}

// tellSlack merges what a rule says (nil: nothing) with the defaults. Where neither says anything Slack is not told.
func (b *builder) tellSlack(own *tellSlackText) *TellSlack {
	said := cmp.Or(own, b.defaults.Tell.Slack)
	if said == nil || said.off {
		return nil
	}
	own, common := cmp.Or(own, &tellSlackText{}), b.commonSlack()
	return &TellSlack{
		Connection: firstText(own.Connection, common.Connection, slack),
		Channel:    firstText(own.Channel, common.Channel),
		Every:      b.pick(updatesEvery, own.Every, common.Every),
		Mention:    either(own.Mention, common.Mention),
		Report:     firstWritten(true, own.Report, common.Report),
	}
}
