package http

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Files are those that TLS is served with, in PEM.
type Files struct {
	Cert, Key string // the certificate, with those that lead to its authority, and its key
	// ClientCA holds the authorities whose certificates clients may show; "": no client is asked for one.
	ClientCA string
}

// Certificates are what TLS is served with. Safe for concurrent use.
type Certificates struct {
	files Files
	log   *slog.Logger
	every time.Duration // how often the files are looked at, at most

	mu      sync.Mutex
	looked  time.Time   // guarded by mu
	seen    [3][32]byte // the sums of what was read last; guarded by mu
	trouble string      // why what was read last is not served, "" when it is; guarded by mu
	serving *tls.Config // guarded by mu
}

// lookEvery bounds how often handshakes read the files again.
const lookEvery = time.Second

// LoadCertificates reads the files. They are read again when they change: new ones that are no good leave the old in force, and are logged.
// Errors name the files, never what they hold.
func LoadCertificates(files Files, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{files: files, log: log, every: lookEvery, looked: time.Now()}
	read, err := files.read()
	if err != nil {
		return nil, err
	}
	if c.serving, err = read.config(files); err != nil {
		return nil, err
	}
	c.seen = read.sums()
	return c, nil
}

// Config serves each connection with what the files hold then. A client need not show a certificate, because senders share the port; one
// that is shown has to lead to the authorities, else the connection is refused.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         protocols(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current(), nil },
	}
}

// protocols leaves out HTTP/2: senders have no need of it, and each of its streams would hold memory that no bound of connections counts.
func protocols() []string { return []string{"http/1.1"} }

// current gives what is served now; it looks at the files when it has not for a while.
func (c *Certificates) current() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= c.every {
		c.looked = now
		c.look()
	}
	return c.serving
}

// look takes over what has changed. The caller holds mu.
func (c *Certificates) look() {
	read, err := c.files.read()
	if err == nil {
		if read.sums() == c.seen {
			return
		}
		c.seen = read.sums()
		var fresh *tls.Config
		if fresh, err = read.config(c.files); err == nil {
			c.serving, c.trouble = fresh, ""
			c.log.Info("the certificates were read again")
			return
		}
	}
	if c.trouble != err.Error() {
		c.trouble = err.Error()
		c.log.Error("the certificates cannot be read again; the former ones stay in force", "error", err)
	}
}

// pems are the contents of the files.
type pems struct{ cert, key, clientCA []byte }

func (f Files) read() (p pems, err error) {
	for _, file := range []struct {
		name string
		into *[]byte
	}{{f.Cert, &p.cert}, {f.Key, &p.key}, {f.ClientCA, &p.clientCA}} {
		if file.name == "" {
			continue
		}
		if *file.into, err = os.ReadFile(file.name); err != nil {
			return pems{}, fmt.Errorf("reading a certificate's file: %w", err)
		}
	}
	return p, nil
}

func (p pems) sums() [3][32]byte {
	return [3][32]byte{sha256.Sum256(p.cert), sha256.Sum256(p.key), sha256.Sum256(p.clientCA)}
}

func (p pems) config(f Files) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are no certificate and its key: %w", f.Cert, f.Key, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols(), Certificates: []tls.Certificate{pair}}
	if f.ClientCA == "" {
		return config, nil
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
	if !config.ClientCAs.AppendCertsFromPEM(p.clientCA) {
		return nil, errors.New(f.ClientCA + " holds no certificate of an authority")
	}
	return config, nil
}
