package sources

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mixillo/remediator/internal/connect"
)

// What decodeStrict accepts is exactly what a reader of our own makes of JSON's grammar, without a key given twice and not too deep.
func FuzzStrictJSON(f *testing.F) {
	for _, text := range []string{
		`{"a":1,"b":[true,null,"\u00e9\ud83d\ude00\ud800"],"c":{"a":-0.5e3}}`, `{"a":1,"\u0061":2}`, `{"version":"4","alerts":[{"status":"x","Status":"y"}]}`,
		` [1e999]`, `{"status":1}`, `"\x"`, `01`, "\"\x01\"", strings.Repeat("[", 33) + strings.Repeat("]", 33), `{} {}`, `{"ſtatus":""}`, "",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		own := plainJSON{text: string(body)}
		want, valid := own.whole()
		var got any
		err := decodeStrict(body, &got)
		if valid != (err == nil) {
			t.Fatalf("%q: a plain reader takes it: %t; decodeStrict: %v", body, valid, err)
		}
		if valid && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q is read as %v, not %v", body, got, want)
		}
		var group alertmanagerBody
		if decodeStrict(body, &group) != nil {
			return
		}
		if !valid {
			t.Fatalf("%q is taken for a group only", body)
		}
		top, _ := want.(map[string]any)
		wrongCase(t, top, "version", "groupKey", "status", "truncatedAlerts", "alerts")
		if version, _ := top["version"].(string); version != group.Version {
			t.Fatalf("%q: the version is read as %q", body, group.Version)
		}
		alerts, _ := top["alerts"].([]any)
		for i, one := range alerts {
			fields, _ := one.(map[string]any)
			wrongCase(t, fields, "status", "labels", "annotations", "startsAt", "endsAt", "generatorURL")
			if status, _ := fields["status"].(string); status != string(group.Alerts[i].Status) {
				t.Fatalf("%q: a status is read as %q", body, group.Alerts[i].Status)
			}
		}
	})
}

func wrongCase(t *testing.T, object map[string]any, known ...string) {
	t.Helper()
	for key := range object {
		for _, name := range known {
			if key != name && strings.EqualFold(key, name) {
				t.Fatalf("%q was taken beside or for %q", key, name)
			}
		}
	}
}

// Labels are what the expression says of the details, or there are none; no details make up others.
func FuzzLabelsExpression(f *testing.F) {
	f.Add([]byte(`{"service":"api","num_firing":1,"firing":[{"labels":{"a":"b"}}]}`), "down")
	f.Add([]byte(`{"service":7,"firing":"Labels:\n - a = b\nAnnotations:\nSource: x\n","num_firing":"1"}`), "\x00")
	f.Add([]byte(`{"service":"","a":{"b":[null]}}`), "")
	compiled := func(text string) *labelMapping {
		m, err := compileMapping(text)
		if err != nil {
			f.Fatal(err)
		}
		return m
	}
	plain := compiled(`{"alertname": alert.summary, "service": details.service}`)
	listed := compiled(`alertmanager_labels(details.firing, details.num_firing)`)
	each := compiled(`details.map(k, {"name": k, "value": string(details[k])})`)
	f.Fuzz(func(t *testing.T, text []byte, summary string) {
		var details map[string]any
		if json.Unmarshal(text, &details) != nil {
			return
		}
		in := mappingInput{alert: mappedAlert{Summary: summary}, details: details}
		sets, err := plain.labels(t.Context(), in)
		service, isText := details["service"].(string)
		if want := withoutEmpty(map[string]string{"alertname": summary, "service": service}); isText != (err == nil) ||
			isText && !reflect.DeepEqual(sets, []map[string]string{want}) {
			t.Fatalf("%v, %v; want %v", sets, err, want)
		}
		sets, err = listed.labels(t.Context(), in)
		want, wrong := alertmanagerLabels(details["firing"], details["num_firing"])
		_, hasList := details["firing"]
		_, hasCount := details["num_firing"]
		if legal := wrong == nil && hasList && hasCount; legal != (err == nil) || legal && len(sets) != len(want) {
			t.Fatalf("%v, %v; want %v, %v", sets, err, want, wrong)
		}
		sets, err = each.labels(t.Context(), in)
		if err == nil && len(sets) != len(details) {
			t.Fatalf("%d sets for %d details", len(sets), len(details))
		}
		for _, set := range sets {
			if _, there := details[set["name"]]; err == nil && !there {
				t.Fatalf("%q was made up", set["name"])
			}
		}
	})
}

func withoutEmpty(set map[string]string) map[string]string {
	for name, value := range set {
		if value == "" {
			delete(set, name)
		}
	}
	return set
}

// One header that says exactly the token, or the user and the password, proves a sender; the refusal tells no secret.
func FuzzAuthorization(f *testing.F) {
	const user = "am"
	good := "Bearer " + testKey
	basic := basicAuthorization(user, testPassword).Get("Authorization")
	for _, header := range []string{good, basic, "bearer  " + testKey, "Bearer\t" + testKey, good + "\u00a0", "Baſic " + basic[6:], basic + "=", "Basic", ""} {
		f.Add(header, "", uint8(1))
		f.Add(header, good, uint8(2))
	}
	f.Setenv("FUZZ_BEARER", testKey)
	f.Setenv("FUZZ_PASSWORD", testPassword)
	a := &Alertmanager{BearerToken: []connect.Secret{{Env: "FUZZ_BEARER"}}, BasicAuth: BasicAuth{Username: user, Password: connect.Secret{Env: "FUZZ_PASSWORD"}}}
	f.Fuzz(func(t *testing.T, first, second string, count uint8) {
		headers := []string{first, second}[:count%3]
		err := a.Authenticate(Request{Header: http.Header{"Authorization": headers}})
		if want := len(headers) == 1 && proves(first, user); want != (err == nil) {
			t.Fatalf("%q: %v", headers, err)
		}
		if err != nil && (!errors.Is(err, ErrUnauthenticated) || strings.Contains(err.Error(), testKey) || strings.Contains(err.Error(), testPassword)) {
			t.Fatalf("%q: %v", headers, err)
		}
	})
}

func proves(header, user string) bool {
	scheme, rest, _ := strings.Cut(header, " ")
	switch strings.Map(small, scheme) {
	case "bearer":
		return rest == testKey
	case "basic":
		text, err := base64.StdEncoding.DecodeString(rest)
		return err == nil && string(text) == user+":"+testPassword
	default:
		return false
	}
}

func small(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

// whole reads one value and nothing else.
func (p *plainJSON) whole() (any, bool) {
	if !utf8.ValidString(p.text) {
		return nil, false
	}
	v, ok := p.value(0)
	p.space()
	return v, ok && p.at == len(p.text)
}
