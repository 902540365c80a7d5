package sandbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SlackApp is where clicks on buttons are sent, and the key they are signed with.
type SlackApp struct {
	URL    string `json:"url"`
	Secret string `json:"secret"`
}

// SetSlackApp says where clicks go.
func (w *World) SetSlackApp(app SlackApp) {
	w.slack.mu.Lock()
	defer w.slack.mu.Unlock()
	w.slack.app = app
}

// clickPatience is how long Slack waits for an answer to a click.
const clickPatience = 3 * time.Second

type slackButton struct {
	Type     string `json:"type"`
	ActionID string `json:"action_id"`
	BlockID  string `json:"block_id"`
	Value    string `json:"value"`
}

// ClickSlack lets a person click a button of a message, and gives the status of the answer. A message that has no such button cannot be
// clicked.
func (w *World) ClickSlack(ts, button, user string) (int, error) {
	app, payload, err := w.slack.clicked(ts, button, user)
	if err != nil {
		return 0, err
	}
	body := []byte(url.Values{"payload": {string(payload)}}.Encode())
	ctx, cancel := context.WithTimeout(context.Background(), clickPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, app.URL, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("clicking: %w", err)
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(app.Secret))
	mac.Write([]byte("v0:" + stamp + ":"))
	mac.Write(body)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Slack-Request-Timestamp", stamp)
	req.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("clicking: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode, nil
}

// clicked is what Slack sends of a click.
func (s *slackServer) clicked(ts, button, user string) (SlackApp, []byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.messages, func(m *SlackMessage) bool { return m.TS == ts })
	if i < 0 {
		return s.app, nil, fmt.Errorf("clicking: there is no message %s", ts)
	}
	m := s.messages[i]
	for _, b := range m.buttons() {
		if b.ActionID != button {
			continue
		}
		s.ledger.add(Entry{System: "slack", Verb: "button_clicked", Resource: m.Channel, By: user, Detail: map[string]any{"ts": ts, "button": button}})
		payload, err := json.Marshal(object{
			"type": "block_actions", "user": object{"id": user, "username": strings.ToLower(user)}, "channel": object{"id": m.Channel},
			"message": m.render(true), "actions": []slackButton{b}, "trigger_id": "1.2.3",
		})
		return s.app, payload, err
	}
	return s.app, nil, fmt.Errorf("clicking: message %s has no button %q", ts, button)
}

// buttons are those that the message shows.
func (m *SlackMessage) buttons() []slackButton {
	var blocks []struct {
		BlockID  string        `json:"block_id"`
		Elements []slackButton `json:"elements"`
	}
	if json.Unmarshal(m.Blocks, &blocks) != nil {
		return nil
	}
	var all []slackButton
	for _, b := range blocks {
		for _, e := range b.Elements {
			if e.Type == "button" {
				e.BlockID = b.BlockID
				all = append(all, e)
			}
		}
	}
	return all
}

func postEphemeral(s *slackServer, form url.Values) (object, string) {
	if form.Get("user") == "" || form.Get("text") == "" {
		return nil, "invalid_arguments"
	}
	s.ledger.add(Entry{System: "slack", Verb: "whispered", Resource: channelID(form.Get("channel")), By: slackBot, Detail: map[string]any{
		"user": form.Get("user"), "text": form.Get("text"),
	}})
	return object{"message_ts": s.stamp()}, ""
}
