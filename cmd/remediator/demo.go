package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	playbook "github.com/mixillo/remediator"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sandbox"
	"github.com/mixillo/remediator/internal/store"
)

type demoOptions struct {
	rules    string
	once     bool
	speed    float64
	logs     bool
	list     bool
	told     bool
	scenario string
	dressed
	log *slog.Logger // instead of logs
}

// dressed is what a test adds to the story: text in its incidents, in the labels that are made of them, and in what people give as reason.
type dressed struct {
	incident func(*sandbox.Incident)
	labels   string // the source's expression; "" is the demo's
	reason   string // of a run by hand
}

func newDemo() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Play an on-call night: the real server and clients against stand-ins for Cloud Run, PagerDuty and Slack",
		Long: "Play an on-call night in a sandbox on loopback: a bad deploy, a slow service, a rollback that does not heal, and a human who is faster.\n" +
			"The rules are those of rules.yaml (or the shipped ones where there is no such file), with all times shortened.\n" +
			"No connection, source or target of the file is used: all are replaced by stand-ins on this machine. With --once the exit code is the story's verdict.\n" +
			"With --scenario one page of the playbook is played, to its end and in a world of its own; --list names them.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.list:
				return listScenarios(cmd.OutOrStdout())
			case o.scenario != "":
				return demoScenario(cmd.Context(), cmd.OutOrStdout(), o)
			default:
				return demo(cmd.Context(), cmd.OutOrStdout(), o)
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.rules, "rules", "", "rules file (default rules.yaml, else the shipped one)")
	f.BoolVar(&o.once, "once", false, "end after the story, with its verdict as exit code")
	f.Float64Var(&o.speed, "speed", 120, "how much shorter all times are")
	f.BoolVar(&o.logs, "logs", false, "show the server's log")
	f.StringVar(&o.scenario, "scenario", "", "play one scenario instead of the night; see --list")
	f.BoolVar(&o.told, "told", false, "after a scenario, show what PagerDuty and Slack were told, and the reports")
	f.BoolVar(&o.list, "list", false, "name the scenarios")
	return cmd
}

func demo(ctx context.Context, out io.Writer, o demoOptions) error {
	return onStage(ctx, out, o, func(s *stage) bool {
		ok := s.play(ctx)
		if !o.once && ctx.Err() == nil {
			s.invite()
			<-ctx.Done()
		}
		return ok
	})
}

// onStage plays on a stage of its own, and reports as a problem what did not end as it should.
func onStage(ctx context.Context, out io.Writer, o demoOptions, play func(*stage) bool) error {
	dir, err := os.MkdirTemp("", "remediator-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := newStage(ctx, out, o, dir)
	if err != nil {
		return err
	}
	defer s.close()
	if !play(s) {
		return errProblem
	}
	return nil
}

// stage is the running demo: world, server, and the place to tell of them.
type stage struct {
	out      io.Writer
	dir      string
	began    time.Time
	speed    float64
	patience time.Duration // of every single wait
	dressed  dressed
	world    *sandbox.World
	app      *app
	server   *http.Server
	url      string
}

func newStage(ctx context.Context, out io.Writer, o demoOptions, dir string) (*stage, error) {
	s := &stage{out: out, dir: dir, began: time.Now(), speed: o.speed, patience: actTimeout, dressed: o.dressed}
	world, err := sandbox.Start(sandbox.Config{Speed: o.speed, Seed: 7, Caller: "remediator"})
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox: %w", err)
	}
	s.world = world
	if err := s.raise(ctx, o); err != nil {
		return nil, errors.Join(err, world.Close())
	}
	return s, nil
}

// raise sets the scene and starts the server on it.
func (s *stage) raise(ctx context.Context, o demoOptions) error {
	if err := s.scene(); err != nil {
		return err
	}
	path, err := s.rulesFile(o.rules)
	if err != nil {
		return err
	}
	written, err := loadRules(path, rules.Options{})
	if err != nil {
		return err
	}
	overlay, err := s.overlay(written)
	if err != nil {
		return err
	}
	s.app, err = newApp(ctx, appConfig{
		Rules: path, Options: rules.Options{Speed: o.speed, Overlay: overlay, Addresses: s.addresses()}, DSN: "sqlite:" + filepath.Join(s.dir, "demo.db"),
		Lease: store.DefaultLease, Log: o.logger(),
	})
	if err != nil {
		return err
	}
	return s.serve(ctx)
}

func (o demoOptions) logger() *slog.Logger {
	switch {
	case o.log != nil:
		return o.log
	case o.logs:
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	default:
		return slog.New(slog.DiscardHandler)
	}
}

func (s *stage) serve(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("listening: %w", err), s.app.close())
	}
	if err := s.app.start(ctx); err != nil {
		return errors.Join(err, s.app.close())
	}
	s.url = "http://" + listener.Addr().String()
	s.server = http.New(s.app.edge(connect.Secret{}))
	go func() { _ = s.server.Serve(listener) }()
	s.world.SetSlackApp(sandbox.SlackApp{URL: s.url + "/v1/slack/slack", Secret: demoSlackSecret})
	s.world.SetWebhook(sandbox.Webhook{URL: s.url + "/v1/webhooks/pagerduty", Secret: demoSigningSecret})
	return nil
}

func (s *stage) close() {
	_ = shutdown(s.server)
	_ = s.app.close()
	_ = s.world.Close()
}

// rulesFile is the one named, rules.yaml where there is one, or the shipped playbook.
func (s *stage) rulesFile(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if _, err := os.Stat(defaultRules); err == nil {
		return defaultRules, nil
	}
	path := filepath.Join(s.dir, defaultRules)
	if err := os.WriteFile(path, playbook.Playbook, 0o600); err != nil {
		return "", fmt.Errorf("writing the shipped rules: %w", err)
	}
	return path, nil
}

func (s *stage) play(ctx context.Context) bool {
	s.say("A night on call, %gx faster than real. Cloud Run, PagerDuty and Slack are stand-ins on loopback; the server and its clients are real.", s.speed)
	failed := 0
	var ended []time.Time
	for i, a := range acts() {
		if i >= 2 && !s.apart(ctx, ended[i-2]) {
			return false
		}
		s.say("")
		s.say("Act %d. %s", i+1, a.title)
		err := a.play(ctx, s)
		ended = append(ended, time.Now())
		if err != nil {
			failed++
			s.say("  FAILED  %s", err)
			continue
		}
		s.say("  PASSED  %s", a.moral)
	}
	s.say("")
	s.say("%d of %d acts ended as they should, in %s.", len(acts())-failed, len(acts()), time.Since(s.began).Round(100*time.Millisecond))
	return failed == 0
}

// stormWithin is the shipped rules' time in which three targets that want action are a storm.
const stormWithin = 10 * time.Minute

// apart waits until what an act did is so long ago that two more are no storm; false when the context ends first.
func (s *stage) apart(ctx context.Context, ended time.Time) bool {
	over := time.NewTimer(time.Until(ended.Add(time.Duration(float64(stormWithin) / s.speed))))
	defer over.Stop()
	select {
	case <-over.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *stage) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text != "" {
		text = fmt.Sprintf("%6.1fs  %s", time.Since(s.began).Seconds(), text)
	}
	_, _ = fmt.Fprintln(s.out, text)
}

func (s *stage) invite() {
	s.say("")
	s.say("The world goes on until Ctrl-C. Look around:")
	s.say("  metrics  %s/metrics", s.url)
	s.say("  world    %s/state   ledger %s/ledger", s.world.ControlURL(), s.world.ControlURL())
}
