package http

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
)

// maxHeaderBytes bounds a request's header. Senders' have some hundred.
const maxHeaderBytes = 8 << 10

// Server serves the edge on TCP and on a unix socket. Safe for concurrent use.
type Server struct {
	edge   *edge
	tcp    *nethttp.Server
	socket *nethttp.Server
}

// New makes a server that listens nowhere yet. It registers metrics: make one per Registerer.
func New(c Config) *Server {
	e := newEdge(c)
	s := &Server{edge: e, tcp: e.server(byTCP), socket: e.server(bySocket)}
	s.tcp.TLSConfig = c.TLS
	return s
}

func (e *edge) server(by road) *nethttp.Server {
	timeouts := e.cfg.Limits().Timeouts
	return &nethttp.Server{
		Handler:           e.router(by),
		ReadHeaderTimeout: timeouts.ReadHeader,
		ReadTimeout:       timeouts.Read,
		WriteTimeout:      timeouts.Write,
		IdleTimeout:       timeouts.Idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         follow,
		ErrorLog:          slog.NewLogLogger(e.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// Serve serves the listener until Shutdown, which is no error; TCP within the bounds of connections, and by TLS where it is configured. Who comes
// through a unix socket has the API's right without a token: its file's mode guards it (see ListenSocket).
func (s *Server) Serve(l net.Listener) error {
	serve, at := s.socket.Serve, l.Addr()
	if at.Network() != "unix" {
		serve, l = s.tcp.Serve, newCrowd(l, s.edge.cfg.Limits, s.edge.cfg.Log)
		if s.tcp.TLSConfig != nil {
			serve = func(l net.Listener) error { return s.tcp.ServeTLS(l, "", "") }
		}
	}
	if err := serve(l); err != nil && !errors.Is(err, nethttp.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", at, err)
	}
	return nil
}

// Shutdown stops listening and waits for the requests under way until ctx ends; then it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	var failed []error
	for _, server := range []*nethttp.Server{s.tcp, s.socket} {
		if err := server.Shutdown(ctx); err != nil {
			failed = append(failed, fmt.Errorf("waiting for requests under way: %w", err), server.Close())
		}
	}
	return errors.Join(failed...)
}

// maxSocketPath is the longest path the kernel takes, in bytes (sun_path, less its end).
const maxSocketPath = 107

// ListenSocket listens on a unix socket that only this user can open. It replaces a socket that a killed process left, but none that
// another process serves. Closing the listener removes the file.
func ListenSocket(ctx context.Context, path string) (net.Listener, error) {
	if other, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("socket %s is served by another process", path), other.Close())
	}
	// Made in a private directory and moved into place: it is never there with another mode.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("making a place for socket %s: %w", path, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	private := filepath.Join(dir, "s")
	if max(len(private), len(path)) > maxSocketPath {
		return nil, fmt.Errorf("the path of socket %s is longer than the %d bytes a socket may have", path, maxSocketPath)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", private)
	if err != nil {
		return nil, fmt.Errorf("listening on socket %s: %w", path, err)
	}
	if inner, ok := l.(*net.UnixListener); ok {
		inner.SetUnlinkOnClose(false) // it would unlink the private path, where another may listen by then
	}
	if err := place(private, path); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socketListener{Listener: l, path: path}, nil
}

func place(private, path string) error {
	if err := os.Chmod(private, 0o600); err != nil {
		return fmt.Errorf("guarding socket %s: %w", path, err)
	}
	if old, err := os.Lstat(path); err == nil && old.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there and is no socket", path)
	}
	if err := os.Rename(private, path); err != nil {
		return fmt.Errorf("placing socket %s: %w", path, err)
	}
	return nil
}

// socketListener removes its file when it is closed.
type socketListener struct {
	net.Listener
	path string
}

// Close stops listening and removes the socket.
func (l *socketListener) Close() error {
	removed := os.Remove(l.path)
	if errors.Is(removed, os.ErrNotExist) {
		removed = nil
	}
	return errors.Join(l.Listener.Close(), removed)
}
