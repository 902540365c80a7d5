package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// SlackMessage is one message as Slack keeps it.
type SlackMessage struct {
	Channel   string          `json:"channel"`
	TS        string          `json:"ts"`
	ThreadTS  string          `json:"thread_ts,omitempty"`
	User      string          `json:"user"`
	Text      string          `json:"text"`
	Blocks    json.RawMessage `json:"blocks,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	Reactions []string        `json:"reactions,omitempty"`
	Edits     int             `json:"edits,omitempty"`
}

const slackBot = "UREMEDIATOR"

type slackServer struct {
	ledger *ledger
	faults httpFaults

	mu       sync.Mutex
	messages []*SlackMessage
	app      SlackApp
	last     int64
}

func newSlackServer(l *ledger) *slackServer {
	s := &slackServer{ledger: l}
	s.faults.retryHeader = "Retry-After"
	s.faults.body = func(status int) string {
		return fmt.Sprintf(`{"ok":false,"error":%q}`, pick(status == 429, "ratelimited", "internal_error"))
	}
	return s
}

// method answers one Web API method; a non-empty failure is Slack's error word.
type method func(s *slackServer, form url.Values) (out object, failure string)

func (s *slackServer) handler() http.Handler {
	mux := http.NewServeMux()
	for name, m := range map[string]method{
		"auth.test": authTest, "chat.postMessage": postMessage, "chat.postEphemeral": postEphemeral, "chat.update": updateMessage,
		"conversations.history": history, "conversations.replies": replies, "reactions.add": addReaction,
	} {
		mux.HandleFunc("/api/"+name, s.serve(name, m))
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, object{"ok": false, "error": "unknown_method"})
	})
	return s.faults.wrap(mux)
}

func (s *slackServer) serve(name string, m method) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		form, failure := slackForm(w, r)
		if failure != "" {
			writeJSON(w, http.StatusOK, object{"ok": false, "error": failure})
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		out, failure := m(s, form)
		if failure != "" {
			s.ledger.add(Entry{System: "slack", Verb: name + "_refused", Resource: form.Get("channel"), By: slackBot, Detail: map[string]any{"error": failure}})
			out = object{"error": failure}
		}
		out["ok"] = failure == ""
		writeJSON(w, http.StatusOK, out)
	}
}

// slackForm reads the arguments; the token travels in the form or as a bearer.
func slackForm(w http.ResponseWriter, r *http.Request) (url.Values, string) {
	r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
	if err := r.ParseForm(); err != nil {
		return nil, "invalid_form_data"
	}
	token := r.Form.Get("token")
	if token == "" {
		token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	switch token {
	case SlackToken:
		return r.Form, ""
	case "":
		return nil, "not_authed"
	default:
		return nil, "invalid_auth"
	}
}

func authTest(*slackServer, url.Values) (object, string) {
	return object{"url": "https://sandbox.slack.com/", "team": "Sandbox", "team_id": "T0001", "user": "remediator", "user_id": slackBot, "bot_id": "B0001"}, ""
}

// stamp is a new message's ts, unique in the workspace.
func (s *slackServer) stamp() string {
	s.last = max(time.Now().UnixMicro(), s.last+1)
	return fmt.Sprintf("%d.%06d", s.last/1_000_000, s.last%1_000_000)
}

func (s *slackServer) find(channel, ts string) *SlackMessage {
	i := slices.IndexFunc(s.messages, func(m *SlackMessage) bool { return m.Channel == channelID(channel) && m.TS == ts })
	if i < 0 {
		return nil
	}
	return s.messages[i]
}

// channelID: a message may be posted to a name, but belongs to an id.
func channelID(channel string) string {
	if name, isName := strings.CutPrefix(channel, "#"); isName {
		return "C" + strings.ToUpper(strings.ReplaceAll(name, "-", ""))
	}
	return channel
}

func rawJSON(text string) json.RawMessage {
	if text == "" || !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}

func postMessage(s *slackServer, form url.Values) (object, string) {
	channel, thread := form.Get("channel"), form.Get("thread_ts")
	switch {
	case channel == "":
		return nil, "channel_not_found"
	case form.Get("text") == "" && form.Get("blocks") == "" && form.Get("attachments") == "":
		return nil, "no_text"
	case thread != "" && s.find(channel, thread) == nil:
		return nil, "thread_not_found"
	}
	m := &SlackMessage{
		Channel: channelID(channel), TS: s.stamp(), ThreadTS: thread, User: slackBot, Text: form.Get("text"),
		Blocks: rawJSON(form.Get("blocks")), Metadata: rawJSON(form.Get("metadata")),
	}
	s.messages = append(s.messages, m)
	s.record("message_posted", m)
	return object{"channel": m.Channel, "ts": m.TS, "message": m.render(true)}, ""
}

func (s *slackServer) record(verb string, m *SlackMessage) {
	s.ledger.add(Entry{System: "slack", Verb: verb, Resource: m.Channel, By: slackBot, Detail: map[string]any{
		"ts": m.TS, "thread_ts": m.ThreadTS, "text": m.Text, "metadata": string(m.Metadata),
	}})
}

func updateMessage(s *slackServer, form url.Values) (object, string) {
	m := s.find(form.Get("channel"), form.Get("ts"))
	if m == nil {
		return nil, "message_not_found"
	}
	if text, given := form["text"]; given {
		m.Text = text[0]
	}
	if blocks, given := form["blocks"]; given {
		m.Blocks = rawJSON(blocks[0])
	}
	if metadata, given := form["metadata"]; given {
		m.Metadata = rawJSON(metadata[0])
	}
	m.Edits++
	s.record("message_updated", m)
	return object{"channel": m.Channel, "ts": m.TS, "text": m.Text, "message": m.render(true)}, ""
}

func history(s *slackServer, form url.Values) (object, string) {
	found := s.between(form, func(m *SlackMessage) bool { return m.ThreadTS == "" || m.ThreadTS == m.TS })
	slices.Reverse(found)
	return page(found, form)
}

func replies(s *slackServer, form url.Values) (object, string) {
	ts := form.Get("ts")
	if s.find(form.Get("channel"), ts) == nil {
		return nil, "thread_not_found"
	}
	return page(s.between(form, func(m *SlackMessage) bool { return m.TS == ts || m.ThreadTS == ts }), form)
}

// between lists the channel's messages between oldest and latest, oldest first.
func (s *slackServer) between(form url.Values, want func(*SlackMessage) bool) []*SlackMessage {
	var out []*SlackMessage
	oldest, latest, inclusive := form.Get("oldest"), form.Get("latest"), form.Get("inclusive") == "1" || form.Get("inclusive") == "true"
	for _, m := range s.messages {
		edge := m.TS == oldest || m.TS == latest
		within := (oldest == "" || m.TS > oldest) && (latest == "" || m.TS < latest) || edge && inclusive
		if m.Channel == channelID(form.Get("channel")) && within && want(m) {
			out = append(out, m)
		}
	}
	return out
}

func page(found []*SlackMessage, form url.Values) (object, string) {
	limit := int32(0)
	if _, err := fmt.Sscan(form.Get("limit"), &limit); err != nil {
		limit = 0
	}
	part, next, err := paginate(found, limit, form.Get("cursor"), 100)
	if err != nil {
		return nil, "invalid_cursor"
	}
	all := form.Get("include_all_metadata")
	messages := []object{}
	for _, m := range part {
		messages = append(messages, m.render(all == "1" || all == "true"))
	}
	return object{"messages": messages, "has_more": next != "", "response_metadata": object{"next_cursor": next}}, ""
}

// render shows the message; Slack leaves metadata out unless asked for.
func (m *SlackMessage) render(metadata bool) object {
	out := object{"type": "message", "ts": m.TS, "user": m.User, "bot_id": "B0001", "text": m.Text}
	if m.ThreadTS != "" {
		out["thread_ts"] = m.ThreadTS
	}
	if m.Blocks != nil {
		out["blocks"] = m.Blocks
	}
	if metadata && m.Metadata != nil {
		out["metadata"] = m.Metadata
	}
	reactions := []object{}
	for _, name := range m.Reactions {
		reactions = append(reactions, object{"name": name, "count": 1, "users": []string{slackBot}})
	}
	out["reactions"] = reactions
	return out
}

func addReaction(s *slackServer, form url.Values) (object, string) {
	m, name := s.find(form.Get("channel"), form.Get("timestamp")), form.Get("name")
	switch {
	case m == nil:
		return nil, "message_not_found"
	case name == "":
		return nil, "invalid_name"
	case slices.Contains(m.Reactions, name):
		return nil, "already_reacted"
	}
	m.Reactions = append(m.Reactions, name)
	s.ledger.add(Entry{System: "slack", Verb: "reaction_added", Resource: m.Channel, By: slackBot, Detail: map[string]any{"ts": m.TS, "name": name}})
	return object{}, ""
}

// SlackMessages are copies of all messages, oldest first.
func (w *World) SlackMessages() []SlackMessage {
	w.slack.mu.Lock()
	defer w.slack.mu.Unlock()
	out := make([]SlackMessage, 0, len(w.slack.messages))
	for _, m := range w.slack.messages {
		c := *m
		c.Reactions = slices.Clone(m.Reactions)
		out = append(out, c)
	}
	return out
}
