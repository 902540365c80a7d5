package sentry

import (
	"strings"
	"testing"
)

func TestReleaseName(t *testing.T) {
	t.Parallel()
	commit := strings.Repeat("0123456789abcdef", 3)[:40]
	for in, want := range map[string]string{
		"backend@7":              "backend@7",
		"mixillo-back.end@1.2.3": "mixillo-back.end@1.2.3",
		"backend@1.2.3-rc4":      "backend@1.2.3-rc4",
		"1.2.3":                  "1.2.3",
		commit:                   commit,
		"backend@" + commit:      "backend@" + commit,
		// What is no version is no more than a text from outside.
		"ann@example.com":                    "[email]",
		"ann@10.0.0.7.example.com":           "[email]",
		"sk_live_51HunterHunter@1.2.3":       "[secret]@1.2.3",
		"https://ann:hunter2@10.0.0.7":       "https://[secret]@10.0.0.7",
		"token=hunter2@1":                    "token=[secret]",
		"backend@4242424242424242":           "backend@[number]",
		"backend@1-4242424242424242":         "backend@[number]",
		commit + "ff":                        "[secret]",
		"deploy\nof\u202e 1.2.3":             "deploy of 1.2.3",
		strings.Repeat("a ", 200) + "@1.2.3": strings.Repeat("a ", 59) + "a…",
	} {
		if got := releaseName(in); got != want {
			t.Errorf("%q is named %q, want %q", in, got, want)
		}
	}
}
