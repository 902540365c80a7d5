package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mixillo/remediator/internal/alert"
	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/rules"
	"github.com/mixillo/remediator/internal/sources"
)

// The events that every source can be played with, beside its sender's own.
const (
	eventSample   = "sample"
	eventFiring   = string(alert.Firing)
	eventResolved = string(alert.Resolved)
)

// sending is a delivery that is made up, signed and sent.
type sending struct {
	client
	to, rules, event, file string
	labels                 map[string]string
	summary, id, began     string
	insecure, list         bool
	cert, key              string
	drill, wait            bool
	expect                 []string
	within                 time.Duration
}

func newSend() *cobra.Command {
	var s sending
	cmd := &cobra.Command{
		Use:   "send SOURCE --to URL",
		Short: "Play a source's sender: make up a delivery, sign it, send it, and say what became of it",
		Long: "Play a source's sender: make up a delivery, sign it with the secret that the rules file names, send it, and say what the server answered.\n" +
			"With --drill it is decided as in production and nothing is touched; --expect then judges the decision, for game days and cron.\n" +
			"The exit code is 0 when it was accepted (and decided as expected), 1 when not, 2 when the command was used wrongly.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := loadRules(s.rules, rules.Options{})
			if err != nil {
				return err
			}
			if s.list {
				return listSources(cmd.OutOrStdout(), set, s.output)
			}
			return s.run(cmd, set, args)
		},
	}
	s.flags(cmd)
	return cmd
}

func (s *sending) flags(cmd *cobra.Command) {
	s.client.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&s.to, "to", "", "where the server takes webhooks: its address, or the whole URL (required)")
	f.StringVar(&s.rules, "rules", defaultRules, "rules file, which names the source's kind and secrets")
	f.StringVar(&s.event, "event", "", "sample (the default: harmless where its sender has such an event), firing (the default of a drill), resolved, or one of the sender's own: see --list")
	f.StringVar(&s.file, "file", "", "send this body as it is instead of one that is made up; - reads standard input")
	f.StringToStringVar(&s.labels, "label", map[string]string{"alertname": "RemediatorSample"}, "label of the alert, such as alertname=HealthCheckFailed; may be given several times")
	f.StringVar(&s.summary, "summary", "a sample from remediator send", "what the alert says")
	f.StringVar(&s.id, "id", "", "id of the delivery, the alert and the drill: letters and digits; by default a new one")
	f.StringVar(&s.began, "began", "", "when the alert began (RFC 3339), so that resolved ends what firing began; by default now")
	f.BoolVar(&s.insecure, "insecure", false, "allow http: beyond this machine")
	f.BoolVar(&s.list, "list", false, "list the sources of the rules file with their kinds and events")
	f.StringVar(&s.cert, "client-cert", "", "file with the certificate that proves the sender, in PEM")
	f.StringVar(&s.key, "client-key", "", "file with its key")
	f.BoolVar(&s.drill, "drill", false, "decide as in production and touch nothing, whatever the rules' modes are")
	f.BoolVar(&s.wait, "wait", false, "wait until it is decided and carried out, and tell rule, verdict and outcome")
	f.StringArrayVar(&s.expect, "expect", nil, "with --drill: what has to be decided, such as \"rule=NAME verdict=chosen target=NAME action=KIND\" or \"verdict=refused reason=cooldown\"")
	f.DurationVar(&s.within, "within", 5*time.Minute, "how long to wait")
}

// sentAnswer is what became of a delivery, as -o json shows it.
type sentAnswer struct {
	Source    string     `json:"source"`
	ID        string     `json:"id,omitempty"` // of what was made up
	Drill     bool       `json:"drill,omitempty"`
	Event     string     `json:"event"`
	Duplicate bool       `json:"duplicate"`
	Runs      []string   `json:"runs"`
	Note      string     `json:"note,omitempty"`
	Decisions []decision `json:"decisions,omitempty"`
	Expected  *bool      `json:"as_expected,omitempty"`
}

