package sources

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	fixtures["google_cloud_monitoring"] = fixture{
		configure: func(s Source, secret connect.Secret) { s.(*GoogleCloudMonitoring).Token = []connect.Secret{secret} },
		sign: func(content string, body []byte) Request {
			return Request{Query: url.Values{"auth_token": {content}}, Body: body}
		},
		bodies: []string{
			monitored(`"state":"open"`), monitored(`"state":"CLOSED","ended_at":"1790000900"`), `{"version":"test","incident":{}}`,
			pushed(monitored(`"state":"open"`)),
		},
	}
}

// monitored is a body with the fields in its incident.
func monitored(fields string) string {
	return `{"version":"1.2","incident":{"incident_id":"0.abc","started_at":1790000000,"policy_name":"api p95",` + fields + `}}`
}

func pushed(inner string) string {
	return fmt.Sprintf(`{"message":{"data":%q,"messageId":"77","publishTime":"2026-11-23T02:59:58Z"},"subscription":"projects/p/subscriptions/s"}`,
		base64.StdEncoding.EncodeToString([]byte(inner)))
}

func monitoring() *GoogleCloudMonitoring {
	g, _ := newGoogleCloudMonitoring("the-name").(*GoogleCloudMonitoring)
	return g
}

func TestGoogleCloudMonitoringGolden(t *testing.T) {
	t.Parallel()
	for _, name := range captured(t, "google_cloud_monitoring") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := monitoring().Parse(readTestdata(t, name), received)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, d)
		})
	}
}

func TestGoogleCloudMonitoringClosesWhatItOpened(t *testing.T) {
	t.Parallel()
	var got []alert.Alert
	for _, name := range []string{"open", "closed", "pubsub-open", "pubsub-closed"} {
		d, err := monitoring().Parse(readTestdata(t, "google_cloud_monitoring/"+name+".json"), received)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d.Alerts[0])
	}
	for i, a := range got {
		if a.Episode != got[0].Episode || (a.Status == alert.Firing) != (i%2 == 0) || a.EndsAt.IsZero() != (i%2 == 0) {
			t.Errorf("alert %d: %+v", i, a)
		}
	}
}

