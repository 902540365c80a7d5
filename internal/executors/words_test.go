package executors

import "testing"

func TestWords(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                             "",
		"  two\r\nlines\t":             "two lines",
		"a\x1b[31mred\x00":             "a [31mred",
		"hid\u202eden\u200b":           "hid den",
		"bro\xffken":                   "bro ken",
		"exactly-16-bytes":             "exactly-16-bytes",
		"seventeen-bytes-x":            "seventeen-bytes-…",
		"fifteen-bytes-ü":              "fifteen-bytes-ü",
		"fifteen--bytes-ü":             "fifteen--bytes-…",
		"long\n\n\nbut short in words": "long but short i…",
	} {
		if got := Words(in, 16); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
