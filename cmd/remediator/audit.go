package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	edge "github.com/mixillo/remediator/internal/http"
	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/store"
)

// maxShown is how many findings are shown of those a verification tells.
const maxShown = 100

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Verify the journal and the fleet's chain, or show their head",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuditVerify(), newAuditHead())
	for _, c := range cmd.Commands() {
		c.Args = usageArgs(c.Args)
	}
	return cmd
}

// auditSource is where the records are: at a running server, or in a database that none works on.
type auditSource struct {
	client
	db string
}

func (s *auditSource) flags(cmd *cobra.Command) {
	s.client.flags(cmd)
	cmd.Flags().StringVar(&s.db, "db", "", "database of a stopped server, or a copy, instead of a running server: sqlite:PATH")
}

// open gives the records and how to close them.
func (s *auditSource) open(ctx context.Context) (edge.Auditor, func() error, error) {
	if s.db == "" {
		return &remoteRecords{&s.client}, func() error { return nil }, nil
	}
	archive, err := store.OpenArchive(ctx, s.db)
	if err != nil {
		return nil, nil, err
	}
	return archive, archive.Close, nil
}

func newAuditHead() *cobra.Command {
	var s auditSource
	cmd := &cobra.Command{
		Use:   "head",
		Short: "Show the head of the fleet's chain, to be kept elsewhere",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			records, shut, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, shut()) }()
			link, err := records.Head(cmd.Context())
			if err != nil {
				return err
			}
			if s.output == asJSON {
				return printJSON(cmd.OutOrStdout(), edge.HeadView{Anchor: link.Anchor().String(), Link: link})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "fleet head %s\n", link.Anchor())
			return nil
		},
	}
	s.flags(cmd)
	return cmd
}

func newAuditVerify() *cobra.Command {
	var (
		s     auditSource
		given []string
		file  string
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify every run's journal and the fleet's chain, and that heads from notes are found in them",
		Long: "Verify that every journal is whole and agrees with its run, that every act was recorded before it was made, and that every run\n" +
			"that has ended is linked into the fleet's chain. Whoever holds the database can write another history that holds by itself: heads\n" +
			"that were kept elsewhere, as each note does, are what it cannot have. The exit code is 1 when something does not hold.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			anchors, err := anchorsOf(given, file)
			if err != nil {
				return err
			}
			return s.verify(cmd.Context(), cmd.OutOrStdout(), anchors)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringArrayVar(&given, "anchor", nil, "head that must be found: the hash of a `journal head` or the N:HASH of a `fleet head`; may be repeated")
	cmd.Flags().StringVar(&file, "anchors", "", "file with notes, or heads, one a line")
	return cmd
}

// anchorsOf reads the heads that must be found. A file without any is a mistake: it would prove nothing.
func anchorsOf(given []string, file string) ([]remediation.Anchor, error) {
	var all []remediation.Anchor
	for _, text := range given {
		anchor, ok := remediation.ParseAnchor(text)
		if !ok {
			return nil, usageError{fmt.Errorf("--anchor: %.80q is neither a journal's head nor N:HASH", text)}
		}
		all = append(all, anchor)
	}
	if file == "" {
		return all, nil
	}
	notes, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{fmt.Errorf("reading the anchors: %w", err)}
	}
	found := remediation.FindAnchors(string(notes))
	if len(found) == 0 {
		return nil, usageError{fmt.Errorf("%s: there is no `fleet head` and no `journal head` in it", file)}
	}
	return append(all, found...), nil
}

// verification is the whole audit, with the heads that were looked for.
type verification struct {
	OK bool `json:"ok"`
	remediation.Audit
	Anchors map[string]string `json:"anchors"` // where each was found; "" for one that was not
	Head    string            `json:"head,omitempty"`
}

func (s *auditSource) verify(ctx context.Context, out io.Writer, anchors []remediation.Anchor) (err error) {
	records, shut, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shut()) }()
	v, err := verify(ctx, records, anchors)
	if err != nil {
		return err
	}
	if s.output == asJSON {
		err = printJSON(out, v)
	} else {
		v.write(out)
	}
	if err == nil && !v.OK {
		err = errProblem
	}
	return err
}

// verify audits part by part. The head is read first, so that all it stands for is verified.
func verify(ctx context.Context, records edge.Auditor, anchors []remediation.Anchor) (verification, error) {
	v := verification{Audit: remediation.Audit{Findings: []remediation.Finding{}}, Anchors: map[string]string{}}
	head, err := records.Head(ctx)
	switch {
	case err == nil:
		v.Head = head.Anchor().String()
	case !errors.Is(err, remediation.ErrNotFound):
		return v, err
	}
	for place, more := "", true; more; more = place != "" {
		part, err := records.Audit(ctx, place)
		if err != nil {
			return v, err
		}
		v.add(part)
		place = part.Next
	}
	for _, anchor := range anchors {
		where, err := records.Anchored(ctx, anchor)
		if err != nil && !errors.Is(err, remediation.ErrNotFound) {
			return v, err
		}
		v.Anchors[anchor.String()] = where
		if where == "" {
			v.Findings = append(v.Findings, remediation.Finding{Place: "anchor " + anchor.String(), What: "it was written elsewhere and is not in the records"})
		}
	}
	v.OK = len(v.Findings) == 0
	return v, nil
}

func (v *verification) add(part remediation.Audit) {
	v.Runs, v.Open, v.Unlinked = v.Runs+part.Runs, v.Open+part.Open, v.Unlinked+part.Unlinked
	v.Entries, v.Links, v.Pruned = v.Entries+part.Entries, v.Links+part.Links, v.Pruned+part.Pruned
	v.Findings = append(v.Findings, part.Findings...)
}

func (v *verification) write(out io.Writer) {
	fmt.Fprintf(out, "%d runs (%d go on, %d are about to be linked) with %d journal entries; %d links, of which retention has dropped the runs of %d; %d anchors\n",
		v.Runs, v.Open, v.Unlinked, v.Entries, v.Links, v.Pruned, len(v.Anchors))
	if v.Head != "" {
		fmt.Fprintf(out, "fleet head %s\n", v.Head)
	}
	for _, f := range v.Findings[:min(len(v.Findings), maxShown)] {
		fmt.Fprintf(out, "%s: %s\n", f.Place, f.What)
	}
	if v.OK {
		fmt.Fprintln(out, "the records hold")
		return
	}
	fmt.Fprintf(out, "the records do not hold: %d problem(s)\n", len(v.Findings))
}

// remoteRecords are the records of a running server.
type remoteRecords struct{ c *client }

// Audit implements edge.Auditor.
func (r *remoteRecords) Audit(ctx context.Context, place string) (part remediation.Audit, err error) {
	err = r.c.call(ctx, http.MethodGet, "/v1/audit?"+url.Values{"place": {place}}.Encode(), nil, &part)
	return part, err
}

// Head implements edge.Auditor.
func (r *remoteRecords) Head(ctx context.Context) (remediation.Link, error) {
	var v edge.HeadView
	err := r.c.call(ctx, http.MethodGet, "/v1/audit/head", nil, &v)
	return v.Link, err
}

// Anchored implements edge.Auditor.
func (r *remoteRecords) Anchored(ctx context.Context, a remediation.Anchor) (string, error) {
	var v edge.AnchorView
	err := r.c.call(ctx, http.MethodGet, "/v1/audit/anchors/"+a.String(), nil, &v)
	return v.Where, err
}