// Pub/Sub delivers a message again under the same id, with other fields around it; the id is one of the topic's.
func TestGoogleCloudMonitoringMessageIDs(t *testing.T) {
	t.Parallel()
	body := pushed(monitored(`"state":"open"`))
	keys := map[string]string{}
	for name, text := range map[string]string{
		"first": body, "again": strings.Replace(body, `{"message"`, `{"deliveryAttempt":2,"message"`, 1),
		"another message": strings.Replace(body, `"77"`, `"78"`, 1), "another subscription": strings.Replace(body, "subscriptions/s", "subscriptions/r", 1),
	} {
		d, err := monitoring().Parse([]byte(text), received)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = d.DedupKey
		if want := time.Date(2026, 11, 23, 2, 59, 58, 0, time.UTC); !d.OccurredAt.Equal(want) || d.Alerts[0].Episode != "0.abc" {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if keys["first"] != keys["again"] || keys["first"] == keys["another message"] || keys["first"] == keys["another subscription"] {
		t.Errorf("%v", keys)
	}
}

// What was measured may be a stranger's text. It does not set what the policy's owner has written, nor the names that rules go by.
func TestGoogleCloudMonitoringLabelPrecedence(t *testing.T) {
	t.Parallel()
	const everywhere = `{"alertname":"%[1]s","policy":"%[1]s","condition":"%[1]s","severity":"%[1]s","resource_type":"%[1]s","metric_type":"%[1]s",` +
		`"team":"%[1]s","service_name":"%[1]s","path":"%[1]s"}`
	said := func(by string) string { return fmt.Sprintf(everywhere, by) }
	for name, c := range map[string]struct {
		fields string
		want   map[string]string
	}{
		"all": {
			`"severity":"Critical","condition_name":"p95","metric":{"type":"m","labels":` + said("metric") + `},"resource":{"type":"r","labels":` +
				said("resource") + `},"policy_user_labels":` + said("owner"),
			map[string]string{
				"alertname": "api p95", "policy": "api p95", "condition": "p95", "severity": "critical", "resource_type": "r", "metric_type": "m",
				"team": "owner", "service_name": "owner", "path": "owner",
			},
		},
		"the owner's severity": {
			`"severity":"No severity","metric":{"labels":` + said("metric") + `},"resource":{"labels":` + said("resource") + `},"policy_user_labels":{"severity":"warning","team":"core"}`,
			map[string]string{
				"alertname": "api p95", "policy": "api p95", "severity": "warning", "team": "core", "service_name": "resource", "path": "resource",
			},
		},
		"no severity": {
			`"metric":{"labels":` + said("metric") + `},"resource":{"labels":{"service_name":"api"}}`,
			map[string]string{"alertname": "api p95", "policy": "api p95", "team": "metric", "service_name": "api", "path": "metric"},
		},
	} {
		d, err := monitoring().Parse([]byte(monitored(`"state":"open",`+c.fields)), received)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, d.Alerts[0].Labels); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestGoogleCloudMonitoringRefusesBodies(t *testing.T) {
	t.Parallel()
	valid := monitored(`"state":"open","resource":{"labels":{"a":"b"}}`)
	many, _ := json.Marshal(manyLabels(maxLabels + 1))
	for name, c := range map[string]struct{ old, new, want string }{
		"another version":     {`"1.2"`, `"1.3"`, `version is "1.3"`},
		"no version":          {`"version":"1.2",`, ``, `version is ""`},
		"no incident":         {`"incident":{`, `"other":{`, "no incident"},
		"no id":               {`"0.abc"`, `null`, "no incident_id"},
		"a long id":           {`0.abc`, strings.Repeat("x", 257), "very long"},
		"no state":            {`"open"`, `null`, `state is ""`},
		"another state":       {`"open"`, `"acknowledged"`, `state is "acknowledged"`},
		"no beginning":        {`1790000000`, `0`, "no started_at"},
		"before 1970":         {`1790000000`, `-1`, "no time in seconds"},
		"after the year 9999": {`1790000000`, `1e15`, "no time in seconds"},
		"NaN":                 {`1790000000`, `"NaN"`, "no time in seconds"},
		"time as a date":      {`1790000000`, `"2026-11-23T00:00:00Z"`, "no time in seconds"},
		"time as a list":      {`1790000000`, `[1790000000]`, "a list stands"},
		"labels a list":       {`{"a":"b"}`, `["a"]`, "JSON array"},
		"label an object":     {`{"a":"b"}`, `{"a":{}}`, "an object"},
		"label twice":         {`{"a":"b"}`, `{"a":"b","a":"c"}`, `"a" is given twice`},
		"key in capitals":     {`"incident_id"`, `"Incident_ID"`, "is written"},
		"too many labels":     {`{"a":"b"}`, string(many), "labels, more than"},
		"label too long":      {`"b"`, `"` + strings.Repeat("x", maxLabelText+1) + `"`, "longer than"},
		"two at once":         {`{"version"`, `{"message":{"data":"","messageId":"1"},"version"`, "at once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(valid, c.old) {
				t.Fatalf("the case changes nothing: %q", c.old)
			}
			body := strings.Replace(valid, c.old, c.new, 1)
			_, err := monitoring().Parse([]byte(body), received)
			wantError(t, err, c.want)
			if name != "two at once" {
				_, err = monitoring().Parse([]byte(pushed(body)), received)
				wantError(t, err, c.want)
			}
		})
	}
	for name, c := range map[string]struct{ body, want string }{
		"not base64":     {strings.Replace(pushed(valid), `"data":"`, `"data":"*`, 1), "not base64"},
		"no message id":  {strings.Replace(pushed(valid), `"77"`, `""`, 1), "no messageId"},
		"no data":        {`{"message":{"messageId":"1"}}`, "ends in the middle"},
		"within another": {pushed(pushed(valid)), `version is ""`},
	} {
		_, err := monitoring().Parse([]byte(c.body), received)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoogleCloudMonitoringAuthenticate(t *testing.T) {
	t.Parallel()
	g := monitoring()
	g.Token = []connect.Secret{secretFile(t, testKey), secretFile(t, testOtherKey)}
	g.BasicAuth = BasicAuth{Username: "gcm", Password: secretFile(t, testPassword)}
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	token := func(values ...string) Request { return Request{Query: url.Values{"auth_token": values}} }
	both := token("wrong")
	both.Header = basicAuthorization("gcm", testPassword)
	for name, c := range map[string]struct {
		r  Request
		ok bool
	}{
		"token":               {token(testKey), true},
		"second token":        {token(testOtherKey), true},
		"password":            {Request{Header: basicAuthorization("gcm", testPassword)}, true},
		"password beside":     {both, true},
		"nothing":             {Request{}, false},
		"empty token":         {token(""), false},
		"no value":            {token(), false},
		"two tokens":          {token(testKey, testKey), false},
		"another name":        {Request{Query: url.Values{"token": {testKey}}}, false},
		"name in capitals":    {Request{Query: url.Values{"AUTH_TOKEN": {testKey}}}, false},
		"token cut":           {token(testKey[1:]), false},
		"wrong password":      {Request{Header: basicAuthorization("gcm", testPassword+"x")}, false},
		"token as a bearer":   {Request{Header: authorized("Bearer " + testKey)}, false},
		"token as a password": {Request{Header: basicAuthorization("gcm", testKey)}, false},
		"two headers":         {Request{Header: authorized("Basic x", "Basic y")}, false},
	} {
		err := g.Authenticate(c.r)
		if c.ok != (err == nil) || (!c.ok && !errors.Is(err, ErrUnauthenticated)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGoogleCloudMonitoringValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(g *GoogleCloudMonitoring)
		want   string
	}{
		"nothing":     {func(*GoogleCloudMonitoring) {}, "basic_auth, token or pubsub"},
		"short token": {func(g *GoogleCloudMonitoring) { g.Token = []connect.Secret{secretFile(t, "short")} }, "token: "},
		"no account":  {func(g *GoogleCloudMonitoring) { g.PubSub.Audience = "a" }, "pubsub: service_account"},
		"no audience": {func(g *GoogleCloudMonitoring) { g.PubSub.ServiceAccount = "a" }, "pubsub: audience"},
		"plaintext keys": {func(g *GoogleCloudMonitoring) {
			g.PubSub = PubSubAuth{Audience: "a", ServiceAccount: "b", KeysURL: "http://k"}
		}, "insecure"},
		"weak beside":     {func(g *GoogleCloudMonitoring) { g.PubSub, g.BasicAuth = goodPubSub, BasicAuth{Username: "x"} }, "basic_auth: password"},
		"insecure, alone": {func(g *GoogleCloudMonitoring) { g.PubSub.Insecure = true }, "pubsub: "},
	} {
		g := monitoring()
		c.change(g)
		if err := g.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g := monitoring()
	g.PubSub = goodPubSub
	if err := g.Validate(); err != nil {
		t.Errorf("pubsub alone is a proof, but: %v", err)
	}
}

func TestGoogleCloudMonitoringSignsNothingForPubSub(t *testing.T) {
	t.Parallel()
	g := monitoring()
	g.PubSub = goodPubSub
	wantError(t, g.Sign(&Request{}), "only Google signs")
	g.BasicAuth = BasicAuth{Username: "gcm", Password: secretFile(t, testPassword)}
	var r Request
	if err := errors.Join(g.Sign(&r), g.Authenticate(r)); err != nil {
		t.Error(err)
	}
}

func FuzzGoogleCloudMonitoring(f *testing.F) {
	for _, name := range captured(f, "google_cloud_monitoring") {
		f.Add(readTestdata(f, name))
	}
	f.Add([]byte(monitored(`"state":"open","policy_user_labels":{"a":"\ud800"}`)))
	f.Add([]byte(monitored(`"state":true,"url":1.5e300,"metric":{"labels":{"severity":"x"}}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		g := monitoring()
		d, err := g.Parse(body, received)
		if err != nil || d.Ignored != "" {
			return
		}
		checkDelivery(t, g, d)
		var plain map[string]any
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("another parser refuses it: %v", err)
		}
		if message, ok := plain["message"].(map[string]any); ok {
			data, _ := message["data"].(string)
			inner, _ := base64.StdEncoding.DecodeString(data)
			plain = nil
			if err := json.Unmarshal(inner, &plain); err != nil {
				t.Fatalf("another parser refuses the message: %v", err)
			}
		}
		in := plain["incident"].(map[string]any)
		if id, ok := in["incident_id"].(string); ok && id != d.Alerts[0].Episode {
			t.Fatal("another parser reads another incident")
		}
		owner, _ := in["policy_user_labels"].(map[string]any)
		for name, value := range owner {
			if text, ok := value.(string); ok && text != "" && !ownLabel(name) && d.Alerts[0].Labels[name] != text {
				t.Fatalf("the owner's label %q is %q", name, d.Alerts[0].Labels[name])
			}
		}
	})
}

func ownLabel(name string) bool {
	for _, own := range ownLabels() {
		if name == own {
			return true
		}
	}
	return false
}