func (s *sending) run(cmd *cobra.Command, set *rules.Set, args []string) error {
	expected, err := parseExpectation(s.expect)
	if err == nil {
		err = s.check(args, expected)
	}
	if err != nil {
		return usageError{err}
	}
	body, sender, err := s.compose(cmd.InOrStdin(), set, args[0])
	if err != nil {
		return err
	}
	answer := sentAnswer{Source: args[0], Drill: s.drill}
	if s.file == "" || s.drill {
		answer.ID = s.id
	}
	if err := s.post(cmd.Context(), sender, body, &answer); err != nil {
		return err
	}
	if s.output != asJSON {
		answer.print(cmd.OutOrStdout())
	}
	return s.after(cmd, answer, expected)
}

// check refuses what was called wrongly, and fills in what was left out.
func (s *sending) check(args []string, expected expectation) error {
	switch {
	case len(args) == 0:
		return errors.New("the name of a source is missing: see --list")
	case s.to == "":
		return errors.New("--to is missing: the address of the server")
	case (s.cert == "") != (s.key == ""):
		return errors.New("--client-cert and --client-key go together")
	case len(expected) > 0 && !s.drill:
		return errors.New("--expect is about drills: without --drill it would act")
	case s.file != "" && s.event != "":
		return errors.New("--file and --event exclude each other")
	}
	if s.id == "" {
		s.id = strings.ReplaceAll(newID(), "-", "")
	}
	return sources.Drill{ID: s.id}.Check()
}

// compose makes the body of the delivery, and finds who signs it.
func (s *sending) compose(in io.Reader, set *rules.Set, name string) ([]byte, sources.Sender, error) {
	source, ok := set.Sources[name]
	if !ok {
		return nil, nil, usageError{fmt.Errorf("the rules file declares no source %q, only %s", name, strings.Join(slices.Sorted(maps.Keys(set.Sources)), ", "))}
	}
	sender, ok := source.(sources.Sender)
	if !ok {
		return nil, nil, usageError{fmt.Errorf("the sender of kind %s cannot be played", set.SourceKinds[name])}
	}
	body, err := s.body(in, sender)
	if err == nil && s.drill {
		body, err = sources.Drill{ID: s.id, Labels: s.labels}.Marked(body)
	}
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("making the body: %w", err)}
	}
	if d, err := source.Parse(body, time.Now()); s.file == "" && !s.drill && err == nil && d.Incomplete {
		return nil, nil, usageError{errors.New("the server would look the made-up incident up, find none and call a human: add --drill, or --file with a real body")}
	}
	return body, sender, nil
}

func (s *sending) body(in io.Reader, sender sources.Sender) ([]byte, error) {
	switch s.file {
	case "":
		return s.madeUp(sender)
	case "-":
		return io.ReadAll(in)
	default:
		return os.ReadFile(s.file)
	}
}

func (s *sending) madeUp(sender sources.Sender) ([]byte, error) {
	now := time.Now().UTC()
	sample := sources.Sample{ID: s.id, Status: alert.Firing, At: now, Began: now, Labels: s.labels, Summary: s.summary}
	if s.began != "" {
		began, err := time.Parse(time.RFC3339, s.began)
		if err != nil {
			return nil, fmt.Errorf("--began: %w", err)
		}
		sample.Began = began
	}
	eventful, has := sender.(sources.Eventful)
	switch {
	case s.event == eventFiring, s.event == "" && s.drill:
		return sender.Sample(sample)
	case s.event == eventResolved:
		sample.Status = alert.Resolved
		return sender.Sample(sample)
	case s.event == eventSample || s.event == "":
		if has {
			return eventful.Event(eventful.Events()[0], sample)
		}
		return sender.Sample(sample)
	case has:
		return eventful.Event(s.event, sample)
	default:
		return nil, fmt.Errorf("this sender's events are %s, %s and %s, not %q", eventSample, eventFiring, eventResolved, s.event)
	}
}

