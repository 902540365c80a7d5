package sources

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func init() {
	fixtures["grafana"] = fixture{
		configure: func(s Source, secret connect.Secret) { s.(*Grafana).SigningSecret = []connect.Secret{secret} },
		sign: func(content string, body []byte) Request {
			return headed(body, "X-Grafana-Alerting-Signature", signature(connect.Value(content), body))
		},
		bodies: []string{grafanaGroup(`{"alertname":"X","service":"api"}`), grafanaGroup(`{"Env":"a","env":"b"}`)},
	}
}

// headed is a request with the headers, given as names and values in turn.
func headed(body []byte, pairs ...string) Request {
	r := Request{Header: http.Header{}, Body: body}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header.Add(pairs[i], pairs[i+1])
	}
	return r
}

func grafanaGroup(labels string) string {
	return strings.Replace(alertmanagerGroup(labels), `"version":"4"`, `"version":"1","orgId":1,"state":"alerting","title":"[FIRING:1]"`, 1)
}

func TestGrafanaGolden(t *testing.T) {
	t.Parallel()
	for _, name := range captured(t, "grafana") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := (&Grafana{name: "grafana"}).Parse(readTestdata(t, name), received)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, d)
		})
	}
}

// Each of the two senders refuses the other's body, whose alerts look alike.
func TestGrafanaAndAlertmanagerAreToldApart(t *testing.T) {
	t.Parallel()
	_, err := (&Grafana{}).Parse(readTestdata(t, "alertmanager/firing-one.json"), received)
	wantError(t, err, `version is "4", not Grafana's "1"`)
	_, err = (&Alertmanager{}).Parse(readTestdata(t, "grafana/firing.json"), received)
	wantError(t, err, `version is "1", not Alertmanager's "4"`)
	for name, body := range map[string]string{
		"a custom payload": `{"text":"it burns"}`, "a number": strings.Replace(grafanaGroup(`{"a":"b"}`), `"1"`, `1`, 1),
	} {
		if _, err := (&Grafana{}).Parse([]byte(body), received); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A rule whose data source fails is an alert of its own name, with the labels of the rule.
func TestGrafanaTellsOfDatasources(t *testing.T) {
	t.Parallel()
	for name, alertname := range map[string]string{"no-data": "DatasourceNoData", "error": "DatasourceError"} {
		d, err := (&Grafana{}).Parse(readTestdata(t, "grafana/"+name+".json"), received)
		if err != nil {
			t.Fatal(err)
		}
		labels := d.Alerts[0].Labels
		if d.Ignored != "" || labels["alertname"] != alertname || labels["rulename"] != "HighErrorRate" || labels["service"] != "api" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestGrafanaShowsOnlyWebLinks(t *testing.T) {
	t.Parallel()
	d, err := (&Grafana{}).Parse(readTestdata(t, "grafana/mixed.json"), received)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"summary": "too many 5xx", "dashboard_url": "https://wiki.example.com/ours"}
	if diff := cmp.Diff(want, d.Alerts[1].Annotations); diff != "" {
		t.Error(diff)
	}
}

func TestGrafanaSignatures(t *testing.T) {
	t.Parallel()
	body := []byte(grafanaGroup(`{"alertname":"X"}`))
	g := &Grafana{SigningSecret: []connect.Secret{secretFile(t, testKey), secretFile(t, testOtherKey)}, SignatureHeader: "X-Signed", BearerToken: []connect.Secret{secretFile(t, testKey)}}
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	good := signature(testKey, body)
	beside := headed(body, "X-Signed", "wrong", "Authorization", "Bearer "+testKey)
	for name, c := range map[string]struct {
		r  Request
		ok bool
	}{
		"signature":        {headed(body, "X-Signed", good), true},
		"second secret":    {headed(body, "X-Signed", signature(testOtherKey, body)), true},
		"bearer":           {headed(body, "Authorization", "Bearer "+testKey), true},
		"bearer beside":    {beside, true},
		"another body":     {headed(body[1:], "X-Signed", good), false},
		"in capitals":      {headed(body, "X-Signed", strings.ToUpper(good)), false},
		"with a prefix":    {headed(body, "X-Signed", "sha256="+good), false},
		"cut":              {headed(body, "X-Signed", good[:63]), false},
		"empty":            {headed(body, "X-Signed", ""), false},
		"two":              {headed(body, "X-Signed", good, "X-Signed", good), false},
		"Grafana's header": {headed(body, "X-Grafana-Alerting-Signature", good), false},
		"a time is signed": {headed(body, "X-Signed", signature(testKey, stamped(time.Now(), body)), "X-Time", strconv.FormatInt(time.Now().Unix(), 10)), false},
		"nothing":          {Request{Body: body}, false},
	} {
		err := g.Authenticate(c.r)
		if c.ok != (err == nil) || (!c.ok && !errors.Is(err, ErrUnauthenticated)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A signature over the time holds for five minutes, before and after, and for no other time than the one that is signed.
func TestGrafanaSignedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		body := []byte(grafanaGroup(`{"alertname":"X"}`))
		g := &Grafana{SigningSecret: []connect.Secret{secretFile(t, testKey)}, TimestampHeader: "X-Time"}
		at := time.Now()
		mac := signature(testKey, stamped(at, body))
		sent := func(seconds string) Request {
			return headed(body, "X-Grafana-Alerting-Signature", mac, "X-Time", seconds)
		}
		now := strconv.FormatInt(at.Unix(), 10)
		for name, r := range map[string]Request{
			"another time": sent(strconv.FormatInt(at.Unix()+1, 10)), "no time": headed(body, "X-Grafana-Alerting-Signature", mac), "two times": headed(body, "X-Grafana-Alerting-Signature", mac, "X-Time", now, "X-Time", now),
			"an empty time": sent(""), "a date": sent(at.Format(time.RFC3339)), "a fraction": sent(now + ".0"), "beyond all": sent("9223372036854775807"),
			"below all": sent("-9223372036854775808"), "the body alone": headed(body, "X-Grafana-Alerting-Signature", signature(testKey, body), "X-Time", now),
		} {
			if err := g.Authenticate(r); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, c := range []struct {
			tolerance, wait time.Duration
			ok              bool
		}{{0, 0, true}, {0, 5 * time.Minute, true}, {0, time.Second, false}, {10 * time.Minute, 0, true}} {
			g.Tolerance = c.tolerance
			time.Sleep(c.wait)
			if err := g.Authenticate(sent(now)); c.ok != (err == nil) || (!c.ok && !errors.Is(err, ErrUnauthenticated)) {
				t.Errorf("%s later: %v", time.Since(at), err)
			}
		}
		ahead := time.Now().Add(10*time.Minute + time.Second)
		early := headed(body, "X-Grafana-Alerting-Signature", signature(testKey, stamped(ahead, body)), "X-Time", strconv.FormatInt(ahead.Unix(), 10))
		if err := g.Authenticate(early); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("signed in the future: %v", err)
		}
		time.Sleep(time.Second)
		if err := g.Authenticate(early); err != nil {
			t.Errorf("within the tolerance ahead: %v", err)
		}
		r := Request{Body: body}
		if err := errors.Join(g.Sign(&r), g.Authenticate(r)); err != nil {
			t.Errorf("its own signature: %v", err)
		}
	})
}

func TestGrafanaValidate(t *testing.T) {
	t.Parallel()
	good := []connect.Secret{secretFile(t, testKey)}
	for name, c := range map[string]struct {
		source *Grafana
		want   string
	}{
		"nothing":              {&Grafana{}, "signing_secret, bearer_token or basic_auth"},
		"header alone":         {&Grafana{SignatureHeader: "X", BearerToken: good}, "about signing_secret"},
		"time alone":           {&Grafana{TimestampHeader: "X", BearerToken: good}, "about signing_secret"},
		"tolerance alone":      {&Grafana{SigningSecret: good, Tolerance: time.Minute}, "about timestamp_header"},
		"negative tolerance":   {&Grafana{SigningSecret: good, TimestampHeader: "X", Tolerance: -1}, "tolerance must be"},
		"a day's tolerance":    {&Grafana{SigningSecret: good, TimestampHeader: "X", Tolerance: 24 * time.Hour}, "tolerance must be"},
		"no name of a header":  {&Grafana{SigningSecret: good, SignatureHeader: "X Y"}, "signature_header: "},
		"no name for the time": {&Grafana{SigningSecret: good, TimestampHeader: "X:"}, "timestamp_header: "},
		"weak beside":          {&Grafana{SigningSecret: good, BearerToken: []connect.Secret{secretFile(t, "short")}}, "bearer_token: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, c.source.Validate(), c.want)
		})
	}
}

func FuzzGrafana(f *testing.F) {
	for _, name := range captured(f, "grafana") {
		f.Add(readTestdata(f, name))
	}
	f.Add([]byte(grafanaGroup(`{"a":"\ud800"}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := &Grafana{name: "the-name"}
		d, err := s.Parse(body, received)
		if err != nil {
			return
		}
		checkDelivery(t, s, d)
		if _, err := (&Alertmanager{}).Parse(body, received); err == nil {
			t.Fatal("it is Alertmanager's body too")
		}
		var plain struct{ Alerts []map[string]any }
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("another parser refuses it: %v", err)
		}
		if d.Warning == "" && len(plain.Alerts) != len(d.Alerts) {
			t.Fatal("another parser reads other alerts")
		}
		for i, a := range d.Alerts {
			if d.Warning == "" && plain.Alerts[i]["status"] != string(a.Status) {
				t.Fatal("another parser reads another status")
			}
			for _, name := range []string{"silence_url", "panel_url"} {
				own, _ := plain.Alerts[min(i, len(plain.Alerts)-1)]["annotations"].(map[string]any)
				if _, written := own[name]; !written && d.Warning == "" && a.Annotations[name] != webLink(a.Annotations[name]) {
					t.Fatalf("a link that is none: %q", a.Annotations[name])
				}
			}
		}
	})
}

func FuzzGrafanaSignature(f *testing.F) {
	body := []byte(grafanaGroup(`{"alertname":"X"}`))
	now := strconv.FormatInt(time.Now().Unix(), 10)
	f.Add(signature(testKey, append([]byte(now+":"), body...)), now, body)
	f.Add(signature(testKey, body), "", body)
	f.Add("", "-1", []byte{})
	g := &Grafana{SigningSecret: []connect.Secret{secretFile(f, testKey)}, TimestampHeader: "X-Time"}
	f.Fuzz(func(t *testing.T, mac, at string, body []byte) {
		err := g.Authenticate(headed(body, "X-Grafana-Alerting-Signature", mac, "X-Time", at))
		seconds, notNumber := strconv.ParseInt(strings.TrimSpace(at), 10, 64)
		if err == nil && (notNumber != nil || mac != signature(testKey, stamped(time.Unix(seconds, 0), body))) {
			t.Errorf("%q at %q was accepted", mac, at)
		}
		if err != nil && !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%q at %q: %v", mac, at, err)
		}
	})
}

func BenchmarkGrafana(b *testing.B) {
	body := readTestdata(b, "grafana/firing.json")
	g := &Grafana{SigningSecret: []connect.Secret{secretFile(b, testKey)}}
	r := headed(body, "X-Grafana-Alerting-Signature", signature(testKey, body))
	var d Delivery
	for b.Loop() {
		var err error
		if d, err = g.Parse(body, received); err != nil || g.Authenticate(r) != nil {
			b.Fatal(err)
		}
	}
	if len(d.Alerts) != 1 || d.Alerts[0].Status != alert.Firing {
		b.Fatal(d)
	}
}
