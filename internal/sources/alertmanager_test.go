package sources

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	fixtures["alertmanager"] = fixture{
		configure: func(s Source, secret connect.Secret) { s.(*Alertmanager).BearerToken = []connect.Secret{secret} },
		sign: func(content string, body []byte) Request {
			return Request{Header: authorized("Bearer " + content), Body: body}
		},
		bodies: []string{alertmanagerGroup(`{"alertname":"X","service":"api"}`), alertmanagerGroup(`{"Env":"a","env":"b"}`)},
		ask: func(_ *testing.T, s Source, endpoint string, secret connect.Secret) (connect.Set, alert.Alert) {
			am, _ := s.(*Alertmanager)
			am.URL, am.APIToken, am.Insecure = endpoint, secret, true
			return nil, alert.Alert{Labels: map[string]string{"alertname": "X"}}
		},
	}
}

func authorized(values ...string) http.Header { return http.Header{"Authorization": values} }

func basicAuthorization(user, password string) http.Header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header
}

func alertmanagerGroup(labels string) string {
	return fmt.Sprintf(`{"version":"4","groupKey":"{}:{}","status":"firing","alerts":[{"status":"firing","labels":%s,`+
		`"annotations":{},"startsAt":"2026-11-23T02:42:55Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prom/graph"}]}`, labels)
}

func TestAlertmanagerGolden(t *testing.T) {
	t.Parallel()
	for _, name := range captured(t, "alertmanager") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := (&Alertmanager{name: "am"}).Parse(readTestdata(t, name), received)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, d)
		})
	}
}

// The fingerprint that Alertmanager sends is the one that the episode is made of.
func TestAlertmanagerFingerprints(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, name := range captured(t, "alertmanager") {
		body := readTestdata(t, name)
		var sent struct {
			Alerts []struct{ Fingerprint string }
		}
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatal(err)
		}
		d, err := (&Alertmanager{}).Parse(body, received)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range d.Alerts {
			if !strings.HasPrefix(a.Episode, sent.Alerts[i].Fingerprint+"@") {
				t.Errorf("%s: episode %s, but Alertmanager's fingerprint is %s", name, a.Episode, sent.Alerts[i].Fingerprint)
			}
			compared++
		}
	}
	if compared < 10 {
		t.Errorf("only %d fingerprints were compared", compared)
	}
}

func TestAlertmanagerRepeatIsTheSameEpisode(t *testing.T) {
	t.Parallel()
	for first, repeat := range map[string]string{"firing-one": "repeat", "truncated": "truncated-repeat", "basic": "basic-repeat"} {
		if diff := cmp.Diff(parseGroup(t, first).Alerts, parseGroup(t, repeat).Alerts); diff != "" {
			t.Errorf("%s and %s differ:\n%s", first, repeat, diff)
		}
	}
}

