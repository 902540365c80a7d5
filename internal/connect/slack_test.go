package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// workspace is a Slack that answers from a script.
type workspace struct {
	*Slack

	mu      sync.Mutex
	answers map[string][]answer // by method; the last one is repeated
	calls   []string            // methods in order
	forms   []url.Values
}

func newWorkspace(t *testing.T, answers map[string][]answer) *workspace {
	t.Helper()
	ws := &workspace{answers: answers}
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
			t.Errorf("%s: query %q, %v", r.URL.Path, r.URL.RawQuery, err)
		}
		ws.take(strings.TrimPrefix(r.URL.Path, "/api/"), r.PostForm).write(w, r)
	})
	var err error
	ws.Slack, err = NewSlack(SlackConfig{
		Endpoint: srv.URL + "/api/", Token: secretFile(t, testSecret), Channel: "#incidents", Timeout: 5 * time.Second, Insecure: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

func (ws *workspace) take(method string, form url.Values) answer {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.calls, ws.forms = append(ws.calls, method), append(ws.forms, form)
	queue := ws.answers[method]
	if len(queue) == 0 {
		return answer{body: `{"ok":false,"error":"unknown_method"}`}
	}
	if len(queue) > 1 {
		ws.answers[method] = queue[1:]
	}
	return queue[0]
}

func message(ts, eventType, marker string) string {
	meta, _ := json.Marshal(node{"event_type": eventType, "event_payload": node{"marker": marker}})
	return fmt.Sprintf(`{"type":"message","ts":%q,"text":"x","metadata":%s}`, ts, meta)
}

func messages(next string, all ...string) answer {
	return answer{body: fmt.Sprintf(`{"ok":true,"messages":[%s],"response_metadata":{"next_cursor":%q}}`, strings.Join(all, ","), next)}
}

func TestSlackPost(t *testing.T) {
	t.Parallel()
	ws := newWorkspace(t, map[string][]answer{"chat.postMessage": {{body: `{"ok":true,"channel":"C1","ts":"17.5"}`}}})
	ts, err := ws.Post(t.Context(), Post{Text: "down <!channel> & <http://x|y>", Thread: "16.1", Broadcast: true, Marker: "run-1"})
	if err != nil || ts != "17.5" {
		t.Fatalf("Post = %q, %v", ts, err)
	}
	got := ws.forms[0]
	var meta node
	if err := json.Unmarshal([]byte(got.Get("metadata")), &meta); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(node{"event_type": "remediator", "event_payload": node{"marker": "run-1"}}, meta); diff != "" {
		t.Error(diff)
	}
	got.Del("metadata")
	if blocks, plain := got.Get("blocks"), `[{"type":"section","text":{"type":"plain_text","text":"down`; !strings.HasPrefix(blocks, plain) {
		t.Errorf("blocks %s do not begin with %s", blocks, plain)
	}
	got.Del("blocks")
	want := url.Values{
		"token": {testSecret}, "channel": {"#incidents"}, "thread_ts": {"16.1"}, "reply_broadcast": {"true"}, "text": {"down &lt;!channel&gt; &amp; &lt;http://x|y&gt;"},
		"unfurl_links": {"false"}, "unfurl_media": {"false"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSlackFindInChannel(t *testing.T) {
	t.Parallel()
	ws := newWorkspace(t, map[string][]answer{
		"chat.postMessage": {{body: `{"ok":true,"channel":"C1","ts":"17.5"}`}},
		"conversations.list": {
			{body: `{"ok":true,"channels":[{"id":"C8","name":"other"}],"response_metadata":{"next_cursor":"n"}}`},
			{body: `{"ok":true,"channels":[{"id":"C2","name":"elsewhere"}]}`},
		},
		"conversations.history": {messages("", message("3.0", "other", "run-1"), message("2.0", "remediator", "run-2"), message("1.0", "remediator", "run-1"))},
	})
	if _, err := ws.Post(t.Context(), Post{Text: "x"}); err != nil {
		t.Fatal(err)
	}
	find := func(channel, marker, want string, found bool) {
		t.Helper()
		if ts, ok, err := ws.Find(t.Context(), channel, "", marker); ts != want || ok != found || err != nil {
			t.Errorf("Find(%q, %q) = %q, %t, %v", channel, marker, ts, ok, err)
		}
	}
	find("", "run-1", "1.0", true)
	find("#elsewhere", "run-3", "", false)
	find("#elsewhere", "run-2", "2.0", true)
	find("C5", "run-2", "2.0", true)
	wantCalls := []string{
		"chat.postMessage", "conversations.history", "conversations.list", "conversations.list", "conversations.history",
		"conversations.history", "conversations.history",
	}
	if diff := cmp.Diff(wantCalls, ws.calls); diff != "" {
		t.Error(diff)
	}
	var read []string
	for i, method := range ws.calls {
		if f := ws.forms[i]; method == "conversations.history" {
			read = append(read, f.Get("channel")+" "+f.Get("limit")+" "+f.Get("include_all_metadata"))
		}
	}
	if diff := cmp.Diff([]string{"C1 200 1", "C2 200 1", "C2 200 1", "C5 200 1"}, read); diff != "" {
		t.Error(diff)
	}
}

func TestSlackFindWithoutTheScopeToListChannels(t *testing.T) {
	t.Parallel()
	ws := newWorkspace(t, map[string][]answer{
		"conversations.list":    {{body: `{"ok":false,"error":"missing_scope"}`}},
		"conversations.history": {messages("", message("1.0", "remediator", "m"))},
	})
	if ts, found, err := ws.Find(t.Context(), "#x", "", "m"); ts != "1.0" || !found || err != nil {
		t.Errorf("Find = %q, %t, %v", ts, found, err)
	}
	down := newWorkspace(t, map[string][]answer{"conversations.list": {{status: 503}}})
	if _, found, err := down.Find(t.Context(), "#x", "", "m"); found || err == nil || IsPermanent(err) {
		t.Errorf("Slack down: %t, %v", found, err)
	}
}

func TestSlackFindInThread(t *testing.T) {
	t.Parallel()
	ws := newWorkspace(t, map[string][]answer{"conversations.replies": {
		messages("next", message("1.0", "remediator", "run-1")), messages("", message("2.0", "remediator", "run-2")),
	}})
	if ts, found, err := ws.Find(t.Context(), "C1", "1.0", "run-2"); ts != "2.0" || !found || err != nil {
		t.Errorf("Find = %q, %t, %v", ts, found, err)
	}
	if got := ws.forms[0].Get("ts") + ws.forms[1].Get("cursor"); got != "1.0next" {
		t.Errorf("thread and cursor %q", got)
	}
}

func TestSlackErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                 string
		answer               answer
		permanent, ambiguous bool
		retryAfter           time.Duration
	}{
		{name: "refused", answer: answer{body: `{"ok":false,"error":"channel_not_found"}`}, permanent: true},
		{name: "fatal", answer: answer{body: `{"ok":false,"error":"fatal_error"}`}, ambiguous: true},
		{name: "limited", answer: answer{status: 429, header: http.Header{"Retry-After": {"7"}}}, retryAfter: 7 * time.Second},
		{name: "limited without header", answer: answer{status: 429}, retryAfter: defaultRetryAfter},
		{name: "limited in words", answer: answer{body: `{"ok":false,"error":"ratelimited"}`}, retryAfter: defaultRetryAfter},
		{name: "500", answer: answer{status: 500}, ambiguous: true},
		{name: "403", answer: answer{status: 403}},
		{name: "token revoked", answer: answer{body: `{"ok":false,"error":"token_revoked"}`}},
		{name: "dropped", answer: answer{drop: true}, ambiguous: true},
		{name: "echo", answer: answer{body: `{"ok":false,"error":"bad token ` + testSecret + ` ` + url.QueryEscape(testSecret) + `"}`}, permanent: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ws := newWorkspace(t, map[string][]answer{"chat.postMessage": {tt.answer}})
			_, err := ws.Post(t.Context(), Post{Text: "x"})
			var limited *RateLimited
			if errors.As(err, &limited) != (tt.retryAfter > 0) || limited != nil && limited.RetryAfter != tt.retryAfter {
				t.Errorf("rate limit: %v", err)
			}
			if err == nil || IsPermanent(err) != tt.permanent || IsAmbiguous(err) != tt.ambiguous {
				t.Errorf("%v: permanent %t, ambiguous %t", err, IsPermanent(err), IsAmbiguous(err))
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, "s3cr3t") {
					t.Errorf("the secret shows in %q", text)
				}
			}
		})
	}
}

func TestSlackContextAndRotation(t *testing.T) {
	t.Parallel()
	ws := newWorkspace(t, map[string][]answer{"chat.postMessage": {{hang: true}, {body: `{"ok":true,"channel":"C1","ts":"1"}`}}})
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := ws.Post(short, Post{Text: "x"}); !errors.Is(err, context.DeadlineExceeded) || !IsAmbiguous(err) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("deadline: %v", err)
	}
	if err := os.WriteFile(ws.cfg.Token.File, []byte("rotated\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ws.Post(t.Context(), Post{Text: "x"}); err != nil || ws.forms[1].Get("token") != "rotated" {
		t.Errorf("after rotation: token %q, %v", ws.forms[1].Get("token"), err)
	}
}

func TestSlackRefusesWhatNamesNothing(t *testing.T) {
	t.Parallel()
	if _, err := NewSlack(SlackConfig{}); err == nil {
		t.Error("no token")
	}
	s, err := NewSlack(SlackConfig{Token: Secret{Env: "X"}})
	if err != nil || s.cfg.Endpoint != "https://slack.com/api/" {
		t.Fatalf("NewSlack = %v, %v", s, err)
	}
	if _, err := s.Post(t.Context(), Post{Text: "x"}); !IsPermanent(err) {
		t.Errorf("no channel: %v", err)
	}
	if _, _, err := s.Find(t.Context(), "C1", "", ""); !IsPermanent(err) {
		t.Errorf("no marker: %v", err)
	}
}

// Whoever is mentioned stands before the text, in which nothing can be one.
func TestMentions(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Post{
		"<@U024BE7LH> <!subteam^SAZ94GDB8> <!here> down": {Mentions: []string{"U024BE7LH", "SAZ94GDB8", "here"}, Text: "down"},
		"&lt;!channel&gt; &amp; &lt;@U1&gt;":             {Text: "<!channel> & <@U1>"},
		"<@U1&gt;&lt;!channel> x":                        {Mentions: []string{"U1><!channel"}, Text: "x"},
	} {
		if got := p.words(); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}

// TestSlackShowsPlainText: whom a message calls stands in a block of mark-up of its own; its words are shown as they are, however many.
func TestSlackShowsPlainText(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("x", 2*maxSection+1)
	for _, c := range []struct {
		post  Post
		kinds []string
	}{
		{Post{Text: "*bold* :fire: http://x.example.com"}, []string{"plain_text"}},
		{Post{Text: "down", Mentions: []string{"here"}}, []string{"mrkdwn", "plain_text"}},
		{Post{Text: many}, []string{"plain_text", "plain_text", "plain_text"}},
		{Post{Text: strings.Repeat(many, 100)}, slices.Repeat([]string{"plain_text"}, maxSections)},
		{Post{Text: "may it?", Ask: &Ask{Run: "r", Digest: "d"}}, []string{"plain_text", ""}},
	} {
		var blocks []struct {
			Text struct{ Type, Text string }
		}
		text, err := json.Marshal(c.post.blocks())
		if err = errors.Join(err, json.Unmarshal(text, &blocks)); err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, b := range blocks {
			if kinds = append(kinds, b.Text.Type); b.Text.Type == "mrkdwn" && b.Text.Text != "<!here> " {
				t.Errorf("mark-up %q", b.Text.Text)
			}
		}
		if !slices.Equal(kinds, c.kinds) {
			t.Errorf("%.40q has blocks %q, want %q", c.post.Text, kinds, c.kinds)
		}
	}
}
