package connect

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"
)

// clickWindow is how old a signed request may be; see https://api.slack.com/authentication/verifying-requests-from-slack.
const clickWindow = 5 * time.Minute

// ErrUnsigned is returned, wrapped, for a request that is not signed by the app's secret, or was signed too long ago.
var ErrUnsigned = errors.New("the request is not signed as Slack signs")

// Click is a person's click on a button of ours: the answer to a plan, or, where Start names a rule, the start of one.
type Click struct {
	Approve     bool
	Run, Digest string
	Start       Start
	Posted      time.Time // when the button was shown
	User        string    // Slack's id of the person
	Channel     string    // where the button stands
}

var (
	slackUser    = regexp.MustCompile(`^[UW][A-Z0-9]{2,20}$`)
	slackChannel = regexp.MustCompile(`^[A-Z0-9]{0,32}$`)
	clickValue   = regexp.MustCompile(`^([0-9A-Za-z-]{1,64}) ([0-9a-f]{64})$`)
	startValue   = regexp.MustCompile(`^([a-z0-9-]{1,63}) ([a-z0-9_-]{1,63}) ([0-9A-Za-z-]{1,64})$`)
	slackStamp   = regexp.MustCompile(`^([0-9]{10})\.([0-9]{6})$`)
)

// Click authenticates a request of Slack's and reads it. ErrUnsigned when it is not Slack's; another error when it is no click on a button of
// ours. It calls nothing.
func (s *Slack) Click(header http.Header, body []byte, now time.Time) (Click, error) {
	if err := s.signed(header, body, now); err != nil {
		return Click{}, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Click{}, fmt.Errorf("reading the click: %w", err)
	}
	var got slack.InteractionCallback
	if err := json.Unmarshal([]byte(form.Get("payload")), &got); err != nil {
		return Click{}, errors.New("reading the click: its payload is not what Slack sends")
	}
	return readClick(got)
}

func readClick(got slack.InteractionCallback) (Click, error) {
	actions := got.ActionCallback.BlockActions
	if got.Type != slack.InteractionTypeBlockActions || len(actions) != 1 || actions[0] == nil ||
		!slackUser.MatchString(got.User.ID) || !slackChannel.MatchString(got.Channel.ID) {
		return Click{}, errors.New("it is no click of one person on one button")
	}
	if strings.HasPrefix(actions[0].ActionID, buttonStart) {
		return readStart(got, *actions[0])
	}
	value := clickValue.FindStringSubmatch(actions[0].Value)
	if id := actions[0].ActionID; value == nil || id != ButtonApprove && id != ButtonDeny {
		return Click{}, errors.New("the button is none of ours")
	}
	return Click{
		Approve: actions[0].ActionID == ButtonApprove, Run: value[1], Digest: value[2], User: got.User.ID, Channel: got.Channel.ID,
	}, nil
}

// readStart reads a click that starts a rule. What the button is worth the rules in force say.
func readStart(got slack.InteractionCallback, action slack.BlockAction) (Click, error) {
	value, stamp := startValue.FindStringSubmatch(action.Value), slackStamp.FindStringSubmatch(got.Message.Timestamp)
	if value == nil || stamp == nil || action.ActionID != buttonStart+value[1] {
		return Click{}, errors.New("the button is none of ours")
	}
	seconds, _ := strconv.ParseInt(stamp[1], 10, 64)
	micros, _ := strconv.ParseInt(stamp[2], 10, 64)
	return Click{
		Start:  Start{Rule: value[1], Target: value[2], Run: value[3]},
		Posted: time.Unix(seconds, micros*int64(time.Microsecond)), User: got.User.ID, Channel: got.Channel.ID,
	}, nil
}

// signed judges the signature v0 over time and body, under any of the secrets.
func (s *Slack) signed(header http.Header, body []byte, now time.Time) error {
	stamp := header.Get("X-Slack-Request-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > clickWindow {
		return fmt.Errorf("%w: its time is missing or more than %s away", ErrUnsigned, clickWindow)
	}
	given, ok := strings.CutPrefix(header.Get("X-Slack-Signature"), "v0=")
	if !ok {
		return fmt.Errorf("%w: the signature is missing or none", ErrUnsigned)
	}
	for _, place := range s.cfg.SigningSecret {
		secret, err := place.Read()
		if err != nil {
			return err
		}
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		mac.Write([]byte("v0:" + stamp + ":"))
		mac.Write(body)
		if hmac.Equal([]byte(hex.EncodeToString(mac.Sum(nil))), []byte(given)) { // as text, so that one signature has one spelling
			return nil
		}
	}
	return fmt.Errorf("%w: no secret fits", ErrUnsigned)
}

// Clickable reports whether clicks on buttons can be believed: without a signing secret none is shown.
func (s *Slack) Clickable() bool { return len(s.cfg.SigningSecret) > 0 }

// Whisper tells one person in a channel something that nobody else sees. Called twice it tells twice.
func (s *Slack) Whisper(ctx context.Context, channel, user, text string) error {
	return s.do(ctx, call{doing: "whispering in " + channel, mutates: true}, func(ctx context.Context, api *slack.Client) error {
		_, err := api.PostEphemeralContext(ctx, channel, user, slack.MsgOptionText(harmless.Replace(text), false))
		return err
	})
}
