package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// clicked is a Slack whose clicks the secret signs.
func clicked(f *testing.F) *Slack {
	f.Helper()
	f.Setenv("FUZZ_CLICK_SECRET", clickSecret)
	s, err := NewSlack(SlackConfig{Token: Secret{Env: "T"}, Channel: "#x", SigningSecret: []Secret{{Env: "FUZZ_CLICK_SECRET"}}})
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// A signed request is a click of one person on one of our buttons, all of whose words are bounded, or an error in one line.
func FuzzClick(f *testing.F) {
	f.Add(payload(ButtonApprove, "run-1 "+digestOfPlan, "U024BE7LH"), ButtonDeny, "run-1 "+digestOfPlan, "U024BE7LH", "1795705923.705055", uint8(0))
	f.Add(started("start:restart-it", "restart-it api run-1", "1795705923.705055"), "start:restart-it", "restart-it api run-1", "W1234", "1795705923.705055", uint8(1))
	f.Add(`{"type":"block_actions","user":{"id":"U024BE7LH"},"actions":[null]}`, "", "", "", "", uint8(0))
	f.Add(`{"type":"block_actions","actions":[{"type":"button"},{}],"message":{"blocks":[{"type":"?"}]}}`, "\xff", "\n", "U1", "9999999999.999999", uint8(2))
	s := clicked(f)
	f.Fuzz(func(t *testing.T, text, id, value, user, ts string, form uint8) {
		switch form % 3 {
		case 1:
			text = started(id, value, ts)
		case 2:
			text = payload(id, value, user)
		}
		header, body := click(clickSecret, clickedAt, text)
		got, err := s.Click(header, body, clickedAt)
		if err == nil {
			checkClick(t, text, got)
		} else if said := err.Error(); errors.Is(err, ErrUnsigned) || len(said) > 300 || strings.ContainsAny(said, "\r\n") {
			t.Fatalf("%q: %q", text, said)
		}
	})
}

func checkClick(t *testing.T, text string, got Click) {
	t.Helper()
	var sent struct {
		Type    string
		User    struct{ ID string }
		Actions []struct {
			ActionID string `json:"action_id"`
			Value    string
		}
	}
	if err := json.Unmarshal([]byte(text), &sent); err != nil || len(sent.Actions) != 1 || sent.Type != "block_actions" || sent.User.ID != got.User {
		t.Fatalf("%q is taken for %+v", text, got)
	}
	words, button := strings.Split(sent.Actions[0].Value, " "), sent.Actions[0].ActionID
	answer := len(words) == 2 && words[0] == got.Run && words[1] == got.Digest && len(got.Digest) == 64 &&
		(got.Approve && button == "approve" || !got.Approve && button == "deny") && got.Start == Start{}
	start := len(words) == 3 && got.Start == Start{Rule: words[0], Target: words[1], Run: words[2]} && button == "start:"+words[0] && !got.Approve
	if !answer && !start {
		t.Fatalf("%q is taken for %+v", text, got)
	}
	for _, word := range []string{got.Run, got.Digest, got.Start.Rule, got.Start.Target, got.Start.Run, got.User, got.Channel} {
		if len(word) > 64 || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q of a click is no plain word", word)
		}
	}
}

// Only the one signature over exactly this time and body is taken, and only for five minutes.
func FuzzClickSignature(f *testing.F) {
	now := strconv.FormatInt(clickedAt.Unix(), 10)
	f.Add(now, "v0="+strings.Repeat("ab", 32), []byte("payload=%7B%7D"))
	f.Add("+"+now, "v0=", []byte{})
	f.Add("-9223372036854775808", "V0=", []byte("x"))
	f.Add(" "+now, "v0=é", []byte("&"))
	s := clicked(f)
	f.Fuzz(func(t *testing.T, stamp, given string, body []byte) {
		right := signClick(clickSecret, stamp, body)
		seconds, err := strconv.ParseInt(stamp, 10, 64)
		fresh := err == nil && seconds >= clickedAt.Unix()-300 && seconds <= clickedAt.Unix()+300
		for _, one := range []string{given, right, strings.ToUpper(right), right + given, right[3:], "v0=" + given} {
			h := http.Header{"X-Slack-Request-Timestamp": {stamp}, "X-Slack-Signature": {one}}
			if err := s.signed(h, body, clickedAt); (err == nil) != (fresh && one == right) || err != nil && !errors.Is(err, ErrUnsigned) {
				t.Fatalf("time %q, signature %q: %v", stamp, one, err)
			}
		}
	})
}

