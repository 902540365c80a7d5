package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"
)

const (
	systemSlack     = "slack"
	markerEventType = "remediator"
	findWindow      = 200 // messages
	maxSlackPages   = 10
	maxSlackBody    = 8 << 20 // a page of messages or channels
)

// SlackConfig is the connection `slack`.
type SlackConfig struct {
	// Endpoint is the base URL of the Web API; empty means https://slack.com/api/.
	Endpoint string `yaml:"endpoint"`
	// Token is a bot token. It needs chat:write, and channels:history and channels:read to find its own messages again.
	Token Secret `yaml:"token" rules:"required"`
	// SigningSecret is the app's; a click on a button is believed when it is signed by one of them. Without any there are no buttons.
	SigningSecret []Secret `yaml:"signing_secret"`
	// Channel is where messages go when a rule names no other: "#incidents" or an id.
	Channel string `yaml:"channel"`
	// Timeout of one call; 0 means 10 s.
	Timeout time.Duration `yaml:"timeout"`
	// Insecure allows an http: endpoint.
	Insecure bool `yaml:"insecure"`
}

func init() {
	Register(ConnectionKind{
		Name: systemSlack,
		Doc:  "A Slack workspace, as a bot.",
		New:  func() Config { return &SlackConfig{} },
	})
}

// Check implements Config.
func (c *SlackConfig) Check() error {
	copied := *c
	_, err := copied.settle()
	return err
}

// Open implements Config.
func (c *SlackConfig) Open(context.Context) (io.Closer, error) { return NewSlack(*c) }

// Slack posts to one workspace. Every failed call is a *CallError or a *RateLimited. Nothing is retried here. Safe for concurrent use.
type Slack struct {
	cfg    SlackConfig
	client *http.Client

	mu  sync.Mutex
	ids map[string]string // channel ids by the names they were posted to
}

// NewSlack checks the configuration. It reads no secret and calls nothing.
func NewSlack(c SlackConfig) (*Slack, error) {
	host, err := c.settle()
	if err != nil {
		return nil, err
	}
	client := NewHTTPClient(HTTPConfig{Hosts: []string{host}, Timeout: c.Timeout, MaxBody: maxSlackBody, Insecure: c.Insecure})
	return &Slack{cfg: c, client: client, ids: map[string]string{}}, nil
}

