package cloudrun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/mixillo/remediator/internal/connect"
	"github.com/mixillo/remediator/internal/executors"
)

// The generated clients set no deadline for some calls and retry none that write, so each call has its own here.
const (
	readTimeout  = 10 * time.Second
	listTimeout  = 30 * time.Second
	writeTimeout = 15 * time.Second
)

// client speaks about one service.
type client struct {
	google                   *connect.Google
	project, region, service string
}

func (s *Service) open(set connect.Set) (*client, error) {
	google, err := connect.Get[*connect.Google](set, connection)
	if err != nil {
		return nil, err
	}
	project, region, service, err := s.Resource(set)
	if err != nil {
		return nil, err
	}
	return &client{google: google, project: project, region: region, service: service}, nil
}

func open(env executors.Env) (*client, error) {
	s, err := section(env.Target)
	if err != nil {
		return nil, err
	}
	return s.open(env.Connections)
}

// name is the service's full resource name.
func (c *client) name() string {
	return fmt.Sprintf("projects/%s/locations/%s/services/%s", c.project, c.region, c.service)
}

// get reads the service.
func (c *client) get(ctx context.Context) (*runpb.Service, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	services, err := c.google.Services(ctx)
	if err != nil {
		return nil, err
	}
	s, err := services.GetService(ctx, &runpb.GetServiceRequest{Name: c.name()})
	if err != nil {
		return nil, fmt.Errorf("reading service %s: %w", c.service, err)
	}
	return s, nil
}

// revision reads one revision by its short name.
func (c *client) revision(ctx context.Context, name string) (*runpb.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	revisions, err := c.google.Revisions(ctx)
	if err != nil {
		return nil, err
	}
	r, err := revisions.GetRevision(ctx, &runpb.GetRevisionRequest{Name: c.name() + "/revisions/" + name})
	if err != nil {
		return nil, fmt.Errorf("reading revision %s: %w", name, err)
	}
	return r, nil
}

// list reads all revisions. The API promises no order and cannot filter.
func (c *client) list(ctx context.Context) ([]*runpb.Revision, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	revisions, err := c.google.Revisions(ctx)
	if err != nil {
		return nil, err
	}
	var all []*runpb.Revision
	for it := revisions.ListRevisions(ctx, &runpb.ListRevisionsRequest{Parent: c.name()}); ; {
		r, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing revisions of %s: %w", c.service, err)
		}
		all = append(all, r)
	}
}

// update writes the masked fields under the service's etag and answers with the name of the long-running operation. It is never
// retried: the etag makes a second call harmless, but only reading back tells what the first one did.
func (c *client) update(ctx context.Context, s *runpb.Service, mask []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	services, err := c.google.Services(ctx)
	if err != nil {
		return "", err
	}
	op, err := services.UpdateService(ctx, &runpb.UpdateServiceRequest{Service: s, UpdateMask: &fieldmaskpb.FieldMask{Paths: mask}})
	if err != nil {
		return "", fmt.Errorf("updating service %s: %w", c.service, err)
	}
	return op.Name(), nil
}

// operation is what a long-running operation says of itself. Known is false if it cannot be asked.
type operation struct {
	Known, Done bool
	Failure     string // the system's own sentence
}

// poll asks once. Without the permission to read operations, or when it is gone, the service itself has to tell.
func (c *client) poll(ctx context.Context, name string) (operation, error) {
	if name == "" {
		return operation{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	services, err := c.google.Services(ctx)
	if err != nil {
		return operation{}, err
	}
	op := services.UpdateServiceOperation(name)
	_, err = op.Poll(ctx)
	switch code := status.Code(err); {
	case err == nil:
		return operation{Known: true, Done: op.Done()}, nil
	case op.Done():
		return operation{Known: true, Done: true, Failure: sentence(err)}, nil
	case code == codes.PermissionDenied || code == codes.NotFound:
		return operation{}, nil
	default:
		return operation{}, fmt.Errorf("reading operation %s: %w", short(name), err)
	}
}

// sentence is the text of an API error without its wrapping.
func sentence(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}