// post signs the body, sends it and reads the answer. Where a certificate proves the sender, there may be nothing to sign with.
func (s *sending) post(ctx context.Context, sender sources.Sender, body []byte, into *sentAnswer) error {
	r := sources.Request{Body: body, Header: http.Header{}, Query: url.Values{}}
	if err := sender.Sign(&r); err != nil && s.cert == "" {
		return fmt.Errorf("signing the delivery: %w", err)
	}
	to, err := s.address(into.Source, r.Query)
	if err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	caller, err := s.caller(to)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	req.Header = r.Header
	req.Header.Set("Content-Type", "application/json")
	resp, err := caller.Do(req)
	if err != nil {
		return fmt.Errorf("sending the delivery: %w", hideQuery(err))
	}
	defer func() { _ = resp.Body.Close() }()
	return into.hear(resp)
}

// hideQuery keeps the address out of an error: some senders carry their token there.
func hideQuery(err error) error {
	if at, ok := errors.AsType[*url.Error](err); ok {
		return at.Err
	}
	return err
}

// address is where the source's deliveries are taken.
func (s *sending) address(source string, query url.Values) (*url.URL, error) {
	to, err := url.Parse(s.to)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL")
	case to.Host == "" || to.Scheme != "http" && to.Scheme != "https":
		return nil, errors.New("it is no http: or https: URL")
	case to.User != nil:
		return nil, errors.New("it holds a user: the source's own secret proves the sender")
	}
	if strings.Trim(to.Path, "/") == "" {
		to = to.JoinPath("v1", "webhooks", url.PathEscape(source))
	}
	all := to.Query()
	maps.Copy(all, query)
	to.RawQuery = all.Encode()
	return to, nil
}

// caller reaches that one host, in plain text only on this machine unless somebody insists.
func (s *sending) caller(to *url.URL) (*http.Client, error) {
	config := connect.HTTPConfig{Hosts: []string{to.Host}, Insecure: s.insecure || loopback(to.Hostname()), FreshConnections: true}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return connect.NewHTTPClient(config), nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// hear reads the server's answer; anything but an acceptance is an error in its words.
func (a *sentAnswer) hear(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("refused: the server answered %s: %s", resp.Status, connect.Line(said(body), maxSaid))
	}
	if err := json.Unmarshal(body, a); err != nil || a.Event == "" {
		return errors.New("the server took it, but does not answer as remediator does: is --to right?")
	}
	return nil
}

// maxSaid bounds what is shown of an answer that may be anybody's, in characters.
const maxSaid = 300

func (a *sentAnswer) print(out io.Writer) {
	fmt.Fprintf(out, "accepted: event %s\n", a.Event)
	if a.Duplicate {
		fmt.Fprintln(out, "it was known already")
	}
	if a.ID != "" {
		fmt.Fprintf(out, "sent under the id %s\n", a.ID)
	}
	for _, run := range a.Runs {
		fmt.Fprintf(out, "run %s\n", run)
	}
	if a.Note != "" {
		fmt.Fprintln(out, a.Note)
	}
}

// playable is a source of the rules file, as --list shows it.
type playable struct {
	Source string   `json:"source"`
	Kind   string   `json:"kind"`
	Events []string `json:"events"` // none where its sender cannot be played
}

func listSources(out io.Writer, set *rules.Set, form output) error {
	all := []playable{}
	for _, name := range slices.Sorted(maps.Keys(set.Sources)) {
		one := playable{Source: name, Kind: set.SourceKinds[name], Events: []string{}}
		if _, can := set.Sources[name].(sources.Sender); can {
			one.Events = []string{eventSample, eventFiring, eventResolved}
		}
		if e, has := set.Sources[name].(sources.Eventful); has {
			one.Events = append(one.Events, e.Events()...)
		}
		all = append(all, one)
	}
	if form == asJSON {
		return printJSON(out, all)
	}
	for _, one := range all {
		events := strings.Join(one.Events, ", ")
		if events == "" {
			events = "its sender cannot be played"
		}
		fmt.Fprintf(out, "%-20s %-24s %s\n", one.Source, one.Kind, events)
	}
	return nil
}
