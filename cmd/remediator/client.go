package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/remediation"
)

// client calls a running server: by its unix socket, or by --server with a token.
type client struct {
	server, socket, tokenFile string
	output                    output
}

func (c *client) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.socket, "socket", strings.TrimPrefix(defaultDB, "sqlite:")+".sock", "unix socket of the server")
	f.StringVar(&c.server, "server", "", "address of the server instead of the socket, e.g. https://remediator.example.com")
	f.StringVar(&c.tokenFile, "token-file", "", "file with the bearer token for --server")
	c.output.flag(cmd)
}

const clientTimeout = 15 * time.Second

// call sends a request and decodes the answer into out. An error answer becomes an error in the server's words.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	req, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	resp, err := c.http().Do(req)
	if err != nil {
		return fmt.Errorf("calling the server (is `remediator serve` running here? --socket, --server): %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return refusal(resp, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("understanding the server's answer: %w", err)
	}
	return nil
}

func (c *client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	base := c.server
	if base == "" {
		base = "http://socket"
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, body)
	if err != nil {
		return nil, usageError{err}
	}
	req.Header.Set("Content-Type", "application/json")
	if c.server == "" {
		req.Header.Set("X-Remediator-Actor", actor())
		return req, nil
	}
	token, err := connect.Secret{File: c.tokenFile}.Read()
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	return req, nil
}

func (c *client) http() *http.Client {
	if c.server != "" {
		return &http.Client{}
	}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	}}}
}

// absentError is the server's word that it has no such thing.
type absentError struct{ error }

// Is tells callers so in the word they know.
func (absentError) Is(target error) bool { return target == remediation.ErrNotFound }

// refusal is the error of an answer. What the server could not understand was a mistake in the call.
func refusal(resp *http.Response, body []byte) error {
	err := fmt.Errorf("the server answered %s: %s", resp.Status, said(body))
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return usageError{err}
	case http.StatusNotFound:
		return absentError{err}
	default:
		return err
	}
}

// said is the server's error in words.
func said(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &e) == nil && e.Error != "" {
		return e.Error
	}
	return strings.TrimSpace(string(body))
}

// actor names who presses the button.
func actor() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}
