package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/store"
)

const (
	sqliteScheme = "sqlite:"
	defaultDB    = sqliteScheme + "remediator.db"
	drainTimeout = 20 * time.Second
)

// serveOptions are the flags of serve; everything else is in the rules file.
type serveOptions struct {
	rules, db, listen string
	socket, tokenFile string
	pauseFile         string
	level, format     string
	roles             []string
	lease             time.Duration
	speed             float64
}

func newServe() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Receive webhooks and act on them",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.rules, "rules", defaultRules, "rules file")
	f.StringVar(&o.db, "db", defaultDB, "database: sqlite:PATH, or postgres://USER@HOST/DATABASE for any number of processes (a password by passfile=FILE)")
	f.StringVar(&o.listen, "web.listen-address", ":8080", "address for webhooks, health and metrics")
	f.StringVar(&o.socket, "socket", "", "unix socket of the verbs; beside the database by default")
	f.StringVar(&o.tokenFile, "web.token-file", "", "file with the bearer token that opens the API over TCP; without it the API answers on the socket alone")
	f.StringVar(&o.pauseFile, "pause-file", "", "file that stops everything while it exists; beside the database by default")
	f.StringVar(&o.level, "log.level", "info", "debug, info, warn or error")
	f.StringVar(&o.format, "log.format", "json", "json or text")
	f.StringSliceVar(&o.roles, "roles", roles(), "what this process does: take webhooks, serve the API, work on runs")
	f.DurationVar(&o.lease, "lease", store.DefaultLease, "how long a run stays claimed without a sign of life")
	f.Float64Var(&o.speed, "speed", 1, "how much faster than real the outside world runs; for stand-ins such as `remediator sandbox`")
	return cmd
}

func serve(ctx context.Context, o serveOptions) error {
	if o.lease < time.Second || o.speed <= 0 {
		return usageError{errors.New("--lease is at least 1s, and --speed is more than 0")}
	}
	if err := checkRoles(o.roles, o.db); err != nil {
		return usageError{err}
	}
	log, err := newLogger(o.level, o.format)
	if err != nil {
		return err
	}
	token, err := apiToken(o.tokenFile)
	if err != nil {
		return err
	}
	stop := pauseFile(o)
	if err := stop.check(); err != nil {
		return usageError{err}
	}
	a, err := newApp(ctx, appConfig{Rules: o.rules, Options: rules.Options{Speed: o.speed}, DSN: o.db, Stop: stop, Roles: o.roles, Lease: o.lease, Log: log})
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, o.listen, socketPath(o))
	if err != nil {
		return errors.Join(err, a.close())
	}
	if err := a.start(ctx); err != nil {
		return errors.Join(err, a.close())
	}
	log.Info("remediator is up", "version", version, "address", listeners[0].Addr().String(), "socket", socketPath(o), "pause_file", string(stop),
		"rules", len(a.book.Current().Rules), "hash", a.book.Current().Hash)
	server := http.New(a.edge(token))
	return errors.Join(a.serveUntil(ctx, server, listeners), shutdown(server), a.close())
}

// minToken is the least length of the API's bearer token, in bytes: it opens every verb.
const minToken = 24

// apiToken refuses a token that could not protect anything. It is read again on use.
func apiToken(file string) (connect.Secret, error) {
	secret := connect.Secret{File: file}
	if secret.IsZero() {
		return secret, nil
	}
	value, err := secret.Read()
	if err != nil {
		return secret, fmt.Errorf("--web.token-file: %w", err)
	}
	if len(value.Reveal()) < minToken {
		return secret, fmt.Errorf("--web.token-file: a token of at least %d bytes is needed", minToken)
	}
	return secret, nil
}

// edge is the configuration of the server's HTTP side.
func (a *app) edge(token connect.Secret) http.Config {
	api := &api{app: a}
	return http.Config{
		Intake: a.engine, Reader: api, Control: api, Hand: api, Consent: api, Clicks: api, Auditor: a.store, Ready: a.store.Err, Reload: a.reload,
		Gatherer: a.registry, Registerer: a.registry, Log: a.config.Log, Version: version, Token: token,
		Roles: a.config.Roles, Limits: func() rules.Intake { return a.book.Current().Intake },
	}
}

// serveUntil serves until the context ends or a part cannot go on: a store whose end of writing is unknown exits for a clean restart.
func (a *app) serveUntil(ctx context.Context, server *http.Server, listeners []net.Listener) error {
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.Serve(l) }()
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			a.config.Log.Info("stopping: no new deliveries, visits under way are finished")
			return nil
		case err := <-failed:
			return fmt.Errorf("serving: %w", err)
		case err := <-a.store.Broken():
			return fmt.Errorf("the store cannot go on: %w", err)
		case <-hup:
			if err := a.reload(ctx); err != nil {
				a.config.Log.Error("reload", "error", err)
			}
		}
	}
}

func shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return server.Shutdown(ctx)
}

func listen(ctx context.Context, address, socket string) ([]net.Listener, error) {
	tcp, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for webhooks: %w", err)
	}
	unix, err := http.ListenSocket(ctx, socket)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on the socket: %w", err), tcp.Close())
	}
	return []net.Listener{tcp, unix}, nil
}

// socketPath is beside the database unless the flag says otherwise.
func socketPath(o serveOptions) string {
	if o.socket != "" {
		return o.socket
	}
	return besideDB(o.db) + ".sock"
}

// pauseFile is beside the database unless the flag says otherwise.
func pauseFile(o serveOptions) stopFile {
	if o.pauseFile != "" {
		return stopFile(o.pauseFile)
	}
	return stopFile(besideDB(o.db) + ".pause")
}

// besideDB is the path of the database. One that is no file has its other files where the default database would be.
func besideDB(dsn string) string {
	if path, ok := strings.CutPrefix(dsn, sqliteScheme); ok {
		return path
	}
	return strings.TrimPrefix(defaultDB, sqliteScheme)
}
