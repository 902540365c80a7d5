package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mixillo/remediator/internal/sandbox"
)

func newSandbox() *cobra.Command {
	var cfg sandbox.Config
	var scene string
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run the small world that the demo and the tests use: stand-ins for Cloud Run, Monitoring, PagerDuty and Slack",
		Long: "Run stand-ins for Cloud Run, Cloud Monitoring, Cloud Logging, PagerDuty and Slack on loopback, with a ledger of every change.\n" +
			"Point a server's connections at the printed endpoints. It holds no data and guards nothing: never expose it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			world, err := sandbox.Start(cfg)
			if err != nil {
				return fmt.Errorf("starting the sandbox: %w", err)
			}
			defer func() { _ = world.Close() }()
			if scene != "" {
				if err := world.AddService(sandbox.Service{Name: scene}); err != nil {
					return fmt.Errorf("adding service %s: %w", scene, err)
				}
			}
			err = printJSON(cmd.OutOrStdout(), map[string]string{
				"backend": strings.TrimSuffix(world.BackendURL(scene), "/"), "google": world.GoogleEndpoint(), "pagerduty": world.PagerDutyURL(), "slack": world.SlackURL(), "control": world.ControlURL(),
				"pagerduty_token": sandbox.PagerDutyToken, "pagerduty_routing_key": sandbox.PagerDutyRoutingKey, "slack_token": sandbox.SlackToken,
			})
			if err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Ledger, "ledger", "", "file that every change is appended to, one JSON object a line")
	f.Float64Var(&cfg.Speed, "speed", 1, "how much faster than real its operations, metric lag and cold starts are")
	f.Uint64Var(&cfg.Seed, "seed", 1, "seed of all randomness")
	f.StringVar(&cfg.Listen.Google, "google", "", "address to listen on, instead of any free port")
	f.StringVar(&cfg.Listen.PagerDuty, "pagerduty", "", "address to listen on")
	f.StringVar(&cfg.Listen.Slack, "slack", "", "address to listen on")
	f.StringVar(&cfg.Listen.Backend, "backend", "", "address to listen on")
	f.StringVar(&cfg.Listen.Control, "control", "", "address to listen on")
	f.StringVar(&cfg.Webhook.URL, "webhook", "", "where PagerDuty's webhooks are sent")
	f.StringVar(&cfg.Webhook.Secret, "webhook-secret", "", "key they are signed with")
	f.StringVar(&scene, "service", "", "add a service of this name with one healthy revision")
	return cmd
}
