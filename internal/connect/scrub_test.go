package connect

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                              "",
		"  two\r\nlines\t":              "two lines",
		"a\u2028b\u2029c\u00a0d\u0085e": "a b c d e",
		"a\x1b[31mred\x00":              "a[31mred",
		"hid\u202eden\u200b":            "hidden",
		"\u200b\u202e\n":                "",
		"bro\xff\ufffdken":              "broken",
		"pri\ue000vate\u0378":           "private",
		"exactly-16-signs":              "exactly-16-signs",
		"seventeen-signs-x":             "seventeen-signs…",
		"not-in-bytes-üüü":              "not-in-bytes-üüü",
		"no-bytes-either-ü":             "no-bytes-either…",
		"long\n\n\nbut short in words":  "long but short …",
		"password=hunter2":              "password=hunter2", // which is Scrub's
	} {
		if got := Line(in, 16); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := Line("ab", 1) + Line("", 0); got != "…" {
		t.Errorf("got %q", got)
	}
}

func TestScrub(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"plain":                  {"connect ECONNREFUSED 10.0.0.7:27017", "connect ECONNREFUSED 10.0.0.7:27017"},
		"plain words":            {"TypeError: x is not a function", "TypeError: x is not a function"},
		"nothing":                {"", ""},
		"lines":                  {"Error: boom\n    at f (app.js:1)\r\n", "Error: boom at f (app.js:1)"},
		"escape sequences":       {"\x1b[31mred\x1b[0m\x00\a", "[31mred[0m"},
		"direction and no width": {"a\u202eb\u200bc\ufeffd", "abcd"},
		"not UTF-8":              {"a\xffb", "ab"},
		"mongodb":                {`connecting to mongodb+srv://app:pa/ss@c0.x.mongodb.net/db?w=1 failed`, `connecting to mongodb+srv://[secret] failed`},
		"redis":                  {"redis://:hunter2@10.0.0.1:6379", "redis://[secret]"},
		"userinfo":               {"GET https://user:hunter2@example.com/x?y=1", "GET https://[secret]@example.com/x?y=1"},
		"userinfo with marks":    {"GET https://user:hun?t#er<2@example.com/x", "GET https://[secret]@example.com/x"},
		"userinfo with an at":    {"GET https://ann@example.com:hunter2@example.com/x", "GET https://[secret]@example.com/x"},
		"userinfo, no scheme":    {"dialing ://user:hunter2@example.com", "dialing ://[secret]@example.com"},
		"a path with an at":      {"GET https://example.com/@ann", "GET https://example.com/@ann"},
		"a file with an at":      {"timeout of 10000ms exceeded in handler@/srv/app.js:12", "timeout of 10000ms exceeded in handler@/srv/app.js:12"},
		"bearer":                 {"header Bearer abc.def-123= was refused", "header Bearer [secret] was refused"},
		"bearer after basic":     {"header basic Bearer abc.def-123= was refused", "header basic Bearer [secret] was refused"},
		"basic":                  {"header Basic aHVudGVyMg== was refused", "header Basic [secret] was refused"},
		"authorization":          {`{"authorization":"Basic aHVudGVyMg==","x":1}`, `{"authorization":"[secret]","x":1}`},
		"authorization header":   {"Authorization: Bearer abcdef123456.x", "Authorization: [secret]"},
		"cookie":                 {"cookie: sid=hunter2; other", "cookie: [secret] other"},
		"jwt":                    {"jwt eyJhbGciOiJI.eyJzdWIiOiIx.sig_na-ture expired", "jwt [secret] expired"},
		"jwt, half":              {"jwt eyJhbGciOiJIUzI1 expired", "jwt [secret] expired"},
		"stripe":                 {"Invalid API Key provided: sk_live_51HunterHunter", "Invalid API Key provided: [secret]"},
		"stripe, short":          {"sk-hunter and whsec_hunter", "[secret] and [secret]"},
		"slack":                  {"xoxb-123456789-abc", "[secret]"},
		"npm":                    {"npm_hunterhunter.", "[secret]"},
		"password":               {`login failed, password=hunter2, user=7`, `login failed, password=[secret], user=7`},
		"password with brackets": {`login failed, password=]hun)ter}2, user=7`, `login failed, password=[secret], user=7`},
		"password in brackets":   {`login failed (password=hunter2)`, `login failed (password=[secret]`},
		"password in JSON":       {`{"userPassword": "hunter2 and more", "n": 1}`, `{"userPassword": [secret], "n": 1}`},
		"password not closed":    {`password: "hunter2 and`, `password: [secret]`},
		"key in a query":         {"/x?api_key=hunter2&page=2", "/x?api_key=[secret]&page=2"},
		"token that is none":     {"TokenExpiredError: jwt expired", "TokenExpiredError: jwt expired"},
		"token twice hidden":     {"token=sk_live_51HunterHunter.", "token=[secret]"},
		"e-mail":                 {"user ann.lee+x@example.co.uk not found", "user [email] not found"},
		"PEM":                    {"key -----BEGIN RSA PRIVATE KEY-----\nMIIhunter2\nx", "key [secret]"},
		"long and opaque":        {"id " + strings.Repeat("a1B2", 12) + " end", "id [secret] end"},
		"digest of an image":     {"mixillo-backend-00002-bbb is ready", "mixillo-backend-00002-bbb is ready"},
		"card":                   {"card 4242 4242 4242 4242 declined", "card [number] declined"},
		"time":                   {"at 2026-10-11 12:30:00.123 in 1234567890 ms", "at 2026-10-11 12:30:00.123 in 1234567890 ms"},

		"an unseen sign in a name":       {"pass\u200bword=hunter2", "[secret]"},
		"an unseen sign in a secret":     {"password=hun\u200bter2", "password=[secret]"},
		"an unseen sign in a token":      {"sk_live_51\x00Hunter\u00adHunter", "[secret]"},
		"an unseen sign before a token":  {"key\u200bsk_live_51HunterHunter of ann", "[secret] of ann"},
		"an unseen sign before a number": {"n\x1f4242424242424242", "[secret]"},
		"an unseen sign elsewhere":       {"\ufeffa\u200db password=hunter2", "ab password=[secret]"},
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
	if got := Scrub(strings.Repeat(" ", scrubbed)+"far", 100); got != "" {
		t.Errorf("got %q", got)
	}
	// The part of a secret that a cut would leave is not shown: neither by the bound of what is looked at nor by the limit.
	for _, space := range []string{" ", "\n"} {
		for _, lead := range []int{0, 150, 190, 199, scrubbed - 20, scrubbed - 30} {
			text := strings.Repeat("x"+space, lead/2) + "mongodb://app:hunter2hunter2@host/db" + space + strings.Repeat("y"+space, scrubbed)
			if got := Scrub(text, scrubbed); strings.Contains(got, "hunter") || lead > 0 && !strings.HasPrefix(got, "x x") {
				t.Errorf("after %d bytes: %.60q", lead, got)
			}
			if got := Scrub(text, 200); strings.Contains(got, "hunter") || utf8.RuneCountInString(got) > 200 {
				t.Errorf("after %d bytes: %q", lead, got)
			}
		}
	}
}

