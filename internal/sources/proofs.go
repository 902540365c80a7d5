package sources

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/mixillo/remediator/internal/connect"
)

// proof is one way in which a sender shows who it is.
type proof interface {
	// isZero reports whether nothing of it is configured.
	isZero() bool
	// check refuses what is wrong with it whatever its secrets are; it reads none.
	check() error
	// validate refuses unreadable and short secrets.
	validate() error
	// signs reports whether it is made over the body.
	signs() bool
	// judge gives errors that wrap ErrUnauthenticated or ErrUnavailable.
	judge(r Request) error
	// sign adds it to a request, made with the first of its secrets.
	sign(r *Request) error
}

// proofs are those that a kind of source takes. Any of the configured ones suffices.
type proofs []proof

func (ps proofs) configured() proofs {
	return slices.DeleteFunc(slices.Clone(ps), func(p proof) bool { return p.isZero() })
}

// check refuses a source without a proof; names lists the parameters that hold one.
func (ps proofs) check(names string) error {
	all := ps.configured()
	if len(all) == 0 {
		return fmt.Errorf("%s is needed: without one anybody could send alerts", names)
	}
	var wrong []error
	for _, p := range all {
		wrong = append(wrong, p.check())
	}
	return errors.Join(wrong...)
}

func (ps proofs) validate() error {
	var wrong []error
	for _, p := range ps.configured() {
		wrong = append(wrong, p.validate())
	}
	return errors.Join(wrong...)
}

// judge takes the first proof that holds. When none does and one of them could not be judged, it may have been that one: ErrUnavailable.
func (ps proofs) judge(r Request) error {
	all := ps.configured()
	var why []string
	var unavailable error
	for _, p := range all {
		err := p.judge(r)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrUnavailable):
			unavailable = errors.Join(unavailable, err)
		case len(all) == 1:
			return err
		default:
			why = append(why, err.Error())
		}
	}
	if unavailable != nil {
		return unavailable
	}
	return fmt.Errorf("%w: no proof holds: %s", ErrUnauthenticated, strings.Join(why, "; "))
}

// judgeEarly judges a request whose body has not been read; nil where it takes the body.
func (ps proofs) judgeEarly(r Request) error {
	if slices.ContainsFunc(ps.configured(), proof.signs) {
		return nil
	}
	return ps.judge(r)
}

// sign adds the first proof that a request can carry.
func (ps proofs) sign(r *Request) error {
	var wrong error
	for _, p := range ps.configured() {
		err := p.sign(r)
		if err == nil {
			return nil
		}
		wrong = errors.Join(wrong, err)
	}
	if wrong == nil {
		return errNoProof
	}
	return wrong
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

func checkHeaderName(name string) error {
	if !headerName.MatchString(name) {
		return fmt.Errorf("%q is no name of a header, such as X-Signature", clip(name))
	}
	return nil
}

// onlyHeader gives the value of a header that is there exactly once: of two, this program and one before it may believe different ones.
func onlyHeader(h http.Header, name string) (string, error) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", fmt.Errorf("%w: %d headers %s instead of one", ErrUnauthenticated, len(values), name)
	}
	return values[0], nil
}

// TokenHeader is a secret that the sender puts into a header of its own.
type TokenHeader struct {
	Name string `yaml:"name" rules:"required"`
	// Secret is the header's whole value: at least 24 bytes. Several are accepted, for rotation.
	Secret []connect.Secret `yaml:"secret" rules:"required"`
}

func (t TokenHeader) isZero() bool { return t.Name == "" && len(t.Secret) == 0 }

func (t TokenHeader) check() error {
	if err := checkHeaderName(t.Name); err != nil {
		return fmt.Errorf("token_header: name: %w", err)
	}
	if len(t.Secret) == 0 {
		return errors.New("token_header: secret_file or secret_env is missing")
	}
	return nil
}

func (t TokenHeader) validate() error {
	return validateSecrets("token_header: secret", t.Secret, minKeyBytes)
}

func (t TokenHeader) signs() bool { return false }

func (t TokenHeader) judge(r Request) error {
	given, err := onlyHeader(r.Header, t.Name)
	if err != nil {
		return err
	}
	if err := anySecret(t.Secret, minKeyBytes, func(v connect.Value) bool { return sameText(given, v.Reveal()) }); err != nil {
		return fmt.Errorf("judging the header %s: %w", t.Name, err)
	}
	return nil
}

func (t TokenHeader) sign(r *Request) error {
	secret, err := readSecret(t.Secret[0], minKeyBytes)
	if err != nil {
		return fmt.Errorf("token_header: %w", err)
	}
	header(r).Set(t.Name, secret.Reveal())
	return nil
}

// hmacAlgorithm is the hash of an HMAC.
type hmacAlgorithm string

// Values lists what can be written in the rules file.
func (hmacAlgorithm) Values() []string { return []string{"sha256", "sha512"} }

func (a hmacAlgorithm) hash() func() hash.Hash {
	if a == "sha512" {
		return sha512.New
	}
	return sha256.New
}

// hmacEncoding is how the bytes of an HMAC are written.
type hmacEncoding string