// nowhere resolves no name.
type nowhere struct{}

func (nowhere) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}
func (nowhere) LookupTXT(context.Context, string) ([]string, error) { return nil, nil }

// No part of a password is shown, whatever is written around it: not by an error and not as a host that is dialled.
func FuzzMongoURI(f *testing.F) {
	f.Add("", "", "cluster.example.mongodb.net/db?tls=true")
	f.Add("pa?ss", "#", "h1,h2:27018/?replicaSet=rs")
	f.Add("", "?x", "h/")
	f.Add("a/b", "@", "h")
	f.Add("%zz", ":", "[::1]:27017/x?tlsInsecure=true")
	f.Add("x&tls=false&", "=", "h?authMechanism=PLAIN")
	const planted = "hunterhunter"
	m := &Mongo{cfg: MongoConfig{Insecure: true}, resolver: nowhere{}}
	f.Fuzz(func(t *testing.T, before, after, rest string) {
		if strings.Contains(before+after+rest, planted) {
			return
		}
		for _, scheme := range []string{"mongodb://", "mongodb+srv://"} {
			text := scheme + "user:" + before + planted + after + "@" + rest
			place, err := m.settle(t.Context(), Value(text))
			if err != nil && strings.Contains(redact(err, place.Secrets...).Error(), planted) {
				t.Fatalf("%q: %v", text, err)
			}
			if strings.Contains(strings.ToLower(strings.Join(place.Hosts, " ")), planted) {
				t.Fatalf("%q: the hosts are %q", text, place.Hosts)
			}
			if printed := fmt.Sprintf("%v %+v %#v", place, place, place); strings.Contains(printed, planted) {
				t.Fatalf("%q is printed as %s", text, printed)
			}
		}
	})
}

var authority = regexp.MustCompile(`^(https?)://(?:[^/?#]*@)?([^/?#@]*)(?:[/?#]|$)`)

// What is allowed really has the allowed host, by net/url's reading and by a plain one, and no metadata address is ever.
func FuzzHost(f *testing.F) {
	for _, raw := range []string{
		"https://api.example.com/x", "https://API.example.com.:443", "https://api.example.com@evil.example/", "https://evil.example#@api.example.com",
		"https://example.org:8443?x", "https://example.org:443", "http://169.254.169.254", "https://[::ffff:169.254.169.254]", "https://metadata.google.internal.:80/",
		"https://api.example.com\\@evil.example", "https:api.example.com", "//api.example.com", "https://[fe80::1%25eth0]", "https://ａpi.example.com",
	} {
		f.Add(raw)
	}
	list := newHostList([]string{"api.example.com", "example.org:8443", "169.254.169.254", "[fd00:ec2::254]"})
	guarded := &guardedTransport{hosts: list}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		address, err := netip.ParseAddr(host)
		metadata := err == nil && (address.Unmap().IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast()) || host == "metadata.google.internal"
		if metadata && CheckHost(u) == nil {
			t.Fatalf("%q is a metadata address", raw)
		}
		if guarded.judge(&http.Request{URL: u}) != nil {
			return
		}
		parts := authority.FindStringSubmatch(strings.ToLower(raw[:len("https")]) + raw[len("https"):])
		if parts == nil || parts[1] != "https" {
			t.Fatalf("%q is allowed", raw)
		}
		plain := strings.ToLower(parts[2])
		name, port, _ := strings.Cut(plain, ":")
		name = strings.TrimSuffix(name, ".")
		if name != host || name != "api.example.com" && (name != "example.org" || port != "8443") {
			t.Fatalf("%q is allowed: its host is %q", raw, plain)
		}
	})
}

// answering is a transport that gives the same answer to everything.
type answering struct {
	status int
	header http.Header
	body   []byte
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Status: strconv.Itoa(a.status), Header: a.header, Request: r, Body: io.NopCloser(strings.NewReader(string(a.body))),
	}, nil
}