// harmful says what of a cleaned text is not harmless beside our own words.
func harmful(got string, most int) string {
	switch {
	case !utf8.ValidString(got):
		return "no UTF-8"
	case utf8.RuneCountInString(got) > most:
		return "too long"
	case strings.ContainsFunc(got, func(r rune) bool {
		return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar
	}):
		return "not seen"
	case strings.ContainsFunc(got, func(r rune) bool { return unicode.IsSpace(r) && r != ' ' }) || strings.Contains(got, "  ") || strings.HasPrefix(got, " "):
		return "white space"
	}
	return ""
}

func FuzzLine(f *testing.F) {
	f.Add("a\x00b \u202e\u2028\xff", uint8(10))
	f.Fuzz(func(t *testing.T, text string, length uint8) {
		most := int(length) + 1
		got := Line(text, most)
		if why := harmful(got, most); why != "" || Line(got, most) != got {
			t.Errorf("%q became %q: %s", text, got, why)
		}
		if all := Line(text, len(text)+1); all != "" && !slices.Equal(strings.Fields(all), strings.Split(all, " ")) {
			t.Errorf("%q became %q", text, all)
		}
	})
}

func FuzzScrub(f *testing.F) {
	f.Add("password=hunter2 \x00 mongodb://a:b@c", "\u200b x", uint8(100))
	f.Add("a\x00b sk_live_abcdefgh", "", uint8(10))
	f.Fuzz(func(t *testing.T, before, after string, length uint8) {
		most := int(length) + 1
		const planted = "HunterHunter"
		if strings.Contains(before+after, planted) {
			return
		}
		for _, text := range []string{before, before + " sk_live_51" + planted + after, before + "\u200bsk_live_51" + planted + " " + after} {
			got := Scrub(text, most)
			if why := harmful(got, most); why != "" {
				t.Errorf("%q became %q: %s", text, got, why)
			}
			if all := Scrub(text, len(text)+100); strings.Contains(all, planted) {
				t.Errorf("%q is shown as %q", text, all)
			}
		}
	})
}