// Values lists what can be written in the rules file.
func (hmacEncoding) Values() []string { return []string{"hex", "base64"} }

func (e hmacEncoding) encode(b []byte) string {
	if e == "base64" {
		return base64.StdEncoding.EncodeToString(b)
	}
	return hex.EncodeToString(b)
}

// HMAC is a signature over the raw body, in a header. No time is signed: what is sent again is told by the source's id of the delivery.
type HMAC struct {
	Header string `yaml:"header" rules:"required"`
	// Secret is the key: at least 24 bytes. Several are accepted, for rotation.
	Secret []connect.Secret `yaml:"secret" rules:"required"`
	// Algorithm is sha256, the default, or sha512.
	Algorithm hmacAlgorithm `yaml:"algorithm"`
	// Encoding is hex in small letters, the default, or base64 in its standard alphabet with padding. A signature has that one spelling:
	// capital hex digits are refused.
	Encoding hmacEncoding `yaml:"encoding"`
	// Prefix is what stands before the signature, such as "sha256="; a header without it is refused.
	Prefix string `yaml:"prefix"`
}

func (m HMAC) isZero() bool {
	return m.Header == "" && len(m.Secret) == 0 && m.Algorithm == "" && m.Encoding == "" && m.Prefix == ""
}

func (m HMAC) check() error {
	if err := checkHeaderName(m.Header); err != nil {
		return fmt.Errorf("hmac: header: %w", err)
	}
	if len(m.Secret) == 0 {
		return errors.New("hmac: secret_file or secret_env is missing")
	}
	return nil
}

func (m HMAC) validate() error { return validateSecrets("hmac: secret", m.Secret, minKeyBytes) }

func (m HMAC) signs() bool { return true }

func (m HMAC) judge(r Request) error {
	given, err := onlyHeader(r.Header, m.Header)
	if err != nil {
		return err
	}
	mac, ok := strings.CutPrefix(given, m.Prefix)
	if !ok {
		return fmt.Errorf("%w: the header %s does not begin with %q", ErrUnauthenticated, m.Header, m.Prefix)
	}
	err = anySecret(m.Secret, minKeyBytes, func(secret connect.Value) bool {
		return anySignature([]string{mac}, m.signature(secret, r.Body))
	})
	if err != nil {
		return fmt.Errorf("judging the signature: %w", err)
	}
	return nil
}

// signature is compared as text, so that one signature has one spelling.
func (m HMAC) signature(secret connect.Value, body []byte) string {
	mac := hmac.New(m.Algorithm.hash(), []byte(secret.Reveal()))
	_, _ = mac.Write(body)
	return m.Encoding.encode(mac.Sum(nil))
}

func (m HMAC) sign(r *Request) error {
	secret, err := readSecret(m.Secret[0], minKeyBytes)
	if err != nil {
		return fmt.Errorf("hmac: %w", err)
	}
	header(r).Set(m.Header, m.Prefix+m.signature(secret, r.Body))
	return nil
}

// ClientCertificate is a certificate that the sender shows while it connects. The listener has verified it by its own authorities
// (--web.client-ca-file); whatever ends TLS before it hides it.
type ClientCertificate struct {
	// Names are those of senders, without wildcards; one of them is a DNS name of the certificate or, where it has no alternative names
	// at all, its common name. Capitals do not matter.
	Names []string `yaml:"names" rules:"required"`
}

func (c ClientCertificate) isZero() bool { return c.Names == nil }

var certificateName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_. -]{0,251}[A-Za-z0-9_])?$`)

func (c ClientCertificate) check() error {
	if len(c.Names) == 0 {
		return errors.New("client_certificate: names are missing: every certificate of the authorities would do")
	}
	for _, name := range c.Names {
		if !certificateName.MatchString(name) {
			return fmt.Errorf("client_certificate: %q is no whole name, such as webhooks.example.com", clip(name))
		}
	}
	return nil
}

func (c ClientCertificate) validate() error { return nil }

func (c ClientCertificate) signs() bool { return false }

func (c ClientCertificate) judge(r Request) error {
	if r.Client == nil {
		return fmt.Errorf("%w: no client certificate (the server takes one with --web.client-ca-file, and only where nothing before it ends TLS)", ErrUnauthenticated)
	}
	for _, given := range namesOf(r.Client) {
		if slices.ContainsFunc(c.Names, func(name string) bool { return strings.EqualFold(name, given) }) {
			return nil
		}
	}
	return fmt.Errorf("%w: the client certificate is for none of the configured names", ErrUnauthenticated)
}

// namesOf are the names that a certificate is for. The common name counts only where there are no alternative names (RFC 6125, 6.4.4).
func namesOf(cert *x509.Certificate) []string {
	if len(cert.DNSNames)+len(cert.EmailAddresses)+len(cert.IPAddresses)+len(cert.URIs) > 0 {
		return cert.DNSNames
	}
	return []string{cert.Subject.CommonName}
}

func (c ClientCertificate) sign(*Request) error {
	return errors.New("a client certificate is no part of a request: connect with it")
}
