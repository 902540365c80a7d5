package connect

import (
	"slices"
	"strings"

	"github.com/slack-go/slack"
)

// Ask is a question with two answers.
type Ask struct{ Run, Digest string }

// The buttons of a question, by their action_id.
const (
	ButtonApprove = "approve"
	ButtonDeny    = "deny"
)

// Start is a rule that people may start on a target, offered by what is posted of a run.
type Start struct{ Rule, Target, Run string }

// buttonStart is what the action_id of a button that starts a rule begins with; the rule's name follows.
const buttonStart = "start:"

// button asks again before it is a click: it acts on production.
func (s Start) button() slack.BlockElement {
	b := slack.NewButtonBlockElement(buttonStart+s.Rule, strings.Join([]string{s.Rule, s.Target, s.Run}, " "), asPlain(cut(s.Rule, mostLabel)))
	return b.WithConfirm(slack.NewConfirmationBlockObject(asPlain("Start it?"), asPlain(s.Rule+" on "+s.Target+", in your name"), asPlain("Start"), asPlain("Cancel")))
}

func asPlain(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.PlainTextType, text, false, false)
}

// mostLabel is how long a button's label may be, in characters; see https://api.slack.com/reference/block-kit/block-elements.
const mostLabel = 75

// offers are a button for each rule.
func offers(starts []Start) slack.Block {
	var buttons []slack.BlockElement
	for _, s := range starts {
		buttons = append(buttons, s.button())
	}
	return slack.NewActionBlock("remediator", buttons...)
}

// buttons are what the question is answered by.
func (a Ask) buttons() slack.Block {
	value := a.Run + " " + a.Digest
	approve := slack.NewButtonBlockElement(ButtonApprove, value, asPlain("Approve")).WithStyle(slack.StylePrimary)
	deny := slack.NewButtonBlockElement(ButtonDeny, value, asPlain("Deny")).WithStyle(slack.StyleDanger)
	return slack.NewActionBlock("remediator", approve, deny)
}

// Bounds of what a message shows: Slack takes at most 3,000 characters in a section and 50 blocks in a message; see
// https://api.slack.com/reference/block-kit/blocks.
const (
	maxSection  = 2900
	maxSections = 40
)

// sections show a text as plain text, in which Slack reads no bold, no code, no emoji and no link: escaping alone leaves these alive in the
// text of a message, which is kept for notifications and for looking messages up.
func sections(text string) (all []slack.Block) {
	for part := range slices.Chunk([]rune(harmless.Replace(text)), maxSection) {
		if len(all) == maxSections {
			break
		}
		words := slack.NewTextBlockObject(slack.PlainTextType, string(part), false, false)
		all = append(all, slack.NewSectionBlock(words, nil, nil, slack.SectionBlockOptionExpand(true)))
	}
	return all
}

// blocks are what people see: those who are called, the words, and the buttons.
func (p Post) blocks() (all []slack.Block) {
	if who := p.who(); who != "" {
		all = append(all, slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, who, false, true), nil, nil))
	}
	all = append(all, sections(p.Text)...)
	if p.Ask != nil {
		all = append(all, p.Ask.buttons())
	}
	if len(p.Starts) > 0 {
		all = append(all, offers(p.Starts))
	}
	return all
}

// harmless escapes what Slack would read as mark-up; see https://api.slack.com/reference/surfaces/formatting#escaping.
var harmless = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (p Post) words() string { return p.who() + harmless.Replace(p.Text) }

// who are those whom the message calls, each with a space behind.
func (p Post) who() string {
	var b strings.Builder
	for _, who := range p.Mentions {
		switch {
		case who == "here" || who == "channel":
			b.WriteString("<!" + who + "> ")
		case strings.HasPrefix(who, "S"):
			b.WriteString("<!subteam^" + harmless.Replace(who) + "> ")
		default:
			b.WriteString("<@" + harmless.Replace(who) + "> ")
		}
	}
	return b.String()
}
