package connect

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A certificate of ours is shown to a server that asks for one; without it the server refuses us.
func TestClientCertificateIsShown(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	ours := server.TLS.Certificates // any will do
	for name, certificates := range map[string][]tls.Certificate{"with": ours, "without": nil} {
		client := NewHTTPClient(HTTPConfig{Hosts: []string{"127.0.0.1"}, Certificates: certificates})
		guarded, _ := client.Transport.(*guardedTransport)
		guarded.next.TLSClientConfig.RootCAs = x509.NewCertPool()
		guarded.next.TLSClientConfig.RootCAs.AddCert(server.Certificate())
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if (err == nil) != (certificates != nil) {
			t.Errorf("%s a certificate: %v", name, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	}
}