// settle checks the configuration, fills in its defaults and gives the host that may be reached.
func (c *SlackConfig) settle() (string, error) {
	if c.Token.IsZero() {
		return "", errors.New("slack: token is not set")
	}
	if c.Endpoint == "" {
		c.Endpoint = slack.APIURL
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	u, err := parseEndpoint(c.Endpoint, c.Insecure)
	if err != nil {
		return "", fmt.Errorf("slack: %w", err)
	}
	c.Endpoint = u.String() + "/"
	return hostPort(u), nil
}

// Close closes idle connections.
func (s *Slack) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Post is one message.
type Post struct {
	Channel string // "" means the connection's
	Thread  string // timestamp of the message it answers, "" for none
	// Broadcast shows an answer in the channel too: who is not in the thread hears nothing of it, and here and channel call nobody there.
	Broadcast bool
	// Text is shown as plain text, so that no word of an alert becomes a mention, a link or anything else but text.
	Text string
	// Mentions are those whom the message names before its text: ids of users (U…, W…) and user groups (S…), or here or channel.
	Mentions []string
	// Ask puts buttons under the text by which people answer a plan.
	Ask *Ask
	// Starts puts a button under the text for each rule that people may start.
	Starts []Start
	// Marker travels in the message's metadata, where people do not see it, and Find finds it by.
	Marker string
}

// Post posts a message and gives its timestamp, which names it in its channel. Called twice it posts twice.
func (s *Slack) Post(ctx context.Context, p Post) (string, error) {
	channel := s.channel(p.Channel)
	if channel == "" {
		return "", refused(systemSlack, "posting a message", "no channel is named")
	}
	var id, ts string
	c := call{doing: "posting a message to " + channel, mutates: true}
	err := s.do(ctx, c, func(ctx context.Context, api *slack.Client) (err error) {
		id, ts, err = api.PostMessageContext(ctx, channel, p.options()...)
		return err
	})
	if err != nil {
		return "", err
	}
	s.remember(channel, id)
	return ts, nil
}

// Replace puts a text in the place of a message and takes its buttons away. Called twice it does nothing more.
func (s *Slack) Replace(ctx context.Context, channel, ts, text string) error {
	id, err := s.channelID(ctx, s.channel(channel))
	if err != nil {
		return err
	}
	return s.do(ctx, call{doing: "replacing a message in " + id, mutates: true}, func(ctx context.Context, api *slack.Client) error {
		_, _, _, err := api.UpdateMessageContext(ctx, id, ts, slack.MsgOptionText(harmless.Replace(text), false), slack.MsgOptionBlocks(sections(text)...))
		return err
	})
}

func (p Post) options() []slack.MsgOption {
	opts := []slack.MsgOption{
		slack.MsgOptionText(p.words(), false),
		slack.MsgOptionBlocks(p.blocks()...),
		slack.MsgOptionDisableLinkUnfurl(),
		slack.MsgOptionDisableMediaUnfurl(),
	}
	if p.Thread != "" {
		opts = append(opts, slack.MsgOptionTS(p.Thread))
	}
	if p.Thread != "" && p.Broadcast {
		opts = append(opts, slack.MsgOptionBroadcast())
	}
	if p.Marker != "" {
		opts = append(opts, slack.MsgOptionMetadata(slack.SlackMetadata{
			EventType: markerEventType, EventPayload: map[string]any{"marker": p.Marker},
		}))
	}
	return opts
}

// Find finds a message by its marker among the newest 200 of a channel, or in a thread when one is named (up to 2000 replies), and
// gives its timestamp. Channel "" means the connection's.
func (s *Slack) Find(ctx context.Context, channel, thread, marker string) (string, bool, error) {
	channel = s.channel(channel)
	if channel == "" || marker == "" {
		return "", false, refused(systemSlack, "looking for a message", "channel and marker must be named")
	}
	id, err := s.channelID(ctx, channel)
	if err != nil {
		return "", false, err
	}
	if thread == "" {
		return s.findInChannel(ctx, id, marker)
	}
	return s.findInThread(ctx, slack.GetConversationRepliesParameters{
		ChannelID: id, Timestamp: thread, Limit: findWindow, IncludeAllMetadata: true,
	}, marker)
}

func (s *Slack) findInChannel(ctx context.Context, id, marker string) (string, bool, error) {
	params := slack.GetConversationHistoryParameters{ChannelID: id, Limit: findWindow, IncludeAllMetadata: true}
	var page *slack.GetConversationHistoryResponse
	err := s.do(ctx, call{doing: "reading channel " + id}, func(ctx context.Context, api *slack.Client) (err error) {
		page, err = api.GetConversationHistoryContext(ctx, &params)
		return err
	})
	if err != nil {
		return "", false, err
	}
	ts, found := marked(page.Messages, marker)
	return ts, found, nil
}

// findInThread reads forward: Slack gives replies oldest first.
func (s *Slack) findInThread(ctx context.Context, params slack.GetConversationRepliesParameters, marker string) (string, bool, error) {
	for range maxSlackPages {
		var messages []slack.Message
		err := s.do(ctx, call{doing: "reading a thread of channel " + params.ChannelID},
			func(ctx context.Context, api *slack.Client) (err error) {
				messages, _, params.Cursor, err = api.GetConversationRepliesContext(ctx, &params)
				return err
			})
		if err != nil {
			return "", false, err
		}
		if ts, found := marked(messages, marker); found || params.Cursor == "" {
			return ts, found, nil
		}
	}
	return "", false, nil
}

func marked(messages []slack.Message, marker string) (string, bool) {
	for i := range messages {
		meta := messages[i].Metadata
		if meta.EventType == markerEventType && meta.EventPayload["marker"] == marker {
			return messages[i].Timestamp, true
		}
	}
	return "", false
}

func (s *Slack) channel(name string) string {
	if name == "" {
		return s.cfg.Channel
	}
	return name
}

func (s *Slack) remember(name, id string) {
	if id == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[name] = id
}

// channelID turns "#name" into an id: messages can be posted to a name, but history is read by id.
func (s *Slack) channelID(ctx context.Context, channel string) (string, error) {
	name, isName := strings.CutPrefix(channel, "#")
	s.mu.Lock()
	id := s.ids[channel]
	s.mu.Unlock()
	if id != "" || !isName {
		return cmp.Or(id, channel), nil
	}
	id, err := s.lookUpChannel(ctx, name)
	if err != nil && !IsPermanent(err) {
		return "", err
	}
	s.remember(channel, id) // without the scope to list channels the name itself is tried
	return cmp.Or(id, channel), nil
}

func (s *Slack) lookUpChannel(ctx context.Context, name string) (string, error) {
	params := slack.GetConversationsParameters{
		Limit: 1000, ExcludeArchived: true, Types: []string{"public_channel", "private_channel"},
	}
	for range maxSlackPages {
		var channels []slack.Channel
		err := s.do(ctx, call{doing: "looking up channel #" + name}, func(ctx context.Context, api *slack.Client) (err error) {
			channels, params.Cursor, err = api.GetConversationsContext(ctx, &params)
			return err
		})
		if err != nil {
			return "", err
		}
		for i := range channels {
			if channels[i].Name == name {
				return channels[i].ID, nil
			}
		}
		if params.Cursor == "" {
			break
		}
	}
	return "", nil
}

// do runs one use of the library, whose client keeps its token for ever and therefore lives for one call.
func (s *Slack) do(ctx context.Context, c call, use func(context.Context, *slack.Client) error) error {
	c.system = systemSlack
	token, err := s.cfg.Token.Read()
	if err != nil {
		return &CallError{System: c.system, Doing: c.doing, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	x := &exchange{client: s.client, call: c}
	api := slack.New(token.Reveal(), slack.OptionAPIURL(s.cfg.Endpoint), slack.OptionHTTPClient(x))
	if err := use(ctx, api); err != nil {
		return slackFailure(x.fail(ctx, err, token), err)
	}
	return nil
}

// slackFailure: Slack says most of its refusals under HTTP 200.
func slackFailure(failed, cause error) error {
	var (
		ours *CallError
		said slack.SlackErrorResponse
	)
	if !errors.As(failed, &ours) || !errors.As(cause, &said) {
		return failed
	}
	switch said.Err {
	case "ratelimited", "rate_limited":
		refusal := fmt.Errorf("%s: %w", ours.Doing, ours.Err)
		return &RateLimited{System: systemSlack, RetryAfter: defaultRetryAfter, Err: refusal}
	case "fatal_error", "internal_error", "request_timeout", "service_unavailable":
		// Slack's own words: "some aspect of the operation" may have succeeded.
	case "invalid_auth", "not_authed", "token_expired", "token_revoked", "account_inactive":
		ours.permanent, ours.ambiguous = false, false // a rotated or widened token mends it
	default:
		ours.permanent, ours.ambiguous = true, false
	}
	return failed
}
