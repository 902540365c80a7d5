package sandbox

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/run/apiv2/runpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type revisionsServer struct {
	runpb.UnimplementedRevisionsServer
	p *platform
}

// GetRevision reads one revision.
func (r revisionsServer) GetRevision(_ context.Context, req *runpb.GetRevisionRequest) (*runpb.Revision, error) {
	parent, _, _ := strings.Cut(req.GetName(), "/revisions/")
	r.p.lock()
	defer r.p.mu.Unlock()
	s, err := r.p.find(parent)
	if err != nil {
		return nil, err
	}
	rev := s.revisions[shortName(req.GetName())]
	if rev == nil {
		return nil, status.Errorf(codes.NotFound, "Resource '%s' of kind 'REVISION' in region '%s' does not exist.", shortName(req.GetName()), r.p.cfg.Region)
	}
	return r.p.show(s, rev), nil
}

// ListRevisions lists a service's revisions in no useful order, in pages of at
// most 100.
func (r revisionsServer) ListRevisions(_ context.Context, req *runpb.ListRevisionsRequest) (*runpb.ListRevisionsResponse, error) {
	r.p.lock()
	defer r.p.mu.Unlock()
	s, err := r.p.find(req.GetParent())
	if err != nil {
		return nil, err
	}
	all := make([]*runpb.Revision, 0, len(s.revisions))
	for _, rev := range s.revisions {
		all = append(all, r.p.show(s, rev))
	}
	slices.SortFunc(all, func(a, b *runpb.Revision) int {
		return cmp.Compare(r.p.dice.rank(a.GetName()), r.p.dice.rank(b.GetName()))
	})
	page, token, err := paginate(all, req.GetPageSize(), req.GetPageToken(), 100)
	return &runpb.ListRevisionsResponse{Revisions: page, NextPageToken: token}, err
}

// paginate cuts one page; tokens are offsets.
func paginate[T any](all []T, size int32, token string, limit int) (page []T, next string, err error) {
	start := 0
	if token != "" {
		if start, err = strconv.Atoi(token); err != nil || start < 0 || start > len(all) {
			return nil, "", status.Errorf(codes.InvalidArgument, "page_token %q is not valid", token)
		}
	}
	n := limit
	if size > 0 {
		n = min(int(size), limit)
	}
	end := min(start+n, len(all))
	if end < len(all) {
		next = strconv.Itoa(end)
	}
	return all[start:end], next, nil
}