func parseGroup(t *testing.T, name string) Delivery {
	t.Helper()
	d, err := (&Alertmanager{name: "am"}).Parse(readTestdata(t, "alertmanager/"+name+".json"), received)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAlertmanagerGroupMayHoldResolvedAlerts(t *testing.T) {
	t.Parallel()
	var got []alert.Status
	for _, a := range parseGroup(t, "firing-with-resolved").Alerts {
		got = append(got, a.Status)
		if a.EndsAt.IsZero() != (a.Status == alert.Firing) {
			t.Errorf("a %s alert ends at %s", a.Status, a.EndsAt)
		}
	}
	if diff := cmp.Diff([]alert.Status{alert.Resolved, alert.Firing, alert.Firing}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAlertmanagerTruncatedIsSaid(t *testing.T) {
	t.Parallel()
	if w := parseGroup(t, "truncated").Warning; !strings.Contains(w, "left out 2 alerts") {
		t.Errorf("the warning is %q", w)
	}
	if w := parseGroup(t, "firing-one").Warning; w != "" {
		t.Errorf("there is a warning %q about a whole group", w)
	}
}

func TestAlertmanagerRefusesBodies(t *testing.T) {
	t.Parallel()
	valid := alertmanagerGroup(`{"alertname":"X"}`)
	many, _ := json.Marshal(manyLabels(maxLabels + 1))
	cases := map[string]struct{ old, new, want string }{
		"Grafana":             {`"version":"4"`, `"version":"1","orgId":1`, `version is "1"`},
		"no version":          {`"version":"4",`, ``, `version is ""`},
		"version as a number": {`"version":"4"`, `"version":4`, `"version" holds the wrong kind`},
		"no group key":        {`"groupKey":"{}:{}",`, ``, "no groupKey"},
		"group status":        {`"{}:{}","status":"firing"`, `"{}:{}","status":"Firing"`, `status is "Firing"`},
		"alert status":        {`[{"status":"firing"`, `[{"status":"pending"`, `alert 1 of the group: its status is "pending"`},
		"no alert status":     {`[{"status":"firing",`, `[{`, `its status is ""`},
		"no start":            {`"startsAt":"2026-11-23T02:42:55Z",`, ``, "no startsAt"},
		"zero start":          {`2026-11-23T02:42:55Z`, `0001-01-01T00:00:00Z`, "no startsAt"},
		"start is no time":    {`2026-11-23T02:42:55Z`, `yesterday`, "parsing time"},
		"no labels":           {`"labels":{"alertname":"X"}`, `"labels":{}`, "no labels"},
		"labels null":         {`"labels":{"alertname":"X"}`, `"labels":null`, "no labels"},
		"label not a text":    {`"alertname":"X"`, `"alertname":1`, "a JSON number"},
		"label without name":  {`"alertname":"X"`, `"":"X"`, "a label has no name"},
		"label too long":      {`"alertname":"X"`, `"alertname":"` + strings.Repeat("x", maxLabelText+1) + `"`, "a label of it is longer"},
		"too many labels":     {`{"alertname":"X"}`, string(many), "257 labels"},
		"label twice":         {`"alertname":"X"`, `"alertname":"X","alertname":"Y"`, `"alertname" is given twice`},
		"label twice, spelt":  {`"alertname":"X"`, `"alertname":"X","alertn\u0061me":"Y"`, `"alertname" is given twice`},
		"key in capitals":     {`"groupKey"`, `"GroupKey"`, `"groupKey" is written "GroupKey"`},
		"long s":              {`"alerts"`, "\"alert\u017f\"", `"alerts" is written`},
		"inner key twice":     {`"annotations":{}`, `"annotations":{},"annotations":{}`, `"annotations" is given twice`},
		"unknown key twice":   {`"version":"4"`, `"version":"4","x":{"a":1,"a":2}`, `"a" is given twice`},
		"labels a list":       {`{"alertname":"X"}`, `["alertname"]`, "a JSON array"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(valid, c.old) {
				t.Fatalf("the case changes nothing: %q", c.old)
			}
			_, err := (&Alertmanager{}).Parse([]byte(strings.Replace(valid, c.old, c.new, 1)), received)
			wantError(t, err, c.want)
			if err != nil && strings.Contains(err.Error(), "sources.") {
				t.Errorf("the error names a Go type: %v", err)
			}
		})
	}
}

func TestAlertmanagerTakesNoAlertsForAMistake(t *testing.T) {
	t.Parallel()
	_, err := (&Alertmanager{}).Parse([]byte(`{"version":"4","groupKey":"g","status":"firing","alerts":[]}`), received)
	wantError(t, err, "holds no alerts")
}

func manyLabels(n int) map[string]string {
	labels := map[string]string{}
	for i := range n {
		labels[fmt.Sprintf("l%d", i)] = "v"
	}
	return labels
}

func TestAlertmanagerShowsOnlyWebLinks(t *testing.T) {
	t.Parallel()
	for link, want := range map[string]string{
		"https://prom/graph?x=1": "https://prom/graph?x=1", "http://prom": "http://prom",
		"javascript:alert(1)": "", "JavaScript://x/%0aalert(1)": "", "data:text/html,x": "", "//prom": "", "": "", "http://": "", "http://[": "",
	} {
		if got := webLink(link); got != want {
			t.Errorf("webLink(%q) = %q, want %q", link, got, want)
		}
	}
}

func TestAlertmanagerAuthenticate(t *testing.T) {
	t.Parallel()
	a := &Alertmanager{
		BearerToken: []connect.Secret{secretFile(t, testKey), secretFile(t, testOtherKey)},
		BasicAuth:   BasicAuth{Username: "am", Password: secretFile(t, testPassword)},
	}
	if err := a.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		h  http.Header
		ok bool
	}{
		"bearer":              {authorized("Bearer " + testKey), true},
		"second bearer":       {authorized("Bearer " + testOtherKey), true},
		"scheme in lower":     {authorized("bearer " + testKey), true},
		"basic":               {basicAuthorization("am", testPassword), true},
		"bearer in capitals":  {authorized("Bearer " + strings.ToUpper(testKey)), false},
		"bearer cut":          {authorized("Bearer " + testKey[:len(testKey)-1]), false},
		"bearer longer":       {authorized("Bearer " + testKey + "x"), false},
		"empty bearer":        {authorized("Bearer "), false},
		"two headers":         {authorized("Bearer "+testKey, "Bearer "+testKey), false},
		"no scheme":           {authorized(testKey), false},
		"wrong user":          {basicAuthorization("bm", testPassword), false},
		"wrong password":      {basicAuthorization("am", testPassword+"x"), false},
		"password as bearer":  {authorized("Bearer " + testPassword), false},
		"key as password":     {basicAuthorization("am", testKey), false},
		"basic not in base64": {authorized("Basic ???"), false},
		"another scheme":      {authorized("Digest " + testKey), false},
	} {
		err := a.Authenticate(Request{Header: c.h})
		if c.ok != (err == nil) || (!c.ok && !errors.Is(err, ErrUnauthenticated)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAlertmanagerUnreadableSecretDoesNotHideAnother(t *testing.T) {
	t.Parallel()
	gone := secretFile(t, testOtherKey)
	a := &Alertmanager{BearerToken: []connect.Secret{gone, secretFile(t, testKey)}}
	if err := os.Remove(gone.File); err != nil {
		t.Fatal(err)
	}
	if err := a.Authenticate(Request{Header: authorized("Bearer " + testKey)}); err != nil {
		t.Errorf("the readable secret proves it, but: %v", err)
	}
	if err := a.Authenticate(Request{Header: authorized("Bearer " + testOtherKey)}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func TestAlertmanagerValidate(t *testing.T) {
	t.Parallel()
	good := secretFile(t, testKey)
	for name, c := range map[string]struct {
		source *Alertmanager
		want   string
	}{
		"nothing":        {&Alertmanager{}, "bearer_token, basic_auth or client_certificate"},
		"no user":        {&Alertmanager{BasicAuth: BasicAuth{Password: good}}, "username is missing"},
		"no password":    {&Alertmanager{BasicAuth: BasicAuth{Username: "am"}}, "basic_auth: password"},
		"short password": {&Alertmanager{BasicAuth: BasicAuth{"am", secretFile(t, "fifteen-bytes-x")}}, "shorter than 16"},
		"short token":    {&Alertmanager{BearerToken: []connect.Secret{good, secretFile(t, "only-23-bytes-in-here-x")}}, "shorter than 24"},
		"weak beside":    {&Alertmanager{BearerToken: []connect.Secret{good}, BasicAuth: BasicAuth{Username: "am"}}, "basic_auth: password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, c.source.Validate(), c.want)
		})
	}
}

func FuzzAlertmanager(f *testing.F) {
	for _, name := range captured(f, "alertmanager") {
		f.Add(readTestdata(f, name))
	}
	f.Add([]byte(alertmanagerGroup(`{"a":"\ud800"}`)))
	f.Add([]byte(strings.Replace(alertmanagerGroup(`{"a":"b"}`), `"alerts":[`, `"alerts":[{},`, 1)))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &Alertmanager{name: "the-name"}
		d, err := s.Parse(body, received)
		if err != nil {
			return
		}
		checkDelivery(t, s, d)
		// A second parser that knows nothing of structs sees the same alerts.
		var plain map[string]any
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("another parser refuses it: %v", err)
		}
		alerts := plain["alerts"].([]any)
		for _, a := range d.Alerts { // in their order; what cannot be read is left out
			at := slices.IndexFunc(alerts, func(one any) bool { return plainlyReads(one, a) })
			if at < 0 {
				t.Fatalf("another parser does not read %+v in %v", a, alerts)
			}
			alerts = alerts[at+1:]
		}
	})
}

// plainlyReads reports whether an alert has the labels and the status that a parser sees which knows nothing of structs.
func plainlyReads(seen any, a alert.Alert) bool {
	fields, _ := seen.(map[string]any)
	labels, _ := fields["labels"].(map[string]any)
	want := map[string]string{}
	for name, value := range labels {
		want[name], _ = value.(string)
	}
	return maps.Equal(want, a.Labels) && fields["status"] == string(a.Status)
}

func TestAlertmanagerTimesAreUTC(t *testing.T) {
	t.Parallel()
	body := strings.Replace(alertmanagerGroup(`{"alertname":"X"}`), "02:42:55Z", "04:42:55+02:00", 1)
	d, err := (&Alertmanager{}).Parse([]byte(body), received)
	if err != nil {
		t.Fatal(err)
	}
	want := time.Date(2026, 11, 23, 2, 42, 55, 0, time.UTC)
	if got := d.Alerts[0].StartsAt; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
