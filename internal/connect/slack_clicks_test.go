package connect

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

var clickedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// click is a signed request of Slack's.
func click(secret string, at time.Time, payload string) (http.Header, []byte) {
	body := []byte(url.Values{"payload": {payload}}.Encode())
	stamp := fmt.Sprint(at.Unix())
	h := http.Header{}
	h.Set("X-Slack-Request-Timestamp", stamp)
	h.Set("X-Slack-Signature", signClick(secret, stamp, body))
	return h, body
}

func signClick(secret, stamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v0:" + stamp + ":" + string(body)))
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// payload is a click as Slack sends it; the parts are the action's id, its value, and who clicked.
func payload(id, value, user string) string {
	return fmt.Sprintf(`{"type":"block_actions","user":{"id":%q},"channel":{"id":"C1"},"actions":[{"type":"button","block_id":"b","action_id":%q,"value":%q}]}`,
		user, id, value)
}

func clickable(t *testing.T, secrets ...string) *Slack {
	t.Helper()
	c := SlackConfig{Token: Secret{Env: "T"}, Channel: "#x"}
	for i, s := range secrets {
		name := fmt.Sprintf("CLICK_SECRET_%s_%d", strings.ToUpper(strings.ReplaceAll(t.Name(), "/", "_")), i)
		t.Setenv(name, s)
		c.SigningSecret = append(c.SigningSecret, Secret{Env: name})
	}
	s, err := NewSlack(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const clickSecret = "8f742231b10e8888abcd99yyyzzz85a5"

var digestOfPlan = strings.Repeat("ab", 32)

func TestClick(t *testing.T) {
	s := clickable(t, "the new secret, of a rotation", clickSecret)
	header, body := click(clickSecret, clickedAt.Add(-4*time.Minute), payload(ButtonApprove, "run-1 "+digestOfPlan, "U024BE7LH"))
	got, err := s.Click(header, body, clickedAt)
	want := Click{Approve: true, Run: "run-1", Digest: digestOfPlan, User: "U024BE7LH", Channel: "C1"}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestUnsignedClick: nothing of a request is believed that Slack has not signed just now.
func TestUnsignedClick(t *testing.T) {
	s := clickable(t, clickSecret)
	good := payload(ButtonApprove, "run-1 "+digestOfPlan, "U024BE7LH")
	for name, spoil := range map[string]func(http.Header, []byte) (http.Header, []byte){
		"another secret": func(http.Header, []byte) (http.Header, []byte) { return click("another", clickedAt, good) },
		"an empty one":   func(http.Header, []byte) (http.Header, []byte) { return click("", clickedAt, good) },
		"too old": func(http.Header, []byte) (http.Header, []byte) {
			return click(clickSecret, clickedAt.Add(-5*time.Minute-time.Second), good)
		},
		"of the future": func(http.Header, []byte) (http.Header, []byte) {
			return click(clickSecret, clickedAt.Add(6*time.Minute), good)
		},
		"another body": func(h http.Header, b []byte) (http.Header, []byte) { return h, append(b, '&') },
		"another time": func(h http.Header, b []byte) (http.Header, []byte) {
			h.Set("X-Slack-Request-Timestamp", fmt.Sprint(clickedAt.Unix()+1))
			return h, b
		},
		"no time":      func(h http.Header, b []byte) (http.Header, []byte) { h.Del("X-Slack-Request-Timestamp"); return h, b },
		"no signature": func(h http.Header, b []byte) (http.Header, []byte) { h.Del("X-Slack-Signature"); return h, b },
		"no version": func(h http.Header, b []byte) (http.Header, []byte) {
			h.Set("X-Slack-Signature", strings.TrimPrefix(h.Get("X-Slack-Signature"), "v0="))
			return h, b
		},
		"cut short": func(h http.Header, b []byte) (http.Header, []byte) {
			h.Set("X-Slack-Signature", h.Get("X-Slack-Signature")[:40])
			return h, b
		},
	} {
		header, body := spoil(click(clickSecret, clickedAt, good))
		if _, err := s.Click(header, body, clickedAt); !errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
	none := clickable(t)
	header, body := click("", clickedAt, good)
	if _, err := none.Click(header, body, clickedAt); !errors.Is(err, ErrUnsigned) || none.Clickable() {
		t.Errorf("without a secret: %v", err)
	}
}

// TestStrangeClicks: signed or not, only a click of one person on one of our buttons counts.
func TestStrangeClicks(t *testing.T) {
	s := clickable(t, clickSecret)
	for _, text := range []string{
		"", "{}", "[]", `{"type":"block_actions"}`,
		payload("other", "run-1 "+digestOfPlan, "U024BE7LH"), payload(ButtonApprove, "run-1", "U024BE7LH"),
		payload(ButtonApprove, "run-1 abc", "U024BE7LH"), payload(ButtonApprove, "../x "+digestOfPlan, "U024BE7LH"),
		payload(ButtonApprove, "run-1 "+digestOfPlan, "ann"), payload(ButtonApprove, "run-1 "+digestOfPlan, ""),
		strings.Replace(payload(ButtonApprove, "run-1 "+digestOfPlan, "U024BE7LH"), "block_actions", "view_submission", 1),
	} {
		header, body := click(clickSecret, clickedAt, text)
		if got, err := s.Click(header, body, clickedAt); err == nil || errors.Is(err, ErrUnsigned) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// started is a click on a button that starts a rule, under a message of this time.
func started(id, value, ts string) string {
	return strings.TrimSuffix(payload(id, value, "U024BE7LH"), "}") + fmt.Sprintf(`,"message":{"ts":%q}}`, ts)
}

func TestClickThatStarts(t *testing.T) {
	s := clickable(t, clickSecret)
	header, body := click(clickSecret, clickedAt, started("start:restart-it", "restart-it api run-1", "1795705923.705055"))
	got, err := s.Click(header, body, clickedAt)
	want := Click{
		Start: Start{Rule: "restart-it", Target: "api", Run: "run-1"}, Posted: time.Unix(1795705923, 705055000), User: "U024BE7LH", Channel: "C1",
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for name, payload := range map[string]string{
		"another rule":    started("start:restart-it", "flush-it api run-1", "1795705923.705055"),
		"no target":       started("start:restart-it", "restart-it run-1", "1795705923.705055"),
		"no rule":         started("start:", " api run-1", "1795705923.705055"),
		"a path":          started("start:../x", "../x api run-1", "1795705923.705055"),
		"no time":         started("start:restart-it", "restart-it api run-1", ""),
		"another time":    started("start:restart-it", "restart-it api run-1", "yesterday"),
		"another message": started("begin:restart-it", "restart-it api run-1", "1795705923.705055"),
	} {
		header, body := click(clickSecret, clickedAt, payload)
		if got, err := s.Click(header, body, clickedAt); err == nil {
			t.Errorf("%s: taken as %+v", name, got)
		}
	}
	header, body = click("another", clickedAt, started("start:restart-it", "restart-it api run-1", "1795705923.705055"))
	if _, err := s.Click(header, body, clickedAt); !errors.Is(err, ErrUnsigned) {
		t.Errorf("of somebody else: %v", err)
	}
}
