package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mixillo/remediator/internal/remediation"
	"github.com/mixillo/remediator/internal/rules"
)

// keeper keeps the texts of rules by their hash.
type keeper interface {
	KeepRules(ctx context.Context, hash string, text []byte, now time.Time) error
	Rules(ctx context.Context, hash string) ([]byte, error)
}

// book is the rules in force, and those that older runs were decided by.
type book struct {
	keeper  keeper
	options rules.Options
	current atomic.Pointer[rules.Set]
	mu      sync.Mutex
	older   map[string]*rules.Set
}

func newBook(k keeper, o rules.Options) *book {
	return &book{keeper: k, options: o, older: map[string]*rules.Set{}}
}

// Current implements remediation.RuleBook.
func (b *book) Current() *rules.Set { return b.current.Load() }

// keep stores the text, so that runs can go on by these rules after others have come.
func (b *book) keep(ctx context.Context, set *rules.Set) error {
	if err := b.keeper.KeepRules(ctx, set.Hash, set.Text, time.Now()); err != nil {
		return fmt.Errorf("keeping the rules' text: %w", err)
	}
	return nil
}

// ByHash implements remediation.RuleBook.
func (b *book) ByHash(ctx context.Context, hash string) (*rules.Set, error) {
	if set := b.current.Load(); set.Hash == hash {
		return set, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if set, ok := b.older[hash]; ok {
		return set, nil
	}
	text, err := b.keeper.Rules(ctx, hash)
	if errors.Is(err, remediation.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", remediation.ErrRulesGone, err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the rules of hash %s: %w", hash, err)
	}
	set, err := rules.Load("rules "+hash, text, b.options)
	if err != nil {
		return nil, fmt.Errorf("%w: loading those of hash %s: %w", remediation.ErrRulesGone, hash, err)
	}
	b.older[hash] = set
	return set, nil
}
