package executors_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mixillo/remediator/internal/executors"
)

func TestOutsideTextIsBoundedAndMasked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"TypeError: x is not a function": "TypeError: x is not a function",
		"a\nb\r\n\tc\x1b[31md\u202ee":    "a b c [31md e",
		"\xff\xfebad":                    "bad",
		"connect mongodb+srv://app:hunter2@cluster0.example.net/db failed": "connect mongodb+srv://[secret]@cluster0.example.net/db failed",
		"Authorization: Bearer abcdef123456.x":                             "Authorization: [secret] [secret]",
		"sent Bearer abcdef123456":                                         "sent Bearer [secret]",
		`{"password":"hunter2","user":1}`:                                  `{"password":"[secret]","user":1}`,
		"api_key=hunter2&x=1":                                              "api_key=[secret]&x=1",
		"Invalid API Key provided: sk_live_51Habcdefgh":                    "Invalid API Key provided: [secret]",
		"jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc malformed":           "jwt [secret] malformed",
		"E11000 duplicate key: ann.lee+x@mail.example.com":                 "E11000 duplicate key: [address]",
		"card 4242 4242 4242 4242 declined":                                "card [number] declined",
		"timeout of 10000ms exceeded in handler@/srv/app.js:12":            "timeout of 10000ms exceeded in handler@/srv/app.js:12",
		"token expired":                    "token expired",
		strings.Repeat("é", 200):           strings.Repeat("é", 119) + "…",
		"":                                 "",
		strings.Repeat(" ", 10000) + "far": "",
	} {
		got := executors.Outside(text, 120)
		if got != want {
			t.Errorf("%.60q is told as %q, want %q", text, got, want)
		}
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > 120 {
			t.Errorf("%q is not bounded", got)
		}
	}
}

func FuzzOutside(f *testing.F) {
	f.Add("a\x00b sk_live_abcdefgh", uint8(10))
	f.Fuzz(func(t *testing.T, text string, length uint8) {
		most := int(length) + 1
		got := executors.Outside(text, most)
		if n := utf8.RuneCountInString(got); n > most || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\r\x1b\x00\u202e") {
			t.Errorf("%q is told as %q", text, got)
		}
	})
}