// What an API says beside its refusal is told in one line of bounded length, without our secrets; only a plain refusal proves that nothing was done.
func FuzzRefusal(f *testing.F) {
	f.Add([]byte(`{"error":{"code":2001,"message":"bad TOKEN","errors":["a\nb","PARTED"]}}`), uint16(200), "30", uint8(0))
	f.Add([]byte(`{"status":"invalid event","message":"\u202e\u001b[31m","errors":["x","PARTED"]}`), uint16(229), "Wed, 21 Oct 2099 07:28:00 GMT", uint8(1))
	f.Add([]byte(`{"error":"TOKEN"}`+strings.Repeat("y", 5000)), uint16(300), "-1", uint8(3))
	f.Add([]byte(`{"incident":null,"notes":[null]}`), uint16(0), "99999999999999999999", uint8(2))
	const token = "a-token-of-pagerduty"
	f.Setenv("FUZZ_PAGERDUTY_TOKEN", token)
	secret := Secret{Env: "FUZZ_PAGERDUTY_TOKEN"}
	p, err := NewPagerDuty(PagerDutyConfig{Token: secret, RoutingKey: secret})
	if err != nil {
		f.Fatal(err)
	}
	rest, err := NewREST(RESTConfig{System: "x", Endpoint: "https://x.example", Authorize: Bearer(secret)})
	if err != nil {
		f.Fatal(err)
	}
	said := &answering{}
	client := &http.Client{Transport: said, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	p.client, rest.client, rest.still = client, client, client
	echoed := strings.NewReplacer("TOKEN", token, "PARTED", token[:4]+"\u200b"+token[4:])
	var out struct{ A, B string }
	calls := []func(context.Context) error{
		func(ctx context.Context) error { return p.Note(ctx, "P1", "x") },
		func(ctx context.Context) error { return p.Trigger(ctx, Event{DedupKey: "k", Summary: "s"}) },
		func(ctx context.Context) error { _, _, err := p.FindOpen(ctx, "key"); return err },
		func(ctx context.Context) error {
			return rest.Do(ctx, Request{Doing: "changing x", Method: http.MethodPost, Path: "/x", Mutates: true}, &out)
		},
	}
	f.Fuzz(func(t *testing.T, body []byte, status uint16, wait string, n uint8) {
		said.status, said.body = 200+int(status)%400, []byte(echoed.Replace(string(body)))
		said.header = http.Header{"Retry-After": {wait}, "Ratelimit-Reset": {wait}}
		checkRefusal(t, calls[int(n)%len(calls)](t.Context()), said.status, token)
	})
}

func checkRefusal(t *testing.T, err error, status int, token string) {
	t.Helper()
	if err == nil {
		return
	}
	text := err.Error()
	if len([]rune(text)) > faultMost+200 || Line(text, len(text)) != text || strings.Contains(text, token) {
		t.Fatalf("%d: %q", status, text)
	}
	var limited *RateLimited
	if errors.As(err, &limited) != (status == http.StatusTooManyRequests) || limited != nil && (limited.RetryAfter < minRetryAfter || limited.RetryAfter > maxRetryAfter) {
		t.Fatalf("%d: %v", status, err)
	}
	if refused := status >= 400 && status < 500 && status != http.StatusRequestTimeout; refused && IsAmbiguous(err) {
		t.Fatalf("%d is ambiguous: %v", status, err)
	}
}

// The time that a system asks to be left alone for is between a second and an hour, whatever it says.
func FuzzRetryAfter(f *testing.F) {
	f.Add("30", "Ratelimit-Reset")
	f.Add("Wed, 21 Oct 2026 07:28:00 GMT", "Retry-After")
	f.Add("9223372036854775807", "X-Sentry-Rate-Limit-Reset")
	f.Fuzz(func(t *testing.T, value, name string) {
		h := http.Header{}
		h.Set(name, value)
		h.Set("Retry-After", value)
		if d := retryAfter(h, clickedAt); d < time.Second || d > time.Hour {
			t.Fatalf("%s: %q is %s", name, value, d)
		}
	})
}
