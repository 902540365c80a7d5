package connect

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScrub(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"plain":                  {"connect ECONNREFUSED 10.0.0.7:27017", "connect ECONNREFUSED 10.0.0.7:27017"},
		"lines":                  {"Error: boom\n    at f (app.js:1)\r\n", "Error: boom at f (app.js:1)"},
		"escape sequences":       {"\x1b[31mred\x1b[0m\x00\a", "[31mred [0m"},
		"direction and no width": {"a\u202eb\u200bc\ufeffd", "abcd"},
		"not UTF-8":              {"a\xffb", "ab"},
		"mongodb":                {`connecting to mongodb+srv://app:pa/ss@c0.x.mongodb.net/db?w=1 failed`, `connecting to mongodb+srv://[secret] failed`},
		"redis":                  {"redis://:hunter2@10.0.0.1:6379", "redis://[secret]"},
		"userinfo":               {"GET https://user:hunter2@example.com/x?y=1", "GET https://[secret]@example.com/x?y=1"},
		"a path with an at":      {"GET https://example.com/@ann", "GET https://example.com/@ann"},
		"bearer":                 {"header Bearer abc.def-123= was refused", "header Bearer [secret] was refused"},
		"authorization":          {`{"authorization":"Basic aHVudGVyMg==","x":1}`, `{"authorization":"[secret]","x":1}`},
		"cookie":                 {"cookie: sid=hunter2; other", "cookie: [secret] other"},
		"jwt":                    {"jwt eyJhbGciOiJI.eyJzdWIiOiIx.sig_na-ture expired", "jwt [secret] expired"},
		"stripe":                 {"Invalid API Key provided: sk_live_51HunterHunter", "Invalid API Key provided: [secret]"},
		"slack":                  {"xoxb-123456789-abc", "[secret]"},
		"password":               {`login failed, password=hunter2, user=7`, `login failed, password=[secret], user=7`},
		"password in JSON":       {`{"userPassword": "hunter2 and more", "n": 1}`, `{"userPassword": [secret], "n": 1}`},
		"password not closed":    {`password: "hunter2 and`, `password: [secret]`},
		"key in a query":         {"/x?api_key=hunter2&page=2", "/x?api_key=[secret]&page=2"},
		"token that is none":     {"TokenExpiredError: jwt expired", "TokenExpiredError: jwt expired"},
		"token twice hidden":     {"token=sk_live_51HunterHunter.", "token=[secret]"},
		"e-mail":                 {"user ann.lee+x@example.co.uk not found", "user [email] not found"},
		"PEM":                    {"key -----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\nx", "key [secret]"},
		"long and opaque":        {"id " + strings.Repeat("a1B2", 12) + " end", "id [secret] end"},
		"digest of an image":     {"mixillo-backend-00002-bbb is ready", "mixillo-backend-00002-bbb is ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Scrub(tc.in, 200); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestScrubBounds(t *testing.T) {
	t.Parallel()
	if got := Scrub(strings.Repeat("é ", 300), 10); utf8.RuneCountInString(got) != 10 || !strings.HasSuffix(got, "…") {
		t.Errorf("got %q", got)
	}
	// The part of a secret that a cut would leave is not shown: neither by the bound of what is looked at nor by the limit.
	for _, lead := range []int{0, 150, 190, 199, scrubbed - 20, scrubbed - 30} {
		text := strings.Repeat("x ", lead/2) + "mongodb://app:hunter2hunter2@host/db " + strings.Repeat("y ", scrubbed)
		if got := Scrub(text, scrubbed); strings.Contains(got, "hunter") {
			t.Errorf("after %d bytes the secret is shown", lead)
		}
		if got := Scrub(text, 200); strings.Contains(got, "hunter") || utf8.RuneCountInString(got) > 200 {
			t.Errorf("after %d bytes: %q", lead, got)
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("password=hunter2 \x00 mongodb://a:b@c")
	f.Fuzz(func(t *testing.T, text string) {
		got := Scrub(text, 100)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 100 || strings.ContainsAny(got, "\n\r\t\x00\x1b\u202e") {
			t.Errorf("%q became %q", text, got)
		}
	})
}
