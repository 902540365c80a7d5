package sources

import (
	"testing"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
)

func TestAlertmanagerThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	a, _ := newAlertmanager("am").(*Alertmanager)
	got, err := a.Reread(t.Context(), nil, alert.Alert{Labels: map[string]string{"alertname": "X"}})
	if want := (Standing{Detail: "Alertmanager cannot be asked: the source has no url"}); got != want || err != nil {
		t.Errorf("%+v: %v", got, err)
	}
}

func TestAlertmanagerChecksWhereItIsAsked(t *testing.T) {
	t.Parallel()
	file := secretFile(t, "short")
	for name, c := range map[string]struct {
		change func(a *Alertmanager)
		want   string // "" for a good one
	}{
		"https":           {func(a *Alertmanager) { a.URL = "https://am.example.com/prefix" }, ""},
		"http":            {func(a *Alertmanager) { a.URL, a.Insecure = "http://am.example.com", true }, ""},
		"with a token":    {func(a *Alertmanager) { a.URL, a.APIToken = "https://am.example.com", file }, ""},
		"with a password": {func(a *Alertmanager) { a.URL, a.APIBasicAuth = "https://am.example.com", BasicAuth{"u", file} }, ""},
		"plaintext":       {func(a *Alertmanager) { a.URL = "http://am.example.com" }, "url: alertmanager: endpoint http://am.example.com is plaintext"},
		"no URL":          {func(a *Alertmanager) { a.URL = "am.example.com" }, "must begin with https://"},
		"token and password": {func(a *Alertmanager) {
			a.URL, a.APIToken, a.APIBasicAuth = "https://am.example.com", file, BasicAuth{"u", file}
		}, "exclude each other"},
		"user alone":        {func(a *Alertmanager) { a.URL, a.APIBasicAuth.Username = "https://am.example.com", "u" }, "needs a password"},
		"token without url": {func(a *Alertmanager) { a.APIToken = file }, "url, which is not set"},
		"insecure alone":    {func(a *Alertmanager) { a.Insecure = true }, "url, which is not set"},
		"unreadable": {func(a *Alertmanager) {
			a.URL, a.APIToken = "https://am.example.com", connect.Secret{File: t.TempDir() + "/none"}
		}, "api_token: "},
	} {
		a, _ := newAlertmanager("am").(*Alertmanager)
		a.BearerToken = []connect.Secret{secretFile(t, testKey)}
		c.change(a)
		if err := a.Validate(); c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != "" {
			wantError(t, err, c.want)
		}
	}
}
